"""What watches and pipelines have in common: iterators over a call, which end in one of several ways."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import _failures
from ..errors import Reason, WorkflowStateError
from . import io

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .channel import Channel

T = TypeVar("T")


class NoMore(Exception):
    """Said by a stream that has come to its end."""


class AsyncStreaming(Generic[T]):
    """An iterator that is over when it is closed: by `aclose`, at the end of its `async with`, or with its client.

    It is for one reader; `aclose` is for everybody.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stopped = io.Flag()
        self._stream: io.Stream[Any] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._stopped.is_set() and not self._channel.closed.is_set():
            raise StopAsyncIteration
        try:
            return await self._next()
        except Exception as error:
            stopped = self._stopped.is_set()
            self.end()
            if self._channel.closed.is_set():
                raise WorkflowStateError(Reason.SHUTTING_DOWN, _failures.CLOSED) from error
            if stopped or isinstance(error, NoMore):
                raise StopAsyncIteration from None
            raise

    async def aclose(self) -> None:
        """Ends it, also while another task waits for what comes next: that one is told that there is nothing."""
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __del__(self) -> None:
        # Without an event loop, or half made, there is nothing to end.
        with suppress(Exception):
            self.end()

    def end(self) -> None:
        """What `aclose` does, for its client."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    async def _next(self) -> T:
        """What comes next. Raises NoMore at the end; what it raises after `end` is not looked at."""
        raise NotImplementedError

    def _check(self) -> None:
        """Raises if it was ended."""
        if self._stopped.is_set() or self._channel.closed.is_set():
            raise _failures.closed()
