//! Watches and pipelines.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use agenterra_workflow_state::{
    BoxStream, Client, Commit, Error, EventKind, GetState, Operation, Reason, SetState, StreamExt,
    TryStreamExt, WatchMessage,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::support::proxy::Proxy;
use crate::support::raw::Raw;
use crate::support::{NOWHERE, Service, reason, retries, unique};

type Watch = BoxStream<'static, Result<WatchMessage, Error>>;

/// The next message that is not progress.
async fn news(watch: &mut Watch) -> WatchMessage {
    let found = async {
        loop {
            match watch.next().await.expect("a watch does not end").unwrap() {
                WatchMessage::Progress(_) => {}
                message => return message,
            }
        }
    };
    timeout(Duration::from_secs(20), found).await.expect("news")
}

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_and_goes_on_with_events() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("watch");
    let mut watch = client.watch_session(&id).stream();
    let WatchMessage::Snapshot(session) = news(&mut watch).await else { panic!("a snapshot") };
    assert_eq!((session.revision, session.create_time, session.state.len()), (0, None, 0));
    client.commit(&id).set("a", 1).set("b", 2).await.unwrap();
    client.delete_session(&id).await.unwrap();
    let WatchMessage::Event(event) = news(&mut watch).await else { panic!("an event") };
    assert_eq!((event.revision, event.kind, event.entries.len()), (1, EventKind::Committed, 2));
    let WatchMessage::Event(event) = news(&mut watch).await else { panic!("an event") };
    assert_eq!((event.revision, event.kind), (2, EventKind::Deleted));

    let mut later = client.watch_session(&id).after_revision(0).key_prefix("b").stream();
    let WatchMessage::Event(event) = news(&mut later).await else { panic!("an event") };
    assert_eq!((event.revision, event.entries.len()), (1, 1));
    assert_eq!(news(&mut later).await.revision(), 2);
}

#[tokio::test]
async fn a_watch_survives_lost_connections_without_a_gap_or_a_repetition() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let (near, far) = (service.client(), Client::builder(&proxy.url).retry(retries(2)).build().unwrap());
    let id = unique("cuts");
    let mut watch = far.watch_session(&id).stream();
    assert_eq!(news(&mut watch).await.revision(), 0);
    for revision in 1..=30 {
        near.commit(&id).increment("n", 1).await.unwrap();
        if revision % 3 == 0 {
            proxy.cut();
        }
        if revision % 4 == 0 {
            proxy.refuse(true);
            proxy.cut();
            sleep(Duration::from_millis(100)).await;
            proxy.refuse(false);
        }
        if revision % 2 == 0 {
            assert_eq!(news(&mut watch).await.revision(), revision - 1);
            assert_eq!(news(&mut watch).await.revision(), revision);
        }
    }
    assert!(proxy.connections() > 8);
}

#[tokio::test]
async fn a_watch_that_hears_nothing_connects_anew() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::builder(&proxy.url).silence(Duration::from_millis(300)).build().unwrap();
    let id = unique("silence");
    let mut watch = client.watch_session(&id).stream();
    assert_eq!(news(&mut watch).await.revision(), 0);
    proxy.black_hole(true);
    let waiting = tokio::spawn(async move { news(&mut watch).await });
    sleep(Duration::from_millis(700)).await;
    proxy.black_hole(false);
    service.client().set_state(&id, "k", 1).await.unwrap();
    assert_eq!(waiting.await.unwrap().revision(), 1);
    assert!(proxy.connections() > 1);
    // Calls take the new connection, too.
    assert_eq!(client.get_state(&id, "k").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_watch_ends_with_what_is_no_matter_of_connections() {
    let service = Service::shared();
    let client = service.client();
    let mut watch = client.watch_session("").stream();
    assert_eq!(reason(watch.next().await.unwrap()), Reason::InvalidSessionId);
    assert!(watch.next().await.is_none());
    let id = unique("future");
    let mut watch = client.watch_session(&id).after_revision(5).stream();
    assert_eq!(reason(watch.next().await.unwrap()), Reason::FutureRevision);
}

#[tokio::test]
async fn a_reading_that_was_dropped_loses_no_message() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("dropped");
    let mut watch = client.watch_session(&id).stream();
    for revision in 0..20 {
        if revision > 0 {
            client.commit(&id).increment("n", 1).await.unwrap();
        }
        let mut tries = 0;
        let message = loop {
            tries += 1;
            assert!(tries < 100_000);
            if let Ok(message) = timeout(Duration::from_micros(200), watch.next()).await {
                match message.unwrap().unwrap() {
                    WatchMessage::Progress(_) => {}
                    message => break message,
                }
            }
        };
        assert_eq!(message.revision(), revision);
    }
}

