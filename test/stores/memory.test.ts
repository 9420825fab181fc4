import { afterEach, describe, expect, it, vi } from "vitest";
import type { CommitRequest, EncodedForm, WatchMessage } from "../../src/store.ts";
import { type MemoryOptions, type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { decodeValue, encodeValue } from "../../src/value.ts";

const DAY_MS = 86_400_000;

interface Clocked {
  readonly store: MemoryStore;
  readonly clock: { now: number };
}

function clocked(options: MemoryOptions = {}): Clocked {
  const clock = { now: 1_000_000 };
  return { store: memoryStore({ now: () => clock.now, ...options }), clock };
}

function set(
  store: MemoryStore,
  sessionId: string,
  key: string,
  value: unknown,
  more: object = {},
): Promise<unknown> {
  return store.setState({ sessionId, key, value: encodeValue(value), ...more });
}

function commit(store: MemoryStore, request: CommitRequest<EncodedForm>): Promise<unknown> {
  return store.commit(request);
}

async function next(iterator: AsyncIterator<WatchMessage<EncodedForm>>): Promise<WatchMessage<EncodedForm>> {
  const result = await iterator.next();
  if (result.done) throw new Error("the watch ended");
  return result.value;
}

afterEach(() => {
  vi.useRealTimers();
});

describe("what the store counts", () => {
  it("counts sessions, entries and bytes, and is at nothing again when all was deleted and the retention is over", async () => {
    const { store, clock } = clocked({ history: 4 });
    expect(store.usage()).toEqual({ sessions: 0, entries: 0, bytes: 0 });
    for (let i = 0; i < 20; i++) {
      await set(store, `s${i % 3}`, `k${i % 5}`, "x".repeat(i), {
        requestId: `r${i}`,
        ttlMs: i % 2 ? 50 : 0,
      });
      await commit(store, { sessionId: `s${i % 3}`, changes: [{ kind: "delete", key: `k${(i + 1) % 5}` }] });
    }
    expect(store.usage()).toMatchObject({ sessions: 3 });
    expect(store.usage().entries).toBeGreaterThan(0);
    for (const sessionId of ["s0", "s1", "s2"]) await store.deleteSession({ sessionId, requestId: "bye" });
    expect(store.usage()).toMatchObject({ sessions: 0, entries: 0 });
    expect(store.usage().bytes).toBeGreaterThan(0);
    clock.now += DAY_MS;
    store.sweep();
    expect(store.usage()).toEqual({ sessions: 0, entries: 0, bytes: 0 });
  });

  it("does not grow with the number of writes to the same keys", async () => {
    const { store } = clocked({ history: 8 });
    const write = async (times: number): Promise<number> => {
      for (let i = 0; i < times; i++) {
        await set(store, "s", `k${i % 4}`, "same size");
        await commit(store, { sessionId: "s", changes: [{ kind: "delete", key: `k${i % 4}` }] });
      }
      return store.usage().bytes;
    };
    const before = await write(16);
    expect(await write(2_000)).toBe(before);
  });

  it("keeps nothing for reads and failed writes of ids that it doesn't know", async () => {
    const { store } = clocked();
    await store.getSession({ sessionId: "a" });
    await store.listEvents({ sessionId: "b" });
    await store.listState({ sessionId: "c" });
    await store.deleteState({ sessionId: "d", key: "k" });
    await expect(set(store, "e", "k", 1, { ifRevision: 3 })).rejects.toMatchObject({
      reason: "REVISION_MISMATCH",
    });
    await expect(store.forkSession({ sessionId: "f", newSessionId: "g" })).rejects.toMatchObject({
      reason: "SESSION_NOT_FOUND",
    });
    expect(store.usage()).toEqual({ sessions: 0, entries: 0, bytes: 0 });
  });

  it("refuses to grow beyond its bytes with STORAGE_FULL, and works again when there is room", async () => {
    const { store, clock } = clocked({ maxBytes: 20_000, history: 1 });
    await set(store, "s", "a", "x".repeat(15_000));
    await expect(set(store, "s", "b", "x".repeat(15_000))).rejects.toMatchObject({
      reason: "STORAGE_FULL",
      code: "RESOURCE_EXHAUSTED",
    });
    expect(await store.getState({ sessionId: "s", key: "b" })).toBeUndefined();
    expect(await store.getState({ sessionId: "s", key: "a" })).toMatchObject({ revision: 1 });
    await store.deleteSession({ sessionId: "s" });
    clock.now += DAY_MS;
    await set(store, "t", "b", "x".repeat(15_000));
  });
});

describe("ids that were forgotten", () => {
  it("begin above every revision that a forgotten session had, so that an old check can't pass by accident", async () => {
    const { store, clock } = clocked();
    for (let i = 0; i < 3; i++) await set(store, "s", "k", i);
    await store.deleteSession({ sessionId: "s" });
    clock.now += DAY_MS;
    store.sweep();
    await expect(set(store, "s", "k", "again")).resolves.toMatchObject({ revision: 5 });
    await expect(set(store, "new", "k", 1)).resolves.toMatchObject({ revision: 5 });
  });

  it("can be watched from revision 0 before they exist, and resumed from there", async () => {
    const { store, clock } = clocked();
    await set(store, "old", "k", 1);
    await store.deleteSession({ sessionId: "old" });
    clock.now += DAY_MS;
    store.sweep();
    const watch = store.watchSession({ sessionId: "new" })[Symbol.asyncIterator]();
    expect(await next(watch)).toMatchObject({ kind: "snapshot", snapshot: { revision: 0 } });
    await watch.return?.();
    await set(store, "new", "k", 1);
    const resumed = store.watchSession({ sessionId: "new", afterRevision: 0 })[Symbol.asyncIterator]();
    expect(await next(resumed)).toMatchObject({ kind: "event", event: { revision: 3 } });
    await resumed.return?.();
  });

  it("tell the progress of nothing as revision 0, from where a watch can always be resumed", async () => {
    const { store, clock } = clocked({ progressIntervalMs: 5 });
    const forgotten = async (sessionId: string): Promise<void> => {
      await set(store, sessionId, "k", 1);
      await store.deleteSession({ sessionId });
      clock.now += DAY_MS;
      store.sweep();
    };
    await forgotten("old");
    const watch = store.watchSession({ sessionId: "new" })[Symbol.asyncIterator]();
    expect(await next(watch)).toMatchObject({ kind: "snapshot", snapshot: { revision: 0 } });
    expect(await next(watch)).toEqual({ kind: "progress", revision: 0 });
    await watch.return?.();
    for (const sessionId of ["a", "b", "c"]) await forgotten(sessionId);
    const resumed = store.watchSession({ sessionId: "new", afterRevision: 0 })[Symbol.asyncIterator]();
    expect(await next(resumed)).toEqual({ kind: "progress", revision: 0 });
    await set(store, "new", "k", 1);
    expect(await next(resumed)).toMatchObject({ kind: "event", event: { kind: "COMMITTED" } });
    await resumed.return?.();
  });

  it("stay while they are watched, and go when the watch ends", async () => {
    const { store, clock } = clocked();
    await set(store, "s", "k", 1);
    const watch = store.watchSession({ sessionId: "s", afterRevision: 1 })[Symbol.asyncIterator]();
    await store.deleteSession({ sessionId: "s" });
    expect(await next(watch)).toMatchObject({ event: { kind: "DELETED", revision: 2 } });
    const pending = next(watch);
    clock.now += DAY_MS;
    store.sweep();
    await set(store, "s", "k", 2);
    expect(await pending).toMatchObject({ event: { kind: "COMMITTED", revision: 3 } });
    await store.deleteSession({ sessionId: "s" });
    clock.now += DAY_MS;
    store.sweep();
    expect(store.usage().bytes).toBeGreaterThan(0);
    await watch.return?.();
    expect(store.usage().bytes).toBe(0);
  });
});

describe("time", () => {
  it("never goes back, whatever the clock does", async () => {
    const { store, clock } = clocked();
    await set(store, "s", "k", 1);
    clock.now -= 60_000;
    await set(store, "s", "k", 2);
    await expect(store.getSession({ sessionId: "s" })).resolves.toMatchObject({
      createTime: 1_000_000,
      updateTime: 1_000_000,
    });
  });

  it("expires by its own timer, without a call", async () => {
    vi.useFakeTimers();
    const store = memoryStore();
    await set(store, "s", "lease", "mine", { ttlMs: 100 });
    await store.commit({ sessionId: "t", metadata: { idleTtlMs: 150 } });
    const watch = store.watchSession({ sessionId: "s", afterRevision: 1 })[Symbol.asyncIterator]();
    const event = next(watch);
    await vi.advanceTimersByTimeAsync(100);
    expect(await event).toMatchObject({
      event: { kind: "EXPIRED", entries: [{ key: "lease", value: undefined }] },
    });
    expect(store.usage().sessions).toBe(2);
    await vi.advanceTimersByTimeAsync(60);
    expect(store.usage().sessions).toBe(1);
    await watch.return?.();
    await store.close();
  });

  it("is not renewed for an idle session by the expiry of its keys", async () => {
    const { store, clock } = clocked();
    await store.commit({
      sessionId: "s",
      metadata: { idleTtlMs: 100 },
      changes: [{ kind: "set", key: "k", value: encodeValue(1), ttlMs: 60 }],
    });
    clock.now += 60;
    store.sweep();
    expect(await store.getSession({ sessionId: "s" })).toMatchObject({ revision: 2, expireTime: 1_000_100 });
    clock.now += 40;
    expect(await store.getSession({ sessionId: "s" })).toBeUndefined();
  });

  it("expires thousands of keys of one session, each at its moment", async () => {
    const { store, clock } = clocked({ history: 5_000 });
    for (let i = 0; i < 2_000; i++) await set(store, "s", `k${i}`, i, { ttlMs: 1 + ((i * 7919) % 2_000) });
    for (let i = 0; i < 2_000; i++) await set(store, "s", `k${i}`, i, { ttlMs: 1 + ((i * 7919) % 2_000) });
    for (let ms = 1; ms <= 2_000; ms += 100) {
      clock.now = 1_000_000 + ms;
      expect((await store.getSession({ sessionId: "s" }))?.state.size).toBe(2_000 - ms);
    }
  });

  it("keeps a commit no longer than the age of history, and the current state for ever", async () => {
    const { store, clock } = clocked({ historyAgeMs: 1_000 });
    await set(store, "s", "k", "old");
    await set(store, "s", "k", "new");
    clock.now += 1_000;
    store.sweep();
    await expect(store.getState({ sessionId: "s", key: "k", atRevision: 1 })).rejects.toMatchObject({
      reason: "HISTORY_COMPACTED",
    });
    const entry = await store.getState({ sessionId: "s", key: "k", atRevision: 2 });
    expect(decodeValue(entry?.value as Uint8Array)).toBe("new");
    expect((await store.listEvents({ sessionId: "s" })).events).toEqual([]);
  });

  it("forgets request ids after their retention", async () => {
    const { store, clock } = clocked({ requestRetentionMs: 1_000 });
    const increment = (): Promise<unknown> =>
      store.commit({ sessionId: "s", changes: [{ kind: "increment", key: "n", delta: 1 }], requestId: "r" });
    await expect(increment()).resolves.toMatchObject({ revision: 1 });
    clock.now += 999;
    await expect(increment()).resolves.toMatchObject({ revision: 1 });
    clock.now += 1;
    await expect(increment()).resolves.toMatchObject({ revision: 2 });
  });
});

describe("watches", () => {
  it("give progress when nothing happens, with the revision to resume from", async () => {
    const store = memoryStore({ progressIntervalMs: 5 });
    await set(store, "s", "k", 1);
    const watch = store.watchSession({ sessionId: "s", keyPrefix: "a" })[Symbol.asyncIterator]();
    expect(await next(watch)).toMatchObject({ kind: "snapshot" });
    await set(store, "s", "k", 2);
    expect(await next(watch)).toEqual({ kind: "progress", revision: 2 });
    await watch.return?.();
    expect(await watch.next()).toEqual({ done: true, value: undefined });
  });

  it("end with SHUTTING_DOWN when the store closes, waiting or not", async () => {
    const store = memoryStore();
    const one = store.watchSession({ sessionId: "s" })[Symbol.asyncIterator]();
    const all = store.watchSessions({})[Symbol.asyncIterator]();
    await next(one);
    const pending = [one.next(), all.next()];
    await store.close();
    for (const result of pending) await expect(result).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
    expect(await one.next()).toEqual({ done: true, value: undefined });
    await expect(store.getState({ sessionId: "s", key: "k" })).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
    });
  });

  it("that were opened and never read are let go when their signal aborts", async () => {
    const store = memoryStore();
    const abort = new AbortController();
    const watch = store.watchSession({ sessionId: "s" }, { signal: abort.signal })[Symbol.asyncIterator]();
    expect(store.usage().bytes).toBeGreaterThan(0);
    abort.abort(new Error("enough"));
    expect(store.usage().bytes).toBe(0);
    await expect(watch.next()).rejects.toThrow("enough");
  });

  it("return at once when the reader leaves while it waits", async () => {
    const store = memoryStore();
    const watch = store.watchSession({ sessionId: "s" })[Symbol.asyncIterator]();
    await next(watch);
    const pending = watch.next();
    await watch.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
  });

  it("of all sessions fail with HISTORY_COMPACTED when the reader is too far behind, and hold nothing for it", async () => {
    const store = memoryStore({ history: 1 });
    const watch = store.watchSessions({})[Symbol.asyncIterator]();
    for (let i = 0; i < 10_001; i++) await set(store, "s", "k", 1);
    await expect(watch.next()).rejects.toMatchObject({ reason: "HISTORY_COMPACTED" });
  });
});

