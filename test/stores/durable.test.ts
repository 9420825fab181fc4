/** What the conformance suite does not see of the durable store: what it asks of its database, and stores that share one. */
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import type { Change, CommitRequest, EncodedForm, Operation } from "../../src/store.ts";
import type { DurableStore } from "../../src/stores/durable.ts";
import { decodeValue, encodeValue } from "../../src/value.ts";
import { DurableFile, openProbed } from "../support/durable-file.ts";

const DAY_MS = 86_400_000;

function set(store: DurableStore, sessionId: string, key: string, value: unknown, more: object = {}) {
  return store.setState({ sessionId, key, value: encodeValue(value), ...more });
}

function add(
  store: DurableStore,
  sessionId: string,
  key = "n",
  more: Partial<CommitRequest<EncodedForm>> = {},
) {
  return store.commit({ sessionId, changes: [{ kind: "increment", key, delta: 1 }], ...more });
}

async function readValue(store: DurableStore, sessionId: string, key: string): Promise<unknown> {
  const entry = await store.getState({ sessionId, key });
  return entry?.value && decodeValue(entry.value);
}

function unavailable(): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", "The database can't be reached.");
}

describe("what a call asks of the database", () => {
  test("a write that need not look is one step, and so is a read", async () => {
    const { store, backend } = await openProbed();
    const sessionId = "s";
    const value = encodeValue(1);
    const changes: Change<EncodedForm>[] = [
      { kind: "set", key: "a", value },
      { kind: "delete", key: "b" },
      { kind: "set", key: "l", value: encodeValue([]) },
      { kind: "append", key: "l", values: [value] },
    ];
    const calls: (() => Promise<unknown>)[] = [
      () => store.setState({ sessionId, key: "a", value, ifRevision: 0, ttlMs: 60_000, requestId: "r1" }),
      () => store.setState({ sessionId, key: "a", value, ifRevision: 0, ttlMs: 60_000, requestId: "r1" }),
      () => store.deleteState({ sessionId, key: "b", requestId: "r2" }),
      () => store.commit({ sessionId, changes, checks: [{ key: "c", ifRevision: 0 }], ifRevision: 1 }),
      () => store.getState({ sessionId, key: "a" }),
      () => store.getState({ sessionId, key: "a", atRevision: 1 }),
      () => store.getSession({ sessionId }),
      () => store.listState({ sessionId, pageSize: 1 }),
      () => store.deleteSession({ sessionId, ifRevision: 2 }),
    ];
    for (const call of calls) {
      const before = backend.runs.length;
      await call();
      expect(backend.runs.slice(before).map((steps) => steps.length)).toEqual([1]);
    }
  });

  test("a write that computes, or that writes a whole session, looks once and writes once", async () => {
    const { store, backend } = await openProbed();
    const session = { sessionId: "s", state: new Map([["a", encodeValue(1)]]) };
    const calls: (() => Promise<unknown>)[] = [
      () => add(store, "s"),
      () => store.commit({ sessionId: "s", metadata: { userId: "u" } }),
      () => store.saveSession({ session }),
      () => store.restoreSession({ sessionId: "s", atRevision: 1 }),
      () => store.forkSession({ sessionId: "s", newSessionId: "f" }),
    ];
    for (const call of calls) {
      const before = backend.runs.length;
      await call();
      expect(backend.runs.length - before).toBe(2);
    }
  });

  test("the operations of a batch go together as far as none must look first", async () => {
    const { store, backend } = await openProbed();
    const write = (key: string): Operation<EncodedForm> => ({
      kind: "setState",
      sessionId: "s",
      key,
      value: encodeValue(key),
    });
    const blind: Operation<EncodedForm>[] = [
      ...["a", "b", "c"].map(write),
      { kind: "getState", sessionId: "", key: "a" },
      { kind: "getState", sessionId: "s", key: "c" },
    ];
    const results = await store.batch(blind);
    expect(results.map(({ kind }) => kind)).toEqual([
      "setState",
      "setState",
      "setState",
      "error",
      "getState",
    ]);
    expect(backend.runs.map((steps) => steps.length)).toEqual([4]);
    const increment: Operation<EncodedForm> = {
      kind: "commit",
      sessionId: "s",
      changes: [{ kind: "increment", key: "n", delta: 1 }],
    };
    await store.batch([write("d"), increment, write("e"), write("f")]);
    expect(backend.runs.slice(1).map((steps) => steps.length)).toEqual([1, 1, 1, 2]);
  });

  test("a batch that the database can't be reached for says so of each operation that was not done", async () => {
    const { store, backend } = await openProbed();
    const increment: Operation<EncodedForm> = {
      kind: "commit",
      sessionId: "s",
      changes: [{ kind: "increment", key: "n", delta: 1 }],
    };
    backend.beforeRun = () => {
      if (backend.runs.length > 2) throw unavailable();
    };
    const get: Operation<EncodedForm> = { kind: "getState", sessionId: "s", key: "n" };
    const results = await store.batch([increment, get, increment, get]);
    expect(results.map((result) => (result.kind === "error" ? result.error.reason : result.kind))).toEqual([
      "commit",
      "STORE_UNAVAILABLE",
      "STORE_UNAVAILABLE",
      "STORE_UNAVAILABLE",
    ]);
    backend.beforeRun = undefined;
    expect(await readValue(store, "s", "n")).toBe(1);
  });

  test("a signal that aborts before a write is sent stops it, and one that aborts later does not", async () => {
    const { store, backend } = await openProbed();
    const before = new AbortController();
    backend.afterRun = () => before.abort("enough");
    await expect(
      store.commit(
        { sessionId: "s", changes: [{ kind: "increment", key: "n", delta: 1 }] },
        { signal: before.signal },
      ),
    ).rejects.toBe("enough");
    expect(backend.plans).toBe(0);
    const after = new AbortController();
    backend.beforeRun = () => after.abort("enough");
    await expect(
      store.setState({ sessionId: "s", key: "k", value: encodeValue(1) }, { signal: after.signal }),
    ).resolves.toMatchObject({ revision: 1 });
  });
});

