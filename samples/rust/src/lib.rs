//! What the samples run against when the command line names no service: one of their own.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A service that stops when it is dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub url: String,
}

/// Starts a service from the checkout.
pub fn with_server() -> Result<Server, Box<dyn Error>> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let node = checkout.join("node_modules/.bin/node");
    if !node.exists() {
        return Err("The service needs its packages: run `npm ci` in the checkout first.".into());
    }
    let mut process = Command::new(node)
        .args(["src/cli.ts", "serve", "--listen", "127.0.0.1:0"])
        .current_dir(checkout)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = process.stdout.take().ok_or("The service has no output.")?;
    BufReader::new(output).read_line(&mut line)?;
    // "listening on http://127.0.0.1:PORT"
    let url = line
        .trim_end()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok(Server { process, url })
}

impl Drop for Server {
    fn drop(&mut self) {
        // The state was in its memory: there is nothing to close in good order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
