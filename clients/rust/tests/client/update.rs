//! Read, change, commit what changed.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use agenterra_workflow_state::{Error, Reason, TryStreamExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Service, reason, unique};

#[tokio::test]
async fn what_was_changed_is_written_in_one_commit() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("update");
    client
        .save_session(&id, [("a", json!(1)), ("b", json!([1])), ("c", json!(3)), ("d", json!(4))])
        .await
        .unwrap();
    let given = client
        .update(&id, |draft| {
            assert_eq!(draft.get::<u8>("a")?, Some(1));
            draft.set("a", 2)?;
            assert_eq!(draft.get::<u8>("a")?, Some(2));
            draft.get_mut("b").and_then(Value::as_array_mut).unwrap().push(json!(2));
            assert!(draft.get_mut("none").is_none());
            assert!(draft.contains_key("c"));
            assert!(draft.remove("c"));
            assert!(!draft.contains_key("c") && !draft.remove("none"));
            assert_eq!(draft.get::<Value>("c")?, None);
            draft.set("d", 4.0)?;
            draft.set("e", "new")?;
            Ok::<_, Error>("given")
        })
        .await
        .unwrap();
    assert_eq!(given, "given");
    let session = client.get_session(&id).await.unwrap().unwrap();
    assert_eq!(Value::Object(session.state), json!({ "a": 2, "b": [1, 2], "d": 4, "e": "new" }));
    assert_eq!(session.revision, 2);
    let last = client.list_events(&id).after_revision(1).stream().try_next().await.unwrap().unwrap();
    assert_eq!(last.entries.iter().map(|entry| entry.key.as_str()).collect::<String>(), "abce");
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing_and_one_can_create_a_session() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("nothing");
    client
        .update(&id, |draft| {
            draft.remove("none");
            draft.get::<Value>("other").map(drop)
        })
        .await
        .unwrap();
    assert_eq!(client.get_session(&id).await.unwrap(), None);
    client.update(&id, |draft| draft.set("k", json!({ "b": 1, "a": 2 }))).await.unwrap();
    client.update(&id, |draft| draft.set("k", json!({ "a": 2, "b": 1 }))).await.unwrap();
    assert_eq!(client.get_session(&id).await.unwrap().unwrap().revision, 1);
    client.update(&id, |draft| draft.set("k", true)).await.unwrap();
    client.update(&id, |draft| draft.set("k", 1)).await.unwrap();
    assert_eq!(client.get_session(&id).await.unwrap().unwrap().revision, 3);
}

#[derive(Debug, PartialEq)]
enum Own {
    Abandoned,
    Failed(Reason),
}

impl From<Error> for Own {
    fn from(error: Error) -> Self {
        Self::Failed(error.reason())
    }
}

#[tokio::test]
async fn an_error_of_the_function_is_the_updates_and_writes_nothing() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("own");
    let abandoned = client
        .update(&id, |draft| {
            draft.set("k", 1)?;
            Err::<(), _>(Own::Abandoned)
        })
        .await;
    assert_eq!(abandoned, Err(Own::Abandoned));
    let failed: Result<(), Own> = client.update(&id, |draft| Ok(draft.set("k", u64::MAX)?)).await;
    assert_eq!(failed, Err(Own::Failed(Reason::InvalidValue)));
    let refused: Result<(), Own> = client.update(&id, |draft| Ok(draft.set("", 1)?)).await;
    assert_eq!(refused, Err(Own::Failed(Reason::InvalidKey)));
    // Its own conflicts are not taken for the commit's.
    let mut runs = 0;
    let other = client.commit(&id).check("k", 9).set("k", 1).await.unwrap_err();
    let mut other = Some(other);
    let conflict = client
        .update(&id, |draft| {
            runs += 1;
            draft.set("k", 1)?;
            Err::<(), _>(other.take().unwrap())
        })
        .await;
    assert_eq!((reason(conflict), runs), (Reason::RevisionMismatch, 1));
    assert_eq!(client.get_session(&id).await.unwrap(), None);
    assert_eq!(
        reason(client.update(&id, |draft| draft.set("k", 1)).attempts(0).await),
        Reason::InvalidRequest
    );
}

