import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  BatchRequestSchema,
  GetSessionRequestSchema,
  GetSessionResponseSchema,
  GetStateRequestSchema,
  type PipelineRequest,
  PipelineRequestSchema,
  SaveSessionRequestSchema,
  WatchSessionRequestSchema,
  WatchSessionsRequestSchema,
} from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import { Access, ANYBODY } from "../src/service/access.ts";
import { type Call, createService, type Service } from "../src/service.ts";
import type { EncodedForm, EncodedStore, Limits, Session } from "../src/store.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { encodeValue } from "../src/value.ts";
import { stubStore } from "./support/stub-store.ts";

const value = encodeValue("a value");

function call(signal: AbortSignal = new AbortController().signal, timeoutMs?: number): Call {
  return {
    access: new Access(ANYBODY, undefined),
    signal,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

function serviceOver(store: EncodedStore = memoryStore(), limits: Partial<Limits> = {}): Service {
  onTestFinished(() => store.close());
  return createService(store, { limits });
}

/** A session whose one value has so many bytes. */
function sized(bytes: number): Session<EncodedForm> {
  return {
    sessionId: "s",
    state: new Map([["k", new Uint8Array(bytes)]]),
    createTime: 1,
    updateTime: 1,
    workflowId: "w",
    labels: { name: "text" },
    revision: 1,
  };
}

async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) {
    items.push(item);
    if (items.length === count) {
      break;
    }
  }
  return items;
}

/** Never ends and never looks at its signal. */
async function* stuck<T>(...first: T[]): AsyncGenerator<T> {
  yield* first;
  await new Promise(() => {});
}

async function* each<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

describe("deadlines", () => {
  const request = create(GetStateRequestSchema, { sessionId: "s", key: "k" });

  test("a call that is over before it begins reaches no store", async () => {
    const getState = vi.fn();
    const { rpcs } = serviceOver(stubStore({ getState }));
    await expect(rpcs.getState(request, call(AbortSignal.abort("gone")))).rejects.toBe("gone");
    expect(getState).not.toHaveBeenCalled();
  });

  test("a store that ignores its signal does not hold the caller", async () => {
    const { rpcs } = serviceOver(stubStore({ getState: () => new Promise(() => {}) }));
    await expect(rpcs.getState(request, call(AbortSignal.timeout(10), 10))).rejects.toMatchObject({
      name: "TimeoutError",
    });
    const gone = new AbortController();
    const answer = rpcs.getState(request, call(gone.signal));
    gone.abort("gone");
    await expect(answer).rejects.toBe("gone");
  });

  test("a caller who names no deadline, or a later one, gets the service's", async () => {
    const signals: (AbortSignal | undefined)[] = [];
    const store = stubStore({
      getState: (_, context) => {
        signals.push(context?.signal);
        return new Promise(() => {});
      },
    });
    onTestFinished(() => store.close());
    const { rpcs } = createService(store, { maxTimeoutMs: 10 });
    await expect(rpcs.getState(request, call())).rejects.toMatchObject({ name: "TimeoutError" });
    await expect(rpcs.getState(request, call(undefined, 60_000))).rejects.toMatchObject({
      name: "TimeoutError",
    });
    expect(signals.map((signal) => signal?.aborted)).toEqual([true, true]);
  });

  test("what a store still throws when its caller has gone goes nowhere", async () => {
    const store = stubStore({
      getState: async (_, context) => {
        await new Promise((resolve) => context?.signal?.addEventListener("abort", resolve));
        throw new Error("too late");
      },
    });
    const { rpcs } = serviceOver(store);
    await expect(rpcs.getState(request, call(AbortSignal.timeout(5), 5))).rejects.toMatchObject({
      name: "TimeoutError",
    });
  });
});

