//! Read, change, commit what changed under checks, try again on a conflict: what `update` does.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::client::Client;
use crate::draft::Draft;
use crate::error::{Error, Reason};
use crate::reading::read_all;

/// The longest pause before another attempt.
const MAX_PAUSE: Duration = Duration::from_millis(100);

type Change<'a, R, E> = Box<dyn FnMut(&mut Draft) -> Result<R, E> + Send + 'a>;

/// A change of a session by a function, to be awaited; see [`Client::update`].
#[must_use = "an update does nothing until it is awaited"]
pub struct Update<'a, R, E> {
    client: Client,
    session_id: String,
    change: Change<'a, R, E>,
    attempts: u32,
    timeout: Option<Duration>,
}

impl<'a, R, E> Update<'a, R, E> {
    pub(crate) fn new(client: Client, session_id: String, change: Change<'a, R, E>) -> Self {
        Self { client, session_id, change, attempts: 50, timeout: None }
    }

    /// How often the function is run at most; 50 if not given.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long each of its calls may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<R, E: From<Error>> Update<'_, R, E> {
    async fn run(mut self) -> Result<R, E> {
        if self.attempts == 0 {
            return Err(Error::invalid("attempts", "attempts must be 1 or more.").into());
        }
        // Those of this client wait for each other instead of being in each other's way.
        let turn = self.client.channel().turn(&self.session_id);
        let _held = turn.lock().await;
        // The newest revision of the session that was heard of before its entries are read.
        let mut known = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.attempt(known).await? {
                Ok(result) => return Ok(result),
                Err(failure) => failure,
            };
            if attempt >= self.attempts {
                return Err(failure.into());
            }
            if let Some(check) = failure.failed_checks().iter().find(|check| check.key.is_empty()) {
                // Less than before, if it was deleted meanwhile.
                known = check.actual_revision;
            }
            let longest = MAX_PAUSE.min(Duration::from_millis(2_u64.saturating_pow(attempt)));
            sleep(longest.mul_f64(rand::random())).await;
        }
    }

    /// What the function gave when its changes are made; inside: the error of a conflict.
    async fn attempt(&mut self, known: i64) -> Result<Result<R, Error>, E> {
        let channel = self.client.channel();
        let (seen, revision) = match read_all(channel, &self.session_id, known, self.timeout).await {
            Ok(read) => read,
            // Others have written so much between its pages.
            Err(failure) if failure.reason() == Reason::HistoryCompacted => return Ok(Err(failure)),
            Err(failure) => return Err(failure.into()),
        };
        let mut draft = Draft::new(seen);
        let result = (self.change)(&mut draft)?;
        let Some(commit) = draft.commit(&self.session_id, revision)? else {
            return Ok(Ok(result));
        };
        match channel.unary(commit, channel.deadline(self.timeout)?).await {
            Ok(_) => Ok(Ok(result)),
            Err(failure) if failure.reason() == Reason::RevisionMismatch => Ok(Err(failure)),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl<'a, R: Send + 'a, E: From<Error> + Send + 'a> IntoFuture for Update<'a, R, E> {
    type Output = Result<R, E>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
