//! What tests run against.

pub mod proxy;
pub mod raw;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agenterra_workflow_state::{Client, Error, Reason, Retry};

/// Nothing listens there.
pub const NOWHERE: &str = "http://127.0.0.1:9";

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn node() -> Command {
    let mut command = Command::new(checkout().join("node_modules/.bin/node"));
    command.current_dir(checkout()).stdout(Stdio::piped());
    command
}

/// A running service, which ends with its test.
pub struct Service {
    process: Option<Child>,
    pub url: String,
}

impl Service {
    /// One that other tests use, too.
    pub fn shared() -> Self {
        match std::env::var("AGENTERRA_TEST_SERVICE") {
            Ok(url) => Self { process: None, url },
            Err(_) => Self::start(&[]),
        }
    }

    pub fn start(options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", options)
    }

    pub fn start_at(listen: &str, options: &[&str]) -> Self {
        let mut process =
            node().args(["src/cli.ts", "serve", "--listen", listen]).args(options).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the service starts").to_owned();
        Self { process: Some(process), url }
    }

    /// Without the scheme.
    pub fn address(&self) -> &str {
        self.url.split("//").nth(1).unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// Has it end as it does when it is told to, and waits for that.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
        process.wait().unwrap();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A fresh certificate for localhost, and its key, in a folder.
pub struct Identity {
    pub folder: Folder,
    pub certificate: String,
    pub key: String,
}

pub fn self_signed() -> Identity {
    let program = "import { selfSigned } from './test/support/self-signed.ts'; \
                   console.log(JSON.stringify(selfSigned()));";
    let made = node().args(["--input-type=module", "-e", program]).output().unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let text = |name: &str| identity[name].as_str().unwrap().to_owned();
    let folder = Folder::new();
    folder.write("cert.pem", &text("cert"));
    folder.write("key.pem", &text("key"));
    Identity { folder, certificate: text("cert"), key: text("key") }
}

/// A folder that is removed with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(unique("agenterra-workflow-state"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let mut file = std::fs::File::create(self.0.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.path(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A session id, or another name, that no other test has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The reason of what failed.
pub fn reason<T>(outcome: Result<T, Error>) -> Reason {
    outcome.err().expect("it fails").reason()
}

pub fn retries(attempts: u32) -> Retry {
    Retry { attempts, base: Duration::from_millis(20), ..Retry::default() }
}
