import { setTimeout } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../src/open.ts";
import {
  type Change,
  DEFAULT_LIMITS,
  type EncodedForm,
  type EncodedStore,
  type Operation,
  type WorkflowStateStore,
} from "../../src/store.ts";
import { innerLimits } from "../../src/stores/encrypted.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { open, over, ring } from "../support/encrypted.ts";
import { errorOf, reasonOf } from "../support/failures.ts";
import { serve } from "../support/wires.ts";

/** A store in which something happens after each read of a session. */
function afterRead(store: EncodedStore, happens: () => Promise<unknown>): EncodedStore {
  return new Proxy<EncodedStore>(store, {
    get(target, name: keyof EncodedStore) {
      if (name !== "getSession") return target[name].bind(target);
      return async (...args: Parameters<EncodedStore["getSession"]>) => {
        const read = await target.getSession(...args);
        await happens();
        return read;
      };
    },
  });
}

/** A store whose pipelines take the next batch long before they run one. */
function hasty(store: EncodedStore): EncodedStore {
  async function* pipeline(batches: AsyncIterable<readonly Operation<EncodedForm>[]>) {
    const input = batches[Symbol.asyncIterator]();
    for (let next = input.next(); ; ) {
      const { done, value } = await next;
      if (done === true) return;
      next = input.next();
      await setTimeout(2);
      yield await store.batch(value);
    }
  }
  return new Proxy<EncodedStore>(store, {
    get: (target, name: keyof EncodedStore) => (name === "pipeline" ? pipeline : target[name].bind(target)),
  });
}

