//! A TCP proxy before the service that loses connections and answers when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on, as long as it does. It ends with the runtime of its test.
pub struct Proxy {
    pub url: String,
    told: Arc<Told>,
}

struct Told {
    connections: AtomicU32,
    refusing: AtomicBool,
    black_hole: AtomicBool,
    lose_answers: AtomicI32,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub async fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told {
            connections: AtomicU32::new(0),
            refusing: AtomicBool::new(false),
            black_hole: AtomicBool::new(false),
            lose_answers: AtomicI32::new(0),
            cuts: watch::Sender::new(0),
        });
        let (address, shared) = (address.to_owned(), Arc::clone(&told));
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                if shared.refusing.load(SeqCst) {
                    continue;
                }
                shared.connections.fetch_add(1, SeqCst);
                let far = TcpStream::connect(&address).await.unwrap();
                tokio::spawn(connected(near, far, Arc::clone(&shared)));
            }
        });
        Self { url, told }
    }

    /// Turns new connections away, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.told.refusing.store(refuses, SeqCst);
    }

    /// Takes in what is sent, and passes nothing on, or no more.
    pub fn black_hole(&self, is_one: bool) {
        self.told.black_hole.store(is_one, SeqCst);
    }

    /// Cuts the connection in place of passing an answer on, so often.
    pub fn lose_answers(&self, count: i32) {
        self.told.lose_answers.store(count, SeqCst);
    }

    pub fn answers_to_lose(&self) -> i32 {
        self.told.lose_answers.load(SeqCst)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u32 {
        self.told.connections.load(SeqCst)
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.told.cuts.send_modify(|count| *count += 1);
    }
}

async fn connected(near: TcpStream, far: TcpStream, told: Arc<Told>) {
    let mut cuts = told.cuts.subscribe();
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_read, far_write, &told, false) => {}
        () = pass(far_read, near_write, &told, true) => {}
        _ = cuts.changed() => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, told: &Told, answers: bool) {
    let mut data = vec![0; 65536];
    while let Ok(size @ 1..) = from.read(&mut data).await {
        if told.black_hole.load(SeqCst) {
            continue;
        }
        if answers && told.lose_answers.load(SeqCst) > 0 && has_headers(&data[..size]) {
            told.lose_answers.fetch_sub(1, SeqCst);
            return;
        }
        if to.write_all(&data[..size]).await.is_err() {
            return;
        }
    }
}

/// Whether HTTP/2 bytes, which begin with a frame, have a HEADERS frame among them: it begins the answer to a
/// call.
fn has_headers(mut data: &[u8]) -> bool {
    while let [a, b, c, kind, ..] = *data {
        if kind == 1 {
            return true;
        }
        let length = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        data = data.get(length..).unwrap_or_default();
    }
    false
}
