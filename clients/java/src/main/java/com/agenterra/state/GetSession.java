package com.agenterra.state;

import com.agenterra.state.v1.GetSessionRequest;

/** The reading of a session with its state. In a batch its result is {@link Result#session}. */
public final class GetSession implements Operation {
  private final GetSessionRequest.Builder request = GetSessionRequest.newBuilder();

  private GetSession() {}

  /**
   * Reads a session.
   *
   * @param sessionId the session
   */
  public static GetSession of(String sessionId) {
    GetSession made = new GetSession();
    made.request.setSessionId(Wire.sessionId(sessionId));
    return made;
  }

  /**
   * Reads only the entries whose key begins with this.
   *
   * @param prefix the beginning of the keys
   */
  public GetSession keyPrefix(String prefix) {
    request.setKeyPrefix(Wire.text(prefix, "key_prefix"));
    return this;
  }

  /**
   * Reads the session as it was at this revision.
   *
   * @param revision a revision that is still kept
   */
  public GetSession atRevision(long revision) {
    request.setAtRevision(Wire.whole(revision, "at_revision"));
    return this;
  }

  GetSessionRequest toMessage() {
    return request.build();
  }

  @Override
  public com.agenterra.state.v1.Operation toOperation() {
    return com.agenterra.state.v1.Operation.newBuilder().setGetSession(toMessage()).build();
  }
}
