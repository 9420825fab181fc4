//! What is asked of the service: a request with its options, made by a client to be awaited, or put into a
//! batch.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::error::Error;
use crate::nouns::{SessionOrder, SessionView};
use crate::proto::{
    self, BatchRequest, CommitRequest, DeleteSessionRequest, DeleteStateRequest, ForkSessionRequest,
    GetSessionRequest, GetStateRequest, ListEventsRequest, ListSessionsRequest, ListStateRequest,
    RestoreSessionRequest, SaveSessionRequest, SetStateRequest, WatchSessionRequest, WatchSessionsRequest,
};
use crate::value::to_wire;
use crate::wire;

/// Something to ask of the service, and its options.
///
/// A [`Client`](crate::Client)'s methods give calls to be awaited, or, of listings and watches, to be
/// streamed:
///
/// ```no_run
/// # use agenterra_workflow_state::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// client.set_state("cart-1", "total", 3).if_revision(1).await?;
/// # Ok(())
/// # }
/// ```
///
/// Without a client ([`GetState`], [`SetState`], [`DeleteState`], [`GetSession`], [`Commit`]) it is for a
/// batch or a pipeline. An option that can't be sent is the error of the call.
#[must_use = "a call does nothing until it is awaited, streamed or put into a batch"]
pub struct Call<M, C = ()> {
    pub(crate) message: Result<M, Error>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) client: C,
}

/// Read one entry, in a batch.
pub type GetState = Call<GetStateRequest>;
/// Write one entry, in a batch.
pub type SetState = Call<SetStateRequest>;
/// Delete one entry, in a batch.
pub type DeleteState = Call<DeleteStateRequest>;
/// Read a session, in a batch.
pub type GetSession = Call<GetSessionRequest>;
/// One atomic write to one session, in a batch: all checks, then all changes in order, or nothing.
pub type Commit = Call<CommitRequest>;

impl<M, C> Call<M, C> {
    pub(crate) fn made(message: M, client: C) -> Self {
        Self { message: Ok(message), timeout: None, client }
    }

    pub(crate) fn made_with(message: Result<M, Error>, client: C) -> Self {
        Self { message, timeout: None, client }
    }

    fn with(mut self, change: impl FnOnce(&mut M)) -> Self {
        if let Ok(message) = &mut self.message {
            change(message);
        }
        self
    }

    fn tried(mut self, change: impl FnOnce(&mut M) -> Result<(), Error>) -> Self {
        self.message = self.message.and_then(|mut message| change(&mut message).map(|()| message));
        self
    }
}

macro_rules! options {
    ($($message:ident: $($option:ident)*;)*) => {
        $(impl<C> Call<$message, C> {
            $(options!(@ $option);)*
        })*
    };
    (@ request_id) => {
        /// Names the write, so that a repeated one, from another process too, gets the first answer and
        /// writes nothing. At most 128 bytes. If not given, the call makes one for its attempts.
        pub fn request_id(self, request_id: impl Into<String>) -> Self {
            self.with(|message| message.request_id = request_id.into())
        }
    };
    (@ if_revision) => {
        /// Writes only if the session is at this revision; 0: only if there is none.
        pub fn if_revision(self, revision: i64) -> Self {
            self.with(|message| message.if_revision = Some(revision))
        }
    };
    (@ if_entry_revision) => {
        /// Writes only if the entry is at this revision; 0: only if there is none.
        pub fn if_revision(self, revision: i64) -> Self {
            self.with(|message| message.if_revision = Some(revision))
        }
    };
    (@ at_revision) => {
        /// Reads what was there at this revision.
        pub fn at_revision(self, revision: i64) -> Self {
            self.with(|message| message.at_revision = Some(revision))
        }
    };
    (@ key_prefix) => {
        /// Only entries whose key begins with this.
        pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
            self.with(|message| message.key_prefix = prefix.into())
        }
    };
    (@ reverse) => {
        /// The other way round: the last first.
        pub fn reverse(self) -> Self {
            self.with(|message| message.reverse = true)
        }
    };
    (@ pages) => {
        /// How many items a page has at most; the service chooses if not given.
        pub fn page_size(self, items: u32) -> Self {
            self.with(|message| message.page_size = i32::try_from(items).unwrap_or(i32::MAX))
        }

        /// Begins at a page: the `next_page_token` of the one before it.
        pub fn page_token(self, token: impl Into<String>) -> Self {
            self.with(|message| message.page_token = token.into())
        }
    };
    (@ timeout) => {
        /// How long the call may take with all its attempts, of a listing each page.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.timeout = Some(timeout);
            self
        }
    };
    (@ filters) => {
        /// Only sessions of this workflow.
        pub fn workflow_id(self, workflow_id: impl Into<String>) -> Self {
            self.with(|message| message.workflow_id = workflow_id.into())
        }

        /// Only sessions of this user.
        pub fn user_id(self, user_id: impl Into<String>) -> Self {
            self.with(|message| message.user_id = user_id.into())
        }

        /// Only sessions whose id begins with this.
        pub fn session_id_prefix(self, prefix: impl Into<String>) -> Self {
            self.with(|message| message.session_id_prefix = prefix.into())
        }

        /// Only sessions that have this label, and those of further calls of this.
        pub fn label(self, name: impl Into<String>, text: impl Into<String>) -> Self {
            self.with(|message| {
                message.labels.insert(name.into(), text.into());
            })
        }

        /// Only sessions last written after this.
        pub fn updated_after(self, time: SystemTime) -> Self {
            self.with(|message| message.updated_after = Some(wire::timestamp(time)))
        }

        /// Only sessions last written before this.
        pub fn updated_before(self, time: SystemTime) -> Self {
            self.with(|message| message.updated_before = Some(wire::timestamp(time)))
        }
    };
}

