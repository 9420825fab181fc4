package com.agenterra.state;

import com.agenterra.state.v1.WatchSessionsRequest;
import java.time.Instant;

/** What a watch on sessions follows: all, or those that match every filter that is given. */
public final class WatchSessions {
  private final WatchSessionsRequest.Builder request = WatchSessionsRequest.newBuilder();

  private WatchSessions() {}

  /** Follows all sessions, until a filter is given. */
  public static WatchSessions all() {
    WatchSessions made = new WatchSessions();
    return made;
  }

  /**
   * Only sessions of this workflow.
   *
   * @param workflowId the workflow
   */
  public WatchSessions workflowId(String workflowId) {
    request.setWorkflowId(Wire.text(workflowId, "workflow_id"));
    return this;
  }

  /**
   * Only sessions of this user.
   *
   * @param userId the user
   */
  public WatchSessions userId(String userId) {
    request.setUserId(Wire.text(userId, "user_id"));
    return this;
  }

  /**
   * Only sessions whose id begins with this.
   *
   * @param prefix the beginning of the ids
   */
  public WatchSessions sessionIdPrefix(String prefix) {
    request.setSessionIdPrefix(Wire.text(prefix, "session_id_prefix"));
    return this;
  }

  /**
   * Only sessions that have this label, and every other that is asked for.
   *
   * @param name the label's name
   * @param label its text
   */
  public WatchSessions label(String name, String label) {
    request.putLabels(Wire.text(name, "labels"), Wire.text(label, "labels"));
    return this;
  }

  /**
   * Only sessions last written after this.
   *
   * @param time when, exclusive
   */
  public WatchSessions updatedAfter(Instant time) {
    request.setUpdatedAfter(Wire.timestamp(time, "updated_after"));
    return this;
  }

  /**
   * Only sessions last written before this.
   *
   * @param time when, exclusive
   */
  public WatchSessions updatedBefore(Instant time) {
    request.setUpdatedBefore(Wire.timestamp(time, "updated_before"));
    return this;
  }

  WatchSessionsRequest toMessage() {
    return request.build();
  }
}
