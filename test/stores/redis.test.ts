/** What the conformance suite does not see of the store in Redis: how it keeps sessions in one server. */
import { createClient } from "@redis/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  Backend,
  FeedChange,
  ListedSession,
  SessionKey,
  SessionQuery,
} from "../../src/stores/backend.ts";
import { compareUtf8 } from "../../src/stores/order.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { sleep } from "../support/network.ts";
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

nameSkippedRedis("the store in Redis");

const ODD = ["", "\u0000", "a", "a\u0000", "a\u0000b", "ab", "b", "é", "\uffff", "😀", "{x}", "%", "\n"];

describe.runIf(HAS_REDIS)("a store in Redis", () => {
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

  /** The names of all keys of a store. */
  async function keysOf(url: string): Promise<string[]> {
    const prefix = new URL(url).searchParams.get("prefix");
    const keys: string[] = [];
    for await (const some of admin.scanIterator({ MATCH: `{${prefix}*`, COUNT: 1_000 })) keys.push(...some);
    return keys;
  }

  /** Everything that lies in a store, byte for byte. */
  async function contentOf(url: string): Promise<Record<string, string>> {
    const keys = (await keysOf(url)).sort();
    const dumps = await Promise.all(keys.map((key) => admin.sendCommand(["DUMP", key])));
    return Object.fromEntries(keys.map((key, i) => [key, String(dumps[i])]));
  }

  test("a plan that fails at its last check, its guard or its size writes nothing at all", async () => {
    const url = redis.fresh();
    const backend = await open(url, {
      limits: { ...(await import("../../src/store.ts")).DEFAULT_LIMITS, entries: 3, sessionBytes: 100 },
    });
    await run(backend, plan("s", { a: "1", b: "2" }));
    const before = await contentOf(url);
    const checks = [
      { key: "a", ifRevision: 1 },
      { key: "b", ifRevision: 7 },
      { key: "c", ifRevision: 4 },
    ];
    expect(
      await run(backend, plan("s", { a: "3" }, { checks, ifRevision: 9, request: request("r") })),
    ).toEqual({
      kind: "failed",
      failedChecks: [
        { key: "", ifRevision: 9, actualRevision: 1 },
        { key: "b", ifRevision: 7, actualRevision: 1 },
        { key: "c", ifRevision: 4, actualRevision: 0 },
      ],
    });
    for (const guards of [
      { revision: 2 },
      { metadataRevision: 0 },
      { entries: [{ key: "a", ifRevision: 0 }] },
    ])
      expect(await run(backend, plan("s", { a: "3" }, { guards }))).toEqual({ kind: "stale" });
    expect(await run(backend, plan("s", { c: "3", d: "4" }))).toEqual({
      kind: "tooLarge",
      before: { entries: 2, bytes: 4 },
      after: { entries: 4, bytes: 8 },
    });
    expect(await run(backend, plan("s", { a: "x".repeat(100) }))).toMatchObject({
      kind: "tooLarge",
      after: { entries: 2, bytes: 103 },
    });
    expect(await contentOf(url)).toEqual(before);
  });

  test("all keys of a session and of its bucket lie in one slot", async () => {
    const url = redis.fresh("&buckets=8");
    const backend = await open(url, { history: 2 });
    for (let i = 0; i < 40; i++) {
      const metadata = { ...NO_METADATA, workflowId: `w${i}`, labels: { a: "b" } };
      await run(backend, plan(`s${i} {x}`, { a: "1", b: "2" }, { metadata, request: request("r") }));
      await run(backend, plan(`s${i} {x}`, { a: undefined, c: "3" }));
    }
    for (let i = 0; i < 20; i++) await run(backend, end(`s${i} {x}`));
    const slots: Map<string, Set<unknown>> = new Map();
    for (const key of await keysOf(url)) {
      const tag = key.slice(0, key.indexOf("}"));
      const seen = slots.get(tag) ?? new Set();
      slots.set(tag, seen.add(await admin.sendCommand(["CLUSTER", "KEYSLOT", key]).catch(() => slotOf(key))));
    }
    // Eight buckets and the layout.
    expect(slots.size).toBe(9);
    for (const seen of slots.values()) expect(seen.size).toBe(1);
  });

  test("keys and ids are any text, and stand in the order of their UTF-8", async () => {
    const backend = await open(redis.fresh("&buckets=3"));
    const keys = ODD.slice(1);
    await run(backend, plan("s", Object.fromEntries(keys.map((key) => [key, key]))));
    const sorted = keys.toSorted(compareUtf8);
    expect(Object.keys(await stateOf(backend, "s"))).toEqual(sorted);
    for (const reverse of [false, true]) {
      const seen: string[] = [];
      for (let from = ""; ; from = seen.at(-1) as string) {
        const page = { from, reverse, count: 2, bytes: 10_000 };
        const { entries, more } = await run(backend, {
          kind: "look",
          session: sessionKey("s"),
          entries: { prefix: "", page },
        });
        seen.push(...entries.map(({ key }) => key));
        if (!more) break;
      }
      expect(seen).toEqual(reverse ? sorted.toReversed() : sorted);
    }
    for (const prefix of keys) {
      const expected = sorted.filter((key) => key.startsWith(prefix));
      for (const from of ["", ...keys])
        for (const reverse of [false, true]) {
          const page = { from, reverse, count: 100, bytes: 10_000 };
          const { entries } = await run(backend, {
            kind: "look",
            session: sessionKey("s"),
            entries: { prefix, page },
          });
          const after = expected.filter(
            (key) => from === "" || (reverse ? compareUtf8(key, from) < 0 : compareUtf8(key, from) > 0),
          );
          expect(entries.map(({ key }) => key)).toEqual(reverse ? after.toReversed() : after);
        }
    }
    for (const namespace of ODD)
      for (const sessionId of keys)
        await run(backend, { ...plan("", { k: sessionId }), session: { namespace, sessionId } });
    for (const namespace of ODD) {
      const { ids } = await pages(backend, { namespace, filter: {}, order: "ID", count: 3 });
      expect(ids).toEqual(namespace === "" ? ["s", ...keys].toSorted(compareUtf8) : sorted);
    }
    const all = await allKeys(backend, 7);
    expect(all).toHaveLength(ODD.length * keys.length + 1);
    expect(new Set(all.map(({ namespace, sessionId }) => JSON.stringify([namespace, sessionId]))).size).toBe(
      all.length,
    );
  });

  test("keys and session ids are as long as lengths of two bytes say, and a limit that allows longer ones is refused", async () => {
    const { DEFAULT_LIMITS } = await import("../../src/store.ts");
    for (const name of ["keyBytes", "sessionIdBytes"] as const)
      await expect(
        open(redis.fresh(), { limits: { ...DEFAULT_LIMITS, [name]: 65_536 } }),
      ).rejects.toMatchObject({ reason: "INVALID_REQUEST", metadata: { field: `limits.${name}` } });
    const limits = { ...DEFAULT_LIMITS, keyBytes: 65_535, sessionIdBytes: 65_535 };
    const backend = await open(redis.fresh(), { limits, history: 2 });
    const [id, key] = ["s".repeat(65_535), "k".repeat(65_535)];
    const cursor = await backend.feedEnd();
    for (const value of ["1", "2", "3"]) await run(backend, plan(id, { [key]: value }));
    expect(await stateOf(backend, id)).toEqual({ [key]: "3" });
    expect(await stateOf(backend, id, 2)).toEqual({ [key]: "2" });
    const { events } = await backend.events({ ...ALL, session: sessionKey(id) });
    expect(events.map(({ entries }) => entries.map((entry) => entry.key))).toEqual([[key], [key]]);
    const { changes } = await backend.feed(cursor, 10);
    expect(changes.map(({ session }) => session.sessionId)).toEqual([id, id, id]);
  });

  test("a page of entries ends at its bytes, and its first entry always fits", async () => {
    const backend = await open(redis.fresh());
    await run(backend, plan("s", { a: "x".repeat(1_000), b: "y".repeat(500), c: "z" }));
    const look = (from: string, room: number) =>
      run(backend, {
        kind: "look",
        session: sessionKey("s"),
        entries: { prefix: "", page: { from, reverse: false, count: 10, bytes: room } },
      });
    expect((await look("", 10)).entries.map(({ key }) => key)).toEqual(["a"]);
    expect((await look("", 1_065 + 564)).entries.map(({ key }) => key)).toEqual(["a"]);
    expect((await look("", 1_065 + 565)).entries.map(({ key }) => key)).toEqual(["a", "b"]);
    expect(await look("a", 565 + 66)).toMatchObject({ more: false, entries: [{ key: "b" }, { key: "c" }] });
    expect(await look("c", 10)).toMatchObject({ more: false, entries: [] });
  });

  test("a session is read as it was at each kept revision, over removals, ends and new beginnings", async () => {
    const backend = await open(redis.fresh(), { history: 12 });
    const states: Record<string, string>[] = [{}];
    const step = async (values: Record<string, string | undefined>): Promise<void> => {
      await run(backend, plan("s", values));
      states.push(await stateOf(backend, "s"));
    };
    for (let i = 0; i < 40; i++) {
      await step({ a: `${i}`, [`k${i % 3}`]: `${i}`, [`k${(i + 1) % 3}`]: undefined });
      if (i % 5 === 4) {
        await run(backend, end("s"));
        states.push({});
      }
      if (i % 7 === 3) await step({ a: undefined, z: `${i}` });
      const { head } = await run(backend, { kind: "look", session: sessionKey("s") });
      expect(head?.revision).toBe(states.length - 1);
      for (let at = Math.max(1, head?.oldest ?? 0); at < states.length; at++)
        expect(await stateOf(backend, "s", at)).toEqual(states[at]);
    }
    const range = {
      session: sessionKey("s"),
      from: 1,
      to: 1_000,
      reverse: false,
      count: 1_000,
      bytes: 1 << 20,
    };
    const { events } = await backend.events(range);
    expect(events).toHaveLength(12);
    for (const { revision, entries, ended } of events) {
      const state = states[revision] as Record<string, string>;
      expect(ended).toBe(Object.keys(state).length === 0);
      for (const { key, value } of entries) expect(value && new TextDecoder().decode(value)).toBe(state[key]);
    }
    expect((await backend.events({ ...range, reverse: true })).events).toEqual(events.toReversed());
    expect((await backend.events({ ...range, reverse: true, bytes: 1 })).events).toEqual(events.slice(-1));
  });

  test("what history no longer needs is gone from the server", async () => {
    const url = redis.fresh("&buckets=1");
    const backend = await open(url, { history: 3 });
    const size = async (letter: string): Promise<number> => {
      const key = (await keysOf(url)).find((name) => name.includes(`}${letter}0::s`));
      return key === undefined ? 0 : Number(await admin.sendCommand(["HLEN", key]));
    };
    for (let i = 0; i < 100; i++) {
      const metadata = { ...NO_METADATA, labels: { i: `${i}` } };
      await run(
        backend,
        plan("s", { hot: `${i}`, [`k${i}`]: "new", [`k${i - 1}`]: undefined }, { metadata }),
      );
      expect(await size("l")).toBeLessThanOrEqual(3 + 17);
      expect(await size("e")).toBeLessThanOrEqual(2 + 20);
      expect(await size("v")).toBeLessThanOrEqual(2 + 4 * 20);
      if (i % 10 === 9) await run(backend, end("s"));
    }
    expect((await keysOf(url)).filter((name) => name.includes("}E")).length).toBeLessThanOrEqual(2 * 3);
  });

  test("a session that ended is forgotten when nothing of it is kept, and its revisions are not used again", async () => {
    const url = redis.fresh("&buckets=1");
    let now = Date.UTC(2026, 0, 1);
    const backend = await open(url, { now: () => now, historyAgeMs: 1_000, requestRetentionMs: 5_000 });
    await run(backend, plan("s", { a: "1", b: "2" }, { request: request("r") }));
    await run(backend, plan("s", { a: "3", c: "4" }));
    await run(backend, end("s"));
    await run(backend, plan("answered", { x: undefined }, { request: request("only") }));
    expect(await allKeys(backend, 10)).toHaveLength(2);
    now += 999;
    await sweepAll(backend);
    expect(await stateOf(backend, "s", 1)).toEqual({ a: "1", b: "2" });
    now += 1;
    await sweepAll(backend);
    const { head } = await run(backend, { kind: "look", session: sessionKey("s") });
    expect(head).toMatchObject({ revision: 3, oldest: 4, metadata: undefined });
    expect(await run(backend, plan("s", { a: "1" }, { request: request("r", "other") }))).toEqual({
      kind: "reused",
    });
    now += 4_000;
    await sweepAll(backend);
    const gone = await run(backend, { kind: "look", session: sessionKey("s") });
    expect(gone).toMatchObject({ head: undefined, floor: 3 });
    expect(await allKeys(backend, 10)).toEqual([]);
    const left = (await keysOf(url)).map((key) => key.slice(key.indexOf("}") + 1)).sort();
    expect(left).toEqual(["feed", "floors", "schema"]);
    expect(await run(backend, plan("any", { a: "1" }))).toMatchObject({ kind: "done", revision: 4 });
    const again = await run(backend, { kind: "look", session: sessionKey("any") });
    expect(again.head).toMatchObject({ revision: 4, born: 3, oldest: 4 });
  });

  test("a sweep does a bounded part, says that there is more, and when something is due next", async () => {
    let now = Date.UTC(2026, 0, 1);
    const backend = await open(redis.fresh("&buckets=2"), { now: () => now });
    const metadata = { ...NO_METADATA, ttlMs: 1_000 };
    await backend.run(Array.from({ length: 200 }, (_, i) => plan(`s${i}`, { a: "1" }, { metadata })));
    expect(await backend.sweep()).toEqual({ more: false, nextDue: now + 1_000, now });
    now += 1_000;
    const first = await backend.sweep();
    expect(first.more).toBe(true);
    let sweeps = 1;
    while ((await backend.sweep()).more) sweeps++;
    expect(sweeps).toBeGreaterThanOrEqual(3);
    expect(await backend.sessions({ namespace: "", filter: {}, order: "ID", count: 10 })).toEqual([]);
    for (const id of ["s0", "s199"])
      expect((await run(backend, { kind: "look", session: sessionKey(id) })).head?.expiredRevision).toBe(2);
  });

  test("an idle session's deadline moves with its writes, and a listing never shows what has expired", async () => {
    let now = Date.UTC(2026, 0, 1);
    const backend = await open(redis.fresh("&buckets=2"), { now: () => now });
    const metadata = { ...NO_METADATA, idleTtlMs: 100 };
    for (const id of ["kept", "idle"]) await run(backend, plan(id, { a: "1" }, { metadata }));
    for (let i = 0; i < 5; i++) {
      now += 60;
      await run(backend, plan("kept", { a: `${i}` }));
      await sweepAll(backend);
    }
    const list = (order: SessionQuery["order"]) =>
      backend.sessions({ namespace: "", filter: {}, order, count: 10 });
    expect((await list("ID")).map(({ sessionId }) => sessionId)).toEqual(["kept"]);
    now += 100;
    expect(await list("UPDATE_TIME_DESC")).toEqual([]);
    const { head } = await run(backend, { kind: "look", session: sessionKey("kept") });
    expect(head).toMatchObject({
      metadata: undefined,
      revision: 7,
      expiredRevision: 7,
      activeTime: now - 100,
    });
  });

  test("what is due is done before a look, also when a plan of the same run follows", async () => {
    let now = Date.UTC(2026, 0, 1);
    const backend = await open(redis.fresh(), { now: () => now });
    await run(backend, { ...plan("s", {}), writes: [{ key: "a", value: bytes("1"), ttlMs: 10 }] });
    await run(backend, plan("s", { b: "2" }));
    now += 10;
    const look = { kind: "look", session: sessionKey("s"), entries: { prefix: "" } } as const;
    const results = await backend.run([look, plan("s", { c: "3" }), look]);
    expect(results).toMatchObject([
      { head: { revision: 3, entries: 1 }, entries: [{ key: "b" }] },
      { kind: "done", revision: 4 },
      { head: { revision: 4, entries: 2 }, entries: [{ key: "b" }, { key: "c" }] },
    ]);
    expect((await backend.events({ ...ALL, session: sessionKey("s") })).events[2]).toMatchObject({
      kind: "EXPIRED",
      entries: [{ key: "a", value: undefined }],
    });
  });

  test("two stores on one server see each other's writes, know each other's request ids, and hear of each other", async () => {
    const url = redis.fresh();
    const [one, two] = [await open(url), await open(url)];
    const heard: (SessionKey | undefined)[] = [];
    const stop = two.hints((session) => heard.push(session));
    while (heard.length === 0) await sleep(5);
    const cursor = await two.feedEnd();
    expect(await run(one, plan("s", { a: "1" }, { request: request("r") }))).toMatchObject({ revision: 1 });
    expect(await stateOf(two, "s")).toEqual({ a: "1" });
    expect(await run(two, plan("s", { a: "1" }, { request: request("r") }))).toEqual({
      kind: "replayed",
      revision: 1,
      updateTime: expect.any(Number),
      wrote: true,
      kept: bytes("kept of r"),
    });
    expect(await run(two, plan("s", { a: "1" }, { request: request("r", "g") }))).toEqual({ kind: "reused" });
    while (!heard.some((session) => session?.sessionId === "s")) await sleep(5);
    const { changes, lost } = await two.feed(cursor, 10);
    expect(lost).toBe(false);
    expect(changes).toMatchObject([{ session: sessionKey("s"), revision: 1, kind: "COMMITTED" }]);
    stop();
    const count = heard.length;
    await run(one, plan("s", { a: "2" }));
    await sleep(50);
    expect(heard).toHaveLength(count);
  });

  test("the feed gives every commit of every namespace once, in parts, and says when some are lost", async () => {
    const url = redis.fresh("&buckets=2");
    const backend = await open(url);
    const start = await backend.feedEnd();
    const writes = Array.from({ length: 300 }, (_, i) => ({
      ...plan(`s${i % 7}`, { a: `${i}` }),
      session: sessionKey(`s${i % 7}`, `n${i % 3}`),
    }));
    await backend.run(writes);
    await run(backend, end("s0"));
    const seen: FeedChange[] = [];
    for (let cursor = start, more = true; more; ) {
      const part = await backend.feed(cursor, 40);
      expect(part.lost).toBe(false);
      expect(part.changes.length).toBeLessThanOrEqual(40);
      seen.push(...part.changes);
      ({ cursor, more } = part);
    }
    const last: Map<string, number> = new Map();
    for (const { session, revision } of seen) {
      const key = JSON.stringify(session);
      expect(revision).toBe((last.get(key) ?? 0) + 1);
      last.set(key, revision);
    }
    expect(seen).toHaveLength(300);
    for (let i = 0; i < 30; i++)
      await backend.run(Array.from({ length: 100 }, (_, n) => plan(`t${n}`, { a: `${i}` })));
    expect(await backend.feed(start, 40)).toMatchObject({ lost: true, changes: [], more: false });
    // The place of one that a failover has lost, taken by another.
    const cursor = await backend.feedEnd();
    expect(await backend.feed(cursor, 40)).toMatchObject({ lost: false, changes: [] });
    const other = cursor.replace(/\.(\d+)\./, ".1.");
    expect(await backend.feed(other, 40)).toMatchObject({ lost: true });
    await admin.sendCommand(["DEL", ...(await keysOf(url)).filter((key) => key.endsWith("feed"))]);
    expect(await backend.feed(cursor, 40)).toMatchObject({ lost: true });
  });

  test("sessions are listed in both orders and under all filters as one would list them by hand", async () => {
    let now = 1_000;
    const backend = await open(redis.fresh("&buckets=5"), { now: () => now });
    for (let i = 0; i < 120; i++) {
      // Many in the same millisecond.
      if (i % 11 === 0) now += 1;
      const labels = { env: `e${i % 4}`, ...(i % 3 === 0 ? { odd: "\u0000" } : {}) };
      const metadata = { ...NO_METADATA, workflowId: `w${i % 6}`, userId: `u${i % 10}`, labels };
      await run(backend, plan(`${i % 2 ? "ä" : "b"}-${(i * 7) % 120}`, { a: "1" }, { metadata }));
    }
    const { sessions: all } = await pages(backend, { namespace: "", filter: {}, order: "ID", count: 1_000 });
    expect(all).toHaveLength(120);
    const filters: SessionQuery["filter"][] = [
      {},
      { workflowId: "w3" },
      { userId: "u4" },
      { workflowId: "w3", userId: "u3" },
      { labels: { env: "e1" } },
      { labels: { odd: "\u0000", env: "e3" }, workflowId: "w3" },
      { labels: { odd: "none" } },
      { sessionIdPrefix: "ä-1" },
      { sessionIdPrefix: "b", userId: "u2" },
      { updatedAfter: 1_003 },
      { updatedBefore: 1_003 },
      { updatedAfter: 1_002, updatedBefore: 1_009, workflowId: "w2" },
      { updatedAfter: 5_000 },
      { updatedBefore: 1 },
    ];
    for (const filter of filters)
      for (const order of ["ID", "UPDATE_TIME_DESC"] as const)
        for (const count of [1, 7, 1_000]) {
          const expected = all
            .filter(({ sessionId, head }) => {
              const { workflowId, userId, labels } = head.metadata;
              return (
                (filter.workflowId ?? workflowId) === workflowId &&
                (filter.userId ?? userId) === userId &&
                sessionId.startsWith(filter.sessionIdPrefix ?? "") &&
                Object.entries(filter.labels ?? {}).every(([name, text]) => labels[name] === text) &&
                head.updateTime > (filter.updatedAfter ?? 0) &&
                head.updateTime < (filter.updatedBefore ?? 1e15)
              );
            })
            .sort(
              (a, b) =>
                (order === "ID" ? 0 : b.head.updateTime - a.head.updateTime) ||
                compareUtf8(a.sessionId, b.sessionId),
            );
          const { ids } = await pages(backend, { namespace: "", filter, order, count });
          expect(ids).toEqual(expected.map(({ sessionId }) => sessionId));
        }
  });

  test("a session of 10,000 entries is written, ended and forgotten without holding up the server for long", async () => {
    let now = Date.UTC(2026, 0, 1);
    const url = redis.fresh("&buckets=1");
    const backend = await open(url, { now: () => now, historyAgeMs: 1_000 });
    const value = bytes("x".repeat(100));
    const writes = Array.from({ length: 10_000 }, (_, i) => ({ key: `key-${i}`, value, ttlMs: 60_000 }));
    const slowest = async (what: () => Promise<unknown>): Promise<number> => {
      await admin.sendCommand(["SLOWLOG", "RESET"]);
      await admin.sendCommand(["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
      await what();
      await admin.sendCommand(["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
      const log = (await admin.sendCommand(["SLOWLOG", "GET", "10"])) as unknown as [
        number,
        number,
        number,
      ][];
      return Math.max(...log.map(([, , micros]) => micros)) / 1_000;
    };
    const times = {
      write: await slowest(() => run(backend, { ...plan("s", {}), event: "SAVED", writes })),
      read: await slowest(() => stateOf(backend, "s")),
      change: await slowest(() => run(backend, plan("s", { "key-5": "y" }))),
      end: await slowest(() => run(backend, end("s"))),
      again: await slowest(() => run(backend, { ...plan("s", {}), writes })),
      expire: await slowest(async () => {
        now += 60_000;
        await run(backend, { kind: "look", session: sessionKey("s") });
      }),
      forget: await slowest(() => sweepAll(backend)),
    };
    console.log(`a session of 10,000 entries, ms in the server: ${JSON.stringify(times)}`);
    expect(Math.max(times.change, times.end)).toBeLessThan(50);
    expect(Math.max(...Object.values(times))).toBeLessThan(2_000);
    expect(await stateOf(backend, "s", 1)).toEqual({});
  });
});

const ALL = { from: 1, to: 1_000_000, reverse: false, count: 1_000, bytes: 1 << 24 };

/** All pages of a listing. */
async function pages(
  backend: Backend,
  query: SessionQuery,
): Promise<{ ids: string[]; sessions: ListedSession[] }> {
  const sessions: ListedSession[] = [];
  for (;;) {
    const last = sessions.at(-1);
    const after = last && { sessionId: last.sessionId, updateTime: last.head.updateTime };
    const page = await backend.sessions({ ...query, after });
    expect(page.length).toBeLessThanOrEqual(query.count);
    sessions.push(...page);
    if (page.length < query.count) return { ids: sessions.map(({ sessionId }) => sessionId), sessions };
  }
}

async function allKeys(backend: Backend, count: number): Promise<SessionKey[]> {
  const keys: SessionKey[] = [];
  for (;;) {
    const page = await backend.sessionKeys(keys.at(-1), count);
    keys.push(...page);
    if (page.length < count) return keys;
  }
}

/** The hash slot of a key, where the server can't say. */
function slotOf(key: string): string {
  return key.slice(key.indexOf("{"), key.indexOf("}"));
}