options! {
    GetStateRequest: at_revision timeout;
    SetStateRequest: if_entry_revision request_id timeout;
    DeleteStateRequest: if_entry_revision request_id timeout;
    ListStateRequest: key_prefix reverse at_revision pages timeout;
    GetSessionRequest: key_prefix at_revision timeout;
    SaveSessionRequest: if_revision request_id timeout;
    DeleteSessionRequest: if_revision request_id timeout;
    ListSessionsRequest: filters pages timeout;
    CommitRequest: if_revision request_id timeout;
    BatchRequest: timeout;
    ForkSessionRequest: at_revision request_id timeout;
    RestoreSessionRequest: if_revision request_id timeout;
    ListEventsRequest: reverse pages timeout;
    WatchSessionRequest: key_prefix;
    WatchSessionsRequest: filters;
}

impl GetState {
    /// Reads an entry.
    pub fn new(session_id: impl Into<String>, key: impl Into<String>) -> Self {
        Self::of(session_id, key, ())
    }
}

impl<C> Call<GetStateRequest, C> {
    pub(crate) fn of(session_id: impl Into<String>, key: impl Into<String>, client: C) -> Self {
        let message = GetStateRequest { session_id: session_id.into(), key: key.into(), at_revision: None };
        Self::made(message, client)
    }
}

impl SetState {
    /// Writes an entry.
    pub fn new(session_id: impl Into<String>, key: impl Into<String>, value: impl Serialize) -> Self {
        Self::of(session_id, key, value, ())
    }
}

impl<C> Call<SetStateRequest, C> {
    pub(crate) fn of(
        session_id: impl Into<String>,
        key: impl Into<String>,
        value: impl Serialize,
        client: C,
    ) -> Self {
        let key = key.into();
        let message = to_wire(&value, &key).map(|value| SetStateRequest {
            session_id: session_id.into(),
            key,
            value: Some(value),
            ..SetStateRequest::default()
        });
        Self::made_with(message, client)
    }

    /// How long the entry lives; without it, it does not expire, also if it did before.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.tried(|message| {
            message.ttl = Some(wire::duration(ttl, "ttl")?);
            Ok(())
        })
    }
}

impl DeleteState {
    /// Deletes an entry.
    pub fn new(session_id: impl Into<String>, key: impl Into<String>) -> Self {
        Self::of(session_id, key, ())
    }
}

impl<C> Call<DeleteStateRequest, C> {
    pub(crate) fn of(session_id: impl Into<String>, key: impl Into<String>, client: C) -> Self {
        let (session_id, key) = (session_id.into(), key.into());
        Self::made(DeleteStateRequest { session_id, key, ..DeleteStateRequest::default() }, client)
    }
}

