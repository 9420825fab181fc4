/** Every RPC against every caller who may not make it: the list of RPCs is the descriptor's, so a new one is in it. */
import { createHash } from "node:crypto";
import type { DescMethod, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromJson } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import type { AuthOptions, GrantOptions } from "../../src/server/auth.ts";
import { serving } from "../support/serving.ts";

const sha256 = (key: string): string => createHash("sha256").update(key).digest("hex");
const key = (principal: string, ...namespaces: string[]) => ({
  sha256: sha256(`key of ${principal}`.replaceAll(" ", "-")),
  principal,
  namespaces,
});
const grant = (
  principal: string,
  action: GrantOptions["action"],
  sessionIdPrefix?: string,
): GrantOptions => ({
  principal,
  action,
  namespace: "*",
  sessionIdPrefix,
});

const AUTH: AuthOptions = {
  keys: [
    key("writer", "team"),
    key("reader", "team"),
    key("elsewhere", "team"),
    key("ungranted", "team"),
    key("nowhere"),
    key("both", "team", "other"),
  ],
  grants: [
    grant("writer", "write"),
    grant("reader", "read"),
    grant("elsewhere", "write", "else/"),
    grant("nowhere", "write"),
    grant("both", "write"),
    { principal: "ungranted", action: "admin", namespace: "other" },
  ],
};

const ID = "s/1";
/** A request of each RPC that somebody who may would have answered. */
const REQUESTS: Readonly<Record<string, object>> = {
  GetSession: { sessionId: ID },
  SaveSession: { session: { sessionId: ID } },
  DeleteSession: { sessionId: ID },
  ListSessions: {},
  GetState: { sessionId: ID, key: "k" },
  SetState: { sessionId: ID, key: "k", value: 1 },
  DeleteState: { sessionId: ID, key: "k" },
  ListState: { sessionId: ID },
  Commit: { sessionId: ID },
  Batch: { operations: [{ getState: { sessionId: ID, key: "k" } }] },
  Pipeline: { operations: [{ getState: { sessionId: ID, key: "k" } }] },
  ForkSession: { sessionId: ID, newSessionId: "s/2" },
  RestoreSession: { sessionId: ID, atRevision: 1 },
  ListEvents: { sessionId: ID },
  WatchSession: { sessionId: ID },
  WatchSessions: {},
};
const READS = new Set([
  "GetSession",
  "ListSessions",
  "GetState",
  "ListState",
  "ListEvents",
  "WatchSession",
  "WatchSessions",
  "Batch",
  "Pipeline",
]);

/** The code that a call ends with; 0: it was answered. */
async function codeOf(transport: Transport, method: DescMethod, headers: HeadersInit): Promise<number> {
  const request = fromJson(method.input, REQUESTS[method.name] as never);
  const end = new AbortController();
  try {
    if (method.methodKind === "unary") {
      const unary = method as DescMethodUnary;
      const { message } = await transport.unary(unary, undefined, undefined, headers, request as never);
      return inner(message);
    }
    async function* one(): AsyncGenerator<MessageInitShape<typeof method.input>> {
      yield create(method.input, request as never);
    }
    const first = async (): Promise<unknown> => {
      const { message } = await transport.stream(
        method as never,
        end.signal,
        undefined,
        headers,
        one() as never,
      );
      return (await message[Symbol.asyncIterator]().next()).value;
    };
    // A watch of all sessions is answered by silence.
    const answer = await Promise.race([first(), new Promise((resolve) => setTimeout(resolve, 150))]);
    return answer === undefined ? 0 : inner(answer);
  } catch (error) {
    return ConnectError.from(error).code;
  } finally {
    end.abort();
  }
}

/** Batches answer operation by operation. */
function inner(message: unknown): number {
  const { results } = message as { results?: { result: { case: string; value: { reason: number } } }[] };
  const error = results?.[0]?.result;
  return error?.case === "error" ? Code.PermissionDenied : 0;
}

const bearer = (principal: string): HeadersInit => ({
  authorization: `Bearer ${`key of ${principal}`.replaceAll(" ", "-")}`,
});

/** Each wrong caller: what it shows, and what all that it may not do ends with. */
const WRONG: readonly {
  readonly who: string;
  readonly headers: HeadersInit;
  readonly code: Code;
  readonly may?: (method: string) => boolean;
}[] = [
  { who: "nobody", headers: {}, code: Code.Unauthenticated },
  { who: "a key that is unknown", headers: bearer("stranger"), code: Code.Unauthenticated },
  { who: "another scheme", headers: { authorization: "Basic a2V5" }, code: Code.Unauthenticated },
  { who: "an empty token", headers: { authorization: "Bearer " }, code: Code.Unauthenticated },
  { who: "a key without grants in its namespace", headers: bearer("ungranted"), code: Code.PermissionDenied },
  { who: "a key without a namespace", headers: bearer("nowhere"), code: Code.PermissionDenied },
  { who: "a key of two namespaces that chooses none", headers: bearer("both"), code: Code.PermissionDenied },
  {
    who: "a key that asks for a namespace that is not its own",
    headers: { ...bearer("writer"), "x-workflow-state-namespace": "other" },
    code: Code.PermissionDenied,
  },
  { who: "a key for other sessions", headers: bearer("elsewhere"), code: Code.PermissionDenied },
  {
    who: "a key that may only read",
    headers: bearer("reader"),
    code: Code.PermissionDenied,
    may: (method) => READS.has(method),
  },
];

test("there is a request for every RPC", () => {
  expect(Object.keys(REQUESTS).sort()).toEqual(WorkflowStateService.methods.map(({ name }) => name).sort());
});

describe.each(["grpc", "connect"] as const)("over %s", (protocol) => {
  const transportTo = (baseUrl: string): Transport =>
    protocol === "grpc"
      ? createGrpcTransport({ baseUrl })
      : createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false });

  test.each(WRONG)("$who is refused everywhere else", async ({ headers, code, may = () => false }) => {
    const transport = transportTo((await serving({ auth: AUTH })).url);
    const codes: Record<string, number> = {};
    for (const method of WorkflowStateService.methods)
      codes[method.name] = await codeOf(transport, method, headers);
    const expected = WorkflowStateService.methods.map(({ name }) => [name, may(name) ? 0 : code]);
    expect(codes).toEqual(Object.fromEntries(expected));
  });

  test("who may is refused nowhere, and finds another's sessions missing", async () => {
    const transport = transportTo((await serving({ auth: AUTH })).url);
    const inOther = { ...bearer("both"), "x-workflow-state-namespace": "other" };
    const set = WorkflowStateService.method.setState;
    await transport.unary(
      set,
      undefined,
      undefined,
      inOther,
      fromJson(set.input, REQUESTS["SetState"] as never),
    );
    const get = WorkflowStateService.method.getState;
    const read = async (headers: HeadersInit): Promise<boolean> => {
      const { message } = await transport.unary(get, undefined, undefined, headers, {
        sessionId: ID,
        key: "k",
      });
      return message.entry !== undefined;
    };
    expect(await read(inOther)).toBe(true);
    expect(await read(bearer("writer"))).toBe(false);
    await transport.unary(
      set,
      undefined,
      undefined,
      bearer("writer"),
      fromJson(set.input, REQUESTS["SetState"] as never),
    );
    for (const method of WorkflowStateService.methods) {
      if (method.name === "DeleteSession") continue;
      expect([method.name, await codeOf(transport, method, bearer("writer"))]).toEqual([method.name, 0]);
    }
  });
});
