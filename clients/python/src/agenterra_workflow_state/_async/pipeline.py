"""Pipelines: batches over one stream, sent again on another when the connection is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from .. import _failures
from ..errors import Reason, WorkflowStateError, invalid
from ..operations import Operation, Result, operations_to_wire, results_from_wire, writes
from ..proto import service_pb2
from . import io
from .stream import AsyncStreaming, NoMore

if TYPE_CHECKING:
    from .channel import Channel


class AsyncPipeline(AsyncStreaming["list[Result]"]):
    """An iterator over the results of batches, one list for each batch, in order.

    After a lost connection what is not answered is sent again, and done once: writes carry request ids. It gives up after
    as many connections in a row that answered nothing as `retry.attempts` says. What the source raises is raised here,
    when what it gave before is answered. Of writes that are not answered when it is closed nobody can tell whether they
    were made.
    """

    def __init__(self, channel: Channel, batches: io.Source[Sequence[Operation]]) -> None:
        super().__init__(channel)
        self._outbox = Outbox(batches)
        self._pump: io.Background | None = None
        self._failures = 0
        channel.streams.add(self)

    def end(self) -> None:
        """What `aclose` does, for its client."""
        super().end()
        if self._pump is not None:
            self._pump.stop()
        self._outbox.stop()

    async def _next(self) -> list[Result]:
        while True:
            self._check()
            if self._pump is None:
                self._pump = io.Background(self._outbox.fill)
            answer, failure = await self._answer()
            if answer is not None:
                self._failures = 0
                return await self._outbox.answered(answer)
            if self._outbox.done():
                raised = self._outbox.failure
                if raised is None:
                    raise NoMore
                if not isinstance(raised, Exception):
                    # For a stream, what is no Exception is a matter of its reader's, and ends nothing.
                    self.end()
                raise raised
            self._failures += 1
            if self._failures >= self._channel.settings.retry.attempts:
                raise await self._outbox.unanswered(failure or _failures.unreachable())
            await self._stopped.wait(self._channel.settings.retry.pause(self._failures))

    async def _answer(self) -> tuple[service_pb2.PipelineResponse | None, WorkflowStateError | None]:
        """The next answer; none: the connection is lost or all is answered."""
        try:
            if self._stream is None:
                self._stream = await self._open()
                # Who ended it meanwhile did not find the stream.
                self._check()
            answer = await self._stream.read()
        except Exception as error:
            failure = self._channel.failure(error, write=False)
        else:
            if answer is not None:
                return answer, None
            self._stream = None
            return None, None
        self._stream = None
        if self._stopped.is_set() or not _failures.is_unavailable(failure):
            raise await self._outbox.unanswered(failure)
        return None, failure

    async def _open(self) -> io.Stream[service_pb2.PipelineResponse]:
        messages: Any = self._outbox.messages(await self._outbox.connect())
        metadata = await self._channel.metadata(self._stopped)
        return io.Stream(self._channel.connection.stub.Pipeline(messages, metadata=metadata))


class Outbox:
    """The batches of a pipeline: taken by the connection of the moment, and kept until they are answered."""

    def __init__(self, source: io.Source[Sequence[Operation]]) -> None:
        self._source = source
        self._changed = io.Condition()
        self._sent: deque[service_pb2.PipelineRequest] = deque()
        # How many of them the connection of the moment has taken.
        self._taken = 0
        # How many of them, from the oldest on, a connection before it has taken: they may be done.
        self._doubtful = 0
        # Whether the connection of the moment has answered something: it was let in, and what it has may be done.
        self._has_answered = False
        self._connection = 0
        self._ended = False
        self._stopped = False
        #: What the source raised.
        self.failure: BaseException | None = None

    def done(self) -> bool:
        """Whether all is sent and answered."""
        return self._ended and not self._sent

    async def fill(self) -> None:
        """Takes batches from their source, each when the one before is on its way."""
        try:
            async with aclosing(io.iterate(self._source)) as batches:
                async for batch in batches:
                    request = service_pb2.PipelineRequest(operations=_to_wire(batch))
                    async with self._changed:
                        self._sent.append(request)
                        self._changed.notify_all()
                        await self._changed.wait_for(lambda: self._stopped or self._taken >= len(self._sent))
                        if self._stopped:
                            break
        except BaseException as error:
            self.failure = io.raised(error, stopped=self._stopped)
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def connect(self) -> int:
        """Has the connection of the moment take no more; gives the number of the next."""
        async with self._changed:
            self._connection += 1
            self._doubtful = max(self._doubtful, self._taken)
            self._taken = 0
            self._has_answered = False
            self._changed.notify_all()
            return self._connection

    async def messages(self, connection: int) -> AsyncIterator[service_pb2.PipelineRequest]:
        """The messages for a connection, from the oldest that is not answered."""
        while True:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: connection != self._connection or self._ended or self._taken < len(self._sent)
                )
                if connection != self._connection or self._taken >= len(self._sent):
                    return
                message = self._sent[self._taken]
                self._taken += 1
                self._changed.notify_all()
            yield message

    async def answered(self, answer: service_pb2.PipelineResponse) -> list[Result]:
        """Takes the answer of the oldest batch."""
        async with self._changed:
            if self._taken == 0:
                raise WorkflowStateError(Reason.STORE_UNAVAILABLE, "The service answered what was not asked.")
            oldest = self._sent.popleft()
            self._taken -= 1
            self._has_answered = True
            self._doubtful = max(self._doubtful - 1, 0)
        return results_from_wire(answer.results, oldest.operations)

    def stop(self) -> None:
        """Has everybody who waits for it go."""
        self._stopped = True
        self._connection += 1
        io.wake(self._changed)

    async def unanswered(self, failure: WorkflowStateError) -> WorkflowStateError:
        """The error of a pipeline that is given up."""
        if _failures.still_unknown(failure) is failure:
            return failure
        async with self._changed:
            # A connection that is refused before it has answered anything was not let in: what it sent was not looked at.
            let_in = _failures.is_unavailable(failure) or self._has_answered
            count = len(self._sent) if let_in else self._doubtful
            if not any(writes(request.operations) for request in islice(self._sent, count)):
                return failure
        unknown = WorkflowStateError(
            Reason.OUTCOME_UNKNOWN,
            "Writes without an answer may or may not have happened; send them again with the same request ids.",
        )
        unknown.__cause__ = failure
        return unknown


def _to_wire(batch: object) -> list[service_pb2.Operation]:
    if isinstance(batch, (str, bytes)) or not isinstance(batch, Iterable):
        raise invalid("operations", "A pipeline's source gives batches: lists of operations.")
    return operations_to_wire(cast("Iterable[Operation]", batch))
