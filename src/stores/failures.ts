/** The errors that stores share: each is worded once. */
import { type FailedCheck, WorkflowStateError } from "../errors.ts";
import type { Limits } from "../store.ts";

/** Throws REVISION_MISMATCH with every failed check, if there is one. */
export function failUnless(failedChecks: FailedCheck[]): void {
  if (failedChecks.length === 0) return;
  const which = failedChecks.slice(0, 3).map(({ key, ifRevision, actualRevision }) => {
    const what = key === "" ? "The session" : `Key ${JSON.stringify(key)}`;
    return `${what} is at revision ${actualRevision}, not ${ifRevision}`;
  });
  const more = failedChecks.length > 3 ? ` and ${failedChecks.length - 3} more` : "";
  throw new WorkflowStateError("REVISION_MISMATCH", `${which.join("; ")}${more}: read again and retry.`, {
    failedChecks,
  });
}

/** Throws TOO_MANY_ENTRIES or SESSION_TOO_LARGE if a session that grows is over its limit; one that shrinks may be. */
export function checkSessionSize(
  before: { readonly entries: number; readonly bytes: number },
  after: { readonly entries: number; readonly bytes: number },
  limits: Limits,
): void {
  if (after.entries > limits.entries && after.entries > before.entries) {
    throw overLimit("TOO_MANY_ENTRIES", "entries", after.entries, limits.entries);
  }
  if (after.bytes > limits.sessionBytes && after.bytes > before.bytes) {
    throw overLimit("SESSION_TOO_LARGE", "bytes", after.bytes, limits.sessionBytes);
  }
}

function overLimit(
  reason: "TOO_MANY_ENTRIES" | "SESSION_TOO_LARGE",
  unit: string,
  actual: number,
  limit: number,
): WorkflowStateError {
  const message = `The session would have ${actual} ${unit}, and may have ${limit}: delete entries, or use more sessions.`;
  return new WorkflowStateError(reason, message, {
    metadata: { limit: String(limit), actual: String(actual) },
  });
}

/** A commit that leaves more than an answer may carry. */
export function commitTooLarge(actual: number, limit: number): WorkflowStateError {
  return new WorkflowStateError(
    "REQUEST_TOO_LARGE",
    `The commit would leave ${actual} bytes of entries, and its answer has room for ${limit}: nothing was written, split it.`,
    {
      metadata: { field: "changes", limit: String(limit), actual: String(actual) },
    },
  );
}

/** A fork or restore of what is not there. */
export function sessionNotFound(): WorkflowStateError {
  return new WorkflowStateError(
    "SESSION_NOT_FOUND",
    "There is no such session, or was none at that revision.",
  );
}

/** A fork to where a session is. */
export function sessionExists(): WorkflowStateError {
  return new WorkflowStateError(
    "SESSION_EXISTS",
    "There is a session with new_session_id already: choose another id, or delete it first.",
  );
}

/** A write with the request id of another. */
export function requestIdReused(): WorkflowStateError {
  return new WorkflowStateError(
    "REQUEST_ID_REUSED",
    "This request_id was used for another write to the session: make a new one for each write, and keep it for its retries only.",
    { metadata: { field: "request_id" } },
  );
}

/** A watch of all sessions whose reader is further behind than what is kept for it. */
export function tooFarBehind(): WorkflowStateError {
  return new WorkflowStateError(
    "HISTORY_COMPACTED",
    "This watch fell too far behind: watch again, and close the gap with ListSessions(updated_after).",
  );
}

/** A listing that ran out of time over sessions that had expired. */
export function manyExpiring(): WorkflowStateError {
  return new WorkflowStateError(
    "STORE_UNAVAILABLE",
    "Very many sessions have just expired, and those that live on were not found in time: try again.",
  );
}

/** A call on a store that was closed before. */
export function storeIsClosed(): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", "The store is closed: open it again.");
}

/** A stream of a store that was closed meanwhile. */
export function storeClosed(): WorkflowStateError {
  return new WorkflowStateError("SHUTTING_DOWN", "The store was closed: go on where it runs.");
}
