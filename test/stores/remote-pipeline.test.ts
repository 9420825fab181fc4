import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import type { EncodedStore, Operation } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { reasonOf } from "../support/failures.ts";
import { network, QUICK, sleep } from "../support/network.ts";

const net = network();

describe.each(["2", "1.1"] as const)("a pipeline over HTTP/%s", (httpVersion) => {
  const increment: Operation = {
    kind: "commit",
    sessionId: "s",
    changes: [{ kind: "increment", key: "n", delta: 1 }],
  };

  test("answers batch by batch, and counts each once over lost connections", async () => {
    const store = net.connect({}, httpVersion);
    async function* batches(): AsyncGenerator<Operation[]> {
      for (let i = 0; i < 60; i++) {
        yield [increment, { kind: "getState", sessionId: "s", key: "n" }];
        if (i % 10 === 5) net.proxy.cut();
        await sleep(1);
      }
    }
    const values: unknown[] = [];
    for await (const [commit, read] of store.pipeline(batches())) {
      expect(commit).toMatchObject({ kind: "commit" });
      values.push(read?.kind === "getState" ? read.entry?.value : read);
    }
    expect(values).toHaveLength(60);
    expect(await net.direct.getState("s", "n")).toBe(60);
  });

  test("throws what its input throws, and ends its input when its reader leaves", async () => {
    const store = net.connect({}, httpVersion);
    const boom = new Error("boom");
    async function* failing(): AsyncGenerator<Operation[]> {
      yield [increment];
      throw boom;
    }
    const read = async (): Promise<void> => {
      for await (const _ of store.pipeline(failing())) await sleep(1);
    };
    await expect(read()).rejects.toBe(boom);

    let ended = false;
    async function* endless(): AsyncGenerator<Operation[]> {
      try {
        for (;;) yield [increment];
      } finally {
        ended = true;
      }
    }
    for await (const results of store.pipeline(endless())) {
      expect(results).toHaveLength(1);
      break;
    }
    await sleep(20);
    expect(ended).toBe(true);

    // A source without `return`, which waits for ever.
    const source = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    const abort = new AbortController();
    const waiting = store.pipeline(source, { signal: abort.signal })[Symbol.asyncIterator]().next();
    await sleep(20);
    abort.abort("enough");
    await expect(waiting).rejects.toBe("enough");
  });

  test("gives up after so many attempts: what was written is unknown", async () => {
    const store = net.connect({ retry: { attempts: 2, ...QUICK } }, httpVersion);
    await store.setState("s", "before", 1);
    net.proxy.replies = "swallow";
    const answers = store.pipeline(
      (async function* () {
        yield [increment];
        await new Promise(() => {});
      })(),
    );
    const first = answers[Symbol.asyncIterator]().next();
    first.catch(() => {});
    while ((await net.direct.getState("s", "n")) === undefined) await sleep(1);
    await net.proxy.refuse();
    expect(await reasonOf(first)).toBe("OUTCOME_UNKNOWN");
    const reads = store.pipeline(
      (async function* () {
        yield [{ kind: "getState", sessionId: "s", key: "n" } satisfies Operation];
      })(),
    );
    expect(await reasonOf(reads[Symbol.asyncIterator]().next())).toBe("STORE_UNAVAILABLE");
  });

  test("ends with an error that is not about the connection", async () => {
    const store = net.connect({}, httpVersion);
    const many = Array.from({ length: 300 }, (): Operation => increment);
    const answers = store.pipeline(
      (async function* () {
        yield many;
      })(),
    );
    expect(await reasonOf(answers[Symbol.asyncIterator]().next())).toBe("REQUEST_TOO_LARGE");
  });

  test("ends when the store is closed", async () => {
    const store = net.connect({}, httpVersion);
    const answers = store
      .pipeline(
        (async function* () {
          yield [increment];
          await new Promise(() => {});
        })(),
      )
      [Symbol.asyncIterator]();
    await answers.next();
    const next = answers.next();
    await sleep(10);
    await store.close();
    expect(await reasonOf(next)).toBe("SHUTTING_DOWN");
  });
});

