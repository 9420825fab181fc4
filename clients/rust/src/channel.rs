//! Calls to the service: deadlines, retries, and what failed as the client's error.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::failure;
use crate::proto::workflow_state_service_client::WorkflowStateServiceClient;
use crate::settings::Settings;

pub type Stub = WorkflowStateServiceClient<tonic::transport::Channel>;

/// An answer has 4 MiB by default, but services can be set up for more. What is sent the service bounds.
const LARGEST_ANSWER: usize = 64 << 20;

/// What gRPC gives for a request.
pub type Sent<M> = Result<Response<<M as Method>::Response>, Status>;

/// A request of a unary call.
pub trait Method: Message + Clone + Default + 'static {
    type Response: Message + Default + 'static;

    fn send(stub: Stub, request: Request<Self>) -> impl Future<Output = Sent<Self>> + Send;

    /// Whether it writes, so that without an answer its outcome is unknown.
    fn writes(&self) -> bool;

    /// Makes it ready to be sent, however often: gives a write its request id.
    fn prepare(&mut self);
}

/// A service behind a connection, which is made when it is first used, and again when it is lost.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    settings: Settings,
    connection: Mutex<Connection>,
    turns: std::sync::Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

#[derive(Default)]
struct Connection {
    stub: Option<Stub>,
    /// Counts the connections that were given up.
    number: u64,
}

impl Channel {
    pub(crate) fn new(settings: Settings) -> Self {
        let connection = Mutex::default();
        Self(Arc::new(Inner { settings, connection, turns: std::sync::Mutex::default() }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// When the time runs out of what is asked for now, whichever calls that takes.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Result<Instant, Error> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::invalid("timeout", "timeout must be more than 0."));
        }
        // What is longer than anybody waits is as good as a year.
        let longest = Duration::from_secs(365 * 86_400);
        Ok(Instant::now() + timeout.unwrap_or(self.settings().timeout).min(longest))
    }

    /// Makes a call, and again while it fails with UNAVAILABLE and there is time.
    ///
    /// What can't be known in the end is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read.
    pub(crate) async fn unary<M: Method>(
        &self,
        mut message: M,
        deadline: Instant,
    ) -> Result<M::Response, Error> {
        message.prepare();
        let retry = self.settings().retry;
        let mut unknown = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.attempt(&message, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            unknown |= message.writes() && failure::leaves_open(&failure);
            let pause = retry.pause(attempt);
            let over = attempt >= retry.attempts || Instant::now() + pause >= deadline;
            if over || !failure::is_unavailable(&failure) {
                return Err(if unknown { failure::still_unknown(failure) } else { failure });
            }
            sleep(pause).await;
        }
    }

    async fn attempt<M: Method>(&self, message: &M, deadline: Instant) -> Result<M::Response, Error> {
        let late = |_| failure::overdue();
        let metadata = timeout_at(deadline, self.settings().metadata()).await.map_err(late)??;
        // Without a connection the call has certainly not been sent.
        let connected = timeout_at(deadline, self.stub()).await;
        let (stub, _) = connected.unwrap_or_else(|_| Err(failure::unreachable()))?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failure::overdue());
        }
        let write = message.writes();
        let mut request = Request::new(message.clone());
        *request.metadata_mut() = metadata;
        request.set_timeout(left);
        match timeout_at(deadline, M::send(stub, request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(failure::of_status(status, write)),
            Err(_) => Err(failure::unanswered(write)),
        }
    }

    /// The service's methods, and the number of the connection.
    pub(crate) async fn stub(&self) -> Result<(Stub, u64), Error> {
        let mut connection = self.0.connection.lock().await;
        let stub = match &connection.stub {
            Some(stub) => stub.clone(),
            None => {
                let channel = self.settings().endpoint.connect().await;
                let channel = channel.map_err(|error| failure::unreachable().because(error))?;
                let stub = Stub::new(channel).max_decoding_message_size(LARGEST_ANSWER);
                connection.stub.insert(stub).clone()
            }
        };
        Ok((stub, connection.number))
    }

    /// Gives up a connection that seems dead: later calls get another, calls on it go on.
    pub(crate) async fn abandon(&self, number: u64) {
        let mut connection = self.0.connection.lock().await;
        if connection.number == number {
            *connection = Connection { stub: None, number: number + 1 };
        }
    }

    /// A stream's request, with what every call carries.
    pub(crate) async fn request<M>(&self, message: M) -> Result<Request<M>, Error> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.settings().metadata().await?;
        Ok(request)
    }

    /// The lock of a session, for who updates it; it is there while someone holds it or waits for it.
    pub(crate) fn turn(&self, session_id: &str) -> Arc<Mutex<()>> {
        let mut turns = self.0.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(session_id.to_owned()).or_default())
    }
}
