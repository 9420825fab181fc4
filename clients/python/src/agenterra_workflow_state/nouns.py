"""The nouns of the client: sessions, entries, events and answers, as plain dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


class _Name(str, Enum):
    def __str__(self) -> str:
        return str(self.value)


class EventKind(_Name):
    """What kind of write made an event."""

    COMMITTED = "COMMITTED"
    """Entries or metadata were changed."""
    SAVED = "SAVED"
    """The session was replaced."""
    DELETED = "DELETED"
    """The session was deleted, and all its entries."""
    EXPIRED = "EXPIRED"
    """Entries expired, or without entries: the session did, and all its entries."""
    FORKED = "FORKED"
    """The session was made by a fork."""
    RESTORED = "RESTORED"
    """The session was given an older content."""
    UNKNOWN = "UNKNOWN"
    """A kind that a newer service has and this client does not know."""


class SessionView(_Name):
    """How much of each session a listing returns."""

    IDS = "IDS"
    """session_id only."""
    METADATA = "METADATA"
    """All but the state."""
    FULL = "FULL"
    """Everything."""


class SessionOrder(_Name):
    """The order of a listing of sessions."""

    ID = "ID"
    """By session_id, as UTF-8 bytes compare."""
    UPDATE_TIME_DESC = "UPDATE_TIME_DESC"
    """The last written first."""


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """The session and revision that a session was forked from."""

    session_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class Session:
    """A workflow session: its state and what is known about it. Times are aware datetimes in UTC, to the millisecond."""

    session_id: str
    state: dict[str, Any]
    """Every key with its value, ordered by key; empty where a listing or a watch leaves it out."""
    revision: int
    """The revision of the last commit; 0 in a snapshot of a session that never was."""
    create_time: datetime | None = None
    """None in a snapshot of a session that does not exist, and in a listing of ids."""
    update_time: datetime | None = None
    """When it was last written; None as `create_time`."""
    workflow_id: str | None = None
    user_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    expire_time: datetime | None = None
    """When it expires unless it is written or renewed before; None: never."""
    forked_from: ForkedFrom | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a session's state."""

    key: str
    value: Any
    """The value; None also where `deleted`."""
    revision: int
    """The revision of the commit that last wrote it: what a check compares."""
    update_time: datetime
    expire_time: datetime | None = None
    """When it expires; None: never."""
    deleted: bool = False
    """Whether the entry is gone: in the answers of writes and in events only. A stored null has False here."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit left."""

    revision: int
    """The session's revision after it, unchanged if nothing was written; 0: there is no such session."""
    update_time: datetime | None
    """When the session was last written; None: there is no such session."""
    entries: tuple[Entry, ...]
    """Each entry that a change named, as it is after the commit, in the order first named."""

    def __getitem__(self, key: str) -> Entry:
        for entry in self.entries:
            if entry.key == key:
                return entry
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What the deletion of an entry did; true if there was one."""

    deleted: bool
    revision: int
    """The session's revision after it; 0: there is no such session."""

    def __bool__(self) -> bool:
        return self.deleted


@dataclass(frozen=True, slots=True)
class Event:
    """What one commit did: a message of a watch, and an item of the history."""

    session_id: str
    revision: int
    time: datetime
    kind: EventKind
    entries: tuple[Entry, ...]
    """The entries that it wrote, as they were after it."""
    request_id: str | None
    """The request id of the write. Writes of these clients always have one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The first message of a watch that began without a revision: the session as it is."""

    session: Session

    @property
    def revision(self) -> int:
        """The revision to resume from."""
        return self.session.revision


@dataclass(frozen=True, slots=True)
class Progress:
    """A message of a watch that says: nothing new. All events up to this revision have come."""

    revision: int


WatchMessage: TypeAlias = Snapshot | Event | Progress
"""A message of a watch on one session. Each has the `revision` to resume from."""


@dataclass(frozen=True, slots=True)
class SessionChange:
    """One commit to a session that a watch on sessions follows."""

    session: Session
    """The session after it, without its state; of a deleted or expired one what it was last."""
    kind: EventKind


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing."""

    items: tuple[T, ...]
    next_page_token: str
    """Asks for the next page; empty: this was the last."""
