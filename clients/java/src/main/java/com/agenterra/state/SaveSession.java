package com.agenterra.state;

import com.agenterra.state.v1.SaveSessionRequest;
import java.time.Duration;
import java.util.Map;

/** The creation of a session, or the replacing of all of its state and metadata. */
public final class SaveSession {
  private final SaveSessionRequest.Builder request = SaveSessionRequest.newBuilder();

  private SaveSession() {}

  /**
   * Writes a session.
   *
   * @param sessionId the session
   * @param state a value for each key, see {@link Values}
   */
  public static SaveSession of(String sessionId, Map<String, ?> state) {
    SaveSession made = new SaveSession();
    made.request
        .getSessionBuilder()
        .setSessionId(Wire.sessionId(sessionId))
        .putAllState(Wire.state(state));
    return made;
  }

  /**
   * The workflow that the session belongs to. Absent: it belongs to none.
   *
   * @param workflowId the workflow
   */
  public SaveSession workflowId(String workflowId) {
    request.getSessionBuilder().setWorkflowId(Wire.text(workflowId, "workflow_id"));
    return this;
  }

  /**
   * The user that the session belongs to. Absent: it belongs to none.
   *
   * @param userId the user
   */
  public SaveSession userId(String userId) {
    request.getSessionBuilder().setUserId(Wire.text(userId, "user_id"));
    return this;
  }

  /**
   * The session's labels. Absent: it has none.
   *
   * @param labels a text for each name
   */
  public SaveSession labels(Map<String, String> labels) {
    request.getSessionBuilder().clearLabels().putAllLabels(Wire.labels(labels));
    return this;
  }

  /**
   * Writes only if the session is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public SaveSession ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * How long the session lives from now. Absent: unchanged; zero: it does not expire.
   *
   * @param ttl how long, rounded up to milliseconds
   */
  public SaveSession ttl(Duration ttl) {
    request.setTtl(Wire.duration(ttl, "ttl"));
    return this;
  }

  /**
   * How long the session lives after its last write. Absent: unchanged; zero: idleness does not end
   * it.
   *
   * @param ttl how long, rounded up to milliseconds
   */
  public SaveSession idleTtl(Duration ttl) {
    request.setIdleTtl(Wire.duration(ttl, "idle_ttl"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public SaveSession requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** The message, with a request id. */
  SaveSessionRequest toMessage() {
    SaveSessionRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }
}
