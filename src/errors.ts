/**
 * The one error class of the project, its closed reasons, and the table that gives each reason its status code.
 */

/** A gRPC status code by name, as far as this project uses them. */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNAVAILABLE"
  | "UNAUTHENTICATED";

/** Why a call failed: a closed set. */
export type ErrorReason =
  | "INVALID_SESSION_ID"
  | "INVALID_KEY"
  | "INVALID_VALUE"
  | "INVALID_PAGE_TOKEN"
  | "REQUEST_ID_REUSED"
  | "INVALID_REQUEST"
  | "REVISION_MISMATCH"
  | "VALUE_TYPE_MISMATCH"
  | "SESSION_NOT_FOUND"
  | "SESSION_EXISTS"
  | "HISTORY_COMPACTED"
  | "FUTURE_REVISION"
  | "NUMBER_OUT_OF_RANGE"
  | "VALUE_TOO_LARGE"
  | "REQUEST_TOO_LARGE"
  | "SESSION_TOO_LARGE"
  | "TOO_MANY_ENTRIES"
  | "RATE_LIMITED"
  | "STORAGE_FULL"
  | "STORE_UNAVAILABLE"
  | "OUTCOME_UNKNOWN"
  | "SHUTTING_DOWN"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "VALUE_UNREADABLE";

/** Each reason with its code: the only place that says which belongs to which. */
export const CODE_OF_REASON: Readonly<Record<ErrorReason, ErrorCode>> = {
  INVALID_SESSION_ID: "INVALID_ARGUMENT",
  INVALID_KEY: "INVALID_ARGUMENT",
  INVALID_VALUE: "INVALID_ARGUMENT",
  INVALID_PAGE_TOKEN: "INVALID_ARGUMENT",
  REQUEST_ID_REUSED: "INVALID_ARGUMENT",
  INVALID_REQUEST: "INVALID_ARGUMENT",
  REVISION_MISMATCH: "ABORTED",
  VALUE_TYPE_MISMATCH: "FAILED_PRECONDITION",
  SESSION_NOT_FOUND: "NOT_FOUND",
  SESSION_EXISTS: "ALREADY_EXISTS",
  HISTORY_COMPACTED: "OUT_OF_RANGE",
  FUTURE_REVISION: "OUT_OF_RANGE",
  NUMBER_OUT_OF_RANGE: "OUT_OF_RANGE",
  VALUE_TOO_LARGE: "RESOURCE_EXHAUSTED",
  REQUEST_TOO_LARGE: "RESOURCE_EXHAUSTED",
  SESSION_TOO_LARGE: "RESOURCE_EXHAUSTED",
  TOO_MANY_ENTRIES: "RESOURCE_EXHAUSTED",
  RATE_LIMITED: "RESOURCE_EXHAUSTED",
  STORAGE_FULL: "RESOURCE_EXHAUSTED",
  STORE_UNAVAILABLE: "UNAVAILABLE",
  OUTCOME_UNKNOWN: "UNAVAILABLE",
  SHUTTING_DOWN: "UNAVAILABLE",
  UNAUTHENTICATED: "UNAUTHENTICATED",
  PERMISSION_DENIED: "PERMISSION_DENIED",
  VALUE_UNREADABLE: "FAILED_PRECONDITION",
};

/** A check that did not hold. */
export interface FailedCheck {
  /** The key; `""` means the session's own `ifRevision`. */
  readonly key: string;
  /** The revision that was asked for. */
  readonly ifRevision: number;
  /** The revision that is there; 0: absent. */
  readonly actualRevision: number;
}

/** What an error carries beside its message. */
export interface ErrorFacts {
  /**
   * Facts by name, for programs: `path`, `field`, `limit`, `actual`, `key`, `key_id`, `oldest_revision`, `current_revision`,
   * `retry_after_ms`, `failed_checks`, `session_id`, `revision`, `action`; and `line`, of an import.
   */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Every check that did not hold. */
  readonly failedChecks?: readonly FailedCheck[];
  /** The error underneath. */
  readonly cause?: unknown;
}

/**
 * The error that every store and client throws: a closed `reason`, its status `code`, and facts for programs.
 * Its message says what was wrong and what to do, and never holds a stored value.
 *
 * @example
 * try { await store.setState(id, "cart", cart, { ifRevision: 3 }); }
 * catch (error) { if (WorkflowStateError.is(error, "REVISION_MISMATCH")) console.log(error.failedChecks); else throw error; }
 */
export class WorkflowStateError extends Error {
  override readonly name = "WorkflowStateError";
  /** Why the call failed. */
  readonly reason: ErrorReason;
  /** The status code that belongs to the reason. */
  readonly code: ErrorCode;
  /** Facts by name, for programs; empty if there are none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every check that did not hold; empty unless the reason is REVISION_MISMATCH. */
  readonly failedChecks: readonly FailedCheck[];

  constructor(reason: ErrorReason, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.reason = reason;
    this.code = CODE_OF_REASON[reason];
    this.metadata = facts.metadata ?? {};
    this.failedChecks = facts.failedChecks ?? [];
  }

  /** Whether something thrown is this error, and if a reason is given, of that reason. */
  static is(error: unknown, reason?: ErrorReason): error is WorkflowStateError {
    return error instanceof WorkflowStateError && (reason === undefined || error.reason === reason);
  }
}
