//! Listings: items that are fetched a page at a time.

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::call::Call;
use crate::channel::Method;
use crate::client::Client;
use crate::error::Error;
use crate::nouns::{Entry, Event, Page, Session};
use crate::proto::{ListEventsRequest, ListSessionsRequest, ListStateRequest};
use crate::wire;

macro_rules! listings {
    ($($message:ident $items:ident $item:ident $function:ident;)*) => {
        $(impl Call<$message, Client> {
            /// The items, a page being fetched when it is needed. The stream ends after an error.
            pub fn stream(self) -> BoxStream<'static, Result<$item, Error>> {
                self.pages()
                    .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
                    .try_flatten()
                    .boxed()
            }

            /// The listing as pages; the `next_page_token` of one begins a listing after it.
            pub fn pages(self) -> BoxStream<'static, Result<Page<$item>, Error>> {
                self.paged(
                    |request, token| request.page_token = token,
                    |request| request.page_token.clone(),
                    |response| Page {
                        items: response.$items.into_iter().map(wire::$function).collect(),
                        next_page_token: response.next_page_token,
                    },
                )
            }
        })*
    };
}

listings! {
    ListStateRequest entries Entry entry;
    ListSessionsRequest sessions Session session;
    ListEventsRequest events Event event;
}

impl<M: Method> Call<M, Client> {
    fn paged<T: Send + 'static>(
        self,
        begin_at: fn(&mut M, String),
        token_of: fn(&M) -> String,
        page_of: fn(M::Response) -> Page<T>,
    ) -> BoxStream<'static, Result<Page<T>, Error>> {
        let Call { message, timeout, client } = self;
        let begun = message.map(|request| {
            let token = Some(token_of(&request));
            (request, token)
        });
        stream::once(async { begun })
            .map_ok(move |first| {
                let client = client.clone();
                stream::try_unfold(first, move |(mut request, token)| {
                    let channel = client.channel().clone();
                    async move {
                        let Some(token) = token else {
                            return Ok(None);
                        };
                        begin_at(&mut request, token);
                        let deadline = channel.deadline(timeout)?;
                        let page = page_of(channel.unary(request.clone(), deadline).await?);
                        let next = Some(page.next_page_token.clone()).filter(|token| !token.is_empty());
                        Ok(Some((page, (request, next))))
                    }
                })
            })
            .try_flatten()
            .boxed()
    }
}
