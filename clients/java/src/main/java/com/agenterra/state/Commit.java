package com.agenterra.state;

import com.agenterra.state.v1.AppendChange;
import com.agenterra.state.v1.Change;
import com.agenterra.state.v1.Check;
import com.agenterra.state.v1.CommitRequest;
import com.agenterra.state.v1.DeleteChange;
import com.agenterra.state.v1.IncrementChange;
import com.agenterra.state.v1.MergeChange;
import com.agenterra.state.v1.SetChange;
import com.google.protobuf.Value;
import java.time.Duration;
import java.util.Map;

/**
 * One atomic write to one session, put together step by step: all checks, then all changes in
 * order, or nothing.
 *
 * <pre>{@code
 * Commit.to("cart-1").check("order", 0).append("items", "eggs", "milk").increment("total", 2)
 * }</pre>
 *
 * <p>What it does not say about the session itself stays as it was. Values are taken over when they
 * are given: changing them later changes nothing. In a batch its result is {@link
 * Result#committed}.
 */
public final class Commit implements Operation {
  private final CommitRequest.Builder request = CommitRequest.newBuilder();

  private Commit() {}

  /**
   * Begins a commit; the session is created if it is missing.
   *
   * @param sessionId the session to write to
   */
  public static Commit to(String sessionId) {
    Commit commit = new Commit();
    commit.request.setSessionId(Wire.sessionId(sessionId));
    return commit;
  }

  /**
   * Writes only if the key's entry is at this revision.
   *
   * @param key the key to look at
   * @param ifRevision the revision; 0: there must be no entry
   */
  public Commit check(String key, long ifRevision) {
    request.addChecks(
        Check.newBuilder()
            .setKey(Wire.key(key))
            .setIfRevision(Wire.whole(ifRevision, "if_revision")));
    return this;
  }

  /**
   * Writes only if the session is at this revision; 0: only if there is none.
   *
   * @param revision the revision of the last write
   */
  public Commit ifRevision(long revision) {
    request.setIfRevision(Wire.whole(revision, "if_revision"));
    return this;
  }

  /**
   * Writes a value, which does not expire.
   *
   * @param key the key
   * @param value its value, see {@link Values}
   */
  public Commit set(String key, Object value) {
    return setMessage(key, Values.toMessage(Wire.key(key), value));
  }

  /**
   * Writes a value that expires.
   *
   * @param key the key
   * @param value its value, see {@link Values}
   * @param ttl how long it lives, rounded up to milliseconds
   */
  public Commit set(String key, Object value, Duration ttl) {
    Value message = Values.toMessage(Wire.key(key), value);
    return change(
        Change.newBuilder()
            .setSet(
                SetChange.newBuilder()
                    .setKey(key)
                    .setValue(message)
                    .setTtl(Wire.duration(ttl, "ttl"))));
  }

  /**
   * Writes a value and leaves the expiry of its entry as it is.
   *
   * @param key the key
   * @param value its value, see {@link Values}
   */
  public Commit setKeepingExpiry(String key, Object value) {
    Value message = Values.toMessage(Wire.key(key), value);
    return change(
        Change.newBuilder()
            .setSet(SetChange.newBuilder().setKey(key).setValue(message).setKeepExpiry(true)));
  }

  /**
   * Removes a key. One that is absent is no error.
   *
   * @param key the key
   */
  public Commit delete(String key) {
    return change(Change.newBuilder().setDelete(DeleteChange.newBuilder().setKey(Wire.key(key))));
  }

  /**
   * Adds 1 to a number; an absent key starts from 0.
   *
   * @param key the key
   */
  public Commit increment(String key) {
    return increment(key, 1);
  }

  /**
   * Adds to a number; an absent key starts from 0.
   *
   * @param key the key
   * @param delta what to add
   */
  public Commit increment(String key, double delta) {
    double finite = Wire.finite(delta, "delta");
    return change(
        Change.newBuilder()
            .setIncrement(IncrementChange.newBuilder().setKey(Wire.key(key)).setDelta(finite)));
  }

