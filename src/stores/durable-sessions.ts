/** The writes of a durable store to whole sessions: save, fork and restore. Each looks first, and knows its answer before it writes. */
import type {
  EncodedForm,
  Entry,
  ForkSessionRequest,
  RestoreSessionRequest,
  SaveSessionRequest,
  Session,
} from "../store.ts";
import { ownValue } from "../validate.ts";
import type { Look, LookStep, PlanStep, SessionKey } from "./backend.ts";
import type { Engine } from "./durable-engine.ts";
import { type Outcome, pastOf, presentOf, replayOf } from "./durable-steps.ts";
import { failUnless, sessionExists, sessionNotFound } from "./failures.ts";
import { fingerprint, keepsValues, type WriteOperation } from "./fingerprint.ts";
import { isUnknown, placeOf } from "./history.ts";
import { stateOf } from "./listing.ts";
import { created, deadline, deadlines, deadlinesOf, type Metadata, sessionOf } from "./metadata.ts";
import { type KeptSession, packSession, unpackSession } from "./packed.ts";
import { copies, difference, type KeyWrite, ownValues } from "./staging.ts";

/** Creates a session, or makes its state and metadata what is given. */
export async function saveSession(
  engine: Engine,
  namespace: string,
  request: SaveSessionRequest<EncodedForm>,
  signal: AbortSignal | undefined,
): Promise<Session<EncodedForm>> {
  const { session: content, ifRevision, ttlMs, idleTtlMs } = request;
  const { sessionId, workflowId, userId, labels } = content;
  const state = new Map<string, Uint8Array>();
  for (const [key, value] of content.state)
    state.set(key, ownValue(value, engine.limits, `session.state[${JSON.stringify(key)}]`));
  const session = { namespace, sessionId };
  const write = new WholeWrite(engine, session, { kind: "saveSession", ...request }, signal, state);
  return write.run([{ kind: "look", session, entries: { prefix: "" } }], ([look], time) => {
    const before = look.head?.metadata;
    const writes = difference(byKey(look.entries), state, ({ expireTime }) => expireTime);
    const metadata: Metadata = {
      ...(before ?? created(time)),
      workflowId: workflowId || undefined,
      userId: userId || undefined,
      labels: { ...labels },
      ...deadlines(before, ttlMs, idleTtlMs, time),
    };
    return { event: "SAVED", ifRevision, writes, metadata, state };
  });
}

/** Copies a session to a new one, with the deadlines that still lie ahead. */
export async function forkSession(
  engine: Engine,
  namespace: string,
  request: ForkSessionRequest<EncodedForm>,
  signal: AbortSignal | undefined,
): Promise<Session<EncodedForm>> {
  const { sessionId, atRevision, newSessionId } = request;
  const values = ownValues(request.values, engine.limits);
  const session = { namespace, sessionId: newSessionId };
  const source = { namespace, sessionId };
  const write = new WholeWrite(engine, session, { kind: "forkSession", ...request }, signal);
  const looks: LookStep[] = [
    { kind: "look", session },
    { kind: "look", session: source, entries: { prefix: "" }, atRevision },
  ];
  return write.run(looks, ([look, origin], time) => {
    if (look.head?.metadata !== undefined) throw sessionExists();
    const content = contentAt(origin as Look, atRevision, time, values);
    const { workflowId, userId, labels } = content.metadata;
    const metadata = {
      ...created(time),
      workflowId,
      userId,
      labels,
      ...deadlinesOf(origin?.head?.metadata, time),
      forkedFrom: { sessionId, revision: content.revision },
    };
    return { event: "FORKED", writes: content.entries, metadata, state: stateOf(content.entries, "") };
  });
}

/** Gives a session the content it had at a revision. */
export async function restoreSession(
  engine: Engine,
  namespace: string,
  request: RestoreSessionRequest<EncodedForm>,
  signal: AbortSignal | undefined,
): Promise<Session<EncodedForm>> {
  const { sessionId, atRevision, ifRevision } = request;
  const values = ownValues(request.values, engine.limits);
  const session = { namespace, sessionId };
  const write = new WholeWrite(engine, session, { kind: "restoreSession", ...request }, signal);
  const looks: LookStep[] = [
    { kind: "look", session, entries: { prefix: "" } },
    { kind: "look", session, entries: { prefix: "" }, atRevision },
  ];
  return write.run(looks, ([look, then], time) => {
    const { metadata: past, entries } = contentAt(then as Look, atRevision, time, values);
    failUnless(failedSessionCheck(look, ifRevision));
    const state = stateOf(entries, "");
    const expireTimes = new Map(entries.map(({ key, expireTime }) => [key, expireTime]));
    const changed = difference(byKey(look.entries), state, ({ key }) => expireTimes.get(key));
    const writes = changed.map((each) => ({ ...each, expireTime: expireTimes.get(each.key) }));
    const { workflowId, userId, labels } = past;
    const base = look.head?.metadata ?? { ...past, createTime: time, ...deadlinesOf(past, time) };
    return { event: "RESTORED", writes, metadata: { ...base, workflowId, userId, labels }, state };
  });
}