describe("answers over the limit", () => {
  const limits = { requestBytes: 2_000 };

  test("a session fails with SESSION_TOO_LARGE and the way on", async () => {
    for (const [bytes, fits] of [
      [1_700, true],
      [2_000, false],
    ] as const) {
      const { rpcs } = serviceOver(stubStore({ getSession: async () => sized(bytes) }), limits);
      const answer = rpcs.getSession(create(GetSessionRequestSchema, { sessionId: "s" }), call());
      if (fits) {
        await expect(answer).resolves.toMatchObject({ session: { sessionId: "s" } });
      } else {
        await expect(answer).rejects.toMatchObject({
          reason: "SESSION_TOO_LARGE",
          message: expect.stringContaining("ListState"),
          metadata: { limit: "2000" },
        });
      }
    }
  });

  test("a listed session and event fail with SESSION_TOO_LARGE, naming which", async () => {
    const { revision, ...listed } = sized(2_000);
    const sessions = [{ ...listed, revision }];
    const { calls } = serviceOver(
      stubStore({
        listSessions: async () => ({ sessions, nextPageToken: "" }),
        listEvents: async () => ({
          events: [
            {
              sessionId: "s",
              revision: 7,
              time: 1,
              kind: "FORKED",
              entries: [{ key: "k", value: new Uint8Array(2_000), revision: 7, updateTime: 1 }],
            },
          ],
          nextPageToken: "",
        }),
      }),
      limits,
    );
    await expect(calls.listSessions({ view: "FULL" }, call())).rejects.toMatchObject({
      reason: "SESSION_TOO_LARGE",
      metadata: { session_id: "s", limit: "2000" },
    });
    await expect(calls.listEvents({ sessionId: "s" }, call())).rejects.toMatchObject({
      reason: "SESSION_TOO_LARGE",
      metadata: { revision: "7", limit: "2000" },
    });
  });

  test("a write answers without the state", async () => {
    const large = { saveSession: async () => sized(2_000), forkSession: async () => sized(2_000) };
    const { rpcs } = serviceOver(stubStore({ ...large, restoreSession: large.forkSession }), limits);
    const saved = await rpcs.saveSession(
      create(SaveSessionRequestSchema, { session: { sessionId: "s" } }),
      call(),
    );
    expect(saved.session).toMatchObject({ sessionId: "s", workflowId: "w", state: [] });
    const { calls } = serviceOver(stubStore({ ...large, restoreSession: large.forkSession }), limits);
    const forked = await calls.forkSession({ sessionId: "s", newSessionId: "n" }, call());
    expect(forked.state.size).toBe(0);
    const restored = await calls.restoreSession({ sessionId: "s", atRevision: 1 }, call());
    expect(restored.state.size).toBe(0);
    const small = serviceOver(stubStore({ saveSession: async () => sized(10) }), limits);
    expect((await small.calls.saveSession({ session: sized(10) }, call())).state.size).toBe(1);
  });

  test("a watch's snapshot and event fail with SESSION_TOO_LARGE", async () => {
    const event = {
      sessionId: "s",
      revision: 7,
      time: 1,
      kind: "SAVED",
      entries: [
        { key: "k", value: new Uint8Array(2_000), revision: 7, updateTime: 1 },
        { key: "d", revision: 7, updateTime: 1 },
      ],
    } as const;
    const request = create(WatchSessionRequestSchema, { sessionId: "s" });
    const snapshot = serviceOver(
      stubStore({ watchSession: () => stuck({ kind: "snapshot", snapshot: sized(2_000) }) }),
      limits,
    );
    await expect(take(snapshot.rpcs.watchSession(request, call()), 1)).rejects.toMatchObject({
      reason: "SESSION_TOO_LARGE",
    });
    const events = serviceOver(stubStore({ watchSession: () => stuck({ kind: "event", event }) }), limits);
    await expect(take(events.rpcs.watchSession(request, call()), 1)).rejects.toMatchObject({
      reason: "SESSION_TOO_LARGE",
      metadata: { revision: "7" },
    });
    const progress = serviceOver(
      stubStore({
        watchSession: () =>
          stuck({ kind: "progress", revision: 1 }, { kind: "event", event: { ...event, entries: [] } }),
      }),
      limits,
    );
    expect(await take(progress.rpcs.watchSession(request, call()), 2)).toHaveLength(2);
  });

  test("of a batch the reads fail and the writes lose their values", async () => {
    const entry = { key: "k", value: new Uint8Array(900), revision: 1, updateTime: 1 };
    const store = stubStore({
      batch: async () => [
        { kind: "getState", entry },
        { kind: "setState", entry },
        { kind: "getState", entry },
        { kind: "setState", entry },
        { kind: "commit", revision: 2, updateTime: 1, entries: [entry] },
        { kind: "getSession", session: sized(1_500) },
        { kind: "getSession", session: sized(2_500) },
        { kind: "deleteState", deleted: true, revision: 3 },
      ],
    });
    const { calls } = serviceOver(store, limits);
    const results = await calls.batch({ operations: [], refused: new Map() }, call());
    expect(results).toMatchObject([
      { kind: "getState", entry: { value: { length: 900 } } },
      { kind: "setState", entry: { key: "k", revision: 1 } },
      { kind: "error", error: { reason: "REQUEST_TOO_LARGE" } },
      { kind: "setState", entry: { key: "k", revision: 1 } },
      { kind: "commit", revision: 2, entries: [{ key: "k" }] },
      { kind: "error", error: { reason: "REQUEST_TOO_LARGE" } },
      { kind: "error", error: { reason: "SESSION_TOO_LARGE" } },
      { kind: "deleteState" },
    ]);
    expect(results[1]).not.toHaveProperty("entry.value");
    expect(results[4]).not.toHaveProperty("entries.0.value");
  });

  test("the size of an answer is never taken for less than it is", async () => {
    const labels = JSON.parse('{"__proto__":"é"}') as Record<string, string>;
    const session = { ...sized(40), userId: "ü", labels, forkedFrom: { sessionId: "parent", revision: 1 } };
    const store = stubStore({ getSession: async () => session });
    onTestFinished(() => store.close());
    const request = create(GetSessionRequestSchema, { sessionId: "s" });
    let passed = 0;
    for (let requestBytes = 40; requestBytes < 400; requestBytes += 10) {
      const { rpcs } = createService(store, { limits: { requestBytes } });
      const answer = await rpcs.getSession(request, call()).catch(() => undefined);
      if (answer !== undefined) {
        expect(toBinary(GetSessionResponseSchema, answer).length).toBeLessThanOrEqual(requestBytes);
        passed++;
      }
    }
    expect(passed).toBeGreaterThan(5);
  });
});