describe("stores that share a database", () => {
  test("lose none of 100 concurrent increments, though each finds others' in between", async () => {
    const file = new DurableFile();
    const stores = await Promise.all([file.open(), file.open(), file.open()]);
    let stale = 0;
    for (const { backend } of stores) {
      backend.changeResults = (_, results) => {
        stale += results.filter(({ kind }) => kind === "stale").length;
        return results;
      };
    }
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => {
        const { store } = stores[i % stores.length] as (typeof stores)[0];
        return add(store, "s");
      }),
    );
    expect(await readValue(stores[0].store, "s", "n")).toBe(100);
    expect(stale).toBeGreaterThan(0);
  });

  test("let a save through although others write all the time, one's own without a pause", async () => {
    const file = new DurableFile();
    const [one, two] = await Promise.all([file.open(), file.open()]);
    let done = false;
    const writing = [one, one, two].map(async ({ store }, i) => {
      for (let n = 0; !done; n++) {
        await set(store, "s", `k${i}`, n);
        if (store === two.store) await new Promise((resolve) => setTimeout(resolve, 10 * Math.random()));
      }
    });
    await set(one.store, "s", "first", 1);
    for (let n = 0; n < 5; n++) {
      const state = new Map([["saved", encodeValue(n)]]);
      const saved = await one.store.saveSession({ session: { sessionId: "s", state } });
      expect([...saved.state.keys()]).toEqual(["saved"]);
    }
    done = true;
    await Promise.all(writing);
    expect(await readValue(two.store, "s", "saved")).toBe(4);
  });

  test("replay each other's writes, and refuse other ones with their request ids", async () => {
    const file = new DurableFile();
    const [one, two] = await Promise.all([file.open(), file.open()]);
    await set(one.store, "source", "a", [1, 2]);
    const value = encodeValue({ a: 1 });
    const state = new Map([["x", value]]);
    const changes: Change<EncodedForm>[] = [
      { kind: "increment", key: "n", delta: 1 },
      { kind: "set", key: "t", value, ttlMs: 60_000 },
      { kind: "delete", key: "k" },
    ];
    const labels = JSON.parse('{"__proto__": "a label like any other"}') as Record<string, string>;
    const writes: ((store: DurableStore) => Promise<unknown>)[] = [
      (store) => store.setState({ sessionId: "s", key: "k", value, ttlMs: 60_000, requestId: "set" }),
      (store) => store.commit({ sessionId: "s", changes, metadata: { userId: "u" }, requestId: "commit" }),
      (store) => store.commit({ sessionId: "s", changes: changes.slice(1), requestId: "blind" }),
      (store) => store.deleteState({ sessionId: "s", key: "t", requestId: "deleteState" }),
      (store) =>
        store.saveSession({ session: { sessionId: "s", state, labels }, ttlMs: 60_000, requestId: "save" }),
      (store) => store.restoreSession({ sessionId: "s", atRevision: 2, requestId: "restore" }),
      (store) => store.forkSession({ sessionId: "source", newSessionId: "f", requestId: "fork" }),
      (store) => store.deleteSession({ sessionId: "s", requestId: "deleteSession" }),
    ];
    const answers: unknown[] = [];
    for (const write of writes) answers.push(await write(one.store));
    for (const [i, write] of writes.entries()) expect(await write(two.store)).toEqual(answers[i]);
    expect((await two.store.listEvents({ sessionId: "s" })).events).toHaveLength(7);
    await expect(set(two.store, "s", "k", 2, { requestId: "set" })).rejects.toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
    await expect(add(two.store, "s", "n", { requestId: "set" })).rejects.toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
  });

  test("give a repeated write that brings its own fingerprint the first values", async () => {
    const file = new DurableFile();
    const [one, two] = await Promise.all([file.open(), file.open()]);
    const request = (requestId: string) => ({ requestId, requestFingerprint: "the same" });
    const changes = (value: number): Change<EncodedForm>[] => [
      { kind: "set", key: "a", value: encodeValue(value) },
      { kind: "delete", key: "b" },
    ];
    const writes: ((store: DurableStore, value: number) => Promise<unknown>)[] = [
      (store, value) => set(store, "s", "k", value, request("set")),
      (store, value) => store.commit({ sessionId: "s", changes: changes(value), ...request("commit") }),
      (store, value) => {
        const state = new Map([["x", encodeValue(value)]]);
        return store.saveSession({ session: { sessionId: "s", state }, ...request("save") });
      },
    ];
    for (const write of writes) expect(await write(two.store, 2)).toEqual(await write(one.store, 1));
  });

  test("come to the answer of the first of two equal requests that are sent at once", async () => {
    const file = new DurableFile();
    const [one, two] = await Promise.all([file.open(), file.open()]);
    const write = (store: DurableStore, n: number) => add(store, "s", "n", { requestId: `r${n}` });
    for (let n = 0; n < 20; n++) {
      const [a, b] = await Promise.all([write(one.store, n), write(two.store, n)]);
      expect(a).toEqual(b);
    }
    expect(await readValue(one.store, "s", "n")).toBe(20);
  });
});

