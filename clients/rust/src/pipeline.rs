//! Pipelines: batches over one stream, sent again on another when the connection is lost.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Fuse, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::{Response, Status, Streaming};

use crate::channel::Channel;
use crate::error::{Error, Reason};
use crate::failure;
use crate::method::{any_writes, prepare_all};
use crate::operations::{self, Answer, Operation};
use crate::proto::{PipelineRequest, PipelineResponse};

/// What a batch of a pipeline answered: a result for each operation.
pub type Answers = Vec<Result<Answer, Error>>;

pub(crate) fn stream<S>(channel: Channel, batches: S) -> BoxStream<'static, Result<Answers, Error>>
where
    S: Stream<Item = Vec<Operation>> + Send + 'static,
{
    let pipeline = Pipeline {
        channel,
        source: batches.boxed().fuse(),
        fault: None,
        waiting: VecDeque::new(),
        sent: 0,
        doubtful: 0,
        connection: None,
        failures: 0,
    };
    stream::try_unfold(pipeline, |mut pipeline| async {
        Ok(pipeline.next().await?.map(|answers| (answers, pipeline)))
    })
    .boxed()
}

struct Pipeline {
    channel: Channel,
    source: Fuse<BoxStream<'static, Vec<Operation>>>,
    /// The error of a batch that can't be sent; nothing after it is.
    fault: Option<Error>,
    /// The batches that are not answered.
    waiting: VecDeque<PipelineRequest>,
    /// How many of them the connection has taken.
    sent: usize,
    /// How many of them a connection that has ended had taken, so that they may be done.
    doubtful: usize,
    connection: Option<Connection>,
    /// Connections in a row that answered nothing.
    failures: u32,
}

struct Connection {
    /// Where batches go; `None` when all are sent.
    outbox: Option<mpsc::Sender<PipelineRequest>>,
    answers: Answering,
    has_answered: bool,
}

enum Answering {
    Opening(BoxFuture<'static, Result<Response<Streaming<PipelineResponse>>, Status>>),
    Open(Box<Streaming<PipelineResponse>>),
}

enum Step {
    Room,
    Batch(Option<Vec<Operation>>),
    Answer(Result<Option<PipelineResponse>, Status>),
}

impl Pipeline {
    async fn next(&mut self) -> Result<Option<Answers>, Error> {
        loop {
            if self.waiting.is_empty() && self.source.is_done() {
                return self.fault.take().map_or(Ok(None), Err);
            }
            let failure = match self.answer().await {
                Ok(Some(answer)) => {
                    self.failures = 0;
                    if let Some(connection) = &mut self.connection {
                        connection.has_answered = true;
                    }
                    return self.answered(answer).map(Some);
                }
                // There was nothing to send after all.
                Ok(None) if self.waiting.is_empty() && self.source.is_done() => continue,
                // The service has ended the stream.
                Ok(None) => failure::unreachable(),
                Err(failure) if failure::says_of_earlier(&failure) => return Err(failure),
                Err(failure) => failure,
            };
            let lost = failure::is_unavailable(&failure);
            // A service that has answered nothing and says why has refused to look at it.
            let was_open = lost || self.connection.as_ref().is_some_and(|connection| connection.has_answered);
            if was_open && !failure::was_not_sent(&failure) {
                self.doubtful = self.doubtful.max(self.sent);
            }
            (self.connection, self.sent) = (None, 0);
            self.failures += 1;
            let retry = self.channel.settings().retry;
            if !lost || self.failures >= retry.attempts {
                return Err(self.unanswered(failure));
            }
            sleep(retry.pause(self.failures)).await;
        }
    }

    /// The next answer, while batches are sent; `None`: none comes.
    async fn answer(&mut self) -> Result<Option<PipelineResponse>, Error> {
        loop {
            if self.waiting.is_empty() && self.source.is_done() {
                return Ok(None);
            }
            if self.connection.is_none() {
                self.connection = Some(Connection::open(&self.channel).await?);
            }
            match self.step().await {
                Step::Room => self.send(),
                Step::Batch(Some(batch)) => self.take(batch),
                Step::Batch(None) => {}
                Step::Answer(answer) => return answer.map_err(|status| failure::of_status(status, false)),
            }
        }
    }

    /// What happens next: there is room for a batch, or one comes from the source, or an answer from the
    /// service.
    async fn step(&mut self) -> Step {
        let Some(Connection { outbox, answers, .. }) = &mut self.connection else {
            return Step::Answer(Ok(None));
        };
        let has_batch = self.sent < self.waiting.len();
        if !has_batch && self.source.is_done() {
            // Says that no more comes.
            *outbox = None;
        }
        tokio::select! {
            answer = answers.next() => Step::Answer(answer),
            // A closed outbox is known by the answer.
            Some(()) = room(outbox.as_ref()), if has_batch => Step::Room,
            batch = self.source.next(), if !has_batch && !self.source.is_done() => Step::Batch(batch),
        }
    }

    fn send(&mut self) {
        let outbox = self.connection.as_ref().and_then(|connection| connection.outbox.as_ref());
        if let (Some(outbox), Some(request)) = (outbox, self.waiting.get(self.sent))
            && outbox.try_send(request.clone()).is_ok()
        {
            self.sent += 1;
        }
    }

    fn take(&mut self, batch: Vec<Operation>) {
        match operations::to_wire(batch) {
            Ok(mut operations) => {
                prepare_all(&mut operations);
                self.waiting.push_back(PipelineRequest { operations });
            }
            Err(fault) => {
                self.fault = Some(fault);
                self.source = stream::empty().boxed().fuse();
            }
        }
    }

    fn answered(&mut self, answer: PipelineResponse) -> Result<Answers, Error> {
        let request = if self.sent == 0 { None } else { self.waiting.pop_front() };
        let Some(request) = request else {
            return Err(Error::new(Reason::StoreUnavailable, "The service answered what was not asked."));
        };
        self.sent -= 1;
        self.doubtful = self.doubtful.saturating_sub(1);
        operations::answers(answer.results, &request.operations)
    }

    /// The error of a pipeline that ends.
    fn unanswered(&self, failure: Error) -> Error {
        if !self.waiting.iter().take(self.doubtful).any(|request| any_writes(&request.operations)) {
            return failure;
        }
        Error::new(
            Reason::OutcomeUnknown,
            "Writes without an answer may or may not have happened; send them again with the same request \
             ids.",
        )
        .because(failure)
    }
}

impl Connection {
    async fn open(channel: &Channel) -> Result<Self, Error> {
        let (mut stub, _) = channel.stub().await?;
        let (outbox, inbox) = mpsc::channel(1);
        let request = channel.request(Inbox(inbox)).await?;
        let opening = Box::pin(async move { stub.pipeline(request).await });
        Ok(Self { outbox: Some(outbox), answers: Answering::Opening(opening), has_answered: false })
    }
}

impl Answering {
    async fn next(&mut self) -> Result<Option<PipelineResponse>, Status> {
        loop {
            match self {
                Self::Open(answers) => return answers.message().await,
                Self::Opening(opening) => *self = Self::Open(Box::new(opening.await?.into_inner())),
            }
        }
    }
}

/// Waits for room; `None`: no more can be sent.
async fn room(outbox: Option<&mpsc::Sender<PipelineRequest>>) -> Option<()> {
    outbox?.reserve().await.ok().map(drop)
}

/// The batches on their way to a connection.
struct Inbox(mpsc::Receiver<PipelineRequest>);

impl Stream for Inbox {
    type Item = PipelineRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PipelineRequest>> {
        self.0.poll_recv(context)
    }
}
