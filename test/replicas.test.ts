/** Two services on one store: whichever a caller asks, it is one store. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { openStore } from "../src/open.ts";
import type { WorkflowStateStore } from "../src/store.ts";
import { LENGTH, nameSkipped, type RunningStore, STORES } from "./support/durable-stores.ts";
import { Follower } from "./support/follower.ts";
import { Load } from "./support/load.ts";
import { sleep } from "./support/network.ts";
import { Random, seedOfRun } from "./support/random.ts";
import { ServiceProcess } from "./support/service-process.ts";

/** How long a watch through one replica may take to tell of a commit through the other: without a hint it reads once a second. */
const WATCH_BOUND_MS = 5_000;

nameSkipped("Replicas");

describe.each(STORES)("two services on one store in $name", ({ name, start }) => {
  let running: RunningStore;
  let services: readonly [ServiceProcess, ServiceProcess];
  let opened: WorkflowStateStore[];
  let a: WorkflowStateStore;
  let b: WorkflowStateStore;
  let sessions = 0;
  let session: string;

  beforeAll(async () => {
    running = await start();
    const store = running.fresh();
    // At the same time: both find an empty database.
    services = await Promise.all([ServiceProcess.start(store), ServiceProcess.start(store)]);
  });
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
    await running.stop();
  });
  beforeEach(async () => {
    opened = [];
    [a, b] = [await client(0), await client(1)];
    session = `s${++sessions}`;
  });
  afterEach(async () => {
    await Promise.all(opened.map((store) => store.close()));
  });

  /** A client of one of the services, with a connection of its own. */
  async function client(replica: 0 | 1): Promise<WorkflowStateStore> {
    const store = await openStore(services[replica].url, { timeoutMs: 10_000 });
    opened.push(store);
    return store;
  }

  test("programs that open an empty store at the same time all do, and it is one store", async () => {
    for (let i = 0; i < 5; i++) {
      const store = running.fresh();
      const all = await Promise.all([1, 2, 3, 4].map(() => openStore(store)));
      opened.push(...all);
      await all[i % 4]?.setState(session, "k", i);
      for (const each of all) expect(await each.getState(session, "k")).toBe(i);
    }
  });

  test("a write through one is read through the other at once", async () => {
    for (let i = 0; i < 50; i++) {
      const [writer, reader] = i % 2 === 0 ? [a, b] : [b, a];
      const { revision } = await writer.setState(session, "k", i);
      expect(await reader.getEntry(session, "k")).toMatchObject({ value: i, revision });
      expect(await reader.getSession(session)).toMatchObject({ state: { k: i }, revision });
      const { sessions: listed } = await reader.listSessions({ sessionIdPrefix: session });
      expect(listed).toMatchObject([{ sessionId: session, revision }]);
    }
    await a.deleteSession(session);
    expect(await b.getSession(session)).toBeUndefined();
  });

  test("a load through both is linearizable", { timeout: 30_000 * LENGTH }, async () => {
    const seed = seedOfRun();
    const stores = await Promise.all(Array.from({ length: 8 }, (_, i) => client(i % 2 === 0 ? 0 : 1)));
    const names = [`${session} one`, `${session} two`];
    const load = new Load(stores, { seed, clients: 8, sessions: names });
    onTestFinished(() => load.abandon());
    const followers = [new Follower(a, names[0] as string), new Follower(b, names[0] as string)];
    load.start();
    await sleep(1_500 * LENGTH);
    await load.progress(100, 10_000);
    const { problems, acknowledged } = await load.stop();
    console.log(
      `${name}: two services, ${acknowledged} acknowledged writes; WORKFLOW_STATE_TEST_SEED=${seed}`,
    );
    expect(problems).toEqual([]);
    const { revision = 0 } = (await a.getSession(names[0] as string)) ?? {};
    for (const follower of followers) {
      await follower.reached(revision);
      expect(await follower.stop(revision)).toEqual([]);
    }
  });

  test("a write through one is watched through the other", async () => {
    const follower = new Follower(b, session);
    await a.setState(session, "k", 0);
    await follower.reached(1);
    const delays: number[] = [];
    for (let i = 2; i <= 30; i++) {
      await sleep(i % 5 === 0 ? 100 : 0);
      const begin = performance.now();
      await a.setState(session, "k", i);
      await follower.reached(i, WATCH_BOUND_MS);
      delays.push(performance.now() - begin);
    }
    expect(await follower.stop(30)).toEqual([]);
    const median = delays.sort((x, y) => x - y)[Math.floor(delays.length / 2)] ?? 0;
    console.log(
      `${name}: a watch through the other service tells of a write after ${median.toFixed(1)} ms (median), ${delays.at(-1)?.toFixed(1)} ms at most`,
    );
  });

  test("a request id replays across them: the same answer, and written once", async () => {
    const other = `${session} fork`;
    const writes: readonly ((store: WorkflowStateStore) => Promise<unknown>)[] = [
      (store) => store.setState(session, "k", 1, { requestId: "r1" }),
      (store) =>
        store.commit(session, {
          changes: [
            { kind: "increment", key: "n", delta: 1 },
            { kind: "append", key: "list", values: ["x"] },
            { kind: "delete", key: "none" },
          ],
          metadata: { workflowId: "w", labels: { l: "1" } },
          requestId: "r2",
        }),
      (store) => store.deleteState(session, "k", { requestId: "r3" }),
      (store) => store.saveSession({ sessionId: session, state: { saved: true } }, { requestId: "r4" }),
      (store) => store.forkSession(session, other, { requestId: "r5" }),
      (store) => store.restoreSession(session, 2, { requestId: "r6" }),
      (store) => store.deleteSession(session, { requestId: "r7" }),
    ];
    for (const [i, write] of writes.entries()) {
      const [first, second] = i % 2 === 0 ? [a, b] : [b, a];
      const answer = await write(first);
      expect(await write(second)).toEqual(answer);
      expect(await write(first)).toEqual(answer);
    }
    const { events } = await a.listEvents(session);
    expect(events.map(({ requestId }) => requestId)).toEqual(["r1", "r2", "r3", "r4", "r6", "r7"]);
    await expect(b.setState(session, "k", 2, { requestId: "r1" })).rejects.toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
  });

  test("a request id that arrives at both at once is written once", async () => {
    const rounds = 30;
    for (let i = 0; i < rounds; i++) {
      const increment = (store: WorkflowStateStore) =>
        store.commit(session, { changes: [{ kind: "increment", key: "n", delta: 1 }], requestId: `i${i}` });
      const answers = await Promise.all([increment(a), increment(b), increment(a), increment(b)]);
      for (const answer of answers) expect(answer).toEqual(answers[0]);
    }
    expect(await b.getState(session, "n")).toBe(rounds);
    expect((await a.listEvents(session, { pageSize: 1_000 })).events).toHaveLength(rounds);
  });

  test("of writers who read, check and write one key through both, every success counts and no update is lost", {
    timeout: 30_000 * LENGTH,
  }, async () => {
    const writers = await Promise.all(Array.from({ length: 6 }, (_, i) => client(i % 2 === 0 ? 0 : 1)));
    const each = 8 * LENGTH;
    let refused = 0;
    await Promise.all(
      writers.map(async (store) => {
        for (let mine = 0; mine < each; ) {
          const entry = await store.getEntry(session, "n");
          try {
            const next = Number(entry?.value ?? 0) + 1;
            await store.setState(session, "n", next, { ifRevision: entry?.revision ?? 0 });
            mine++;
          } catch (error) {
            if (!WorkflowStateError.is(error, "REVISION_MISMATCH")) throw error;
            refused++;
          }
        }
      }),
    );
    const total = writers.length * each;
    console.log(`${name}: ${total} checked writes succeeded, ${refused} were refused as stale`);
    expect(await a.getState(session, "n")).toBe(total);
    expect(await b.getSession(session)).toMatchObject({ revision: total });
    // Else nothing was raced for.
    expect(refused).toBeGreaterThan(total / 4);
  });

  test("a lease has one holder at a time, and a late holder is fenced off", {
    timeout: 120_000,
  }, async () => {
    const contenders = await Promise.all(Array.from({ length: 6 }, (_, i) => client(i % 2 === 0 ? 0 : 1)));
    const terms: Term[] = [];
    const until = performance.now() + 90_000;
    const back = (): number => terms.filter((term) => term.until < term.called + TTL_MS).length;
    const enough = (): boolean => back() >= 5 && terms.length - back() >= 5;
    const seed = seedOfRun();
    await Promise.all(
      contenders.map(async (store, i) => {
        const random = new Random(seed + i);
        let inTime = i % 2 === 0;
        while (performance.now() < until && !enough()) {
          const term = await acquire(store, session);
          if (term !== undefined) {
            terms.push(term);
            await hold(store, session, term, inTime, random);
            inTime = !inTime;
          } else await sleep(random.between(1, 10));
        }
      }),
    );
    terms.sort((x, y) => x.token - y.token);
    console.log(`${name}: ${terms.length} terms of a lease, ${back()} given back before their end`);
    expect(enough()).toBe(true);
    for (const [i, term] of terms.entries()) {
      const next = terms[i + 1];
      // Deadlines are whole milliseconds of the database's clock.
      if (next !== undefined) expect(next.answered).toBeGreaterThan(term.until - 2);
    }
    // What the fencing token let through came from the holders in their order.
    const { events } = await a.listEvents(session, { pageSize: 1_000 });
    const tokens = events.flatMap(({ entries }) =>
      entries
        .filter(({ key, value }) => key === "work" && value !== undefined)
        .map(({ value }) => Number(value)),
    );
    expect(tokens.length).toBeGreaterThan(3);
    expect(tokens).toEqual([...tokens].sort((x, y) => x - y));
  });

  test("a watch goes on through the other when its service is killed, without a gap or a repetition", {
    timeout: 30_000,
  }, async () => {
    const seen: number[] = [];
    let writing = true;
    const writer = (async () => {
      for (let i = 0; writing; i++) await b.setState(session, "k", i);
    })();
    let after = 0;
    for (const kill of [true, false]) {
      const abort = new AbortController();
      const through = await openStore(services[kill ? 0 : 1].url, { silenceMs: 1_000 });
      opened.push(through);
      const target = seen.length + 40;
      let killed: Promise<void> | undefined;
      for await (const message of through.watchSession(session, {
        afterRevision: after,
        signal: abort.signal,
      })) {
        if (message.kind !== "event") continue;
        seen.push(message.event.revision);
        after = message.event.revision;
        if (seen.length === target && kill) killed = services[0].kill();
        if (seen.length >= target) break;
      }
      await killed;
    }
    writing = false;
    await writer;
    expect(seen).toEqual(seen.map((_, i) => i + 1));
    expect(seen.length).toBeGreaterThan(79);
    await services[0].restart();
  });

  test("a watch on sessions through one misses none of 200 sessions that are written at once through the other", {
    timeout: 30_000,
  }, async () => {
    const workflowId = `w ${session}`;
    const count = 200;
    const writesEach = 3;
    const abort = new AbortController();
    const changes = b.watchSessions({ workflowId, signal: abort.signal })[Symbol.asyncIterator]();
    // Live only: it has begun when it tells of a first commit.
    const first = changes.next();
    let probes = 0;
    let begun = false;
    void first.then(() => {
      begun = true;
    });
    while (!begun) {
      await a.commit(`${session} probe`, { metadata: { workflowId, labels: { n: String(++probes) } } });
      await sleep(20);
    }
    const names = Array.from({ length: count }, (_, i) => `${session} ${i}`);
    const writing = Promise.all(
      names.map(async (id, i) => {
        const through = i % 4 === 0 ? b : a;
        await through.commit(id, {
          metadata: { workflowId },
          changes: [{ kind: "set", key: "k", value: 1 }],
        });
        for (let n = 2; n <= writesEach; n++) await through.setState(id, "k", n);
      }),
    );
    const seen = new Map<string, number[]>(names.map((id) => [id, []]));
    let total = 0;
    const late = setTimeout(() => abort.abort(new Error(`saw ${total} of ${count * writesEach}`)), 15_000);
    while (total < count * writesEach) {
      const { value: change } = await changes.next();
      const revisions = seen.get(change?.session.sessionId ?? "");
      if (change === undefined || revisions === undefined) continue;
      revisions.push(change.session.revision);
      total++;
    }
    clearTimeout(late);
    await writing;
    await changes.return?.();
    for (const revisions of seen.values()) expect(revisions).toEqual([1, 2, 3]);
  });
});

