//! Lost connections, lost answers and lost time: what a call makes of them.

use std::time::{Duration, Instant};

use agenterra_workflow_state::{Client, Commit, GetState, Reason, SetState, StreamExt};
use futures_util::stream;
use tokio::time::sleep;

use crate::support::proxy::Proxy;
use crate::support::{NOWHERE, Service, reason, retries, unique};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_call_that_never_left_is_store_unavailable_and_not_unknown() {
    let client = Client::builder(NOWHERE).retry(retries(2)).build().unwrap();
    assert_eq!(reason(client.get_entry("s", "k").await), Reason::StoreUnavailable);
    assert_eq!(reason(client.set_state("s", "k", 1).await), Reason::StoreUnavailable);
    assert_eq!(reason(client.batch([SetState::new("s", "k", 1).into()]).await), Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_call_waits_for_a_service_that_comes_late() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    proxy.refuse(true);
    let client = Client::builder(&proxy.url).retry(retries(50)).build().unwrap();
    let call = tokio::spawn(client.set_state(unique("late"), "k", 1).into_future());
    sleep(Duration::from_millis(300)).await;
    assert!(!call.is_finished());
    proxy.refuse(false);
    assert_eq!(call.await.unwrap().unwrap().revision, 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done_once() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("once");
    client.set_state(&id, "warm", 1).await.unwrap();

    proxy.lose_answers(2);
    client.commit(&id).increment("n", 1).await.unwrap();
    assert_eq!((proxy.answers_to_lose(), client.get_state(&id, "n").await.unwrap()), (0, Some(1)));
    proxy.lose_answers(2);
    let operations = [Commit::new(&id).increment("n", 1).into(), GetState::new(&id, "n").into()];
    client.batch(operations).await.unwrap();
    assert_eq!((proxy.answers_to_lose(), client.get_state(&id, "n").await.unwrap()), (0, Some(2)));
    let mut runs = 0;
    client
        .update(&id, |draft| {
            runs += 1;
            // The answer to the commit is lost, and not that to the reading.
            proxy.lose_answers(2);
            draft.set("n", draft.get::<u8>("n")?.unwrap() + 1)
        })
        .await
        .unwrap();
    assert_eq!((proxy.answers_to_lose(), client.get_state(&id, "n").await.unwrap(), runs), (0, Some(3), 1));
    proxy.lose_answers(1);
    let fork = client.fork_session(&id, unique("fork")).await.unwrap();
    assert_eq!((proxy.answers_to_lose(), fork.revision), (0, 1));
}

#[tokio::test]
async fn a_write_whose_outcome_can_not_be_known_says_so() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::builder(&proxy.url).retry(retries(3)).build().unwrap();
    let id = unique("unknown");
    client.set_state(&id, "n", 0).await.unwrap();
    proxy.lose_answers(100);
    let error = client.commit(&id).increment("n", 1).await.unwrap_err();
    assert_eq!(error.reason(), Reason::OutcomeUnknown);
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(proxy.answers_to_lose(), 97);
    // A read changes nothing, so there is nothing to be unknown.
    assert_eq!(reason(client.get_entry(&id, "n").await), Reason::StoreUnavailable);
    proxy.lose_answers(0);
    assert_eq!(client.get_state(&id, "n").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_retried_write_that_fails_for_good_says_why() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("why");
    client.set_state(&id, "text", "x").await.unwrap();
    proxy.lose_answers(1);
    assert_eq!(reason(client.commit(&id).increment("text", 1).await), Reason::ValueTypeMismatch);
    assert_eq!(proxy.answers_to_lose(), 0);
}

#[tokio::test]
async fn a_write_after_the_connection_was_lost_for_good_never_left() {
    let mut service = Service::start(&[]);
    let client = Client::builder(&service.url).retry(retries(2)).build().unwrap();
    client.set_state("s", "n", 1).await.unwrap();
    service.kill();
    // The first finds a connection that ends, and can't know; later ones find none.
    assert!(client.set_state("s", "n", 2).await.is_err());
    assert_eq!(reason(client.set_state("s", "n", 3).await), Reason::StoreUnavailable);
    let write = vec![SetState::new("s", "n", 4).into()];
    let end = client.pipeline(stream::iter([write])).next().await.unwrap();
    assert_eq!(reason(end), Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_is_not_answered() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("deadline");
    client.set_state(&id, "n", 1).await.unwrap();
    proxy.black_hole(true);
    let read = client.get_entry(&id, "n").timeout(SHORT);
    ends_in_time(Reason::StoreUnavailable, async { reason(read.await) }).await;
    let write = client.set_state(&id, "n", 2).timeout(SHORT);
    ends_in_time(Reason::OutcomeUnknown, async { reason(write.await) }).await;
}

async fn ends_in_time(expected: Reason, call: impl Future<Output = Reason>) {
    let began = Instant::now();
    assert_eq!(call.await, expected);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn the_default_deadline_is_the_clients_and_ends_its_retries_too() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    proxy.black_hole(true);
    let client = Client::builder(&proxy.url).timeout(SHORT).build().unwrap();
    let began = Instant::now();
    let failure = reason(client.set_state("s", "n", 2).await);
    assert!(matches!(failure, Reason::OutcomeUnknown | Reason::StoreUnavailable), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(3));

    let client = Client::builder(NOWHERE).retry(retries(1000)).timeout(SHORT).build().unwrap();
    let began = Instant::now();
    assert_eq!(reason(client.get_entry("s", "k").await), Reason::StoreUnavailable);
    assert!(began.elapsed() < Duration::from_secs(3));
    let error = client.get_entry("s", "k").timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.metadata()["field"], "timeout");
}

#[tokio::test]
async fn a_service_that_has_restarted_is_found_again() {
    let mut first = Service::start(&[]);
    let client = Client::builder(&first.url).retry(retries(100)).build().unwrap();
    client.set_state("s", "n", 1).await.unwrap();
    let address = first.address().to_owned();
    first.kill();
    let call = tokio::spawn(client.set_state("s", "n", 2).into_future());
    sleep(Duration::from_millis(100)).await;
    let second = tokio::task::spawn_blocking(move || Service::start_at(&address, &[])).await.unwrap();
    // A store in memory begins anew.
    assert_eq!(call.await.unwrap().unwrap().revision, 1);
    drop(second);
}

#[tokio::test]
async fn a_call_that_was_dropped_leaves_the_client_as_it_was() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("dropped");
    client.set_state(&id, "n", 1).await.unwrap();
    proxy.black_hole(true);
    let dropped = tokio::time::timeout(SHORT, client.get_entry(&id, "n").into_future()).await;
    assert!(dropped.is_err());
    proxy.black_hole(false);
    proxy.cut();
    assert_eq!(client.get_state(&id, "n").await.unwrap(), Some(1));
}

#[tokio::test]
async fn many_tasks_share_one_connection() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("tasks");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..300 {
        tasks.spawn(client.commit(&id).increment("n", 1).into_future());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!((client.get_state(&id, "n").await.unwrap(), proxy.connections()), (Some(300), 1));
}
