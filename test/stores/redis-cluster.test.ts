/** What becomes of the store in a Redis Cluster that loses, hangs, and moves its servers. */
import { createClient } from "@redis/client";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Backend, SessionKey, StepResult } from "../../src/stores/backend.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableCluster } from "../support/killable-cluster.ts";
import { sleep } from "../support/network.ts";
import { nameSkippedRedis } from "../support/redis.ts";
import { open, plan, request, run, sessionKey, stateOf } from "../support/redis-backend.ts";

nameSkippedRedis("the store in Redis Cluster");

const TIMEOUT_MS = 2_000;

describe.runIf(HAS_REDIS)("a store in Redis Cluster", () => {
  let cluster: KillableCluster;
  let ports: number[];

  beforeAll(async () => {
    cluster = await KillableCluster.start();
    ports = Array.from(cluster.fresh().matchAll(/127\.0\.0\.1:(\d+)/g), ([, port]) => Number(port));
  }, 60_000);
  afterAll(() => cluster.stop());

  /** Runs a command at one server. */
  async function command(port: number, ...args: string[]): Promise<unknown> {
    const client = createClient({ socket: { host: "127.0.0.1", port, reconnectStrategy: false } });
    client.on("error", () => {});
    await client.connect();
    try {
      return await client.sendCommand(args);
    } finally {
      client.destroy();
    }
  }

  /** The port of the server that has a slot. */
  async function ownerOf(slot: number): Promise<number> {
    for (const port of ports) {
      const nodes = await command(port, "CLUSTER", "NODES").catch(() => undefined);
      for (const line of String(nodes ?? "").split("\n")) {
        const [, address = "", flags = "", , , , , , ...ranges] = line.split(" ");
        if (!flags.includes("master") || flags.includes("fail")) continue;
        const has = ranges.some((range) => {
          const [from, to = from] = range.split("-").map(Number);
          return slot >= Number(from) && slot <= Number(to);
        });
        if (has) return Number(/:(\d+)@/.exec(address)?.[1]);
      }
    }
    throw new Error(`nobody has slot ${slot}`);
  }

  test("spreads sessions over all primaries, lists them in one order, and hints at those of each", async () => {
    const url = cluster.fresh();
    const [one, two] = [await open(url), await open(url)];
    const heard: Set<string | undefined> = new Set();
    const stop = two.hints((session: SessionKey | undefined) => heard.add(session?.sessionId));
    while (!heard.has(undefined)) await sleep(10);
    const ids = Array.from({ length: 60 }, (_, i) => `s${String(i).padStart(2, "0")}`);
    const cursor = await two.feedEnd();
    const results = await one.run(ids.map((id) => plan(id, { a: "1" })));
    expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(["done"]));
    const listed = await two.sessions({ namespace: "", filter: {}, order: "ID", count: 100 });
    expect(listed.map(({ sessionId }) => sessionId)).toEqual(ids);
    const until = performance.now() + 5_000;
    while (!ids.every((id) => heard.has(id))) {
      expect(performance.now()).toBeLessThan(until);
      await sleep(10);
    }
    expect((await two.feed(cursor, 100)).changes).toHaveLength(60);
    stop();
  });

  test("whose primaries are killed and replaced in turn loses no write that a replica has, and does none twice", {
    timeout: 90_000,
  }, async () => {
    const backend = await open(cluster.fresh("&wait=1&waitTimeout=500"), { timeoutMs: TIMEOUT_MS });
    const load = new Writers(backend, 12);
    const heard: Set<string | undefined> = new Set();
    const stop = backend.hints((session) => heard.add(session?.sessionId));
    for (let which = 0; which < 3; which++) {
      await load.progress(30);
      await cluster.failOver(which);
    }
    await load.progress(30);
    heard.clear();
    await load.progress(200);
    const ids = Array.from({ length: 12 }, (_, i) => `w${i}`);
    for (const until = performance.now() + 20_000; !ids.every((id) => heard.has(id)); ) {
      expect(performance.now()).toBeLessThan(until);
      await sleep(10);
    }
    stop();
    const report = await load.end();
    console.log(
      `3 failovers: ${report.acknowledged} acknowledged writes, ${report.unknown} of unknown outcome, ${report.unavailable} refused, the slowest call took ${Math.round(report.slowestMs)} ms`,
    );
    expect(report.problems).toEqual([]);
    expect(report.slowestMs).toBeLessThan(TIMEOUT_MS + 700);
  });

  test("one of whose primaries hangs fails calls in time, and goes on when a replica has taken over", {
    timeout: 60_000,
  }, async () => {
    const backend = await open(cluster.fresh("&wait=1&waitTimeout=300"), { timeoutMs: TIMEOUT_MS });
    const load = new Writers(backend, 12);
    await load.progress(30);
    const port = await ownerOf(0);
    const pid = Number(/process_id:(\d+)/.exec(String(await command(port, "INFO", "server")))?.[1]);
    process.kill(pid, "SIGSTOP");
    try {
      const started = performance.now();
      // Its replica has none of its own now, so it can be read but confirms no write.
      const unread = new Set(Array.from({ length: 12 }, (_, i) => `w${i}`));
      while (unread.size > 0) {
        for (const id of unread) {
          const [look] = await backend.run([{ kind: "look", session: sessionKey(id) }]);
          if (look?.kind === "look") unread.delete(id);
          else expect(reasonOf(look)).toBe("STORE_UNAVAILABLE");
        }
        expect(performance.now() - started).toBeLessThan(20_000);
      }
      await load.failure(20_000);
      console.log(`a primary hangs: all was read again after ${Math.round(performance.now() - started)} ms`);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await load.everyone(20_000);
    const report = await load.end();
    expect(report.problems).toEqual([]);
    expect(report.unknown + report.unavailable).toBeGreaterThan(0);
    expect(report.slowestMs).toBeLessThan(TIMEOUT_MS + 700);
  });

  test("that moves a slot refuses its sessions meanwhile, never does half, and goes on after", {
    timeout: 60_000,
  }, async () => {
    // One bucket: all in one slot.
    const url = cluster.fresh("&buckets=1");
    const backend = await open(url, { timeoutMs: TIMEOUT_MS });
    await run(backend, plan("s", { a: "1", b: "2" }));
    await run(backend, plan("s", { a: undefined }));
    const prefix = new URL(url.replace(/,[^/]*/, "")).searchParams.get("prefix");
    const slot = Number(await command(ports[0] as number, "CLUSTER", "KEYSLOT", `{${prefix}:0}`));
    const from = await ownerOf(slot);
    const to = await ownerOf((slot + 8_000) % 16_384);
    expect(to).not.toBe(from);
    const [fromId, toId] = [
      String(await command(from, "CLUSTER", "MYID")),
      String(await command(to, "CLUSTER", "MYID")),
    ];
    await command(to, "CLUSTER", "SETSLOT", String(slot), "IMPORTING", fromId);
    await command(from, "CLUSTER", "SETSLOT", String(slot), "MIGRATING", toId);
    const keys = (await command(from, "CLUSTER", "GETKEYSINSLOT", String(slot), "100")) as string[];
    expect(keys.length).toBeGreaterThan(6);
    for (const key of [undefined, ...keys]) {
      if (key !== undefined) await command(from, "MIGRATE", "127.0.0.1", String(to), key, "0", "5000");
      const steps = [
        plan("s", { a: "new", c: "3" }),
        plan("other", { a: "1" }),
        { kind: "look", session: sessionKey("s") },
      ] as const;
      for (const result of await backend.run(steps)) expect(reasonOf(result)).toBe("STORE_UNAVAILABLE");
    }
    for (const port of [to, from]) await command(port, "CLUSTER", "SETSLOT", String(slot), "NODE", toId);
    const until = performance.now() + 5_000;
    for (;;) {
      const [look] = await backend.run([{ kind: "look", session: sessionKey("s") }]);
      if (look?.kind === "look") break;
      expect(performance.now()).toBeLessThan(until);
      await sleep(20);
    }
    expect(await stateOf(backend, "s")).toEqual({ b: "2" });
    expect(await stateOf(backend, "s", 1)).toEqual({ a: "1", b: "2" });
    expect(await run(backend, plan("s", { c: "3" }))).toMatchObject({ kind: "done", revision: 3 });
    expect(await run(backend, { kind: "look", session: sessionKey("other") })).toMatchObject({
      head: undefined,
    });
    const results = await backend.run(Array.from({ length: 30 }, (_, i) => plan("s", { d: `${i}` })));
    expect(results.map((each) => "revision" in each && each.revision)).toEqual(results.map((_, i) => i + 4));
  });
});

