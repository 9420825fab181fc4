/** Moving sessions from one backend to another: whole, with their revisions, times, history and remembered answers. */

import { WorkflowStateError } from "../errors.ts";
import type { Backend, Head, Look, LookStep, SessionKey, StoredRecord } from "./backend.ts";
import { inParallel } from "./in-parallel.ts";
import { pause } from "./pause.ts";

/** Sessions that are listed, and looked at, together. */
const PAGE = 256;

/** How to move. */
export interface CopyOptions {
  /** Begins no further session once it is aborted; those under way are finished. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each session that is done. */
  readonly onProgress?: ((done: Moved) => void) | undefined;
  /** Told of each session that was left out because the target has another under its id. */
  readonly onConflict?: ((session: SessionKey) => void) | undefined;
  /** Whether a session of the source takes the place of another that the target has under its id. Default: no. */
  readonly overwrite?: boolean | undefined;
  /** How many sessions are copied at once. Default: 8. */
  readonly concurrency?: number | undefined;
}

/** How many sessions came to what. */
export interface Moved {
  /** Now in the target as they are in the source. */
  readonly moved: number;
  /** Left alone: the target had them already. */
  readonly unchanged: number;
  /** Left out: the target has another session under the id, or the same one was written there since. */
  readonly conflicts: number;
  /** Whether all sessions were seen; the signal ends it before. */
  readonly complete: boolean;
}

/** What the target has of a session: nothing, the same, an earlier state of it, or something else. */
export type Relation = "absent" | "same" | "earlier" | "other";

/**
 * Copies every session of every namespace. Each is copied as it is when its turn comes, whole or not at all; one that is
 * already there is left alone, so a copy that was interrupted is run again and goes on. What is written to the source
 * afterwards is copied by the next run, unless the source has dropped so much of it meanwhile that nothing proves the
 * target's session to be an earlier state of its own: that is a conflict. Nobody should write to the target meanwhile: what is
 * written to a session in the moment that it is loaded is lost. Fails as the backends do.
 */
export async function copySessions(from: Backend, to: Backend, options: CopyOptions = {}): Promise<Moved> {
  const { signal, concurrency = 8, overwrite = false, onProgress, onConflict } = options;
  const done = { moved: 0, unchanged: 0, conflicts: 0, complete: false };
  for await (const sessions of sessionPages(from, signal)) {
    const relations = await retried(() => relationsOf(from, to, sessions));
    await inParallel(sessions.entries(), concurrency, async ([i, session]) => {
      if (signal?.aborted) return;
      const seen = relations[i] as Relation;
      const found = mayCopy(seen, overwrite) ? await copyUnlessChanged(from, to, session, overwrite) : seen;
      if (found === "copied") done.moved++;
      if (found === "same") done.unchanged++;
      if (found === "other") {
        done.conflicts++;
        onConflict?.(session);
      }
      onProgress?.({ ...done });
    });
  }
  done.complete = !signal?.aborted;
  return done;
}

function mayCopy(relation: Relation, overwrite: boolean): boolean {
  return relation !== "same" && (relation !== "other" || overwrite);
}

/**
 * Copies a session, unless someone has written to the target's since all were looked at, and tries again; gives what there is to
 * count.
 */
function copyUnlessChanged(
  from: Backend,
  to: Backend,
  session: SessionKey,
  overwrite: boolean,
): Promise<Relation | "copied"> {
  let begun = false;
  return retried(async () => {
    const [relation = "absent"] = await relationsOf(from, to, [session]);
    // The same may be what a load has left that failed, unconfirmed by replicas that it should be at: that is no copy yet.
    const unconfirmed = begun && relation === "same";
    if (!unconfirmed && !mayCopy(relation, overwrite)) return relation;
    begun = true;
    return (await copySession(from, to, session)) ? "copied" : "absent";
  });
}

/** How often something is tried, and how long to wait before the second time, in milliseconds. */
const TRIES = 3;
const PAUSE_MS = 200;

