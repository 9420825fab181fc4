/**
 * A fingerprint of what a write asks for, by which a replay of a request is told from another request with its id.
 *
 * Two requests that mean the same have the same fingerprint, from whatever language and codec they come: the order of map
 * entries and of object members does not count, nor does a field that is absent from one that has its default where both
 * mean the same. Who makes two requests with one fingerprint on purpose deceives only himself. Stores keep fingerprints
 * across restarts, so a request's must never change (a golden test holds that).
 */
import type {
  Change,
  Check,
  CommitRequest,
  DeleteSessionRequest,
  DeleteStateRequest,
  EncodedForm,
  ForkSessionRequest,
  Replayable,
  RestoreSessionRequest,
  SaveSessionRequest,
  SessionMetadata,
  SetStateRequest,
} from "../store.ts";
import { addLabels, addMap, addNumber, addText, addValue, addWord, beginHash, endHash } from "./hash.ts";

/** A write with its kind. Its `requestFingerprint`, where it has one, stands for all else. */
export type WriteOperation =
  | ({ readonly kind: "setState" } & SetStateRequest<EncodedForm>)
  | ({ readonly kind: "deleteState" } & DeleteStateRequest)
  | ({ readonly kind: "commit" } & CommitRequest<EncodedForm>)
  | ({ readonly kind: "saveSession" } & SaveSessionRequest<EncodedForm>)
  | ({ readonly kind: "deleteSession" } & DeleteSessionRequest)
  | ({ readonly kind: "forkSession" } & ForkSessionRequest<EncodedForm>)
  | ({ readonly kind: "restoreSession" } & RestoreSessionRequest<EncodedForm>);

// Never reused for another kind.
const TAG_OF_WRITE = {
  setState: 1,
  deleteState: 2,
  commit: 3,
  saveSession: 4,
  deleteSession: 5,
  forkSession: 6,
  restoreSession: 7,
} as const satisfies Record<WriteOperation["kind"], number>;
const TAG_OF_CHANGE = {
  set: 1,
  delete: 2,
  increment: 3,
  append: 4,
  merge: 5,
} as const satisfies Record<Change["kind"], number>;
/** A set that keeps the expiry. */
const TAG_OF_KEEPING_SET = 6;
/** Added to the tag of a write that brings its own fingerprint. */
const TAG_OF_GIVEN = 16;

/**
 * The fingerprint of a checked write: of all that it carries but its `requestId`, or of the `requestFingerprint` that it brings,
 * with its kind and its session. 24 characters of `A-Z a-z 0-9 - _`.
 */
export function fingerprint(operation: WriteOperation): string {
  if (operation.requestFingerprint) {
    beginHash(TAG_OF_WRITE[operation.kind] + TAG_OF_GIVEN);
    addText(sessionOf(operation));
    addText(operation.requestFingerprint);
    return endHash();
  }
  beginHash(TAG_OF_WRITE[operation.kind]);
  switch (operation.kind) {
    case "setState":
      addText(operation.sessionId);
      addText(operation.key);
      addNumber(operation.ifRevision);
      addNumber(operation.ttlMs ?? 0);
      addValue(operation.value);
      break;
    case "deleteState":
      addText(operation.sessionId);
      addText(operation.key);
      addNumber(operation.ifRevision);
      break;
    case "commit":
      addText(operation.sessionId);
      addNumber(operation.ifRevision);
      addChecks(operation.checks ?? []);
      addChanges(operation.changes ?? []);
      addMetadata(operation.metadata ?? {});
      break;
    case "saveSession": {
      const { session } = operation;
      addText(session.sessionId);
      addNumber(operation.ifRevision);
      addNumber(operation.ttlMs);
      addNumber(operation.idleTtlMs);
      addText(session.workflowId ?? "");
      addText(session.userId ?? "");
      addLabels(session.labels ?? {});
      addMap(session.state.size, session.state.keys(), (key) =>
        addValue(session.state.get(key) as Uint8Array),
      );
      break;
    }
    case "deleteSession":
      addText(operation.sessionId);
      addNumber(operation.ifRevision);
      break;
    case "forkSession":
      addText(operation.sessionId);
      addNumber(operation.atRevision);
      addText(operation.newSessionId);
      addValues(operation.values);
      break;
    case "restoreSession":
      addText(operation.sessionId);
      addNumber(operation.atRevision);
      addNumber(operation.ifRevision);
      addValues(operation.values);
      break;
  }
  return endHash();
}

/**
 * Whether the answer to a write must be kept with all values: repeated, a write that brings its own fingerprint may carry
 * others.
 */
export function keepsValues(request: Replayable): boolean {
  return Boolean(request.requestFingerprint);
}

/** The session that the request id of a write belongs to. */
function sessionOf(operation: WriteOperation): string {
  switch (operation.kind) {
    case "saveSession":
      return operation.session.sessionId;
    case "forkSession":
      return operation.newSessionId;
    default:
      return operation.sessionId;
  }
}

/** Adds nothing where there are none. */
function addValues(values: EncodedForm["state"] | undefined): void {
  if (values === undefined || values.size === 0) return;
  addMap(values.size, values.keys(), (key) => addValue(values.get(key) as Uint8Array));
}

function addChecks(checks: readonly Check[]): void {
  addWord(checks.length);
  for (const check of checks) {
    addText(check.key);
    addNumber(check.ifRevision);
  }
}

function addChanges(changes: readonly Change<EncodedForm>[]): void {
  addWord(changes.length);
  for (const change of changes) {
    const keeping = change.kind === "set" && change.keepExpiry === true;
    addWord(keeping ? TAG_OF_KEEPING_SET : TAG_OF_CHANGE[change.kind]);
    addText(change.key);
    switch (change.kind) {
      case "set":
        addNumber(change.ttlMs ?? 0);
        addValue(change.value);
        break;
      case "increment":
        addNumber(change.delta);
        break;
      case "append":
        addNumber(change.maxItems ?? 0);
        addWord(change.values.length);
        for (const value of change.values) addValue(value);
        break;
      case "merge":
        addValue(change.value);
        break;
      case "delete":
        break;
    }
  }
}

/** Absent and empty differ here: unchanged and none. */
function addMetadata(metadata: SessionMetadata): void {
  addText(metadata.workflowId);
  addText(metadata.userId);
  addLabels(metadata.labels);
  addNumber(metadata.ttlMs);
  addNumber(metadata.idleTtlMs);
}
