import { createRouterTransport } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import type { EncodedStore, JsonValue } from "../../src/store.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { encodeValue } from "../../src/value.ts";
import { reasonOf } from "../support/failures.ts";
import { network, QUICK } from "../support/network.ts";

const net = network();

describe("what can't be sent", () => {
  const value = encodeValue(1);
  /** Calls as nobody with types could make them. */
  const calls: [name: string, call: (store: EncodedStore) => Promise<unknown>, reason: string][] = [
    ["a session id", (store) => store.getSession({ sessionId: 7 as never }), "INVALID_SESSION_ID"],
    ["a lone surrogate", (store) => store.getState({ sessionId: "s", key: "\ud800" }), "INVALID_KEY"],
    [
      "a value that is missing",
      (store) => store.setState({ sessionId: "s", key: "k", value: undefined as never }),
      "INVALID_VALUE",
    ],
    [
      "a value of no bytes",
      (store) => store.setState({ sessionId: "s", key: "k", value: "1" as never }),
      "INVALID_VALUE",
    ],
    [
      "bytes of no value",
      (store) => store.setState({ sessionId: "s", key: "k", value: Uint8Array.of(7) }),
      "INVALID_VALUE",
    ],
    [
      "a revision",
      (store) => store.setState({ sessionId: "s", key: "k", value, ifRevision: 1.5 }),
      "INVALID_REQUEST",
    ],
    [
      "a revision of a read",
      (store) => store.getState({ sessionId: "s", key: "k", atRevision: -1 }),
      "INVALID_REQUEST",
    ],
    ["a ttl", (store) => store.setState({ sessionId: "s", key: "k", value, ttlMs: 0.5 }), "INVALID_REQUEST"],
    ["a request", (store) => store.deleteState(null as never), "INVALID_REQUEST"],
    ["a delete", (store) => store.deleteSession({ sessionId: "" }), "INVALID_SESSION_ID"],
    [
      "a change",
      (store) => store.commit({ sessionId: "s", changes: [{ kind: "explode", key: "k" } as never] }),
      "INVALID_REQUEST",
    ],
    [
      "a changed value",
      (store) =>
        store.commit({ sessionId: "s", changes: [{ kind: "merge", key: "k", value: Uint8Array.of() }] }),
      "INVALID_VALUE",
    ],
    [
      "an appended value",
      (store) =>
        store.commit({ sessionId: "s", changes: [{ kind: "append", key: "k", values: [Uint8Array.of()] }] }),
      "INVALID_VALUE",
    ],
    [
      "a state",
      (store) => store.saveSession({ session: { sessionId: "s", state: new Map([["k", Uint8Array.of()]]) } }),
      "INVALID_VALUE",
    ],
    ["a session", (store) => store.saveSession({ session: null as never }), "INVALID_REQUEST"],
    ["a view", (store) => store.listSessions({ view: "ALL" as never }), "INVALID_REQUEST"],
    ["a page size", (store) => store.listState({ sessionId: "s", pageSize: 1.5 }), "INVALID_REQUEST"],
    ["a fork", (store) => store.forkSession({ sessionId: "s", newSessionId: "" }), "INVALID_SESSION_ID"],
    ["a restore", (store) => store.restoreSession({ sessionId: "s", atRevision: 0 }), "INVALID_REQUEST"],
    ["events", (store) => store.listEvents({ sessionId: "s", afterRevision: -1 }), "INVALID_REQUEST"],
    ["operations", (store) => store.batch(null as never), "INVALID_REQUEST"],
    [
      "a namespace",
      (store) => store.getState({ sessionId: "s", key: "k" }, { namespace: "ä" }),
      "INVALID_REQUEST",
    ],
  ];

  test.each(calls)("%s is refused, not run into", async (_name, call, reason) => {
    const { encoded } = net.connect();
    expect(await reasonOf(call(encoded))).toBe(reason);
  });

  test("an operation of a batch has its own error", async () => {
    const { encoded } = net.connect();
    const results = await encoded.batch([
      { kind: "setState", sessionId: "s", key: "a", value },
      { kind: "setState", sessionId: "s", key: "b", value: Uint8Array.of(7) },
      null as never,
      { kind: "getState", sessionId: "s", key: "a" },
    ]);
    expect(results).toMatchObject([
      { kind: "setState", entry: { revision: 1 } },
      { kind: "error", error: { reason: "INVALID_VALUE" } },
      { kind: "error", error: { reason: "INVALID_REQUEST" } },
      { kind: "getState", entry: { revision: 1 } },
    ]);
  });

  test("a watch is refused where it is asked for", () => {
    const { encoded } = net.connect();
    expect(() => encoded.watchSession({ sessionId: "" })).toThrow(WorkflowStateError);
    expect(() => encoded.watchSessions({ labels: 7 as never })).toThrow(WorkflowStateError);
  });
});

