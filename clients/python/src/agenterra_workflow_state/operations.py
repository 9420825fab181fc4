"""What a batch or a pipeline carries: operations, the commit with its checks and changes among them, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf import struct_pb2
from grpc import StatusCode

from . import _requests, _wire
from .errors import Reason, WorkflowStateError, invalid
from .nouns import Committed, Deletion, Entry, Session
from .proto import service_pb2, state_pb2
from .values import Json, fill

if TYPE_CHECKING:
    from ._wire import Ttl


@dataclass(frozen=True, slots=True)
class GetState:
    """Read one entry. Its result is an `Entry`, or None if there is none."""

    session_id: str
    key: str
    at_revision: int | None = None


@dataclass(frozen=True, slots=True)
class SetState:
    """Write one entry. Its result is the `Entry`."""

    session_id: str
    key: str
    value: Json
    if_revision: int | None = None
    ttl: Ttl | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteState:
    """Delete one entry. Its result is a `Deletion`."""

    session_id: str
    key: str
    if_revision: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class GetSession:
    """Read a session. Its result is a `Session`, or None if there is none."""

    session_id: str
    key_prefix: str = ""
    at_revision: int | None = None


class Commit:
    """One atomic write to one session, put together step by step: all checks, then all changes in order, or nothing.

        Commit("cart-1").check("order", 0).append("items", "eggs", "milk").increment("total", 2)

    Of what it says about the session itself None leaves what was, an empty text or dict clears it, and a ttl of 0 takes
    the expiry away. Values are taken over when they are given: changing them later changes nothing. Its result is a
    `Committed`.
    """

    __slots__ = ("_request",)

    def __init__(
        self,
        session_id: str,
        *,
        if_revision: int | None = None,
        workflow_id: str | None = None,
        user_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        idle_ttl: Ttl | None = None,
        request_id: str | None = None,
    ) -> None:
        self._request = service_pb2.CommitRequest(
            session_id=_wire.session_id(session_id),
            if_revision=_wire.revision(if_revision),
            request_id=_wire.given_request_id(request_id),
        )
        if any(option is not None for option in (workflow_id, user_id, labels, ttl, idle_ttl)):
            metadata = state_pb2.SessionMetadata(
                workflow_id=_wire.optional_text(workflow_id, "workflow_id"),
                user_id=_wire.optional_text(user_id, "user_id"),
                labels=_wire.labels(labels or {}),
                ttl=_wire.duration(ttl),
                idle_ttl=_wire.duration(idle_ttl, "idle_ttl"),
                clear_labels=labels is not None and not labels,
            )
            self._request.metadata.CopyFrom(metadata)

    @property
    def session_id(self) -> str:
        """The session to write to."""
        return self._request.session_id

    def check(self, key: str, if_revision: int) -> Commit:
        """Writes only if the key's entry is at this revision; 0: only if there is none."""
        self._request.checks.add(key=_wire.key(key), if_revision=_wire.whole(if_revision, "if_revision"))
        return self

    def set(self, key: str, value: Json, *, ttl: Ttl | None = None, keep_expiry: bool = False) -> Commit:
        """Writes a value; without a ttl it does not expire, or with `keep_expiry` when it did before."""
        change = state_pb2.SetChange(key=_wire.key(key), ttl=_wire.duration(ttl), keep_expiry=keep_expiry)
        fill(change.value, value, key)
        self._request.changes.add(set=change)
        return self

    def delete(self, key: str) -> Commit:
        """Removes a key. One that is absent is no error."""
        self._request.changes.add(delete=state_pb2.DeleteChange(key=_wire.key(key)))
        return self

    def increment(self, key: str, delta: float = 1) -> Commit:
        """Adds to a number; an absent key starts from 0."""
        change = state_pb2.IncrementChange(key=_wire.key(key), delta=_wire.finite(delta, "delta"))
        self._request.changes.add(increment=change)
        return self

    def append(self, key: str, *values: Json, max_items: int = 0) -> Commit:
        """Adds values to the end of a list, which keeps its last `max_items`, 0: all; an absent key starts from []."""
        change = state_pb2.AppendChange(key=_wire.key(key), max_items=_wire.count(max_items, "max_items"))
        for value in values:
            fill(change.values.add(), value, key)
        self._request.changes.add(append=change)
        return self

    def merge(self, key: str, patch: Mapping[str, Json]) -> Commit:
        """Applies a JSON Merge Patch (RFC 7396) to an object: None removes a member. An absent key starts from {}."""
        change = state_pb2.MergeChange(key=_wire.key(key))
        fill(change.value, patch, key)
        self._request.changes.add(merge=change)
        return self


