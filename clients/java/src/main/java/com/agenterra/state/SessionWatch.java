package com.agenterra.state;

import com.agenterra.state.v1.WatchSessionRequest;
import com.agenterra.state.v1.WatchSessionResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc;
import java.util.Optional;

/**
 * What happens to one session, in order, without a gap and nothing twice, over as many connections
 * as it takes.
 */
final class SessionWatch extends WatchStream<WatchMessage> {
  private final WatchSessionRequest.Builder request;
  private volatile StreamCall<WatchSessionRequest, WatchSessionResponse> call;
  private int failures;

  SessionWatch(Connection connection, WatchSessionRequest request) {
    super(connection);
    this.request = request.toBuilder();
    register();
  }

  @Override
  WatchMessage fetch() {
    while (true) {
      check();
      Optional<WatchSessionResponse> answer = answer();
      if (answer.isEmpty()) {
        failures++;
        Connection.pause(stopped, connection.settings().retry().pause(failures));
        connection.reconnect();
        continue;
      }
      failures = 0;
      Optional<WatchMessage> message = answer.flatMap(Wire::watchMessage);
      if (message.isPresent()) {
        // Where to go on after this connection.
        request.setAfterRevision(message.get().revision());
        return message.get();
      }
    }
  }

  /** The next answer; empty: the connection is lost. */
  private Optional<WatchSessionResponse> answer() {
    try {
      if (call == null) {
        call =
            new StreamCall<>(
                connection, WorkflowStateServiceGrpc.getWatchSessionMethod(), request.build());
        // Who closed it meanwhile did not find the call.
        check();
      }
      Optional<WatchSessionResponse> answer = call.read(connection.settings().silence());
      if (answer.isEmpty()) {
        call = null;
      }
      return answer;
    } catch (WorkflowStateException failure) {
      boolean isOver = isStopped() || Thread.currentThread().isInterrupted();
      if (isOver || !Failures.isUnavailable(failure)) {
        throw failure;
      }
      call = null;
      return Optional.empty();
    }
  }

  @Override
  void cancel() {
    StreamCall<WatchSessionRequest, WatchSessionResponse> current = call;
    if (current != null) {
      current.cancel();
    }
  }
}
