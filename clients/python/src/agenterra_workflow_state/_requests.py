"""The requests of the service: arguments to messages, writes with a request id. What the service can judge is left to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from . import _wire
from ._wire import Ttl
from .errors import invalid
from .nouns import SessionOrder, SessionView
from .proto import service_pb2, state_pb2
from .values import Json, fill

P = TypeVar("P", service_pb2.ListStateRequest, service_pb2.ListSessionsRequest, service_pb2.ListEventsRequest)

#: The most items of a page, by default.
LARGEST_PAGE = 1000


def get_state(session_id: str, key: str, at_revision: int | None) -> service_pb2.GetStateRequest:
    """Reads an entry."""
    return service_pb2.GetStateRequest(
        session_id=_wire.session_id(session_id),
        key=_wire.key(key),
        at_revision=_wire.revision(at_revision, "at_revision"),
    )


def set_state(
    session_id: str,
    key: str,
    value: Json,
    if_revision: int | None,
    ttl: Ttl | None,
    request_id: str | None,
) -> service_pb2.SetStateRequest:
    """Writes an entry."""
    request = service_pb2.SetStateRequest(
        session_id=_wire.session_id(session_id),
        key=_wire.key(key),
        if_revision=_wire.revision(if_revision),
        ttl=_wire.duration(ttl),
        request_id=_wire.request_id(request_id),
    )
    fill(request.value, value, key)
    return request


def delete_state(
    session_id: str, key: str, if_revision: int | None, request_id: str | None
) -> service_pb2.DeleteStateRequest:
    """Deletes an entry."""
    return service_pb2.DeleteStateRequest(
        session_id=_wire.session_id(session_id),
        key=_wire.key(key),
        if_revision=_wire.revision(if_revision),
        request_id=_wire.request_id(request_id),
    )


def list_state(
    session_id: str,
    *,
    key_prefix: str = "",
    start_after: str = "",
    reverse: bool = False,
    at_revision: int | None = None,
    page_size: int | None = None,
) -> service_pb2.ListStateRequest:
    """Lists entries."""
    return service_pb2.ListStateRequest(
        session_id=_wire.session_id(session_id),
        key_prefix=_wire.text(key_prefix, "key_prefix"),
        start_after=_wire.text(start_after, "start_after"),
        reverse=reverse,
        at_revision=_wire.revision(at_revision, "at_revision"),
        page_size=_wire.count(page_size, "page_size"),
    )


def get_session(session_id: str, key_prefix: str, at_revision: int | None) -> service_pb2.GetSessionRequest:
    """Reads a session."""
    return service_pb2.GetSessionRequest(
        session_id=_wire.session_id(session_id),
        key_prefix=_wire.text(key_prefix, "key_prefix"),
        at_revision=_wire.revision(at_revision, "at_revision"),
    )


def save_session(
    session_id: str,
    state: Mapping[str, Json],
    *,
    workflow_id: str | None,
    user_id: str | None,
    labels: Mapping[str, str] | None,
    if_revision: int | None,
    ttl: Ttl | None,
    idle_ttl: Ttl | None,
    request_id: str | None,
) -> service_pb2.SaveSessionRequest:
    """Creates or replaces a session."""
    if not isinstance(state, Mapping):
        # Not taken for an empty state: that would wipe the session.
        raise invalid("session.state", "A session's state is a dict with a value for each key.")
    request = service_pb2.SaveSessionRequest(
        session=state_pb2.Session(
            session_id=_wire.session_id(session_id),
            workflow_id=_wire.optional_text(workflow_id, "workflow_id"),
            user_id=_wire.optional_text(user_id, "user_id"),
            labels=_wire.labels(labels or {}),
        ),
        if_revision=_wire.revision(if_revision),
        ttl=_wire.duration(ttl),
        idle_ttl=_wire.duration(idle_ttl, "idle_ttl"),
        request_id=_wire.request_id(request_id),
    )
    for key, value in state.items():
        fill(request.session.state[_wire.key(key)], value, key)
    return request


def delete_session(
    session_id: str, if_revision: int | None, request_id: str | None
) -> service_pb2.DeleteSessionRequest:
    """Deletes a session."""
    return service_pb2.DeleteSessionRequest(
        session_id=_wire.session_id(session_id),
        if_revision=_wire.revision(if_revision),
        request_id=_wire.request_id(request_id),
    )


def list_sessions(
    *,
    workflow_id: str,
    user_id: str,
    session_id_prefix: str,
    labels: Mapping[str, str] | None,
    updated_after: datetime | None,
    updated_before: datetime | None,
    view: SessionView,
    order: SessionOrder,
    page_size: int | None,
) -> service_pb2.ListSessionsRequest:
    """Lists sessions."""
    return service_pb2.ListSessionsRequest(
        workflow_id=_wire.text(workflow_id, "workflow_id"),
        user_id=_wire.text(user_id, "user_id"),
        session_id_prefix=_wire.text(session_id_prefix, "session_id_prefix"),
        labels=_wire.labels(labels or {}),
        updated_after=_wire.timestamp(updated_after, "updated_after"),
        updated_before=_wire.timestamp(updated_before, "updated_before"),
        view=_wire.view(view),
        order=_wire.order(order),
        page_size=_wire.count(page_size, "page_size"),
    )


def watch_sessions(
    *,
    workflow_id: str,
    user_id: str,
    session_id_prefix: str,
    labels: Mapping[str, str] | None,
    updated_after: datetime | None,
    updated_before: datetime | None,
) -> service_pb2.WatchSessionsRequest:
    """Follows sessions."""
    return service_pb2.WatchSessionsRequest(
        workflow_id=_wire.text(workflow_id, "workflow_id"),
        user_id=_wire.text(user_id, "user_id"),
        session_id_prefix=_wire.text(session_id_prefix, "session_id_prefix"),
        labels=_wire.labels(labels or {}),
        updated_after=_wire.timestamp(updated_after, "updated_after"),
        updated_before=_wire.timestamp(updated_before, "updated_before"),
    )


def watch_session(
    session_id: str, after_revision: int | None, key_prefix: str
) -> service_pb2.WatchSessionRequest:
    """Follows a session."""
    return service_pb2.WatchSessionRequest(
        session_id=_wire.session_id(session_id),
        after_revision=_wire.revision(after_revision, "after_revision"),
        key_prefix=_wire.text(key_prefix, "key_prefix"),
    )


def fork_session(
    session_id: str, new_session_id: str, at_revision: int | None, request_id: str | None
) -> service_pb2.ForkSessionRequest:
    """Copies a session."""
    return service_pb2.ForkSessionRequest(
        session_id=_wire.session_id(session_id),
        new_session_id=_wire.session_id(new_session_id, "new_session_id"),
        at_revision=_wire.revision(at_revision, "at_revision"),
        request_id=_wire.request_id(request_id),
    )


def restore_session(
    session_id: str, at_revision: int, if_revision: int | None, request_id: str | None
) -> service_pb2.RestoreSessionRequest:
    """Brings back an older content."""
    return service_pb2.RestoreSessionRequest(
        session_id=_wire.session_id(session_id),
        at_revision=_wire.whole(at_revision, "at_revision"),
        if_revision=_wire.revision(if_revision),
        request_id=_wire.request_id(request_id),
    )


def list_events(
    session_id: str, *, after_revision: int, reverse: bool, page_size: int | None
) -> service_pb2.ListEventsRequest:
    """Lists events."""
    return service_pb2.ListEventsRequest(
        session_id=_wire.session_id(session_id),
        after_revision=_wire.whole(after_revision, "after_revision"),
        reverse=reverse,
        page_size=_wire.count(page_size, "page_size"),
    )


def page(listing: P, page_token: str) -> P:
    """The request of a listing for one of its pages."""
    request = type(listing)()
    request.CopyFrom(listing)
    request.page_token = page_token
    return request
