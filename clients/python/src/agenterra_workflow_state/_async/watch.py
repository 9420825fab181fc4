"""Watches: messages of a stream that finds its way back after a lost connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .. import _failures, _wire
from ..errors import Reason, WorkflowStateError
from ..nouns import SessionChange, WatchMessage
from ..proto import service_pb2
from . import io
from .stream import AsyncStreaming

if TYPE_CHECKING:
    from .channel import Channel

T = TypeVar("T")


class AsyncWatch(AsyncStreaming[T]):
    """An iterator over what happens, until it is closed: by `aclose`, at the end of its `async with`, or with its client."""


class SessionWatch(AsyncWatch[WatchMessage]):
    """What happens to one session, in order, without a gap and nothing twice, over as many connections as it takes."""

    def __init__(self, channel: Channel, request: service_pb2.WatchSessionRequest) -> None:
        super().__init__(channel)
        self._request = request
        self._failures = 0
        channel.streams.add(self)

    async def _next(self) -> WatchMessage:
        while True:
            self._check()
            answer = await self._answer()
            if answer is None:
                self._failures += 1
                await self._stopped.wait(self._channel.settings.retry.pause(self._failures))
                continue
            self._failures = 0
            message = _wire.watch_message_of(answer)
            if message is not None:
                # Where to go on after this connection.
                self._request.after_revision = message.revision
                return message

    async def _answer(self) -> service_pb2.WatchSessionResponse | None:
        """The next answer; None: the connection is lost."""
        try:
            if self._stream is None:
                self._stream = await self._open()
                # Who ended it meanwhile did not find the stream.
                self._check()
            answer = await self._stream.read(self._channel.settings.silence)
        except Exception as error:
            failure = self._channel.failure(error, write=False)
        else:
            if answer is None:
                self._stream = None
            return answer
        if self._stopped.is_set() or not _failures.is_unavailable(failure):
            raise failure
        self._stream = None
        return None

    async def _open(self) -> io.Stream[service_pb2.WatchSessionResponse]:
        metadata = await self._channel.metadata(self._stopped)
        return io.Stream(self._channel.connection.stub.WatchSession(self._request, metadata=metadata))


class SessionsWatch(AsyncWatch[SessionChange]):
    """What happens to all sessions that match, from now on, over one connection: a gap could not be closed."""

    def __init__(self, channel: Channel, request: service_pb2.WatchSessionsRequest) -> None:
        super().__init__(channel)
        self._request = request
        # At once: what happens from now on is to be seen, whenever its reading begins.
        self._opening = io.Started(self._open)
        channel.streams.add(self)

    async def _next(self) -> SessionChange:
        answer: service_pb2.WatchSessionsResponse | None = None
        try:
            self._check()
            stream = await self._opening.result()
            answer = await stream.read()
        except Exception as error:
            failure = self._channel.failure(error, write=False)
        else:
            failure = WorkflowStateError(
                Reason.STORE_UNAVAILABLE,
                "The service ended the watch; watch again, and close the gap with list_sessions(updated_after=...).",
            )
        if answer is None:
            raise failure
        return SessionChange(_wire.session_of(answer.session), _wire.kind_of(answer.kind))

    async def _open(self) -> io.Stream[service_pb2.WatchSessionsResponse]:
        self._check()
        metadata = await self._channel.metadata(self._stopped)
        call = self._channel.connection.stub.WatchSessions(self._request, metadata=metadata)
        stream: io.Stream[service_pb2.WatchSessionsResponse] = io.Stream(call)
        self._stream = stream
        return stream

    def end(self) -> None:
        """What `aclose` does."""
        self._opening.cancel()
        super().end()