#[tokio::test]
async fn a_watch_on_sessions_tells_of_those_that_match() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("all");
    let mut watch = client.watch_sessions().session_id_prefix(&id).label("stage", "open").await.unwrap();
    // The service does not say when it has begun to follow.
    let marker = format!("{id}-marker");
    let heard = async {
        while timeout(Duration::from_millis(20), watch.next()).await.is_err() {
            client.save_session(&marker, [("k", 1)]).label("stage", "open").await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), heard).await.unwrap();
    let mut watch = watch.try_filter(|change| ready(change.session.session_id != marker));
    client.save_session(&id, [("k", 1)]).label("stage", "open").await.unwrap();
    client.save_session(format!("{id}-other"), [("k", 1)]).label("stage", "done").await.unwrap();
    client.delete_session(&id).await.unwrap();
    let change = watch.next().await.unwrap().unwrap();
    assert_eq!((change.session.session_id.as_str(), change.kind), (id.as_str(), EventKind::Saved));
    assert!(change.session.state.is_empty() && change.session.labels["stage"] == "open");
    assert_eq!(watch.next().await.unwrap().unwrap().kind, EventKind::Deleted);
}

#[tokio::test]
async fn a_watch_on_sessions_says_when_it_is_lost() {
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::new(&proxy.url).unwrap();
    let mut watch = client.watch_sessions().session_id_prefix(unique("none")).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    proxy.cut();
    let lost = timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    assert_eq!(reason(lost), Reason::StoreUnavailable);
    assert!(watch.next().await.is_none());
    let nowhere = Client::new(NOWHERE).unwrap();
    assert_eq!(reason(nowhere.watch_sessions().await), Reason::StoreUnavailable);
}

/// So many batches that each add one to `n` and read it.
fn counting(id: &str, batches: usize) -> impl Iterator<Item = Vec<Operation>> + Send + use<> {
    let id = id.to_owned();
    (0..batches).map(move |_| vec![Commit::new(&id).increment("n", 1).into(), GetState::new(&id, "n").into()])
}

async fn counts(
    pipeline: BoxStream<'static, Result<agenterra_workflow_state::Answers, Error>>,
) -> Vec<Value> {
    let count = |answers: agenterra_workflow_state::Answers| {
        answers[1].as_ref().unwrap().entry().unwrap().value.clone().unwrap()
    };
    timeout(Duration::from_secs(30), pipeline.map_ok(count).try_collect()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_pipeline_answers_each_batch_in_order() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("pipeline");
    let all = counts(client.pipeline(stream::iter(counting(&id, 200)))).await;
    assert_eq!(all, (1..=200).map(|n| json!(n)).collect::<Vec<_>>());
    assert!(counts(client.pipeline(stream::empty())).await.is_empty());
    let errors = client.pipeline(stream::iter([vec![SetState::new(&id, "n", 1).if_revision(7).into()]]));
    let answers: Vec<_> = errors.try_collect().await.unwrap();
    assert_eq!(answers[0][0].as_ref().unwrap_err().reason(), Reason::RevisionMismatch);
}

#[tokio::test]
async fn a_pipeline_can_ask_after_what_it_was_answered() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("asks");
    let (more, next) = tokio::sync::mpsc::channel::<Vec<Operation>>(1);
    let source = stream::unfold(next, |mut next| async { next.recv().await.map(|batch| (batch, next)) });
    let mut pipeline = client.pipeline(source);
    for n in 1..=5 {
        more.send(counting(&id, 1).next().unwrap()).await.unwrap();
        let answers = timeout(Duration::from_secs(10), pipeline.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answers[1].as_ref().unwrap().entry().unwrap().value, Some(json!(n)));
    }
    drop(more);
    assert!(pipeline.next().await.is_none());
}

