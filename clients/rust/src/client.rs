//! The client.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::call::Call;
use crate::channel::Channel;
use crate::draft::Draft;
use crate::error::Error;
use crate::nouns::{Committed, Deletion, Entry, Session, SessionView};
use crate::operations::{self, Answer, Operation};
use crate::pipeline::{self, Answers};
use crate::proto::{
    self, BatchRequest, CommitRequest, DeleteSessionRequest, DeleteStateRequest, ForkSessionRequest,
    GetSessionRequest, GetStateRequest, ListEventsRequest, ListSessionsRequest, ListStateRequest,
    RestoreSessionRequest, SaveSessionRequest, SetStateRequest, WatchSessionRequest, WatchSessionsRequest,
};
use crate::reading::{LARGEST_PAGE, completed};
use crate::settings::{Builder, Settings};
use crate::update::Update;
use crate::value;
use crate::wire;

/// The sessions that a service keeps.
///
/// ```no_run
/// # async fn example() -> Result<(), agenterra_workflow_state::Error> {
/// use agenterra_workflow_state::Client;
///
/// let client = Client::new("http://127.0.0.1:7410")?;
/// client.set_state("cart-1", "items", ["milk"]).await?;
/// # Ok(())
/// # }
/// ```
///
/// A client is one connection, which is made when it is first used. Its clones share it, and so do any number
/// of tasks of one runtime; it ends when all clones and streams are dropped. A call that fails with
/// UNAVAILABLE is tried again until its attempts or its time run out; every write carries a request id, made
/// once for the call unless one is given, so that it is done once. Of a write whose future is dropped while
/// it runs, nobody can tell whether it was made.
#[derive(Clone)]
pub struct Client(Channel);

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the service at `http://HOST:PORT` or `https://HOST:PORT`. It connects when it is first
    /// used.
    pub fn new(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A client that is told more than where the service is.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn new_of(settings: Settings) -> Self {
        Self(Channel::new(settings))
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.0
    }

    fn call<M>(&self, message: M) -> Call<M, Self> {
        Call::made(message, self.clone())
    }
}