def commit_request(commit: Commit) -> service_pb2.CommitRequest:
    """A copy of the commit as a message, with a request id."""
    request = service_pb2.CommitRequest()
    request.CopyFrom(commit._request)
    request.request_id = _wire.request_id(request.request_id)
    return request


def add_set(commit: Commit, key: str, value: struct_pb2.Value) -> None:
    """Adds the writing of a value that is a message already."""
    commit._request.changes.add(set=state_pb2.SetChange(key=_wire.key(key), value=value))


Operation: TypeAlias = GetState | SetState | DeleteState | GetSession | Commit
"""One operation of a batch."""

Result: TypeAlias = Entry | Deletion | Committed | Session | WorkflowStateError | None
"""What an operation answered: what its class says, or the error that it failed with."""


def operations_to_wire(operations: Iterable[Operation]) -> list[service_pb2.Operation]:
    """The operations as messages, writes with request ids."""
    return [_to_wire(operation) for operation in operations]


def _to_wire(operation: Operation) -> service_pb2.Operation:
    if isinstance(operation, GetState):
        get = _requests.get_state(operation.session_id, operation.key, operation.at_revision)
        return service_pb2.Operation(get_state=get)
    if isinstance(operation, SetState):
        write = _requests.set_state(
            operation.session_id,
            operation.key,
            operation.value,
            operation.if_revision,
            operation.ttl,
            operation.request_id,
        )
        return service_pb2.Operation(set_state=write)
    if isinstance(operation, Commit):
        return service_pb2.Operation(commit=commit_request(operation))
    if isinstance(operation, DeleteState):
        delete = _requests.delete_state(
            operation.session_id, operation.key, operation.if_revision, operation.request_id
        )
        return service_pb2.Operation(delete_state=delete)
    if isinstance(operation, GetSession):
        read = _requests.get_session(operation.session_id, operation.key_prefix, operation.at_revision)
        return service_pb2.Operation(get_session=read)
    raise invalid("operations", "An operation is a GetState, SetState, DeleteState, GetSession or Commit.")


def writes(operations: Iterable[service_pb2.Operation]) -> bool:
    """Whether any of the operations writes."""
    return any(
        operation.WhichOneof("operation") not in ("get_state", "get_session") for operation in operations
    )


def _unsaid(operations: Iterable[service_pb2.Operation]) -> Reason:
    """The reason of operations whose end is not known."""
    return Reason.OUTCOME_UNKNOWN if writes(operations) else Reason.STORE_UNAVAILABLE


def results_from_wire(
    results: Iterable[service_pb2.Result], operations: Sequence[service_pb2.Operation]
) -> list[Result]:
    """The results of a batch, one for each operation."""
    read = list(results)
    if len(read) != len(operations):
        raise WorkflowStateError(
            _unsaid(operations),
            "The service's answer has not one result for each operation.",
        )
    return list(map(_from_wire, read, operations))


def _from_wire(result: service_pb2.Result, operation: service_pb2.Operation) -> Result:
    kind = result.WhichOneof("result")
    if kind == "get_state":
        return _wire.entry_of(result.get_state.entry) if result.get_state.HasField("entry") else None
    if kind == "set_state":
        return _wire.entry_of(result.set_state.entry)
    if kind == "delete_state":
        return _wire.deletion_of(result.delete_state)
    if kind == "commit":
        return _wire.committed_of(result.commit)
    if kind == "get_session":
        return (
            _wire.session_of(result.get_session.session) if result.get_session.HasField("session") else None
        )
    if result.error.reason:
        return _wire.error_of(result.error, result.error.message, StatusCode.UNKNOWN)
    return WorkflowStateError(
        _unsaid([operation]),
        "The service's answer to the operation is of a kind that this client does not know.",
    )
