/** Clients under load, and what they saw: for the checkers to judge. */
import { WorkflowStateError } from "../../src/errors.ts";
import type { JsonValue, WorkflowStateStore } from "../../src/store.ts";
import { checkCounter, checkRegister, type Recorded, type RegisterOperation } from "./history-checker.ts";
import { sleep } from "./network.ts";
import { Random } from "./random.ts";
import { type Held, keyRegister, type Register, sessionRegister } from "./registers.ts";

/** How much is asked of a store, and how. */
export interface LoadOptions {
  readonly seed: number;
  /** 8 at most: each works on all keys. */
  readonly clients: number;
  /** Sessions with keys that are written, read, checked and deleted; beside each there is one of which all is, at once. */
  readonly sessions: readonly string[];
  /** How long a client tries again before the test fails. Default: 30 s. */
  readonly patienceMs?: number;
  /** Whether a call that is made again carries the request id of the first. Default: yes; without, the test must fail. */
  readonly sameRequestId?: boolean;
  /**
   * Whether what is read counts. Default: yes. Not where a read may see a write that is not acknowledged yet and that a
   * failover then undoes.
   */
  readonly judgeReads?: boolean;
}

/** What came of a load. */
export interface LoadReport {
  /** Writes that were acknowledged. */
  readonly acknowledged: number;
  /** Calls that were made again, and writes whose outcome their callers never learned. */
  readonly retried: number;
  readonly unknown: number;
  /** Acknowledged writes that the events don't tell of, and writes that they tell of twice. */
  readonly lost: number;
  readonly doubled: number;
  /** Everything that must not be; empty if the store kept its word. */
  readonly problems: readonly string[];
  /** The longest that a call took, with the client's own attempts. */
  readonly slowestMs: number;
  /** How often each reason came that says: try again. */
  readonly reasons: Readonly<Record<string, number>>;
}

/** A counter's key, and the two keys that are always written together. */
const COUNTER = "counter";
const PAIR = ["pair/1", "pair/2"] as const;
/** Keys of each session that are registers. */
const REGISTERS = 4;

/** What became of one write, over all its attempts. */
type Fate<T> =
  | { readonly kind: "answer"; readonly answer: T }
  | { readonly kind: "mismatch" | "failed" | "unknown" };

/** Clients that work on the same keys until they are stopped. */
export class Load {
  readonly #options: Required<LoadOptions>;
  readonly #stores: readonly WorkflowStateStore[];
  #patienceMs: number;
  /** Those of each session, with what clients saw of them. */
  readonly #registers: ReadonlyMap<string, readonly Register[]>;
  readonly #histories: Map<Register, Recorded[]> = new Map();
  readonly #increments: Map<string, number[]> = new Map();
  /** Request ids of writes that were acknowledged and changed something, by session. */
  readonly #acknowledged: Map<string, Set<string>> = new Map();
  readonly #problems: string[] = [];
  readonly #stopping: AbortController = new AbortController();
  #running: Promise<unknown> | undefined;
  readonly #reasons: Record<string, number> = {};
  #retried = 0;
  #unknown = 0;
  #slowestMs = 0;
  #clock = 0;
  #values = 0;

