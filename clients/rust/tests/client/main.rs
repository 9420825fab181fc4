//! The client against the service itself, from the checkout; or against one that says what it is told to.
//!
//! `AGENTERRA_TEST_SERVICE` names a service that tests may share; without it each test starts one.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
mod errors;
mod retries;
mod settings;
mod streams;
mod support;
mod update;
mod values;
