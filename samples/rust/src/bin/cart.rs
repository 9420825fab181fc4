//! `cargo run --manifest-path samples/rust/Cargo.toml --bin cart [-- URL]`: a workflow that stops and goes
//! on, as samples/cart.ts is in TypeScript.
//!
//! Each of its three runs is a process of its own, with its own connection; between them the cart lives in
//! the service.

use std::error::Error;
use std::process::{Command, id};
use std::time::SystemTime;

use agenterra_workflow_state::Client;
use agenterra_workflow_state_samples::with_server;
use serde_json::{Map, Value, json};

const CART: &str = "shopping-cart";
const COPY: &str = "shopping-cart-copy";

type Outcome = Result<(), Box<dyn Error>>;

async fn fill(client: &Client) -> Outcome {
    // What a run of this sample that was interrupted may have left.
    client.delete_session(CART).await?;
    client.delete_session(COPY).await?;

    client
        .set_state(CART, "shopping_list", ["milk", "bread"])
        .await?;
    client.set_state(CART, "total_items", 2).await?;

    let session = client.get_session(CART).await?;
    println!(
        "  created      {}",
        shown_time(session.and_then(|session| session.create_time))
    );
    Ok(())
}

async fn add(client: &Client) -> Outcome {
    client.fork_session(CART, COPY).await?;

    // Read, change, set: fine as long as nobody else writes to the cart meanwhile.
    let mut items: Vec<String> = client
        .get_state(CART, "shopping_list")
        .await?
        .unwrap_or_default();
    println!("  found        {}", items.join(", "));
    items.push("eggs".into());
    client.set_state(CART, "shopping_list", &items).await?;
    client.set_state(CART, "total_items", items.len()).await?;
    println!(
        "  read and set {}",
        shown(&Value::Object(state_of(client, CART).await?))
    );

    // The safe way, here on the copy: one atomic commit that the service computes, whoever else writes.
    client
        .commit(COPY)
        .append("shopping_list", ["eggs"])
        .increment("total_items", 1)
        .await?;
    println!(
        "  one commit   {}",
        shown(&Value::Object(state_of(client, COPY).await?))
    );
    client.delete_session(COPY).await?;
    Ok(())
}

async fn check(client: &Client) -> Outcome {
    let session = client.get_session(CART).await?.ok_or("There is no cart.")?;
    let list: Vec<String> = session.get("shopping_list")?.unwrap_or_default();
    let total: Option<u32> = session.get("total_items")?;
    if list != ["milk", "bread", "eggs"] || total != Some(3) {
        return Err("The cart is not what the runs before have left.".into());
    }
    println!("  list         {}", list.join(", "));
    println!("  total        {}", total.unwrap_or_default());
    println!("  last updated {}", shown_time(session.update_time));
    Ok(())
}

async fn state_of(client: &Client, session_id: &str) -> Result<Map<String, Value>, Box<dyn Error>> {
    let session = client.get_session(session_id).await?;
    Ok(session.map(|session| session.state).unwrap_or_default())
}

/// A value as the sample in TypeScript shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let shown: Vec<_> = members
                .iter()
                .map(|(key, member)| format!("{key}: {}", shown(member)))
                .collect();
            format!("{{ {} }}", shown.join(", "))
        }
        Value::Array(items) => format!(
            "[ {} ]",
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        ),
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn shown_time(time: Option<SystemTime>) -> String {
    time.map_or("never".into(), |time| {
        humantime::format_rfc3339_millis(time).to_string()
    })
}

async fn run(number: &str, url: &str) -> Outcome {
    println!("run {number}, process {}", id());
    let client = Client::new(url)?;
    match number {
        "1" => fill(&client).await,
        "2" => add(&client).await,
        _ => check(&client).await,
    }
}

async fn all(url: &str) -> Outcome {
    for number in ["1", "2", "3"] {
        let status = Command::new(std::env::current_exe()?)
            .args(["--run", number, url])
            .status()?;
        if !status.success() {
            return Err(format!("Run {number} has failed.").into());
        }
    }
    let client = Client::new(url)?;
    println!(
        "sessions       {}",
        shown(&json!(client.get_all_session_ids().await?))
    );
    println!("deleted        {}", client.delete_session(CART).await?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", number, url] => run(number, url).await,
        [url] => all(url).await,
        _ => {
            let server = with_server()?;
            all(&server.url).await
        }
    }
}