/** What a write makes of a session. */
interface Making {
  readonly event: PlanStep["event"];
  readonly ifRevision?: number | undefined;
  readonly writes: readonly KeyWrite[];
  readonly metadata: Metadata;
  /** The whole state after it. */
  readonly state: EncodedForm["state"];
}

/** A write to a whole session: looks, makes a plan that holds if the session is still as it was seen, and tries again if not. */
class WholeWrite {
  readonly #engine: Engine;
  readonly #session: SessionKey;
  readonly #operation: WriteOperation;
  readonly #signal: AbortSignal | undefined;
  readonly #given: EncodedForm["state"] | undefined;

  /** @param given the state that the request carries itself, and a repeated one again */
  constructor(
    engine: Engine,
    session: SessionKey,
    operation: WriteOperation,
    signal: AbortSignal | undefined,
    given?: EncodedForm["state"],
  ) {
    this.#engine = engine;
    this.#session = session;
    this.#operation = operation;
    this.#signal = signal;
    this.#given = keepsValues(operation) ? undefined : given;
  }

  /**
   * @param looks the first is at the session itself
   * @param make is given what they saw, and the time of the commit
   */
  run(
    looks: readonly LookStep[],
    make: (seen: readonly [Look, Look?], time: number) => Making,
  ): Promise<Session<EncodedForm>> {
    const requestId = this.#operation.requestId || undefined;
    const print = requestId === undefined ? "" : fingerprint(this.#operation);
    const steps = looks.map((look, i) => (i === 0 ? { ...look, requestId } : look));
    return this.#engine.tryWrite(this.#session, this.#signal, async () => {
      const seen = (await this.#engine.look(steps, this.#signal)) as [Look, Look?];
      const [{ head, now }] = seen;
      const first = replayOf(seen[0], print);
      if (first !== undefined) return this.#answer(first, undefined);
      const time = Math.max(now, head?.updateTime ?? 0);
      const made = make(seen, time);
      const session = this.#after(made, time);
      const kept = (): Uint8Array =>
        packSession(
          this.#given === undefined ? session : { ...session, state: new Map() },
          keepsValues(this.#operation),
        );
      this.#signal?.throwIfAborted();
      const outcome = await this.#engine.apply({
        kind: "plan",
        session: this.#session,
        event: made.event,
        request: requestId === undefined ? undefined : { id: requestId, fingerprint: print, kept: kept() },
        ifRevision: made.ifRevision,
        guards: { revision: head?.revision ?? 0 },
        writes: made.writes,
        metadata: made.metadata,
        time,
      });
      return outcome && this.#answer(outcome, session);
    });
  }

  /** The session as the commit leaves it, less what the commit itself tells. */
  #after({ metadata, state }: Making, time: number): KeptSession {
    const expireTime = deadline(metadata, time);
    const { sessionId } = this.#session;
    const {
      revision: _,
      updateTime: __,
      ...rest
    } = sessionOf(sessionId, { metadata, time, expireTime }, 0, state);
    return rest;
  }

  /** @param made absent: it is a replay */
  #answer(outcome: Outcome, made: KeptSession | undefined): Session<EncodedForm> {
    const { revision, updateTime, kept } = outcome;
    if (!outcome.replayed && made !== undefined) return { ...made, revision, updateTime };
    const session = unpackSession(kept as Uint8Array);
    return { ...session, state: this.#given ?? session.state, revision, updateTime };
  }
}

/** The content of a session at a revision, by key, less what has expired since. Fails with SESSION_NOT_FOUND and as `placeOf`. */
function contentAt(
  look: Look,
  atRevision: number | undefined,
  time: number,
  values: EncodedForm["state"] | undefined,
): { metadata: Metadata; entries: KeyWrite[]; revision: number } {
  const { head, entries } = look;
  if (head === undefined || isUnknown(head, head.metadata !== undefined)) throw sessionNotFound();
  const revision = atRevision ?? pastOf(look).revision;
  const place = placeOf(head, revision);
  const metadata = place === "now" ? presentOf(head).metadata : look.moment?.metadata;
  // What expired stays gone: only a deletion can be taken back.
  if (place === "before" || metadata === undefined || revision <= head.expiredRevision)
    throw sessionNotFound();
  return { metadata, entries: copies(entries, time, values), revision };
}

function failedSessionCheck(
  { head }: Look,
  ifRevision: number | undefined,
): Parameters<typeof failUnless>[0] {
  const actualRevision = head?.metadata === undefined ? 0 : head.revision;
  if (ifRevision === undefined || ifRevision === actualRevision) return [];
  return [{ key: "", ifRevision, actualRevision }];
}

function byKey(entries: readonly Entry<EncodedForm>[]): Map<string, Entry<EncodedForm>> {
  return new Map(entries.map((entry) => [entry.key, entry]));
}
