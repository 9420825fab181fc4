"""Read, change, commit what changed under checks, try again on a conflict: what `update` does."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, cast

from ..draft import Draft
from ..errors import Reason, WorkflowStateError, invalid
from ..operations import commit_request
from . import io
from .reading import read_all

if TYPE_CHECKING:
    from .channel import Channel

R = TypeVar("R")

#: The longest pause before another attempt, in seconds.
_MAX_PAUSE = 0.1

#: The sessions whose function is on the stack now, of each updater.
_running: ContextVar[frozenset[tuple[int, str]]] = ContextVar("running updates", default=frozenset())


class Updater:
    """Runs the updates of one client, those of one session one after the other."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._turns = Turns()

    async def update(self, session_id: str, change: io.Change[R], attempts: int, timeout: float | None) -> R:
        """See the client's method."""
        if not callable(change):
            raise invalid("change", "update needs a function that changes the draft.")
        if not isinstance(attempts, int) or attempts < 1:
            raise invalid("attempts", "attempts must be an int, 1 or more.")
        if (id(self), session_id) in _running.get():
            raise invalid(
                "change", "An update's function can't update the same session: it would wait for itself."
            )
        async with self._turns.of(session_id):
            return await self._attempt(session_id, change, attempts, timeout)

    async def _attempt(
        self, session_id: str, change: io.Change[R], attempts: int, timeout: float | None
    ) -> R:
        # The revision of the session that was heard of last, before its entries are read.
        known = 0
        attempt = 0
        while True:
            attempt += 1
            try:
                seen, revision = await read_all(self._channel, session_id, known, timeout)
            except WorkflowStateError as error:
                # Others have written so much between its pages.
                if error.reason is not Reason.HISTORY_COMPACTED or attempt >= attempts:
                    raise
            else:
                draft = Draft(seen)
                result = await self._run(session_id, change, draft)
                commit = draft.commit(session_id, revision)
                if commit is None:
                    return result
                try:
                    await self._channel.unary(
                        self._channel.connection.stub.Commit,
                        commit_request(commit),
                        write=True,
                        deadline=self._channel.deadline(timeout),
                    )
                except WorkflowStateError as error:
                    if error.reason is not Reason.REVISION_MISMATCH or attempt >= attempts:
                        raise
                    # Also where it is lower: the session may have been deleted.
                    known = next((c.actual_revision for c in error.failed_checks if c.key == ""), known)
                else:
                    return result
            await io.sleep(random.random() * min(_MAX_PAUSE, 2**attempt / 1000))  # noqa: S311

    async def _run(self, session_id: str, change: io.Change[R], draft: Draft) -> R:
        """Calls the function; what it returns, the draft itself as a plain dict."""
        token = _running.set(_running.get() | {(id(self), session_id)})
        try:
            result = await io.settled(change(draft))
        finally:
            draft.close()
            _running.reset(token)
        return cast("R", draft.copy()) if result is draft else result


class Turns:
    """A lock for each session, kept only while someone holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[io.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, session_id: str) -> AsyncIterator[None]:
        """Waits for the session's turn, and holds it."""
        lock = self._count(session_id, 1)
        try:
            async with lock:
                yield
        finally:
            self._count(session_id, -1)

    def _count(self, session_id: str, more: int) -> io.Lock:
        with self._guard:
            lock, holders = self._locks.pop(session_id) if session_id in self._locks else (io.Lock(), 0)
            if holders + more > 0:
                self._locks[session_id] = (lock, holders + more)
            return lock
