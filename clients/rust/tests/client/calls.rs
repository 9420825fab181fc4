//! Each call with its options.

use std::time::{Duration, SystemTime};

use agenterra_workflow_state::{
    Answer, Call, Client, Commit, DeleteState, EventKind, GetSession, GetState, Operation, Reason, Session,
    SessionOrder, SessionView, SetState, TryStreamExt, proto,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Folder, Service, reason, unique};

#[tokio::test]
async fn an_entry_has_its_value_revision_and_times() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("entry");
    let before = SystemTime::now() - Duration::from_secs(60);
    let entry = client.set_state(&id, "k", "v").await.unwrap();
    assert_eq!((entry.key.as_str(), entry.value.clone(), entry.revision), ("k", Some(json!("v")), 1));
    assert!(entry.update_time > before && entry.expire_time.is_none());
    assert_eq!(client.get_entry(&id, "k").await.unwrap(), Some(entry));
    client.set_state(&id, "k", "w").await.unwrap();
    assert_eq!(client.get_state::<String>(&id, "k").at_revision(1).await.unwrap().unwrap(), "v");
    assert_eq!(client.get_entry(&id, "k").at_revision(2).await.unwrap().unwrap().value, Some(json!("w")));
}

#[tokio::test]
async fn a_set_under_a_condition_writes_only_if_it_holds() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("condition");
    client.set_state(&id, "k", 1).if_revision(0).await.unwrap();
    let error = client.set_state(&id, "k", 2).if_revision(0).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RevisionMismatch);
    assert_eq!(client.set_state(&id, "k", 2).if_revision(1).await.unwrap().revision, 2);
    assert_eq!(reason(client.delete_state(&id, "k").if_revision(1).await), Reason::RevisionMismatch);
    let deletion = client.delete_state(&id, "k").if_revision(2).await.unwrap();
    assert!(deletion.deleted && deletion.revision == 3);
    let again = client.delete_state(&id, "k").await.unwrap();
    assert!(!again.deleted && again.revision == 3);
}

#[tokio::test]
async fn an_entry_lives_as_long_as_its_ttl() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("ttl");
    let entry = client.set_state(&id, "k", 1).ttl(Duration::from_millis(300)).await.unwrap();
    assert_eq!(entry.expire_time.unwrap().duration_since(entry.update_time).unwrap().as_millis(), 300);
    // What is no whole millisecond is one more.
    let entry = client.commit(&id).set_for("l", 1, Duration::from_micros(3_600_000_001)).await.unwrap();
    let entry = entry.entry("l").unwrap();
    assert_eq!(entry.expire_time.unwrap().duration_since(entry.update_time).unwrap().as_millis(), 3_600_001);
    let kept = client.commit(&id).set_keeping_expiry("l", 2).await.unwrap();
    assert_eq!(kept.entry("l").unwrap().expire_time, entry.expire_time);
    let renewed = client.commit(&id).set("l", 3).await.unwrap();
    assert_eq!(renewed.entry("l").unwrap().expire_time, None);
    sleep(Duration::from_millis(400)).await;
    assert_eq!(client.get_state::<Value>(&id, "k").await.unwrap(), None);
    assert_eq!(reason(client.set_state(&id, "k", 1).ttl(Duration::MAX).await), Reason::InvalidRequest);
}

#[tokio::test]
async fn entries_are_listed_by_key_over_pages() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("list");
    client.save_session(&id, (0..7).map(|n| (format!("k{n}"), n))).await.unwrap();
    let keys = |call: Call<proto::ListStateRequest, Client>| async {
        call.stream().map_ok(|entry| entry.key).try_collect::<Vec<_>>().await.unwrap().join(" ")
    };
    assert_eq!(keys(client.list_state(&id).page_size(3)).await, "k0 k1 k2 k3 k4 k5 k6");
    assert_eq!(keys(client.list_state(&id).reverse().start_after("k4").page_size(2)).await, "k3 k2 k1 k0");
    assert_eq!(keys(client.list_state(&id).key_prefix("k6")).await, "k6");
    assert_eq!(keys(client.list_state(unique("none"))).await, "");
    client.set_state(&id, "k9", 9).await.unwrap();
    assert_eq!(keys(client.list_state(&id).at_revision(1).start_after("k5")).await, "k6");

    let pages: Vec<_> = client.list_state(&id).page_size(3).pages().try_collect().await.unwrap();
    assert_eq!(pages.iter().map(|page| page.items.len()).collect::<Vec<_>>(), [3, 3, 2]);
    let after_first = client.list_state(&id).page_size(3).page_token(&pages[0].next_page_token);
    assert_eq!(keys(after_first).await, "k3 k4 k5 k6 k9");
    let wrong = client.list_state(&id).page_token("wrong").pages().try_next().await;
    assert_eq!(reason(wrong), Reason::InvalidPageToken);
}

