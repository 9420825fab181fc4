/** A real store as the model has it: the same writes and reads, with outcomes that can be compared. */
import { WorkflowStateError } from "../../src/errors.ts";
import type { Entry, Event, Session, WorkflowStateStore } from "../../src/store.ts";
import type { ModelEntry, ModelEvent, ModelSession, ModelWrite, Outcome } from "./model-types.ts";

/** Request ids that the test gave; a remote store gives others by itself. */
const GIVEN = /^r\d/;

/** Makes a write. */
export function runWrite(store: WorkflowStateStore, write: ModelWrite): Promise<Outcome> {
  const { id, requestId } = write;
  return outcome(async () => {
    switch (write.kind) {
      case "set": {
        const { key, value, ttlMs, ifRevision } = write;
        return entryOf(await store.setState(id, key, value, { ttlMs, ifRevision, requestId }));
      }
      case "deleteKey":
        return store.deleteState(id, write.key, { ifRevision: write.ifRevision, requestId });
      case "commit": {
        const { checks, changes, ifRevision, metadata } = write;
        const answer = await store.commit(id, { checks, changes, ifRevision, metadata, requestId });
        const { revision, updateTime, entries } = answer;
        return { revision, ...(updateTime && { updateTime: +updateTime }), entries: entries.map(entryOf) };
      }
      case "save": {
        const { state, workflowId, labels, ifRevision, ttlMs, idleTtlMs } = write;
        const content = { sessionId: id, state, workflowId, labels };
        return sessionOf(await store.saveSession(content, { ifRevision, ttlMs, idleTtlMs, requestId }));
      }
      case "delete":
        return store.deleteSession(id, { ifRevision: write.ifRevision, requestId });
      case "fork":
        return sessionOf(
          await store.forkSession(id, write.newId, { atRevision: write.atRevision, requestId }),
        );
      case "restore":
        return sessionOf(
          await store.restoreSession(id, write.atRevision, { ifRevision: write.ifRevision, requestId }),
        );
    }
  });
}

/** What a call came to. */
export async function outcome(call: () => Promise<unknown>): Promise<Outcome> {
  try {
    return { answer: await call() };
  } catch (error) {
    if (!WorkflowStateError.is(error)) throw error;
    const { reason, failedChecks } = error;
    return failedChecks.length === 0 ? { reason } : { reason, failedChecks };
  }
}

export function sessionOf(session: Session): ModelSession {
  const { createTime, updateTime, expireTime, ...rest } = session;
  return {
    ...rest,
    createTime: Number(createTime),
    updateTime: Number(updateTime),
    ...(expireTime && { expireTime: +expireTime }),
  };
}

/** An entry; of one that is gone only its key, as nothing else is said of it. */
export function entryOf({ key, value, revision, updateTime, expireTime }: Entry): ModelEntry {
  return value === undefined
    ? { key }
    : { key, value, revision, updateTime: +updateTime, ...(expireTime && { expireTime: +expireTime }) };
}

export function eventOf({ revision, time, kind, entries, requestId }: Event): ModelEvent {
  return {
    revision,
    time: +time,
    kind,
    entries: entries.map(entryOf).sort((a, b) => (a.key < b.key ? -1 : 1)),
    ...(requestId !== undefined && GIVEN.test(requestId) && { requestId }),
  };
}