/// Runs an update that looks at some, while another client writes a key; says how often it ran.
async fn runs(looks_at: &'static [&'static str], written: &'static str) -> u32 {
    let service = Service::shared();
    let (client, other) = (service.client(), service.client());
    let id = unique("conflict");
    client.save_session(&id, [("a", 0), ("b", 0), ("c", 0)]).await.unwrap();
    let ran = AtomicU32::new(0);
    let handle = tokio::runtime::Handle::current();
    client
        .update(&id, |draft| {
            for key in looks_at {
                match *key {
                    "*" => assert!(draft.keys().len() >= 3),
                    key => drop(draft.get::<Value>(key)?),
                }
            }
            draft.set("a", 1)?;
            if ran.fetch_add(1, SeqCst) == 0 {
                let write = other.commit(&id).increment(written, 1).into_future();
                tokio::task::block_in_place(|| handle.block_on(write))?;
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(client.get_state::<u8>(&id, "a").await.unwrap(), Some(1));
    ran.load(SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_what_was_looked_at_runs_the_function_again() {
    assert_eq!(runs(&["b"], "b").await, 2);
    assert_eq!(runs(&["b"], "c").await, 1);
    assert_eq!(runs(&[], "a").await, 2);
    assert_eq!(runs(&["none"], "none").await, 2);
    assert_eq!(runs(&["*"], "c").await, 2);
    assert_eq!(runs(&["*"], "new").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_gives_up_after_its_attempts() {
    let service = Service::shared();
    let (client, other) = (service.client(), service.client());
    let id = unique("gives-up");
    let mut runs = 0;
    let handle = tokio::runtime::Handle::current();
    let outcome = client
        .update(&id, |draft| {
            runs += 1;
            draft.set("n", draft.get::<u8>("n")?.unwrap_or_default() + 1)?;
            let write = other.commit(&id).increment("n", 1).into_future();
            tokio::task::block_in_place(|| handle.block_on(write))?;
            Ok::<_, Error>(())
        })
        .attempts(3)
        .timeout(Duration::from_secs(20))
        .await;
    assert_eq!((reason(outcome), runs), (Reason::RevisionMismatch, 3));
    assert_eq!(client.get_state::<u8>(&id, "n").await.unwrap(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_deleted_between_two_attempts_is_made_anew() {
    let service = Service::shared();
    let (client, other) = (service.client(), service.client());
    let id = unique("deleted");
    client.set_state(&id, "a", 1).await.unwrap();
    let mut runs = 0;
    let handle = tokio::runtime::Handle::current();
    client
        .update(&id, |draft| {
            runs += 1;
            draft.set("size", draft.keys().len())?;
            let write = async {
                match runs {
                    1 => other.set_state(&id, "b", 2).await.map(drop),
                    2 => other.delete_session(&id).await.map(drop),
                    _ => Ok(()),
                }
            };
            tokio::task::block_in_place(|| handle.block_on(write))
        })
        .attempts(10)
        .await
        .unwrap();
    let session = client.get_session(&id).await.unwrap().unwrap();
    assert_eq!((Value::Object(session.state), runs), (json!({ "size": 0 }), 3));
}

#[tokio::test]
async fn many_updates_at_once_all_count() {
    let service = Service::shared();
    let clients = [service.client(), service.client(), service.client()];
    let id = unique("count");
    let ran = std::sync::Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..60 {
        let (client, id, ran) = (clients[n % clients.len()].clone(), id.clone(), ran.clone());
        tasks.spawn(async move {
            let change = |draft: &mut agenterra_workflow_state::Draft| {
                ran.fetch_add(1, SeqCst);
                draft.set("n", draft.get::<u32>("n")?.unwrap_or_default() + 1)
            };
            client.update(id, change).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!(clients[0].get_state::<u32>(&id, "n").await.unwrap(), Some(60));
    // Those of one client take turns: only other clients are in their way.
    assert!(ran.load(SeqCst) < 60 * 4, "{ran:?}");
    let alone = unique("alone");
    let ran = AtomicU32::new(0);
    let update = || {
        clients[0].update(&alone, |draft| {
            ran.fetch_add(1, SeqCst);
            draft.set("n", draft.get::<u32>("n")?.unwrap_or_default() + 1)
        })
    };
    let all = futures_util::future::join_all((0..20).map(|_| update().into_future())).await;
    assert!(all.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(ran.load(SeqCst), 20);
}