describe("batches", () => {
  const refusedCommit = { labels: [{ key: "a", value: "b" }], clearLabels: true };
  const operations = [
    { operation: { case: "setState" as const, value: { sessionId: "s", key: "k", value } } },
    { operation: { case: "commit" as const, value: { sessionId: "s", metadata: refusedCommit } } },
    { operation: { case: undefined } },
    { operation: { case: "getState" as const, value: { sessionId: "s", key: "k" } } },
  ];

  test("each operation has its result, in order; those that fail too", async () => {
    const { rpcs } = serviceOver();
    const { results } = await rpcs.batch(create(BatchRequestSchema, { operations }), call());
    expect(results.map(({ result }) => result.case)).toEqual(["setState", "error", "error", "getState"]);
  });

  test("too many operations are refused, those that can't run counted", async () => {
    const { rpcs } = serviceOver(memoryStore(), { operations: 3 });
    await expect(rpcs.batch(create(BatchRequestSchema, { operations }), call())).rejects.toMatchObject({
      reason: "REQUEST_TOO_LARGE",
      metadata: { limit: "3", actual: "4" },
    });
    const message = create(PipelineRequestSchema, { operations });
    await expect(take(rpcs.pipeline(each(message), call()), 1)).rejects.toMatchObject({
      reason: "REQUEST_TOO_LARGE",
    });
  });

  test("a pipeline answers one for one, in order", async () => {
    const { rpcs } = serviceOver();
    const messages = [operations, [], operations.slice(1)].map((some) =>
      create(PipelineRequestSchema, { operations: some }),
    );
    const answers = await take(rpcs.pipeline(each(...messages), call()), 9);
    expect(answers.map(({ results }) => results.map(({ result }) => result.case))).toEqual([
      ["setState", "error", "error", "getState"],
      [],
      ["error", "error", "getState"],
    ]);
  });

  test("what a pipeline's sender throws ends it", async () => {
    const { rpcs } = serviceOver();
    async function* broken(): AsyncGenerator<PipelineRequest> {
      yield create(PipelineRequestSchema, { operations });
      throw new ConnectError("malformed", Code.InvalidArgument);
    }
    const answers = rpcs.pipeline(broken(), call())[Symbol.asyncIterator]();
    await answers.next();
    await expect(answers.next()).rejects.toMatchObject({ code: Code.InvalidArgument });
  });
});

