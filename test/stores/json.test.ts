import { afterEach, describe, expect, test } from "vitest";
import type { EncodedStore, JsonValue, Operation, Session, WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { errorOf, untyped } from "../support/failures.ts";
import { methodsOf } from "../support/methods-of.ts";

const stores: WorkflowStateStore[] = [];

function open(): WorkflowStateStore {
  const store = jsonStore(memoryStore());
  stores.push(store);
  return store;
}

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

describe("values", () => {
  test("a value is written as it was when the method was called", async () => {
    const store = open();
    const cart = { items: ["tea"] };
    const set = store.setState("s", "cart", cart);
    cart.items.push("milk");
    await set;
    expect(await store.getState("s", "cart")).toEqual({ items: ["tea"] });

    const values = [1];
    const committed = store.commit("s", { changes: [{ kind: "append", key: "list", values }] });
    values.push(2);
    await committed;
    expect(await store.getState("s", "list")).toEqual([1]);
  });

  test("what is returned is the caller's own", async () => {
    const store = open();
    await store.setState("s", "cart", { items: ["tea"] });
    (await store.getState<{ items: string[] }>("s", "cart"))?.items.push("milk");
    expect(await store.getState("s", "cart")).toEqual({ items: ["tea"] });
  });

  test("a key and a label named __proto__ are like any others", async () => {
    const store = open();
    const state = JSON.parse('{"__proto__": {"__proto__": 1}, "a": 2}') as Record<string, JsonValue>;
    const labels = JSON.parse('{"__proto__": "x"}') as Record<string, string>;
    const saved = await store.saveSession({ sessionId: "s", state, labels });
    for (const session of [saved, (await store.getSession("s")) as Session]) {
      expect(JSON.stringify(session.state)).toBe('{"__proto__":{"__proto__":1},"a":2}');
      expect(JSON.stringify(session.labels)).toBe('{"__proto__":"x"}');
      expect(Object.getPrototypeOf(session.state)).toBe(Object.prototype);
    }
    expect(JSON.stringify(await store.getState("s", "__proto__"))).toBe('{"__proto__":1}');
  });

  test("an error names the key and the path, in a session as in a change", async () => {
    const store = open();
    const bad = untyped<JsonValue>([1, 2n]);
    const facts = { path: "$[1]", key: "k" };
    const save = store.saveSession({ sessionId: "s", state: { ok: 1, k: bad } });
    expect((await errorOf(save)).metadata).toMatchObject(facts);
    expect((await errorOf(store.setState("s", "k", bad))).metadata).toMatchObject(facts);
    for (const change of [
      { kind: "set", key: "k", value: bad },
      { kind: "merge", key: "k", value: bad },
      { kind: "append", key: "k", values: [bad] },
    ] as const) {
      const error = await errorOf(store.commit("s", { changes: [change] }));
      expect(error.reason).toBe("INVALID_VALUE");
      expect(error.metadata).toMatchObject(facts);
    }
    expect(await store.getSession("s")).toBeUndefined();
  });

  test("a store's limits may be wider or narrower than the default ones", async () => {
    const store = jsonStore(memoryStore(), { limits: { valueBytes: 10 } });
    expect((await errorOf(store.setState("s", "k", "much too long"))).reason).toBe("VALUE_TOO_LARGE");
    await store.close();
  });
});

describe("sessions", () => {
  test("what getSession returned can be saved again", async () => {
    const store = open();
    await store.saveSession({
      sessionId: "s",
      state: { a: 1 },
      workflowId: "w",
      userId: "u",
      labels: { l: "x" },
    });
    const session = (await store.getSession("s")) as Session;
    const saved = await store.saveSession(session);
    expect(saved).toMatchObject({
      state: { a: 1 },
      workflowId: "w",
      userId: "u",
      labels: { l: "x" },
      revision: 2,
    });
    expect(saved.createTime).toEqual(session.createTime);
  });

  test("what is no plain object is not taken for an empty state", async () => {
    const store = open();
    await store.setState("s", "a", 1);
    for (const state of [undefined, null, [], new Map([["a", 1]]), "state", new Date()]) {
      const error = await errorOf(store.saveSession({ sessionId: "s", state: untyped(state) }));
      expect([error.reason, error.metadata["field"]]).toEqual(["INVALID_REQUEST", "session.state"]);
    }
    for (const session of [undefined, null, "s"]) {
      expect((await errorOf(store.saveSession(untyped(session)))).metadata["field"]).toBe("session");
    }
    expect(await store.getState("s", "a")).toBe(1);
  });

  test("a state without a prototype is plain", async () => {
    const store = open();
    const state = Object.assign(Object.create(null), { a: 1 }) as Record<string, JsonValue>;
    expect((await store.saveSession({ sessionId: "s", state })).state).toEqual({ a: 1 });
  });

  test("absent fields are no fields, and times are dates", async () => {
    const store = open();
    const session = await store.saveSession({ sessionId: "s", state: {} });
    expect(Object.keys(session).sort()).toEqual([
      "createTime",
      "labels",
      "revision",
      "sessionId",
      "state",
      "updateTime",
    ]);
    expect(session.createTime).toBeInstanceOf(Date);
    const full = await store.saveSession({ sessionId: "s", state: {} }, { ttlMs: 1e9 });
    expect(full.expireTime).toBeInstanceOf(Date);
    const fork = await store.forkSession("s", "t");
    expect(fork.forkedFrom).toEqual({ sessionId: "s", revision: 2 });
    expect((await store.restoreSession("s", 1)).revision).toBe(3);
    const [id] = (await store.listSessions({ view: "IDS" })).sessions;
    expect(id).toEqual({ sessionId: "s", state: {}, labels: {}, revision: 0 });
  });

  test("all ids are read, page by page", async () => {
    const pages: number[] = [];
    const memory = memoryStore();
    const listSessions: EncodedStore["listSessions"] = async (request, context) => {
      const page = await memory.listSessions({ ...request, pageSize: 2 }, context);
      pages.push(page.sessions.length);
      expect(request.view).toBe("IDS");
      return page;
    };
    const store = jsonStore({ ...methodsOf(memory), listSessions });
    expect(await store.getAllSessionIds()).toEqual([]);
    for (const id of ["b", "a", "c"]) await store.setState(id, "k", 1);
    expect(await store.getAllSessionIds()).toEqual(["a", "b", "c"]);
    expect(pages).toEqual([0, 2, 1]);
    await store.close();
  });
});

describe("options", () => {
  test("those that are undefined, or null as a whole, count as absent", async () => {
    const store = open();
    await store.setState("s", "k", 1, { ifRevision: undefined, ttlMs: undefined, requestId: undefined });
    expect(await store.getState("s", "k", untyped(null))).toBe(1);
    expect(await store.getEntry("s", "k", { atRevision: undefined, signal: undefined })).toMatchObject({
      value: 1,
    });
    expect((await store.getSession("s", { keyPrefix: undefined }))?.state).toEqual({ k: 1 });
    const filter = { workflowId: undefined, labels: undefined, updatedAfter: undefined, pageSize: undefined };
    expect((await store.listSessions(filter)).sessions).toHaveLength(1);
    expect((await store.listState("s", untyped(null))).entries).toHaveLength(1);
    expect((await store.listEvents("s", untyped(null))).events).toHaveLength(1);
    expect(await store.commit("s", untyped(null))).toMatchObject({ revision: 1 });
    expect(await store.commit("s", { metadata: untyped(null), changes: untyped(null) })).toMatchObject({
      revision: 1,
    });
    expect(await store.deleteState("s", "k", untyped(null))).toEqual({ deleted: true, revision: 2 });
    expect(await store.deleteSession("s", untyped(null))).toBe(true);
  });

  test("a fraction of a millisecond is not none", async () => {
    let now = 1000;
    const store = jsonStore(memoryStore({ now: () => now }));
    const entry = await store.setState("s", "k", 1, { ttlMs: 0.2 });
    expect(entry.expireTime).toEqual(new Date(1001));
    const { entries } = await store.commit("s", {
      changes: [{ kind: "set", key: "c", value: 1, ttlMs: 1.5 }],
      metadata: { ttlMs: 2.1, idleTtlMs: 9.9 },
    });
    expect(entries[0]?.expireTime).toEqual(new Date(1002));
    expect((await store.getSession("s"))?.expireTime).toEqual(new Date(1003));
    const saved = await store.saveSession({ sessionId: "t", state: {} }, { ttlMs: 7.5, idleTtlMs: 3.01 });
    expect(saved.expireTime).toEqual(new Date(1004));
    const [result] = await store.batch([
      { kind: "setState", sessionId: "t", key: "k", value: 1, ttlMs: 0.1 },
    ]);
    expect(result).toMatchObject({ entry: { expireTime: new Date(1001) } });
    now = 1002;
    expect(await store.getState("s", "k")).toBeUndefined();
    for (const ttlMs of [-0.5, Number.NaN, Number.POSITIVE_INFINITY, untyped<number>("5")]) {
      expect((await errorOf(store.setState("s", "k", 1, { ttlMs }))).reason).toBe("INVALID_REQUEST");
    }
    await store.close();
  });

  test("a time to filter by must be a date", async () => {
    const store = open();
    await store.setState("s", "k", 1);
    expect((await store.listSessions({ updatedAfter: new Date(0) })).sessions).toHaveLength(1);
    expect((await store.listSessions({ updatedBefore: new Date(0) })).sessions).toHaveLength(0);
    expect((await store.listSessions({ updatedAfter: untyped(null) })).sessions).toHaveLength(1);
    for (const [name, field] of [
      ["updatedAfter", "updated_after"],
      ["updatedBefore", "updated_before"],
    ] as const) {
      for (const time of [new Date(Number.NaN), untyped<Date>(0), untyped<Date>("2026-01-01")]) {
        const error = await errorOf(store.listSessions({ [name]: time }));
        expect([error.reason, error.metadata["field"]]).toEqual(["INVALID_REQUEST", field]);
      }
    }
  });

  test("what is no list or no object is refused, not run into", async () => {
    const store = open();
    for (const call of [
      store.commit("s", { changes: untyped("x") }),
      store.commit("s", { checks: untyped({}) }),
      store.commit("s", { changes: [{ kind: "append", key: "k", values: untyped("abc") }] }),
      store.commit("s", { changes: [untyped(null)] }),
      store.commit("s", { changes: [untyped({ kind: "explode", key: "k" })] }),
      store.commit("s", { checks: [untyped(null)] }),
      store.commit("s", { metadata: { labels: untyped("x") } }),
      store.batch(untyped({})),
    ]) {
      expect((await errorOf(call)).code).toBe("INVALID_ARGUMENT");
    }
    const results = await store.batch([untyped(null), untyped({ kind: "explode" })]);
    expect(results).toMatchObject([{ kind: "error" }, { kind: "error" }]);
  });

  test("every call is for the store's namespace", async () => {
    const memory = memoryStore();
    const [a, b] = [jsonStore(memory, { namespace: "a" }), jsonStore(memory, { namespace: "b" })];
    await a.setState("s", "k", "of a");
    await b.update("s", (draft) => {
      draft["k"] = "of b";
    });
    expect(await a.getState("s", "k")).toBe("of a");
    expect(await b.getState("s", "k")).toBe("of b");
    expect(await jsonStore(memory).getAllSessionIds()).toEqual([]);
    expect(await memory.getState({ sessionId: "s", key: "k" }, { namespace: "b" })).toBeDefined();
    await memory.close();
  });
});

describe("batches", () => {
  test("each operation has its own result, also one that can't be encoded", async () => {
    const store = open();
    const operations: Operation[] = [
      { kind: "setState", sessionId: "s", key: "a", value: 1 },
      { kind: "setState", sessionId: "s", key: "b", value: untyped(undefined) },
      { kind: "getState", sessionId: "s", key: "a" },
      { kind: "getState", sessionId: "s", key: "missing" },
      {
        kind: "commit",
        sessionId: "s",
        changes: [{ kind: "increment", key: "a", delta: 1 }],
        metadata: { userId: "u" },
      },
      { kind: "deleteState", sessionId: "s", key: "a" },
      { kind: "getSession", sessionId: "s" },
      { kind: "getSession", sessionId: "missing" },
      { kind: "setState", sessionId: "s", key: "a", value: 1, ifRevision: 77 },
    ];
    const expected = [
      { kind: "setState", entry: { key: "a", value: 1, revision: 1 } },
      { kind: "error", error: { reason: "INVALID_VALUE" } },
      { kind: "getState", entry: { value: 1 } },
      { kind: "getState", entry: undefined },
      { kind: "commit", revision: 2, entries: [{ value: 2 }] },
      { kind: "deleteState", deleted: true, revision: 3 },
      { kind: "getSession", session: { userId: "u", revision: 3 } },
      { kind: "getSession", session: undefined },
      { kind: "error", error: { reason: "REVISION_MISMATCH" } },
    ];
    expect(await store.batch(operations)).toMatchObject(expected);
    await store.deleteSession("s");

    const answers = [];
    const batches = (async function* () {
      yield operations.slice(0, 2);
      yield [];
      yield operations.slice(2, 4);
    })();
    for await (const results of store.pipeline(batches)) answers.push(results);
    expect(answers).toMatchObject([
      [{ kind: "setState" }, { error: { reason: "INVALID_VALUE" } }],
      [],
      [{ entry: { value: 1 } }, { entry: undefined }],
    ]);
  });
});

describe("streams", () => {
  test("a watch gives snapshots, events and progress, decoded", async () => {
    const store = jsonStore(memoryStore({ progressIntervalMs: 1 }));
    await store.setState("s", "a", 1);
    const kinds = new Set<string>();
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    expect(await watch.next()).toMatchObject({ value: { kind: "snapshot", snapshot: { state: { a: 1 } } } });
    await store.commit("s", { changes: [{ kind: "delete", key: "a" }], requestId: "r" });
    while (kinds.size < 2) {
      const { value } = await watch.next();
      kinds.add(value.kind);
      if (value.kind === "event") {
        expect(value.event).toEqual({
          sessionId: "s",
          revision: 2,
          kind: "COMMITTED",
          requestId: "r",
          time: expect.any(Date),
          entries: [{ key: "a", revision: 2, updateTime: expect.any(Date) }],
        });
      }
    }
    await watch.return?.();
    await store.close();
  });

  test("a watch ends also while it waits: by return, and by the signal", async () => {
    const store = open();
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    await watch.next();
    const waiting = watch.next();
    await watch.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });

    const abort = new AbortController();
    const second = store.watchSession("s", { signal: abort.signal })[Symbol.asyncIterator]();
    await second.next();
    const next = second.next();
    abort.abort("enough");
    await expect(next).rejects.toBe("enough");
  });

  test("a watch on sessions gives each change", async () => {
    const store = open();
    const changes = store.watchSessions({ workflowId: "w" })[Symbol.asyncIterator]();
    await store.setState("other", "a", 1);
    await store.saveSession({ sessionId: "s", workflowId: "w", state: { a: 1 } });
    const { value } = await changes.next();
    expect(value).toMatchObject({ kind: "SAVED", session: { sessionId: "s", state: {}, workflowId: "w" } });
    await changes.return?.();
  });

  test("an error of a watch is thrown where it is read", async () => {
    const store = open();
    const watch = store.watchSession(untyped(7))[Symbol.asyncIterator]();
    expect((await errorOf(watch.next())).reason).toBe("INVALID_SESSION_ID");
    const watches = store.watchSessions({ updatedAfter: new Date(Number.NaN) })[Symbol.asyncIterator]();
    expect((await errorOf(watches.next())).reason).toBe("INVALID_REQUEST");
  });

  test("a stream that was aborted before says so where it is read", async () => {
    const store = open();
    const signal = AbortSignal.abort("enough");
    async function* none(): AsyncGenerator<Operation[]> {}
    const streams = [
      store.pipeline(none(), { signal }),
      store.watchSession("s", { signal }),
      store.watchSessions({ signal }),
    ];
    for (const stream of streams) {
      await expect(stream[Symbol.asyncIterator]().next()).rejects.toBe("enough");
    }
  });

  test("an item that can't be decoded ends its source", async () => {
    let ended = false;
    const watchSession = (): AsyncIterable<never> => ({
      [Symbol.asyncIterator]: () => ({
        next: async () => ({
          done: false,
          value: {
            kind: "snapshot",
            snapshot: { state: new Map([["k", new Uint8Array([1])]]), labels: {} },
          } as never,
        }),
        return: async () => {
          ended = true;
          return { done: true, value: undefined };
        },
      }),
    });
    const store = jsonStore({ ...methodsOf(memoryStore()), watchSession });
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    expect((await errorOf(watch.next())).reason).toBe("INVALID_VALUE");
    expect(ended).toBe(true);
  });
});

test("a store closes at the end of its block", async () => {
  const outer = open();
  {
    await using store = jsonStore(outer.encoded);
    await store.setState("s", "k", 1);
    expect(store.encoded).toBe(outer.encoded);
  }
  expect((await errorOf(outer.getState("s", "k"))).reason).toBe("STORE_UNAVAILABLE");
});
