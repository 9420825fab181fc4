"""What gRPC raises, as the error of the client: by the detail in the status, never by its text."""

from __future__ import annotations

from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from . import _wire
from .errors import CODE_OF_REASON, Reason, WorkflowStateError
from .proto import state_pb2

_DETAILS = "grpc-status-details-bin"
#: The number of `details` in google.rpc.Status, a repeated google.protobuf.Any.
_DETAILS_FIELD = 3

#: What a status without a detail means, where that does not depend on the call.
_REASON_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: Reason.INVALID_REQUEST,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.REQUEST_TOO_LARGE,
    grpc.StatusCode.UNAUTHENTICATED: Reason.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: Reason.PERMISSION_DENIED,
}

#: Failures that are decided before the service looks at a request id.
_BEFORE_THE_STORE = frozenset({Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED, Reason.RATE_LIMITED})
#: Codes that a proxy gives too, for its own statuses: without a detail they are not the store's word.
_OF_PROXIES = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

CLOSED = "This client was closed."


def failure_of(error: BaseException, *, write: bool) -> WorkflowStateError:
    """Whatever a call raised, as a WorkflowStateError. What can't be known of a write is OUTCOME_UNKNOWN."""
    if isinstance(error, WorkflowStateError):
        return error
    failure = _failure_of(error, write=write)
    failure.__cause__ = error
    return failure


def _failure_of(error: BaseException, *, write: bool) -> WorkflowStateError:
    unsaid = Reason.OUTCOME_UNKNOWN if write else Reason.STORE_UNAVAILABLE
    if isinstance(error, grpc.RpcError) and hasattr(error, "trailing_metadata"):
        # The errors of blocking and of asyncio calls have these in common.
        status = cast(grpc.Call, error)
        detail = _detail_of(status)
        if detail is not None:
            return _wire.error_of(detail, status.details() or "The call has failed.", status.code())
        reason = _REASON_OF_CODE.get(status.code())
        if reason is not None:
            return WorkflowStateError(reason, status.details() or "The service refused the call.")
        if status.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
            # It will be so the next time too: no reason to retry.
            return WorkflowStateError(
                Reason.INVALID_REQUEST,
                "There is no such call at this address: check the URL, and that the service is not older than this client.",
            )
    if write:
        return WorkflowStateError(
            unsaid, "The write may or may not have happened; retry it with the same request id."
        )
    return unreachable()


def _detail_of(status: grpc.Call) -> state_pb2.ErrorDetail | None:
    """The ErrorDetail in the status, a google.rpc.Status in the trailers; None also if it gives no reason."""
    for name, value in status.trailing_metadata() or ():
        if name != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            # A message of no fields keeps those it doesn't know: that spares a package for one message.
            fields = UnknownFieldSet(Empty.FromString(value))
            for field in map(fields.__getitem__, range(len(fields))):
                if field.field_number == _DETAILS_FIELD:
                    detail = state_pb2.ErrorDetail()
                    if Any.FromString(field.data).Unpack(detail) and detail.reason:
                        return detail
        except (DecodeError, TypeError):
            continue
    return None


def unreachable() -> WorkflowStateError:
    """The error of a call that did not reach the service, or of a read that was not answered."""
    return WorkflowStateError(
        Reason.STORE_UNAVAILABLE, "The service can't be reached or did not answer; retry later."
    )


def overdue() -> WorkflowStateError:
    """The error of a call that had no time left."""
    return WorkflowStateError(
        Reason.STORE_UNAVAILABLE, "The call's time ran out before it could be sent; give it a longer timeout."
    )


def closed(*, write: bool = False) -> WorkflowStateError:
    """The error of a call on a client that was closed."""
    return WorkflowStateError(Reason.OUTCOME_UNKNOWN if write else Reason.STORE_UNAVAILABLE, CLOSED)


def is_before_the_store(failure: WorkflowStateError) -> bool:
    """Whether a failure is not the store's word: then it doesn't say how earlier attempts at a write ended."""
    if is_unavailable(failure) or failure.reason in _BEFORE_THE_STORE:
        return True
    cause = failure.__cause__
    if not isinstance(cause, grpc.RpcError) or not hasattr(cause, "trailing_metadata"):
        return False
    status = cast(grpc.Call, cause)
    return status.code() in _OF_PROXIES and _detail_of(status) is None


def still_unknown(failure: WorkflowStateError, *, sent: bool = True) -> WorkflowStateError:
    """The failure of a write of which an earlier attempt may have been done, by the last one, which was sent or not."""
    says = sent and not is_before_the_store(failure)
    if says or failure.reason is Reason.OUTCOME_UNKNOWN:
        return failure
    unknown = WorkflowStateError(
        Reason.OUTCOME_UNKNOWN, "The write may or may not have happened; retry it with the same request id."
    )
    unknown.__cause__ = failure
    return unknown


def leaves_open(failure: WorkflowStateError) -> bool:
    """Whether a write that failed so may have been done: also for a reason that is not known here."""
    is_unknown = is_unavailable(failure) and failure.reason not in CODE_OF_REASON
    return is_unknown or failure.reason is Reason.OUTCOME_UNKNOWN


def is_unavailable(failure: WorkflowStateError) -> bool:
    """Whether it may go better when tried again."""
    return failure.code is grpc.StatusCode.UNAVAILABLE
