import { statSync } from "node:fs";
import { expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { Backend, FeedChange, SessionKey } from "../../src/stores/backend.ts";
import {
  apply,
  end,
  inconsistencies,
  logBytes,
  logTransactions,
  look,
  newPath,
  open,
  openFile,
  query,
  session,
  set,
  value,
} from "../support/sqlite-file.ts";

/** A clock that stands still until it is moved. */
class Clock {
  time: number = Date.UTC(2026, 0, 1);
  readonly now = (): number => this.time;
}

test("writes that come together share a transaction, and each is there", async () => {
  const path = newPath();
  const backend = await open(path, { checkpointPages: 1_000_000 });
  await apply(backend, set("first", { k: value("v") }));
  const before = logTransactions(path);
  const plans = Array.from({ length: 1_000 }, (_, i) => set(`s${i % 50}`, { [`k${i}`]: value(`v${i}`) }));
  const results = await Promise.all(plans.map((plan) => backend.run([plan])));
  expect(results.flat().every((result) => result.kind === "done")).toBe(true);
  expect(logTransactions(path) - before).toBeLessThanOrEqual(200);
  expect((await look(backend, "s7")).head).toMatchObject({ revision: 20, entries: 20 });
  expect(inconsistencies(path)).toEqual([]);
});

test("the steps of a run see those before them, and a look in between sees what was written by then", async () => {
  const backend = await open(newPath());
  const seen = await backend.run([
    set("a", { k: value("1") }),
    { kind: "look", session: session("a"), entries: { keys: ["k"] } },
    set("a", { k: value("2") }, { ifRevision: 1 }),
    set("a", { k: value("3") }, { checks: [{ key: "k", ifRevision: 1 }] }),
    { kind: "look", session: session("a"), entries: { keys: ["k"] } },
  ]);
  expect(seen).toMatchObject([
    { kind: "done", revision: 1 },
    { kind: "look", entries: [{ value: value("1") }] },
    { kind: "done", revision: 2 },
    { kind: "failed", failedChecks: [{ key: "k", ifRevision: 1, actualRevision: 2 }] },
    { kind: "look", entries: [{ value: value("2") }], head: { revision: 2 } },
  ]);
});

test("keys are ordered by their UTF-8, NUL and all, in both directions and from any place", async () => {
  const backend = await open(newPath());
  const keys = ["a", "a\0", "a\0b", "a\u{1f600}", "a\uffff", "b", "\u{1f600}", "\uffff"];
  const sorted = ["a", "a\0", "a\0b", "a\uffff", "a\u{1f600}", "b", "\uffff", "\u{1f600}"];
  await apply(backend, set("s", Object.fromEntries(keys.map((key) => [key, value(key)]))));
  const page = { from: "", reverse: false, count: 100, bytes: 1 << 20 };
  const keysOf = async (prefix: string, rest: object): Promise<string[]> =>
    (await look(backend, "s", { entries: { prefix, page: { ...page, ...rest } } })).entries.map(
      ({ key }) => key,
    );
  expect(await keysOf("", {})).toEqual(sorted);
  expect(await keysOf("", { reverse: true })).toEqual(sorted.toReversed());
  expect(await keysOf("a", {})).toEqual(sorted.slice(0, 5));
  expect(await keysOf("a", { from: "a\0" })).toEqual(sorted.slice(2, 5));
  expect(await keysOf("a", { from: "a\uffff", reverse: true })).toEqual(sorted.slice(0, 3).toReversed());
  expect(await keysOf("", { from: "a", count: 2 })).toEqual(["a\0", "a\0b"]);
});

test("a page ends at its count and at its bytes, and says whether there is more", async () => {
  const backend = await open(newPath());
  await apply(backend, set("s", { a: value(100), b: value(5_000), c: value(100) }));
  const page = async (count: number, bytes: number): Promise<[number, boolean]> => {
    const { entries, more } = await look(backend, "s", {
      entries: { prefix: "", page: { from: "", reverse: false, count, bytes } },
    });
    return [entries.length, more];
  };
  expect(await page(3, 1 << 20)).toEqual([3, false]);
  expect(await page(2, 1 << 20)).toEqual([2, true]);
  expect(await page(3, 1)).toEqual([1, true]);
  expect(await page(3, 165)).toEqual([1, true]);
  expect(await page(3, 165 + 5_065)).toEqual([2, true]);
  expect(await page(3, 165 + 5_065 + 165)).toEqual([3, false]);
});

test("a session is read as it was after each kept revision, whatever the size of its values", async () => {
  const path = newPath();
  const backend = await open(path, { history: 100 });
  const states: Record<string, number>[] = [{}];
  for (let i = 1; i <= 100; i++) {
    const state = { ...states[i - 1] };
    const key = `k${(i * 7) % 10}`;
    if (i % 4 === 3 && state[key] !== undefined) delete state[key];
    else state[key] = i % 3 === 0 ? 2_000 + i : i;
    await apply(backend, set("s", { [key]: state[key] === undefined ? undefined : value(state[key]) }));
    states.push(state);
  }
  for (let revision = 1; revision <= 100; revision++) {
    const { entries } = await look(backend, "s", { atRevision: revision });
    const sizes = Object.fromEntries(entries.map(({ key, value: kept }) => [key, kept?.length]));
    expect(sizes).toEqual(states[revision]);
    const one = await look(backend, "s", { atRevision: revision, entries: { keys: ["k7", "none"] } });
    expect(one.entries.map(({ value: kept }) => kept?.length)).toEqual(
      [states[revision]?.["k7"]].filter((size) => size !== undefined),
    );
  }
  const { events } = await backend.events({
    ...{ session: session("s"), from: 1, to: 100, reverse: false, count: 100, bytes: 1 << 20 },
  });
  expect(events.map(({ entries }) => entries[0]?.value?.length)).toEqual(
    states.slice(1).map((state, i) => state[`k${((i + 1) * 7) % 10}`]),
  );
  expect(inconsistencies(path)).toEqual([]);
});

test("events are read in either direction up to a number of bytes, and the first always", async () => {
  const backend = await open(newPath());
  for (let i = 0; i < 5; i++) await apply(backend, set("s", { k: value(1_000) }));
  const revisions = async (reverse: boolean, count: number, bytes: number): Promise<number[]> => {
    const range = { session: session("s"), from: 2, to: 9, reverse, count, bytes };
    return (await backend.events(range)).events.map(({ revision }) => revision);
  };
  expect(await revisions(false, 10, 1 << 20)).toEqual([2, 3, 4, 5]);
  expect(await revisions(true, 10, 1 << 20)).toEqual([5, 4, 3, 2]);
  expect(await revisions(false, 2, 1 << 20)).toEqual([2, 3]);
  expect(await revisions(false, 10, 1)).toEqual([2]);
  expect(await revisions(true, 10, 2_500)).toEqual([5, 4]);
});

test("what history no longer keeps is gone from the file too, and said to be gone at once", async () => {
  const path = newPath();
  const backend = await open(path, { history: 5 });
  for (let i = 1; i <= 200; i++) await apply(backend, set("s", { k: value(i % 2 ? 2_000 : 10) }));
  const { head } = await look(backend, "s");
  expect(head).toMatchObject({ revision: 200, oldest: 196 });
  expect((await look(backend, "s", { atRevision: 195 })).entries).toEqual([]);
  expect((await look(backend, "s", { atRevision: 196 })).entries).toHaveLength(1);
  expect(query(path, "SELECT count(*) FROM past")[0]?.[0]).toBeLessThan(40);
  expect(query(path, "SELECT count(*) FROM large")[0]?.[0]).toBeLessThan(20);
  expect(inconsistencies(path)).toEqual([]);
});

test("the metadata of each kept revision outlives the commit that wrote it", async () => {
  const backend = await open(newPath(), { history: 10 });
  const metadata = {
    ...{ createTime: undefined, userId: undefined, forkedFrom: undefined, expireTime: undefined },
    ...{ idleTtlMs: undefined, labels: { color: "red" } },
  };
  await apply(backend, set("s", { k: value("v") }, { metadata: { ...metadata, workflowId: "w1" } }));
  for (let i = 0; i < 60; i++) await apply(backend, set("s", { k: value("v") }));
  await apply(backend, set("s", {}, { metadata: { ...metadata, workflowId: "w2" } }));
  for (let i = 0; i < 5; i++) await apply(backend, set("s", { k: value("v") }));
  const workflowAt = async (atRevision: number): Promise<string | undefined> =>
    (await look(backend, "s", { atRevision })).moment?.metadata?.workflowId;
  expect(await workflowAt(67)).toBe("w2");
  expect(await workflowAt(62)).toBe("w2");
  expect(await workflowAt(61)).toBe("w1");
  expect(await workflowAt(58)).toBe("w1");
  expect(await workflowAt(57)).toBeUndefined();
});

test("the feed gives every commit of every namespace once, in the order of each session, and says when some are lost", async () => {
  const clock = new Clock();
  const backend = await open(newPath(), { now: clock.now, history: 3, historyAgeMs: 1_000 });
  const start = await backend.feedEnd();
  for (let i = 0; i < 20; i++) await apply(backend, set(`s${i % 2}`, { k: value("v") }));
  await apply(backend, { ...set("s0", { k: value("v") }), session: { namespace: "other", sessionId: "s0" } });
  await apply(backend, end("s1"));
  const all: FeedChange[] = [];
  for (let cursor = start, more = true; more; ) {
    const part = await backend.feed(cursor, 7);
    expect(part.lost).toBe(false);
    all.push(...part.changes);
    ({ cursor, more } = part);
  }
  const of = (key: SessionKey): number[] =>
    all
      .filter(
        (change) => change.session.namespace === key.namespace && change.session.sessionId === key.sessionId,
      )
      .map(({ revision }) => revision);
  expect(of(session("s0"))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(of(session("s1"))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(of({ namespace: "other", sessionId: "s0" })).toEqual([1]);
  expect(all.at(-1)).toMatchObject({ kind: "DELETED", metadata: { createTime: clock.time } });

  // What is older than history keeps leaves a gap, which is told.
  clock.time += 2_000;
  while ((await backend.sweep()).more);
  expect(await backend.feed(start, 100)).toMatchObject({ changes: [], lost: true, more: false });
  await apply(backend, set("s0", { k: value("v") }));
  expect(await backend.feed(start, 100)).toMatchObject({
    changes: [{ revision: 11 }],
    lost: true,
    more: false,
  });
  const end22 = (await backend.feed(start, 100)).cursor;
  expect(await backend.feed(end22, 100)).toEqual({ changes: [], cursor: end22, lost: false, more: false });
});

test("the feed goes back further than the history of a busy session, but not for ever", {
  timeout: 60_000,
}, async () => {
  const path = newPath();
  const backend = await open(path, { history: 4 });
  const metadata = {
    ...{ createTime: undefined, userId: undefined, labels: {}, forkedFrom: undefined },
    ...{ expireTime: undefined, idleTtlMs: undefined },
  };
  const start = await backend.feedEnd();
  const write = (count: number, workflowId: string): Promise<unknown> =>
    backend.run([
      set("s", {}, { metadata: { ...metadata, workflowId } }),
      ...Array.from({ length: count - 1 }, () => set("s", { k: value("v") })),
    ]);
  await write(9_000, "first");
  await write(500, "second");
  const part = await backend.feed(start, 9_200);
  expect(part).toMatchObject({ lost: false, more: true });
  // What the session was then, though its history no longer knows.
  expect(part.changes[9_000 - 1]).toMatchObject({ revision: 9_000, metadata: { workflowId: "first" } });
  expect(part.changes[9_000]).toMatchObject({ revision: 9_001, metadata: { workflowId: "second" } });
  expect((await look(backend, "s")).head).toMatchObject({ revision: 9_500, oldest: 9_497 });
  await write(2_000, "third");
  expect(await backend.feed(start, 1)).toMatchObject({ lost: true });
  expect(await backend.feed(part.cursor, 1)).toMatchObject({ lost: false });
  expect(query(path, "SELECT count(*) FROM event")[0]?.[0]).toBeLessThan(10_200);
  expect(inconsistencies(path)).toEqual([]);
});

test("guards that no longer hold make a plan stale, and limits make it too large", async () => {
  const limits = { ...DEFAULT_LIMITS, entries: 3, sessionBytes: 10_000 };
  const backend = await open(newPath(), { limits });
  const one = { k: value("v") };
  expect(await apply(backend, set("s", one, { guards: { revision: 0, metadataRevision: 0 } }))).toMatchObject(
    { kind: "done" },
  );
  const stale = [
    { revision: 0 },
    { metadataRevision: 0 },
    { entries: [{ key: "k", ifRevision: 0 }] },
    { entries: [{ key: "none", ifRevision: 1 }] },
  ];
  for (const guards of stale)
    expect(await apply(backend, set("s", one, { guards }))).toEqual({ kind: "stale" });
  const holds = { revision: 1, metadataRevision: 1, entries: [{ key: "k", ifRevision: 1 }] };
  expect(await apply(backend, set("s", one, { guards: holds }))).toMatchObject({ kind: "done", revision: 2 });
  expect(await apply(backend, set("s", { a: value(1), b: value(1), c: value(1) }))).toEqual({
    kind: "tooLarge",
    before: { entries: 1, bytes: 2 },
    after: { entries: 4, bytes: 8 },
  });
  expect(await apply(backend, set("s", { k: value(10_000) }))).toMatchObject({
    kind: "tooLarge",
    after: { bytes: 10_001 },
  });
  const always = { ...set("t", {}), writes: [{ key: "k", value: undefined, always: true }] };
  expect(await apply(backend, always)).toMatchObject({ kind: "done", wrote: true, revision: 1 });
  expect(await apply(backend, set("t", { none: undefined }))).toMatchObject({
    kind: "done",
    wrote: false,
    revision: 1,
  });
  expect(await apply(backend, end("none"))).toEqual({
    kind: "done",
    wrote: false,
    revision: 0,
    updateTime: undefined,
    time: expect.any(Number),
  });
});

test("a request id is known by its fingerprint for as long as it is kept, also where nothing was written", async () => {
  const clock = new Clock();
  const backend = await open(newPath(), { now: clock.now, requestRetentionMs: 1_000 });
  const request = { id: "r", fingerprint: "f".repeat(24), kept: value("kept") };
  const nothing = set("s", { none: undefined }, { request });
  expect(await apply(backend, nothing)).toMatchObject({ kind: "done", wrote: false, revision: 0 });
  const replayed = {
    kind: "replayed",
    wrote: false,
    revision: 0,
    updateTime: undefined,
    time: clock.time,
    kept: value("kept"),
  };
  clock.time += 10;
  expect(await apply(backend, nothing)).toEqual(replayed);
  expect(await apply(backend, set("s", { k: value("v") }, { request }))).toEqual(replayed);
  const other = { ...request, fingerprint: "g".repeat(24) };
  expect(await apply(backend, set("s", { k: value("v") }, { request: other }))).toEqual({ kind: "reused" });
  clock.time += 1_000;
  expect(await apply(backend, set("s", { k: value("v") }, { request: other }))).toMatchObject({
    kind: "done",
    revision: 1,
  });
});

test("a session that ended is forgotten when nothing of it is kept, and its revisions are not used again", async () => {
  const clock = new Clock();
  const path = newPath();
  const backend = await open(path, { now: clock.now, historyAgeMs: 1_000, requestRetentionMs: 5_000 });
  const request = { id: "r", fingerprint: "f".repeat(24), kept: new Uint8Array() };
  for (let i = 0; i < 9; i++) await apply(backend, set("s", { k: value(2_000) }));
  await apply(backend, { ...end("s"), request });
  await apply(backend, set("alive", { k: value("v") }));
  clock.time += 1_000;
  await backend.sweep();
  expect((await look(backend, "s", { requestId: "r" })).remembered).toMatchObject({ kept: new Uint8Array() });
  expect((await look(backend, "s")).head).toMatchObject({ revision: 10, oldest: 11, metadata: undefined });
  clock.time += 4_000;
  await backend.sweep();
  expect(await look(backend, "s")).toMatchObject({ head: undefined, floor: 10 });
  expect((await look(backend, "alive")).head).toMatchObject({ revision: 1, oldest: 2, entries: 1 });
  expect(query(path, "SELECT count(*) FROM past")).toEqual([[0]]);
  expect(query(path, "SELECT count(*) FROM large")).toEqual([[0]]);
  expect(await apply(backend, set("s", { k: value("v") }))).toMatchObject({ kind: "done", revision: 11 });
  expect((await look(backend, "s")).head).toMatchObject({ born: 10 });
  expect(inconsistencies(path)).toEqual([]);
});

test("a sweep does a bounded part, says that there is more, and when something is due next", async () => {
  const clock = new Clock();
  const backend = await open(newPath(), { now: clock.now });
  const leases = Array.from({ length: 2_500 }, (_, i) => {
    const ttlMs = i < 2_400 ? 1_000 : 6_000;
    return { ...set(`s${i}`, {}), writes: [{ key: "k", value: value("v"), ttlMs }] };
  });
  await backend.run(leases);
  expect(await backend.sweep()).toEqual({ more: false, nextDue: clock.time + 1_000, now: clock.time });
  clock.time += 1_000;
  const first = await backend.sweep();
  expect(first.more).toBe(true);
  let turns = 1;
  while ((await backend.sweep()).more) turns++;
  expect(turns).toBeGreaterThan(1);
  expect(await backend.sweep()).toMatchObject({ more: false, nextDue: clock.time + 5_000 });
  const { head, entries } = await look(backend, "s0");
  expect({ revision: head?.revision, entries }).toEqual({ revision: 2, entries: [] });
});

test("an idle session's deadline moves with its writes, without a write of its own", async () => {
  const clock = new Clock();
  const path = newPath();
  const backend = await open(path, { now: clock.now });
  const metadata = {
    ...{ createTime: undefined, workflowId: undefined, userId: undefined, forkedFrom: undefined },
    ...{ expireTime: undefined, idleTtlMs: 1_000, labels: {} },
  };
  await apply(backend, set("s", { k: value("v") }, { metadata }));
  const noted = (): unknown => query(path, "SELECT next_due FROM head")[0]?.[0];
  const first = noted();
  clock.time += 600;
  await apply(backend, set("s", { k: value("v") }));
  expect(noted()).toBe(first);
  clock.time += 600;
  expect((await look(backend, "s")).head?.metadata).toBeDefined();
  clock.time += 400;
  expect((await look(backend, "s")).head).toMatchObject({ metadata: undefined, expiredRevision: 3 });
});

test("a hint comes with each commit, and none after the listener has left", async () => {
  const backend = await open(newPath());
  const heard: (string | undefined)[] = [];
  const leave = backend.hints((key) => heard.push(key?.sessionId));
  const leaveToo = backend.hints((key) => heard.push(key?.sessionId));
  await apply(backend, set("s", { k: value("v") }));
  expect(heard).toEqual(["s", "s"]);
  leave();
  await apply(backend, set("t", { k: value("v") }));
  leaveToo();
  await apply(backend, set("u", { k: value("v") }));
  expect(heard).toEqual(["s", "s", "t"]);
});

test("one changed key of 10,000 costs a bounded number of bytes, and so does one of few", async () => {
  const path = newPath();
  const backend = await open(path, { checkpointPages: 1_000_000 });
  const keys = (from: number): Record<string, Uint8Array> =>
    Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`key-${from + i}`, value(95)]));
  for (let i = 0; i < 10; i++) await apply(backend, set("large", keys(i * 1_000)));
  expect((await look(backend, "large", { entries: { keys: [] } })).head).toMatchObject({ entries: 10_000 });
  const cost = async (sessionId: string, key: string): Promise<number> => {
    const before = logBytes(path);
    await apply(backend, set(sessionId, { [key]: value(95) }));
    return logBytes(path) - before;
  };
  // Pages of 4 KiB: the head, its place by time, the entry, its past, the event, its place by session, and what those grow by.
  for (let i = 0; i < 20; i++)
    expect(await cost("large", `key-${(i * 7919) % 10_000}`)).toBeLessThan(20 * 4_120);
  await cost("small", "k");
  expect(await cost("small", "k")).toBeLessThan(12 * 4_120);
});

