//! Runs the steps of cases, and says which do as they should.

use std::collections::BTreeMap;
use std::time::Duration;

use agenterra_workflow_state::{Client, Error, Event, StreamExt, TryStreamExt, WatchMessage};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{Outcome, identical, items, say, text};

/// How long a step may take that does not say so.
const PATIENCE_MS: u64 = 60_000;

pub async fn run(url: &str, prefix: &str, data: &Value) -> Outcome {
    let mut clients = BTreeMap::new();
    for (name, options) in data["clients"].as_object().into_iter().flatten() {
        let mut builder = Client::builder(options["url"].as_str().unwrap_or(url));
        if let Some(token) = options["token"].as_str() {
            builder = builder.token(token);
        }
        clients.insert(name.as_str(), builder.build()?);
    }
    for (number, case) in items(data, "cases").iter().enumerate() {
        let sessions = format!("{prefix}-{number}-");
        let mut wrong = None;
        for (at, step) in items(case, "steps").iter().enumerate() {
            let client = clients.get(step["client"].as_str().unwrap_or("default")).ok_or("no such client")?;
            if let Err(error) = run_step(client, &sessions, step).await {
                wrong = Some(format!("step {at}: {error}"));
                break;
            }
        }
        say(case, wrong)?;
    }
    Ok(())
}

async fn run_step(client: &Client, sessions: &str, step: &Value) -> Outcome {
    let within = Duration::from_millis(step["within_ms"].as_u64().unwrap_or(PATIENCE_MS));
    let done = timeout(within, act(client, sessions, step)).await.map_err(|_| "it was not over in time")?;
    match (done, step.get("error")) {
        (Ok(_), Some(expected)) => Err(format!("it succeeded, and should fail with {expected}").into()),
        (Ok(answer), None) => compare_all(step.get("expect"), &answer),
        (Err(Failure::Refused(error)), Some(expected)) => compare_all(Some(expected), &shown(&error)),
        (Err(Failure::Refused(error)), None) => Err(error.into()),
        (Err(Failure::Wrong(message)), _) => Err(message.into()),
    }
}

