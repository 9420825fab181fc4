//! A gRPC server that ends every call with the status that it is told, perhaps after some answers, and keeps what
//! calls carried.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agenterra_workflow_state::proto::ErrorDetail;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};

/// What to say to a call: an answer to each of its first messages, and what it ends with at the next.
#[derive(Clone)]
pub struct Said {
    answers: Vec<Vec<u8>>,
    end: Status,
}

impl Said {
    pub fn after(answers: impl IntoIterator<Item = impl Message>, end: Status) -> Self {
        Self { answers: answers.into_iter().map(|answer| answer.encode_to_vec()).collect(), end }
    }
}

impl From<Status> for Said {
    fn from(end: Status) -> Self {
        Self { answers: Vec::new(), end }
    }
}

/// It ends with the runtime of its test.
#[derive(Clone, Default)]
pub struct Raw {
    told: Arc<Mutex<VecDeque<Said>>>,
    carried: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Raw {
    /// A server that says these, one after the other, the last for ever, and where it is.
    pub async fn saying(told: impl IntoIterator<Item = impl Into<Said>>) -> (Self, String) {
        let told = Arc::new(Mutex::new(told.into_iter().map(Into::into).collect()));
        let raw = Self { told, ..Self::default() };
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
            let said = self.next();
            if said.answers.is_empty() {
                let (head, ()) = said.end.into_http().into_parts();
                answer.send_response(Response::from_parts(head, ()), true).unwrap();
            } else {
                tokio::spawn(answered(request, answer, said));
            }
        }
    }

    fn next(&self) -> Said {
        let mut told = self.told.lock().unwrap();
        if told.len() > 1 { told.pop_front().unwrap() } else { told[0].clone() }
    }
}

/// Says all of it, each when there is a message for it.
async fn answered(request: Request<RecvStream>, mut answer: SendResponse<Bytes>, said: Said) {
    let mut body = request.into_body();
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut sending = answer.send_response(head, false).unwrap();
    let (mut received, mut answers) = (Vec::new(), said.answers.into_iter());
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        received.extend_from_slice(&data);
        while let [_, a, b, c, d, rest @ ..] = &received[..] {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if rest.len() < length {
                break;
            }
            received.drain(..5 + length);
            let Some(message) = answers.next() else {
                return end(sending, &said.end);
            };
            let mut frame = vec![0];
            frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend(message);
            sending.send_data(frame.into(), false).unwrap();
        }
    }
    end(sending, &said.end);
}

fn end(mut sending: SendStream<Bytes>, status: &Status) {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    // Who asked may have gone.
    sending.send_trailers(trailers).ok();
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