describe("checks and computed changes", () => {
  test("a failed check is told before a value that the change can't be made on, at one moment", async () => {
    const { store, backend } = await openProbed();
    await set(store, "s", "text", "x");
    const changes: Change<EncodedForm>[] = [{ kind: "increment", key: "text", delta: 1 }];
    const checks = [{ key: "text", ifRevision: 7 }];
    await expect(store.commit({ sessionId: "s", changes, checks })).rejects.toMatchObject({
      reason: "REVISION_MISMATCH",
      failedChecks: [{ key: "text", ifRevision: 7, actualRevision: 1 }],
    });
    await expect(store.commit({ sessionId: "s", changes })).rejects.toMatchObject({
      reason: "VALUE_TYPE_MISMATCH",
    });
    // The value becomes a number between the look and the write.
    let looked = false;
    backend.afterRun = async () => {
      if (looked) return;
      looked = true;
      await set(store, "s", "text", 1);
    };
    await expect(
      store.commit({ sessionId: "s", changes, checks: [{ key: "other", ifRevision: 0 }] }),
    ).resolves.toMatchObject({ revision: 3 });
    expect(await readValue(store, "s", "text")).toBe(2);
  });

  test("an entry that expires between the look and the write counts as absent", async () => {
    const clock = { now: Date.UTC(2026, 0, 1) };
    const { store, backend } = await openProbed({ now: () => clock.now });
    await set(store, "s", "n", 5, { ttlMs: 50 });
    let looked = false;
    backend.afterRun = () => {
      if (!looked) clock.now += 50;
      looked = true;
    };
    const { entries } = await add(store, "s");
    expect(entries[0]?.value && decodeValue(entries[0].value)).toBe(1);
    expect(entries[0]?.expireTime).toBeUndefined();
  });
});

