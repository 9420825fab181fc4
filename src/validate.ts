/**
 * The one validator: what every store refuses at its door, whatever the protocol or caller. Encoded values pass through
 * {@link ownValue} where their bytes are copied; everything else of a request through the check that has its name.
 *
 * A check returns if the request may be carried out, and throws a `WorkflowStateError` if not: INVALID_SESSION_ID,
 * INVALID_KEY, INVALID_VALUE, REQUEST_TOO_LARGE, TOO_MANY_ENTRIES, INVALID_PAGE_TOKEN, or for any other field
 * INVALID_REQUEST with the `field` by its name on the wire. Nothing is believed of a request, its type included.
 */
import { WorkflowStateError } from "./errors.ts";
import { describeFault, scanValue } from "./scan.ts";
import type {
  Change,
  Check,
  CommitRequest,
  DeleteSessionRequest,
  DeleteStateRequest,
  EncodedForm,
  ForkSessionRequest,
  GetSessionRequest,
  GetStateRequest,
  Limits,
  ListEventsRequest,
  ListSessionsRequest,
  ListStateRequest,
  Operation,
  Page,
  Replayable,
  RestoreSessionRequest,
  SaveSessionRequest,
  SessionFilter,
  SessionMetadata,
  SetStateRequest,
  WatchSessionRequest,
} from "./store.ts";
import { utf8Length } from "./utf8.ts";

export { utf8Length } from "./utf8.ts";

/** Bytes of a request id. */
export const MAX_REQUEST_ID_BYTES = 128;
/** Bytes of a workflow id or a user id. */
export const MAX_OWNER_ID_BYTES = 256;
/** Labels of a session. */
export const MAX_LABELS = 64;
/** Bytes of a label's name. */
export const MAX_LABEL_NAME_BYTES = 128;
/** Bytes of a label's text. */
export const MAX_LABEL_TEXT_BYTES = 256;
/** The longest ttl in milliseconds: 36,500 days. */
export const MAX_TTL_MS: number = 36_500 * 86_400_000;

/**
 * The bytes of a value to keep: a fresh copy, checked to be one well-formed `google.protobuf.Value` within the limits,
 * with -0 turned to 0. `field` names the field of the request in the error's metadata.
 * Fails with VALUE_TOO_LARGE (`limit`, `actual`) before anything is read, and with INVALID_VALUE (`path`).
 */
export function ownValue(
  bytes: Uint8Array | undefined,
  limits: Limits,
  field?: string,
): Uint8Array<ArrayBuffer> {
  checkValueSize(bytes, limits, field);
  const copy = new Uint8Array(bytes);
  scan(copy, limits, field, true);
  return copy;
}

/** Checks the bytes of a value as {@link ownValue} does, and leaves them as they are. */
export function validateValue(bytes: Uint8Array | undefined, limits: Limits, field?: string): void {
  checkValueSize(bytes, limits, field);
  scan(bytes, limits, field, false);
}

function checkValueSize(
  bytes: Uint8Array | undefined,
  limits: Limits,
  field: string | undefined,
): asserts bytes is Uint8Array {
  if (!(bytes instanceof Uint8Array)) {
    throw new WorkflowStateError("INVALID_VALUE", "The value is missing: to store a null, say so.", {
      metadata: { path: "$", ...(field === undefined ? {} : { field }) },
    });
  }
  if (bytes.length > limits.valueBytes) {
    throw overLimit(
      "VALUE_TOO_LARGE",
      field,
      bytes.length,
      limits.valueBytes,
      `The value is larger than ${limits.valueBytes} bytes: split it over several keys.`,
    );
  }
}

function scan(bytes: Uint8Array, limits: Limits, field: string | undefined, normalise: boolean): void {
  const found = scanValue(bytes, limits.valueDepth, limits.valueNodes, normalise);
  if (found === 0) return;
  const { what, path } = describeFault(bytes, found);
  throw new WorkflowStateError("INVALID_VALUE", `The value at ${path} ${what}.`, {
    metadata: { path, ...(field === undefined ? {} : { field }) },
  });
}

/** Checks a session id: 1 to `limits.sessionIdBytes` bytes of well-formed UTF-8. Fails with INVALID_SESSION_ID. */
export function checkSessionId(id: string, limits: Limits, field = "session_id"): void {
  const problem = textProblem(id, 1, limits.sessionIdBytes);
  if (problem !== undefined) {
    throw new WorkflowStateError("INVALID_SESSION_ID", `The session id ${problem}.`, { metadata: { field } });
  }
}

/** Checks a key: 1 to `limits.keyBytes` bytes of well-formed UTF-8. Fails with INVALID_KEY. */
export function checkKey(key: string, limits: Limits, field = "key"): void {
  const problem = textProblem(key, 1, limits.keyBytes);
  if (problem !== undefined) {
    throw new WorkflowStateError("INVALID_KEY", `The key ${problem}.`, { metadata: { field } });
  }
}

