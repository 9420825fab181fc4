//! `clients/rust/interop.sh COMMAND URL PROTOCOL PREFIX FILE`: what interop/README.md asks of every client.

mod behave;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;

use agenterra_workflow_state::{Client, Session, StreamExt};
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, url, protocol, prefix, file] = &arguments[..] else {
        return Err("It takes COMMAND URL PROTOCOL PREFIX FILE.".into());
    };
    if protocol != "grpc" {
        return Err("This client speaks grpc.".into());
    }
    let data: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    match command.as_str() {
        "write" => write(&Client::new(url)?, prefix, items(&data, "vectors")).await,
        "read" => read(&Client::new(url)?, prefix, items(&data, "vectors")).await,
        "behave" => behave::run(url, prefix, &data).await,
        _ => Err("The command is write, read or behave.".into()),
    }
}

async fn write(client: &Client, session_id: &str, vectors: &[Value]) -> Outcome {
    for vector in vectors {
        let written = client.set_state(session_id, text(vector, "key"), &vector["value"]).await;
        say(vector, written.err().map(|error| error.to_string()))?;
    }
    Ok(())
}

async fn read(client: &Client, session_id: &str, vectors: &[Value]) -> Outcome {
    let mut listed = BTreeMap::new();
    let mut entries = client.list_state(session_id).page_size(50).stream();
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        listed.insert(entry.key, entry.value);
    }
    let session: Option<Session> = client.get_session(session_id).await?;
    let whole = session.map(|session| session.state).unwrap_or_default();
    for vector in vectors {
        let (key, value) = (text(vector, "key"), &vector["value"]);
        let alone: Option<Value> = client.get_state(session_id, key).await?;
        let ways = [
            ("GetState", alone.as_ref()),
            ("ListState", listed.get(key).and_then(Option::as_ref)),
            ("GetSession", whole.get(key)),
        ];
        let is_wrong = |found: Option<&Value>| !found.is_some_and(|found| identical(found, value));
        let wrong: Vec<_> =
            ways.into_iter().filter(|(_, found)| is_wrong(*found)).map(|(way, _)| way).collect();
        let message = format!("not identical by {}", wrong.join(", "));
        say(vector, (!wrong.is_empty()).then_some(message))?;
    }
    Ok(())
}

/// Whether two values are the same: 1 and 1.0 are, and -0.0 and 0.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| identical(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |key, a| b.get(key).is_some_and(|b| identical(a, b));
            a.len() == b.len() && a.iter().all(|(key, a): (&String, &Value)| same(key, a))
        }
        _ => a == b,
    }
}

/// Prints the line of a vector or a case; a message says what is wrong with it.
fn say(of: &Value, message: Option<String>) -> Outcome {
    let mut line =
        Map::from_iter([("name".into(), of["name"].clone()), ("ok".into(), json!(message.is_none()))]);
    line.extend(message.map(|message| ("message".into(), json!(message))));
    writeln!(std::io::stdout(), "{}", Value::Object(line))?;
    Ok(())
}

fn items<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}
