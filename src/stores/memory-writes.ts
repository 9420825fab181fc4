/** The writes of the memory store. Each is one synchronous section: nothing else runs between its checks and its commit. */
import type { FailedCheck } from "../errors.ts";
import type {
  CommitRequest,
  CommitResponse,
  DeleteSessionRequest,
  DeleteStateRequest,
  DeleteStateResponse,
  EncodedForm,
  Entry,
  ForkSessionRequest,
  Limits,
  RestoreSessionRequest,
  SaveSessionRequest,
  Session,
  SetStateRequest,
} from "../store.ts";
import { ownValue } from "../validate.ts";
import { checkSessionSize, failUnless, sessionExists, sessionNotFound } from "./failures.ts";
import { keepsValues } from "./fingerprint.ts";
import { stateOf } from "./listing.ts";
import type { Namespace } from "./memory-namespace.ts";
import type { SessionRecord, Version } from "./memory-session.ts";
import type { Sessions } from "./memory-sessions.ts";
import { changedMetadata, created, deadlines, deadlinesOf, type Metadata } from "./metadata.ts";
import { copies, difference, entryBytes, type KeyWrite, ownValues, stage } from "./staging.ts";

const NO_VALUES: EncodedForm["state"] = new Map();

/** Writes one entry. */
export function setState(
  sessions: Sessions,
  namespace: Namespace,
  request: SetStateRequest<EncodedForm>,
  limits: Limits,
): Entry<EncodedForm> {
  const { sessionId, key, ifRevision, ttlMs, requestId } = request;
  const value = ownValue(request.value, limits, "value");
  const record = sessions.open(namespace, sessionId);
  const run = (): Entry<EncodedForm> => {
    failUnless(ifRevision === undefined ? [] : failedCheck(record, key, ifRevision));
    const write = { key, value, expireTime: ttlMs ? sessions.time + ttlMs : undefined };
    checkSize(record, [write], limits);
    sessions.write(record, "COMMITTED", [write], record.metadata ?? created(sessions.time), requestId);
    return record.live.get(key) as Version;
  };
  if (!requestId) return run();
  return sessions.requests.once(
    record,
    { kind: "setState", ...request },
    sessions.time,
    run,
    ({ revision, updateTime, expireTime }) => {
      const kept = keepsValues(request) ? value : undefined;
      return { kept: { revision, updateTime, expireTime, value: kept }, valueBytes: kept?.length ?? 0 };
    },
    (kept) => ({ ...kept, key, value: kept.value ?? value }),
  );
}

/** Deletes one entry. */
export function deleteState(
  sessions: Sessions,
  namespace: Namespace,
  request: DeleteStateRequest,
): DeleteStateResponse {
  const { sessionId, key, ifRevision, requestId } = request;
  const record = sessions.open(namespace, sessionId);
  const run = (): DeleteStateResponse => {
    failUnless(ifRevision === undefined ? [] : failedCheck(record, key, ifRevision));
    const deleted = record.live.has(key);
    if (deleted) sessions.write(record, "COMMITTED", [remove(key)], record.metadata, requestId);
    return { deleted, revision: record.currentRevision };
  };
  return sessions.requests.once(
    record,
    { kind: "deleteState", ...request },
    sessions.time,
    run,
    keepAll,
    same,
  );
}

/** Makes a commit: all checks, then all changes in order, or nothing. */
export function commit(
  sessions: Sessions,
  namespace: Namespace,
  request: CommitRequest<EncodedForm>,
  limits: Limits,
): CommitResponse<EncodedForm> {
  const record = sessions.open(namespace, request.sessionId);
  const run = (): CommitResponse<EncodedForm> => {
    const { checks = [], ifRevision, requestId } = request;
    failUnless([
      ...(ifRevision === undefined ? [] : failedSessionCheck(record, ifRevision)),
      ...checks.flatMap((check) => failedCheck(record, check.key, check.ifRevision)),
    ]);
    const staged = stage(request.changes ?? [], (key) => record.live.get(key), sessions.time, limits);
    const written = [...staged.values()].filter((write) => write.written);
    checkSize(record, written, limits);
    const metadata = changedMetadata(record.metadata, request.metadata, sessions.time);
    if (written.length > 0 || metadata !== undefined) {
      const after = metadata ?? record.metadata ?? created(sessions.time);
      sessions.write(record, "COMMITTED", written, after, requestId);
    }
    return {
      revision: record.currentRevision,
      updateTime: record.metadata === undefined ? undefined : record.updateTime,
      entries: Array.from(
        staged.keys(),
        (key) => record.live.get(key) ?? deletedEntry(record, key, sessions.time),
      ),
    };
  };
  if (!request.requestId) return run();
  return sessions.requests.once(
    record,
    { kind: "commit", ...request },
    sessions.time,
    run,
    (answer) => keepCommit(answer, request),
    (kept) => ({
      ...kept,
      entries: kept.entries.map(({ set, ...entry }) =>
        set ? { ...entry, value: lastSet(request, entry.key, limits) } : entry,
      ),
    }),
  );
}

