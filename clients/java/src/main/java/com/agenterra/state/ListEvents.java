package com.agenterra.state;

import com.agenterra.state.v1.ListEventsRequest;

/** A listing of what the commits to a session did, the oldest first. */
public final class ListEvents {
  private final ListEventsRequest.Builder request = ListEventsRequest.newBuilder();

  private ListEvents() {}

  /**
   * Lists the events of a session.
   *
   * @param sessionId the session
   */
  public static ListEvents of(String sessionId) {
    ListEvents made = new ListEvents();
    made.request.setSessionId(Wire.sessionId(sessionId));
    return made;
  }

  /**
   * Only events after this revision. Absent or 0: from the oldest that is kept.
   *
   * @param revision the revision, exclusive
   */
  public ListEvents afterRevision(long revision) {
    request.setAfterRevision(Wire.whole(revision, "after_revision"));
    return this;
  }

  /** The newest first. */
  public ListEvents reverse() {
    request.setReverse(true);
    return this;
  }

  /**
   * How much a page has at most. Absent: 100.
   *
   * @param items how many, up to 1,000
   */
  public ListEvents pageSize(int items) {
    request.setPageSize(Wire.count(items, "page_size"));
    return this;
  }

  /**
   * Goes on after a page of the same listing.
   *
   * @param token the {@code nextPageToken} of that page
   */
  public ListEvents pageToken(String token) {
    request.setPageToken(Wire.text(token, "page_token"));
    return this;
  }

  ListEventsRequest toMessage() {
    return request.build();
  }
}
