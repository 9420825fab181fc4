//! What went wrong, as callers are told.

use std::error::Error as _;

use agenterra_workflow_state::proto::{self, ErrorReason};
use agenterra_workflow_state::{Answer, Client, Code, GetState, Operation, Reason, SetState, StreamExt};
use futures_util::stream;
use serde_json::json;
use tonic::Status;

use crate::support::raw::{Raw, Said, detailed};
use crate::support::{Service, reason, retries, unique};

#[tokio::test]
async fn an_error_of_the_service_has_its_reason_code_and_facts() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("errors");
    client.set_state(&id, "a", "secret-value").await.unwrap();
    let error = client.commit(&id).check("a", 7).check("b", 3).set("a", 1).if_revision(9).await.unwrap_err();
    assert_eq!((error.reason(), error.code()), (Reason::RevisionMismatch, Code::Aborted));
    let checks: Vec<_> = error
        .failed_checks()
        .iter()
        .map(|check| (check.key.as_str(), check.if_revision, check.actual_revision))
        .collect();
    assert_eq!(checks, [("", 9, 1), ("a", 7, 1), ("b", 3, 0)]);
    assert!(error.to_string().starts_with("REVISION_MISMATCH: "));
    assert!(error.source().unwrap().is::<Status>());

    let error = client.commit(&id).increment("a", 1).await.unwrap_err();
    assert_eq!((error.reason(), error.metadata()["key"].as_str()), (Reason::ValueTypeMismatch, "a"));
    assert!(!format!("{error} {error:?}").contains("secret-value"));
    let error = client.get_state::<u8>(&id, "a").at_revision(5).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.metadata()["current_revision"].as_str()),
        (Reason::FutureRevision, "1")
    );
    assert_eq!(reason(client.set_state("", "k", 1).await), Reason::InvalidSessionId);
    assert_eq!(reason(client.set_state(&id, "", 1).await), Reason::InvalidKey);
    assert_eq!(reason(client.set_state(&id, "k", vec![0; 10_000]).await), Reason::InvalidValue);
    assert_eq!(reason(client.set_state(&id, "k", "x".repeat(1 << 20)).await), Reason::ValueTooLarge);
    assert_eq!(reason(client.set_state(&id, "k", 1).if_revision(-1).await), Reason::InvalidRequest);
}

#[tokio::test]
async fn of_very_many_failed_checks_the_first_are_named_and_all_are_counted() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("checks");
    let keys: Vec<_> = (0..300).map(|n| format!("{n}-{}", "k".repeat(100))).collect();
    let commit = keys.iter().fold(client.commit(&id), |commit, key| commit.check(key, 1));
    let error = commit.set("k", 1).await.unwrap_err();
    let named: Vec<_> = error.failed_checks().iter().map(|check| &check.key).collect();
    assert!(named.len() > 20 && named.iter().zip(&keys).all(|(named, key)| *named == key), "{named:?}");
    assert_eq!(error.metadata()["failed_checks"], "300");
}

#[test]
fn every_reason_of_the_service_is_known_by_its_name() {
    for number in 1..=25 {
        let name = ErrorReason::try_from(number).unwrap().as_str_name();
        let (raw, reason) = told(detailed(Code::Internal, number));
        assert_eq!(format!("ERROR_REASON_{reason}"), name);
        assert_eq!(reason.as_str(), &name["ERROR_REASON_".len()..]);
        let attempts = if reason.code() == Code::Unavailable { 2 } else { 1 };
        assert_eq!(raw.carried().len(), attempts, "{reason}");
    }
    assert!(ErrorReason::try_from(26).is_err(), "a new reason belongs into this test and into Reason");
}

/// What a write fails with when it is told this, and whom it asked.
fn told(status: Status) -> (Raw, Reason) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (raw, url) = Raw::saying([status]).await;
        let client = Client::builder(url).retry(retries(2)).build().unwrap();
        let reason = reason(client.set_state("s", "k", 1).await);
        (raw, reason)
    })
}

#[tokio::test]
async fn a_status_without_a_detail_is_told_by_its_code() {
    let cases = [
        (Code::InvalidArgument, Reason::InvalidRequest, Reason::InvalidRequest),
        (Code::ResourceExhausted, Reason::RequestTooLarge, Reason::RequestTooLarge),
        (Code::Unauthenticated, Reason::Unauthenticated, Reason::Unauthenticated),
        (Code::PermissionDenied, Reason::PermissionDenied, Reason::PermissionDenied),
        (Code::Unimplemented, Reason::InvalidRequest, Reason::InvalidRequest),
        (Code::NotFound, Reason::InvalidRequest, Reason::InvalidRequest),
        (Code::Unavailable, Reason::StoreUnavailable, Reason::OutcomeUnknown),
        (Code::DeadlineExceeded, Reason::StoreUnavailable, Reason::OutcomeUnknown),
        (Code::Unknown, Reason::StoreUnavailable, Reason::OutcomeUnknown),
        (Code::Internal, Reason::StoreUnavailable, Reason::OutcomeUnknown),
    ];
    for (code, of_read, of_write) in cases {
        let (_, url) = Raw::saying([Status::new(code, "said")]).await;
        let client = Client::builder(url).retry(retries(1)).build().unwrap();
        assert_eq!(reason(client.get_entry("s", "k").await), of_read, "{code:?}");
        assert_eq!(reason(client.set_state("s", "k", 1).await), of_write, "{code:?}");
    }
}

