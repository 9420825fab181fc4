import { Code, ConnectError, createRouterTransport, type Transport } from "@connectrpc/connect";
import { array, assert, asyncProperty, constant, constantFrom, integer, oneof, record } from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import type {
  EncodedForm,
  EncodedStore,
  Limits,
  Operation,
  Result,
  WorkflowStateStore,
} from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { errorOf } from "../support/failures.ts";
import { methodsOf } from "../support/methods-of.ts";
import { transportTo } from "../support/wires.ts";

const HTTP2 = { protocol: "grpc", codec: "binary", httpVersion: "2" } as const;
const QUICK = { baseMs: 1, maxMs: 5 };

let memory: MemoryStore;
let server: RunningServer | undefined;
const opened: WorkflowStateStore[] = [];
/** The calls that were made, in order. */
let calls: string[] = [];

beforeEach(() => {
  memory = memoryStore();
  calls = [];
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.close()));
  await server?.close({ now: true });
  server = undefined;
  await memory.close();
});

/** The transport, with each of its calls noted; `gate` lets a call begin. */
function noting(transport: Transport, gate?: (name: string) => Promise<unknown>): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      calls.push(method.name);
      await gate?.(method.name);
      return transport.unary(method, signal, timeoutMs, header, input, contextValues);
    },
    stream: (...args) => transport.stream(...args),
  };
}

/** A remote store on a server of `store`. */
async function connect({
  limits,
  store = memory,
  gate,
}: {
  limits?: Partial<Limits>;
  store?: EncodedStore;
  gate?: (name: string) => Promise<unknown>;
} = {}): Promise<WorkflowStateStore> {
  server = await startServer({ store, listen: { port: 0 }, ...(limits && { limits }) });
  const { transport, disconnect } = transportTo(server.url, HTTP2);
  const remote = jsonStore(remoteStore(noting(transport, gate), { disconnect, retry: QUICK }));
  opened.push(remote);
  return remote;
}

