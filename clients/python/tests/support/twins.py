"""Both clients under one set of tests: the blocking one as if it were the asyncio one, each of its calls in a thread."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from agenterra_workflow_state import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self

Kind: TypeAlias = Literal["blocking", "asyncio"]
KINDS: tuple[Kind, ...] = ("blocking", "asyncio")

_END = object()
_ITERATORS = {"list_state", "list_sessions", "list_events", "watch_session", "watch_sessions", "pipeline"}


@asynccontextmanager
async def opened(kind: Kind, url: str, **options: Any) -> AsyncIterator[AsyncClient]:
    """A client of a kind, closed at the end."""
    client = (
        AsyncClient(url, **options) if kind == "asyncio" else cast("AsyncClient", _Threaded(url, options))
    )
    async with client:
        yield client


class _Threaded:
    """A blocking client that is awaited."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._client = Client(url, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._client.close)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, {"aclose": "close"}.get(name, name))
        if name in _ITERATORS:
            return lambda *args, **options: _Iterator(method(*args, **options))

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *args, **options)

        return call


class _Iterator:
    """A blocking iterable that is iterated over asynchronously."""

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable
        self._iterator: Any = None

    def __aiter__(self) -> _Iterator:
        # A listing begins again, a watch goes on: as they do themselves.
        self._iterator = iter(self._iterable)
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        item = await asyncio.to_thread(next, self._iterator, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    def pages(self) -> _Iterator:
        return _Iterator(self._iterable.pages())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await asyncio.to_thread(self._iterable.close)