#[tokio::test]
async fn a_reason_of_a_newer_service_survives_with_the_code_of_the_status() {
    let (raw, url) = Raw::saying([detailed(Code::FailedPrecondition, 99)]).await;
    let client = Client::builder(url).retry(retries(3)).build().unwrap();
    let error = client.set_state("s", "k", 1).await.unwrap_err();
    assert_eq!((error.reason(), error.code()), (Reason::Unrecognized(99), Code::FailedPrecondition));
    assert!(error.to_string().starts_with("UNRECOGNIZED_99: "));
    assert_eq!(raw.carried().len(), 1);
    let (raw, url) = Raw::saying([detailed(Code::Unavailable, 99)]).await;
    let client = Client::builder(url).retry(retries(3)).build().unwrap();
    assert_eq!(reason(client.get_entry("s", "k").await), Reason::Unrecognized(99));
    assert_eq!(raw.carried().len(), 3);
    // Of a write that is unavailable for a reason not known nobody can say whether it was made.
    assert_eq!(reason(client.set_state("s", "k", 1).await), Reason::OutcomeUnknown);
    assert_eq!(raw.carried().len(), 6);
}

/// The first attempt may have been done: what the second says counts only if it is about the first, too.
#[tokio::test]
async fn what_a_retry_says_counts_only_if_it_is_about_the_first_attempt_too() {
    let cases = [
        (ErrorReason::RevisionMismatch, Reason::RevisionMismatch),
        (ErrorReason::ValueTooLarge, Reason::ValueTooLarge),
        (ErrorReason::Unauthenticated, Reason::OutcomeUnknown),
        (ErrorReason::PermissionDenied, Reason::OutcomeUnknown),
        (ErrorReason::RateLimited, Reason::OutcomeUnknown),
        (ErrorReason::StoreUnavailable, Reason::OutcomeUnknown),
        // With a reason it is the service's word.
        (ErrorReason::RequestTooLarge, Reason::RequestTooLarge),
    ];
    for (second, expected) in cases {
        let statuses = || [Status::internal("lost"), detailed(Code::ResourceExhausted, second as i32)];
        let (_, url) = Raw::saying(statuses()).await;
        let client = Client::builder(url).retry(retries(2)).build().unwrap();
        assert_eq!(reason(client.set_state("s", "k", 1).await), expected, "{second:?}");
        // A read has nothing to be unknown.
        let (_, url) = Raw::saying(statuses()).await;
        let client = Client::builder(url).retry(retries(2)).build().unwrap();
        assert_eq!(reason(client.get_entry("s", "k").await), Reason::of(second), "{second:?}");
        // So it is with what a connection of a pipeline has taken, and the next one fails with.
        let write = || SetState::new("s", "k", 1).into();
        assert_eq!(end_of_pipeline(statuses(), write()).await, expected, "{second:?}");
        let read = GetState::new("s", "k").into();
        assert_eq!(end_of_pipeline(statuses(), read).await, Reason::of(second), "{second:?}");
        if expected != Reason::of(second) && second != ErrorReason::StoreUnavailable {
            // No connection before had it.
            let first = [detailed(Code::ResourceExhausted, second as i32)];
            assert_eq!(end_of_pipeline(first, write()).await, Reason::of(second), "{second:?}");
        }
    }
}

/// What has no reason a proxy may have said, for itself.
#[tokio::test]
async fn what_a_proxy_says_to_a_retry_is_not_about_the_first_attempt() {
    let cases = [
        (Code::Unimplemented, Reason::InvalidRequest),
        (Code::NotFound, Reason::InvalidRequest),
        (Code::ResourceExhausted, Reason::RequestTooLarge),
    ];
    for (code, alone) in cases {
        let statuses = || [Status::internal("lost"), Status::new(code, "by the proxy")];
        let (_, url) = Raw::saying(statuses()).await;
        let client = Client::builder(url).retry(retries(2)).build().unwrap();
        assert_eq!(reason(client.set_state("s", "k", 1).await), Reason::OutcomeUnknown, "{code:?}");
        let write = || SetState::new("s", "k", 1).into();
        assert_eq!(end_of_pipeline(statuses(), write()).await, Reason::OutcomeUnknown, "{code:?}");
        let first = [Status::new(code, "by the proxy")];
        assert_eq!(end_of_pipeline(first, write()).await, alone, "{code:?}");
    }
}

