package com.agenterra.state;

import com.agenterra.state.v1.ListSessionsRequest;
import java.time.Instant;

/** A listing of sessions: of all, or of those that match every filter that is given. */
public final class ListSessions {
  private final ListSessionsRequest.Builder request = ListSessionsRequest.newBuilder();

  private ListSessions() {}

  /** Lists all sessions, until a filter is given. */
  public static ListSessions all() {
    ListSessions made = new ListSessions();
    return made;
  }

  /**
   * Only sessions of this workflow.
   *
   * @param workflowId the workflow
   */
  public ListSessions workflowId(String workflowId) {
    request.setWorkflowId(Wire.text(workflowId, "workflow_id"));
    return this;
  }

  /**
   * Only sessions of this user.
   *
   * @param userId the user
   */
  public ListSessions userId(String userId) {
    request.setUserId(Wire.text(userId, "user_id"));
    return this;
  }

  /**
   * Only sessions whose id begins with this.
   *
   * @param prefix the beginning of the ids
   */
  public ListSessions sessionIdPrefix(String prefix) {
    request.setSessionIdPrefix(Wire.text(prefix, "session_id_prefix"));
    return this;
  }

  /**
   * Only sessions that have this label, and every other that is asked for.
   *
   * @param name the label's name
   * @param label its text
   */
  public ListSessions label(String name, String label) {
    request.putLabels(Wire.text(name, "labels"), Wire.text(label, "labels"));
    return this;
  }

  /**
   * Only sessions last written after this.
   *
   * @param time when, exclusive
   */
  public ListSessions updatedAfter(Instant time) {
    request.setUpdatedAfter(Wire.timestamp(time, "updated_after"));
    return this;
  }

  /**
   * Only sessions last written before this.
   *
   * @param time when, exclusive
   */
  public ListSessions updatedBefore(Instant time) {
    request.setUpdatedBefore(Wire.timestamp(time, "updated_before"));
    return this;
  }

  /**
   * How much of each session. Absent: {@link SessionView#METADATA}.
   *
   * @param view how much
   */
  public ListSessions view(SessionView view) {
    request.setViewValue(view.ordinal() + 1);
    return this;
  }

  /**
   * In which order. Absent: {@link SessionOrder#ID}.
   *
   * @param order which
   */
  public ListSessions order(SessionOrder order) {
    request.setOrderValue(order.ordinal() + 1);
    return this;
  }

  /**
   * How much a page has at most. Absent: 100.
   *
   * @param items how many, up to 1,000
   */
  public ListSessions pageSize(int items) {
    request.setPageSize(Wire.count(items, "page_size"));
    return this;
  }

  /**
   * Goes on after a page of the same listing.
   *
   * @param token the {@code nextPageToken} of that page
   */
  public ListSessions pageToken(String token) {
    request.setPageToken(Wire.text(token, "page_token"));
    return this;
  }

  ListSessionsRequest toMessage() {
    return request.build();
  }
}
