//! Reading all of a session's state, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::Channel;
use crate::error::{Error, Reason};
use crate::failure::says_of_earlier;
use crate::nouns::Session;
use crate::proto;
use crate::wire;

/// No key begins with it, as keys go: it asks for a session without its state.
const NO_KEY: &str = "\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}";
/// The most items of a page, by default.
pub(crate) const LARGEST_PAGE: i32 = 1000;

pub(crate) type Entries = BTreeMap<String, proto::Entry>;

/// The session that a write left, with its state: where the answer has none, page by page, at its revision.
///
/// The write is done by then, so a service that can't be reached, or does not let the caller in, is
/// OUTCOME_UNKNOWN. HISTORY_COMPACTED passes on: others have written so much meanwhile that the revision is not
/// kept any more.
pub(crate) async fn completed(
    channel: &Channel,
    session: Option<proto::Session>,
    deadline: Instant,
) -> Result<Session, Error> {
    let mut session = session.unwrap_or_default();
    if session.state.is_empty() {
        let entries = entries(channel, &session.session_id, session.revision, deadline).await;
        let entries = entries.map_err(|failure| {
            if says_of_earlier(&failure) {
                return failure;
            }
            Error::new(
                Reason::OutcomeUnknown,
                "The write was made, but not all of the session's state could be read; \
                 retry it with the same request id.",
            )
            .because(failure)
        })?;
        session.state = entries.into_iter().filter_map(|(key, entry)| Some((key, entry.value?))).collect();
    }
    Ok(wire::session(session))
}

/// The entries of a session as they were at one moment, and the revision to check if all of it is to be
/// unchanged.
///
/// A revision that was known before the entries were read, or that one of them carries, is the session's at
/// that moment or older: the check can fail needlessly (and says the revision to know next time), but never
/// hold wrongly.
pub(crate) async fn read_all(
    channel: &Channel,
    session_id: &str,
    known: i64,
    timeout: Option<Duration>,
) -> Result<(Entries, i64), Error> {
    let first = page(channel, session_id, None, "", channel.deadline(timeout)?).await?;
    if first.next_page_token.is_empty() {
        let revision = first.entries.iter().map(|entry| entry.revision).fold(known, i64::max);
        return Ok((by_key(first.entries).collect(), revision));
    }
    // Pages are read one by one: as they were at one revision, they fit together.
    let request = proto::GetSessionRequest {
        session_id: session_id.to_owned(),
        at_revision: None,
        key_prefix: NO_KEY.to_owned(),
    };
    let Some(session) = channel.unary(request, channel.deadline(timeout)?).await?.session else {
        return Ok((Entries::new(), 0));
    };
    let entries = entries(channel, session_id, session.revision, channel.deadline(timeout)?).await?;
    Ok((entries, session.revision))
}

async fn entries(
    channel: &Channel,
    session_id: &str,
    revision: i64,
    deadline: Instant,
) -> Result<Entries, Error> {
    let mut entries = Entries::new();
    let mut token = String::new();
    loop {
        let page = page(channel, session_id, Some(revision), &token, deadline).await?;
        entries.extend(by_key(page.entries));
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(entries);
        }
    }
}

async fn page(
    channel: &Channel,
    session_id: &str,
    at_revision: Option<i64>,
    token: &str,
    deadline: Instant,
) -> Result<proto::ListStateResponse, Error> {
    let request = proto::ListStateRequest {
        session_id: session_id.to_owned(),
        at_revision,
        page_size: LARGEST_PAGE,
        page_token: token.to_owned(),
        ..proto::ListStateRequest::default()
    };
    channel.unary(request, deadline).await
}

fn by_key(entries: Vec<proto::Entry>) -> impl Iterator<Item = (String, proto::Entry)> {
    entries.into_iter().map(|entry| (entry.key.clone(), entry))
}
