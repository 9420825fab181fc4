//! A gRPC server that ends every call with the status that it is told, and keeps what calls carried.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agenterra_workflow_state::proto::ErrorDetail;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tonic::codegen::http::{HeaderMap, Response};
use tonic::{Code, Status};

/// It ends with the runtime of its test.
#[derive(Clone, Default)]
pub struct Raw {
    told: Arc<Mutex<VecDeque<Status>>>,
    carried: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Raw {
    /// A server that says these, one after the other, the last for ever, and where it is.
    pub async fn saying(statuses: impl IntoIterator<Item = Status>) -> (Self, String) {
        let raw = Self { told: Arc::new(Mutex::new(statuses.into_iter().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = raw.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(server.clone().connected(socket));
            }
        });
        (raw, url)
    }

    /// The headers of each call.
    pub fn carried(&self) -> Vec<HeaderMap> {
        self.carried.lock().unwrap().clone()
    }

    async fn connected(self, socket: TcpStream) {
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            self.carried.lock().unwrap().push(request.headers().clone());
            let (head, ()) = self.next().into_http().into_parts();
            answer.send_response(Response::from_parts(head, ()), true).unwrap();
        }
    }

    fn next(&self) -> Status {
        let mut told = self.told.lock().unwrap();
        if told.len() > 1 { told.pop_front().unwrap() } else { told[0].clone() }
    }
}

/// A status with a detail of that reason.
pub fn detailed(code: Code, reason: i32) -> Status {
    let detail = ErrorDetail { reason, ..ErrorDetail::default() };
    let any = prost_types::Any {
        type_url: "type.googleapis.com/agenterra.state.v1.ErrorDetail".into(),
        value: detail.encode_to_vec(),
    };
    let any = any.encode_to_vec();
    // google.rpc.Status: its details are the third field.
    let mut bytes = vec![0x1a, u8::try_from(any.len()).unwrap()];
    bytes.extend(any);
    Status::with_details(code, "as it was told", bytes.into())
}
