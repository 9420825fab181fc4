//! Which request makes which unary call, whether it writes, and where its request id is.

use tonic::Request;

use crate::channel::{Method, Sent, Stub};
use crate::proto;
use crate::proto::operation::Operation as Wire;

macro_rules! reads {
    ($($request:ident $response:ident $method:ident;)*) => {
        $(impl Method for proto::$request {
            type Response = proto::$response;

            async fn send(mut stub: Stub, request: Request<Self>) -> Sent<Self> {
                stub.$method(request).await
            }

            fn writes(&self) -> bool {
                false
            }

            fn prepare(&mut self) {}
        })*
    };
}

macro_rules! writes {
    ($($request:ident $response:ident $method:ident;)*) => {
        $(impl Method for proto::$request {
            type Response = proto::$response;

            async fn send(mut stub: Stub, request: Request<Self>) -> Sent<Self> {
                stub.$method(request).await
            }

            fn writes(&self) -> bool {
                true
            }

            fn prepare(&mut self) {
                name(&mut self.request_id);
            }
        })*
    };
}

reads! {
    GetSessionRequest GetSessionResponse get_session;
    ListSessionsRequest ListSessionsResponse list_sessions;
    GetStateRequest GetStateResponse get_state;
    ListStateRequest ListStateResponse list_state;
    ListEventsRequest ListEventsResponse list_events;
}

writes! {
    SaveSessionRequest SaveSessionResponse save_session;
    DeleteSessionRequest DeleteSessionResponse delete_session;
    SetStateRequest SetStateResponse set_state;
    DeleteStateRequest DeleteStateResponse delete_state;
    CommitRequest CommitResponse commit;
    ForkSessionRequest ForkSessionResponse fork_session;
    RestoreSessionRequest RestoreSessionResponse restore_session;
}

impl Method for proto::BatchRequest {
    type Response = proto::BatchResponse;

    async fn send(mut stub: Stub, request: Request<Self>) -> Sent<Self> {
        stub.batch(request).await
    }

    fn writes(&self) -> bool {
        any_writes(&self.operations)
    }

    fn prepare(&mut self) {
        prepare_all(&mut self.operations);
    }
}

/// Whether any of the operations writes.
pub(crate) fn any_writes(operations: &[proto::Operation]) -> bool {
    operations
        .iter()
        .any(|operation| !matches!(operation.operation, Some(Wire::GetState(_) | Wire::GetSession(_)) | None))
}

/// Gives every write its request id.
pub(crate) fn prepare_all(operations: &mut [proto::Operation]) {
    for operation in operations {
        match &mut operation.operation {
            Some(Wire::SetState(request)) => request.prepare(),
            Some(Wire::DeleteState(request)) => request.prepare(),
            Some(Wire::Commit(request)) => request.prepare(),
            Some(Wire::GetState(_) | Wire::GetSession(_)) | None => {}
        }
    }
}

/// Makes a request id that no other call has, where the caller has given none.
fn name(request_id: &mut String) {
    if request_id.is_empty() {
        *request_id = format!("{:032x}", rand::random::<u128>());
    }
}
