package com.agenterra.state;

import com.agenterra.state.v1.RestoreSessionRequest;

/** The giving back to a session of the content that it had at a revision. */
public final class RestoreSession {
  private final RestoreSessionRequest.Builder request = RestoreSessionRequest.newBuilder();

  private RestoreSession() {}

  /**
   * Restores a session.
   *
   * @param sessionId the session
   * @param atRevision the revision whose content to bring back
   */
  public static RestoreSession of(String sessionId, long atRevision) {
    RestoreSession made = new RestoreSession();
    made.request
        .setSessionId(Wire.sessionId(sessionId))
        .setAtRevision(Wire.whole(atRevision, "at_revision"));
    return made;
  }

  /**
   * Writes only if the session is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public RestoreSession ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public RestoreSession requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  RestoreSessionRequest toMessage() {
    RestoreSessionRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }
}