/// A connection that has answered is open: what it ends with is not about what it had taken.
#[tokio::test]
async fn a_write_may_be_done_when_a_connection_that_has_answered_ends_however_it_does() {
    let cases = [
        (Code::Unauthenticated, Reason::OutcomeUnknown),
        (Code::PermissionDenied, Reason::OutcomeUnknown),
        (Code::ResourceExhausted, Reason::OutcomeUnknown),
        (Code::InvalidArgument, Reason::InvalidRequest),
    ];
    for (code, expected) in cases {
        let read = proto::Result {
            result: Some(proto::result::Result::GetState(proto::GetStateResponse::default())),
        };
        let answer = proto::PipelineResponse { results: vec![read] };
        let (_, url) = Raw::saying([Said::after([answer], Status::new(code, "the end"))]).await;
        let client = Client::builder(url).retry(retries(2)).build().unwrap();
        let batches = [vec![GetState::new("s", "k").into()], vec![SetState::new("s", "k", 1).into()]];
        let mut pipeline = client.pipeline(stream::iter(batches));
        assert!(matches!(pipeline.next().await.unwrap().unwrap()[..], [Ok(Answer::GetState(None))]));
        assert_eq!(reason(pipeline.next().await.unwrap()), expected, "{code:?}");
        assert!(pipeline.next().await.is_none());
    }
}

#[tokio::test]
async fn a_fork_that_was_made_is_none_that_failed_though_its_state_may_not_be_read() {
    let cases = [
        (ErrorReason::Unauthenticated, Reason::OutcomeUnknown),
        (ErrorReason::PermissionDenied, Reason::OutcomeUnknown),
        (ErrorReason::RateLimited, Reason::OutcomeUnknown),
        (ErrorReason::StoreUnavailable, Reason::OutcomeUnknown),
        (ErrorReason::ValueTooLarge, Reason::ValueTooLarge),
    ];
    let session = || Some(proto::Session { session_id: "s".into(), revision: 1, ..Default::default() });
    for (of_reading, expected) in cases {
        let refused = || Said::from(detailed(Code::Aborted, of_reading as i32));
        let fork = proto::ForkSessionResponse { session: session() };
        let (_, url) = Raw::saying([Said::after([fork], Status::ok("")), refused()]).await;
        let client = Client::builder(url).retry(retries(1)).build().unwrap();
        let error = client.fork_session("s", "copy").await.unwrap_err();
        assert_eq!(error.reason(), expected, "{of_reading:?}");
        if expected == Reason::OutcomeUnknown {
            assert!(error.source().unwrap().to_string().starts_with(Reason::of(of_reading).as_str()));
        }
        let restore = proto::RestoreSessionResponse { session: session() };
        let (_, url) = Raw::saying([Said::after([restore], Status::ok("")), refused()]).await;
        let client = Client::builder(url).retry(retries(1)).build().unwrap();
        assert_eq!(reason(client.restore_session("s", 1).await), expected, "{of_reading:?}");
    }
}

#[tokio::test]
async fn a_result_of_a_newer_kind_leaves_open_whether_a_write_was_made() {
    let answer = proto::BatchResponse { results: vec![proto::Result::default(); 2] };
    let (_, url) = Raw::saying([Said::after([answer], Status::ok(""))]).await;
    let client = Client::new(url).unwrap();
    let operations = [SetState::new("s", "k", 1).into(), GetState::new("s", "k").into()];
    let results = client.batch(operations).await.unwrap();
    let reasons: Vec<_> = results.into_iter().map(reason).collect();
    assert_eq!(reasons, [Reason::OutcomeUnknown, Reason::StoreUnavailable]);
}

/// What a pipeline of that one operation fails with when its connections end so, one after the other.
async fn end_of_pipeline(statuses: impl IntoIterator<Item = Status>, operation: Operation) -> Reason {
    let (_, url) = Raw::saying(statuses).await;
    let client = Client::builder(url).retry(retries(2)).build().unwrap();
    let mut pipeline = client.pipeline(stream::iter([vec![operation]]));
    let end = reason(pipeline.next().await.unwrap());
    assert!(pipeline.next().await.is_none());
    end
}

trait Of {
    fn of(reason: ErrorReason) -> Self;
}

impl Of for Reason {
    fn of(reason: ErrorReason) -> Self {
        let known = [
            Reason::RevisionMismatch,
            Reason::ValueTooLarge,
            Reason::RequestTooLarge,
            Reason::Unauthenticated,
            Reason::PermissionDenied,
            Reason::RateLimited,
            Reason::StoreUnavailable,
        ];
        let name = reason.as_str_name();
        known.into_iter().find(|known| name.ends_with(known.as_str())).unwrap()
    }
}

#[tokio::test]
async fn another_namespace_than_the_default_is_denied() {
    let service = Service::shared();
    let client = Client::builder(&service.url).namespace("other").build().unwrap();
    assert_eq!(reason(client.set_state("s", "k", json!(1)).await), Reason::PermissionDenied);
}

#[tokio::test]
async fn a_service_that_stops_says_so_to_who_watches_all_sessions() {
    let mut service = Service::start(&[]);
    let client = service.client();
    let mut watch = client.watch_sessions().await.unwrap();
    let stopping = tokio::task::spawn_blocking(move || service.stop());
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error.reason(), Reason::ShuttingDown | Reason::StoreUnavailable), "{error}");
    drop((watch, client));
    stopping.await.unwrap();
}
