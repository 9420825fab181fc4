//! The one error of the client, its closed reasons, and the status code of each.

use std::collections::BTreeMap;
use std::fmt;

use tonic::Code;

use crate::proto;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal $code:ident;)*) => {
        /// Why a call failed: the same reasons in every language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// A reason that a newer service has and this client does not know, by its number.
            Unrecognized(i32),
        }

        impl Reason {
            /// The reason's name as the service and other languages have it, such as `REVISION_MISMATCH`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unrecognized(_) => "UNRECOGNIZED",
                }
            }

            /// The status code that belongs to the reason.
            pub fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                    Self::Unrecognized(_) => Code::Unknown,
                }
            }

            pub(crate) fn of_wire(number: i32) -> Self {
                match proto::ErrorReason::try_from(number) {
                    $(Ok(proto::ErrorReason::$name) => Self::$name,)*
                    Ok(proto::ErrorReason::Unspecified) | Err(_) => Self::Unrecognized(number),
                }
            }
        }
    };
}

reasons! {
    /// A session id is empty or too long.
    InvalidSessionId "INVALID_SESSION_ID" InvalidArgument;
    /// A key is empty or too long.
    InvalidKey "INVALID_KEY" InvalidArgument;
    /// A value can't be kept, or is not what it is read as; metadata `path` says where in it.
    InvalidValue "INVALID_VALUE" InvalidArgument;
    /// The page token is not from this listing.
    InvalidPageToken "INVALID_PAGE_TOKEN" InvalidArgument;
    /// The request id was used for another request to the session.
    RequestIdReused "REQUEST_ID_REUSED" InvalidArgument;
    /// Another argument is wrong; metadata `field` names it.
    InvalidRequest "INVALID_REQUEST" InvalidArgument;
    /// A check did not hold; [`Error::failed_checks`] has every one. Read again and retry.
    RevisionMismatch "REVISION_MISMATCH" Aborted;
    /// The stored value has another type than the change needs; metadata `key` names it.
    ValueTypeMismatch "VALUE_TYPE_MISMATCH" FailedPrecondition;
    /// The session to fork or to restore is not there.
    SessionNotFound "SESSION_NOT_FOUND" NotFound;
    /// The session to fork into is there already.
    SessionExists "SESSION_EXISTS" AlreadyExists;
    /// The revision is no longer kept; metadata `oldest_revision` is the oldest that is.
    HistoryCompacted "HISTORY_COMPACTED" OutOfRange;
    /// The revision is not made yet; metadata `current_revision` is the last.
    FutureRevision "FUTURE_REVISION" OutOfRange;
    /// An increment's result can't be kept exactly.
    NumberOutOfRange "NUMBER_OUT_OF_RANGE" OutOfRange;
    /// A value is over the limit; metadata `limit` and `actual` are in bytes.
    ValueTooLarge "VALUE_TOO_LARGE" ResourceExhausted;
    /// The request, or its answer, is over a limit.
    RequestTooLarge "REQUEST_TOO_LARGE" ResourceExhausted;
    /// The session would grow over the limit, or is too large for one answer: read it with `list_state`.
    SessionTooLarge "SESSION_TOO_LARGE" ResourceExhausted;
    /// The session would have too many entries.
    TooManyEntries "TOO_MANY_ENTRIES" ResourceExhausted;
    /// The caller asks too fast.
    RateLimited "RATE_LIMITED" ResourceExhausted;
    /// The store is full.
    StorageFull "STORAGE_FULL" ResourceExhausted;
    /// The service can't be reached or can't answer now; a write did not happen.
    StoreUnavailable "STORE_UNAVAILABLE" Unavailable;
    /// The write may or may not have happened: retry it with the same request id.
    OutcomeUnknown "OUTCOME_UNKNOWN" Unavailable;
    /// The service is stopping.
    ShuttingDown "SHUTTING_DOWN" Unavailable;
    /// Who is calling can't be told.
    Unauthenticated "UNAUTHENTICATED" Unauthenticated;
    /// The caller may not do that.
    PermissionDenied "PERMISSION_DENIED" PermissionDenied;
    /// A stored value can't be decrypted: the key is missing, or the value was changed.
    ValueUnreadable "VALUE_UNREADABLE" FailedPrecondition;
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognized(number) => write!(formatter, "UNRECOGNIZED_{number}"),
            known => formatter.write_str(known.as_str()),
        }
    }
}

/// A check that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedCheck {
    /// The key; empty: the session's own `if_revision`.
    pub key: String,
    /// The revision that was asked for.
    pub if_revision: i64,
    /// The revision that is there; 0: absent.
    pub actual_revision: i64,
}

/// What every call fails with: a closed [`Reason`], and facts for programs. Decide by the reason, not by the
/// text.
///
/// Its text says what was wrong and what to do, and never holds a stored value. What lies underneath is its
/// [`source`](std::error::Error::source).
pub struct Error(Box<Facts>);

struct Facts {
    reason: Reason,
    code: Code,
    message: String,
    metadata: BTreeMap<String, String>,
    failed_checks: Vec<FailedCheck>,
    source: Option<Source>,
}

pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            reason,
            code: reason.code(),
            message: message.into(),
            metadata: BTreeMap::new(),
            failed_checks: Vec::new(),
            source: None,
        }))
    }

    /// The error of an argument that is wrong before anything is sent.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidRequest, message).with("field", field)
    }

    pub(crate) fn of_wire(detail: proto::ErrorDetail, message: String, code: Code) -> Self {
        let reason = Reason::of_wire(detail.reason);
        let mut error = Self::new(reason, message);
        if matches!(reason, Reason::Unrecognized(_)) {
            error.0.code = code;
        }
        error.0.metadata = detail.metadata;
        error.0.failed_checks = detail
            .failed_checks
            .into_iter()
            .map(|check| FailedCheck {
                key: check.key,
                if_revision: check.if_revision,
                actual_revision: check.actual_revision,
            })
            .collect();
        error
    }

    pub(crate) fn with(mut self, name: &str, fact: impl Into<String>) -> Self {
        self.0.metadata.insert(name.to_owned(), fact.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Why the call failed.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The gRPC status code: the one that belongs to the reason.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text, for a person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts by name: `path`, `field`, `key`, `limit`, `actual`, `oldest_revision`, `current_revision`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// Every check that did not hold; empty unless the reason is [`Reason::RevisionMismatch`]. Of very many
    /// the first: metadata `failed_checks` says how many there were then.
    pub fn failed_checks(&self) -> &[FailedCheck] {
        &self.0.failed_checks
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.reason, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("reason", &self.0.reason)
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("metadata", &self.0.metadata)
            .field("failed_checks", &self.0.failed_checks)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
