"""Arguments to messages, and messages to nouns. What no message can hold is refused here, the rest by the service."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from .errors import FailedCheck, Reason, WorkflowStateError, invalid
from .nouns import (
    Committed,
    Deletion,
    Entry,
    Event,
    EventKind,
    ForkedFrom,
    Progress,
    Session,
    SessionOrder,
    SessionView,
    Snapshot,
    WatchMessage,
)
from .proto import service_pb2, state_pb2
from .values import from_value

Ttl: TypeAlias = timedelta | float
"""A span of time: a timedelta, or seconds. What is no whole millisecond counts as one more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_MOST = 2**63 - 1
_MOST_INT32 = 2**31 - 1


def text(value: str, field: str, reason: Reason = Reason.INVALID_REQUEST) -> str:
    """Checks that something is text that a message can hold."""
    if not isinstance(value, str):
        raise invalid(field, f"{field} must be a str, not {type(value).__qualname__}.", reason)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid(
                field, f"{field} is not well-formed Unicode: it has a lone surrogate.", reason
            ) from None
    return value


def optional_text(value: str | None, field: str) -> str | None:
    """Checks text that may be absent."""
    return None if value is None else text(value, field)


def session_id(value: str, field: str = "session_id") -> str:
    """Checks a session id."""
    return text(value, field, Reason.INVALID_SESSION_ID)


def key(value: str, field: str = "key") -> str:
    """Checks a key."""
    return text(value, field, Reason.INVALID_KEY)


def labels(value: Mapping[str, str], field: str = "labels") -> Mapping[str, str]:
    """Checks labels."""
    if not isinstance(value, Mapping):
        raise invalid(field, f"{field} must be a dict of str to str.")
    return {text(name, field): text(label, field) for name, label in value.items()}


def revision(value: int | None, field: str = "if_revision") -> int | None:
    """Checks a revision; None: absent."""
    return None if value is None else whole(value, field)


def whole(value: int, field: str, most: int = _MOST) -> int:
    """Checks a number that can't be negative."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise invalid(field, f"{field} must be an int, 0 or more.")
    return value


def count(value: int | None, field: str) -> int:
    """Checks a count that is left to the service if it is None."""
    return 0 if value is None else whole(value, field, _MOST_INT32)


def finite(value: float, field: str) -> float:
    """Checks a number to add."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise invalid(field, f"{field} must be an int or a float.")
    if isinstance(value, int) and abs(value) > 2**53:
        raise invalid(field, f"{field} is beyond 2**53, which numbers here can't hold exactly.")
    if value - value != 0:
        raise invalid(field, f"{field} must be finite.")
    return value


