/** How large answers are, and what becomes of those that would be over the limit. */
import { WorkflowStateError } from "../errors.ts";
import type {
  CommitRequest,
  EncodedForm,
  Entry,
  Event,
  Limits,
  Operation,
  Result,
  Session,
} from "../store.ts";
import { utf8Length } from "../validate.ts";

/** Tag and length of a field, at most: no field is 2^28 bytes long. */
const FIELD = 6;
/** The fields of fixed size that a session, an entry, an event or a result has, at most. */
const FIXED = 96;
/** Those of an entry, and its place among others: less than the stores count for it, so that what fits their pages fits here. */
const ENTRY = 48;

function textBytes(text: string | undefined): number {
  return text === undefined ? 0 : FIELD + utf8Length(text);
}

/** The bytes of a session's message, or a little more. */
export function sessionBytes(session: Session<EncodedForm>): number {
  let bytes =
    FIXED +
    textBytes(session.sessionId) +
    textBytes(session.workflowId) +
    textBytes(session.userId) +
    textBytes(session.forkedFrom?.sessionId);
  for (const [name, text] of Object.entries(session.labels)) {
    bytes += FIELD + textBytes(name) + textBytes(text);
  }
  for (const [key, value] of session.state) {
    bytes += FIELD + textBytes(key) + FIELD + value.length;
  }
  return bytes;
}

function entriesBytes(entries: readonly Entry<EncodedForm>[]): number {
  let bytes = 0;
  for (const { key, value } of entries) {
    bytes += ENTRY + textBytes(key) + FIELD + (value?.length ?? 0);
  }
  return bytes;
}

/** Bytes that the answer of a call about one entry may have. */
export function mostOfEntry({ valueBytes, keyBytes, requestBytes }: Limits): number {
  return Math.min(valueBytes + keyBytes + FIXED, requestBytes);
}

/** Bytes that the answer of a commit may have: what it sets, and what it computes. */
export function mostOfCommit(
  { changes = [] }: CommitRequest<EncodedForm>,
  { valueBytes, requestBytes }: Limits,
): number {
  let bytes = FIXED;
  for (const change of changes) {
    bytes += FIXED + mostOfText(change.key);
    if (change.kind === "set") bytes += mostOfValue(change.value);
    else if (change.kind === "append" || change.kind === "merge") bytes += valueBytes;
  }
  return Math.min(bytes, requestBytes);
}

// A message need not have a key or a value; the store refuses it.
function mostOfText(text: string | undefined): number {
  return (text?.length ?? 0) * 3;
}

function mostOfValue(value: Uint8Array | undefined): number {
  return value?.length ?? 0;
}

/** Bytes that the answer of a batch may have. */
export function mostOfBatch(operations: readonly Operation<EncodedForm>[], limits: Limits): number {
  const { requestBytes } = limits;
  let bytes = 0;
  for (const operation of operations) {
    bytes += mostOfOperation(operation, limits);
    if (bytes >= requestBytes) return requestBytes;
  }
  return bytes;
}

function mostOfOperation(operation: Operation<EncodedForm>, limits: Limits): number {
  switch (operation.kind) {
    case "setState":
      return FIXED + mostOfText(operation.key) + mostOfValue(operation.value);
    case "deleteState":
      return FIXED;
    case "getSession":
      return limits.requestBytes;
    case "commit":
      return mostOfCommit(operation, limits);
    default:
      return mostOfEntry(limits);
  }
}

/** Passes a session on that one answer may hold. Fails with SESSION_TOO_LARGE. */
export function fitting<S extends Session<EncodedForm> | undefined>(session: S, limitBytes: number): S {
  const actual = session === undefined ? 0 : sessionBytes(session);
  if (actual > limitBytes) {
    throw new WorkflowStateError(
      "SESSION_TOO_LARGE",
      `The session is larger than one answer may be (${limitBytes} bytes): read it page by page with ListState.`,
      { metadata: { limit: `${limitBytes}`, actual: `${actual}` } },
    );
  }
  return session;
}

