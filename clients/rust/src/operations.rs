//! What a batch or a pipeline carries, and what it answers.

use tonic::Code;

use crate::call::{Call, Commit, DeleteState, GetSession, GetState, SetState};
use crate::error::{Error, Reason};
use crate::method::any_writes;
use crate::nouns::{Committed, Deletion, Entry, Session};
use crate::proto;
use crate::proto::operation::Operation as Wire;
use crate::proto::result::Result as WireResult;
use crate::wire;

/// One operation of a batch: made of a [`GetState`], [`SetState`], [`DeleteState`], [`GetSession`] or
/// [`Commit`].
pub struct Operation(pub(crate) Result<proto::Operation, Error>);

macro_rules! operations {
    ($($call:ident)*) => {
        $(impl From<$call> for Operation {
            fn from(Call { message, .. }: $call) -> Self {
                Self(message.map(|request| proto::Operation { operation: Some(Wire::$call(request)) }))
            }
        })*
    };
}

operations!(GetState SetState DeleteState GetSession Commit);

/// What an operation of a batch answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// Of a [`GetState`]: the entry, if there is one.
    GetState(Option<Entry>),
    /// Of a [`SetState`]: the entry as it is after it.
    SetState(Entry),
    /// Of a [`DeleteState`].
    DeleteState(Deletion),
    /// Of a [`Commit`].
    Commit(Committed),
    /// Of a [`GetSession`]: the session, if there is one.
    GetSession(Option<Session>),
}

impl Answer {
    /// The entry of a [`GetState`] or a [`SetState`].
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::GetState(entry) => entry.as_ref(),
            Self::SetState(entry) => Some(entry),
            _ => None,
        }
    }

    /// What a [`Commit`] left.
    pub fn committed(&self) -> Option<&Committed> {
        match self {
            Self::Commit(committed) => Some(committed),
            _ => None,
        }
    }

    /// The session of a [`GetSession`].
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::GetSession(session) => session.as_ref(),
            _ => None,
        }
    }
}

/// The operations as messages. Fails with the first that can't be sent.
pub(crate) fn to_wire(
    operations: impl IntoIterator<Item = Operation>,
) -> Result<Vec<proto::Operation>, Error> {
    operations.into_iter().map(|Operation(message)| message).collect()
}

/// The results of a batch, one for each operation.
pub(crate) fn answers(
    results: Vec<proto::Result>,
    operations: &[proto::Operation],
) -> Result<Vec<Result<Answer, Error>>, Error> {
    if results.len() != operations.len() {
        return Err(Error::new(
            unsaid(operations),
            "The service's answer has not one result for each operation.",
        ));
    }
    Ok(results
        .into_iter()
        .zip(operations)
        .map(|(result, operation)| answer(result, std::slice::from_ref(operation)))
        .collect())
}

/// Why operations failed whose answer does not say how they ended.
fn unsaid(operations: &[proto::Operation]) -> Reason {
    if any_writes(operations) { Reason::OutcomeUnknown } else { Reason::StoreUnavailable }
}

fn answer(result: proto::Result, operation: &[proto::Operation]) -> Result<Answer, Error> {
    Ok(match result.result {
        Some(WireResult::GetState(response)) => Answer::GetState(response.entry.map(wire::entry)),
        Some(WireResult::SetState(response)) => {
            Answer::SetState(wire::entry(response.entry.unwrap_or_default()))
        }
        Some(WireResult::DeleteState(response)) => Answer::DeleteState(wire::deletion(&response)),
        Some(WireResult::Commit(response)) => Answer::Commit(wire::committed(response)),
        Some(WireResult::GetSession(response)) => Answer::GetSession(response.session.map(wire::session)),
        Some(WireResult::Error(mut detail)) => {
            let message = std::mem::take(&mut detail.message);
            return Err(Error::of_wire(detail, message, Code::Unknown));
        }
        None => {
            return Err(Error::new(
                unsaid(operation),
                "The service answered with a kind of result that this client does not know.",
            ));
        }
    })
}
