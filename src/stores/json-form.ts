/** Requests from plain JSON to the encoded form, and answers back: what stands between programs and an encoded store. */
import { WorkflowStateError } from "../errors.ts";
import type {
  Change,
  CommitRequest,
  CommitResponse,
  EncodedForm,
  Entry,
  Event,
  JsonValue,
  Limits,
  Operation,
  Result,
  Session,
  SessionChange,
  SessionContent,
  SessionFilter,
  SessionMetadata,
  WatchMessage,
} from "../store.ts";
import { isPlainObject } from "../validate.ts";
import { decodeValue, encodeValue } from "../value.ts";
import { type PreparedBatch, prepareBatch } from "./prepared-batch.ts";

/** No fields: what an absent field adds to an object. */
const NOTHING: Readonly<Record<never, never>> = Object.freeze({});

/** The bytes of a value under a key; an error names the key, and the path within the value. */
export function encodeAt(key: string, value: unknown, limits: Limits): Uint8Array {
  try {
    return encodeValue(value, limits);
  } catch (error) {
    if (!WorkflowStateError.is(error)) throw error;
    const { reason, message, metadata, cause } = error;
    throw new WorkflowStateError(reason, message, { metadata: { ...metadata, key }, cause });
  }
}

/** A duration in whole milliseconds: a fraction counts as one more, so that what is short does not become "none". */
export function wholeMs(ms: number | undefined): number | undefined {
  // What is negative stays so, and what is no number: the store refuses both.
  return typeof ms === "number" && !Number.isInteger(ms) ? (ms < 0 ? Math.floor(ms) : Math.ceil(ms)) : ms;
}

/** What a caller gave as a session to save; fields that only a store writes are ignored. */
export function toContent(session: SessionContent, limits: Limits): SessionContent<EncodedForm> {
  if (!isPlainObject(session))
    throw invalid("session", "A session is a plain object with a sessionId and a state.");
  const { sessionId, state, workflowId, userId, labels } = session;
  // Not taken for an empty state: that would wipe the session.
  if (!isPlainObject(state)) {
    throw invalid("session.state", "A session's state is a plain object with a value for each key.");
  }
  return { sessionId, state: toState(state, limits), workflowId, userId, labels: ownLabels(labels) };
}

/** The values of a fork or a restore, encoded. */
export function toValues(
  values: Readonly<Record<string, JsonValue>> | undefined,
  limits: Limits,
): EncodedForm["state"] | undefined {
  if (values === undefined || values === null) return undefined;
  if (!isPlainObject(values)) throw invalid("values", "values is a plain object with a value for each key.");
  return toState(values, limits);
}

function toState(state: Readonly<Record<string, unknown>>, limits: Limits): EncodedForm["state"] {
  const encoded = new Map<string, Uint8Array>();
  for (const [key, value] of Object.entries(state)) encoded.set(key, encodeAt(key, value, limits));
  return encoded;
}

/** A change, with its values encoded. */
export function toChange(change: Change, limits: Limits): Change<EncodedForm> {
  switch (change?.kind) {
    case "set": {
      const { kind, key, value, ttlMs, keepExpiry } = change;
      return { kind, key, value: encodeAt(key, value, limits), ttlMs: wholeMs(ttlMs), keepExpiry };
    }
    case "append": {
      const { kind, key, values, maxItems } = change;
      return {
        kind,
        key,
        values: copyList("values", values, (value) => encodeAt(key, value, limits)),
        maxItems,
      };
    }
    case "merge": {
      const { kind, key, value } = change;
      return { kind, key, value: encodeAt(key, value, limits) };
    }
    default:
      return copy(change);
  }
}

/** What a commit changes about its session. */
function toMetadata(metadata: SessionMetadata | undefined): SessionMetadata | undefined {
  if (metadata === undefined || metadata === null) return undefined;
  const { workflowId, userId, labels, ttlMs, idleTtlMs } = metadata;
  return {
    workflowId,
    userId,
    labels: ownLabels(labels),
    ttlMs: wholeMs(ttlMs),
    idleTtlMs: wholeMs(idleTtlMs),
  };
}

/** A commit, with its values encoded. */
export function toCommit(commit: CommitRequest, limits: Limits): CommitRequest<EncodedForm> {
  const { sessionId, checks, changes, ifRevision, metadata, requestId, requestFingerprint } = commit;
  return {
    sessionId,
    checks: copyList("checks", checks, copy),
    changes: copyList("changes", changes, (change) => toChange(change, limits)),
    ifRevision,
    metadata: toMetadata(metadata),
    requestId,
    requestFingerprint,
  };
}

/** The operations of a batch, with their values encoded; one that can't be is its own result. */
export function toBatch(operations: readonly Operation[], limits: Limits): PreparedBatch {
  if (!Array.isArray(operations)) throw invalid("operations", "operations must be a list.");
  return prepareBatch(operations, (operation: Operation): Operation<EncodedForm> => {
    if (!isPlainObject(operation)) throw invalid("operations", "An operation is a plain object.");
    switch (operation.kind) {
      case "setState": {
        const { key, value, ttlMs } = operation;
        return { ...operation, value: encodeAt(key, value, limits), ttlMs: wholeMs(ttlMs) };
      }
      case "commit":
        return { kind: "commit", ...toCommit(operation, limits) };
      default:
        return { ...operation };
    }
  });
}

