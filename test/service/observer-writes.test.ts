/** What an observer is told of writes whose calls are refused, or end before they do. */
import { createHash } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import {
  type OperationSchema,
  SetStateRequestSchema,
  WorkflowStateService,
} from "../../gen/agenterra/state/v1/service_pb.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { gathered } from "../support/gathered.ts";
import { LookingOn, outcome, type Seen } from "../support/looking-on.ts";
import { framed, http2Request, http2Session, pathOf, serving } from "../support/serving.ts";
import { stubStore } from "../support/stub-store.ts";
import { until } from "../support/until.ts";
import { transportTo } from "../support/wires.ts";

const grpc = { protocol: "grpc", codec: "binary", httpVersion: "2" } as const;

/** A caller with credentials for the namespace "n", and what may be granted to it. */
const KEY = { sha256: createHash("sha256").update("key").digest("hex"), principal: "p", namespaces: ["n"] };
const GRANTS = [{ principal: "p", action: "write", namespace: "n" }] as const;
const CREDENTIALS = { authorization: "Bearer key" };

const SET = toBinary(
  SetStateRequestSchema,
  create(SetStateRequestSchema, {
    sessionId: "s",
    key: "k",
    value: { kind: { case: "stringValue", value: "v" } },
  }),
);

function told({ writes }: Seen): unknown[] {
  return writes.map(({ operation, keys, failure }) => [operation, keys?.join(), outcome(failure)]);
}

function setOf(key: string): MessageInitShape<typeof OperationSchema> {
  const value = { kind: { case: "stringValue" as const, value: "v" } };
  return { operation: { case: "setState", value: { sessionId: "s", key, value } } };
}

/** A store that has written before it says so, once it is let to. */
function holding() {
  const inner = memoryStore();
  const held = Promise.withResolvers<void>();
  const store = stubStore({
    async setState(request, context) {
      const entry = await inner.setState(request, context);
      await held.promise;
      return entry;
    },
    async batch(operations, context) {
      const results = await inner.batch(operations, context);
      await held.promise;
      return results;
    },
    async *pipeline(batches, context) {
      for await (const results of inner.pipeline(batches, context)) {
        await held.promise;
        yield results;
      }
    },
  });
  const written = (namespace = "") =>
    until(() => inner.getState({ sessionId: "s", key: "k" }, { namespace }));
  return { store, written, release: held.resolve };
}

describe.for([
  ["SetState", "application/json", Buffer.from('{"sessionId":"s","key":"k","value":1}')],
  ["SetState", "application/grpc-web+proto", framed(SET)],
  ["SetState", "application/grpc", framed(SET)],
  [
    "Batch",
    "application/json",
    Buffer.from('{"operations":[{"setState":{"sessionId":"s","key":"k","value":1}}]}'),
  ],
  [
    "Pipeline",
    "application/connect+json",
    framed(Buffer.from('{"operations":[{"setState":{"sessionId":"s","key":"k","value":1}}]}')),
  ],
] as const)("%s as %s", ([rpc, type, body]) => {
  // INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED
  test.for([2, 7, 8, 11, 12, 13])(
    "reset with %i after it is written: the caller does not choose what is told",
    async (code) => {
      const { store, written, release } = holding();
      const observer = new LookingOn();
      const server = await serving({ store, observer });
      const headers = { ":method": "POST", ":path": pathOf(rpc), "content-type": type };
      const stream = http2Session(server).request(headers);
      stream.on("error", () => {});
      stream.write(body);
      if (rpc !== "Pipeline") stream.end();
      await written();
      stream.close(code);
      const seen = await observer.ended(rpc);
      await until(() => seen.writes[0]);
      release();
      expect(told(seen)).toEqual([["SetState", "k", "Canceled"]]);
    },
  );
});

test("a write past its deadline is told of as that", async () => {
  const { store, release } = holding();
  const observer = new LookingOn();
  const server = await serving({ store, observer });
  const answered = await fetch(`${server.url}${pathOf("SetState")}`, {
    method: "POST",
    headers: { "content-type": "application/json", "connect-timeout-ms": "200" },
    body: '{"sessionId":"s","key":"k","value":1}',
  });
  expect(answered.status).toBe(504);
  release();
  expect(told(await observer.ended("SetState"))).toEqual([["SetState", "k", "DeadlineExceeded"]]);
});

