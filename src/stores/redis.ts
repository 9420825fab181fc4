/**
 * Keeps sessions in Redis or Valkey, in one server or in a cluster. A step is one script; scripts and their keys are described
 * in `redis-lua.ts`.
 *
 * Sessions are spread over a fixed number of buckets; all keys of a bucket, its indexes too, lie in one slot, so one script
 * changes them together. Scripts are called by their digest and loaded where a server does not know them: unlike functions
 * they need no installing on each server, and two versions of the program can run beside each other.
 */
import { WorkflowStateError } from "../errors.ts";
import type { Limits } from "../store.ts";
import type {
  Backend,
  BackendOptions,
  EventRange,
  Events,
  FeedPart,
  ListedSession,
  LookStep,
  SessionKey,
  SessionQuery,
  Step,
  StepResult,
  StoredRecord,
  Swept,
} from "./backend.ts";
import { storeIsClosed } from "./failures.ts";
import { type Argument, bytes, list, number, text } from "./redis-bytes.ts";
import { type Call, Calls, isConfirmed, notSent, type Outcome, replyOf, unconfirmed } from "./redis-calls.ts";
import {
  appliedOf,
  bucketOf,
  headOf,
  keysOf,
  lookArguments,
  lookOf,
  onlyRemoves,
  planArguments,
  sessionOf,
  settingsOf,
  storedEventOf,
  tagOf,
} from "./redis-codec.ts";
import { feedEnd, Hints, readFeed } from "./redis-feed.ts";
import { type Link, openLink } from "./redis-link.ts";
import { listSessions } from "./redis-listing.ts";
import { Mover } from "./redis-moving.ts";
import { checkRights, checkServers, openSchema } from "./redis-schema.ts";
import { SCRIPTS, type Script } from "./redis-scripts.ts";
import { parseRedisUrl, type RedisOptions, type RedisTarget } from "./redis-url.ts";

export type { RedisOptions } from "./redis-url.ts";

/** Commits that the feed of a bucket keeps, about. */
const FEED_LENGTH = 1_000;
/** Sessions of a bucket that one turn of the sweeper looks at. */
const SWEEP_SLICE = 32;
/** Lengths of keys and session ids are kept in two bytes. */
const MAX_NAME_BYTES = 65_535;
/** How long calls under way may take when the store is closed, in milliseconds. */
const CLOSE_MS = 1_000;

/**
 * Opens a store in Redis; `redis-url.ts` says what the URL may be. Fails with INVALID_REQUEST for a URL or limits that make no
 * sense and for servers that the store can't be kept in (they drop keys when they are full, or hold a newer layout), with
 * STORE_UNAVAILABLE if none can be reached.
 */
export async function openRedis(url: string, options: BackendOptions & RedisOptions): Promise<Backend> {
  const target = parseRedisUrl(url);
  checkLimits(options.limits);
  const { wait, waitTimeoutMs, prefix } = target;
  const links: Link[] = [];
  const connect = async (): Promise<Calls> => {
    const link = await openLink(target, options);
    links.push(link);
    const calls = new Calls(link, { timeoutMs: options.timeoutMs ?? 10_000, wait, waitTimeoutMs });
    await calls.prepare();
    return calls;
  };
  try {
    const calls = await connect();
    const [link] = links as [Link];
    await checkServers(link);
    const buckets = await openSchema(link, prefix, target.buckets);
    await checkRights(link, tagOf(prefix, 0));
    // Whoever waits for replicas holds up all behind him on the same connection: reads go another way then.
    const plans = wait > 0 ? await connect() : calls;
    return new RedisBackend(links, calls, plans, target, buckets, options);
  } catch (error) {
    for (const link of links) link.close();
    throw error;
  }
}

/** Refuses limits under which names could be longer than their lengths can say. */
function checkLimits(limits: Limits): void {
  for (const name of ["keyBytes", "sessionIdBytes"] as const) {
    const { [name]: actual } = limits;
    if (actual <= MAX_NAME_BYTES) continue;
    const field = `limits.${name}`;
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      `${field} must be at most ${MAX_NAME_BYTES} in a store in Redis: lower it, or use another store.`,
      { metadata: { field, limit: String(MAX_NAME_BYTES), actual: String(actual) } },
    );
  }
}

class RedisBackend implements Backend {
  readonly pollMs: number;
  readonly buckets: number;
  /** How many replicas must have a write. */
  readonly wait: number;
  readonly calls: Calls;
  readonly history: number;
  readonly historyAgeMs: number;
  readonly requestRetentionMs: number;
  /** Those for plans. */
  readonly plans: Calls;
  readonly #links: readonly Link[];
  readonly #target: RedisTarget;
  readonly #now: (() => number) | undefined;
  readonly #settings: Buffer;
  readonly #hints: Hints;
  readonly #mover: Mover;
  readonly #running: Set<Promise<unknown>> = new Set();
  #closed = false;