impl<C> Call<ListStateRequest, C> {
    /// Only entries after this key, in the order of the listing.
    pub fn start_after(self, key: impl Into<String>) -> Self {
        self.with(|message| message.start_after = key.into())
    }
}

impl GetSession {
    /// Reads a session.
    pub fn new(session_id: impl Into<String>) -> Self {
        Self::of(session_id, ())
    }
}

impl<C> Call<GetSessionRequest, C> {
    pub(crate) fn of(session_id: impl Into<String>, client: C) -> Self {
        let session_id = session_id.into();
        Self::made(GetSessionRequest { session_id, ..GetSessionRequest::default() }, client)
    }
}

impl<C> Call<SaveSessionRequest, C> {
    fn session(self, change: impl FnOnce(&mut proto::Session)) -> Self {
        self.with(|message| change(message.session.get_or_insert_default()))
    }

    /// The workflow that the session belongs to.
    pub fn workflow_id(self, workflow_id: impl Into<String>) -> Self {
        self.session(|session| session.workflow_id = Some(workflow_id.into()))
    }

    /// The user that the session belongs to.
    pub fn user_id(self, user_id: impl Into<String>) -> Self {
        self.session(|session| session.user_id = Some(user_id.into()))
    }

    /// A label that listings can select the session by; give several one by one.
    pub fn label(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.session(|session| {
            session.labels.insert(name.into(), text.into());
        })
    }

    /// How long the session lives from now; zero: it does not expire. If not given, its expiry stays as it
    /// is.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.tried(|message| {
            message.ttl = Some(wire::duration(ttl, "ttl")?);
            Ok(())
        })
    }

    /// How long the session lives after its last write; zero: idleness does not end it. If not given, that
    /// stays as it is.
    pub fn idle_ttl(self, ttl: Duration) -> Self {
        self.tried(|message| {
            message.idle_ttl = Some(wire::duration(ttl, "idle_ttl")?);
            Ok(())
        })
    }
}

impl<C> Call<ListSessionsRequest, C> {
    /// How much of each session; all but the state if not given.
    pub fn view(self, view: SessionView) -> Self {
        self.with(|message| message.set_view(wire::view(view)))
    }

    /// In which order; by id if not given.
    pub fn order(self, order: SessionOrder) -> Self {
        self.with(|message| message.set_order(wire::order(order)))
    }
}

impl<C> Call<ListEventsRequest, C> {
    /// Only events after this revision.
    pub fn after_revision(self, revision: i64) -> Self {
        self.with(|message| message.after_revision = revision)
    }
}

impl<C> Call<WatchSessionRequest, C> {
    /// Begins with the event after this revision, without a snapshot; 0: with the oldest that is kept.
    pub fn after_revision(self, revision: i64) -> Self {
        self.with(|message| message.after_revision = Some(revision))
    }
}

impl Commit {
    /// Begins a commit to a session, to which checks and changes are added.
    pub fn new(session_id: impl Into<String>) -> Self {
        Self::of(session_id, ())
    }
}

/// Of what a commit says about the session itself, what is not given stays as it was.
impl<C> Call<CommitRequest, C> {
    pub(crate) fn of(session_id: impl Into<String>, client: C) -> Self {
        let session_id = session_id.into();
        Self::made(CommitRequest { session_id, ..CommitRequest::default() }, client)
    }

    /// Writes only if the key's entry is at this revision; 0: only if there is none.
    pub fn check(self, key: impl Into<String>, if_revision: i64) -> Self {
        self.with(|message| message.checks.push(proto::Check { key: key.into(), if_revision }))
    }

    /// Writes a value, which does not expire.
    pub fn set(self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.set_change(key, value, |_| Ok(()))
    }

    /// Writes a value that lives so long.
    pub fn set_for(self, key: impl Into<String>, value: impl Serialize, ttl: Duration) -> Self {
        self.set_change(key, value, |change| {
            change.ttl = Some(wire::duration(ttl, "ttl")?);
            Ok(())
        })
    }

    /// Writes a value that expires when the entry did before.
    pub fn set_keeping_expiry(self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.set_change(key, value, |change| {
            change.keep_expiry = true;
            Ok(())
        })
    }