#[tokio::test]
async fn a_session_is_saved_and_read_whole() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("session");
    assert_eq!(client.get_session(&id).await.unwrap(), None);
    let saved = client
        .save_session(&id, [("a/1", json!(1)), ("b", json!([null]))])
        .workflow_id("w")
        .user_id("u")
        .label("stage", "open")
        .label("tier", "")
        .if_revision(0)
        .ttl(Duration::from_secs(3600))
        .idle_ttl(Duration::from_secs(7200))
        .await
        .unwrap();
    assert_eq!(Value::Object(saved.state.clone()), json!({ "a/1": 1, "b": [null] }));
    assert_eq!((saved.workflow_id.as_deref(), saved.user_id.as_deref()), (Some("w"), Some("u")));
    assert_eq!(saved.labels["stage"], "open");
    assert_eq!(saved.labels["tier"], "");
    assert!(saved.expire_time.unwrap() > saved.create_time.unwrap());
    assert_eq!(client.get_session(&id).await.unwrap(), Some(saved));
    let part = client.get_session(&id).key_prefix("a/").await.unwrap().unwrap();
    assert_eq!(Value::Object(part.state), json!({ "a/1": 1 }));
    // What a save does not say is gone.
    let none: [(&str, Value); 0] = [];
    let saved = client.save_session(&id, none).ttl(Duration::ZERO).idle_ttl(Duration::ZERO).await.unwrap();
    assert!(saved.state.is_empty() && saved.labels.is_empty() && saved.workflow_id.is_none());
    assert_eq!(saved.expire_time, None);
    assert_eq!(client.get_session(&id).at_revision(1).await.unwrap().unwrap().labels.len(), 2);
    assert!(client.get_session(&id).await.unwrap().is_some());

    assert_eq!(reason(client.delete_session(&id).if_revision(1).await), Reason::RevisionMismatch);
    assert!(client.delete_session(&id).if_revision(2).await.unwrap());
    assert!(!client.delete_session(&id).await.unwrap());
}

#[tokio::test]
async fn sessions_are_listed_by_filters_views_and_orders() {
    let service = Service::shared();
    let client = service.client();
    let prefix = unique("many");
    let start = SystemTime::now() - Duration::from_secs(60);
    for (name, workflow, stage) in [("a", "w1", "open"), ("b", "w2", "open"), ("c", "w1", "done")] {
        let id = format!("{prefix}-{name}");
        let save = client.save_session(&id, [("k", name)]).workflow_id(workflow).user_id(&prefix);
        save.label("stage", stage).label("of", &prefix).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    let names = |sessions: Vec<Session>| {
        let last = |session: &Session| session.session_id.rsplit('-').next().unwrap().to_owned();
        sessions.iter().map(last).collect::<String>()
    };
    let all = || client.list_sessions().session_id_prefix(&prefix);
    let listed = |call: Call<proto::ListSessionsRequest, Client>| async {
        call.stream().try_collect::<Vec<_>>().await.unwrap()
    };
    assert_eq!(names(listed(all()).await), "abc");
    assert_eq!(names(listed(all().page_size(2)).await), "abc");
    assert_eq!(names(listed(all().order(SessionOrder::UpdateTimeDesc)).await), "cba");
    assert_eq!(names(listed(all().order(SessionOrder::Id).workflow_id("w1")).await), "ac");
    assert_eq!(names(listed(all().label("stage", "open").label("of", &prefix)).await), "ab");
    assert_eq!(names(listed(client.list_sessions().user_id(&prefix)).await), "abc");
    assert_eq!(names(listed(all().updated_after(start)).await), "abc");
    assert_eq!(names(listed(all().updated_before(start)).await), "");

    let [ids, metadata, full] = [SessionView::Ids, SessionView::Metadata, SessionView::Full];
    let ids = listed(all().view(ids)).await.remove(0);
    assert!(ids.create_time.is_none() && ids.labels.is_empty());
    let metadata = listed(all().view(metadata)).await.remove(0);
    assert!(metadata.create_time.is_some() && metadata.state.is_empty() && metadata.labels.len() == 2);
    assert_eq!(listed(all().view(full)).await[0].state["k"], json!("a"));
    let mine: Vec<_> = client.get_all_session_ids().await.unwrap();
    assert_eq!(mine.iter().filter(|id| id.starts_with(&prefix)).count(), 3);
}

#[tokio::test]
async fn a_commit_makes_all_its_changes_in_order() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("commit");
    let committed = client
        .commit(&id)
        .check("none", 0)
        .set("list", ["a"])
        .append("list", ["b", "c"])
        .append_last("list", ["d"], 3)
        .increment("n", 2)
        .increment("n", -0.5)
        .merge("object", json!({ "a": 1, "b": null }))
        .set("gone", 1)
        .delete("gone")
        .await
        .unwrap();
    assert_eq!(committed.revision, 1);
    assert!(committed.update_time.is_some());
    let values: Vec<_> =
        committed.entries.iter().map(|entry| (entry.key.as_str(), entry.value.clone())).collect();
    let expected = [
        ("list", Some(json!(["b", "c", "d"]))),
        ("n", Some(json!(1.5))),
        ("object", Some(json!({ "a": 1 }))),
        ("gone", None),
    ];
    assert_eq!(values, expected);
    assert_eq!(committed.entry("gone").unwrap().get::<Value>().unwrap(), None);
    assert!(committed.entry("other").is_none());
    let nothing = client.commit(&id).await.unwrap();
    assert_eq!((nothing.revision, nothing.entries.len()), (1, 0));
    assert_eq!(reason(client.commit(&id).increment("n", f64::NAN).await), Reason::InvalidRequest);
    assert_eq!(reason(client.commit(&id).increment("list", 1).await), Reason::ValueTypeMismatch);
    assert_eq!(reason(client.commit(&id).set("n", 1).if_revision(7).await), Reason::RevisionMismatch);
}

