//! What gRPC fails with, as the error of the client: by the detail in the status, never by its text.

use prost::Message;
use prost_types::Any;
use tonic::{Code, ConnectError, Status};

use crate::error::{Error, Reason};
use crate::proto::ErrorDetail;

const DETAIL: &str = "/agenterra.state.v1.ErrorDetail";

/// What of google.rpc.Status is looked at.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// A status as the client's error. What can't be known of a write is OUTCOME_UNKNOWN.
pub(crate) fn of_status(status: Status, write: bool) -> Error {
    if let Some(detail) = detail_of(&status) {
        let message = text_of(&status, "The call has failed.");
        return Error::of_wire(detail, message, status.code()).because(status);
    }
    let reason = match status.code() {
        Code::InvalidArgument => Reason::InvalidRequest,
        Code::ResourceExhausted => Reason::RequestTooLarge,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::Unimplemented | Code::NotFound => {
            // It will be so the next time too: no reason to retry.
            return Error::new(
                Reason::InvalidRequest,
                "There is no such call at this address: check the URL, and that the service is not older \
                 than this client.",
            )
            .because(status);
        }
        _ if was_not_sent(&status) => return unreachable().because(status),
        _ => return unanswered(write).because(status),
    };
    Error::new(reason, text_of(&status, "The service refused the call.")).because(status)
}

fn text_of(status: &Status, otherwise: &str) -> String {
    let text = if status.message().is_empty() { otherwise } else { status.message() };
    text.to_owned()
}

fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let RpcStatus { details } = RpcStatus::decode(status.details()).ok()?;
    let detail = details.iter().find(|any| any.type_url.ends_with(DETAIL))?;
    ErrorDetail::decode(detail.value.as_slice()).ok()
}

/// Whether there was no connection to send it on, by what lies under the failure.
pub(crate) fn was_not_sent(failure: &dyn std::error::Error) -> bool {
    let mut cause = failure.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error of a call that was sent and not answered.
pub(crate) fn unanswered(write: bool) -> Error {
    if write { unknown() } else { unreachable() }
}

/// The error of a call that did not reach the service, or of a read that was not answered.
pub(crate) fn unreachable() -> Error {
    Error::new(Reason::StoreUnavailable, "The service can't be reached or did not answer; retry later.")
}

/// The error of a call that had no time left.
pub(crate) fn overdue() -> Error {
    Error::new(
        Reason::StoreUnavailable,
        "The call's time ran out before it could be sent; give it a longer timeout.",
    )
}

fn unknown() -> Error {
    Error::new(
        Reason::OutcomeUnknown,
        "The write may or may not have happened; retry it with the same request id.",
    )
}

/// The failure of a write of which an earlier attempt may have been done.
pub(crate) fn still_unknown(failure: Error) -> Error {
    if says_of_earlier(&failure) || failure.reason() == Reason::OutcomeUnknown {
        return failure;
    }
    unknown().because(failure)
}

/// Whether what a write failed with is also about an earlier attempt of it.
pub(crate) fn says_of_earlier(failure: &Error) -> bool {
    // These are decided before the service looks at a request id.
    let is_before_the_store =
        matches!(failure.reason(), Reason::Unauthenticated | Reason::PermissionDenied | Reason::RateLimited);
    !is_unavailable(failure) && !is_before_the_store && !is_a_proxys(failure)
}

/// Whether a proxy may have said it, for itself: without a detail it is not the store's word.
fn is_a_proxys(failure: &Error) -> bool {
    let source = std::error::Error::source(failure);
    source.and_then(|source| source.downcast_ref::<Status>()).is_some_and(|status| {
        let is_its_code =
            matches!(status.code(), Code::Unimplemented | Code::NotFound | Code::ResourceExhausted);
        is_its_code && detail_of(status).is_none()
    })
}

/// Whether a write that failed so may have been done: also for a reason that is not known here.
pub(crate) fn leaves_open(failure: &Error) -> bool {
    match failure.reason() {
        Reason::OutcomeUnknown => true,
        Reason::Unrecognized(_) => is_unavailable(failure),
        _ => false,
    }
}

/// Whether it may go better when tried again.
pub(crate) fn is_unavailable(failure: &Error) -> bool {
    failure.code() == Code::Unavailable
}