/** Writers, each to sessions of its own in turn, who write on until each write is acknowledged. */
class Writers {
  readonly #backend: Backend;
  readonly #running: Promise<void>[];
  readonly #acknowledged: Map<string, number> = new Map();
  #count = 0;
  #unknown = 0;
  #unavailable = 0;
  #slowestMs = 0;
  #ended = false;
  #abandoned = false;
  readonly #problems: string[] = [];

  constructor(backend: Backend, writers: number) {
    this.#backend = backend;
    this.#running = Array.from({ length: writers }, (_, i) => this.#write(`w${i}`));
    onTestFinished(() => {
      this.#ended = this.#abandoned = true;
    });
  }

  /** Waits until so many more writes are acknowledged. */
  async progress(writes: number): Promise<void> {
    const target = this.#count + writes;
    const until = performance.now() + 20_000;
    while (this.#count < target) {
      if (performance.now() > until) throw new Error(`only ${this.#count} of ${target} writes in 20 s`);
      await sleep(10);
    }
  }

  /** Waits until a call has failed. */
  async failure(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while (this.#unknown + this.#unavailable === 0) {
      if (performance.now() > until) throw new Error(`no call failed in ${ms} ms`);
      await sleep(10);
    }
  }

  /** Waits until each writer has had another write acknowledged. */
  async everyone(ms: number): Promise<void> {
    const before = new Map(this.#acknowledged);
    const until = performance.now() + ms;
    const left = (): string[] =>
      [...before].filter(([id, count]) => this.#acknowledged.get(id) === count).map(([id]) => id);
    while (left().length > 0) {
      if (performance.now() > until) throw new Error(`no more writes to ${left()} in ${ms} ms`);
      await sleep(10);
    }
  }

  async end() {
    this.#ended = true;
    await Promise.all(this.#running);
    for (const [id, count] of this.#acknowledged) {
      const look = await run(this.#backend, {
        kind: "look",
        session: sessionKey(id),
        entries: { prefix: "" },
      });
      const { entries = 0 } = look.head ?? {};
      // The last one may have been given up.
      if (entries !== count) this.#problems.push(`${id} has ${entries} entries and not ${count}`);
    }
    return {
      acknowledged: this.#count,
      unknown: this.#unknown,
      unavailable: this.#unavailable,
      slowestMs: this.#slowestMs,
      problems: this.#problems,
    };
  }

  async #write(id: string): Promise<void> {
    for (let i = 0; !this.#ended; i++) {
      const step = plan(id, { [`k${i}`]: "1" }, { request: request(`r${i}`) });
      while (!this.#abandoned) {
        const started = performance.now();
        const [result] = await this.#backend.run([step]);
        this.#slowestMs = Math.max(this.#slowestMs, performance.now() - started);
        if (result?.kind === "done" || result?.kind === "replayed") break;
        const reason = reasonOf(result);
        if (reason === "OUTCOME_UNKNOWN") this.#unknown++;
        else if (reason === "STORE_UNAVAILABLE") this.#unavailable++;
        else this.#problems.push(`${id}: ${reason}`);
        await sleep(20);
      }
      this.#count++;
      this.#acknowledged.set(id, i + 1);
      await sleep(2);
    }
  }
}

function reasonOf(result: StepResult | undefined): string | undefined {
  return result?.kind === "error" ? result.error.reason : result?.kind;
}
