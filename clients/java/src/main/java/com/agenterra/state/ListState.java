package com.agenterra.state;

import com.agenterra.state.v1.ListStateRequest;

/** A listing of the entries of a session, by key. */
public final class ListState {
  private final ListStateRequest.Builder request = ListStateRequest.newBuilder();

  private ListState() {}

  /**
   * Lists the entries of a session.
   *
   * @param sessionId the session
   */
  public static ListState of(String sessionId) {
    ListState made = new ListState();
    made.request.setSessionId(Wire.sessionId(sessionId));
    return made;
  }

  /**
   * Only entries whose key begins with this.
   *
   * @param prefix the beginning of the keys
   */
  public ListState keyPrefix(String prefix) {
    request.setKeyPrefix(Wire.text(prefix, "key_prefix"));
    return this;
  }

  /**
   * Only entries after this key in the order of the listing.
   *
   * @param key the key, exclusive
   */
  public ListState startAfter(String key) {
    request.setStartAfter(Wire.text(key, "start_after"));
    return this;
  }

  /** Descending by key. */
  public ListState reverse() {
    request.setReverse(true);
    return this;
  }

  /**
   * The entries as it was at this revision.
   *
   * @param revision a revision that is still kept
   */
  public ListState atRevision(long revision) {
    request.setAtRevision(Wire.whole(revision, "at_revision"));
    return this;
  }

  /**
   * How much a page has at most. Absent: 100.
   *
   * @param items how many, up to 1,000
   */
  public ListState pageSize(int items) {
    request.setPageSize(Wire.count(items, "page_size"));
    return this;
  }

  /**
   * Goes on after a page of the same listing.
   *
   * @param token the {@code nextPageToken} of that page
   */
  public ListState pageToken(String token) {
    request.setPageToken(Wire.text(token, "page_token"));
    return this;
  }

  ListStateRequest toMessage() {
    return request.build();
  }
}