#[tokio::test]
async fn a_commit_sets_keeps_and_clears_what_is_known_of_the_session() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("metadata");
    let none: [(&str, &str); 0] = [];
    let session = || async { client.get_session(&id).await.unwrap().unwrap() };
    let hour = Duration::from_secs(3600);
    let commit =
        client.commit(&id).set("k", 1).workflow_id("w").user_id("u").labels([("a", "1"), ("b", "2")]);
    commit.ttl(hour).idle_ttl(2 * hour).await.unwrap();
    let first = session().await;
    assert_eq!((first.workflow_id.as_deref(), first.user_id.as_deref()), (Some("w"), Some("u")));
    assert_eq!(first.labels.len(), 2);
    assert!(first.expire_time.is_some());
    client.commit(&id).set("k", 2).await.unwrap();
    assert_eq!(session().await.labels.len(), 2);
    client.commit(&id).labels([("c", "3")]).workflow_id("").await.unwrap();
    let second = session().await;
    assert_eq!((second.workflow_id, second.user_id.as_deref()), (None, Some("u")));
    assert_eq!(second.labels["c"], "3");
    assert_eq!(second.labels.len(), 1);
    client.commit(&id).labels(none).ttl(Duration::ZERO).idle_ttl(Duration::ZERO).await.unwrap();
    let third = session().await;
    assert!(third.labels.is_empty() && third.expire_time.is_none());
}

#[tokio::test]
async fn a_replayed_request_id_writes_nothing_and_answers_the_same() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("replay");
    for _ in 0..2 {
        let committed = client.commit(&id).increment("n", 1).request_id("r").await.unwrap();
        assert_eq!((committed.revision, committed.entries[0].value.clone()), (1, Some(json!(1))));
    }
    assert_eq!(reason(client.set_state(&id, "n", 5).request_id("r").await), Reason::RequestIdReused);
    client.set_state(&id, "n", 2).await.unwrap();
    client.delete_state(&id, "n").await.unwrap();
    client.save_session(&id, [("n", 3)]).await.unwrap();
    client.batch([SetState::new(&id, "n", 4).into(), DeleteState::new(&id, "n").into()]).await.unwrap();
    let events: Vec<_> = client.list_events(&id).stream().try_collect().await.unwrap();
    let mut ids: Vec<_> = events.iter().map(|event| event.request_id.clone().unwrap()).collect();
    assert_eq!(ids[0], "r");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "every write has an id of its own");
}