describe("a write that others get ahead of all the time", () => {
  test("is given up at last, without having written", async () => {
    const { store, backend } = await openProbed();
    backend.changeResults = (steps, results) =>
      steps.some((step) => step.kind === "plan") ? [{ kind: "stale" }] : results;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    let settled = false;
    const saving = store.saveSession({ session: { sessionId: "s", state: new Map() } }).finally(() => {
      settled = true;
    });
    const failing = expect(saving).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    while (!settled) {
      await new Promise((resolve) => setImmediate(resolve));
      await vi.advanceTimersByTimeAsync(64);
    }
    await failing;
    expect(backend.plans).toBeGreaterThan(100);
  });

  test("makes this store's own blind writes to the session wait, and ends with the signal", async () => {
    const { store, backend } = await openProbed();
    backend.changeResults = (steps, results) =>
      steps.some((step) => step.kind === "plan" && step.guards !== undefined) ? [{ kind: "stale" }] : results;
    const ended = new AbortController();
    const session = { sessionId: "s", state: new Map() };
    const saving = store.saveSession({ session }, { signal: ended.signal });
    const failing = expect(saving).rejects.toThrow("enough");
    await expect.poll(() => backend.plans).toBeGreaterThan(5);
    let waited = true;
    const blind = set(store, "s", "k", 1).finally(() => {
      waited = false;
    });
    await set(store, "other", "k", 1);
    const gone = new AbortController();
    const given = store.setState(
      { sessionId: "s", key: "k", value: encodeValue(2) },
      { signal: gone.signal },
    );
    gone.abort(new Error("gone"));
    expect(waited).toBe(true);
    ended.abort(new Error("enough"));
    await Promise.all([failing, blind, expect(given).rejects.toThrow("gone")]);
    expect(await readValue(store, "s", "k")).toBe(1);
  });
});

describe("listings", () => {
  test("of whole sessions leave out what went or no longer matches while they were read", async () => {
    const { store, backend } = await openProbed();
    for (const id of ["a", "b", "c", "d"])
      await store.saveSession({ session: { sessionId: id, state: new Map(), userId: "u" } });
    let found = false;
    backend.afterSessions = async () => {
      if (found) return;
      found = true;
      await store.deleteSession({ sessionId: "a" });
      await store.commit({ sessionId: "b", metadata: { userId: "other" } });
      await set(store, "c", "k", "grown");
    };
    const first = await store.listSessions({ view: "FULL", userId: "u", pageSize: 2 });
    expect(first.sessions.map(({ sessionId, state }) => [sessionId, [...state.keys()]])).toEqual([
      ["c", ["k"]],
      ["d", []],
    ]);
    expect(first.nextPageToken).toBe("");
  });

  test("of whole sessions keep to the bytes of a page, also where one grew while it was read", async () => {
    const { store, backend } = await openProbed({ limits: { requestBytes: 64 << 10 } });
    for (const id of ["a", "b", "c"]) await set(store, id, "k", "x".repeat(20_000));
    let found = false;
    backend.afterSessions = async () => {
      if (!found) await set(store, "b", "more", "x".repeat(40_000));
      found = true;
    };
    const pages: string[][] = [];
    for (let pageToken: string | undefined; pageToken !== ""; ) {
      const page = await store.listSessions({ view: "FULL", pageToken });
      pages.push(page.sessions.map(({ sessionId }) => sessionId));
      pageToken = page.nextPageToken;
    }
    expect(pages).toEqual([["a"], ["b"], ["c"]]);
  });

  test("of events say so if what the next page was to begin with is gone", async () => {
    const { store } = await openProbed({ history: 4 });
    for (let i = 0; i < 4; i++) await add(store, "s");
    const { nextPageToken: pageToken } = await store.listEvents({ sessionId: "s", pageSize: 1 });
    for (let i = 0; i < 3; i++) await add(store, "s");
    await expect(store.listEvents({ sessionId: "s", pageToken })).rejects.toMatchObject({
      reason: "HISTORY_COMPACTED",
      metadata: { oldest_revision: "4" },
    });
  });
});