describe.for([true, false])("a pipeline, with the fast path: %s", (fastPath) => {
  test("whose credentials are taken back while its write is under way tells of what that came to", async () => {
    const { store, written, release } = holding();
    const observer = new LookingOn();
    const server = await serving({ store, observer, fastPath, auth: { keys: [KEY], grants: [...GRANTS] } });
    const client = createClient(WorkflowStateService, transportTo(server.url, grpc).transport);
    async function* batches() {
      yield { operations: [setOf("k")] };
      await written("n");
      const other = { ...KEY, sha256: createHash("sha256").update("other").digest("hex") };
      server.reload({ auth: { keys: [other], grants: [...GRANTS] } });
      release();
    }
    await expect(gathered(client.pipeline(batches(), { headers: CREDENTIALS }))).rejects.toThrow();
    const seen = await observer.ended("Pipeline");
    expect(seen.ends).toEqual(["Unauthenticated UNAUTHENTICATED"]);
    expect(told(seen)).toEqual([["SetState", "k", "ok"]]);
  });

  test("that ends with a batch that is refused tells of that one why, of those before that they may be done", async () => {
    const inner = memoryStore();
    // A store that runs ahead of its answers.
    const store = stubStore({
      async *pipeline(batches, context) {
        const given = [];
        for await (const batch of batches) given.push(await inner.batch(batch, context));
        yield* given;
      },
    });
    const observer = new LookingOn();
    const server = await serving({ store, observer, fastPath, limits: { operations: 2 } });
    const client = createClient(WorkflowStateService, transportTo(server.url, grpc).transport);
    async function* batches() {
      yield { operations: [setOf("k")] };
      yield { operations: ["a", "b", "c"].map(setOf) };
    }
    await expect(gathered(client.pipeline(batches()))).rejects.toThrow();
    expect(await inner.getState({ sessionId: "s", key: "k" }, { namespace: "" })).toBeDefined();
    expect(told(await observer.ended("Pipeline"))).toEqual([
      ["SetState", "k", "Canceled"],
      // As many as a batch may have.
      ["SetState", "a", "ResourceExhausted REQUEST_TOO_LARGE"],
      ["SetState", "b", "ResourceExhausted REQUEST_TOO_LARGE"],
    ]);
  });

  test("a batch of too many is told of by as many as it may have", async () => {
    const observer = new LookingOn();
    const server = await serving({ observer, fastPath, auth: { keys: [KEY], grants: [] } });
    // operations: [{delete_state: {}}, ...]
    const many = framed(Buffer.from("0a021a00".repeat(10_000), "hex"));
    const headers = { ...CREDENTIALS, ":path": pathOf("Batch"), "content-type": "application/grpc" };
    await http2Request(http2Session(server), { ...headers, te: "trailers" }, many);
    const { writes, ends } = await observer.ended("Batch");
    expect(ends).toEqual(["ResourceExhausted REQUEST_TOO_LARGE"]);
    expect(writes).toHaveLength(256);
  });
});

test.for([
  "SetState",
  "DeleteState",
  "Commit",
  "SaveSession",
  "DeleteSession",
  "ForkSession",
  "RestoreSession",
])("%s in a namespace that its caller has no credentials for is told of", async (rpc) => {
  const observer = new LookingOn();
  const server = await serving({ observer, auth: { keys: [KEY], grants: [...GRANTS] } });
  for (const [type, body] of [
    ["application/json", "{}"],
    ["application/proto", ""],
  ] as const) {
    const headers = { ...CREDENTIALS, "content-type": type, "x-workflow-state-namespace": "other" };
    const answered = await fetch(`${server.url}${pathOf(rpc)}`, { method: "POST", headers, body });
    expect(answered.status).toBe(403);
  }
  await until(() => (observer.seen.every(({ ends }) => ends.length > 0) ? true : undefined));
  const refused = { operation: rpc, sessionId: "", failure: { code: 7, reason: "PERMISSION_DENIED" } };
  expect(observer.seen.map(({ writes, callers }) => ({ writes, callers }))).toEqual([
    { writes: [refused], callers: ["p@?"] },
    { writes: [refused], callers: ["p@?"] },
  ]);
});

test("a read in a namespace that its caller has no credentials for is no write", async () => {
  const observer = new LookingOn();
  const server = await serving({ observer, auth: { keys: [KEY], grants: [...GRANTS] } });
  const headers = {
    ...CREDENTIALS,
    "content-type": "application/json",
    "x-workflow-state-namespace": "other",
  };
  await fetch(`${server.url}${pathOf("GetState")}`, { method: "POST", headers, body: "{}" });
  expect((await observer.ended("GetState")).writes).toEqual([]);
});

describe("a commit with a change of no kind", () => {
  const nothing = '{"sessionId":"s","changes":[{}]}';

  async function posted(rpc: string, body: string): Promise<{ status: number; text: string; seen: Seen }> {
    const observer = new LookingOn();
    const { url } = await serving({ observer });
    const headers = { "content-type": "application/json" };
    const response = await fetch(url + pathOf(rpc), { method: "POST", headers, body });
    return { status: response.status, text: await response.text(), seen: await observer.ended(rpc) };
  }

  test("is refused, and told of", async () => {
    const { status, text, seen } = await posted("Commit", nothing);
    expect(status).toBe(400);
    expect(text).toContain("INVALID_REQUEST");
    expect(told(seen)).toEqual([["Commit", "", "InvalidArgument INVALID_REQUEST"]]);
  });

  test("hides nothing of what is written beside it", async () => {
    const set = '{"setState":{"sessionId":"s","key":"k","value":1}}';
    const { status, seen } = await posted("Batch", `{"operations":[{"commit":${nothing}},${set}]}`);
    expect(status).toBe(200);
    expect(told(seen)).toEqual([
      ["Commit", "", "InvalidArgument INVALID_REQUEST"],
      ["SetState", "k", "ok"],
    ]);
  });
});