    fn set_change(
        self,
        key: impl Into<String>,
        value: impl Serialize,
        finish: impl FnOnce(&mut proto::SetChange) -> Result<(), Error>,
    ) -> Self {
        self.tried(|message| {
            let key = key.into();
            let value = Some(to_wire(&value, &key)?);
            let mut change = proto::SetChange { key, value, ..proto::SetChange::default() };
            finish(&mut change)?;
            message.changes.push(change_of(proto::change::Change::Set(change)));
            Ok(())
        })
    }

    /// Removes a key. One that is absent is no error.
    pub fn delete(self, key: impl Into<String>) -> Self {
        let change = proto::DeleteChange { key: key.into() };
        self.with(|message| message.changes.push(change_of(proto::change::Change::Delete(change))))
    }

    /// Adds to a number; an absent key starts from 0.
    pub fn increment(self, key: impl Into<String>, delta: impl Into<f64>) -> Self {
        self.tried(|message| {
            let change = proto::IncrementChange { key: key.into(), delta: delta.into() };
            if !change.delta.is_finite() {
                return Err(Error::invalid("delta", "delta must be finite."));
            }
            message.changes.push(change_of(proto::change::Change::Increment(change)));
            Ok(())
        })
    }

    /// Adds values to the end of a list; an absent key starts from an empty one.
    pub fn append<V: Serialize>(self, key: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        self.append_last(key, values, 0)
    }

    /// Adds values to the end of a list, and keeps its last `max_items`, 0: all.
    pub fn append_last<V: Serialize>(
        self,
        key: impl Into<String>,
        values: impl IntoIterator<Item = V>,
        max_items: u32,
    ) -> Self {
        self.tried(|message| {
            let key = key.into();
            let values = values.into_iter().map(|value| to_wire(&value, &key)).collect::<Result<_, _>>()?;
            let max_items = i32::try_from(max_items).unwrap_or(i32::MAX);
            let change = proto::AppendChange { key, values, max_items };
            message.changes.push(change_of(proto::change::Change::Append(change)));
            Ok(())
        })
    }

    /// Applies a JSON Merge Patch (RFC 7396) to an object: a null removes a member. An absent key starts from
    /// an empty one.
    pub fn merge(self, key: impl Into<String>, patch: impl Serialize) -> Self {
        self.tried(|message| {
            let key = key.into();
            let value = Some(to_wire(&patch, &key)?);
            let change = proto::MergeChange { key, value };
            message.changes.push(change_of(proto::change::Change::Merge(change)));
            Ok(())
        })
    }

    fn metadata(self, change: impl FnOnce(&mut proto::SessionMetadata)) -> Self {
        self.with(|message| change(message.metadata.get_or_insert_default()))
    }

    /// The workflow that the session belongs to; empty: none.
    pub fn workflow_id(self, workflow_id: impl Into<String>) -> Self {
        self.metadata(|metadata| metadata.workflow_id = Some(workflow_id.into()))
    }

    /// The user that the session belongs to; empty: none.
    pub fn user_id(self, user_id: impl Into<String>) -> Self {
        self.metadata(|metadata| metadata.user_id = Some(user_id.into()))
    }

    /// The session's labels, which replace those that it has; without any it has none.
    pub fn labels<N: Into<String>, T: Into<String>>(self, labels: impl IntoIterator<Item = (N, T)>) -> Self {
        let labels: BTreeMap<_, _> =
            labels.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
        self.metadata(|metadata| {
            metadata.clear_labels = labels.is_empty();
            metadata.labels = labels;
        })
    }

    /// How long the session lives from now; zero: it does not expire.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.tried(|message| {
            message.metadata.get_or_insert_default().ttl = Some(wire::duration(ttl, "ttl")?);
            Ok(())
        })
    }

    /// How long the session lives after its last write; zero: idleness does not end it.
    pub fn idle_ttl(self, ttl: Duration) -> Self {
        self.tried(|message| {
            message.metadata.get_or_insert_default().idle_ttl = Some(wire::duration(ttl, "idle_ttl")?);
            Ok(())
        })
    }
}

fn change_of(change: proto::change::Change) -> proto::Change {
    proto::Change { change: Some(change) }
}
