/** The writes of a durable store to entries: those that are one step, and commits that must look before. */
import type {
  Change,
  Check,
  CommitRequest,
  CommitResponse,
  DeleteSessionRequest,
  DeleteStateRequest,
  DeleteStateResponse,
  EncodedForm,
  Entry,
  Limits,
  Replayable,
  SessionMetadata,
  SetStateRequest,
} from "../store.ts";
import { ownValue } from "../validate.ts";
import type { Answer, MetadataWrite, PlanStep, Write } from "./backend.ts";
import type { Engine } from "./durable-engine.ts";
import { applied, type Outcome, replayOf, requestOf, type Single } from "./durable-steps.ts";
import { fingerprint, keepsValues } from "./fingerprint.ts";
import { changedMetadata, type Metadata } from "./metadata.ts";
import { type KeptCommit, type KeptEntry, packCommit, unpackCommit } from "./packed.ts";
import { neededKeys, type Staged, stage } from "./staging.ts";

/** Writes one entry. */
export function setState(
  namespace: string,
  request: SetStateRequest<EncodedForm>,
  limits: Limits,
): Single<Entry<EncodedForm>> {
  const { sessionId, key, ifRevision } = request;
  const value = ownValue(request.value, limits, "value");
  const left = { key, value, ttlMs: request.ttlMs || undefined, expireTime: undefined };
  return {
    step: {
      kind: "plan",
      session: { namespace, sessionId },
      event: "COMMITTED",
      request: requestOf({ kind: "setState", ...request }, () =>
        keepsValues(request) ? packCommit({ entries: [left], whole: true }) : undefined,
      ),
      checks: ifRevision === undefined ? undefined : [{ key, ifRevision }],
      writes: [left],
    },
    answer: (result) => {
      const outcome = applied(result, limits) as Outcome;
      const kept = outcome.kept && unpackCommit(outcome.kept).entries[0];
      return entryAfter(kept ?? left, outcome);
    },
  };
}

/** Deletes one entry. */
export function deleteState(
  namespace: string,
  request: DeleteStateRequest,
  limits: Limits,
): Single<DeleteStateResponse> {
  const { sessionId, key, ifRevision } = request;
  return {
    step: {
      kind: "plan",
      session: { namespace, sessionId },
      event: "COMMITTED",
      request: requestOf({ kind: "deleteState", ...request }, () => keptOf(NOTHING, request)),
      checks: ifRevision === undefined ? undefined : [{ key, ifRevision }],
      writes: [{ key, value: undefined }],
    },
    answer: (result) => {
      const { wrote, revision } = applied(result, limits) as Outcome;
      return { deleted: wrote, revision };
    },
  };
}

/** Deletes a session. */
export function deleteSession(
  namespace: string,
  request: DeleteSessionRequest,
  limits: Limits,
): Single<boolean> {
  const { sessionId, ifRevision } = request;
  return {
    step: {
      kind: "plan",
      session: { namespace, sessionId },
      event: "DELETED",
      request: requestOf({ kind: "deleteSession", ...request }, () => keptOf(NOTHING, request)),
      ifRevision,
      writes: [],
      metadata: "end",
    },
    answer: (result) => (applied(result, limits) as Outcome).wrote,
  };
}

/** Makes a commit that is one step; `undefined`: it must look at the session before. */
export function blindCommit(
  namespace: string,
  request: CommitRequest<EncodedForm>,
  limits: Limits,
): Single<CommitResponse<EncodedForm>> | undefined {
  const { changes = [], metadata } = request;
  if (changedMetadata(undefined, metadata, 0) !== undefined || neededKeys(changes).length > 0)
    return undefined;
  let staged: Map<string, Staged>;
  try {
    staged = stage(changes, nothing, 0, limits);
  } catch (error) {
    // What else may fail comes first.
    if (request.requestId || request.ifRevision !== undefined || request.checks?.length) return undefined;
    throw error;
  }
  return {
    step: {
      ...commitPlan(namespace, request),
      request: requestOf({ kind: "commit", ...request }, () => keptOf(staged, request)),
      writes: writesOf(staged),
    },
    answer: (result) => commitAnswer(request, applied(result, limits) as Outcome, staged.values(), limits),
  };
}

