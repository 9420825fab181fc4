package com.agenterra.state;

import io.grpc.Status.Code;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What every call of a client throws: a closed reason, and facts for programs. Decide by the
 * reason, not by the text.
 *
 * <p>Its text says what was wrong and what to do, and never holds a stored value.
 */
public class WorkflowStateException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** Why the call failed. */
  private final Reason reason;

  /** Its number. */
  private final int number;

  /** Its status code. */
  private final Code code;

  /** Facts by name. */
  private final TreeMap<String, String> metadata;

  /** The checks that did not hold. */
  private final ArrayList<FailedCheck> failedChecks;

  /**
   * Makes the error of a reason.
   *
   * @param reason why the call failed
   * @param message what was wrong and what to do, for a person
   */
  public WorkflowStateException(Reason reason, String message) {
    this(reason, message, Map.of(), List.of());
  }

  /**
   * Makes the error of a reason with its facts.
   *
   * @param reason why the call failed
   * @param message what was wrong and what to do, for a person
   * @param metadata facts by name
   * @param failedChecks every check that did not hold
   */
  public WorkflowStateException(
      Reason reason, String message, Map<String, String> metadata, List<FailedCheck> failedChecks) {
    this(reason, reason.number(), reason.code(), message, metadata, failedChecks);
  }

  WorkflowStateException(
      Reason reason,
      int number,
      Code code,
      String message,
      Map<String, String> metadata,
      List<FailedCheck> checks) {
    super(message);
    this.reason = reason;
    this.number = number;
    this.code = code;
    this.metadata = new TreeMap<>(metadata);
    this.failedChecks = new ArrayList<>(checks);
  }

  /** The error of an argument that is wrong before anything is sent. */
  static WorkflowStateException invalid(String field, String message) {
    return invalid(Reason.INVALID_REQUEST, field, message);
  }

  static WorkflowStateException invalid(Reason reason, String field, String message) {
    return new WorkflowStateException(reason, message, Map.of("field", field), List.of());
  }

  WorkflowStateException causedBy(Throwable cause) {
    initCause(cause);
    return this;
  }

  /** Why the call failed. */
  public Reason reason() {
    return reason;
  }

  /**
   * The reason's number in the protocol, which also tells apart reasons that are {@link
   * Reason#UNKNOWN}.
   */
  public int reasonNumber() {
    return number;
  }

  /**
   * The gRPC status code: that of the reason, or of a reason that is {@link Reason#UNKNOWN} the
   * service's.
   */
  public Code code() {
    return code;
  }

  /**
   * Facts by name: {@code path}, {@code field}, {@code key}, {@code limit}, {@code actual}, {@code
   * oldest_revision}, {@code current_revision}.
   */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
  }

  /**
   * Every check that did not hold; empty unless the reason is {@link Reason#REVISION_MISMATCH}. Of
   * very many the first: metadata {@code failed_checks} says how many there were then.
   */
  public List<FailedCheck> failedChecks() {
    return Collections.unmodifiableList(failedChecks);
  }

  /** The reason with the message; a reason that is not known by its number. */
  @Override
  public String toString() {
    String name = reason == Reason.UNKNOWN ? reason + "_" + number : reason.name();
    return getClass().getName() + ": " + name + ": " + getMessage();
  }
}