test("a write carries the caller's request id where there is one", async () => {
  const store = net.connect();
  await store.setState("s", "k", 1, { requestId: "mine" });
  await store.setState("s", "k", 1, { requestId: "" });
  await store.setState("s", "k", 1);
  const ids = (await store.listEvents("s")).events.map(({ requestId }) => requestId);
  expect(ids[0]).toBe("mine");
  expect(new Set(ids).size).toBe(3);
  expect(ids.every((id) => id !== undefined && id !== "")).toBe(true);
  expect(await reasonOf(store.setState("s", "k", 2, { requestId: "mine" }))).toBe("REQUEST_ID_REUSED");
});

test("what a store says about a request is thrown with its facts", async () => {
  const store = net.connect();
  await store.setState("s", "k", 1);
  const late = store.commit("s", {
    checks: [{ key: "k", ifRevision: 9 }],
    changes: [{ kind: "increment", key: "n", delta: 1 }],
  });
  await expect(late).rejects.toMatchObject({
    reason: "REVISION_MISMATCH",
    code: "ABORTED",
    failedChecks: [{ key: "k", ifRevision: 9, actualRevision: 1 }],
  });
  const deep = JSON.parse("[".repeat(32) + "]".repeat(32)) as JsonValue;
  await expect(store.setState("s", "k", [deep])).rejects.toMatchObject({ reason: "INVALID_VALUE" });
});

describe("headers", () => {
  let seen: (string | null)[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(WorkflowStateService, {
      getState: (_, context) => {
        seen.push(context.requestHeader.get("authorization"));
        return {};
      },
    });
  });
  const get = (store: EncodedStore): Promise<unknown> => store.getState({ sessionId: "s", key: "k" });
  const never = () => new Promise<HeadersInit>(() => {});

  beforeEach(() => {
    seen = [];
  });

  test("are sent with every call; a function is asked each time", async () => {
    await get(remoteStore(transport, { headers: { authorization: "Bearer a" } }));
    let count = 0;
    const renewed = remoteStore(transport, { headers: async () => ({ authorization: `Bearer ${++count}` }) });
    await get(renewed);
    await get(renewed);
    await get(remoteStore(transport));
    expect(seen).toEqual(["Bearer a", "Bearer 1", "Bearer 2", null]);
  });

  test("that can't be made are tried again, and then nothing was sent", async () => {
    let failures = 1;
    const headers = (): HeadersInit => {
      if (failures-- > 0) throw new Error("no token now");
      return { authorization: "late" };
    };
    await get(remoteStore(transport, { headers, retry: QUICK }));
    expect(seen).toEqual(["late"]);
    failures = 1000;
    const store = remoteStore(transport, { headers, retry: { attempts: 2, ...QUICK } });
    expect(await reasonOf(get(store))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.deleteSession({ sessionId: "s" }))).toBe("STORE_UNAVAILABLE");
  });

  test("that never come end with the call's time: nothing was sent", async () => {
    const store = remoteStore(transport, { headers: never, timeoutMs: 20 });
    expect(await reasonOf(get(store))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.deleteSession({ sessionId: "s" }))).toBe("STORE_UNAVAILABLE");
    expect(seen).toEqual([]);
  });

  test("that never come end by the caller and with the store", async () => {
    const store = remoteStore(transport, { headers: never });
    const abort = new AbortController();
    const context = { signal: abort.signal };
    const watch = (): AsyncIterator<unknown> =>
      store.watchSession({ sessionId: "s" }, context)[Symbol.asyncIterator]();
    const batches = async function* (): AsyncGenerator<[]> {
      yield [];
    };
    const aborted = [store.listState({ sessionId: "s" }, context), watch().next()];
    const closed = [
      get(store),
      store.deleteSession({ sessionId: "s" }),
      store.watchSession({ sessionId: "s" })[Symbol.asyncIterator]().next(),
      store.pipeline(batches())[Symbol.asyncIterator]().next(),
    ].map(reasonOf);
    const left = watch();
    const waiting = left.next();
    await left.return?.();
    expect(await waiting).toMatchObject({ done: true });
    abort.abort("enough");
    for (const call of aborted) await expect(call).rejects.toBe("enough");
    await store.close();
    expect(await Promise.all(closed)).toEqual([
      "STORE_UNAVAILABLE",
      "STORE_UNAVAILABLE",
      "SHUTTING_DOWN",
      "SHUTTING_DOWN",
    ]);
    expect(seen).toEqual([]);
  });

  test("that are refused with a store's error fail with that", async () => {
    const headers = (): HeadersInit => {
      throw new WorkflowStateError("UNAUTHENTICATED", "log in first");
    };
    expect(await reasonOf(get(remoteStore(transport, { headers })))).toBe("UNAUTHENTICATED");
  });
});