/// One entry.
impl Client {
    /// Reads a value as the type that is asked for, [`Value`] among them; `None` if there is none. Fails with
    /// [`InvalidValue`](crate::Reason::InvalidValue) if it is not of that type.
    pub fn get_state<T>(
        &self,
        session_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Call<GetStateRequest, Reading<T>> {
        Call::<GetStateRequest, _>::of(session_id, key, Reading { client: self.clone(), of: PhantomData })
    }

    /// Reads an entry: the value with its revision and times. `None`: there is none.
    pub fn get_entry(
        &self,
        session_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Call<GetStateRequest, Self> {
        Call::<GetStateRequest, _>::of(session_id, key, self.clone())
    }

    /// Writes an entry; creates the session if it is missing. Gives the entry.
    pub fn set_state(
        &self,
        session_id: impl Into<String>,
        key: impl Into<String>,
        value: impl Serialize,
    ) -> Call<SetStateRequest, Self> {
        Call::<SetStateRequest, _>::of(session_id, key, value, self.clone())
    }

    /// Deletes an entry.
    pub fn delete_state(
        &self,
        session_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Call<DeleteStateRequest, Self> {
        Call::<DeleteStateRequest, _>::of(session_id, key, self.clone())
    }

    /// Lists the entries of a session by key.
    pub fn list_state(&self, session_id: impl Into<String>) -> Call<ListStateRequest, Self> {
        self.call(ListStateRequest { session_id: session_id.into(), ..Default::default() })
    }
}

/// Sessions.
impl Client {
    /// Reads a session with its state, or the part of it under a prefix. `None`: there is none.
    ///
    /// One that is larger than an answer may be fails with SESSION_TOO_LARGE: read it with
    /// [`list_state`](Self::list_state).
    pub fn get_session(&self, session_id: impl Into<String>) -> Call<GetSessionRequest, Self> {
        Call::<GetSessionRequest, _>::of(session_id, self.clone())
    }

    /// Creates a session, or replaces all of its state and metadata; to change a part use
    /// [`commit`](Self::commit) or [`update`](Self::update). Gives the session.
    pub fn save_session<K, V>(
        &self,
        session_id: impl Into<String>,
        state: impl IntoIterator<Item = (K, V)>,
    ) -> Call<SaveSessionRequest, Self>
    where
        K: Into<String>,
        V: Serialize,
    {
        let entries = state.into_iter().map(|(key, value)| {
            let key = key.into();
            value::to_wire(&value, &key).map(|value| (key, value))
        });
        let message = entries.collect::<Result<_, _>>().map(|state| {
            let session = proto::Session { session_id: session_id.into(), state, ..Default::default() };
            SaveSessionRequest { session: Some(session), ..Default::default() }
        });
        Call::made_with(message, self.clone())
    }

    /// Deletes a session and all its entries. Says whether there was one.
    pub fn delete_session(&self, session_id: impl Into<String>) -> Call<DeleteSessionRequest, Self> {
        self.call(DeleteSessionRequest { session_id: session_id.into(), ..Default::default() })
    }

    /// Lists the sessions that match every filter that is given.
    pub fn list_sessions(&self) -> Call<ListSessionsRequest, Self> {
        self.call(ListSessionsRequest::default())
    }

    /// The ids of all sessions, in order.
    pub async fn get_all_session_ids(&self) -> Result<Vec<String>, Error> {
        let sessions = self.list_sessions().view(SessionView::Ids).page_size(LARGEST_PAGE.unsigned_abs());
        sessions.stream().map_ok(|session| session.session_id).try_collect().await
    }
}

/// Many changes at once.
impl Client {
    /// Makes one atomic write to a session: all checks, then all changes in order, or nothing. Creates the
    /// session if it is missing and something is written.
    ///
    /// ```no_run
    /// # use agenterra_workflow_state::{Client, Error};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// client.commit("cart-1").check("order", 0).append("items", ["eggs"]).increment("total", 1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(&self, session_id: impl Into<String>) -> Call<CommitRequest, Self> {
        Call::<CommitRequest, _>::of(session_id, self.clone())
    }

    /// Has a function change the session's state, and commits what it changed.
    ///
    /// ```no_run
    /// # use agenterra_workflow_state::{Client, Error};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let total = client
    ///     .update("cart-1", |cart| {
    ///         let mut items: Vec<String> = cart.get("items")?.unwrap_or_default();
    ///         items.push("eggs".into());
    ///         cart.set("items", &items)?;
    ///         Ok::<_, Error>(items.len())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The commit is made under checks on what the function looked at. On a conflict all is done again, so
    /// the function may run several times: keep other effects out of it. A key that it changes is written
    /// whole and without an expiry. If it fails, nothing is written, and its error, of any type that an
    /// [`Error`] can become, is the update's.
    pub fn update<'a, R, E>(
        &self,
        session_id: impl Into<String>,
        change: impl FnMut(&mut Draft) -> Result<R, E> + Send + 'a,
    ) -> Update<'a, R, E> {
        Update::new(self.clone(), session_id.into(), Box::new(change))
    }

    /// Runs operations in order, on any sessions; gives one result for each. Each is atomic by itself, the
    /// batch is not.
    ///
    /// ```no_run
    /// # use agenterra_workflow_state::{Client, Error, GetState, SetState};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let results = client
    ///     .batch([GetState::new("cart-1", "total").into(), SetState::new("cart-2", "total", 0).into()])
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self, operations: impl IntoIterator<Item = Operation>) -> Call<BatchRequest, Self> {
        let message = operations::to_wire(operations).map(|operations| BatchRequest { operations });
        Call::made_with(message, self.clone())
    }

    /// Runs batches over one stream, the fastest way in: gives a stream of what each answered, in order.
    ///
    /// It works while it is polled. After a lost connection what is not answered is sent again, and done
    /// once: writes carry request ids. It gives up after as many connections in a row that answered nothing
    /// as [`Retry::attempts`](crate::Retry::attempts) says. Of writes that are not answered when it is
    /// dropped nobody can tell whether they were made.
    pub fn pipeline<S>(&self, batches: S) -> BoxStream<'static, Result<Answers, Error>>
    where
        S: Stream<Item = Vec<Operation>> + Send + 'static,
    {
        pipeline::stream(self.0.clone(), batches)
    }
}

/// History.
impl Client {
    /// Copies a session, as it is or as it was at a revision, to a new one, and gives that.
    pub fn fork_session(
        &self,
        session_id: impl Into<String>,
        new_session_id: impl Into<String>,
    ) -> Call<ForkSessionRequest, Self> {
        let (session_id, new_session_id) = (session_id.into(), new_session_id.into());
        self.call(ForkSessionRequest { session_id, new_session_id, ..Default::default() })
    }

