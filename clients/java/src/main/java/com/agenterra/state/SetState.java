package com.agenterra.state;

import com.agenterra.state.v1.SetStateRequest;
import java.time.Duration;

/** The writing of one entry. In a batch its result is {@link Result#entry}. */
public final class SetState implements Operation {
  private final SetStateRequest.Builder request = SetStateRequest.newBuilder();

  private SetState() {}

  /**
   * Writes a value; creates the session if it is missing.
   *
   * @param sessionId the session
   * @param key its key
   * @param value its value, see {@link Values}
   */
  public static SetState of(String sessionId, String key, Object value) {
    SetState made = new SetState();
    made.request.setSessionId(Wire.sessionId(sessionId)).setKey(Wire.key(key));
    made.request.setValue(Values.toMessage(key, value));
    return made;
  }

  /**
   * Writes only if the entry is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public SetState ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * How long the entry lives. Absent: it does not expire, also if it did before.
   *
   * @param ttl how long, rounded up to milliseconds
   */
  public SetState ttl(Duration ttl) {
    request.setTtl(Wire.duration(ttl, "ttl"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public SetState requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  SetStateRequest toMessage() {
    SetStateRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }

  @Override
  public com.agenterra.state.v1.Operation toOperation() {
    return com.agenterra.state.v1.Operation.newBuilder().setSetState(toMessage()).build();
  }
}