/** How long a lease lasts that is not given back. */
const TTL_MS = 120;

/** A time for which somebody held the lease. */
interface Term {
  readonly token: number;
  readonly called: number;
  readonly answered: number;
  /** Nobody else can have had it before. */
  until: number;
}

async function acquire(store: WorkflowStateStore, session: string): Promise<Term | undefined> {
  const called = performance.now();
  try {
    const { entries } = await store.commit(session, {
      checks: [{ key: "lease", ifRevision: 0 }],
      changes: [{ kind: "set", key: "lease", value: true, ttlMs: TTL_MS }],
    });
    const token = entries[0]?.revision ?? 0;
    return { token, called, answered: performance.now(), until: called + TTL_MS };
  } catch (error) {
    if (WorkflowStateError.is(error, "REVISION_MISMATCH")) return undefined;
    throw error;
  }
}

/** Works under the lease; gives it back in time, or is too late and must be stopped by the check of its token. */
async function hold(
  store: WorkflowStateStore,
  session: string,
  term: Term,
  inTime: boolean,
  random: Random,
): Promise<void> {
  const fence = { key: "lease", ifRevision: term.token };
  if (!inTime) await sleep(random.between(TTL_MS - 20, TTL_MS * 2));
  try {
    await store.commit(session, {
      checks: [fence],
      changes: [{ kind: "set", key: "work", value: term.token }],
    });
    if (!inTime) return;
    const called = performance.now();
    const { deleted } = await store.deleteState(session, "lease", { ifRevision: term.token });
    if (deleted) term.until = Math.min(term.until, called);
  } catch (error) {
    if (!WorkflowStateError.is(error, "REVISION_MISMATCH")) throw error;
  }
}