/** Tries again where a database was away for a moment, or a session was written too much to be read at one. */
export async function retried<T>(task: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await task();
    } catch (error) {
      if (tried === TRIES || !WorkflowStateError.is(error) || error.code !== "UNAVAILABLE") throw error;
      await pause(PAUSE_MS * 4 ** (tried - 1), undefined);
    }
  }
}

/** Copies a session in the place of what the target has; `false`: nothing is kept of it any more. */
async function copySession(from: Backend, to: Backend, session: SessionKey): Promise<boolean> {
  const records = from.dump(session)[Symbol.asyncIterator]();
  try {
    const first = await records.next();
    if (first.done) return false;
    await to.load(session, rejoined(first.value, records));
    return true;
  } finally {
    // A load that fails may not have begun to read.
    await records.return?.();
  }
}

/** The records with the one that was taken off them. */
async function* rejoined(
  first: StoredRecord,
  rest: AsyncIterator<StoredRecord>,
): AsyncGenerator<StoredRecord> {
  yield first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

/** All sessions of a backend that something is kept of, a page at a time; ends early when the signal is aborted. */
export async function* sessionPages(backend: Backend, signal?: AbortSignal): AsyncGenerator<SessionKey[]> {
  let after: SessionKey | undefined;
  while (!signal?.aborted) {
    const page = await retried(() => backend.sessionKeys(after, PAGE));
    if (page.length > 0) yield page;
    if (page.length < PAGE) return;
    after = page.at(-1);
  }
}

/** How many sessions a backend keeps something of. */
export async function countSessions(backend: Backend, signal?: AbortSignal): Promise<number> {
  let count = 0;
  for await (const page of sessionPages(backend, signal)) count += page.length;
  return count;
}

/** Looks at sessions in both backends, and says what the target has of each. */
async function relationsOf(from: Backend, to: Backend, sessions: readonly SessionKey[]): Promise<Relation[]> {
  const [sources, targets] = await Promise.all([headsOf(from, sessions), headsOf(to, sessions)]);
  return Promise.all(
    sessions.map(async (session, i) => {
      const relation = relationOf(sources[i], targets[i]);
      const target = targets[i];
      if (relation !== "other" || target === undefined) return relation;
      return (await isEarlier(from, to, session, target)) ? "earlier" : "other";
    }),
  );
}

/**
 * Whether the last that a caller wrote to the target's session is a commit of the source's too. Where the source no longer
 * keeps that commit nothing proves it, as the target may have been written too.
 */
async function isEarlier(from: Backend, to: Backend, session: SessionKey, target: Head): Promise<boolean> {
  const range = { session, from: 1, to: target.revision, reverse: true, count: 16, bytes: 1 << 20 };
  const { events } = await to.events(range);
  const last = events.find(({ kind }) => kind !== "EXPIRED");
  if (last === undefined) return false;
  const [look] = await lookAt(from, [{ kind: "look", session, atRevision: last.revision }]);
  return look?.moment?.time === last.time;
}

/** What is known of sessions in a backend. */
export async function headsOf(
  backend: Backend,
  sessions: readonly SessionKey[],
): Promise<(Head | undefined)[]> {
  const looks = await lookAt(
    backend,
    sessions.map((session) => ({ kind: "look", session })),
  );
  return looks.map(({ head }) => head);
}

async function lookAt(backend: Backend, looks: readonly LookStep[]): Promise<Look[]> {
  return (await backend.run(looks)).map((result) => {
    if (result.kind === "look") return result;
    throw result.kind === "error" ? result.error : new Error("a look was answered by something else");
  });
}

/**
 * What a target has of a session, as far as the heads say: `earlier` they can't. Where no caller has written since the session
 * was copied, the target has the same; what has expired each side has noted by itself.
 */
export function relationOf(source: Head | undefined, target: Head | undefined): Exclude<Relation, "earlier"> {
  if (target === undefined) return "absent";
  // The source has forgotten it since it was listed.
  if (source === undefined) return "same";
  if (target.activeTime === source.activeTime && target.revision >= source.revision) return "same";
  // Nothing was ever there but a call that wrote nothing.
  return target.revision === target.born && target.metadata === undefined ? "absent" : "other";
}
