"""What the tests of streams share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from agenterra_workflow_state import AsyncClient, Progress, SessionChange, WatchMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How long to wait for what must come, in seconds: also where the machine is busy.
PATIENCE = 20


async def taken(items: Any, count: int) -> list[Any]:
    """So many items, progress left out."""
    got: list[Any] = []
    while len(got) < count:
        item = await asyncio.wait_for(items.__anext__(), PATIENCE)
        if not isinstance(item, Progress):
            got.append(item)
    return got


def revisions(messages: list[WatchMessage]) -> list[int]:
    return [message.revision for message in messages]


async def is_live(
    watch: Any, client: AsyncClient, session_id: str, labels: Mapping[str, str] | None = None
) -> None:
    """Waits until a watch on sessions, which sees what happens from some moment on, sees it.

    It is told of a session beside that one, written until then. What was told of it is taken from the watch.
    """
    first: asyncio.Future[SessionChange] = asyncio.ensure_future(watch.__anext__())
    until = time.monotonic() + PATIENCE
    revision = 0
    while not first.done() and time.monotonic() < until:
        probe = await client.save_session(f"{session_id}-probe", {}, labels=labels)
        revision = probe.revision
        await asyncio.wait([first], timeout=0.05)
    change = await asyncio.wait_for(first, PATIENCE)
    while change.session.revision < revision:
        [change] = await taken(watch, 1)


async def until(condition: Callable[[], Any]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)
