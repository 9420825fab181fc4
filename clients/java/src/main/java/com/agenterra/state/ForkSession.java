package com.agenterra.state;

import com.agenterra.state.v1.ForkSessionRequest;

/** The copying of a session to a new one. */
public final class ForkSession {
  private final ForkSessionRequest.Builder request = ForkSessionRequest.newBuilder();

  private ForkSession() {}

  /**
   * Copies a session.
   *
   * @param sessionId the session to copy
   * @param newSessionId the id of the copy
   */
  public static ForkSession of(String sessionId, String newSessionId) {
    ForkSession made = new ForkSession();
    made.request
        .setSessionId(Wire.sessionId(sessionId))
        .setNewSessionId(Wire.newSessionId(newSessionId));
    return made;
  }

  /**
   * Copies the session as it was at this revision.
   *
   * @param revision a revision that is still kept
   */
  public ForkSession atRevision(long revision) {
    request.setAtRevision(Wire.whole(revision, "at_revision"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the new session has
   */
  public ForkSession requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  ForkSessionRequest toMessage() {
    ForkSessionRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }
}