describe("what is computed", () => {
  test("is exact while two programs and a plain writer write at once", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const programs = [over(memory, ring), over(memory, ring)];
    const writes = programs.flatMap((store, program) =>
      Array.from({ length: 60 }, async (_, i) => {
        await store.commit("s", {
          changes: [
            { kind: "increment", key: "n", delta: 1 },
            { kind: "append", key: "l", values: [`${program}-${i}`] },
          ],
        });
        await store.setState("s", `own-${program}`, i);
      }),
    );
    await Promise.all(writes);
    const state = (await programs[0]?.getSession("s"))?.state;
    expect(state?.["n"]).toBe(120);
    expect(new Set(state?.["l"] as string[]).size).toBe(120);
    expect((await programs[0]?.getSession("s"))?.revision).toBe(240);
  });

  test("leaves the deadline as it is, to the millisecond, and one that passed passes", async () => {
    let now = 1_000;
    const { store } = open({ now: () => now });
    const { expireTime } = await store.setState("s", "n", 1, { ttlMs: 100 });
    now += 99;
    const increment: Change = { kind: "increment", key: "n", delta: 1 };
    const { entries } = await store.commit("s", { changes: [increment] });
    expect([entries[0]?.value, entries[0]?.expireTime]).toEqual([2, expireTime]);
    now += 1;
    const { entries: anew } = await store.commit("s", { changes: [increment] });
    expect([anew[0]?.value, anew[0]?.expireTime]).toEqual([1, undefined]);
  });

  test("stands in one commit with all else, as if the store below had computed it", async () => {
    const { store } = open();
    const plain = jsonStore(memoryStore());
    const commits: Change[][] = [
      [
        { kind: "set", key: "a", value: 1, ttlMs: 60_000 },
        { kind: "increment", key: "a", delta: 1 },
        { kind: "delete", key: "gone" },
      ],
      [
        { kind: "increment", key: "a", delta: 1 },
        { kind: "set", key: "b", value: 1, keepExpiry: true },
        { kind: "set", key: "a", value: 7, keepExpiry: true },
      ],
      [
        { kind: "delete", key: "a" },
        { kind: "increment", key: "a", delta: 1 },
        { kind: "set", key: "x", value: 1 },
        { kind: "delete", key: "x" },
      ],
      [
        { kind: "append", key: "l", values: [1, 2, 3], maxItems: 2 },
        { kind: "delete", key: "l" },
        { kind: "merge", key: "l", value: { p: 1 } },
      ],
      [{ kind: "set", key: "a", value: 1, ttlMs: 60_000 }],
      [
        { kind: "set", key: "a", value: 2, keepExpiry: true },
        { kind: "increment", key: "a", delta: 3 },
      ],
      [
        { kind: "delete", key: "a" },
        { kind: "set", key: "a", value: 2, keepExpiry: true },
      ],
    ];
    const seen = async (from: WorkflowStateStore, changes: Change[]): Promise<unknown> => {
      const { entries, revision } = await from.commit("s", { changes });
      const { events } = await from.listEvents("s", { reverse: true, pageSize: 1 });
      const timeless = entries.map((entry) => ({ ...entry, updateTime: 0, expireTime: !!entry.expireTime }));
      return [revision, timeless, events[0]?.entries.map((entry) => [entry.key, entry.value])];
    };
    for (const changes of commits) expect(await seen(store, changes)).toEqual(await seen(plain, changes));
  });

  test("fails as the store below would: the caller's checks first, and only those are told", async () => {
    const { store } = open();
    const text = await store.setState("s", "t", "text");
    const wrong: Change = { kind: "increment", key: "t", delta: 1 };
    const right: Change = { kind: "increment", key: "n", delta: 1 };
    expect(await reasonOf(store.commit("s", { changes: [wrong] }))).toBe("VALUE_TYPE_MISMATCH");
    for (const changes of [[wrong], [right]]) {
      const checks = [
        { key: "t", ifRevision: text.revision },
        { key: "missing", ifRevision: 7 },
      ];
      const error = await errorOf(store.commit("s", { changes, checks, ifRevision: 9 }));
      expect(error.failedChecks).toEqual([
        { key: "", ifRevision: 9, actualRevision: 1 },
        { key: "missing", ifRevision: 7, actualRevision: 0 },
      ]);
    }
    const holds = { checks: [{ key: "t", ifRevision: text.revision }], ifRevision: 1 };
    expect(await reasonOf(store.commit("s", { changes: [wrong], ...holds }))).toBe("VALUE_TYPE_MISMATCH");
    const large: Change = { kind: "set", key: "x", value: "x".repeat(1_000_000) };
    const most = Array.from({ length: 5 }, (_, i): Change => ({ ...large, key: `x${i}` }));
    expect(await reasonOf(store.commit("s", { changes: most, ...holds }))).toBe("REQUEST_TOO_LARGE");
    expect(await reasonOf(store.commit("s", { changes: most, ifRevision: 7 }))).toBe("REVISION_MISMATCH");
    expect((await store.getSession("s"))?.revision).toBe(1);
  });

  test("is answered again as it was, also where it could not be computed any more", async () => {
    const { store } = open();
    const add = { requestId: "r", changes: [{ kind: "increment", key: "n", delta: 1 }] } as const;
    const first = await store.commit("s", add);
    await store.setState("s", "n", "text");
    expect(await store.commit("s", add)).toEqual(first);
    expect((await store.batch([{ kind: "commit", sessionId: "s", ...add }]))[0]).toMatchObject(first);
    const other = { ...add, changes: [{ kind: "increment", key: "n", delta: 2 }] } as const;
    expect(await reasonOf(store.commit("s", other))).toBe("REQUEST_ID_REUSED");
    expect(await store.getState("s", "n")).toBe("text");
  });
});

