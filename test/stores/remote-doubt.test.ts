import { Code, ConnectError, createRouterTransport, type Transport } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { ErrorReason } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import type { Operation, WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { reasonOf } from "../support/failures.ts";
import { QUICK } from "../support/network.ts";

/** The calls that were made, in order. */
let calls: string[] = [];

beforeEach(() => {
  calls = [];
});

describe("an operation of a batch that has an error of its own", () => {
  /** A remote store on a service that answers each operation of a batch with the error. */
  function failingEach(reason: ErrorReason, setState: () => never, connected = () => {}): WorkflowStateStore {
    const result = { case: "error", value: { reason, message: "no" } } as const;
    const batch = ({ operations }: { operations: unknown[] }) => ({
      results: operations.map(() => ({ result })),
    });
    const { unary, stream } = createRouterTransport(({ service }) => {
      service(WorkflowStateService, {
        batch,
        setState,
        pipeline: async function* (requests) {
          for await (const request of requests) yield batch(request);
        },
      });
    });
    const transport: Transport = {
      async unary(method, ...args) {
        calls.push(method.name);
        if (method.name !== "Batch") connected();
        return unary(method, ...args);
      },
      stream,
    };
    return jsonStore(remoteStore(transport, { retry: QUICK }));
  }

  test.each([
    ["turned away", Code.Unauthenticated],
    ["not allowed", Code.PermissionDenied],
    ["too fast", Code.ResourceExhausted],
  ])("stays unknown if that is what it was: asked for again it is %s", async (_how, code) => {
    const store = failingEach(ErrorReason.OUTCOME_UNKNOWN, () => {
      throw new ConnectError("no", code);
    });
    const sets = ["s", "t"].map((sessionId) => reasonOf(store.setState(sessionId, "k", 1)));
    expect(await Promise.all(sets)).toEqual(["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]);
    expect(calls).toEqual(["Batch", "SetState", "SetState"]);
  });

  test("stays unknown if the service can't be reached any more, or the client is closed", async () => {
    let connected = (): void => {
      const cause = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
      throw new ConnectError("gone", Code.Unavailable, undefined, undefined, cause);
    };
    const setState = (): never => {
      throw new ConnectError("gone", Code.Unavailable);
    };
    const store = failingEach(ErrorReason.OUTCOME_UNKNOWN, setState, () => connected());
    const both = () => ["s", "t"].map((sessionId) => reasonOf(store.setState(sessionId, "k", 1)));
    expect(await Promise.all(both())).toEqual(["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]);
    // The second of them is asked for again when the store is closed already.
    const refused = connected;
    connected = () => {
      void store.close();
      refused();
    };
    expect(await Promise.all(both())).toEqual(["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]);
  });

  test("for a reason of a newer service may have been made, if it writes", async () => {
    const newer = 999 as ErrorReason;
    const store = failingEach(newer, () => {
      throw new ConnectError("no", Code.Unauthenticated);
    });
    const operations: Operation[] = [
      { kind: "setState", sessionId: "s", key: "k", value: 1 },
      { kind: "getState", sessionId: "s", key: "k" },
    ];
    const expected = [
      { kind: "error", error: { reason: "OUTCOME_UNKNOWN" } },
      { kind: "error", error: { reason: "STORE_UNAVAILABLE" } },
    ];
    expect(await store.batch(operations)).toMatchObject(expected);
    const batches = async function* (): AsyncGenerator<Operation[]> {
      yield operations;
    };
    for await (const results of store.pipeline(batches())) expect(results).toMatchObject(expected);
    const sets = ["s", "t"].map((sessionId) => reasonOf(store.setState(sessionId, "k", 1)));
    expect(await Promise.all(sets)).toEqual(["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]);
  });
});

describe("a batch whose first answer was lost, and whose operations fail the second time", () => {
  /** A service that does not say how a first batch ended, and then has nothing to say of what is in the next. */
  function store(reason: ErrorReason): WorkflowStateStore {
    const result = { case: "error", value: { reason, message: "no" } } as const;
    let asked = 0;
    const batch = ({ operations }: { operations: unknown[] }) => {
      if (++asked === 1) throw new ConnectError("lost", Code.Unavailable);
      return { results: operations.map(() => ({ result })) };
    };
    const transport = createRouterTransport(({ service }) => {
      service(WorkflowStateService, {
        batch,
        setState() {
          throw new ConnectError("no", Code.Unauthenticated);
        },
        pipeline: async function* (requests) {
          for await (const request of requests) yield batch(request);
        },
      });
    });
    return jsonStore(remoteStore(transport, { retry: QUICK }));
  }
  const operations: Operation[] = [
    { kind: "setState", sessionId: "s", key: "k", value: 1 },
    { kind: "getState", sessionId: "s", key: "k" },
  ];

  test.each([
    ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"],
    ["PERMISSION_DENIED", "OUTCOME_UNKNOWN"],
    ["INVALID_KEY", "INVALID_KEY"],
  ] as const)("with %s: its writes are %s", async (reason, ofWrite) => {
    const expected = [
      { kind: "error", error: { reason: ofWrite } },
      { kind: "error", error: { reason } },
    ];
    expect(await store(ErrorReason[reason]).batch(operations)).toMatchObject(expected);
    const batches = async function* (): AsyncGenerator<Operation[]> {
      yield operations;
    };
    for await (const results of store(ErrorReason[reason]).pipeline(batches()))
      expect(results).toMatchObject(expected);
    const one = store(ErrorReason[reason]);
    const sets = ["s", "t"].map((sessionId) => reasonOf(one.setState(sessionId, "k", 1)));
    expect(await Promise.all(sets)).toEqual([ofWrite, ofWrite]);
  });
});
