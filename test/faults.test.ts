/** What can break between a service and its database, and what its callers see of it: typed errors, in time, and no more. */
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { type OpenOptions, openStore } from "../src/open.ts";
import type { Change, WorkflowStateStore } from "../src/store.ts";
import {
  type DatabaseServer,
  LENGTH,
  nameSkipped,
  type RunningStore,
  SERVERS,
} from "./support/durable-stores.ts";
import { Follower } from "./support/follower.ts";
import { Load } from "./support/load.ts";
import { sleep } from "./support/network.ts";
import { seedOfRun } from "./support/random.ts";
import { ServiceProcess } from "./support/service-process.ts";
import { TcpProxy } from "./support/tcp-proxy.ts";

/** How long a caller waits for a call. */
const DEADLINE_MS = 4_000;
/** How soon after a fault the first write must be acknowledged again. */
const RECOVERY_MS = 5_000;
/** Where nothing says that a connection is dead: the time for which the store waits for an answer of its database, and some. */
const SILENT_RECOVERY_MS = 12_000;
/** How long many writes may take when nothing is broken: a bound for a slow machine. */
const WRITING_MS = 25_000;
const CLIENTS = 8;

nameSkipped("Faults");

/** Something that breaks, for about a second. */
interface Fault {
  readonly name: string;
  /** Whether calls can fail by it at all: else none may. */
  readonly breaks: boolean;
  cause(proxy: TcpProxy, server: DatabaseServer): Promise<void>;
  /** How soon after it the first write must be acknowledged. Default: `RECOVERY_MS`. */
  readonly recoveryMs?: number;
}

/** Does something again and again for a second. */
async function repeatedly(pauseMs: number, what: () => unknown): Promise<void> {
  const until = performance.now() + 1_000 * LENGTH;
  while (performance.now() < until) {
    await what();
    await sleep(pauseMs);
  }
}

const FAULTS: readonly Fault[] = [
  {
    name: "a long line, on which all arrives 100 ms later",
    breaks: false,
    async cause(proxy) {
      proxy.delayMs = 100;
      await sleep(1_500 * LENGTH);
    },
  },
  {
    name: "a slow line",
    breaks: false,
    async cause(proxy) {
      proxy.bytesPerSecond = 50_000;
      await sleep(1_500 * LENGTH);
    },
  },
  {
    name: "connections that break in the place of a reply",
    breaks: true,
    cause: (proxy) => repeatedly(30, () => proxy.breakNext("before the reply")),
  },
  {
    name: "connections that break when a request has been passed on",
    breaks: true,
    cause: (proxy) => repeatedly(30, () => proxy.breakNext("after the request")),
  },
  {
    name: "all connections breaking at once",
    breaks: true,
    cause: (proxy) => repeatedly(150, () => proxy.cut()),
  },
  {
    name: "a black hole",
    breaks: true,
    recoveryMs: SILENT_RECOVERY_MS,
    async cause(proxy) {
      proxy.requests = proxy.replies = "black hole";
      await sleep(1_500 * LENGTH);
    },
  },
  {
    name: "replies that fall into a black hole",
    breaks: true,
    recoveryMs: SILENT_RECOVERY_MS,
    async cause(proxy) {
      proxy.replies = "black hole";
      await sleep(1_500 * LENGTH);
    },
  },
  {
    name: "the database's end of each connection closed, as the service sees it",
    breaks: true,
    cause: (proxy) => repeatedly(200, () => proxy.halfClose("client")),
  },
  {
    name: "the service's end of each connection closed, as the database sees it",
    breaks: true,
    cause: (proxy) => repeatedly(200, () => proxy.halfClose("server")),
  },
  {
    name: "refused connections",
    breaks: true,
    async cause(proxy) {
      await proxy.refuse();
      await sleep(1_000 * LENGTH);
    },
  },
  {
    name: "a database that ends all connections",
    breaks: true,
    cause: (_, server) => repeatedly(150, () => server.dropConnections()),
  },
  {
    name: "a database that is stopped and started",
    breaks: true,
    cause: (_, server) => repeatedly(300, () => server.stopAndStart()),
  },
];

