# Generated from _async/stream.py by scripts/generate.py: change that.
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


class Streaming(Generic[T]):
    """An iterator that is over when it is closed: by `close`, at the end of its `with`, or with its client.

    It is for one reader; `close` is for everybody.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stopped = io.Flag()
        self._stream: io.Stream[Any] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._stopped.is_set() and not self._channel.closed.is_set():
            raise StopIteration
        try:
            return self._next()
        except Exception as error:
            stopped = self._stopped.is_set()
            self.end()
            if self._channel.closed.is_set():
                raise WorkflowStateError(Reason.SHUTTING_DOWN, _failures.CLOSED) from error
            if stopped or isinstance(error, NoMore):
                raise StopIteration from None
            raise

    def close(self) -> None:
        """Ends it, also while another thread waits for what comes next: that one is told that there is nothing."""
        self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __del__(self) -> None:
        # Without an event loop, or half made, there is nothing to end.
        with suppress(Exception):
            self.end()

    def end(self) -> None:
        """What `close` does, for its client."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def _next(self) -> T:
        """What comes next. Raises NoMore at the end; what it raises after `end` is not looked at."""
        raise NotImplementedError

    def _check(self) -> None:
        """Raises if it was ended."""
        if self._stopped.is_set() or self._channel.closed.is_set():
            raise _failures.closed()