describe("a service that answers a pipeline wrongly", () => {
  interface Answer {
    readonly results: { readonly result: { readonly case: "getState"; readonly value: object } }[];
  }

  function answering(pipeline: (requests: AsyncIterable<unknown>) => AsyncIterable<Answer>): EncodedStore {
    const transport = createRouterTransport(({ service }) => service(WorkflowStateService, { pipeline }));
    return remoteStore(transport, { retry: { attempts: 2, ...QUICK } });
  }
  const one = async function* (): AsyncGenerator<Operation[]> {
    yield [{ kind: "getState", sessionId: "s", key: "k" }];
  };
  const answer = { results: [{ result: { case: "getState", value: {} } }] } as const;

  test("what was not asked, or too little, is a failure", async () => {
    const twice = answering(async function* (requests) {
      for await (const _ of requests) {
        yield { results: [...answer.results] };
        yield { results: [...answer.results] };
      }
    });
    const more = Promise.withResolvers<void>();
    const batches = async function* (): AsyncGenerator<Operation[]> {
      yield* one();
      await more.promise;
      yield* one();
    };
    const answers = jsonStore(twice).pipeline(batches())[Symbol.asyncIterator]();
    const expected = { value: [{ kind: "getState", entry: undefined }] };
    expect(await answers.next()).toMatchObject(expected);
    const next = answers.next();
    await sleep(30);
    more.resolve();
    // On another connection: this one can't be trusted to answer what was asked.
    expect(await next).toMatchObject(expected);
    expect(await answers.next()).toEqual({ done: true, value: undefined });
    const empty = answering(async function* (requests) {
      for await (const _ of requests) yield { results: [] };
    });
    expect(await reasonOf(jsonStore(empty).pipeline(one())[Symbol.asyncIterator]().next())).toBe(
      "STORE_UNAVAILABLE",
    );
  });

  test("an end before the answer is a lost connection", async () => {
    let calls = 0;
    const late = answering(async function* () {
      calls += 1;
      if (calls === 1) return;
      if (calls === 2) throw new ConnectError("not now", Code.Unavailable);
      yield { results: [...answer.results] };
    });
    const answers = jsonStore(late).pipeline(one())[Symbol.asyncIterator]();
    expect(await reasonOf(answers.next())).toBe("STORE_UNAVAILABLE");
    expect(calls).toBe(2);
  });

  test.each([
    ["getState", "STORE_UNAVAILABLE"],
    ["deleteState", "OUTCOME_UNKNOWN"],
  ] as const)("an end in peace before each answer, to a %s, is given up as well", async (kind, reason) => {
    let calls = 0;
    // biome-ignore lint/correctness/useYield: an answer is what it lacks.
    const never = answering(async function* (requests) {
      calls += 1;
      for await (const _ of requests) return;
    });
    const batches = async function* (): AsyncGenerator<Operation[]> {
      yield [{ kind, sessionId: "s", key: "k" }];
    };
    const answers = jsonStore(never).pipeline(batches())[Symbol.asyncIterator]();
    expect(await reasonOf(answers.next())).toBe(reason);
    expect(calls).toBe(2);
  });
});

describe.each([
  ["UNAUTHENTICATED", new ConnectError("who are you", Code.Unauthenticated)],
  ["PERMISSION_DENIED", new ConnectError("not you", Code.PermissionDenied)],
  ["REQUEST_TOO_LARGE", new ConnectError("too much, says the proxy", Code.ResourceExhausted)],
  ["INVALID_REQUEST", new ConnectError("HTTP 404", Code.Unimplemented)],
] as const)("a pipeline that is turned away: %s", (reason, refusal) => {
  const write: Operation = { kind: "deleteState", sessionId: "s", key: "k" };
  const read: Operation = { kind: "getState", sessionId: "s", key: "k" };
  const result = { case: "deleteState", value: {} } as const;

  /** What a pipeline of these ends with, after so many answers; each service in turn takes a batch, or is the refusal. */
  async function ending(
    operations: readonly Operation[],
    services: readonly ("answers and is lost" | "answers and refuses" | "is lost" | "refuses")[],
    headers?: () => HeadersInit,
  ): Promise<[number, string]> {
    const turns = services.values();
    const transport = createRouterTransport(({ service }) => {
      service(WorkflowStateService, {
        pipeline: async function* (requests) {
          const turn = turns.next().value;
          if (turn === "refuses") throw refusal;
          let count = 0;
          for await (const _ of requests) {
            count += 1;
            if (turn === "answers and is lost") yield { results: [{ result }] };
            if (turn === "answers and refuses") {
              if (count > 1) throw refusal;
              yield { results: [{ result }] };
              continue;
            }
            throw new ConnectError("lost", Code.Unavailable);
          }
        },
      });
    });
    const store = jsonStore(remoteStore(transport, { retry: QUICK, ...(headers && { headers }) }));
    let answered = 0;
    const batches = async function* (): AsyncGenerator<Operation[]> {
      for (const [i, operation] of operations.entries()) {
        // One at a time: so a connection has seen no more than it says.
        while (answered < i) await sleep(1);
        yield [operation];
      }
    };
    const read = async (): Promise<void> => {
      for await (const _ of store.pipeline(batches())) answered += 1;
    };
    const ended = await reasonOf(read());
    return [answered, ended];
  }

  test("what an earlier connection took may have been done", async () => {
    expect(await ending([write], ["is lost", "refuses"])).toEqual([0, "OUTCOME_UNKNOWN"]);
    expect(await ending([write], ["is lost", "is lost", "refuses"])).toEqual([0, "OUTCOME_UNKNOWN"]);
  });

  test("and so may what one that was let in took, however it ended", async () => {
    expect(await ending([write, write], ["answers and refuses"])).toEqual([1, "OUTCOME_UNKNOWN"]);
    expect(await ending([write, read], ["answers and refuses"])).toEqual([1, reason]);
  });

  test("also where a token can't be had for the next", async () => {
    let connections = 0;
    const headers = (): HeadersInit => {
      if (++connections > 1) throw new WorkflowStateError("UNAUTHENTICATED", "log in again");
      return {};
    };
    expect(await ending([write], ["is lost"], headers)).toEqual([0, "OUTCOME_UNKNOWN"]);
  });

  test("what was answered, what no other connection took and what only reads is in no doubt", async () => {
    expect(await ending([write], ["refuses"])).toEqual([0, reason]);
    expect(await ending([read], ["is lost", "refuses"])).toEqual([0, reason]);
    expect(await ending([write, read], ["answers and is lost", "refuses"])).toEqual([1, reason]);
  });
});