describe.each(SERVERS)("between a service and $name", ({ name, start }) => {
  let running: RunningStore;
  let server: DatabaseServer;
  let proxy: TcpProxy;
  let service: ServiceProcess;
  let opened: WorkflowStateStore[] = [];
  let tests = 0;

  beforeAll(async () => {
    running = await start();
    server = running.server as DatabaseServer;
    proxy = await TcpProxy.start(server.port);
    service = await ServiceProcess.start(running.fresh(proxy.port));
  });
  afterAll(async () => {
    await service.stop();
    await proxy.refuse();
    await running.stop();
  });
  afterEach(async () => {
    await proxy.accept();
    await Promise.all(opened.map((store) => store.close()));
    opened = [];
  });

  async function client(options: OpenOptions = {}): Promise<WorkflowStateStore> {
    const store = await openStore(service.url, { timeoutMs: DEADLINE_MS, ...options });
    opened.push(store);
    return store;
  }

  test.each(FAULTS.map((fault) => [fault.name, fault] as const))(
    "%s: typed errors in time, nothing lost, and then all is as before",
    {
      timeout: 90_000 * LENGTH,
    },
    async (what, { breaks, cause, recoveryMs: bound = RECOVERY_MS }) => {
      const seed = seedOfRun();
      const pid = service.pid;
      const sessions = [`${++tests} one`, `${tests} two`];
      const patient = await client();
      const kept = await Kept.begin(patient, await client({ retry: { attempts: 1 } }), `${tests} kept`);
      const followers = sessions.map((session) => new Follower(patient, session));
      // Without attempts of their own: what the service says is what they see.
      const stores = await Promise.all(
        Array.from({ length: CLIENTS }, () => client({ retry: { attempts: 1 } })),
      );
      const load = new Load(stores, { seed, clients: CLIENTS, sessions });
      onTestFinished(() => load.abandon());
      load.start();
      await load.progress(50, WRITING_MS);

      await cause(proxy, server);
      await proxy.accept();
      const recoveryMs = await load.progress(1, bound);
      await load.progress(49, WRITING_MS);

      const report = await load.stop();
      const { acknowledged, slowestMs, reasons } = report;
      console.log(
        `${name}, ${what}: ${acknowledged} acknowledged writes, ${JSON.stringify(reasons)}, slowest call ${Math.round(slowestMs)} ms, a write ${Math.round(recoveryMs)} ms after it; WORKFLOW_STATE_TEST_SEED=${seed}`,
      );
      expect(report.problems).toEqual([]);
      expect(await kept.end()).toEqual([]);
      for (const reason of Object.keys(reasons))
        expect(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(reason);
      if (!breaks) expect(reasons).toEqual({});
      expect(slowestMs).toBeLessThan(DEADLINE_MS + 2_000);
      for (const [i, session] of sessions.entries()) {
        const follower = followers[i] as Follower;
        const { revision = 0 } = (await patient.getSession(session)) ?? {};
        await follower.reached(revision);
        expect(await follower.stop(revision)).toEqual([]);
      }
      expect(service).toMatchObject({ runs: true, pid });
    },
  );

  test.each(["before the reply", "after the request"] as const)(
    "a write whose connection breaks %s counts once, however often it is sent with its request id",
    { timeout: 60_000 },
    async (when) => {
      const store = await client({ retry: { attempts: 1 } });
      const session = `${++tests} counted`;
      const rounds = 20 * LENGTH;
      const reasons: string[] = [];
      for (let i = 0; i < rounds; i++) {
        // In turns one that the store must read something for, and one that it sends off at once.
        const change: Change =
          i % 2 === 0 ? { kind: "increment", key: "n", delta: 1 } : { kind: "set", key: "s", value: i };
        proxy.breakNext(when);
        for (let attempt = 0; ; attempt++) {
          try {
            await store.commit(session, { changes: [change], requestId: `i${i}` });
            break;
          } catch (error) {
            if (!WorkflowStateError.is(error) || attempt > 50) throw error;
            reasons.push(error.reason);
            await sleep(20);
          }
        }
      }
      await proxy.accept();
      console.log(
        `${name}: ${proxy.broken} connections broken ${when}, ${rounds} writes, ${reasons.join(" ")}`,
      );
      for (const reason of reasons) expect(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(reason);
      expect(reasons).toContain("OUTCOME_UNKNOWN");
      expect(await store.getState(session, "n")).toBe(rounds / 2);
      const { events } = await store.listEvents(session, { pageSize: 1_000 });
      expect(events).toHaveLength(rounds);
    },
  );

  test("while the database can't be reached, reads and writes fail with STORE_UNAVAILABLE and say nothing of its address", {
    timeout: 30_000,
  }, async () => {
    const store = await client({ retry: { attempts: 1 } });
    const session = `${++tests} unreachable`;
    await store.setState(session, "k", 1);
    await proxy.refuse();
    // Until it has noticed, one may have been under way.
    await store.getState(session, "k").catch(() => undefined);
    // Each by a client of its own, the writes to sessions of their own: none has to wait for another.
    const calls: readonly ((from: WorkflowStateStore, other: string) => Promise<unknown>)[] = [
      (from) => from.getState(session, "k"),
      (from) => from.getSession(session),
      (from) => from.listState(session),
      (from) => from.listSessions(),
      (from) => from.listEvents(session),
      (from, other) => from.setState(other, "k", 2),
      (from, other) => from.commit(other, { changes: [{ kind: "increment", key: "k", delta: 1 }] }),
      (from, other) => from.deleteSession(other),
    ];
    const clients = await Promise.all(calls.map(() => client({ retry: { attempts: 1 } })));
    const errors = await Promise.all(
      calls.map((call, i) =>
        call(clients[i] as WorkflowStateStore, `${session} ${i}`).then(
          () => new Error("it was answered"),
          (thrown: unknown) => thrown,
        ),
      ),
    );
    for (const error of errors) {
      expect(error).toMatchObject({ reason: "STORE_UNAVAILABLE" });
      expect(String(error)).not.toContain(String(proxy.port));
      expect(String(error)).not.toContain("tester");
    }
    await proxy.accept();
    const until = performance.now() + RECOVERY_MS;
    for (;;) {
      const value = await store.getState(session, "k").catch(() => "not yet");
      if (value === 1) break;
      expect(value).toBe("not yet");
      expect(performance.now()).toBeLessThan(until);
      await sleep(50);
    }
  });
});

/** A session that is never touched: whoever reads it meanwhile must see it whole, or hear why not. */
class Kept {
  readonly #problems: string[] = [];
  #ended = false;
  #reads = 0;
  readonly #running: Promise<void>;

  private constructor(store: WorkflowStateStore, session: string) {
    this.#running = this.#read(store, session);
  }

  static async begin(writer: WorkflowStateStore, reader: WorkflowStateStore, session: string): Promise<Kept> {
    await writer.saveSession({ sessionId: session, state: { a: 1, b: 2 }, workflowId: session });
    return new Kept(reader, session);
  }

  /** Gives what was wrong. */
  async end(): Promise<string[]> {
    this.#ended = true;
    await this.#running;
    if (this.#reads < 10) this.#problems.push(`only ${this.#reads} reads were answered`);
    return this.#problems;
  }

  async #read(store: WorkflowStateStore, session: string): Promise<void> {
    const reads: readonly (() => Promise<boolean>)[] = [
      async () => (await store.getState(session, "a")) === 1,
      async () => (await store.getSession(session))?.state["b"] === 2,
      async () => (await store.listState(session)).entries.length === 2,
      async () => (await store.listSessions({ workflowId: session })).sessions.length === 1,
      async () => (await store.listEvents(session)).events.length === 1,
    ];
    while (!this.#ended) {
      for (const [i, read] of reads.entries()) {
        try {
          if (await read()) this.#reads++;
          else this.#problems.push(`read ${i} did not find what is there`);
        } catch (error) {
          if (!WorkflowStateError.is(error, "STORE_UNAVAILABLE")) this.#problems.push(String(error));
        }
      }
      await sleep(5);
    }
  }
}