/** Checks a request of `getSession`. */
export function checkGetSession(request: GetSessionRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkRevision(request.atRevision, "at_revision");
  checkText(request.keyPrefix, limits.keyBytes, "key_prefix");
}

/** Checks a request of `saveSession`, apart from the bytes of its values. */
export function checkSaveSession(request: SaveSessionRequest<EncodedForm>, limits: Limits): void {
  checkObject(request, "request");
  const { session } = request;
  checkObject(session, "session");
  checkSessionId(session.sessionId, limits, "session.session_id");
  if (!(session.state instanceof Map)) throw invalid("session.state", "must be a Map");
  if (session.state.size > limits.entries) {
    throw overLimit(
      "TOO_MANY_ENTRIES",
      "session.state",
      session.state.size,
      limits.entries,
      `The session would have more than ${limits.entries} entries: use several sessions.`,
    );
  }
  for (const key of session.state.keys()) checkKey(key, limits, "session.state");
  checkText(session.workflowId, MAX_OWNER_ID_BYTES, "session.workflow_id");
  checkText(session.userId, MAX_OWNER_ID_BYTES, "session.user_id");
  checkLabels(session.labels, "session.labels");
  checkRevision(request.ifRevision, "if_revision");
  checkTtl(request.ttlMs, "ttl");
  checkTtl(request.idleTtlMs, "idle_ttl");
  checkReplayable(request);
}

/** Checks a request of `deleteSession`. */
export function checkDeleteSession(request: DeleteSessionRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkRevision(request.ifRevision, "if_revision");
  checkReplayable(request);
}

/** Checks a request of `listSessions`. */
export function checkListSessions(request: ListSessionsRequest<EncodedForm>, limits: Limits): void {
  checkSessionFilter(request, limits);
  const { view, order } = request;
  if (view !== undefined && view !== "IDS" && view !== "METADATA" && view !== "FULL") {
    throw invalid("view", "must be IDS, METADATA or FULL");
  }
  if (order !== undefined && order !== "ID" && order !== "UPDATE_TIME_DESC") {
    throw invalid("order", "must be ID or UPDATE_TIME_DESC");
  }
  checkPage(request);
}

/** Checks the filter of `watchSessions`, and of `listSessions`. */
export function checkSessionFilter(filter: SessionFilter<EncodedForm>, limits: Limits): void {
  checkObject(filter, "request");
  checkText(filter.workflowId, MAX_OWNER_ID_BYTES, "workflow_id");
  checkText(filter.userId, MAX_OWNER_ID_BYTES, "user_id");
  checkText(filter.sessionIdPrefix, limits.sessionIdBytes, "session_id_prefix");
  checkLabels(filter.labels, "labels");
  checkTime(filter.updatedAfter, "updated_after");
  checkTime(filter.updatedBefore, "updated_before");
}

/** Checks a request of `getState`. */
export function checkGetState(request: GetStateRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkKey(request.key, limits);
  checkRevision(request.atRevision, "at_revision");
}

/** Checks a request of `setState`, apart from the bytes of its value. */
export function checkSetState(request: SetStateRequest<EncodedForm>, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkKey(request.key, limits);
  checkRevision(request.ifRevision, "if_revision");
  checkTtl(request.ttlMs, "ttl");
  checkReplayable(request);
}

/** Checks a request of `deleteState`. */
export function checkDeleteState(request: DeleteStateRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkKey(request.key, limits);
  checkRevision(request.ifRevision, "if_revision");
  checkReplayable(request);
}

/** Checks a request of `listState`. */
export function checkListState(request: ListStateRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkText(request.keyPrefix, limits.keyBytes, "key_prefix");
  checkText(request.startAfter, limits.keyBytes, "start_after");
  checkBoolean(request.reverse, "reverse");
  checkRevision(request.atRevision, "at_revision");
  checkPage(request);
}

/** Checks a request of `commit`, apart from the bytes of its values. */
export function checkCommit(request: CommitRequest<EncodedForm>, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  const { checks, changes, metadata } = request;
  if (checks !== undefined) {
    checkList(checks, limits.checks, "checks");
    for (let i = 0; i < checks.length; i++) {
      const check: Check | undefined = checks[i];
      checkObject(check, "checks", i);
      if (textProblem(check.key, 1, limits.keyBytes) !== undefined)
        checkKey(check.key, limits, `checks[${i}].key`);
      if (!isRevision(check.ifRevision)) throw invalidRevision(`checks[${i}].if_revision`);
    }
  }
  if (changes !== undefined) {
    checkList(changes, limits.changes, "changes");
    for (let i = 0; i < changes.length; i++) checkChange(changes[i], limits, i);
  }
  checkRevision(request.ifRevision, "if_revision");
  if (metadata !== undefined) checkMetadata(metadata);
  checkReplayable(request);
}

