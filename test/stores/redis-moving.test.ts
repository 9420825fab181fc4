/** Moving sessions out of a store in Redis and into one, and rewriting the values there. */
import { createClient } from "@redis/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, StoredRecord } from "../../src/stores/backend.ts";
import { gathered } from "../support/gathered.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { nameSkippedRedis, type SharedRedis, sharedRedis } from "../support/redis.ts";
import {
  bytes,
  end,
  NO_METADATA,
  open,
  plan,
  request,
  run,
  sessionKey,
  stateOf,
  sweepAll,
} from "../support/redis-backend.ts";

nameSkippedRedis("moving sessions of the store in Redis");

describe.runIf(HAS_REDIS)("a store in Redis that is moved", () => {
  let redis: SharedRedis;
  let admin: ReturnType<typeof connect>;

  function connect(url: string) {
    return createClient({ url });
  }

  beforeAll(async () => {
    redis = await sharedRedis();
    admin = connect(redis.url);
    await admin.connect();
  });
  afterAll(() => admin.destroy());

  test("a dump loads into another store as it was, a large one too, and again over what is there", async () => {
    let now = Date.UTC(2026, 0, 1);
    const options = { now: () => now, history: 10 };
    const [from, to] = [await open(redis.fresh(), options), await open(redis.fresh("&buckets=7"), options)];
    const big = "x".repeat(100_000);
    for (let i = 0; i < 30; i++) {
      now += 1;
      const metadata = { ...NO_METADATA, workflowId: `w${i % 2}`, labels: { i: `${Math.floor(i / 4)}` } };
      const more = { ...(i % 3 === 0 ? { metadata } : {}), request: request(`r${i}`) };
      await run(from, plan("s", { [`k${i % 20}`]: `${i}${big}`, a: `${i}`, [`k${i % 7}`]: undefined }, more));
      if (i === 24) await run(from, end("s"));
    }
    await run(from, {
      ...plan("s", {}),
      writes: [{ key: "brief", value: bytes("1"), ttlMs: 1_000 }],
    });
    for (let round = 0; round < 2; round++) {
      await to.load(sessionKey("s"), from.dump(sessionKey("s")));
      expect(await readAll(to, "s")).toEqual(await readAll(from, "s"));
      expect(sortedRecords(await gathered(to.dump(sessionKey("s"))))).toEqual(
        sortedRecords(await gathered(from.dump(sessionKey("s")))),
      );
      expect(
        (await to.sessions({ namespace: "", filter: { workflowId: "w1" }, order: "ID", count: 9 })).length,
      ).toBe(1);
      // What is written to the copy does not hang on what it was made from.
      if (round === 0) for (let i = 0; i < 30; i++) await run(to, plan("s", { a: `new ${i}` }));
    }
    for (const backend of [from, to])
      expect(await run(backend, plan("s", {}, { request: request("r29") }))).toMatchObject({
        kind: "replayed",
      });
    now += 1_000;
    for (const backend of [from, to]) {
      await sweepAll(backend);
      expect(await run(backend, { kind: "look", session: sessionKey("s") })).toMatchObject({
        head: { revision: 33 },
      });
    }
    for (let i = 0; i < 40; i++)
      for (const backend of [from, to]) await run(backend, plan("s", { a: `${i}` }));
    expect(await readAll(to, "s")).toEqual(await readAll(from, "s"));
    await to.load(sessionKey("s"), from.dump(sessionKey("nothing")));
    expect(await gathered(to.dump(sessionKey("s")))).toEqual([]);
  });

  test("a load that fails leaves nothing of itself, and what was there", async () => {
    const url = redis.fresh();
    const [from, to] = [await open(redis.fresh()), await open(url)];
    await run(from, plan("s", { a: "x".repeat(3 << 20), b: "x".repeat(1 << 20) }));
    await run(to, plan("s", { old: "1" }));
    const broken = async function* () {
      for await (const record of from.dump(sessionKey("s"))) {
        if (record.kind === "version" && record.key === "b") throw new Error("the source broke");
        yield record;
      }
    };
    await expect(to.load(sessionKey("s"), broken())).rejects.toThrow("the source broke");
    expect(await stateOf(to, "s")).toEqual({ old: "1" });
    // What was put aside goes by itself.
    const MATCH = `{${new URL(url).searchParams.get("prefix")}*}staged*`;
    for await (const keys of admin.scanIterator({ MATCH, COUNT: 1_000 }))
      for (const key of keys) expect(Number(await admin.sendCommand(["TTL", key]))).toBeGreaterThan(0);
  });

  test.each([
    ["small", 10],
    ["large", 50_000],
  ])("a dump of a %s session that is written meanwhile is of one moment", async (_, size) => {
    const backend = await open(redis.fresh(), { history: 300 });
    const state = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, "0".repeat(size)]));
    await run(backend, plan("s", state));
    for (let round = 1; round <= 10; round++) {
      const at = await stateOf(backend, "s");
      const { head } = await run(backend, { kind: "look", session: sessionKey("s") });
      const live: Record<string, string> = {};
      let writes = 0;
      for await (const record of backend.dump(sessionKey("s"))) {
        if (record.kind === "head") expect(record).toEqual({ kind: "head", ...head });
        if (record.kind !== "version") continue;
        if (record.ended === undefined) live[record.key] = new TextDecoder().decode(record.value);
        if (writes++ >= 20) continue;
        await run(backend, plan("s", { [`k${writes}`]: `${round}`, [`new${round}`]: "1" }));
        if (writes === 10 && round % 3 === 0) await run(backend, end("s"));
      }
      expect(live).toEqual(at);
    }
  });

  test("a dump whose past is dropped while it is read fails", async () => {
    const backend = await open(redis.fresh(), { history: 2 });
    for (let i = 0; i < 5; i++) await run(backend, plan("s", { a: `${i}`, b: "x".repeat(2 << 20) }));
    const hurried = (async () => {
      for await (const record of backend.dump(sessionKey("s")))
        if (record.kind === "head") for (let i = 0; i < 40; i++) await run(backend, plan("s", { a: `${i}` }));
    })();
    await expect(hurried).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  });

  test("values are rewritten in every kept version, and the size of the session with them", async () => {
    const backend = await open(redis.fresh());
    for (let i = 0; i < 10; i++) await run(backend, plan("s", { a: `a${i}`, [`k${i}`]: `k${i}` }));
    await run(backend, plan("s", { k0: undefined }));
    const before = await readAll(backend, "s");
    const count = await backend.rewriteValues(sessionKey("s"), (key, value) => {
      const text = new TextDecoder().decode(value);
      expect(text.startsWith(key.slice(0, 1))).toBe(true);
      return text.startsWith("+") || text === "a3" ? undefined : bytes(`+${text}`);
    });
    expect(count).toBe(19);
    const after = await readAll(backend, "s");
    expect(after.state).toEqual(
      Object.fromEntries(Object.entries(before.state).map(([key, text]) => [key, `+${text}`])),
    );
    expect(after.head).toEqual({ ...before.head, bytes: (before.head?.bytes ?? 0) + 10 });
    expect(await stateOf(backend, "s", 4)).toMatchObject({ a: "a3", k3: "+k3" });
    expect(await backend.rewriteValues(sessionKey("none"), () => bytes("x"))).toBe(0);
  });

  test("a dump leaves out remembered answers beyond their retention, a large one too", async () => {
    let now = Date.UTC(2026, 0, 1);
    const options = { now: () => now, requestRetentionMs: 1_000 };
    const backend = await open(redis.fresh(), options);
    for (const [session, size] of [
      ["small", 1],
      ["large", 3 << 20],
    ] as const) {
      await run(backend, plan(session, { a: "x".repeat(size) }, { request: request("old") }));
      now += 999;
      await run(backend, plan(session, { b: "1" }, { request: request("new") }));
      expect(await requestIds(backend, session)).toEqual(["new", "old"]);
      now += 1;
      expect(await requestIds(backend, session)).toEqual(["new"]);
      const copy = await open(redis.fresh(), { ...options, requestRetentionMs: 1e9 });
      await copy.load(sessionKey(session), backend.dump(sessionKey(session)));
      expect(await requestIds(copy, session)).toEqual(["new"]);
    }
  });
});

