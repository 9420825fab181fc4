/** The official gRPC client of Node.js, with nothing of ours but the .proto files, calls every RPC. */
import { join } from "node:path";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import {
  type ClientReadableStream,
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateService } from "../gen/agenterra/state/v1/service_pb.ts";
import { ErrorDetailSchema, ErrorReason } from "../gen/agenterra/state/v1/state_pb.ts";
import type { ServerOptions } from "../src/server.ts";
import { serving } from "./support/serving.ts";
import { stubStore } from "./support/stub-store.ts";

const definition = loadSync("agenterra/state/v1/service.proto", {
  includeDirs: [join(import.meta.dirname, "../proto")],
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: true,
  defaults: true,
});
const SERVICE = "agenterra.state.v1.WorkflowStateService";

type Json = Record<string, unknown>;
type Stream = ClientReadableStream<Json> & { write(message: Json): void; end(): void };
/** The client's methods by name, without types: all it knows comes from the .proto files. */
type AnyClient = Record<string, (...args: unknown[]) => unknown> & { close(): void };

/** A client that notes which RPCs were called. */
async function clientOf(options: Partial<ServerOptions> = {}) {
  const { port } = await serving(options);
  const loaded = loadPackageDefinition(definition) as GrpcObject;
  const Service = SERVICE.split(".").reduce<unknown>((at, name) => (at as GrpcObject)[name], loaded) as new (
    address: string,
    how: unknown,
  ) => AnyClient;
  const client = new Service(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  const called = new Set<string>();
  return {
    called,
    unary(rpc: string, request: Json, callOptions: Json = {}): Promise<Json> {
      called.add(rpc);
      return new Promise((resolve, reject) => {
        client[rpc]?.(request, new Metadata(), callOptions, (error: unknown, answer: Json) =>
          error === null ? resolve(answer) : reject(error),
        );
      });
    },
    stream(rpc: string, ...args: readonly unknown[]): Stream {
      called.add(rpc);
      const stream = client[rpc]?.(...args) as Stream;
      stream.on("error", () => {});
      onTestFinished(() => stream.cancel());
      return stream;
    },
  };
}

async function take(stream: AsyncIterable<Json>, count: number): Promise<Json[]> {
  const messages: Json[] = [];
  for await (const message of stream) {
    messages.push(message);
    if (messages.length === count) {
      break;
    }
  }
  return messages;
}

const text = (stringValue: string): Json => ({ stringValue });

test("every RPC answers", async () => {
  const { unary, stream, called } = await clientOf();

  const all = stream("WatchSessions", { session_id_prefix: "s" });
  const one = stream("WatchSession", { session_id: "s" });
  const watched = one[Symbol.asyncIterator]();
  expect((await watched.next()).value).toMatchObject({
    message: "snapshot",
    snapshot: { revision: "0", create_time: null },
  });

  const saved = await unary("SaveSession", {
    session: {
      session_id: "s",
      state: { a: text("1"), b: { nullValue: "NULL_VALUE" } },
      user_id: "u",
      labels: { l: "x" },
    },
    if_revision: 0,
    ttl: { seconds: 1000 },
    request_id: "first",
  });
  expect(saved).toMatchObject({
    session: { revision: "1", user_id: "u", labels: { l: "x" }, state: { a: text("1") } },
  });
  expect((await watched.next()).value).toMatchObject({
    message: "event",
    event: { kind: "EVENT_KIND_SAVED", request_id: "first" },
  });

  expect(await unary("SetState", { session_id: "s", key: "c", value: { numberValue: 1.5 } })).toMatchObject({
    entry: { key: "c", revision: "2" },
  });
  expect(await unary("GetState", { session_id: "s", key: "c" })).toMatchObject({
    entry: { value: { numberValue: 1.5 } },
  });
  expect(await unary("GetState", { session_id: "s", key: "none" })).toMatchObject({ entry: null });
  expect(await unary("GetSession", { session_id: "s", key_prefix: "c" })).toMatchObject({
    session: { state: { c: { kind: "numberValue" } } },
  });
  expect(await unary("ListState", { session_id: "s", page_size: 2 })).toMatchObject({
    entries: [{ key: "a" }, { key: "b" }],
    next_page_token: expect.stringMatching(/./),
  });
  expect(
    await unary("Commit", {
      session_id: "s",
      checks: [{ key: "c", if_revision: 2 }],
      changes: [
        { increment: { key: "c", delta: 1 } },
        { append: { key: "d", values: [text("x"), text("y")], max_items: 1 } },
        { merge: { key: "e", value: { structValue: { fields: { f: { boolValue: true } } } } } },
        { delete: { key: "b" } },
      ],
      metadata: { workflow_id: "w" },
    }),
  ).toMatchObject({
    revision: "3",
    entries: [{ value: { numberValue: 2.5 } }, { key: "d" }, { key: "e" }, { key: "b", value: null }],
  });
  expect(await unary("DeleteState", { session_id: "s", key: "d" })).toEqual({ deleted: true, revision: "4" });
  expect(
    await unary("Batch", {
      operations: [
        { get_state: { session_id: "s", key: "a" } },
        { set_state: { session_id: "", key: "k", value: text("x") } },
      ],
    }),
  ).toMatchObject({
    results: [
      { result: "get_state", get_state: { entry: { key: "a" } } },
      { result: "error", error: { reason: "ERROR_REASON_INVALID_SESSION_ID" } },
    ],
  });
  expect(
    await unary("ForkSession", { session_id: "s", at_revision: 1, new_session_id: "fork" }),
  ).toMatchObject({
    session: { forked_from: { session_id: "s", revision: "1" } },
  });
  expect(await unary("RestoreSession", { session_id: "s", at_revision: 1 })).toMatchObject({
    session: { revision: "5" },
  });
  expect(await unary("ListEvents", { session_id: "s", reverse: true, page_size: 1 })).toMatchObject({
    events: [{ revision: "5", kind: "EVENT_KIND_RESTORED" }],
  });
  expect(await unary("ListSessions", { view: "SESSION_VIEW_IDS", labels: { l: "x" } })).toMatchObject({
    sessions: [{ session_id: "fork" }, { session_id: "s" }],
  });
  expect(await unary("DeleteSession", { session_id: "s" })).toEqual({ deleted: true });
  expect(await take(all, 3)).toMatchObject([
    { kind: "EVENT_KIND_SAVED", session: { session_id: "s", revision: "1" } },
    { kind: "EVENT_KIND_COMMITTED" },
    { kind: "EVENT_KIND_COMMITTED" },
  ]);

  const pipeline = stream("Pipeline");
  pipeline.write({ operations: [{ set_state: { session_id: "p", key: "k", value: text("x") } }] });
  pipeline.write({
    operations: [{ get_session: { session_id: "p" } }, { delete_state: { session_id: "p", key: "k" } }],
  });
  pipeline.end();
  expect(await take(pipeline, 9)).toMatchObject([
    { results: [{ result: "set_state" }] },
    { results: [{ get_session: { session: { revision: "1" } } }, { delete_state: { deleted: true } }] },
  ]);

  expect([...called].sort()).toEqual(WorkflowStateService.methods.map(({ name }) => name).sort());
});

describe("failures", () => {
  async function failureOf(call: Promise<unknown>): Promise<ServiceError> {
    return call.then(
      () => expect.unreachable(),
      (error: ServiceError) => error,
    );
  }

  test("carry their detail in grpc-status-details-bin", async () => {
    const { unary } = await clientOf();
    await unary("SetState", { session_id: "s", key: "k", value: text("é") });
    const error = await failureOf(
      unary("Commit", {
        session_id: "s",
        checks: [{ key: "k", if_revision: 7 }],
        changes: [{ delete: { key: "k" } }],
      }),
    );
    expect(error.code).toBe(status.ABORTED);
    expect(error.details).not.toBe("");
    const [bytes] = error.metadata.get("grpc-status-details-bin") as Buffer[];
    const said = findTrailerError(
      new Headers({ "grpc-status-details-bin": Buffer.from(bytes as Buffer).toString("base64") }),
    );
    expect(said?.findDetails(ErrorDetailSchema)).toMatchObject([
      {
        reason: ErrorReason.REVISION_MISMATCH,
        failedChecks: [{ key: "k", ifRevision: 7n, actualRevision: 1n }],
      },
    ]);
  });

  test("by a deadline are DEADLINE_EXCEEDED, though the store sleeps", async () => {
    const { unary } = await clientOf({ store: stubStore({ listState: () => new Promise(() => {}) }) });
    const error = await failureOf(unary("ListState", { session_id: "s" }, { deadline: Date.now() + 100 }));
    expect(error.code).toBe(status.DEADLINE_EXCEEDED);
  });

  test("of a request over the limit are RESOURCE_EXHAUSTED, and the next call is served", async () => {
    const { unary } = await clientOf({ limits: { requestBytes: 100_000 } });
    const error = await failureOf(
      unary("SetState", { session_id: "s", key: "k", value: text("x".repeat(200_000)) }),
    );
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    await unary("GetState", { session_id: "s", key: "k" });
  });

  test("of a watch that is cancelled are CANCELLED", async () => {
    const { stream } = await clientOf();
    const watch = stream("WatchSession", { session_id: "s" });
    await take(watch, 1).catch(() => {});
    const error = await new Promise<ServiceError>((resolve) => {
      const again = stream("WatchSession", { session_id: "s" });
      again.on("error", resolve);
      again.on("data", () => again.cancel());
    });
    expect(error.code).toBe(status.CANCELLED);
  });
});