/** Makes a commit that looks first at the entries that it computes from, and at the metadata if it changes that. */
export function lookingCommit(
  engine: Engine,
  namespace: string,
  request: CommitRequest<EncodedForm>,
  signal: AbortSignal | undefined,
): Promise<CommitResponse<EncodedForm>> {
  const { limits } = engine;
  const { changes = [], requestId } = request;
  const plan = commitPlan(namespace, request);
  const { session } = plan;
  const keys = neededKeys(changes);
  const print = requestId ? fingerprint({ kind: "commit", ...request }) : "";
  return engine.tryWrite(session, signal, async () => {
    const entries = keys.length === 0 ? undefined : { keys };
    const [look] = await engine.look(
      [{ kind: "look", session, entries, requestId: requestId || undefined }],
      signal,
    );
    const first = look && replayOf(look, print);
    if (first !== undefined) return commitAnswer(request, first, [], limits);
    const stored = new Map(look?.entries.map((entry) => [entry.key, entry]));
    const metadata = metadataWrite(look?.head?.metadata, request.metadata);
    const guards = {
      entries: keys.map((key): Check => ({ key, ifRevision: stored.get(key)?.revision ?? 0 })),
      metadataRevision: metadata === undefined ? undefined : (look?.head?.metadataRevision ?? 0),
    };
    let staged: Map<string, Staged>;
    try {
      staged = stage(changes, (key) => stored.get(key), 0, limits);
    } catch (error) {
      signal?.throwIfAborted();
      // A check that fails comes first: whether one does, a plan of the same moment that writes nothing tells.
      if ((await engine.apply({ ...plan, guards, writes: [] })) === undefined) return undefined;
      throw error;
    }
    signal?.throwIfAborted();
    const kept = requestId ? keptOf(staged, request) : undefined;
    const outcome = await engine.apply({
      ...plan,
      guards,
      metadata,
      request: requestId ? { id: requestId, fingerprint: print, kept } : undefined,
      writes: writesOf(staged),
    });
    return outcome && commitAnswer(request, outcome, staged.values(), limits);
  });
}

/** What a commit's plan says beside its writes. */
function commitPlan(namespace: string, request: CommitRequest<EncodedForm>): Omit<PlanStep, "writes"> {
  const { sessionId, ifRevision, checks } = request;
  return { kind: "plan", session: { namespace, sessionId }, event: "COMMITTED", ifRevision, checks };
}

function writesOf(staged: ReadonlyMap<string, Staged>): Write[] {
  return Array.from(staged.values(), ({ key, value, ttlMs, expireTime, written }) => ({
    key,
    value,
    ttlMs: ttlMs || undefined,
    expireTime: ttlMs ? undefined : expireTime,
    always: value === undefined && written,
  }));
}

/** What a deletion leaves. */
const NOTHING: ReadonlyMap<string, Staged> = new Map();

/**
 * What to keep of a commit's answer, or a deletion's; `undefined`: the repeated request says it all. Of an encrypted store's write
 * something is kept even where it left nothing: an import tells its answers by that.
 */
function keptOf(staged: ReadonlyMap<string, Staged>, request: Replayable): Uint8Array | undefined {
  const whole = keepsValues(request);
  const entries = [...staged.values()].filter(({ given }) => whole || !given);
  return entries.length === 0 && !whole ? undefined : packCommit({ entries, whole });
}

/** @param left what the commit left at the keys it named, if it is not a replay */
function commitAnswer(
  request: CommitRequest<EncodedForm>,
  outcome: Outcome,
  left: Iterable<KeptEntry>,
  limits: Limits,
): CommitResponse<EncodedForm> {
  const { revision, updateTime, replayed, kept } = outcome;
  const known = replayed ? leftBy(request, kept && unpackCommit(kept), limits) : left;
  return { revision, updateTime, entries: Array.from(known, (entry) => entryAfter(entry, outcome)) };
}

/** What a replayed commit left, from what was kept and, where that is not all, from the request. */
function leftBy(
  { changes = [] }: CommitRequest<EncodedForm>,
  kept: KeptCommit | undefined,
  limits: Limits,
): Iterable<KeptEntry> {
  if (kept?.whole) return kept.entries;
  const computed = new Map(kept?.entries.map((entry) => [entry.key, entry]));
  const left = new Map<string, KeptEntry>();
  for (const change of changes) left.set(change.key, computed.get(change.key) ?? givenBy(change, limits));
  return left.values();
}

/** What a change leaves that is its key's last and not a computed one. */
function givenBy(change: Change<EncodedForm>, limits: Limits): KeptEntry {
  const { key } = change;
  const gone = { key, value: undefined, ttlMs: undefined, expireTime: undefined };
  return change.kind === "set"
    ? { ...gone, value: ownValue(change.value, limits), ttlMs: change.ttlMs }
    : gone;
}

/**
 * The entry as it is after the commit; of one that is gone: since when, at the latest. Where there is no session, that is when
 * the answer was first given.
 */
function entryAfter(
  { key, value, ttlMs, expireTime }: Pick<KeptEntry, "key" | "value" | "ttlMs" | "expireTime">,
  { revision, time = 0, updateTime = time }: Answer,
): Entry<EncodedForm> {
  const expires = value === undefined ? undefined : ttlMs ? updateTime + ttlMs : expireTime;
  return { key, value, revision, updateTime, expireTime: expires };
}

/** The metadata that a commit writes; `undefined`: it doesn't write any. */
function metadataWrite(
  before: Metadata | undefined,
  change: SessionMetadata | undefined,
): MetadataWrite | undefined {
  const changed = changedMetadata(before, change, 0);
  if (changed === undefined) return undefined;
  const ttlMs = change?.ttlMs || undefined;
  return {
    ...changed,
    createTime: before?.createTime,
    ttlMs,
    expireTime: ttlMs === undefined ? changed.expireTime : undefined,
  };
}

function nothing(): undefined {
  return undefined;
}
