package com.agenterra.state;

import com.agenterra.state.v1.WatchSessionRequest;

/** What a watch on one session follows. */
public final class WatchSession {
  private final WatchSessionRequest.Builder request = WatchSessionRequest.newBuilder();

  private WatchSession() {}

  /**
   * Follows a session, which need not exist yet. A {@link Snapshot} comes first.
   *
   * @param sessionId the session
   */
  public static WatchSession of(String sessionId) {
    WatchSession made = new WatchSession();
    made.request.setSessionId(Wire.sessionId(sessionId));
    return made;
  }

  /**
   * Begins with the event after this revision instead of a snapshot.
   *
   * @param revision the last that was seen
   */
  public WatchSession afterRevision(long revision) {
    request.setAfterRevision(Wire.whole(revision, "after_revision"));
    return this;
  }

  /**
   * Only entries whose key begins with this, and events with such.
   *
   * @param prefix the beginning of the keys
   */
  public WatchSession keyPrefix(String prefix) {
    request.setKeyPrefix(Wire.text(prefix, "key_prefix"));
    return this;
  }

  WatchSessionRequest toMessage() {
    return request.build();
  }
}