  /**
   * Adds values to the end of a list; an absent key starts from an empty one.
   *
   * @param key the key
   * @param values the values to add, see {@link Values}; a List among them is one value
   */
  public Commit append(String key, Object... values) {
    return appendKeeping(0, key, values);
  }

  /**
   * Adds values to the end of a list and keeps its last items.
   *
   * @param maxItems how many items of the result to keep; 0: all
   * @param key the key
   * @param values the values to add, see {@link Values}; a List among them is one value
   */
  public Commit appendKeeping(int maxItems, String key, Object... values) {
    AppendChange.Builder append = AppendChange.newBuilder().setKey(Wire.key(key));
    // A lone null is taken for the array itself.
    for (Object value : values == null ? new Object[] {null} : values) {
      append.addValues(Values.toMessage(key, value));
    }
    return change(
        Change.newBuilder().setAppend(append.setMaxItems(Wire.count(maxItems, "max_items"))));
  }

  /**
   * Applies a JSON Merge Patch (RFC 7396) to an object: null removes a member. An absent key starts
   * from an empty object.
   *
   * @param key the key
   * @param patch the members to change
   */
  public Commit merge(String key, Map<String, ?> patch) {
    Value message = Values.toMessage(Wire.key(key), patch);
    return change(
        Change.newBuilder().setMerge(MergeChange.newBuilder().setKey(key).setValue(message)));
  }

  /**
   * The workflow that the session belongs to.
   *
   * @param workflowId the workflow; empty: none
   */
  public Commit workflowId(String workflowId) {
    request.getMetadataBuilder().setWorkflowId(Wire.text(workflowId, "workflow_id"));
    return this;
  }

  /**
   * The user that the session belongs to.
   *
   * @param userId the user; empty: none
   */
  public Commit userId(String userId) {
    request.getMetadataBuilder().setUserId(Wire.text(userId, "user_id"));
    return this;
  }

  /**
   * The session's labels, in place of all that it has.
   *
   * @param labels a text for each name; empty: none
   */
  public Commit labels(Map<String, String> labels) {
    request
        .getMetadataBuilder()
        .clearLabels()
        .putAllLabels(Wire.labels(labels))
        .setClearLabels(labels.isEmpty());
    return this;
  }

  /**
   * How long the session lives from now.
   *
   * @param ttl how long, rounded up to milliseconds; zero: it does not expire
   */
  public Commit ttl(Duration ttl) {
    request.getMetadataBuilder().setTtl(Wire.duration(ttl, "ttl"));
    return this;
  }

  /**
   * How long the session lives after its last write.
   *
   * @param ttl how long, rounded up to milliseconds; zero: idleness does not end it
   */
  public Commit idleTtl(Duration ttl) {
    request.getMetadataBuilder().setIdleTtl(Wire.duration(ttl, "idle_ttl"));
    return this;
  }

  /**
   * Makes it safe to send the same write again, from another process too. Absent: one is made for
   * each call.
   *
   * @param requestId the id, which no other write to the session has
   */
  public Commit requestId(String requestId) {
    request.setRequestId(Wire.requestId(requestId));
    return this;
  }

  /** Writes a value that is a message already. */
  Commit setMessage(String key, Value value) {
    return change(Change.newBuilder().setSet(SetChange.newBuilder().setKey(key).setValue(value)));
  }

  /** The message, with a request id. */
  CommitRequest toMessage() {
    CommitRequest message = request.build();
    return message.getRequestId().isEmpty()
        ? message.toBuilder().setRequestId(Wire.newRequestId()).build()
        : message;
  }

  @Override
  public com.agenterra.state.v1.Operation toOperation() {
    return com.agenterra.state.v1.Operation.newBuilder().setCommit(toMessage()).build();
  }

  private Commit change(Change.Builder change) {
    request.addChanges(change);
    return this;
  }
}
