//! Messages to nouns, and what arguments become in messages.

use std::time::{Duration, SystemTime};

use prost_types::{Duration as WireDuration, Timestamp};

use crate::error::Error;
use crate::nouns::{
    Committed, Deletion, Entry, Event, EventKind, ForkedFrom, Session, SessionChange, SessionOrder,
    SessionView, WatchMessage,
};
use crate::proto;
use crate::value::from_wire;

/// A span of time as a message. What is no whole millisecond counts as one more, so that what is short is not
/// "none".
pub(crate) fn duration(span: Duration, field: &str) -> Result<WireDuration, Error> {
    let milliseconds = span.as_nanos().div_ceil(1_000_000);
    let too_long = |_| Error::invalid(field, format!("{field} is too long."));
    let seconds = i64::try_from(milliseconds / 1000).map_err(too_long)?;
    let nanos = i32::try_from(milliseconds % 1000 * 1_000_000).map_err(too_long)?;
    Ok(WireDuration { seconds, nanos })
}

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

fn moment(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time that the service always gives.
fn known(time: Option<Timestamp>) -> SystemTime {
    time.map_or(SystemTime::UNIX_EPOCH, moment)
}

pub(crate) fn view(view: SessionView) -> proto::SessionView {
    match view {
        SessionView::Ids => proto::SessionView::Ids,
        SessionView::Metadata => proto::SessionView::Metadata,
        SessionView::Full => proto::SessionView::Full,
    }
}

pub(crate) fn order(order: SessionOrder) -> proto::SessionOrder {
    match order {
        SessionOrder::Id => proto::SessionOrder::Id,
        SessionOrder::UpdateTimeDesc => proto::SessionOrder::UpdateTimeDesc,
    }
}

pub(crate) fn entry(message: proto::Entry) -> Entry {
    Entry {
        key: message.key,
        value: message.value.map(from_wire),
        revision: message.revision,
        update_time: known(message.update_time),
        expire_time: message.expire_time.map(moment),
    }
}

pub(crate) fn session(message: proto::Session) -> Session {
    Session {
        session_id: message.session_id,
        state: message.state.into_iter().map(|(key, value)| (key, from_wire(value))).collect(),
        revision: message.revision,
        create_time: message.create_time.map(moment),
        update_time: message.update_time.map(moment),
        workflow_id: message.workflow_id,
        user_id: message.user_id,
        labels: message.labels,
        expire_time: message.expire_time.map(moment),
        forked_from: message
            .forked_from
            .map(|from| ForkedFrom { session_id: from.session_id, revision: from.revision }),
    }
}

pub(crate) fn event(message: proto::Event) -> Event {
    Event {
        session_id: message.session_id,
        revision: message.revision,
        time: known(message.time),
        kind: kind(message.kind),
        entries: message.entries.into_iter().map(entry).collect(),
        request_id: Some(message.request_id).filter(|id| !id.is_empty()),
    }
}

fn kind(number: i32) -> EventKind {
    use proto::EventKind as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Committed) => EventKind::Committed,
        Ok(Wire::Saved) => EventKind::Saved,
        Ok(Wire::Deleted) => EventKind::Deleted,
        Ok(Wire::Expired) => EventKind::Expired,
        Ok(Wire::Forked) => EventKind::Forked,
        Ok(Wire::Restored) => EventKind::Restored,
        Ok(Wire::Unspecified) | Err(_) => EventKind::Unrecognized(number),
    }
}

/// A message of a watch; `None`: one of a kind that this client does not know.
pub(crate) fn watch_message(message: proto::WatchSessionResponse) -> Option<WatchMessage> {
    use proto::watch_session_response::Message;
    Some(match message.message? {
        Message::Snapshot(snapshot) => WatchMessage::Snapshot(session(snapshot)),
        Message::Event(message) => WatchMessage::Event(event(message)),
        Message::Progress(progress) => WatchMessage::Progress(progress.revision),
    })
}

pub(crate) fn session_change(message: proto::WatchSessionsResponse) -> SessionChange {
    SessionChange { session: session(message.session.unwrap_or_default()), kind: kind(message.kind) }
}

pub(crate) fn committed(message: proto::CommitResponse) -> Committed {
    Committed {
        revision: message.revision,
        update_time: message.update_time.map(moment),
        entries: message.entries.into_iter().map(entry).collect(),
    }
}

pub(crate) fn deletion(message: &proto::DeleteStateResponse) -> Deletion {
    Deletion { deleted: message.deleted, revision: message.revision }
}