/** Creates a session, or makes its state and metadata what is given. */
export function saveSession(
  sessions: Sessions,
  namespace: Namespace,
  request: SaveSessionRequest<EncodedForm>,
  limits: Limits,
): Session<EncodedForm> {
  const { session, ifRevision, ttlMs, idleTtlMs, requestId } = request;
  const state = new Map<string, Uint8Array>();
  for (const [key, value] of session.state)
    state.set(key, ownValue(value, limits, `session.state[${JSON.stringify(key)}]`));
  const record = sessions.open(namespace, session.sessionId);
  const run = (): Session<EncodedForm> => {
    failUnless(ifRevision === undefined ? [] : failedSessionCheck(record, ifRevision));
    const writes = difference(record.live, state, (version) => version.expireTime);
    checkSize(record, writes, limits);
    const metadata: Metadata = {
      ...(record.metadata ?? created(sessions.time)),
      workflowId: session.workflowId || undefined,
      userId: session.userId || undefined,
      labels: { ...session.labels },
      ...deadlines(record.metadata, ttlMs, idleTtlMs, sessions.time),
    };
    sessions.write(record, "SAVED", writes, metadata, requestId);
    return record.session(record.now, record.revision, state);
  };
  return sessions.requests.once(
    record,
    { kind: "saveSession", ...request },
    sessions.time,
    run,
    (saved) =>
      // Not the values where the repeated request must have the same.
      keepsValues(request) ? keepSession(saved) : { kept: { ...saved, state: NO_VALUES }, valueBytes: 0 },
    (kept) => (keepsValues(request) ? kept : { ...kept, state }),
  );
}

/** Deletes a session. */
export function deleteSession(
  sessions: Sessions,
  namespace: Namespace,
  request: DeleteSessionRequest,
): boolean {
  const { sessionId, ifRevision, requestId } = request;
  const record = sessions.open(namespace, sessionId);
  const run = (): boolean => {
    failUnless(ifRevision === undefined ? [] : failedSessionCheck(record, ifRevision));
    if (record.metadata === undefined) return false;
    sessions.write(record, "DELETED", record.removeAll(), undefined, requestId);
    return true;
  };
  return sessions.requests.once(
    record,
    { kind: "deleteSession", ...request },
    sessions.time,
    run,
    keepAll,
    same,
  );
}

/** Copies a session to a new one, with the deadlines that still lie ahead. */
export function forkSession(
  sessions: Sessions,
  namespace: Namespace,
  request: ForkSessionRequest<EncodedForm>,
  limits: Limits,
): Session<EncodedForm> {
  const { sessionId, atRevision, newSessionId, requestId } = request;
  const values = ownValues(request.values, limits);
  const target = sessions.open(namespace, newSessionId);
  const run = (): Session<EncodedForm> => {
    if (target.metadata !== undefined) throw sessionExists();
    const source = sessions.find(namespace, sessionId);
    const { metadata, entries, revision } = contentAt(source, atRevision, sessions.time, values);
    checkSize(target, entries, limits);
    const { labels, workflowId, userId } = metadata;
    const expiry = deadlinesOf(source?.metadata, sessions.time);
    const forked = {
      ...created(sessions.time),
      labels,
      workflowId,
      userId,
      ...expiry,
      forkedFrom: { sessionId, revision },
    };
    sessions.write(target, "FORKED", entries, forked, requestId);
    return target.session(target.now, target.revision, stateOf(entries, ""));
  };
  return sessions.requests.once(
    target,
    { kind: "forkSession", ...request },
    sessions.time,
    run,
    keepSession,
    same,
  );
}