describe("namespaces", () => {
  it("are apart: the same id is another session, and listings and watches see their own only", async () => {
    const store = memoryStore();
    await store.setState({ sessionId: "s", key: "k", value: encodeValue("mine") }, { namespace: "a" });
    expect(await store.getSession({ sessionId: "s" }, { namespace: "b" })).toBeUndefined();
    expect((await store.listSessions({}, { namespace: "b" })).sessions).toEqual([]);
    expect((await store.listSessions({}, { namespace: "a" })).sessions).toHaveLength(1);
  });
});

describe("a page", () => {
  it("ends before its answer would be too large, and the next one goes on", async () => {
    const { store } = clocked({ limits: { requestBytes: 64 << 10 } });
    for (let i = 0; i < 10; i++) await set(store, "s", `k${i}`, "x".repeat(20_000));
    const keys: string[] = [];
    let pages = 0;
    for (let pageToken = ""; ; pages++) {
      const page = await store.listState({ sessionId: "s", pageToken });
      keys.push(...page.entries.map(({ key }) => key));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    expect(keys).toEqual(Array.from({ length: 10 }, (_, i) => `k${i}`));
    expect(pages).toBeGreaterThan(3);
  });

  it("of a session that is not there is empty, and still needs a token of its own", async () => {
    const { store } = clocked();
    await expect(store.listState({ sessionId: "s" })).resolves.toEqual({ entries: [], nextPageToken: "" });
    await expect(store.listState({ sessionId: "s", pageToken: "bogus" })).rejects.toMatchObject({
      reason: "INVALID_PAGE_TOKEN",
    });
  });

  it("of sessions by last write goes on behind the last one, also when that was written in between", async () => {
    const { store, clock } = clocked();
    for (let i = 0; i < 6; i++) {
      clock.now++;
      await set(store, `s${i}`, "k", i);
    }
    const order = "UPDATE_TIME_DESC";
    const first = await store.listSessions({ order, pageSize: 2 });
    await set(store, "s4", "k", "again");
    const second = await store.listSessions({ order, pageSize: 2, pageToken: first.nextPageToken });
    expect([first, second].map(({ sessions }) => sessions.map(({ sessionId }) => sessionId))).toEqual([
      ["s5", "s4"],
      ["s3", "s2"],
    ]);
  });
});