describe("a pipeline", () => {
  test("keeps its order where some batches must look first, also at a service", async () => {
    const limits = innerLimits(DEFAULT_LIMITS);
    const memory = memoryStore({ limits });
    const server = await serve(memory, limits);
    onTestFinished(() => server.close());
    const remote = await openStore(server.url, { encryption: ring });
    onTestFinished(() => remote.close());
    for (const [i, store] of [over(memory, ring), over(hasty(memory), ring), remote].entries()) {
      const sessionId = `s-${i}`;
      async function* batches(): AsyncGenerator<Operation[]> {
        for (let i = 0; i < 30; i++) {
          const computed: Operation = {
            kind: "commit",
            sessionId,
            changes: [{ kind: "append", key: "l", values: [i] }],
          };
          const blind: Operation = { kind: "setState", sessionId, key: "k", value: i };
          const read: Operation = { kind: "getState", sessionId, key: "k" };
          yield i % 3 === 0 ? [blind, computed, read] : [blind, read];
        }
      }
      const last: unknown[] = [];
      for await (const results of store.pipeline(batches())) last.push(results.at(-1));
      expect(last).toMatchObject(
        Array.from({ length: 30 }, (_, i) => ({ kind: "getState", entry: { value: i } })),
      );
      expect(await store.getState(sessionId, "l")).toEqual([0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
      async function* dependent(): AsyncGenerator<Operation[]> {
        for (let i = 0; i < 20; i++) {
          yield [{ kind: "setState", sessionId, key: "n", value: i * 10 }];
          yield [{ kind: "commit", sessionId, changes: [{ kind: "increment", key: "n", delta: 1 }] }];
          yield [{ kind: "getState", sessionId, key: "n" }];
        }
      }
      const counts: unknown[] = [];
      for await (const [result] of store.pipeline(dependent()))
        if (result?.kind === "getState") counts.push(result.entry?.value);
      expect(counts).toEqual(Array.from({ length: 20 }, (_, i) => i * 10 + 1));
    }
  });

  test("ends with its reader", async () => {
    const { store } = open();
    let ended = false;
    async function* batches(): AsyncGenerator<Operation[]> {
      try {
        for (;;)
          yield [{ kind: "commit", sessionId: "s", changes: [{ kind: "increment", key: "n", delta: 1 }] }];
      } finally {
        ended = true;
      }
    }
    for await (const results of store.pipeline(batches())) {
      expect(results[0]?.kind).toBe("commit");
      if ((await store.getState("s", "n")) === 3) break;
    }
    await expect.poll(() => ended).toBe(true);
  });
});

describe("a save", () => {
  test("leaves what stays the same as it is, also while others write", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const [store, other] = [over(memory, ring), over(memory, ring)];
    const state = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, { i }]));
    await store.saveSession({ sessionId: "s", state: { ...state, changes: 0 } });
    const saves = Array.from({ length: 10 }, (_, i) =>
      store.saveSession({ sessionId: "s", state: { ...state, changes: i } }),
    );
    const sets = Array.from({ length: 10 }, (_, i) => other.setState("s", "other", i));
    await Promise.all([...saves, ...sets]);
    const { entries } = await store.listState("s", { keyPrefix: "k" });
    expect(entries.map(({ revision }) => revision)).toEqual(Array.from({ length: 20 }, () => 1));
  });

  test("is made anew where another program wrote after it had read", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const other = over(memory, ring);
    await other.saveSession({ sessionId: "s", state: { a: 1, b: 1 } });
    let writes = 0;
    const busy = over(
      afterRead(memory, async () => {
        if (++writes === 1) await other.setState("s", "a", 1);
      }),
      ring,
    );
    expect((await busy.saveSession({ sessionId: "s", state: { a: 1, b: 2 } })).revision).toBe(3);
    // The same value, written by the other in the meantime: that stands.
    expect((await other.getEntry("s", "a"))?.revision).toBe(2);
    writes = 0;
    expect((await busy.restoreSession("s", 1)).state).toEqual({ a: 1, b: 1 });
    expect((await other.getEntry("s", "a"))?.revision).toBe(4);
    // Where there is no end to it, the save is made all the same.
    const constant = over(
      afterRead(memory, () => other.setState("s", "c", 1)),
      ring,
    );
    expect((await constant.saveSession({ sessionId: "s", state: { a: 2 } })).state).toEqual({ a: 2 });
  });

  test("of a session that one answer can't hold is made all the same, and so are its fork and its restore", async () => {
    const limits = { ...DEFAULT_LIMITS, valueBytes: 40_000, requestBytes: 100_000, entries: 100 };
    // As much as the server takes and sends at once, but not below.
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const server = await serve(memory, { ...limits, valueBytes: 60_000, requestBytes: 140_000 });
    onTestFinished(() => server.close());
    const store = await openStore(server.url, { encryption: ring, limits });
    onTestFinished(() => store.close());
    for (let i = 0; i < 5; i++) await store.setState("s", `k${i}`, `${i}`.repeat(30_000));
    expect(await reasonOf(store.getSession("s"))).toBe("SESSION_TOO_LARGE");
    const restored = await store.restoreSession("s", 4);
    expect(Object.keys(restored.state)).toHaveLength(4);
    expect((await store.getEntry("s", "k0"))?.revision).toBe(1);
    // It must fit a request.
    expect(await reasonOf(store.forkSession("s", "t"))).toBe("REQUEST_TOO_LARGE");
    expect(await store.getSession("t", { keyPrefix: "k0" })).toBeUndefined();
    const saved = await store.saveSession({ sessionId: "s", state: { k0: "0".repeat(30_000), k1: 1 } });
    expect(saved.state).toEqual({ k0: "0".repeat(30_000), k1: 1 });
    expect((await store.getEntry("s", "k0"))?.revision).toBe(1);
    expect((await store.forkSession("s", "t")).state).toEqual(saved.state);
  });
});

