package com.agenterra.state;

import com.agenterra.state.v1.DeleteSessionRequest;

/** The deletion of a session with all its entries. */
public final class DeleteSession {
  private final DeleteSessionRequest.Builder request = DeleteSessionRequest.newBuilder();

  private DeleteSession() {}

  /**
   * Deletes a session.
   *
   * @param sessionId the session
   */
  public static DeleteSession of(String sessionId) {
    DeleteSession made = new DeleteSession();
    made.request.setSessionId(Wire.sessionId(sessionId));
    return made;
  }

  /**
   * Writes only if the session is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public DeleteSession ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public DeleteSession requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  DeleteSessionRequest toMessage() {
    DeleteSessionRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }
}
