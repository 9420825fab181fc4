"""What waits, in threads: connections, streams, locks and pauses. `_async/io.py` is the same for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import grpc

from ..proto.service_pb2_grpc import WorkflowStateServiceStub

if TYPE_CHECKING:
    from .._settings import Settings
    from ..draft import Draft

T = TypeVar("T")
Req = TypeVar("Req")
Res = TypeVar("Res")
R = TypeVar("R")
S = TypeVar("S", covariant=True)

Stub: TypeAlias = WorkflowStateServiceStub
Unary: TypeAlias = "grpc.UnaryUnaryMultiCallable[Req, Res]"
Source: TypeAlias = Iterable[T]
"""What gives batches. It is iterated in a thread of its own."""
Change: TypeAlias = "Callable[[Draft], R]"
"""The function of an update."""

Condition: TypeAlias = threading.Condition
sleep = time.sleep


class Lock(AbstractContextManager[Any]):
    """A lock; a class, which threading's own is not in every Python."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


#: States of a channel, as gRPC's core counts them.
_READY = grpc.ChannelConnectivity.READY.value[0]
_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE.value[0], grpc.ChannelConnectivity.SHUTDOWN.value[0])

#: How long a channel's state is watched at once, in seconds.
_GLANCE = 0.1


class Flag:
    """Something that happens once, and can be waited for."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._event.is_set()

    def set(self) -> None:
        """Makes it happen."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Waits so long, or until it happens."""
        self._event.wait(seconds)


class Connection:
    """A channel to the service, made when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stub: Stub | None = None

    @property
    def stub(self) -> Stub:
        """The service's methods."""
        if self._stub is None:
            self._stub = WorkflowStateServiceStub(self._open())
        return self._stub

    def metadata(self, stopped: Flag, deadline: float | None) -> tuple[tuple[str, str | bytes], ...]:
        """What a call carries. A function that gives a token can't be left behind: it runs in the caller's thread."""
        return self._settings.metadata_sync()

    def ready(self, seconds: float) -> bool:
        """Whether there is a connection, after waiting for one so long: else a call has certainly not been sent."""
        # gRPC's own way to be told, `subscribe`, leaves a thread behind that complains if the channel is closed at once.
        core: Any = getattr(self._open(), "_channel", None)
        if not hasattr(core, "check_connectivity_state") or not hasattr(core, "watch_connectivity_state"):
            # A gRPC that has changed within: nothing is lost but the difference.
            return True
        until = time.time() + seconds
        try:
            while (state := core.check_connectivity_state(True)) != _READY:
                if state in _BROKEN or time.time() >= until:
                    return False
                # Closing waits for who watches.
                core.watch_connectivity_state(state, min(until, time.time() + _GLANCE))
        except ValueError:
            # Closed meanwhile.
            return False
        return True

    def close(self) -> None:
        """Ends all calls."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()

    def _open(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                target, credentials = self._settings.target, self._settings.credentials
                options = self._settings.channel_options
                self._channel = (
                    grpc.insecure_channel(target, options)
                    if credentials is None
                    else grpc.secure_channel(target, credentials, options)
                )
            return self._channel


class Ended(Exception):
    """A call was ended from here: because it fell silent."""


def answer(method: Unary[Req, Res], request: Req, *, timeout: float, metadata: Any, closed: Flag) -> Res:
    """Makes a call."""
    return method(request, timeout=timeout, metadata=metadata)


class _Call(Protocol[S]):
    def __next__(self) -> S: ...
    def cancel(self) -> bool: ...


class Stream(Generic[T]):
    """The answers of a call."""

    def __init__(self, call: _Call[T]) -> None:
        self._call = call
        self._reading_since: float | None = None
        self._silent = False
        self._timer: threading.Timer | None = None
        self._ended = False

    def read(self, silence: float | None = None) -> T | None:
        """The next answer; None: it was the last. A call that says nothing for so long is ended."""
        self._reading_since = time.monotonic()
        if silence is not None and self._timer is None:
            self._listen(silence, silence)
        try:
            return next(self._call)
        except StopIteration:
            self._end()
            return None
        except grpc.RpcError:
            self._end()
            if self._silent:
                raise Ended from None
            raise
        finally:
            self._reading_since = None

    def cancel(self) -> None:
        """Ends the call, also while another thread reads."""
        self._end()
        self._call.cancel()

    def _end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _listen(self, seconds: float, silence: float) -> None:
        """One timer for many answers: it looks again when the last reading could have been silent for too long."""
        self._timer = threading.Timer(seconds, self._look, [silence])
        self._timer.daemon = True
        self._timer.start()

    def _look(self, silence: float) -> None:
        since = self._reading_since
        waited = 0.0 if since is None else time.monotonic() - since
        if self._ended:
            return
        if waited >= silence:
            self._silent = True
            self._call.cancel()
        else:
            self._listen(silence - waited, silence)


class Background:
    """A function that runs beside, in a thread that does not keep the process alive."""

    def __init__(self, run: Callable[[], None]) -> None:
        threading.Thread(target=run, daemon=True).start()

    def stop(self) -> None:
        """Nothing: a thread ends by itself, when it next looks."""


class Started(Generic[T]):
    """A function that was called now, and whose result is asked for later."""

    def __init__(self, run: Callable[[], T]) -> None:
        self._result: T | None = None
        self._error: Exception | None = None
        try:
            self._result = run()
        except Exception as error:
            self._error = error

    def result(self) -> T:
        """What it gave, or raised."""
        if self._error is not None:
            raise self._error
        result: Any = self._result
        return result  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Nothing: it has ended."""


def iterate(source: Source[T]) -> Generator[T, None, None]:
    """The items of the source, which is closed at the end."""
    try:
        yield from source
    finally:
        if hasattr(source, "close"):
            source.close()


def raised(error: BaseException, *, stopped: bool) -> BaseException:
    """What a source raised, as its reader can be told."""
    return error


def wake(condition: Condition) -> None:
    """Has who waits for it look again, from wherever: its lock can be taken twice by one thread."""
    with condition:
        condition.notify_all()


def settled(value: R) -> R:
    """What a function gives."""
    return value