describe("a fork", () => {
  test("copies one moment, also while its source is written", async () => {
    const { store } = open({ history: 2 });
    await store.saveSession({ sessionId: "s", state: { a: 0, b: 0 } });
    let stop = false;
    const writing = (async () => {
      for (let i = 1; !stop; i++) {
        await store.commit("s", {
          changes: [
            { kind: "set", key: "a", value: i },
            { kind: "set", key: "b", value: i },
          ],
        });
      }
    })();
    for (let i = 0; i < 50; i++) {
      const { state } = await store.forkSession("s", `fork-${i}`);
      expect(state["a"]).toBe(state["b"]);
      expect((await store.getSession(`fork-${i}`))?.state).toEqual(state);
    }
    stop = true;
    await writing;
  });

  test("is read anew where its moment is no longer kept", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS), history: 2 });
    const other = over(memory, ring);
    await other.setState("s", "a", 0);
    let reads = 0;
    const busy = over(
      afterRead(memory, async () => {
        if (++reads === 1) for (let i = 1; i <= 5; i++) await other.setState("s", "a", i);
      }),
      ring,
    );
    expect((await busy.forkSession("s", "t")).state).toEqual({ a: 5 });
    expect(await reasonOf(busy.forkSession("s", "u", { atRevision: 1 }))).toBe("HISTORY_COMPACTED");
  });

  test("copies nothing as it is sealed, also of a session that comes to be in the meantime", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const other = over(memory, ring);
    const late = afterRead(memory, () => other.setState("s", "a", 1));
    expect(await reasonOf(over(late, ring).forkSession("s", "t"))).toBe("SESSION_NOT_FOUND");
    expect(await other.getSession("t")).toBeUndefined();
    const future = over(late, ring).forkSession("s", "t", { atRevision: 2 });
    expect(await reasonOf(future)).toBe("FUTURE_REVISION");
    expect(await other.getSession("t")).toBeUndefined();
    expect((await over(late, ring).forkSession("s", "t")).state).toEqual({ a: 1 });
  });

  test("of what is missing is refused as below, and answered again where it was made", async () => {
    const { store, inner } = open();
    await store.setState("s", "a", 1);
    const once = { requestId: "r" };
    const fork = await store.forkSession("s", "t", once);
    await store.deleteSession("s");
    expect(await store.forkSession("s", "t", once)).toEqual(fork);
    for (const from of [store, inner]) {
      expect(await reasonOf(from.forkSession("s", "t"))).toBe("SESSION_EXISTS");
      expect(await reasonOf(from.forkSession("s", "u"))).toBe("SESSION_NOT_FOUND");
      expect(await reasonOf(from.forkSession("never", "u"))).toBe("SESSION_NOT_FOUND");
      expect(await reasonOf(from.forkSession("s", "u", { atRevision: 9 }))).toBe("FUTURE_REVISION");
      const other = from.forkSession("s", "t", { ...once, atRevision: 1 });
      expect(await reasonOf(other)).toBe("REQUEST_ID_REUSED");
    }
    expect((await store.forkSession("s", "u", { atRevision: 1 })).state).toEqual({ a: 1 });
  });
});

