//! Watches: streams that find their way back after a lost connection.

use std::future::{Future, IntoFuture};
use std::task::Poll;

use futures_util::future::{self, BoxFuture, Either, TryFutureExt};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use crate::call::Call;
use crate::channel::Channel;
use crate::client::Client;
use crate::error::{Error, Reason};
use crate::failure;
use crate::nouns::{SessionChange, WatchMessage};
use crate::proto::{WatchSessionRequest, WatchSessionResponse, WatchSessionsRequest};
use crate::wire;

impl Call<WatchSessionRequest, Client> {
    /// What happens to the session, in order, without a gap and nothing twice, over as many connections as it
    /// takes. The stream ends after an error, and never without one; drop it to end it.
    pub fn stream(self) -> BoxStream<'static, Result<WatchMessage, Error>> {
        let channel = self.client.channel().clone();
        stream::once(async { self.message })
            .map_ok(move |request| {
                let watch = Watch { channel: channel.clone(), request, open: None, failures: 0 };
                stream::try_unfold(watch, |mut watch| async {
                    let message = watch.next().await?;
                    Ok(Some((message, watch)))
                })
            })
            .try_flatten()
            .boxed()
    }
}

struct Watch {
    channel: Channel,
    request: WatchSessionRequest,
    open: Option<(Streaming<WatchSessionResponse>, u64)>,
    /// Connections in a row that told nothing.
    failures: u32,
}

impl Watch {
    async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            let Some(answer) = self.answer().await? else {
                self.open = None;
                self.failures = self.failures.saturating_add(1);
                sleep(self.channel.settings().retry.pause(self.failures)).await;
                continue;
            };
            self.failures = 0;
            if let Some(message) = wire::watch_message(answer) {
                // Where to go on after this connection.
                self.request.after_revision = Some(message.revision());
                return Ok(message);
            }
        }
    }

    /// The next answer; `None`: the connection is lost.
    async fn answer(&mut self) -> Result<Option<WatchSessionResponse>, Error> {
        if self.open.is_none() {
            self.open = self.connect().await?;
        }
        let Some((stream, number)) = &mut self.open else {
            return Ok(None);
        };
        heard(&self.channel, *number, stream.message()).await
    }

    async fn connect(&self) -> Result<Option<(Streaming<WatchSessionResponse>, u64)>, Error> {
        let silence = self.channel.settings().silence;
        let Ok(connected) = timeout(silence, self.channel.stub()).await else {
            return Ok(None);
        };
        let request = self.channel.request(self.request.clone()).await;
        let ((mut stub, number), request) = match (connected, request) {
            (Ok(connected), Ok(request)) => (connected, request),
            (Err(failure), _) | (_, Err(failure)) => return lost(failure),
        };
        let opened =
            heard(&self.channel, number, async { stub.watch_session(request).await.map(Some) }).await?;
        Ok(opened.map(|answer| (answer.into_inner(), number)))
    }
}

/// What a call gives within the time of silence; `None`: nothing, or the connection is lost.
async fn heard<T>(
    channel: &Channel,
    number: u64,
    call: impl Future<Output = Result<Option<T>, Status>>,
) -> Result<Option<T>, Error> {
    match timeout(channel.settings().silence, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => lost(failure::of_status(status, false)),
        Err(_) => {
            channel.abandon(number).await;
            Ok(None)
        }
    }
}

fn lost<T>(failure: Error) -> Result<Option<T>, Error> {
    if failure::is_unavailable(&failure) { Ok(None) } else { Err(failure) }
}

/// Gives the stream when the request is on its way. It tells what happens from when the service has it.
impl IntoFuture for Call<WatchSessionsRequest, Client> {
    type Output = Result<BoxStream<'static, Result<SessionChange, Error>>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let channel = self.client.channel();
            let request = channel.request(self.message?).await?;
            let (mut stub, _) = channel.stub().await?;
            let mut opening = Box::pin(async move { stub.watch_sessions(request).await });
            // The service answers when there is something to tell, so its answer is waited for with the first
            // change.
            let opened = match futures_util::poll!(&mut opening) {
                Poll::Ready(answer) => Either::Left(future::ready(answer)),
                Poll::Pending => Either::Right(opening),
            };
            let changes = opened.map_ok(|answer| answer.into_inner().map_ok(wire::session_change));
            let told = changes.try_flatten_stream().map_err(|status| failure::of_status(status, false));
            let ended = stream::once(async {
                Err(Error::new(
                    Reason::StoreUnavailable,
                    "The service ended the watch; watch again, and close the gap with \
                     list_sessions().updated_after(...).",
                ))
            });
            Ok(until_error(told.chain(ended)).boxed())
        })
    }
}

/// The stream, which ends after an error.
fn until_error<T, E>(stream: impl Stream<Item = Result<T, E>>) -> impl Stream<Item = Result<T, E>> {
    stream.scan(false, |has_failed, item| {
        let item = (!*has_failed).then_some(item);
        *has_failed = matches!(item, Some(Err(_)));
        future::ready(item)
    })
}