/** Gives a session the content it had at a revision. */
export function restoreSession(
  sessions: Sessions,
  namespace: Namespace,
  request: RestoreSessionRequest<EncodedForm>,
  limits: Limits,
): Session<EncodedForm> {
  const { sessionId, atRevision, ifRevision, requestId } = request;
  const values = ownValues(request.values, limits);
  const record = sessions.open(namespace, sessionId);
  const run = (): Session<EncodedForm> => {
    const { metadata: past, entries } = contentAt(record, atRevision, sessions.time, values);
    failUnless(ifRevision === undefined ? [] : failedSessionCheck(record, ifRevision));
    const state = stateOf(entries, "");
    const expireTimes = new Map(entries.map(({ key, expireTime }) => [key, expireTime]));
    const writes = difference(record.live, state, ({ key }) => expireTimes.get(key)).map((write) => ({
      ...write,
      expireTime: expireTimes.get(write.key),
    }));
    checkSize(record, writes, limits);
    const { labels, workflowId, userId } = past;
    const base = record.metadata ?? {
      ...past,
      createTime: sessions.time,
      ...deadlinesOf(past, sessions.time),
    };
    const metadata = { ...base, labels, workflowId, userId };
    sessions.write(record, "RESTORED", writes, metadata, requestId);
    return record.session(record.now, record.revision, state);
  };
  return sessions.requests.once(
    record,
    { kind: "restoreSession", ...request },
    sessions.time,
    run,
    keepSession,
    same,
  );
}

/** The content of a session at a revision, by key, less what has expired since. Fails with SESSION_NOT_FOUND and as `at`. */
function contentAt(
  record: SessionRecord | undefined,
  atRevision: number | undefined,
  time: number,
  values: EncodedForm["state"] | undefined,
): { metadata: Metadata; entries: KeyWrite[]; revision: number } {
  if (record === undefined || record.unknown) throw sessionNotFound();
  const revision = atRevision ?? record.revision;
  const { metadata } = record.at(revision);
  // What expired stays gone: only a deletion can be taken back.
  if (metadata === undefined || revision <= record.expiredRevision) throw sessionNotFound();
  return { metadata, entries: copies(record.entriesAt(revision), time, values), revision };
}

function failedCheck(record: SessionRecord, key: string, ifRevision: number): FailedCheck[] {
  const actualRevision = record.live.get(key)?.revision ?? 0;
  return actualRevision === ifRevision ? [] : [{ key, ifRevision, actualRevision }];
}

function failedSessionCheck(record: SessionRecord, ifRevision: number): FailedCheck[] {
  const actualRevision = record.currentRevision;
  return actualRevision === ifRevision ? [] : [{ key: "", ifRevision, actualRevision }];
}

function remove(key: string): KeyWrite {
  return { key, value: undefined, expireTime: undefined };
}

function checkSize(record: SessionRecord, writes: readonly KeyWrite[], limits: Limits): void {
  const before = { entries: record.live.size, bytes: record.liveBytes };
  let { entries, bytes } = before;
  for (const { key, value } of writes) {
    const version = record.live.get(key);
    entries += (value === undefined ? 0 : 1) - (version === undefined ? 0 : 1);
    bytes += (value === undefined ? 0 : entryBytes(key, value)) - (version?.bytes ?? 0);
  }
  checkSessionSize(before, { entries, bytes }, limits);
}

/** A key that a commit named and that is not there after it: since when, at the latest. */
function deletedEntry(record: SessionRecord, key: string, time: number): Entry<EncodedForm> {
  const updateTime = record.metadata === undefined ? time : record.updateTime;
  return { key, value: undefined, revision: record.currentRevision, updateTime, expireTime: undefined };
}

function keepAll<Answer>(answer: Answer): { kept: Answer; valueBytes: number } {
  return { kept: answer, valueBytes: 0 };
}

function keepSession(session: Session<EncodedForm>): { kept: Session<EncodedForm>; valueBytes: number } {
  let valueBytes = 0;
  for (const [key, value] of session.state) valueBytes += key.length + value.length;
  return { kept: session, valueBytes };
}

/** `set`: the value is that of the request's last change to the key, and the repeated request has the same. */
interface KeptCommit extends CommitResponse<EncodedForm> {
  readonly entries: readonly (Entry<EncodedForm> & { readonly set: boolean })[];
}

/** An answer of a commit without the values that the repeated request has itself, and without ties to history. */
function keepCommit(
  answer: CommitResponse<EncodedForm>,
  request: CommitRequest<EncodedForm>,
): { kept: KeptCommit; valueBytes: number } {
  const last = new Map((request.changes ?? []).map((change) => [change.key, change.kind]));
  let valueBytes = 0;
  const entries = answer.entries.map(({ key, value, revision, updateTime, expireTime }) => {
    const set = last.get(key) === "set" && !keepsValues(request);
    valueBytes += key.length + (set ? 0 : (value?.length ?? 0)) + 100;
    return { key, value: set ? undefined : value, revision, updateTime, expireTime, set };
  });
  return { kept: { ...answer, entries }, valueBytes };
}

function lastSet(request: CommitRequest<EncodedForm>, key: string, limits: Limits): Uint8Array {
  const change = request.changes?.findLast((candidate) => candidate.key === key);
  return ownValue(change?.kind === "set" ? change.value : undefined, limits);
}

function same<T>(value: T): T {
  return value;
}
