//! Client of AgenTerra workflow state: session state for workflow engines, over gRPC, on tokio.
//!
//! ```no_run
//! # async fn example() -> Result<(), agenterra_workflow_state::Error> {
//! use agenterra_workflow_state::{Client, Reason};
//!
//! let client = Client::new("http://127.0.0.1:7410")?;
//! client.set_state("cart-1", "items", ["milk", "bread"]).await?;
//! client.commit("cart-1").append("items", ["eggs"]).increment("total", 3).await?;
//! let items: Option<Vec<String>> = client.get_state("cart-1", "items").await?;
//! let error = client.set_state("cart-1", "total", 0).if_revision(1).await.unwrap_err();
//! assert_eq!(error.reason(), Reason::RevisionMismatch);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`]'s methods give a [`Call`], which takes options and is awaited. Values are what serde can
//! serialize to JSON: null, booleans, numbers, text, lists and objects, 32 levels deep at most. What would
//! not come back equal is refused before it is sent, with [`Reason::InvalidValue`] and the path inside the
//! value: an integer beyond 2^53, a number that is not finite, bytes, keys that are not text.

#![forbid(unsafe_code)]

mod call;
mod channel;
mod client;
mod draft;
mod error;
mod failure;
mod listing;
mod method;
mod nouns;
mod operations;
mod pipeline;
mod reading;
mod settings;
mod update;
mod value;
mod watch;
mod wire;
mod write;

pub use call::{Call, Commit, DeleteState, GetSession, GetState, SetState};
pub use client::{Client, Reading};
pub use draft::Draft;
pub use error::{Error, FailedCheck, Reason};
pub use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
pub use nouns::{
    Committed, Deletion, Entry, Event, EventKind, ForkedFrom, Page, Session, SessionChange, SessionOrder,
    SessionView, WatchMessage,
};
pub use operations::{Answer, Operation};
pub use pipeline::Answers;
pub use settings::{Builder, Retry};
pub use tonic::Code;
pub use update::Update;

/// The generated messages and the bare service, for what this client has no words for.
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod proto {
    tonic::include_proto!("agenterra.state.v1");
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