  constructor(
    links: readonly Link[],
    calls: Calls,
    plans: Calls,
    target: RedisTarget,
    buckets: number,
    options: BackendOptions & RedisOptions,
  ) {
    this.pollMs = options.pollMs ?? 1_000;
    this.buckets = buckets;
    this.wait = target.wait;
    this.history = options.history;
    this.historyAgeMs = options.historyAgeMs;
    this.requestRetentionMs = options.requestRetentionMs;
    this.calls = calls;
    this.plans = plans;
    this.#links = links;
    this.#target = target;
    this.#now = options.now;
    this.#settings = settingsOf(options, FEED_LENGTH, target.wait > 0);
    this.#hints = new Hints(links[0] as Link, target.prefix, buckets);
    this.#mover = new Mover(this);
  }

  run(steps: readonly Step[]): Promise<StepResult[]> {
    return this.#track(() => this.#run(steps));
  }

  async events(range: EventRange): Promise<Events> {
    const { session, from, to, reverse, count, bytes: room } = range;
    const args = [String(from), String(to), reverse ? "1" : "0", String(count), String(room)];
    const reply = await this.#track(async () => {
      const first = await this.calls.one(this.callOf(SCRIPTS.events, session, args));
      return isDue(first) ? this.calls.one(this.callOf(SCRIPTS.eventsDoing, session, args)) : first;
    });
    const [head, metadata, floor, events] = list(reply);
    const numbers = bytes(head);
    const found = list(events);
    return {
      head:
        numbers.length === 0
          ? undefined
          : headOf(numbers, metadata === null ? null : bytes(metadata), this.history),
      floor: number(floor),
      events: Array.from({ length: found.length / 3 }, (_, i) =>
        storedEventOf(session.sessionId, found.slice(3 * i, 3 * i + 3)),
      ),
    };
  }

  sessions(query: SessionQuery): Promise<ListedSession[]> {
    return this.#track(() => listSessions(this, query));
  }

  feedEnd(): Promise<string> {
    return this.#track(() => feedEnd(this.calls, this.#target.prefix, this.buckets));
  }

  feed(cursor: string, count: number): Promise<FeedPart> {
    return this.#track(() => readFeed(this.calls, this.#target.prefix, this.buckets, cursor, count));
  }

  hints(listener: (session: SessionKey | undefined) => void): () => void {
    return this.#hints.listen(listener);
  }

  sweep(): Promise<Swept> {
    return this.#track(() => this.#sweep());
  }

  sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]> {
    return this.#track(() => this.#mover.sessionKeys(after, count));
  }

  dump(session: SessionKey): AsyncIterable<StoredRecord> {
    return this.#mover.dump(session);
  }

  load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void> {
    return this.#track(() => this.#mover.load(session, records));
  }

  rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    return this.#track(() => this.#mover.rewriteValues(session, rewrite));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#hints.close();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([Promise.allSettled(this.#running), late]);
    clearTimeout(timer);
    for (const link of this.#links) link.close();
  }

  /** The key that says where a bucket is. */
  tagOf(bucket: number): string {
    return tagOf(this.#target.prefix, bucket);
  }

  /** A call of a script on a session, or with an empty session id on a bucket's own. */
  callOf(
    script: Script,
    session: SessionKey,
    args: readonly Argument[],
    bucket: number = bucketOf(session, this.buckets),
  ): Call {
    const keys = keysOf(this.tagOf(bucket), session);
    const now = this.#now === undefined ? "" : String(Math.floor(this.#now()));
    const all = [now, session.namespace, session.sessionId, this.#settings, ...args];
    return { key: keys[0] as string, script, keys, args: all, order: keys[0] };
  }

  /** Does what is due for sessions, and the housekeeping; says whether there is more, and when to look again. */
  async maintain(sessions: readonly SessionKey[]): Promise<{ more: boolean; due: number | undefined }> {
    const outcomes = await this.calls.make(
      sessions.map((session) => this.callOf(SCRIPTS.maintain, session, [])),
    );
    let more = false;
    let due: number | undefined;
    for (const outcome of outcomes) {
      const [left, next] = list(replyOf(outcome));
      if (left === 1) more = true;
      const at = text(next);
      if (at !== "" && (due === undefined || Number(at) < due)) due = Number(at);
    }
    return { more, due };
  }

  async #run(steps: readonly Step[]): Promise<StepResult[]> {
    const planned: Set<string> = new Set();
    const calls: Call[] = [];
    // From the end: a look with a plan behind it can't be made again if it finds that something is due.
    for (let i = steps.length - 1; i >= 0; i--) {
      const step = steps[i] as Step;
      if (step.kind === "plan") {
        const script = onlyRemoves(step) ? SCRIPTS.shrink : SCRIPTS.plan;
        const call = this.callOf(script, step.session, planArguments(step));
        calls[i] = { ...call, confirm: true };
        planned.add(call.key);
      } else {
        const args = lookArguments(step);
        const call = this.callOf(SCRIPTS.look, step.session, args);
        calls[i] = planned.has(call.key) ? { ...call, script: SCRIPTS.lookDoing } : call;
      }
    }
    const outcomes = await (planned.size > 0 ? this.plans : this.calls).make(calls);
    const late = [...steps.keys()].filter((i) => isDue(outcomes[i]?.reply));
    if (late.length > 0) {
      const again = late.map((i) => ({ ...(calls[i] as Call), script: SCRIPTS.lookDoing }));
      for (const [n, outcome] of (await this.calls.make(again)).entries())
        outcomes[late[n] as number] = outcome;
    }
    return Promise.all(steps.map((step, i) => this.#resultOf(step, outcomes[i])));
  }

  async #resultOf(step: Step, outcome: Outcome | undefined): Promise<StepResult> {
    if (outcome === undefined) return { kind: "error", error: notSent("Redis was not asked").error };
    const { failure, reply } = outcome;
    if (failure !== undefined) {
      const answered = failure.error.reason === "STORAGE_FULL" && (await this.#answered(step));
      return answered || { kind: "error", error: failure.error };
    }
    if (step.kind === "look") {
      const look = lookOf(reply, this.history);
      // Whoever finds the answer gives it again, and writes nothing that would wait for replicas.
      const confirms = look.remembered === undefined || (await this.#isConfirmed(step));
      return confirms ? look : { kind: "error", error: unconfirmed().error };
    }
    const applied = appliedOf(reply);
    const wrote = (applied.kind === "done" && applied.wrote) || applied.kind === "replayed";
    if (wrote && !(await isConfirmed(outcome))) return { kind: "error", error: unconfirmed().error };
    return applied;
  }

  /** Whether enough replicas have the answer that a look found. */
  async #isConfirmed({ session, requestId = "" }: LookStep): Promise<boolean> {
    if (this.wait === 0) return true;
    // By the server that takes writes: another one may have been asked before.
    const call = { ...this.callOf(SCRIPTS.touch, session, [requestId]), confirm: true };
    const [outcome] = await this.plans.make([call]);
    return outcome?.reply === 1 && (await isConfirmed(outcome));
  }

  /** A server without memory takes no plans, but one that was made before is still answered. */
  async #answered(step: Step): Promise<StepResult | undefined> {
    if (step.kind !== "plan" || step.request === undefined) return undefined;
    const { id, fingerprint } = step.request;
    const [seen] = await this.#run([{ kind: "look", session: step.session, requestId: id }]);
    if (seen?.kind === "error") return seen;
    if (seen?.kind !== "look" || seen.remembered === undefined) return undefined;
    const { fingerprint: made, ...answer } = seen.remembered;
    return made === fingerprint ? { kind: "replayed", ...answer } : { kind: "reused" };
  }

  async #sweep(): Promise<Swept> {
    const session = { namespace: "", sessionId: "" };
    const calls = Array.from({ length: this.buckets }, (_, bucket) =>
      this.callOf(SCRIPTS.due, session, [String(SWEEP_SLICE)], bucket),
    );
    const outcomes = await this.calls.make(calls);
    const due: SessionKey[] = [];
    let more = false;
    let nextDue: number | undefined;
    let now = 0;
    let failure: WorkflowStateError | undefined;
    for (const outcome of outcomes) {
      // A server that is away must not keep the others from being swept.
      failure ??= outcome.failure?.error;
      if (outcome.failure !== undefined) continue;
      const [time, references, following] = list(outcome.reply);
      now = Math.max(now, number(time));
      const found = list(references);
      for (const reference of found) due.push(sessionOf(bytes(reference)));
      if (found.length === SWEEP_SLICE) more = true;
      const at = text(following);
      if (at !== "") nextDue = Math.min(nextDue ?? Number(at), Number(at));
    }
    if (due.length > 0) {
      const left = await this.maintain(due);
      more ||= left.more;
      if (left.due !== undefined) nextDue = Math.min(nextDue ?? left.due, left.due);
    }
    if (failure !== undefined) throw failure;
    return { more, nextDue, now };
  }

  /** Runs something that the closing of the store waits for. */
  async #track<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw storeIsClosed();
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }
}

function isDue(reply: unknown): boolean {
  return Buffer.isBuffer(reply) && reply.length === 3 && reply.toString() === "due";
}