const CHANGE_KINDS: ReadonlySet<unknown> = new Set(["set", "delete", "increment", "append", "merge"]);

function checkChange(change: Change<EncodedForm> | undefined, limits: Limits, index: number): void {
  checkObject(change, "changes", index);
  if (!CHANGE_KINDS.has(change.kind)) {
    throw invalid(`changes[${index}]`, "must be a set, delete, increment, append or merge");
  }
  if (textProblem(change.key, 1, limits.keyBytes) !== undefined)
    checkKey(change.key, limits, `changes[${index}].key`);
  switch (change.kind) {
    case "set":
      if (!isTtl(change.ttlMs)) throw invalidTtl(`changes[${index}].set.ttl`);
      if (change.keepExpiry === undefined || change.keepExpiry === false) return;
      if (change.keepExpiry !== true || change.ttlMs)
        throw invalid(
          `changes[${index}].set.keep_expiry`,
          "must be true or false, and false where there is a ttl",
        );
      return;
    case "delete":
    case "merge":
      return;
    case "increment":
      if (Number.isFinite(change.delta)) return;
      throw new WorkflowStateError("INVALID_VALUE", "The delta of an increment must be a finite number.", {
        metadata: { path: "$", field: `changes[${index}].increment.delta` },
      });
    case "append":
      if (!Array.isArray(change.values)) throw invalid(`changes[${index}].append.values`, "must be a list");
      if (!isCount(change.maxItems)) throw invalid(`changes[${index}].append.max_items`, COUNT_RULE);
  }
}

function checkMetadata(metadata: SessionMetadata): void {
  checkObject(metadata, "metadata");
  checkText(metadata.workflowId, MAX_OWNER_ID_BYTES, "metadata.workflow_id");
  checkText(metadata.userId, MAX_OWNER_ID_BYTES, "metadata.user_id");
  checkLabels(metadata.labels, "metadata.labels");
  checkTtl(metadata.ttlMs, "metadata.ttl");
  checkTtl(metadata.idleTtlMs, "metadata.idle_ttl");
}

/** Checks the number of a batch's operations; each is checked by {@link checkOperation}, whose error is its result. */
export function checkOperations(operations: readonly Operation<EncodedForm>[], limits: Limits): void {
  checkList(operations, limits.operations, "operations");
}

/** Checks one operation of a batch as the check of its own request does. */
export function checkOperation(operation: Operation<EncodedForm>, limits: Limits): void {
  checkObject(operation, "operation");
  switch (operation.kind) {
    case "getState":
      checkGetState(operation, limits);
      return;
    case "setState":
      checkSetState(operation, limits);
      return;
    case "deleteState":
      checkDeleteState(operation, limits);
      return;
    case "commit":
      checkCommit(operation, limits);
      return;
    case "getSession":
      checkGetSession(operation, limits);
      return;
    default:
      throw invalid("operation", "must be get_state, set_state, delete_state, commit or get_session");
  }
}

/** Checks a request of `forkSession`, apart from the bytes of its values. */
export function checkFork(request: ForkSessionRequest<EncodedForm>, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkRevision(request.atRevision, "at_revision");
  checkSessionId(request.newSessionId, limits, "new_session_id");
  checkValues(request.values, limits);
  checkReplayable(request);
}

/** Checks a request of `restoreSession`, apart from the bytes of its values. */
export function checkRestore(request: RestoreSessionRequest<EncodedForm>, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  if (!isRevision(request.atRevision) || request.atRevision === 0) {
    throw invalid("at_revision", "must be a revision, 1 or more");
  }
  checkRevision(request.ifRevision, "if_revision");
  checkValues(request.values, limits);
  checkReplayable(request);
}

/** Checks a request of `listEvents`. */
export function checkListEvents(request: ListEventsRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkRevision(request.afterRevision, "after_revision");
  checkBoolean(request.reverse, "reverse");
  checkPage(request);
}

/** Checks a request of `watchSession`. */
export function checkWatchSession(request: WatchSessionRequest, limits: Limits): void {
  checkObject(request, "request");
  checkSessionId(request.sessionId, limits);
  checkRevision(request.afterRevision, "after_revision");
  checkText(request.keyPrefix, limits.keyBytes, "key_prefix");
}

function checkReplayable({ requestId, requestFingerprint }: Replayable): void {
  checkText(requestId, MAX_REQUEST_ID_BYTES, "request_id");
  checkText(requestFingerprint, MAX_REQUEST_ID_BYTES, "request_fingerprint");
  if (requestFingerprint && !requestId) throw invalid("request_fingerprint", "needs a request_id");
}