    /// Gives a session the content that it had at a revision, as a new revision. Brings back a deleted
    /// session, too.
    pub fn restore_session(
        &self,
        session_id: impl Into<String>,
        at_revision: i64,
    ) -> Call<RestoreSessionRequest, Self> {
        let session_id = session_id.into();
        self.call(RestoreSessionRequest { session_id, at_revision, ..Default::default() })
    }

    /// Lists what the commits to a session did.
    pub fn list_events(&self, session_id: impl Into<String>) -> Call<ListEventsRequest, Self> {
        self.call(ListEventsRequest { session_id: session_id.into(), ..Default::default() })
    }
}

/// Watching.
impl Client {
    /// Follows a session: a snapshot first, or after a revision none, then every commit as an event, in
    /// order.
    ///
    /// It outlives lost connections, without a gap and nothing twice, and a deletion of the session. Each
    /// message has the revision to go on after.
    pub fn watch_session(&self, session_id: impl Into<String>) -> Call<WatchSessionRequest, Self> {
        self.call(WatchSessionRequest { session_id: session_id.into(), ..Default::default() })
    }

    /// Follows the commits to all sessions that match, from now on.
    ///
    /// A lost connection ends it with STORE_UNAVAILABLE, as what happened meanwhile can't be had from a
    /// watch: watch again, then close the gap with [`list_sessions`](Self::list_sessions) and
    /// `updated_after`.
    pub fn watch_sessions(&self) -> Call<WatchSessionsRequest, Self> {
        self.call(WatchSessionsRequest::default())
    }
}

/// A client for a value that is read as a certain type.
#[derive(Clone)]
pub struct Reading<T> {
    client: Client,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Call<GetStateRequest, Reading<T>> {
    type Output = Result<Option<T>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { message, timeout, client: Reading { client, .. } } = self;
            let message = message?;
            let key = message.key.clone();
            let answer = client.0.unary(message, client.0.deadline(timeout)?).await?;
            let value: Option<Value> = answer.entry.and_then(|entry| wire::entry(entry).value);
            value.map(|value| value::read(value, &key)).transpose()
        })
    }
}

macro_rules! calls {
    ($($message:ident => $answer:ty, |$channel:ident, $request:ident, $deadline:ident| $body:expr;)*) => {
        $(impl IntoFuture for Call<$message, Client> {
            type Output = Result<$answer, Error>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    let $channel = self.client.channel();
                    let $request = self.message?;
                    let $deadline: Instant = $channel.deadline(self.timeout)?;
                    Ok($body)
                })
            }
        })*
    };
}

calls! {
    GetStateRequest => Option<Entry>, |channel, request, deadline| {
        channel.unary(request, deadline).await?.entry.map(wire::entry)
    };
    SetStateRequest => Entry, |channel, request, deadline| {
        wire::entry(channel.unary(request, deadline).await?.entry.unwrap_or_default())
    };
    DeleteStateRequest => Deletion, |channel, request, deadline| {
        wire::deletion(&channel.unary(request, deadline).await?)
    };
    GetSessionRequest => Option<Session>, |channel, request, deadline| {
        channel.unary(request, deadline).await?.session.map(wire::session)
    };
    SaveSessionRequest => Session, |channel, request, deadline| {
        let state = request.session.as_ref().map(|session| session.state.clone());
        let mut session = channel.unary(request, deadline).await?.session.unwrap_or_default();
        if session.state.is_empty() {
            // Also where one answer could not hold it: what is there now is what was sent.
            session.state = state.unwrap_or_default();
        }
        wire::session(session)
    };
    DeleteSessionRequest => bool, |channel, request, deadline| {
        channel.unary(request, deadline).await?.deleted
    };
    CommitRequest => Committed, |channel, request, deadline| {
        wire::committed(channel.unary(request, deadline).await?)
    };
    BatchRequest => Vec<Result<Answer, Error>>, |channel, request, deadline| {
        let asked = request.operations.clone();
        operations::answers(channel.unary(request, deadline).await?.results, &asked)?
    };
    ForkSessionRequest => Session, |channel, request, deadline| {
        let session = channel.unary(request, deadline).await?.session;
        completed(channel, session, deadline).await?
    };
    RestoreSessionRequest => Session, |channel, request, deadline| {
        let session = channel.unary(request, deadline).await?.session;
        completed(channel, session, deadline).await?
    };
}
