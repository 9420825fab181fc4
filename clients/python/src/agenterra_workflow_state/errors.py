"""The one error class of the client, its closed reasons, and the status code of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from grpc import StatusCode

_UNKNOWN = re.compile(r"UNKNOWN_-?[0-9]+")


class Reason(str, Enum):
    """Why a call failed: a closed set, the same in every language. A reason equals its name as text.

    A newer service can have further ones: those come as `UNKNOWN_` and their number.
    """

    INVALID_SESSION_ID = "INVALID_SESSION_ID"
    """A session id is empty, too long or ill-formed."""
    INVALID_KEY = "INVALID_KEY"
    """A key is empty, too long or ill-formed."""
    INVALID_VALUE = "INVALID_VALUE"
    """A value can't be kept; metadata `path` says where in it."""
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105
    """The page token is not from this listing."""
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    """The request id was used for another request to the session."""
    INVALID_REQUEST = "INVALID_REQUEST"
    """Another argument is wrong; metadata `field` names it."""
    REVISION_MISMATCH = "REVISION_MISMATCH"
    """A check did not hold; `failed_checks` has every one. Read again and retry."""
    VALUE_TYPE_MISMATCH = "VALUE_TYPE_MISMATCH"
    """The stored value has another type than the change needs; metadata `key` names it."""
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    """The session to fork or to restore is not there."""
    SESSION_EXISTS = "SESSION_EXISTS"
    """The session to fork into is there already."""
    HISTORY_COMPACTED = "HISTORY_COMPACTED"
    """The revision is no longer kept; metadata `oldest_revision` is the oldest that is."""
    FUTURE_REVISION = "FUTURE_REVISION"
    """The revision is not made yet; metadata `current_revision` is the last."""
    NUMBER_OUT_OF_RANGE = "NUMBER_OUT_OF_RANGE"
    """An increment's result can't be kept exactly."""
    VALUE_TOO_LARGE = "VALUE_TOO_LARGE"
    """A value is over the limit; metadata `limit` and `actual` are in bytes."""
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    """The request, or its answer, is over a limit."""
    SESSION_TOO_LARGE = "SESSION_TOO_LARGE"
    """The session would grow over the limit, or is too large for one answer: read it with `list_state`."""
    TOO_MANY_ENTRIES = "TOO_MANY_ENTRIES"
    """The session would have too many entries."""
    RATE_LIMITED = "RATE_LIMITED"
    """The caller asks too fast."""
    STORAGE_FULL = "STORAGE_FULL"
    """The store is full."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The service can't be reached or can't answer now; a write did not happen."""
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """The write may or may not have happened: retry it with the same request id."""
    SHUTTING_DOWN = "SHUTTING_DOWN"
    """The service is stopping, or this client was closed."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Who is calling can't be told."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """The caller may not do that."""
    VALUE_UNREADABLE = "VALUE_UNREADABLE"
    """A stored value can't be decrypted: the key is missing, or the value was changed."""

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        if not isinstance(value, str) or not _UNKNOWN.fullmatch(value):
            return None
        reason = str.__new__(cls, value)
        reason._name_ = reason._value_ = value
        return reason


#: The status code of each reason.
CODE_OF_REASON: Mapping[Reason, StatusCode] = MappingProxyType(
    {
        Reason.INVALID_SESSION_ID: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_KEY: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_VALUE: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_PAGE_TOKEN: StatusCode.INVALID_ARGUMENT,
        Reason.REQUEST_ID_REUSED: StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
        Reason.REVISION_MISMATCH: StatusCode.ABORTED,
        Reason.VALUE_TYPE_MISMATCH: StatusCode.FAILED_PRECONDITION,
        Reason.SESSION_NOT_FOUND: StatusCode.NOT_FOUND,
        Reason.SESSION_EXISTS: StatusCode.ALREADY_EXISTS,
        Reason.HISTORY_COMPACTED: StatusCode.OUT_OF_RANGE,
        Reason.FUTURE_REVISION: StatusCode.OUT_OF_RANGE,
        Reason.NUMBER_OUT_OF_RANGE: StatusCode.OUT_OF_RANGE,
        Reason.VALUE_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
        Reason.REQUEST_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
        Reason.SESSION_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
        Reason.TOO_MANY_ENTRIES: StatusCode.RESOURCE_EXHAUSTED,
        Reason.RATE_LIMITED: StatusCode.RESOURCE_EXHAUSTED,
        Reason.STORAGE_FULL: StatusCode.RESOURCE_EXHAUSTED,
        Reason.STORE_UNAVAILABLE: StatusCode.UNAVAILABLE,
        Reason.OUTCOME_UNKNOWN: StatusCode.UNAVAILABLE,
        Reason.SHUTTING_DOWN: StatusCode.UNAVAILABLE,
        Reason.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED: StatusCode.PERMISSION_DENIED,
        Reason.VALUE_UNREADABLE: StatusCode.FAILED_PRECONDITION,
    }
)


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check that did not hold."""

    key: str
    """The key; `""` means the session's own `if_revision`."""
    if_revision: int
    """The revision that was asked for."""
    actual_revision: int
    """The revision that is there; 0: absent."""


class WorkflowStateError(Exception):
    """What every call of a client raises: a closed `reason`, and facts for programs. Decide by the reason, not by the text.

    Its text says what was wrong and what to do, and never holds a stored value. The error underneath is its `__cause__`.
    """

    reason: Reason
    """Why the call failed."""
    message: str
    """The text, for a person."""
    metadata: Mapping[str, str]
    """Facts by name: `path`, `field`, `key`, `limit`, `actual`, `oldest_revision`, `current_revision`."""
    failed_checks: tuple[FailedCheck, ...]
    """Every check that did not hold; empty unless the reason is REVISION_MISMATCH."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        failed_checks: tuple[FailedCheck, ...] = (),
        code: StatusCode = StatusCode.UNKNOWN,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self._code = CODE_OF_REASON.get(reason, code)
        self.message = message
        self.metadata = dict(metadata or {})
        self.failed_checks = failed_checks

    @property
    def code(self) -> StatusCode:
        """The gRPC status code that belongs to the reason."""
        return self._code

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by its `args`, which are not those of `__init__` here.
        return _remade, (self.reason, self.message, dict(self.metadata), self.failed_checks, self._code)


def _remade(
    reason: Reason,
    message: str,
    metadata: Mapping[str, str],
    failed_checks: tuple[FailedCheck, ...],
    code: StatusCode,
) -> WorkflowStateError:
    return WorkflowStateError(reason, message, metadata=metadata, failed_checks=failed_checks, code=code)


def invalid(field: str, message: str, reason: Reason = Reason.INVALID_REQUEST) -> WorkflowStateError:
    """The error of an argument that is wrong before anything is sent."""
    return WorkflowStateError(reason, message, metadata={"field": field})
