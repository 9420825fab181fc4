package com.agenterra.state;

import com.agenterra.state.v1.WatchSessionsRequest;
import com.agenterra.state.v1.WatchSessionsResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc;

/**
 * What happens to all sessions that match, from now on, over one connection: a gap could not be
 * closed.
 */
final class SessionsWatch extends WatchStream<SessionChange> {
  private final StreamCall<WatchSessionsRequest, WatchSessionsResponse> call;

  SessionsWatch(Connection connection, WatchSessionsRequest request) {
    super(connection);
    // At once: what happens from now on is to be seen, whenever its reading begins.
    call = new StreamCall<>(connection, WorkflowStateServiceGrpc.getWatchSessionsMethod(), request);
    register();
  }

  @Override
  SessionChange fetch() {
    check();
    WatchSessionsResponse answer =
        call.read(null)
            .orElseThrow(
                () ->
                    new WorkflowStateException(
                        Reason.STORE_UNAVAILABLE,
                        "The service ended the watch; watch again, and close the gap with"
                            + " listSessions and updatedAfter."));
    return new SessionChange(Wire.session(answer.getSession()), Wire.kind(answer.getKind()));
  }

  @Override
  void cancel() {
    call.cancel();
  }
}
