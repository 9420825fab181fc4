package com.agenterra.state;

import com.agenterra.state.v1.ErrorReason;
import io.grpc.Status.Code;

/** Why a call failed: a closed set, the same in every language. */
public enum Reason {
  /** A session id is empty, too long or ill-formed. */
  INVALID_SESSION_ID(Code.INVALID_ARGUMENT),
  /** A key is empty, too long or ill-formed. */
  INVALID_KEY(Code.INVALID_ARGUMENT),
  /** A value can't be kept; metadata {@code path} says where in it. */
  INVALID_VALUE(Code.INVALID_ARGUMENT),
  /** The page token is not from this listing. */
  INVALID_PAGE_TOKEN(Code.INVALID_ARGUMENT),
  /** The request id was used for another request to the session. */
  REQUEST_ID_REUSED(Code.INVALID_ARGUMENT),
  /** Another argument is wrong; metadata {@code field} names it. */
  INVALID_REQUEST(Code.INVALID_ARGUMENT),
  /**
   * A check did not hold; {@link WorkflowStateException#failedChecks} has every one. Read again and
   * retry.
   */
  REVISION_MISMATCH(Code.ABORTED),
  /** The stored value has another type than the change needs; metadata {@code key} names it. */
  VALUE_TYPE_MISMATCH(Code.FAILED_PRECONDITION),
  /** The session to fork or to restore is not there. */
  SESSION_NOT_FOUND(Code.NOT_FOUND),
  /** The session to fork into is there already. */
  SESSION_EXISTS(Code.ALREADY_EXISTS),
  /** The revision is no longer kept; metadata {@code oldest_revision} is the oldest that is. */
  HISTORY_COMPACTED(Code.OUT_OF_RANGE),
  /** The revision is not made yet; metadata {@code current_revision} is the last. */
  FUTURE_REVISION(Code.OUT_OF_RANGE),
  /** An increment's result can't be kept exactly. */
  NUMBER_OUT_OF_RANGE(Code.OUT_OF_RANGE),
  /** A value is over the limit; metadata {@code limit} and {@code actual} are in bytes. */
  VALUE_TOO_LARGE(Code.RESOURCE_EXHAUSTED),
  /** The request, or its answer, is over a limit. */
  REQUEST_TOO_LARGE(Code.RESOURCE_EXHAUSTED),
  /**
   * The session would grow over the limit, or is too large for one answer: read it with {@code
   * listState}.
   */
  SESSION_TOO_LARGE(Code.RESOURCE_EXHAUSTED),
  /** The session would have too many entries. */
  TOO_MANY_ENTRIES(Code.RESOURCE_EXHAUSTED),
  /** The caller asks too fast. */
  RATE_LIMITED(Code.RESOURCE_EXHAUSTED),
  /** The store is full. */
  STORAGE_FULL(Code.RESOURCE_EXHAUSTED),
  /** The service can't be reached or can't answer now; a write did not happen. */
  STORE_UNAVAILABLE(Code.UNAVAILABLE),
  /** The write may or may not have happened: retry it with the same request id. */
  OUTCOME_UNKNOWN(Code.UNAVAILABLE),
  /** The service is stopping, or this client was closed. */
  SHUTTING_DOWN(Code.UNAVAILABLE),
  /** Who is calling can't be told. */
  UNAUTHENTICATED(Code.UNAUTHENTICATED),
  /** The caller may not do that. */
  PERMISSION_DENIED(Code.PERMISSION_DENIED),
  /** A stored value can't be decrypted: the key is missing, or the value was changed. */
  VALUE_UNREADABLE(Code.FAILED_PRECONDITION),
  /**
   * A reason that a newer service has and this client does not know; the error's code and facts are
   * the service's.
   */
  UNKNOWN(Code.UNKNOWN);

  private final Code code;

  Reason(Code code) {
    this.code = code;
  }

  /** Its number in the protocol; 0: it is {@link #UNKNOWN}. */
  int number() {
    return this == UNKNOWN ? 0 : ErrorReason.valueOf("ERROR_REASON_" + this).getNumber();
  }

  /** The gRPC status code that belongs to the reason. */
  public Code code() {
    return code;
  }
}