enum Failure {
    /// By the service or the client.
    Refused(Error),
    /// The step itself, or what it got, is wrong.
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

type Answer = Result<Value, Failure>;

/// Sets an option of a call if the step has it.
macro_rules! optional {
    ($call:ident, $step:ident: $($option:ident $read:ident),*) => {
        $(if let Some(value) = $step[stringify!($option)].$read() {
            $call = $call.$option(value);
        })*
    };
}

/// What a step does; what it gives is compared with what is expected, in the words of the file.
async fn act(client: &Client, sessions: &str, step: &Value) -> Answer {
    let session = format!("{sessions}{}", text(step, "session"));
    let key = text(step, "key");
    match text(step, "do") {
        "set" => {
            let mut call = client.set_state(session, key, &step["value"]);
            optional!(call, step: if_revision as_i64, request_id as_str);
            if let Some(ttl) = step["ttl_ms"].as_u64() {
                call = call.ttl(Duration::from_millis(ttl));
            }
            Ok(json!({ "revision": call.await?.revision }))
        }
        "get" => {
            let mut call = client.get_entry(session, key);
            optional!(call, step: at_revision as_i64);
            if let Some(timeout) = step["timeout_ms"].as_u64() {
                call = call.timeout(Duration::from_millis(timeout));
            }
            let entry = call.await?.map(|entry| json!({ "value": entry.value, "revision": entry.revision }));
            Ok(entry.unwrap_or_else(missing))
        }
        "delete" => {
            let mut call = client.delete_state(session, key);
            optional!(call, step: if_revision as_i64, request_id as_str);
            let deletion = call.await?;
            Ok(json!({ "deleted": deletion.deleted, "revision": deletion.revision }))
        }
        "commit" => commit(client, session, step).await,
        "get_session" => {
            let mut call = client.get_session(session);
            optional!(call, step: key_prefix as_str, at_revision as_i64);
            let found = call.await?.map(|found| {
                json!({
                    "state": found.state,
                    "revision": found.revision,
                    "labels": found.labels,
                    "workflow_id": found.workflow_id,
                })
            });
            Ok(found.unwrap_or_else(missing))
        }
        "save_session" => {
            let state = step["state"].as_object().cloned().unwrap_or_default();
            let mut call = client.save_session(session, state);
            optional!(call, step: if_revision as_i64);
            for (name, label) in labels(step) {
                call = call.label(name, label);
            }
            Ok(json!({ "revision": call.await?.revision }))
        }
        "delete_session" => Ok(json!({ "deleted": client.delete_session(session).await? })),
        "fork" => {
            let mut call = client.fork_session(session, format!("{sessions}{}", text(step, "new_session")));
            optional!(call, step: at_revision as_i64);
            let copy = call.await?;
            Ok(json!({ "revision": copy.revision, "state": copy.state }))
        }
        "update" => update(client, &session, step).await,
        "events" => {
            let mut call = client.list_events(session).page_size(2);
            optional!(call, step: after_revision as_i64);
            let mut pages = call.pages();
            let mut events = Vec::new();
            while let Some(page) = pages.try_next().await? {
                if page.items.len() > 2 {
                    return Err(Failure::Wrong("a page is larger than it was asked to be".into()));
                }
                events.extend(page.items.iter().map(plain));
            }
            Ok(json!({ "events": events }))
        }
        "watch" => watch(client, &session, step).await,
        "sleep" => {
            sleep(Duration::from_millis(step["ms"].as_u64().unwrap_or_default())).await;
            Ok(json!({}))
        }
        other => Err(Failure::Wrong(format!("there is no step {other}"))),
    }
}

async fn commit(client: &Client, session: String, step: &Value) -> Answer {
    let mut call = client.commit(session);
    optional!(call, step: if_revision as_i64, request_id as_str, workflow_id as_str);
    if step.get("labels").is_some() {
        call = call.labels(labels(step));
    }
    for check in items(step, "checks") {
        call = call.check(text(check, "key"), check["if_revision"].as_i64().unwrap_or_default());
    }
    for change in items(step, "changes") {
        let Some((kind, of)) = change.as_object().and_then(|change| change.iter().next()) else {
            return Err(Failure::Wrong("a change has no kind".into()));
        };
        let key = text(of, "key");
        call = match kind.as_str() {
            "set" => call.set(key, &of["value"]),
            "delete" => call.delete(key),
            "increment" => call.increment(key, of["delta"].as_f64().unwrap_or_default()),
            "append" => {
                let most = of["max_items"].as_u64().and_then(|most| u32::try_from(most).ok());
                call.append_last(key, items(of, "values"), most.unwrap_or_default())
            }
            "merge" => call.merge(key, &of["value"]),
            other => return Err(Failure::Wrong(format!("there is no change {other}"))),
        };
    }
    let committed = call.await?;
    let entries: Vec<_> = committed
        .entries
        .into_iter()
        .map(|entry| {
            let value = entry.value.map(|value| ("value".to_owned(), value));
            Value::Object([("key".to_owned(), json!(entry.key))].into_iter().chain(value).collect())
        })
        .collect();
    Ok(json!({ "revision": committed.revision, "entries": entries }))
}

async fn update(client: &Client, session: &str, step: &Value) -> Answer {
    let mut tasks = JoinSet::new();
    for _ in 0..step["times"].as_u64().unwrap_or(1) {
        let (client, session) = (client.clone(), session.to_owned());
        let key = text(step, "increment").to_owned();
        tasks.spawn(async move {
            client
                .update(session, |draft| {
                    let count: f64 = draft.get(&key)?.unwrap_or_default();
                    draft.set(&key, count + 1.0)
                })
                .await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::Wrong(error.to_string()))??;
    }
    Ok(json!({}))
}

async fn watch(client: &Client, session: &str, step: &Value) -> Answer {
    let count = step["count"].as_u64().unwrap_or_default();
    let reconnects = step["reconnect"].as_bool().unwrap_or_default();
    let mut after = step["after_revision"].as_i64();
    let mut messages = Vec::new();
    while (messages.len() as u64) < count {
        let mut call = client.watch_session(session);
        if let Some(revision) = after {
            call = call.after_revision(revision);
        }
        let mut watch = call.stream();
        while let Some(message) = watch.next().await {
            let message = message?;
            after = Some(message.revision());
            messages.push(match &message {
                WatchMessage::Snapshot(session) => {
                    json!({ "snapshot": { "revision": session.revision, "state": session.state } })
                }
                WatchMessage::Event(event) => json!({ "event": plain(event) }),
                _ => continue,
            });
            if reconnects || messages.len() as u64 == count {
                break;
            }
        }
    }
    Ok(json!({ "messages": messages }))
}

fn plain(event: &Event) -> Value {
    let keys: Vec<_> = event.entries.iter().map(|entry| &entry.key).collect();
    json!({ "revision": event.revision, "kind": screaming(&format!("{:?}", event.kind)), "keys": keys })
}

fn labels(step: &Value) -> Vec<(String, String)> {
    let labels = step["labels"].as_object().into_iter().flatten();
    labels.map(|(name, label)| (name.clone(), label.as_str().unwrap_or_default().to_owned())).collect()
}

fn missing() -> Value {
    json!({ "missing": true })
}

fn shown(error: &Error) -> Value {
    let checks: Vec<_> = error
        .failed_checks()
        .iter()
        .map(|check| {
            json!({
                "key": check.key,
                "if_revision": check.if_revision,
                "actual_revision": check.actual_revision,
            })
        })
        .collect();
    json!({
        "reason": error.reason().to_string(),
        "code": screaming(&format!("{:?}", error.code())),
        "failed_checks": checks,
        "path": error.metadata().get("path"),
    })
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn screaming(name: &str) -> String {
    let mut screaming = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !screaming.is_empty() {
            screaming.push('_');
        }
        screaming.extend(letter.to_uppercase());
    }
    screaming
}

fn compare_all(expected: Option<&Value>, found: &Value) -> Outcome {
    for (field, expected) in expected.and_then(Value::as_object).unwrap_or(&Map::new()) {
        let found = found.get(field).unwrap_or(&Value::Null);
        let (expected, found) = if field == "failed_checks" {
            (by_key(expected), by_key(found))
        } else {
            (expected.clone(), found.clone())
        };
        if !identical(&expected, &found) {
            return Err(format!("{field} is {}, and should be {}", short(&found), short(&expected)).into());
        }
    }
    Ok(())
}

fn by_key(checks: &Value) -> Value {
    let mut checks = checks.as_array().cloned().unwrap_or_default();
    checks.sort_by_key(|check| check["key"].as_str().unwrap_or_default().to_owned());
    Value::Array(checks)
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}
