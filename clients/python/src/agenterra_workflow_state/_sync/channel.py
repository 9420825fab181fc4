# Generated from _async/channel.py by scripts/generate.py: change that.
"""Calls to the service: deadlines, retries, and what failed as the client's error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

import grpc

from .. import _failures
from .._settings import no_metadata, seconds
from ..errors import WorkflowStateError
from . import io

if TYPE_CHECKING:
    from .._settings import Settings

Req = TypeVar("Req")
Res = TypeVar("Res")
T = TypeVar("T")


class Endable(Protocol):
    """A stream that can be ended by anybody, at any time, and more than once."""

    def end(self) -> None:
        """Ends it."""


class Channel:
    """A service behind a connection."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connection = io.Connection(settings)
        self.closed = io.Flag()
        # What is to be ended when it closes. Who lets go of one without closing it has ended it, too.
        self.streams: WeakSet[Endable] = WeakSet()

    def deadline(self, timeout: float | None) -> float:
        """When the time runs out of what is asked for now, whichever calls that takes."""
        return time.monotonic() + (self.settings.timeout if timeout is None else seconds("timeout", timeout))

    def close(self) -> None:
        """Ends what is under way. Later calls fail."""
        self.closed.set()
        for stream in list(self.streams):
            stream.end()
        self.connection.close()

    def unary(self, method: io.Unary[Req, Res], request: Req, *, write: bool = False, deadline: float) -> Res:
        """Makes a call, and again while it fails with UNAVAILABLE and there is time.

        What can't be known in the end is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read.
        """
        unknown = False
        attempt = 0
        while True:
            attempt += 1
            sent = False
            try:
                if self.closed.is_set():
                    raise _failures.closed()
                metadata = self.metadata(self.closed, deadline)
                if not self.connection.ready(deadline - time.monotonic()):
                    raise _failures.unreachable()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _failures.overdue()
                sent = True
                return io.answer(method, request, timeout=left, metadata=metadata, closed=self.closed)
            except Exception as error:
                failure = self.failure(error, write=write and sent)
            unknown = unknown or (write and _failures.leaves_open(failure))
            pause = self.settings.retry.pause(attempt)
            over = (
                self.closed.is_set()
                or attempt >= self.settings.retry.attempts
                or time.monotonic() + pause >= deadline
            )
            if over or not _failures.is_unavailable(failure):
                raise _failures.still_unknown(failure, sent=sent) if unknown else failure
            self.closed.wait(pause)

    def metadata(self, stopped: io.Flag, deadline: float | None = None) -> Any:
        """What a call carries. A token is waited for until the deadline or the stop, where it can be waited for so."""
        try:
            return self.connection.metadata(stopped, deadline)
        except io.Ended:
            if stopped.is_set():
                raise
            raise _failures.overdue() from None
        except Exception as error:
            raise no_metadata(error) from error

    def failure(self, error: Exception, *, write: bool) -> WorkflowStateError:
        """What a call raised, as the client's error."""
        if self.closed.is_set() and not isinstance(error, WorkflowStateError):
            failure = _failures.closed(write=write)
            failure.__cause__ = error
            return failure
        # What is no status is a mistake of the caller's or ours.
        if not isinstance(error, (grpc.RpcError, WorkflowStateError, io.Ended)):
            raise error
        return _failures.failure_of(error, write=write)
