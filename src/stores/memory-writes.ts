/** The writes of the memory store. Each is one synchronous section: nothing else runs between its checks and its commit. */
import { type FailedCheck, WorkflowStateError } from "../errors.ts";
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
import { compute } from "./computed.ts";
import { checkSessionSize, commitTooLarge, failUnless, sessionNotFound } from "./failures.ts";
import { stateOf } from "./memory-lists.ts";
import type { Namespace } from "./memory-namespace.ts";
import { entryBytes, type SessionRecord, type Version, type Write } from "./memory-session.ts";
import type { Sessions } from "./memory-sessions.ts";
import { changedMetadata, created, deadlines, deadlinesOf, type Metadata } from "./metadata.ts";
import { compareUtf8 } from "./order.ts";
import { sameBytes } from "./same-bytes.ts";

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
    // Not the value: the repeated request has it.
    ({ revision, updateTime, expireTime }) => ({ kept: { revision, updateTime, expireTime }, valueBytes: 0 }),
    (kept) => ({ key, value, ...kept }),
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

/** What the answer of a commit holds beside its entries. */
const ANSWER_MARGIN_BYTES = 16 << 10;

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
    const staged = stage(record, request, sessions.time, limits);
    const bytes = [...staged.values()].reduce((sum, { key, value }) => sum + 64 + entryBytes(key, value), 0);
    const room = limits.requestBytes - ANSWER_MARGIN_BYTES;
    if (bytes > room) throw commitTooLarge(bytes, room);
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
    const writes = difference(record, state, (version) => version.expireTime);
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
    ({ state: _, ...kept }) => ({ kept, valueBytes: 0 }),
    (kept) => ({ ...kept, state }),
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
  request: ForkSessionRequest,
): Session<EncodedForm> {
  const { sessionId, atRevision, newSessionId, requestId } = request;
  const target = sessions.open(namespace, newSessionId);
  const run = (): Session<EncodedForm> => {
    if (target.metadata !== undefined) {
      throw new WorkflowStateError(
        "SESSION_EXISTS",
        "There is a session with new_session_id already: choose another id, or delete it first.",
      );
    }
    const source = sessions.find(namespace, sessionId);
    const { metadata, entries, revision } = contentAt(source, atRevision, sessions.time);
    const writes = entries.map(({ key, value, expireTime }) => ({ key, value, expireTime }));
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
    sessions.write(target, "FORKED", writes, forked, requestId);
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
  request: RestoreSessionRequest,
): Session<EncodedForm> {
  const { sessionId, atRevision, ifRevision, requestId } = request;
  const record = sessions.open(namespace, sessionId);
  const run = (): Session<EncodedForm> => {
    const { metadata: past, entries } = contentAt(record, atRevision, sessions.time);
    failUnless(ifRevision === undefined ? [] : failedSessionCheck(record, ifRevision));
    const state = stateOf(entries, "");
    const expireTimes = new Map(entries.map(({ key, expireTime }) => [key, expireTime]));
    const writes = difference(record, state, ({ key }) => expireTimes.get(key)).map((write) => ({
      ...write,
      expireTime: expireTimes.get(write.key),
    }));
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

/** What a commit will leave at each key that its changes name; `written`: that it is a write. */
interface Staged extends Write {
  readonly written: boolean;
}

function stage(
  record: SessionRecord,
  request: CommitRequest<EncodedForm>,
  time: number,
  limits: Limits,
): Map<string, Staged> {
  const staged = new Map<string, Staged>();
  for (const [i, change] of (request.changes ?? []).entries()) {
    const { key } = change;
    const before = staged.get(key) ?? record.live.get(key);
    if (change.kind === "delete") {
      const earlier = staged.get(key)?.written ?? false;
      staged.set(key, {
        key,
        value: undefined,
        expireTime: undefined,
        written: earlier || before?.value !== undefined,
      });
    } else if (change.kind === "set") {
      const value = ownValue(change.value, limits, `changes[${i}].set.value`);
      staged.set(key, {
        key,
        value,
        expireTime: change.ttlMs ? time + change.ttlMs : undefined,
        written: true,
      });
    } else {
      const value = compute(change, before?.value, limits);
      staged.set(key, { key, value, expireTime: before?.expireTime, written: true });
    }
  }
  return staged;
}

/** The writes that make the live entries a state, by key; an entry stays as it is if its value and its expiry do. */
function difference(
  record: SessionRecord,
  state: ReadonlyMap<string, Uint8Array>,
  expireTimeAfter: (version: Version) => number | undefined,
): Write[] {
  const writes: Write[] = [];
  for (const key of record.live.keys()) if (!state.has(key)) writes.push(remove(key));
  for (const [key, value] of state) {
    const version = record.live.get(key);
    const stays = version !== undefined && sameBytes(version.value as Uint8Array, value);
    if (!stays || version.expireTime !== expireTimeAfter(version))
      writes.push({ key, value, expireTime: undefined });
  }
  return writes.sort((a, b) => compareUtf8(a.key, b.key));
}

/** The content of a session at a revision, by key, less what has expired since. Fails with SESSION_NOT_FOUND and as `at`. */
function contentAt(
  record: SessionRecord | undefined,
  atRevision: number | undefined,
  time: number,
): { metadata: Metadata; entries: Version[]; revision: number } {
  if (record === undefined || record.unknown) throw sessionNotFound();
  const revision = atRevision ?? record.revision;
  const { metadata } = record.at(revision);
  // What expired stays gone: only a deletion can be taken back.
  if (metadata === undefined || revision <= record.expiredRevision) throw sessionNotFound();
  const entries = [...record.entriesAt(revision)].filter(
    ({ expireTime }) => expireTime === undefined || expireTime > time,
  );
  entries.sort((a, b) => compareUtf8(a.key, b.key));
  return { metadata, entries, revision };
}

function failedCheck(record: SessionRecord, key: string, ifRevision: number): FailedCheck[] {
  const actualRevision = record.live.get(key)?.revision ?? 0;
  return actualRevision === ifRevision ? [] : [{ key, ifRevision, actualRevision }];
}

function failedSessionCheck(record: SessionRecord, ifRevision: number): FailedCheck[] {
  const actualRevision = record.currentRevision;
  return actualRevision === ifRevision ? [] : [{ key: "", ifRevision, actualRevision }];
}

function remove(key: string): Write {
  return { key, value: undefined, expireTime: undefined };
}

function checkSize(record: SessionRecord, writes: readonly Write[], limits: Limits): void {
  const before = { entries: record.live.size, bytes: record.liveBytes };
  let { entries, bytes } = before;
  for (const { key, value } of writes) {
    const version = record.live.get(key);
    entries += (value === undefined ? 0 : 1) - (version === undefined ? 0 : 1);
    bytes += (value === undefined ? 0 : entryBytes(key, value)) - (version?.bytes ?? 0);
  }
  checkSessionSize(before, { entries, bytes }, limits);
}

/** A key that a commit named and that is not there after it: removed by it, or absent before. */
function deletedEntry(record: SessionRecord, key: string, time: number): Entry<EncodedForm> {
  const tombstone = record.tombstone(key);
  return {
    key,
    value: undefined,
    revision: tombstone?.revision ?? 0,
    updateTime: tombstone?.updateTime ?? time,
    expireTime: undefined,
  };
}

function keepAll<Answer>(answer: Answer): { kept: Answer; valueBytes: number } {
  return { kept: answer, valueBytes: 0 };
}

function keepSession(session: Session<EncodedForm>): { kept: Session<EncodedForm>; valueBytes: number } {
  let valueBytes = 0;
  for (const [key, value] of session.state) valueBytes += key.length + value.length;
  return { kept: session, valueBytes };
}

/** `set`: the value is that of the request's last change to the key. */
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
    const set = last.get(key) === "set";
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