#[tokio::test]
async fn a_batch_answers_each_operation_in_order_errors_among_them() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("batch");
    let operations: [Operation; 6] = [
        SetState::new(&id, "k", 1).ttl(Duration::from_secs(60)).into(),
        GetState::new(&id, "k").into(),
        SetState::new(&id, "k", 2).if_revision(7).into(),
        Commit::new(&id).increment("k", 1).request_id("r").into(),
        DeleteState::new(&id, "k").if_revision(2).into(),
        GetSession::new(&id).key_prefix("k").into(),
    ];
    let answers = client.batch(operations).await.unwrap();
    assert!(matches!(&answers[0], Ok(Answer::SetState(entry)) if entry.expire_time.is_some()));
    assert!(matches!(&answers[1], Ok(Answer::GetState(Some(entry))) if entry.revision == 1));
    let error = answers[2].as_ref().unwrap_err();
    assert_eq!(error.reason(), Reason::RevisionMismatch);
    assert_eq!(error.failed_checks()[0].actual_revision, 1);
    assert!(error.message().contains("revision 1"));
    assert_eq!(answers[3].as_ref().unwrap().committed().unwrap().entry("k").unwrap().value, Some(json!(2)));
    assert!(matches!(&answers[4], Ok(Answer::DeleteState(deletion)) if deletion.deleted));
    assert!(matches!(&answers[5], Ok(Answer::GetSession(Some(session))) if session.state.is_empty()));
    let none =
        client.batch([GetState::new(&id, "k").into(), GetSession::new(unique("none")).into()]).await.unwrap();
    assert!(matches!(&none[..], [Ok(Answer::GetState(None)), Ok(Answer::GetSession(None))]));
    assert!(client.batch([]).await.unwrap().is_empty());
    assert_eq!(answers[1].as_ref().unwrap().entry().unwrap().key, "k");
}

#[tokio::test]
async fn history_is_listed_forked_and_restored() {
    let service = Service::shared();
    let client = service.client();
    let (id, copy) = (unique("history"), unique("fork"));
    client.save_session(&id, [("k", 1)]).label("a", "b").await.unwrap();
    client.set_state(&id, "k", 2).await.unwrap();
    client.delete_state(&id, "k").await.unwrap();

    let fork = client.fork_session(&id, &copy).at_revision(2).await.unwrap();
    assert_eq!(
        (fork.session_id.as_str(), fork.get::<u8>("k").unwrap(), fork.revision),
        (copy.as_str(), Some(2), 1)
    );
    let from = fork.forked_from.unwrap();
    assert_eq!((from.session_id.as_str(), from.revision), (id.as_str(), 2));
    assert_eq!(reason(client.fork_session(&id, &copy).await), Reason::SessionExists);
    assert_eq!(reason(client.fork_session(unique("none"), unique("new")).await), Reason::SessionNotFound);

    assert_eq!(reason(client.restore_session(&id, 1).if_revision(2).await), Reason::RevisionMismatch);
    client.delete_session(&id).await.unwrap();
    let restored = client.restore_session(&id, 1).await.unwrap();
    assert_eq!((restored.get::<u8>("k").unwrap(), restored.revision), (Some(1), 5));
    assert_eq!(reason(client.get_session(&id).at_revision(9).await), Reason::FutureRevision);

    let events: Vec<_> = client.list_events(&id).page_size(2).stream().try_collect().await.unwrap();
    let kinds: Vec<_> =
        events.iter().map(|event| (event.revision, event.kind, event.entries.len())).collect();
    let expected = [
        (1, EventKind::Saved, 1),
        (2, EventKind::Committed, 1),
        (3, EventKind::Committed, 1),
        (4, EventKind::Deleted, 0),
        (5, EventKind::Restored, 1),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[2].entries[0].value, None);
    assert_eq!(events[0].session_id, id);
    let newest = client.list_events(&id).reverse().after_revision(3);
    let newest: Vec<_> = newest.stream().map_ok(|event| event.revision).try_collect().await.unwrap();
    assert_eq!(newest, [5, 4]);
    let forked: Vec<_> = client.list_events(&copy).stream().try_collect().await.unwrap();
    assert_eq!(forked[0].kind, EventKind::Forked);
}

/// An answer has no room for such a session: its state is read page by page.
#[tokio::test]
async fn a_session_larger_than_an_answer_is_saved_forked_restored_and_updated() {
    let folder = Folder::new();
    let config = folder.write("config.json", r#"{ "limits": { "requestBytes": 20000 } }"#);
    let service = Service::start(&["--config", &config]);
    let client = service.client();
    let text = "x".repeat(4000);
    for n in 0..10 {
        client.set_state("large", format!("k{n}"), &text).await.unwrap();
    }
    assert_eq!(reason(client.get_session("large").await), Reason::SessionTooLarge);
    let fork = client.fork_session("large", "copy").await.unwrap();
    assert_eq!((fork.state.len(), fork.revision), (10, 1));
    assert_eq!(client.restore_session("large", 10).await.unwrap().state.len(), 10);
    let keys = client
        .update("large", |draft| {
            draft.set("k3", "changed")?;
            Ok::<_, agenterra_workflow_state::Error>(draft.keys().len())
        })
        .await
        .unwrap();
    assert_eq!(keys, 10);
    assert_eq!(client.get_state::<String>("large", "k3").await.unwrap().unwrap(), "changed");
}