/** Fails with SESSION_TOO_LARGE where a listed session is more than one answer may hold: the first of a page comes whatever its size. */
export function checkListed(sessions: readonly Session<EncodedForm>[], limitBytes: number): void {
  for (const session of sessions) {
    const actual = sessionBytes(session);
    if (actual <= limitBytes) continue;
    throw new WorkflowStateError(
      "SESSION_TOO_LARGE",
      `A listed session is larger than one answer may be (${limitBytes} bytes): list without state, and read that session page by page with ListState.`,
      { metadata: { session_id: session.sessionId, limit: `${limitBytes}`, actual: `${actual}` } },
    );
  }
}

/** The session of a write's answer: the write is done, so what is too large loses its state instead of failing. */
export function trimmed(session: Session<EncodedForm>, limitBytes: number): Session<EncodedForm> {
  return sessionBytes(session) > limitBytes ? { ...session, state: new Map() } : session;
}

/** Passes an event on that one message may hold. Fails with SESSION_TOO_LARGE, naming the way on. */
export function fittingEvent(event: Event<EncodedForm>, limitBytes: number): Event<EncodedForm> {
  const actual = FIXED + textBytes(event.sessionId) + entriesBytes(event.entries);
  if (actual > limitBytes) {
    throw new WorkflowStateError(
      "SESSION_TOO_LARGE",
      `Revision ${event.revision} wrote more than one message may hold (${limitBytes} bytes): read the session page by page with ListState, and go on after that revision.`,
      { metadata: { limit: `${limitBytes}`, actual: `${actual}`, revision: `${event.revision}` } },
    );
  }
  return event;
}

/**
 * The results of a batch as far as one answer may hold them. A read that is too much becomes the error REQUEST_TOO_LARGE
 * (a whole session SESSION_TOO_LARGE); a write is done, so its answer stays, less the values, and where not even that has
 * room, less the entries.
 */
export function trimmedResults(
  results: readonly Result<EncodedForm>[],
  limitBytes: number,
): Result<EncodedForm>[] {
  let room = limitBytes;
  return results.map((result) => {
    const bytes = resultBytes(result);
    if (bytes <= room) {
      room -= bytes;
      return result;
    }
    const less = lesserResult(result, limitBytes);
    const least = resultBytes(less) <= room ? less : leastResult(less);
    room -= resultBytes(least);
    return least;
  });
}

function lesserResult(result: Result<EncodedForm>, limitBytes: number): Result<EncodedForm> {
  switch (result.kind) {
    case "getSession":
      try {
        fitting(result.session, limitBytes);
      } catch (error) {
        return { kind: "error", error: error as WorkflowStateError };
      }
      return tooMuch(limitBytes);
    case "getState":
      return tooMuch(limitBytes);
    case "setState":
      return { ...result, entry: withoutValue(result.entry) };
    case "commit":
      return { ...result, entries: result.entries.map(withoutValue) };
    default:
      return result;
  }
}

function leastResult(result: Result<EncodedForm>): Result<EncodedForm> {
  return result.kind === "commit" ? { ...result, entries: [] } : result;
}

function tooMuch(limitBytes: number): Result<EncodedForm> {
  const error = new WorkflowStateError(
    "REQUEST_TOO_LARGE",
    `The answers of the batch are together larger than one may be (${limitBytes} bytes): read less at once.`,
    { metadata: { limit: `${limitBytes}` } },
  );
  return { kind: "error", error };
}

function withoutValue({ value: _, ...entry }: Entry<EncodedForm>): Entry<EncodedForm> {
  return entry;
}

function resultBytes(result: Result<EncodedForm>): number {
  switch (result.kind) {
    case "getState":
    case "setState":
      return FIXED + (result.entry === undefined ? 0 : entriesBytes([result.entry]));
    case "commit":
      return FIXED + entriesBytes(result.entries);
    case "getSession":
      return FIXED + (result.session === undefined ? 0 : sessionBytes(result.session));
    case "deleteState":
      return FIXED;
    case "error":
      return errorBytes(result.error);
  }
}

function errorBytes({ message, metadata, failedChecks }: WorkflowStateError): number {
  let bytes = FIXED + textBytes(message);
  for (const [name, text] of Object.entries(metadata)) {
    bytes += FIELD + textBytes(name) + textBytes(text);
  }
  for (const { key } of failedChecks) {
    bytes += FIXED + textBytes(key);
  }
  return bytes;
}