/** Which sessions to take. */
export function toFilter(filter: SessionFilter): SessionFilter<EncodedForm> {
  const { workflowId, userId, sessionIdPrefix, labels, updatedAfter, updatedBefore } = filter;
  return {
    workflowId,
    userId,
    sessionIdPrefix,
    labels: ownLabels(labels),
    updatedAfter: toMs("updated_after", updatedAfter),
    updatedBefore: toMs("updated_before", updatedBefore),
  };
}

/** A session, decoded. */
export function fromSession(session: Session<EncodedForm>): Session {
  const { createTime, updateTime, workflowId, userId, expireTime, forkedFrom } = session;
  const state: Record<string, JsonValue> = {};
  for (const [key, value] of session.state) define(state, key, decodeValue(value));
  return {
    sessionId: session.sessionId,
    state,
    ...(createTime === undefined ? NOTHING : { createTime: new Date(createTime) }),
    ...(updateTime === undefined ? NOTHING : { updateTime: new Date(updateTime) }),
    ...(workflowId === undefined ? NOTHING : { workflowId }),
    ...(userId === undefined ? NOTHING : { userId }),
    labels: ownLabels(session.labels) ?? {},
    revision: session.revision,
    ...(expireTime === undefined ? NOTHING : { expireTime: new Date(expireTime) }),
    ...(forkedFrom === undefined ? NOTHING : { forkedFrom: { ...forkedFrom } }),
  };
}

/** An entry, decoded. */
export function fromEntry(entry: Entry<EncodedForm>): Entry {
  const { key, value, revision, updateTime, expireTime } = entry;
  return {
    key,
    ...(value === undefined ? NOTHING : { value: decodeValue(value) }),
    revision,
    updateTime: new Date(updateTime),
    ...(expireTime === undefined ? NOTHING : { expireTime: new Date(expireTime) }),
  };
}

/** The answer of a commit, decoded. */
export function fromCommit({ revision, updateTime, entries }: CommitResponse<EncodedForm>): CommitResponse {
  return {
    revision,
    ...(updateTime === undefined ? NOTHING : { updateTime: new Date(updateTime) }),
    entries: entries.map(fromEntry),
  };
}

/** The result of an operation, decoded. */
export function fromResult(result: Result<EncodedForm>): Result {
  switch (result.kind) {
    case "getState":
      return { kind: "getState", entry: result.entry && fromEntry(result.entry) };
    case "setState":
      return { kind: "setState", entry: fromEntry(result.entry) };
    case "commit":
      return { kind: "commit", ...fromCommit(result) };
    case "getSession":
      return { kind: "getSession", session: result.session && fromSession(result.session) };
    default:
      return { ...result };
  }
}

/** An event, decoded. */
export function fromEvent({
  sessionId,
  revision,
  time,
  kind,
  entries,
  requestId,
}: Event<EncodedForm>): Event {
  return {
    sessionId,
    revision,
    time: new Date(time),
    kind,
    entries: entries.map(fromEntry),
    ...(requestId === undefined ? NOTHING : { requestId }),
  };
}

/** A message of a watch on a session, decoded. */
export function fromWatchMessage(message: WatchMessage<EncodedForm>): WatchMessage {
  switch (message.kind) {
    case "snapshot":
      return { kind: "snapshot", snapshot: fromSession(message.snapshot) };
    case "event":
      return { kind: "event", event: fromEvent(message.event) };
    case "progress":
      return { kind: "progress", revision: message.revision };
  }
}

/** A message of a watch on sessions, decoded. */
export function fromSessionChange({ session, kind }: SessionChange<EncodedForm>): SessionChange {
  return { session: fromSession(session), kind };
}

/** The error of a request that a caller of this interface got wrong. */
export function invalid(field: string, message: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", message, { metadata: { field } });
}

/** Adds an own property of any name: an assignment to `__proto__` would set the prototype. */
export function define<V>(object: Record<string, V>, key: string, value: V): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    object[key] = value;
  }
}

/** A copy of labels. What is no object of labels passes as it is, for the store to refuse. */
function ownLabels<L extends Readonly<Record<string, string>> | undefined>(labels: L): L {
  if (!isPlainObject(labels)) return labels;
  const own: Record<string, string> = {};
  for (const [name, text] of Object.entries(labels)) define(own, name, text);
  return own as L;
}

/** A list of the store's own. Fails with INVALID_REQUEST if it is no list. */
function copyList<A, B>(field: string, list: readonly A[], map: (item: A) => B): B[];
function copyList<A, B>(field: string, list: readonly A[] | undefined, map: (item: A) => B): B[] | undefined;
function copyList<A, B>(field: string, list: readonly A[] | undefined, map: (item: A) => B): B[] | undefined {
  if (list === undefined || list === null) return undefined;
  if (!Array.isArray(list)) throw invalid(field, `${field} must be a list.`);
  return list.map(map);
}

/** A copy, as the caller may change the original. What is no object passes as it is, for the store to refuse. */
function copy<T>(item: T): T {
  return typeof item === "object" && item !== null ? { ...item } : item;
}

function toMs(field: string, time: Date | undefined): number | undefined {
  if (time === undefined || time === null) return undefined;
  const ms = time instanceof Date ? time.getTime() : Number.NaN;
  if (Number.isNaN(ms)) throw invalid(field, `${field} must be a valid Date.`);
  return ms;
}