describe("the sweeper", () => {
  test("expires by itself what was given a ttl, soon after its time", async () => {
    // No sweep but those for a deadline comes while this runs.
    const { store, backend } = await openProbed({ sweepIntervalMs: DAY_MS });
    const begin = await backend.feedEnd();
    await set(store, "s", "lease", "mine", { ttlMs: 60 });
    await store.commit({ sessionId: "t", metadata: { idleTtlMs: 80 } });
    // Read from the feed: a read of events or entries would do what is due itself.
    const kindsOf = async (sessionId: string): Promise<string[]> => {
      const { changes } = await backend.feed(begin, 100);
      return changes.filter(({ session }) => session.sessionId === sessionId).map(({ kind }) => kind);
    };
    for (const sessionId of ["s", "t"])
      await expect.poll(() => kindsOf(sessionId), { timeout: 20_000 }).toEqual(["COMMITTED", "EXPIRED"]);
  });

  test("learns of deadlines that another store made from the database", async () => {
    const file = new DurableFile({ sweepIntervalMs: 50 });
    const [one, two] = await Promise.all([file.open(), file.open()]);
    one.backend.beforeSweep = () => {
      throw unavailable();
    };
    await set(one.store, "s", "lease", "mine", { ttlMs: 30 });
    const watch = two.store.watchSession({ sessionId: "s", afterRevision: 1 })[Symbol.asyncIterator]();
    await expect(watch.next()).resolves.toMatchObject({ value: { event: { kind: "EXPIRED" } } });
    await watch.return?.();
  });

  test("goes on after failures, which nobody is told", async () => {
    const { backend } = await openProbed({ sweepIntervalMs: 20 });
    backend.beforeSweep = () => {
      if (backend.sweeps < 3) throw unavailable();
    };
    await expect.poll(() => backend.sweeps, { timeout: 5_000 }).toBeGreaterThanOrEqual(5);
  });

  test("forgets, and a session that was forgotten begins above all revisions that there were", async () => {
    const clock = { now: Date.UTC(2026, 0, 1) };
    const { store } = await openProbed({ now: () => clock.now });
    for (let i = 0; i < 3; i++) await add(store, "s");
    await store.deleteSession({ sessionId: "s" });
    clock.now += DAY_MS;
    await store.sweep();
    await expect(store.getSession({ sessionId: "s", atRevision: 2 })).resolves.toBeUndefined();
    await expect(add(store, "new")).resolves.toMatchObject({ revision: 5 });
    await expect(store.sweep()).resolves.toBeUndefined();
  });
});

describe("close", () => {
  test("waits for the calls that run, and closes the database once", async () => {
    const { store, backend } = await openProbed();
    const { promise, resolve } = Promise.withResolvers<void>();
    backend.beforeRun = () => promise;
    const writing = set(store, "s", "k", 1);
    const closing = [store.close(), store.close()];
    await expect(set(store, "s", "k", 2)).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    expect(backend.closes).toBe(0);
    resolve();
    await expect(writing).resolves.toMatchObject({ revision: 1 });
    await Promise.all(closing);
    expect(backend.closes).toBe(1);
    await expect(store.sweep()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  });

  test("ends a write that others keep getting ahead of, without having written", async () => {
    const { store, backend } = await openProbed();
    backend.changeResults = (steps, results) =>
      steps.some((step) => step.kind === "plan" && step.guards !== undefined) ? [{ kind: "stale" }] : results;
    const saving = store.saveSession({ session: { sessionId: "s", state: new Map() } });
    saving.catch(() => undefined);
    await expect.poll(() => backend.plans).toBeGreaterThan(3);
    await store.close();
    await expect(saving).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  });
});