describe("stopping", () => {
  test("watches end with SHUTTING_DOWN, also of a store that is stuck, and no new ones begin", async () => {
    const service = serviceOver(stubStore({ watchSession: () => stuck(), watchSessions: () => stuck() }));
    const one = take(
      service.rpcs.watchSession(create(WatchSessionRequestSchema, { sessionId: "s" }), call()),
      1,
    );
    const all = take(service.rpcs.watchSessions(create(WatchSessionsRequestSchema), call()), 1);
    service.stop();
    await expect(one).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
    await expect(all).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
    const late = take(service.rpcs.watchSessions(create(WatchSessionsRequestSchema), call()), 1);
    await expect(late).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
  });

  test("a pipeline answers what it has begun, then ends with SHUTTING_DOWN", async () => {
    let finish: (() => void) | undefined;
    const memory = memoryStore();
    const store = stubStore({
      async *pipeline(batches, context) {
        for await (const batch of batches) {
          await new Promise<void>((resolve) => {
            finish = resolve;
          });
          yield memory.batch(batch, context);
        }
      },
    });
    const service = serviceOver(store);
    const message = create(PipelineRequestSchema, { operations: [{}] });
    const answers = service.rpcs.pipeline(stuck(message), call())[Symbol.asyncIterator]();
    const first = answers.next();
    await vi.waitUntil(() => finish !== undefined, 20_000);
    service.stop();
    finish?.();
    await expect(first).resolves.toMatchObject({ value: { results: [{ result: { case: "error" } }] } });
    await expect(answers.next()).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
  });

  test("a watch ends with its caller, and the store's stream with it", async () => {
    const ended = vi.fn();
    async function* source(): AsyncGenerator<{ kind: "progress"; revision: number }> {
      try {
        for (let revision = 1; ; revision++) {
          yield { kind: "progress", revision };
        }
      } finally {
        ended();
      }
    }
    const { rpcs } = serviceOver(stubStore({ watchSession: () => source() }));
    const request = create(WatchSessionRequestSchema, { sessionId: "s" });
    await take(rpcs.watchSession(request, call()), 2);
    expect(ended).toHaveBeenCalledTimes(1);
    const gone = new AbortController();
    const watch = rpcs.watchSession(request, call(gone.signal))[Symbol.asyncIterator]();
    await watch.next();
    gone.abort("gone");
    await expect(watch.next()).rejects.toBe("gone");
  });
});

describe("namespaces", () => {
  test("callers have the default one, and may not ask for another", () => {
    expect(new Access(ANYBODY, null).namespace).toBe("");
    expect(new Access(ANYBODY, "").namespace).toBe("");
    expect(() => new Access(ANYBODY, "other")).toThrow(
      expect.objectContaining({ reason: "PERMISSION_DENIED" }),
    );
  });
});