test("the log stays small, however much is written", async () => {
  const path = newPath();
  const backend = await open(path, { checkpointPages: 500, history: 1 });
  for (let i = 0; i < 40; i++) await apply(backend, set("s", { [`k${i}`]: value(500_000) }));
  expect(statSync(path).size).toBeGreaterThan(40 * 500_000);
  expect(logBytes(path)).toBeLessThan(8 << 20);
});

test("what is closed is put into one file, and answers no more", async () => {
  const path = newPath();
  const backend = await openFile(path);
  const written = apply(backend, set("s", { k: value("v") }));
  await backend.close();
  expect(await written).toMatchObject({ kind: "done" });
  expect(() => statSync(`${path}-wal`)).toThrow("ENOENT");
  const calls: (() => Promise<unknown>)[] = [
    () => look(backend, "s"),
    () => apply(backend, set("s", { k: value("v") })),
    () => backend.feedEnd(),
    () => backend.sweep(),
    () => backend.sessionKeys(undefined, 10),
    () => backend.sessions({ namespace: "", filter: {}, order: "ID", count: 10 }),
    () => backend.dump(session("s"))[Symbol.asyncIterator]().next(),
  ];
  for (const call of calls) await expect(call()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  await backend.close();
  const again: Backend = await open(path);
  expect((await look(again, "s")).entries).toHaveLength(1);
});