/** Checks the keys of values that a fork or restore is given. */
function checkValues(values: EncodedForm["state"] | undefined, limits: Limits): void {
  if (values === undefined) return;
  if (!(values instanceof Map)) throw invalid("values", "must be a Map");
  for (const key of values.keys()) checkKey(key, limits, "values");
}

/** What is wrong with a text that must have `least` (0 or 1) to `most` bytes, or nothing. */
function textProblem(text: unknown, least: number, most: number): string | undefined {
  if (typeof text !== "string") return "must be a string";
  if (text.length < least) return "is empty";
  if (text.length > most) return `is longer than ${most} bytes`;
  const bytes = utf8Length(text);
  if (bytes > most) return `is longer than ${most} bytes`;
  return bytes < 0 ? "has a lone surrogate" : undefined;
}

function checkText(text: string | undefined, most: number, field: string): void {
  if (text === undefined) return;
  const problem = textProblem(text, 0, most);
  if (problem !== undefined) throw invalid(field, problem);
}

function checkLabels(labels: Readonly<Record<string, string>> | undefined, field: string): void {
  if (labels === undefined) return;
  // Of a Map no label is seen: it would wipe them all, or match every session.
  if (!isPlainObject(labels)) throw invalid(field, "must be a plain object");
  const names = Object.keys(labels);
  if (names.length > MAX_LABELS) throw invalid(field, `has more than ${MAX_LABELS} labels`);
  for (const name of names) {
    const problem = textProblem(name, 1, MAX_LABEL_NAME_BYTES);
    if (problem !== undefined) throw invalid(field, `has a name that ${problem}`);
    const textIs = textProblem(labels[name], 0, MAX_LABEL_TEXT_BYTES);
    if (textIs !== undefined) throw invalid(field, `has a text that ${textIs}`);
  }
}

function checkPage(page: Page): void {
  if (!isCount(page.pageSize)) throw invalid("page_size", COUNT_RULE);
  if (page.pageToken !== undefined && typeof page.pageToken !== "string") {
    throw new WorkflowStateError("INVALID_PAGE_TOKEN", "The page token must be a string.");
  }
}

function checkRevision(revision: number | undefined, field: string): void {
  if (revision !== undefined && !isRevision(revision)) throw invalidRevision(field);
}

function isRevision(revision: unknown): boolean {
  return Number.isSafeInteger(revision) && (revision as number) >= 0;
}

function invalidRevision(field: string): WorkflowStateError {
  return invalid(field, "must be a revision: a whole number from 0 to 2^53 - 1");
}

function checkTtl(ttlMs: number | undefined, field: string): void {
  if (!isTtl(ttlMs)) throw invalidTtl(field);
}

function isTtl(ttlMs: number | undefined): boolean {
  return ttlMs === undefined || (Number.isSafeInteger(ttlMs) && ttlMs >= 0 && ttlMs <= MAX_TTL_MS);
}

function invalidTtl(field: string): WorkflowStateError {
  return invalid(field, "must be a whole number of milliseconds from 0 to 36,500 days");
}

const COUNT_RULE = "must be a whole number, 0 or more";

function isCount(count: number | undefined): boolean {
  return count === undefined || (Number.isSafeInteger(count) && count >= 0);
}

function checkTime(time: number | undefined, field: string): void {
  if (time !== undefined && !Number.isSafeInteger(time))
    throw invalid(field, "must be a time in whole milliseconds");
}

function checkBoolean(flag: boolean | undefined, field: string): void {
  if (flag !== undefined && typeof flag !== "boolean") throw invalid(field, "must be true or false");
}

/** Whether it is an object whose own members are all that there is to it: no list, Map or instance of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Not compared to Object.prototype: the object may be of another realm.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Checks that something is an object, so that its fields can be looked at. */
function checkObject<T>(object: T, field: string, index?: number): asserts object is NonNullable<T> {
  if (typeof object !== "object" || object === null) {
    throw invalid(index === undefined ? field : `${field}[${index}]`, "must be an object");
  }
}

function checkList(list: readonly unknown[], limit: number, field: string): void {
  if (!Array.isArray(list)) throw invalid(field, "must be a list");
  if (list.length > limit) {
    throw overLimit(
      "REQUEST_TOO_LARGE",
      field,
      list.length,
      limit,
      `The request has more than ${limit} ${field}.`,
    );
  }
}

function invalid(field: string, problem: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", `The request's ${field} ${problem}.`, {
    metadata: { field },
  });
}

function overLimit(
  reason: "VALUE_TOO_LARGE" | "REQUEST_TOO_LARGE" | "TOO_MANY_ENTRIES",
  field: string | undefined,
  actual: number,
  limit: number,
  message: string,
): WorkflowStateError {
  const metadata = {
    limit: String(limit),
    actual: String(actual),
    ...(field === undefined ? {} : { field }),
  };
  return new WorkflowStateError(reason, message, { metadata });
}