def duration(value: Ttl | None, field: str = "ttl") -> Duration | None:
    """A span of time as a message; None: absent."""
    if value is None:
        return None
    try:
        span = value if isinstance(value, timedelta) else timedelta(seconds=finite(value, field))
    except OverflowError:
        raise invalid(field, f"{field} is too long.") from None
    if not (isinstance(value, timedelta) or span) and value:
        # A timedelta has no less.
        span = timedelta.resolution if value > 0 else -timedelta.resolution
    # Away from 0, which is "for ever": neither what is short nor what ran out just now becomes that.
    milliseconds = -(-span // _MILLISECOND) if span > timedelta() else span // _MILLISECOND
    message = Duration()
    message.FromMilliseconds(milliseconds)
    return message


def timestamp(value: datetime | None, field: str) -> Timestamp | None:
    """A moment as a message; None: absent."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise invalid(
            field, f"{field} must be a datetime with a time zone, such as datetime.now(timezone.utc)."
        )
    span = value - _EPOCH
    return Timestamp(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1000)


def request_id(value: str | None) -> str:
    """Checks a request id; None or "": one that no other call has."""
    return given_request_id(value) or uuid.uuid4().hex


def given_request_id(value: str | None) -> str:
    """Checks a request id; None: none."""
    return "" if value is None else text(value, "request_id")


def view(value: SessionView) -> state_pb2.SessionView.ValueType:
    """How much of each session, as a message has it."""
    if value not in SessionView.__members__:
        raise invalid("view", "view must be a SessionView.")
    return state_pb2.SessionView.Value(f"SESSION_VIEW_{value}")


def order(value: SessionOrder) -> state_pb2.SessionOrder.ValueType:
    """The order of a listing, as a message has it."""
    if value not in SessionOrder.__members__:
        raise invalid("order", "order must be a SessionOrder.")
    return state_pb2.SessionOrder.Value(f"SESSION_ORDER_{value}")


def moment(message: Timestamp) -> datetime:
    """A moment, in UTC."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def entry_of(message: state_pb2.Entry) -> Entry:
    """An entry."""
    deleted = not message.HasField("value")
    return Entry(
        message.key,
        None if deleted else from_value(message.value),
        message.revision,
        moment(message.update_time),
        moment(message.expire_time) if message.HasField("expire_time") else None,
        deleted,
    )


def session_of(message: state_pb2.Session) -> Session:
    """A session."""
    forked_from = message.forked_from
    return Session(
        session_id=message.session_id,
        state={key: from_value(message.state[key]) for key in sorted(message.state)},
        revision=message.revision,
        create_time=moment(message.create_time) if message.HasField("create_time") else None,
        update_time=moment(message.update_time) if message.HasField("update_time") else None,
        workflow_id=message.workflow_id if message.HasField("workflow_id") else None,
        user_id=message.user_id if message.HasField("user_id") else None,
        labels=dict(sorted(message.labels.items())),
        expire_time=moment(message.expire_time) if message.HasField("expire_time") else None,
        forked_from=ForkedFrom(forked_from.session_id, forked_from.revision)
        if message.HasField("forked_from")
        else None,
    )


def event_of(message: state_pb2.Event) -> Event:
    """An event."""
    return Event(
        message.session_id,
        message.revision,
        moment(message.time),
        kind_of(message.kind),
        tuple(map(entry_of, message.entries)),
        message.request_id or None,
    )


def kind_of(number: int) -> EventKind:
    """The kind of an event."""
    names = state_pb2.EventKind.DESCRIPTOR.values_by_number
    name = names[number].name.removeprefix("EVENT_KIND_") if number in names else ""
    return EventKind(name) if name in EventKind.__members__ else EventKind.UNKNOWN


def watch_message_of(message: service_pb2.WatchSessionResponse) -> WatchMessage | None:
    """A message of a watch; None: one of a kind that this client does not know."""
    kind = message.WhichOneof("message")
    if kind == "event":
        return event_of(message.event)
    if kind == "snapshot":
        return Snapshot(session_of(message.snapshot))
    return Progress(message.progress.revision) if kind == "progress" else None


def committed_of(message: service_pb2.CommitResponse) -> Committed:
    """What a commit left."""
    return Committed(
        message.revision,
        moment(message.update_time) if message.HasField("update_time") else None,
        tuple(map(entry_of, message.entries)),
    )


def deletion_of(message: service_pb2.DeleteStateResponse) -> Deletion:
    """What a deletion did."""
    return Deletion(message.deleted, message.revision)


def error_of(detail: state_pb2.ErrorDetail, message: str, code: StatusCode) -> WorkflowStateError:
    """The error that a detail describes. A reason that this client does not know keeps its number, and the code."""
    names = state_pb2.ErrorReason.DESCRIPTOR.values_by_number
    name = names[detail.reason].name.removeprefix("ERROR_REASON_") if detail.reason in names else ""
    return WorkflowStateError(
        Reason(name if name in Reason.__members__ else f"UNKNOWN_{detail.reason}"),
        message,
        code=code,
        metadata=dict(detail.metadata),
        failed_checks=tuple(
            FailedCheck(check.key, check.if_revision, check.actual_revision) for check in detail.failed_checks
        ),
    )