describe.runIf(HAS_REDIS)("a server whose sessions are moved", () => {
  let server: KillableRedis;

  beforeAll(async () => {
    server = await KillableRedis.start();
  });
  afterAll(() => server.stop());

  test("gives a dump in pieces of about 1 MiB, however many versions a key has, and nothing of it twice", async () => {
    const backend = await open(server.fresh(), { timeoutMs: 60_000 });
    const expected: string[] = [];
    const lived: Map<string, number> = new Map();
    let revision = 0;
    /** Writes values of a third of a MiB, and notes which versions a dump should give for them. */
    const write = async (keys: readonly string[]): Promise<void> => {
      revision += 1;
      const values = keys.map((key) => [key, `${revision} ${key} `.padEnd(350_000, "x")] as const);
      await run(backend, plan("s", Object.fromEntries(values)));
      for (const key of keys) endOf(key);
      for (const key of keys) lived.set(key, revision);
    };
    const endOf = (key: string): void => {
      const since = lived.get(key);
      if (since !== undefined) expected.push(`${key} ${since} ${revision}`);
      lived.delete(key);
    };
    for (let i = 0; i < 24; i++) await write(["doc"]);
    await run(backend, plan("s", { doc: undefined }));
    revision += 1;
    endOf("doc");
    for (let i = 0; i < 9; i++) await write(["a", "doc", "z"]);
    await run(backend, end("s"));
    revision += 1;
    for (const key of ["a", "doc", "z"]) endOf(key);
    for (let i = 0; i < 16; i++) await write(["doc", `k${i % 2}`]);
    const live = Array.from(lived, ([key, since]) => `${key} ${since} live`);

    const client = createClient({ socket: { host: "127.0.0.1", port: server.port } });
    await client.connect();
    const sent = async (): Promise<number> =>
      Number(/total_net_output_bytes:(\d+)/.exec(String(await client.sendCommand(["INFO", "stats"])))?.[1]);
    const found: string[] = [];
    let largest = 0;
    let before = await sent();
    for await (const record of backend.dump(sessionKey("s"))) {
      const after = await sent();
      largest = Math.max(largest, after - before);
      before = after;
      if (record.kind !== "version") continue;
      const { key, revision: made, ended = "live", value = new Uint8Array() } = record;
      expect(new TextDecoder().decode(value.subarray(0, 20))).toMatch(new RegExp(`^${made} ${key} x`));
      expect(value.length).toBe(350_000);
      found.push(`${key} ${made} ${ended}`);
    }
    client.destroy();
    expect(found.toSorted()).toEqual([...expected, ...live].toSorted());
    // A piece, and the one version with which it is full.
    expect(largest).toBeLessThan(2 << 20);
  });
});

const ALL = { from: 1, to: 1_000_000, reverse: false, count: 1_000, bytes: 1 << 24 };

/** All that can be read of a session. */
async function readAll(backend: Backend, sessionId: string) {
  const session = sessionKey(sessionId);
  const { head } = await run(backend, { kind: "look", session });
  const states: unknown[] = [];
  for (let at = head?.oldest ?? 1; at <= (head?.revision ?? 0); at++) {
    const look = await run(backend, { kind: "look", session, entries: { prefix: "" }, atRevision: at });
    states.push([at, look.entries, look.moment]);
  }
  const { events } = await backend.events({ ...ALL, session });
  return { head, states, events, state: await stateOf(backend, sessionId) };
}

function sortedRecords(records: readonly object[]): string[] {
  return records.map((record) => JSON.stringify(record, Object.keys(record).sort())).sort();
}

/** The ids of the answers that a dump gives. */
async function requestIds(backend: Backend, sessionId: string): Promise<string[]> {
  const records: StoredRecord[] = await gathered(backend.dump(sessionKey(sessionId)));
  return records.flatMap((record) => (record.kind === "request" ? [record.requestId] : [])).sort();
}