  /** Clients with a store each: the calls of one go over its own connection. */
  constructor(stores: readonly WorkflowStateStore[], options: LoadOptions) {
    this.#options = {
      patienceMs: 30_000,
      sameRequestId: true,
      judgeReads: true,
      ...options,
    };
    this.#patienceMs = this.#options.patienceMs;
    this.#stores = [...stores];
    this.#registers = new Map(
      options.sessions.map((session) => {
        const keys = Array.from({ length: REGISTERS }, (_, i) => keyRegister(session, `register/${i}`));
        return [session, [...keys, sessionRegister(`${session} whole`)]];
      }),
    );
    for (const session of options.sessions) this.#increments.set(session, []);
    for (const register of [...this.#registers.values()].flat()) {
      this.#histories.set(register, []);
      this.#acknowledged.set(register.session, new Set());
    }
  }

  /** Acknowledged writes so far. */
  get acknowledged(): number {
    return [...this.#acknowledged.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Begins. */
  start(): void {
    this.#running = Promise.all(Array.from({ length: this.#options.clients }, (_, i) => this.#client(i)));
  }

  /** Waits until so many more writes were acknowledged; gives how long that took. Fails if it takes too long. */
  async progress(writes: number, withinMs: number): Promise<number> {
    const begin = performance.now();
    const enough = this.acknowledged + writes;
    while (this.acknowledged < enough && !this.#stopping.signal.aborted) {
      if (performance.now() - begin > withinMs)
        throw new Error(`nothing was acknowledged for ${withinMs} ms`);
      await sleep(10);
    }
    return performance.now() - begin;
  }

  /** Has the clients give up at once: for the end of a test, however it came. */
  abandon(): void {
    this.#stopping.abort();
    this.#patienceMs = 0;
  }

  /** Lets the clients end what they are at, then judges what they saw, and what there is now. */
  async stop(): Promise<LoadReport> {
    this.#stopping.abort();
    await this.#running;
    const store = this.#stores[0] as WorkflowStateStore;
    let lost = 0;
    let doubled = 0;
    for (const register of this.#histories.keys()) await this.#read(store, "0", register);
    for (const [session, acknowledged] of this.#increments) {
      await this.#readPair(store, session);
      const final = (await store.getState<number>(session, COUNTER)) ?? 0;
      const counter = checkCounter({ acknowledged, final });
      this.#problems.push(...counter.map((problem) => `${session} ${COUNTER}: ${problem}`));
    }
    for (const session of this.#acknowledged.keys()) {
      const events = await this.#checkEvents(store, session);
      lost += events.lost;
      doubled += events.doubled;
    }
    for (const [{ name }, history] of this.#histories) {
      const { result, why } = checkRegister(history);
      if (result !== "linearizable")
        this.#problems.push(`${name}, of ${history.length} calls: ${result}: ${why}`);
    }
    return {
      acknowledged: this.acknowledged,
      retried: this.#retried,
      unknown: this.#unknown,
      lost,
      doubled,
      problems: this.#problems,
      slowestMs: this.#slowestMs,
      reasons: this.#reasons,
    };
  }

  async #client(index: number): Promise<void> {
    const random = new Random(this.#options.seed * 31 + index);
    const store = this.#stores[index % this.#stores.length] as WorkflowStateStore;
    const client = String(index);
    try {
      while (!this.#stopping.signal.aborted) {
        const session = random.one(this.#options.sessions);
        const register = random.one(this.#registers.get(session) ?? []);
        const dice = random.next();
        if (dice < 0.25) await this.#read(store, client, register);
        else if (dice < 0.4) await this.#write(store, client, register, random);
        else if (dice < 0.6) await this.#cas(store, client, register, random);
        else if (dice < 0.7) await this.#remove(store, client, register, random);
        else if (dice < 0.85) await this.#increment(store, session, random);
        else if (dice < 0.95) await this.#writePair(store, session, random);
        else await this.#readPair(store, session);
      }
    } catch (error) {
      this.#problems.push(`client ${client}: ${error instanceof Error ? error.stack : String(error)}`);
      this.#stopping.abort();
    }
  }

  async #read(store: WorkflowStateStore, client: string, register: Register): Promise<Held | undefined> {
    const called = ++this.#clock;
    const held = await this.#persistently(() => register.read(store));
    const version = held === undefined ? {} : { version: held.revision };
    const outcome = { kind: "ok", value: held?.value, ...version } as const;
    // What was read before a failover may be undone by it; what is read in the end counts.
    if (this.#options.judgeReads || this.#stopping.signal.aborted) {
      const read = { client, operation: { kind: "read" }, outcome, called, answered: ++this.#clock } as const;
      this.#histories.get(register)?.push(read);
    }
    return held;
  }

  async #write(store: WorkflowStateStore, client: string, register: Register, random: Random): Promise<void> {
    const value = this.#value(client);
    await this.#change(register, client, { kind: "write", value }, random, async (requestId) => ({
      version: await register.write(store, value, { requestId }),
    }));
  }

  async #cas(store: WorkflowStateStore, client: string, register: Register, random: Random): Promise<void> {
    const held = await this.#read(store, client, register);
    const operation = { kind: "cas", expected: held?.value, value: this.#value(client) } as const;
    const ifRevision = held?.revision ?? 0;
    await this.#change(register, client, operation, random, async (requestId) => ({
      version: await register.write(store, operation.value, { ifRevision, requestId }),
    }));
  }

  async #remove(
    store: WorkflowStateStore,
    client: string,
    register: Register,
    random: Random,
  ): Promise<void> {
    await this.#change(register, client, { kind: "delete" }, random, async (requestId) => ({
      deleted: await register.remove(store, { requestId }),
    }));
  }

  async #increment(store: WorkflowStateStore, session: string, random: Random): Promise<void> {
    const fate = await this.#settle(session, random, false, async (requestId) => {
      const { entries } = await store.commit(session, {
        changes: [{ kind: "increment", key: COUNTER, delta: 1 }],
        requestId,
      });
      return entries[0]?.value as JsonValue;
    });
    if (fate.kind !== "answer") throw new Error(`an increment came to ${fate.kind}`);
    this.#increments.get(session)?.push(Number(fate.answer));
  }

  async #writePair(store: WorkflowStateStore, session: string, random: Random): Promise<void> {
    const value = this.#value("pair");
    await this.#settle(session, random, true, (requestId) =>
      store.commit(session, { changes: PAIR.map((key) => ({ kind: "set", key, value })), requestId }),
    );
  }

  async #readPair(store: WorkflowStateStore, session: string): Promise<void> {
    const { entries } = await this.#persistently(() => store.listState(session, { keyPrefix: "pair/" }));
    const values = new Set(entries.map(({ value }) => value));
    if (entries.length !== 0 && (entries.length !== 2 || values.size !== 1)) {
      this.#problems.push(`${session}: a commit was seen in part: ${JSON.stringify(entries)}`);
    }
  }

  /** Makes a write of a register and records what came of it. */
  async #change(
    register: Register,
    client: string,
    operation: RegisterOperation,
    random: Random,
    write: (requestId: string) => Promise<{ readonly version?: number; readonly deleted?: boolean }>,
  ): Promise<void> {
    const called = ++this.#clock;
    const fate = await this.#settle(register.session, random, true, write);
    const outcome = fate.kind === "answer" ? ({ kind: "ok", ...fate.answer } as const) : fate;
    const answered = fate.kind === "unknown" ? Number.POSITIVE_INFINITY : ++this.#clock;
    this.#histories.get(register)?.push({ client, operation, outcome, called, answered });
  }

  /** Makes a write until it is acknowledged; where it may be given up, sometimes only a few times. */
  async #settle<T extends object | JsonValue>(
    session: string,
    random: Random,
    mayGiveUp: boolean,
    write: (requestId: string) => Promise<T>,
  ): Promise<Fate<T>> {
    const begin = performance.now();
    const number = ++this.#values;
    let unknown = false;
    for (let attempt = 0; ; attempt++) {
      const requestId = this.#options.sameRequestId ? `q${number}` : `q${number}.${attempt}`;
      try {
        const answer = await this.#timed(() => write(requestId));
        const changed = typeof answer !== "object" || (answer as { deleted?: boolean }).deleted !== false;
        if (changed) this.#acknowledged.get(session)?.add(requestId);
        return { kind: "answer", answer };
      } catch (error) {
        if (WorkflowStateError.is(error, "REVISION_MISMATCH")) return { kind: "mismatch" };
        if (!isPassing(error)) throw error;
        if (performance.now() - begin > this.#patienceMs)
          throw new Error("a write was never acknowledged", { cause: error });
        unknown ||= error.reason === "OUTCOME_UNKNOWN";
        this.#again(error);
        if (mayGiveUp && random.chance(0.2)) {
          if (unknown) this.#unknown++;
          return { kind: unknown ? "unknown" : "failed" };
        }
        await sleep(10 + random.next() * 40);
      }
    }
  }

  /** Makes a read until it is answered. */
  async #persistently<T>(read: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    for (;;) {
      try {
        return await this.#timed(read);
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (error.reason === "OUTCOME_UNKNOWN")
          throw new Error("a read said OUTCOME_UNKNOWN", { cause: error });
        if (performance.now() - begin > this.#patienceMs)
          throw new Error("a read was never answered", { cause: error });
        this.#again(error);
        await sleep(25);
      }
    }
  }

  #again({ reason }: WorkflowStateError): void {
    this.#retried++;
    this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
  }

  async #timed<T>(call: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await call();
    } finally {
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - begin);
    }
  }

  /** A value that nobody else writes. */
  #value(client: string): string {
    return `${client}:${++this.#values}`;
  }

  /** Holds the events of a session to the writes: each acknowledged one is there once, and no other twice. */
  async #checkEvents(
    store: WorkflowStateStore,
    session: string,
  ): Promise<{ readonly lost: number; readonly doubled: number }> {
    const counts = new Map<string, number>();
    let revision = 0;
    let pageToken = "";
    do {
      const page = await store.listEvents(session, { pageSize: 1_000, pageToken });
      for (const event of page.events) {
        if (event.revision !== revision + 1) {
          this.#problems.push(`${session}: revision ${event.revision} comes after ${revision}`);
        }
        revision = event.revision;
        const { requestId = "none" } = event;
        counts.set(requestId, (counts.get(requestId) ?? 0) + 1);
      }
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    const acknowledged = this.#acknowledged.get(session) ?? new Set();
    const missing = [...acknowledged].filter((requestId) => !counts.has(requestId));
    const twice = [...counts].filter(([, count]) => count > 1);
    if (missing.length > 0) {
      this.#problems.push(
        `${session}: ${missing.length} of ${acknowledged.size} acknowledged writes are lost`,
      );
    }
    if (twice.length > 0) this.#problems.push(`${session}: ${twice.length} writes were done twice`);
    return { lost: missing.length, doubled: twice.length };
  }
}

/** Whether an error says: try again. */
function isPassing(error: unknown): error is WorkflowStateError {
  return WorkflowStateError.is(error) && error.code === "UNAVAILABLE";
}
