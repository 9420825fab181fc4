//! The nouns of the client: sessions, entries, events and answers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::value;

/// What kind of write made an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// Entries or metadata were changed.
    Committed,
    /// The session was replaced.
    Saved,
    /// The session was deleted, and all its entries.
    Deleted,
    /// Entries expired, or without entries: the session did, and all its entries.
    Expired,
    /// The session was made by a fork.
    Forked,
    /// The session was given an older content.
    Restored,
    /// A kind that a newer service has and this client does not know, by its number.
    Unrecognized(i32),
}

/// How much of each session a listing returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionView {
    /// `session_id` only.
    Ids,
    /// All but the state.
    Metadata,
    /// Everything.
    Full,
}

/// The order of a listing of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionOrder {
    /// By `session_id`, as UTF-8 bytes compare.
    Id,
    /// The last written first.
    UpdateTimeDesc,
}

/// The session and revision that a session was forked from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkedFrom {
    /// The session that was copied.
    pub session_id: String,
    /// The revision of it that was copied.
    pub revision: i64,
}

/// A workflow session: its state and what is known about it. Times are to the millisecond.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Session {
    /// Names the session.
    pub session_id: String,
    /// Every key with its value; empty where a listing or a watch leaves it out.
    pub state: Map<String, Value>,
    /// The revision of the last commit; 0 in a snapshot of a session that never was.
    pub revision: i64,
    /// When it was created. `None` in a snapshot of a session that does not exist, and in a listing of ids.
    pub create_time: Option<SystemTime>,
    /// When it was last written; `None` as `create_time`.
    pub update_time: Option<SystemTime>,
    /// The workflow that it belongs to.
    pub workflow_id: Option<String>,
    /// The user that it belongs to.
    pub user_id: Option<String>,
    /// What listings can select it by.
    pub labels: BTreeMap<String, String>,
    /// When it expires unless it is written or renewed before; `None`: never.
    pub expire_time: Option<SystemTime>,
    /// Where it was forked from.
    pub forked_from: Option<ForkedFrom>,
}

impl Session {
    /// A value of the state, as the type that is asked for; `None` if there is none. Fails with
    /// [`InvalidValue`](crate::Reason::InvalidValue) if it is not of that type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.state.get(key).cloned().map(|value| value::read(value, key)).transpose()
    }
}

/// One key of a session's state.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value. `None`: the entry is gone, in the answers of writes and in events only. A stored null is
    /// `Some(Value::Null)`.
    pub value: Option<Value>,
    /// The revision of the commit that last wrote it: what a check compares.
    pub revision: i64,
    /// When that commit was made.
    pub update_time: SystemTime,
    /// When it expires; `None`: never.
    pub expire_time: Option<SystemTime>,
}

impl Entry {
    /// The value as the type that is asked for; `None` if the entry is gone. Fails with
    /// [`InvalidValue`](crate::Reason::InvalidValue) if it is not of that type.
    pub fn get<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.value.clone().map(|value| value::read(value, &self.key)).transpose()
    }
}

/// What a commit left.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Committed {
    /// The session's revision after it, unchanged if nothing was written; 0: there is no such session.
    pub revision: i64,
    /// When the session was last written; `None`: there is no such session.
    pub update_time: Option<SystemTime>,
    /// Each entry that a change named, as it is after the commit, in the order first named.
    pub entries: Vec<Entry>,
}

impl Committed {
    /// The entry of a key that a change named.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// What the deletion of an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deletion {
    /// Whether there was an entry.
    pub deleted: bool,
    /// The session's revision after it; 0: there is no such session.
    pub revision: i64,
}

/// What one commit did: a message of a watch, and an item of the history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The session.
    pub session_id: String,
    /// The revision that the commit made.
    pub revision: i64,
    /// When it was made.
    pub time: SystemTime,
    /// What kind of write it was.
    pub kind: EventKind,
    /// The entries that it wrote, as they were after it.
    pub entries: Vec<Entry>,
    /// The request id of the write. Writes of these clients always have one.
    pub request_id: Option<String>,
}

/// A message of a watch on one session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchMessage {
    /// The session as it is: the first message of a watch that began without a revision.
    Snapshot(Session),
    /// The next commit.
    Event(Event),
    /// Nothing new: all events up to this revision have come.
    Progress(i64),
}

impl WatchMessage {
    /// The revision to resume from.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Snapshot(session) => session.revision,
            Self::Event(event) => event.revision,
            Self::Progress(revision) => *revision,
        }
    }
}

/// One commit to a session that a watch on sessions follows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SessionChange {
    /// The session after it, without its state; of a deleted or expired one what it was last.
    pub session: Session,
    /// What kind of write it was.
    pub kind: EventKind,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items, in the listing's order.
    pub items: Vec<T>,
    /// Asks for the next page; empty: this was the last.
    pub next_page_token: String,
}
