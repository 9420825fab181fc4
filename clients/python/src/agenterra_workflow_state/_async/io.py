"""What waits, in asyncio: connections, streams, locks and pauses. `_sync/io.py` is the same for threads."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from ..proto.service_pb2_grpc import WorkflowStateServiceStub

if TYPE_CHECKING:
    from .._settings import Settings
    from ..draft import Draft
    from ..proto.service_pb2_grpc import WorkflowStateServiceAsyncStub

T = TypeVar("T")
Req = TypeVar("Req")
Res = TypeVar("Res")
R = TypeVar("R")

Stub: TypeAlias = "WorkflowStateServiceAsyncStub"
Unary: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[Req, Res]
Source: TypeAlias = AsyncIterable[T] | Iterable[T]
"""What gives batches: an async iterable, or a plain one."""
Change: TypeAlias = "Callable[[Draft], R | Awaitable[R]]"
"""The function of an update: a plain or a coroutine function."""

Lock: TypeAlias = asyncio.Lock
Condition: TypeAlias = asyncio.Condition
sleep = asyncio.sleep

_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Flag:
    """Something that happens once, and can be waited for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._event.is_set()

    def set(self) -> None:
        """Makes it happen."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Waits so long, or until it happens."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)


class Connection:
    """A channel to the service, made when it is first used: by then there is an event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._stub: Stub | None = None

    @property
    def stub(self) -> Stub:
        """The service's methods."""
        if self._stub is None:
            self._stub = WorkflowStateServiceStub(self._open())
        return self._stub

    async def metadata(self, stopped: Flag, deadline: float | None) -> tuple[tuple[str, str | bytes], ...]:
        """What a call carries. Ended: it was stopped, or its time ran out, before there was a token."""
        return await self._settings.metadata_async(lambda token: _unless(stopped, deadline, token))

    async def ready(self, seconds: float) -> bool:
        """Whether there is a connection, after waiting for one so long: else a call has certainly not been sent."""
        channel = self._open()
        until = time.monotonic() + seconds
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            left = until - time.monotonic()
            if state in _BROKEN or left <= 0:
                return False
            try:
                await asyncio.wait_for(channel.wait_for_state_change(state), left)
            except asyncio.TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Ends all calls."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            target, credentials = self._settings.target, self._settings.credentials
            options = self._settings.channel_options
            self._channel = (
                grpc.aio.insecure_channel(target, options)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, options)
            )
        return self._channel


class Ended(Exception):
    """A call was ended from here: by its stream, by its connection's end, or because it fell silent."""


async def _unless(stopped: Flag, deadline: float | None, value: Awaitable[T]) -> T:
    """What is waited for. Ended: it did not come before the deadline, or before it was stopped."""
    giving = asyncio.ensure_future(value)
    stopping = asyncio.ensure_future(stopped.wait())
    left = None if deadline is None else deadline - time.monotonic()
    try:
        await asyncio.wait([giving, stopping], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not giving.done():
            raise Ended
        if giving.cancelled():
            # Said as it is, it would look as if the caller's task had been.
            raise RuntimeError("What was waited for was cancelled.")
        return giving.result()
    finally:
        stopping.cancel()
        # What others wait for, too, is not ours to end.
        if giving is not value:
            _drop(giving)


def _drop(task: asyncio.Future[Any]) -> None:
    """Ends a task whose result nobody asks for: nobody must hear of its failure."""
    task.add_done_callback(_heard)
    task.cancel()


def _heard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def answer(
    method: Unary[Req, Res], request: Req, *, timeout: float, metadata: Any, closed: Flag
) -> Res:
    """Makes a call."""
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except asyncio.CancelledError:
        # A call that its channel's end has cancelled says so as if its task had been.
        if closed.is_set() and not _is_cancelled():
            raise Ended from None
        raise


def _is_cancelled() -> bool:
    """Whether this task is to end; Python 3.10 can't tell."""
    task = asyncio.current_task()
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0


class Stream(Generic[T]):
    """The answers of a call."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, T] | grpc.aio.StreamStreamCall[Any, T]) -> None:
        self._call = call
        # A reading whose reader was cancelled goes on for the next reader: gRPC would end the call.
        self._reading: asyncio.Future[Any] | None = None

    async def read(self, silence: float | None = None) -> T | None:
        """The next answer; None: it was the last. A call that says nothing for so long is ended."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        done, _ = await asyncio.wait([self._reading], timeout=silence)
        if not done:
            self.cancel()
            raise Ended
        reading, self._reading = self._reading, None
        try:
            answer = reading.result()
        except asyncio.CancelledError:
            raise Ended from None
        return None if answer is grpc.aio.EOF else answer

    def cancel(self) -> None:
        """Ends the call."""
        self._call.cancel()


class Background:
    """A coroutine that runs beside."""

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._task = asyncio.ensure_future(run())

    def stop(self) -> None:
        """Ends it, wherever it is."""
        self._task.cancel()


class Started(Generic[T]):
    """A coroutine that was begun now, and whose result is asked for later."""

    def __init__(self, run: Callable[[], Awaitable[T]]) -> None:
        self._task: asyncio.Future[T] = asyncio.ensure_future(run())
        # Who never asks must not hear of its failure.
        self._task.add_done_callback(_heard)

    async def result(self) -> T:
        """What it gave, or raised. Ended: it was cancelled."""
        # Who waits so is cancelled only if that was meant.
        await asyncio.wait([self._task])
        try:
            return self._task.result()
        except asyncio.CancelledError:
            raise Ended from None

    def cancel(self) -> None:
        """Ends it."""
        self._task.cancel()


async def iterate(source: Source[T]) -> AsyncGenerator[T, None]:
    """The items of the source, which is closed at the end."""
    try:
        if isinstance(source, AsyncIterable):
            async for item in source:
                yield item
        else:
            for item in source:
                yield item
                # A source that never waits would let nothing else run.
                await asyncio.sleep(0)
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()
        elif hasattr(source, "close"):
            source.close()


def raised(error: BaseException, *, stopped: bool) -> BaseException:
    """What a source raised, as its reader can be told. Raises it where it is only the end of who takes from the source."""
    if isinstance(error, asyncio.CancelledError):
        if stopped:
            raise error
        # Said as it is, it would look as if the reader's task had been.
        told = RuntimeError("What the pipeline's source waited for was cancelled.")
        told.__cause__ = error
        return told
    if isinstance(error, GeneratorExit):
        raise error
    return error


def wake(condition: Condition) -> None:
    """Nothing: who waits for it here is cancelled."""


async def settled(value: R | Awaitable[R]) -> R:
    """What a plain or a coroutine function gives."""
    if inspect.isawaitable(value):
        result: R = await value
        return result
    return value