describe("limits", () => {
  test("of the store below leave room for all that is allowed above", async () => {
    const limits = { ...DEFAULT_LIMITS, sessionBytes: 3 << 20, entries: 2_000 };
    const { store } = open({ limits });
    const largest = "x".repeat(limits.valueBytes - 4);
    await store.setState("s", "largest", largest);
    expect(await reasonOf(store.setState("s", "larger", `${largest}x`))).toBe("VALUE_TOO_LARGE");
    await store.deleteSession("s");
    // As many small ones as there may be, whose overhead is the most.
    const state = Object.fromEntries(Array.from({ length: limits.entries }, (_, i) => [`k${i}`, 1]));
    await store.saveSession({ sessionId: "s", state });
    expect((await store.getSession("s"))?.state).toEqual(state);
    await store.deleteSession("s");
    const full = Array.from(
      { length: 4 },
      (_, i): Change => ({ kind: "set", key: `k${i}`, value: "x".repeat(1_000_000) }),
    );
    const { entries } = await open().store.commit("s", { changes: full });
    expect(entries.map(({ value }) => (value as string).length)).toEqual(Array(4).fill(1_000_000));
    const checks = Array.from({ length: limits.checks }, (_, i) => ({ key: `c${i}`, ifRevision: 0 }));
    const changes = Array.from(
      { length: limits.changes },
      (_, i): Change => ({ kind: "increment", key: `k${i}`, delta: 1 }),
    );
    await store.commit("s", { checks, changes });
    expect((await store.commit("s", { checks, changes })).entries.map(({ value }) => value)).toEqual(
      Array(limits.changes).fill(2),
    );
    const beyond: Change = { kind: "increment", key: "k0", delta: Number.MAX_SAFE_INTEGER };
    const refused = store.commit("s", { checks, changes: [...changes.slice(1), beyond] });
    expect(await reasonOf(refused)).toBe("NUMBER_OUT_OF_RANGE");
    await store.deleteSession("s");
    const half = "x".repeat(1 << 19);
    const large = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`k${i}`, half]));
    await store.saveSession({ sessionId: "s", state: large });
    expect((await store.forkSession("s", "t")).state).toEqual(large);
  });

  test("hold for pages, whose values are smaller here than below", async () => {
    const limits = { ...DEFAULT_LIMITS, requestBytes: 100_000 };
    const { store } = open({ limits });
    for (let i = 0; i < 40; i++) await store.setState("s", `k${i}`, "x".repeat(20_000));
    const pages = async (
      read: (pageToken: string) => Promise<{ items: readonly unknown[]; nextPageToken: string }>,
    ): Promise<unknown[]> => {
      const all: unknown[] = [];
      let pageToken = "";
      do {
        const { items, nextPageToken } = await read(pageToken);
        expect(JSON.stringify(items).length).toBeLessThan(limits.requestBytes);
        if (nextPageToken !== "") expect(items.length).toBeGreaterThan(2);
        all.push(...items);
        pageToken = nextPageToken;
      } while (pageToken !== "");
      return all;
    };
    const entries = await pages(async (pageToken) => {
      const page = await store.listState("s", { pageToken, pageSize: 1_000 });
      return { items: page.entries, nextPageToken: page.nextPageToken };
    });
    expect(entries).toHaveLength(40);
    const events = await pages(async (pageToken) => {
      const page = await store.listEvents("s", { pageToken });
      return { items: page.events, nextPageToken: page.nextPageToken };
    });
    expect(events).toHaveLength(40);
  });
});