#[tokio::test]
async fn a_pipeline_survives_lost_connections_and_does_each_batch_once() {
    let service = Service::shared();
    let proxy = Arc::new(Proxy::before(service.address()).await);
    let client = Client::new(&proxy.url).unwrap();
    let id = unique("lost");
    let cutting = Arc::clone(&proxy);
    let source = stream::iter(counting(&id, 100).enumerate()).then(move |(at, batch)| {
        let proxy = Arc::clone(&cutting);
        async move {
            if at % 20 == 10 {
                sleep(Duration::from_millis(20)).await;
                proxy.cut();
            }
            batch
        }
    });
    assert_eq!(counts(client.pipeline(source)).await.last(), Some(&json!(100)));
    assert!(proxy.connections() > 2, "{}", proxy.connections());
    assert_eq!(service.client().get_state(&id, "n").await.unwrap(), Some(100));
}

#[tokio::test]
async fn a_pipeline_gives_up_when_nothing_is_answered() {
    let client = Client::builder(NOWHERE).retry(retries(2)).build().unwrap();
    let reads = client.pipeline(stream::iter([vec![GetState::new("s", "k").into()]])).next().await.unwrap();
    assert_eq!(reason(reads), Reason::StoreUnavailable);
    let service = Service::shared();
    let proxy = Proxy::before(service.address()).await;
    let client = Client::builder(&proxy.url).retry(retries(3)).build().unwrap();
    client.set_state(unique("warm"), "k", 1).await.unwrap();
    proxy.lose_answers(100);
    let mut writes = client.pipeline(stream::iter(counting(&unique("unknown"), 3)));
    assert_eq!(reason(writes.next().await.unwrap()), Reason::OutcomeUnknown);
    assert!(writes.next().await.is_none());
}

#[test]
fn a_pipeline_that_waits_for_its_source_connects_anew_when_the_service_ends_it() {
    let (tell, told) = mpsc::channel();
    // In a thread of its own: one that never waits could not be stopped.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(async {
            let (raw, url) = Raw::saying([Status::ok("")]).await;
            let client = Client::builder(url).retry(retries(3)).build().unwrap();
            let end = client.pipeline(stream::pending()).next().await.unwrap();
            (reason(end), raw.carried().len())
        });
        tell.send(ended).unwrap();
    });
    let ended = told.recv_timeout(Duration::from_secs(10)).expect("it gives up");
    assert_eq!(ended, (Reason::StoreUnavailable, 3));
}

#[tokio::test]
async fn a_batch_that_can_not_be_sent_ends_the_pipeline_after_what_was_before() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("wrong");
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let batches: Vec<Vec<Operation>> = vec![
        vec![SetState::new(&id, "k", 1).into()],
        vec![SetState::new(&id, "k", 2).into(), SetState::new(&id, "k", f64::NAN).into()],
        vec![SetState::new(&id, "k", 3).into()],
    ];
    let source = stream::iter(batches).inspect(move |_| {
        counted.fetch_add(1, SeqCst);
    });
    let mut pipeline = client.pipeline(source);
    assert_eq!(pipeline.next().await.unwrap().unwrap().len(), 1);
    assert_eq!(reason(pipeline.next().await.unwrap()), Reason::InvalidValue);
    assert!(pipeline.next().await.is_none());
    assert_eq!((client.get_state(&id, "k").await.unwrap(), taken.load(SeqCst)), (Some(1), 2));
}
