package com.agenterra.state;

import com.agenterra.state.v1.GetStateRequest;

/** The reading of one entry. In a batch its result is {@link Result#entry}. */
public final class GetState implements Operation {
  private final GetStateRequest.Builder request = GetStateRequest.newBuilder();

  private GetState() {}

  /**
   * Reads an entry.
   *
   * @param sessionId the session
   * @param key its key
   */
  public static GetState of(String sessionId, String key) {
    GetState made = new GetState();
    made.request.setSessionId(Wire.sessionId(sessionId)).setKey(Wire.key(key));
    return made;
  }

  /**
   * Reads the entry as it was at this revision.
   *
   * @param revision a revision that is still kept
   */
  public GetState atRevision(long revision) {
    request.setAtRevision(Wire.whole(revision, "at_revision"));
    return this;
  }

  GetStateRequest toMessage() {
    return request.build();
  }

  @Override
  public com.agenterra.state.v1.Operation toOperation() {
    return com.agenterra.state.v1.Operation.newBuilder().setGetState(toMessage()).build();
  }
}