describe("calls of one tick", () => {
  test("travel together; a single one travels by itself", async () => {
    const store = await connect();
    const answers = await Promise.all([
      store.setState("s", "a", 1),
      store.commit("s", { changes: [{ kind: "increment", key: "a", delta: 2 }] }),
      store.setState("s", "b", 1),
      store.deleteState("s", "b"),
      store.getState("s", "b"),
      store.getEntry("s", "a"),
      store.getSession("s"),
      store.getSession("missing"),
    ]);
    expect(answers).toMatchObject([
      { revision: 1 },
      { revision: 2, entries: [{ value: 3 }] },
      { revision: 3 },
      { deleted: true, revision: 4 },
      undefined,
      { value: 3, revision: 2 },
      { state: { a: 3 }, revision: 4 },
      undefined,
    ]);
    expect(calls).toEqual(["Batch"]);
    calls = [];
    await store.setState("s", "a", 1);
    await store.getState("s", "a");
    await store.getSession("s");
    await store.deleteState("s", "a");
    await store.commit("s", {});
    expect(calls).toEqual(["SetState", "GetState", "GetSession", "DeleteState", "Commit"]);
  });

  test("of many loops stay together from turn to turn", async () => {
    const store = await connect();
    await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        for (let turn = 0; turn < 5; turn++) await store.setState(`s${i}`, "turn", turn);
      }),
    );
    expect(calls).toEqual(["Batch", "Batch", "Batch", "Batch", "Batch"]);
  });

  test("each have their own error", async () => {
    const store = await connect();
    const [late, good, bad] = await Promise.allSettled([
      store.setState("s", "k", 1, { ifRevision: 9 }),
      store.setState("s", "k", 1),
      store.getState("s", "k", { atRevision: 9 }),
    ]);
    expect(bad).toMatchObject({ reason: { reason: "FUTURE_REVISION" } });
    expect(late).toMatchObject({ reason: { reason: "REVISION_MISMATCH", failedChecks: [{ key: "k" }] } });
    expect(good).toMatchObject({ value: { revision: 1 } });
    expect(calls).toEqual(["Batch"]);
  });

  test("that are too many, or too large together, travel in as many calls as needed, in order", async () => {
    const store = await connect();
    const sets = Array.from({ length: 300 }, (_, i) => store.setState("s", "k", i));
    const read = store.getState("s", "k");
    const revisions = (await Promise.all(sets)).map(({ revision }) => revision);
    expect(revisions).toEqual(sets.map((_, i) => i + 1));
    expect(await read).toBe(299);
    expect(calls).toEqual(["Batch", "Batch"]);

    calls = [];
    const large = "x".repeat(900_000);
    const values = await Promise.all([
      ...["a", "b", "c", "d"].map((key) => store.setState("big", key, large + key)),
      ...["a", "b", "c", "d"].map((key) => store.getState("big", key)),
    ]);
    expect(values.slice(4)).toEqual(["a", "b", "c", "d"].map((key) => large + key));
    expect(calls.length).toBeGreaterThan(1);
  });

  test("do not wait for calls about other sessions", async () => {
    const held = Promise.withResolvers<void>();
    let first = true;
    const store = await connect({
      gate: (name) => {
        const wait = name === "Batch" && first;
        first = false;
        return wait ? held.promise : Promise.resolve();
      },
    });
    const many = Array.from({ length: 256 }, () => store.setState("s", "k", 1));
    expect(await store.setState("t", "k", 1)).toMatchObject({ revision: 1 });
    expect(calls).toEqual(["Batch", "SetState"]);
    held.resolve();
    expect((await Promise.all(many)).at(-1)).toMatchObject({ revision: 256 });
  });

  test("are answered also where the answer of all has no room for each", async () => {
    const store = await connect();
    const large = "x".repeat(1_000_000);
    const keys = ["a", "b", "c", "d", "e", "f", "g"];
    for (const key of keys) await store.setState("s", key, large + key);
    calls = [];
    const read = await Promise.all([
      ...keys.map((key) => store.getState("s", key)),
      store.getState("s", "missing"),
    ]);
    expect(read).toEqual([...keys.map((key) => large + key), undefined]);
    expect(calls[0]).toBe("Batch");
    expect(calls.slice(1).every((name) => name === "GetState")).toBe(true);
  });

  test("go one by one to a service that takes fewer", async () => {
    const store = await connect({ limits: { operations: 2 } });
    const sets = [1, 2, 3].map((n) => store.setState("s", "k", n));
    expect((await Promise.all(sets)).map(({ revision }) => revision)).toEqual([1, 2, 3]);
    expect(calls).toEqual(["Batch", "SetState", "SetState", "SetState"]);
  });

  test("of two namespaces travel apart", async () => {
    const seen: (string | null)[] = [];
    const transport = createRouterTransport(({ service }) => {
      service(WorkflowStateService, {
        batch: (request, context) => {
          seen.push(context.requestHeader.get("x-workflow-state-namespace"));
          return { results: request.operations.map(() => ({ result: { case: "getState", value: {} } })) };
        },
      });
    });
    const remote = remoteStore(transport);
    const gets = ["a", "b", "a", "b", ""].map((namespace) =>
      remote.getState({ sessionId: "s", key: "k" }, { namespace }),
    );
    const lone = remote.getState({ sessionId: "s", key: "k" });
    expect(await Promise.all([...gets, lone])).toEqual(new Array(6).fill(undefined));
    expect(seen.sort()).toEqual(["a", "b", null].sort());
  });
});

