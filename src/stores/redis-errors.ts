/** What errors of Redis and of its client mean. No message repeats what a server said: a proxy may echo a password. */
import { ErrorReply } from "@redis/client";
import { type ErrorReason, WorkflowStateError } from "../errors.ts";
import { lasting, saysTlsRefused } from "./lasting.ts";

/** How a call to the server failed. */
export interface Failure {
  /** Whether it may have run nevertheless. */
  readonly mayHaveRun: boolean;
  readonly error: WorkflowStateError;
}

/** Answers with which a server refuses a call before it begins. */
const REFUSALS: ReadonlyMap<string, readonly [ErrorReason, string]> = new Map([
  ["OOM", ["STORAGE_FULL", "Redis has no memory left under its maxmemory: make room, or raise it."]],
  ["MISCONF", ["STORAGE_FULL", "Redis can't write to its disk and takes no writes: make room on it."]],
  ["READONLY", ["STORE_UNAVAILABLE", "This Redis is a replica now: try again."]],
  ["LOADING", ["STORE_UNAVAILABLE", "Redis is loading its data: try again."]],
  ["MASTERDOWN", ["STORE_UNAVAILABLE", "This Redis has lost its primary: try again."]],
  ["CLUSTERDOWN", ["STORE_UNAVAILABLE", "The Redis cluster is down: try again."]],
  ["TRYAGAIN", ["STORE_UNAVAILABLE", "The Redis cluster is moving these keys to another server: try again."]],
  ["MOVED", ["STORE_UNAVAILABLE", "The Redis cluster is changing: try again."]],
  ["ASK", ["STORE_UNAVAILABLE", "The Redis cluster is moving these keys to another server: try again."]],
  ["NOREPLICAS", ["STORE_UNAVAILABLE", "Redis has not enough replicas to take writes: bring them back."]],
  ["BUSY", ["STORE_UNAVAILABLE", "Redis is busy with a script of another program: try again."]],
  ["NOSCRIPT", ["STORE_UNAVAILABLE", "Redis was made to forget its scripts: try again."]],
  ["NOAUTH", ["STORE_UNAVAILABLE", "Redis wants a user and a password: give them in the URL."]],
  ["WRONGPASS", ["STORE_UNAVAILABLE", "Redis refused the user or the password."]],
  ["NOPERM", ["STORE_UNAVAILABLE", "This Redis user may not do what the store needs: see the docs."]],
]);

/** The word that an answer of failure begins with; `""`: the error is no answer. */
export function codeOf(error: unknown): string {
  return error instanceof ErrorReply ? (/^[A-Z]+/.exec(error.message)?.[0] ?? "") : "";
}

/** Failures of the client that come before anything is sent. */
const NOT_SENT: ReadonlySet<string> = new Set([
  "ClientOfflineError",
  "ClientClosedError",
  "AbortError",
  "RootNodesUnavailableError",
]);

/** What a failed call means. @param writes whether it could have written */
export function failureOf(error: unknown, writes: boolean): Failure {
  if (WorkflowStateError.is(error)) return { mayHaveRun: false, error };
  const refusal = REFUSALS.get(codeOf(error));
  if (refusal !== undefined) {
    const [reason, message] = refusal;
    return { mayHaveRun: false, error: new WorkflowStateError(reason, message, { cause: error }) };
  }
  const name = error instanceof Error ? error.constructor.name : "";
  if (NOT_SENT.has(name)) return { mayHaveRun: false, error: unavailable("Redis can't be reached", error) };
  if (!writes) {
    const what = error instanceof ErrorReply ? "Redis failed at a script" : "The connection to Redis broke";
    return { mayHaveRun: false, error: unavailable(what, error) };
  }
  const what =
    error instanceof ErrorReply
      ? "Redis failed in the middle of a script, which it doesn't undo"
      : "The connection to Redis broke before its answer";
  return { mayHaveRun: true, error: outcomeUnknown(what, error) };
}

/** What it means when no answer came in time. */
export function timedOut(writes: boolean, sent: boolean): Failure {
  const what = "Redis did not answer in time";
  if (writes && sent) return { mayHaveRun: true, error: outcomeUnknown(what, undefined) };
  return { mayHaveRun: false, error: unavailable(what, undefined) };
}

/** STORE_UNAVAILABLE: nothing was done. */
export function unavailable(what: string, cause: unknown): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", `${what}: try again.`, { cause });
}

/** OUTCOME_UNKNOWN: a write may have been made or not. */
export function outcomeUnknown(what: string, cause: unknown): WorkflowStateError {
  return new WorkflowStateError(
    "OUTCOME_UNKNOWN",
    `${what}: the write may have been made; it is safe to try again with the same request_id.`,
    { cause },
  );
}

/** A user or a password that is none, or a right that is missing. */
const LASTING: ReadonlySet<string> = new Set(["NOAUTH", "WRONGPASS", "NOPERM"]);

/** A connection that could not be made, in words of ours: what the server said to a password is not repeated. */
export function connectFailure(error: unknown): WorkflowStateError {
  const refusal = REFUSALS.get(codeOf(error));
  if (refusal !== undefined) {
    const refused = new WorkflowStateError(...refusal);
    return LASTING.has(codeOf(error)) ? lasting(refused) : refused;
  }
  if (error instanceof ErrorReply) return unavailable("Redis refused the connection", undefined);
  const unreached = unavailable("Redis can't be reached", error);
  return error instanceof Error && "code" in error && saysTlsRefused(error.code)
    ? lasting(unreached)
    : unreached;
}
