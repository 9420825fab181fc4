"""A gRPC server that answers as it is told: for what the service itself can't be made to say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from agenterra_workflow_state.proto import service_pb2, service_pb2_grpc, state_pb2


class Raw(service_pb2_grpc.WorkflowStateServiceServicer):
    """Answers calls with a status, and keeps what they carried."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        #: What it answers with before `code`, one after the other.
        self.first: list[grpc.StatusCode] = []
        self.detail: state_pb2.ErrorDetail | bytes | None = None
        #: What a batch is answered with.
        self.results: list[service_pb2.Result] = []
        #: How many pipelines are lost when they have answered `answers` batches, before one ends with `code` at once.
        self.losses = 0
        self.answers = 0
        #: How many batches a pipeline that is not lost answers, and takes one more, before it ends with `code`.
        self.let_in = 0
        self.lock = threading.Lock()
        self.carried: list[dict[str, str | bytes]] = []
        self.url = ""

    def GetState(self, request: Any, context: grpc.ServicerContext) -> service_pb2.GetStateResponse:  # noqa: N802
        self._answer(context)
        return service_pb2.GetStateResponse()

    def SetState(self, request: Any, context: grpc.ServicerContext) -> service_pb2.SetStateResponse:  # noqa: N802
        self._answer(context)
        return service_pb2.SetStateResponse(
            entry=state_pb2.Entry(key=request.key, value=request.value, revision=1)
        )

    def ForkSession(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ForkSessionResponse:  # noqa: N802
        # Done, and too large for one answer.
        session = state_pb2.Session(session_id=request.new_session_id, revision=1)
        return service_pb2.ForkSessionResponse(session=session)

    def ListState(self, request: Any, context: grpc.ServicerContext) -> service_pb2.ListStateResponse:  # noqa: N802
        self._answer(context)
        return service_pb2.ListStateResponse()

    def Batch(self, request: Any, context: grpc.ServicerContext) -> service_pb2.BatchResponse:  # noqa: N802
        self._answer(context)
        return service_pb2.BatchResponse(results=self.results)

    def Pipeline(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        with self.lock:
            self.losses -= 1
            is_lost = self.losses >= 0
        if is_lost:
            for _ in range(self.answers):
                next(requests)
                yield service_pb2.PipelineResponse(results=self.results)
            next(requests)
            context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        for _ in range(self.let_in):
            next(requests)
            yield service_pb2.PipelineResponse(results=self.results)
        # A client that is still sending when its call ends may hear of that, and not of how it ended.
        next(requests, None)
        self._answer(context)

    def WatchSession(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._answer(context)
        # A kind of message, and a kind of event, of which this version knows nothing.
        yield service_pb2.WatchSessionResponse.FromString(b"\x7a\x01x")
        yield service_pb2.WatchSessionResponse(event=state_pb2.Event(revision=1, kind=99))  # type: ignore[arg-type]

    def WatchSessions(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._answer(context)
        yield service_pb2.WatchSessionsResponse(session=state_pb2.Session(session_id="s", revision=1))

    def _answer(self, context: grpc.ServicerContext) -> None:
        with self.lock:
            self.carried.append(dict(context.invocation_metadata()))
            if self.first:
                context.abort(self.first.pop(0), "at first")
        if self.code is None:
            return
        if self.detail is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", self._status()),))
        context.abort(self.code, "what the service says")

    def _status(self) -> bytes:
        if isinstance(self.detail, bytes):
            return self.detail
        wrapped = AnyMessage()
        assert self.detail is not None
        wrapped.Pack(self.detail)
        body = wrapped.SerializeToString()
        # google.rpc.Status: code = 3, message = "m", another detail first, then ours.
        other = AnyMessage(type_url="type.googleapis.com/google.rpc.Help").SerializeToString()
        return b"\x08\x03\x12\x01m" + b"".join(b"\x1a" + _varint(len(part)) + part for part in (other, body))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@contextmanager
def serving(credentials: grpc.ServerCredentials | None = None) -> Iterator[Raw]:
    """Such a server for a while."""
    # The methods that it leaves out answer UNIMPLEMENTED.
    raw = Raw()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_WorkflowStateServiceServicer_to_server(raw, server)
    if credentials is None:
        raw.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        raw.url = f"https://localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    try:
        yield raw
    finally:
        server.stop(0).wait()