describe("one caller's abort", () => {
  test("before the end of the tick takes the call away", async () => {
    const store = await connect();
    const abort = new AbortController();
    const { signal } = abort;
    const [gone, kept] = [store.setState("s", "a", 1, { signal }), store.setState("s", "b", 1)];
    const lone = new AbortController();
    abort.abort("enough");
    await expect(gone).rejects.toBe("enough");
    await kept;
    expect((await store.getSession("s"))?.state).toEqual({ b: 1 });
    expect(calls).toEqual(["SetState", "GetSession"]);
    const never = store.getState("s", "b", { signal: lone.signal });
    lone.abort("never sent");
    await expect(never).rejects.toBe("never sent");
    expect(calls).toHaveLength(2);
  });

  test("in flight leaves the others alone; when all have left the call is given up", async () => {
    const stuck = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<void>();
    const batch: EncodedStore["batch"] = async (operations, context) => {
      context?.signal?.addEventListener("abort", () => aborted.resolve());
      await stuck.promise;
      return memory.batch(operations);
    };
    const slow = { ...methodsOf(memory), batch };
    const store = await connect({ store: slow });
    const [one, two] = [new AbortController(), new AbortController()];
    const first = store.setState("s", "a", 1, { signal: one.signal });
    const second = store.getState("s", "a", { signal: two.signal });
    const third = store.getState("s", "a");
    await new Promise((resolve) => setTimeout(resolve, 30));
    one.abort("first");
    await expect(first).rejects.toBe("first");
    stuck.resolve();
    expect(await second).toBe(1);
    expect(await third).toBe(1);

    const hang = Promise.withResolvers<void>();
    stuck.promise = hang.promise;
    const both = [
      store.getState("s", "a", { signal: one.signal }),
      store.getState("s", "a", { signal: two.signal }),
    ];
    await expect(both[0]).rejects.toBe("first");
    await both[1];
    const [three, four] = [new AbortController(), new AbortController()];
    const leaving = [three, four].map(({ signal }) => store.getState("s", "a", { signal }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    three.abort("third");
    four.abort("fourth");
    await expect(leaving[0]).rejects.toBe("third");
    await expect(leaving[1]).rejects.toBe("fourth");
    await aborted.promise;
    hang.resolve();
  });
});

describe("operations that a store could not do", () => {
  /** A store whose batch fails the operations on the key "bad" so many times. */
  function failing(times: number, error: () => WorkflowStateError): EncodedStore {
    const batch: EncodedStore["batch"] = async (operations, context) => {
      const results: Result<EncodedForm>[] = [];
      for (const operation of operations) {
        const bad = "key" in operation && operation.key === "bad" && times-- > 0;
        const [result] = bad ? [] : await memory.batch([operation], context);
        results.push(result ?? { kind: "error", error: error() });
      }
      return results;
    };
    return { ...methodsOf(memory), batch };
  }

  const unavailable = (): WorkflowStateError => new WorkflowStateError("STORE_UNAVAILABLE", "not now");

  test("are asked for again, and with them the reads that should have seen them", async () => {
    const store = await connect({ store: failing(1, unavailable) });
    const [set, read] = await Promise.all([store.setState("s", "bad", 1), store.getState("s", "bad")]);
    expect(set).toMatchObject({ revision: 1 });
    expect(read).toBe(1);
    expect(calls).toEqual(["Batch", "SetState", "GetState"]);
  });

  test("are not asked for again where a later write has overtaken them", async () => {
    const store = await connect({ store: failing(1, unavailable) });
    const [first, second] = await Promise.allSettled([
      store.setState("s", "bad", 1),
      store.setState("s", "bad", 2),
    ]);
    expect(first).toMatchObject({ reason: { reason: "STORE_UNAVAILABLE" } });
    expect(second).toMatchObject({ value: { revision: 1 } });
    expect(await store.getState("s", "bad")).toBe(2);
  });

  test("are all asked for again, in order, where the later ones were not made either", async () => {
    const store = await connect({ store: failing(3, unavailable) });
    const sets = [1, 2, 3].map((n) => store.setState("s", "bad", n));
    expect((await Promise.all(sets)).map(({ revision }) => revision)).toEqual([1, 2, 3]);
    expect(await store.getState("s", "bad")).toBe(3);
    expect(calls).toEqual(["Batch", "SetState", "SetState", "SetState", "GetState"]);
  });

  test("are not asked for again where a later write may have been made", async () => {
    const errors = [unavailable(), new WorkflowStateError("OUTCOME_UNKNOWN", "who knows")];
    const store = await connect({ store: failing(2, () => errors.shift() ?? unavailable()) });
    const sets = [store.setState("s", "bad", 1), store.setState("s", "bad", 2)];
    const [first, second] = await Promise.allSettled(sets);
    expect(first).toMatchObject({ reason: { reason: "STORE_UNAVAILABLE" } });
    expect(second).toMatchObject({ value: { revision: 1 } });
  });

  test("are not asked for again where the error is for good", async () => {
    const store = await connect({ store: failing(1, () => new WorkflowStateError("STORAGE_FULL", "full")) });
    const [first, second] = await Promise.allSettled([
      store.setState("s", "bad", 1),
      store.getState("s", "a"),
    ]);
    expect(first).toMatchObject({ reason: { reason: "STORAGE_FULL" } });
    expect(second.status).toBe("fulfilled");
    expect(calls).toEqual(["Batch"]);
  });

  test("are not asked for again when their caller has left meanwhile", async () => {
    const abort = new AbortController();
    const store = await connect({
      store: failing(2, unavailable),
      gate: async (name) => name === "GetState" && abort.abort("enough"),
    });
    const [stayed, left] = await Promise.allSettled([
      store.getState("s", "bad"),
      store.getState("t", "bad", { signal: abort.signal }),
    ]);
    expect(stayed).toEqual({ status: "fulfilled", value: undefined });
    expect(left).toEqual({ status: "rejected", reason: "enough" });
    expect(calls).toEqual(["Batch", "GetState"]);
  });
});

describe("a whole batch that fails", () => {
  /** A remote store on a service that answers batches so. */
  function answering(batch: () => { results: [] }): EncodedStore {
    const transport = createRouterTransport(({ service }) => service(WorkflowStateService, { batch }));
    return remoteStore(noting(transport), { retry: { attempts: 2, ...QUICK } });
  }

  test("fails each call in its own way", async () => {
    const store = jsonStore(
      answering(() => {
        throw new ConnectError("gone", Code.Unavailable);
      }),
    );
    const errors = await Promise.all([store.setState("s", "k", 1), store.getState("s", "k")].map(errorOf));
    expect(errors.map(({ reason }) => reason)).toEqual(["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"]);
    expect(calls).toEqual(["Batch", "Batch"]);
  });

  test("fails each call alike where the reason is known", async () => {
    const store = jsonStore(
      answering(() => {
        throw new ConnectError("who are you", Code.Unauthenticated);
      }),
    );
    const errors = await Promise.all([store.setState("s", "k", 1), store.getState("s", "k")].map(errorOf));
    expect(errors.map(({ reason }) => reason)).toEqual(["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    expect(calls).toEqual(["Batch"]);
  });

  test("also fails where it has not one answer for each", async () => {
    const store = jsonStore(answering(() => ({ results: [] })));
    const errors = await Promise.all([store.setState("s", "k", 1), store.getState("s", "k")].map(errorOf));
    expect(errors.map(({ reason }) => reason)).toEqual(["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"]);
  });
});

test("calls of one tick give what the same calls one after the other give, whatever the service has room for", async () => {
  const text = integer({ min: 0, max: 1500 }).map((length) => "x".repeat(length));
  const sessionId = constantFrom("a", "b");
  const key = constantFrom("k", "l");
  const operation = oneof(
    record({ kind: constant("getState" as const), sessionId, key }),
    record({ kind: constant("getSession" as const), sessionId }),
    record({ kind: constant("setState" as const), sessionId, key, value: text }),
    record({ kind: constant("deleteState" as const), sessionId, key }),
    record({
      kind: constant("commit" as const),
      sessionId,
      changes: array(
        record({
          kind: constant("append" as const),
          key: constant("list"),
          values: array(text, { maxLength: 2 }),
        }),
        { maxLength: 2 },
      ),
    }),
  );
  const limits = { requestBytes: 48 << 10, operations: 300 };
  memory = memoryStore({ limits });
  const remote = await connect({ limits });
  let runs = 0;
  await assert(
    asyncProperty(array(operation, { maxLength: 60 }), async (operations: Operation[]) => {
      runs += 1;
      const model = jsonStore(memoryStore());
      const of = (id: string): string => `${id}-${runs}`;
      const run = async (store: WorkflowStateStore, one: Operation): Promise<unknown> => {
        switch (one.kind) {
          case "getState":
            return store.getState(of(one.sessionId), one.key);
          case "getSession":
            return (await store.getSession(of(one.sessionId)))?.state;
          case "setState":
            return (await store.setState(of(one.sessionId), one.key, one.value)).revision;
          case "deleteState":
            return store.deleteState(of(one.sessionId), one.key);
          case "commit":
            return (await store.commit(of(one.sessionId), { changes: one.changes })).revision;
        }
      };
      const together = await Promise.all(operations.map((one) => run(remote, one)));
      const apart: unknown[] = [];
      for (const one of operations) apart.push(await run(model, one));
      expect(together).toEqual(apart);
    }),
    { numRuns: 60 },
  );
});
