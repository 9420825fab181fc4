package com.agenterra.state;

import com.agenterra.state.v1.DeleteStateRequest;

/** The deletion of one entry. In a batch its result is {@link Result#deletion}. */
public final class DeleteState implements Operation {
  private final DeleteStateRequest.Builder request = DeleteStateRequest.newBuilder();

  private DeleteState() {}

  /**
   * Deletes an entry.
   *
   * @param sessionId the session
   * @param key its key
   */
  public static DeleteState of(String sessionId, String key) {
    DeleteState made = new DeleteState();
    made.request.setSessionId(Wire.sessionId(sessionId)).setKey(Wire.key(key));
    return made;
  }

  /**
   * Writes only if the entry is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public DeleteState ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public DeleteState requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  DeleteStateRequest toMessage() {
    DeleteStateRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }

  @Override
  public com.agenterra.state.v1.Operation toOperation() {
    return com.agenterra.state.v1.Operation.newBuilder().setDeleteState(toMessage()).build();
  }
}
