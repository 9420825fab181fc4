/** Errors, however much they have to say, come through to clients whose trailers are limited. */
import { join } from "node:path";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import {
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, onTestFinished, test } from "vitest";
import { type ErrorDetail, ErrorDetailSchema, ErrorReason } from "../../gen/agenterra/state/v1/state_pb.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { openStore } from "../../src/open.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { errorToWire, toConnectError } from "../../src/wire.ts";
import { serving } from "../support/serving.ts";

/** What gRPC clients take in headers and trailers by default. */
const CLIENT_BYTES = 8_192;

type AnyClient = Record<string, (...args: unknown[]) => unknown> & { close(): void };

/** The official client of Node.js, told to take no more than others do by default. */
async function grpcClient(fastPath: boolean): Promise<AnyClient> {
  const { port } = await serving({ fastPath });
  const definition = loadSync("agenterra/state/v1/service.proto", {
    includeDirs: [join(import.meta.dirname, "../../proto")],
    keepCase: true,
    longs: String,
  });
  const loaded = loadPackageDefinition(definition) as GrpcObject;
  const Service = ["agenterra", "state", "v1", "WorkflowStateService"].reduce<unknown>(
    (at, name) => (at as GrpcObject)[name],
    loaded,
  ) as new (
    address: string,
    how: unknown,
    options: object,
  ) => AnyClient;
  const client = new Service(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.max_metadata_size": CLIENT_BYTES,
  });
  onTestFinished(() => client.close());
  return client;
}

function failureOf(client: AnyClient, rpc: string, request: object): Promise<ServiceError> {
  return new Promise((resolve, reject) => {
    client[rpc]?.(request, (error: ServiceError | null, answer: unknown) =>
      error === null ? reject(new Error(`no error: ${JSON.stringify(answer)}`)) : resolve(error),
    );
  });
}

/** The trailers of a failure as they were sent, and the detail in them. */
function sentIn({ metadata }: ServiceError): {
  readonly bytes: number;
  readonly detail: ErrorDetail | undefined;
} {
  const [packed = Buffer.alloc(0)] = metadata.get("grpc-status-details-bin") as Buffer[];
  const base64 = Buffer.from(packed).toString("base64");
  const said = findTrailerError(new Headers({ "grpc-status-details-bin": base64 }));
  const message = encodeURIComponent(said?.rawMessage ?? "");
  return { bytes: base64.length + message.length, detail: said?.findDetails(ErrorDetailSchema)[0] };
}

describe.each([true, false])("with the fast path: %s", (fastPath) => {
  test.each([
    ["1,000 checks of long keys", 1_000, "k".repeat(500)],
    ["1,000 checks of short keys", 1_000, "k"],
    ["3 checks of keys that are all control characters", 3, "\u0001".repeat(500)],
    ["20 checks of keys that are all emoji", 20, "😀".repeat(120)],
  ])("%s that all fail come to a client, cut and counted", async (_, count, key) => {
    const client = await grpcClient(fastPath);
    const checks = Array.from({ length: count }, (__, i) => ({ key: `${key}${i}`, if_revision: 7 }));
    const error = await failureOf(client, "Commit", { session_id: "s", checks });
    expect(error.code).toBe(status.ABORTED);
    const { bytes, detail } = sentIn(error);
    expect(bytes).toBeLessThan(CLIENT_BYTES - 500);
    expect(detail?.reason).toBe(ErrorReason.REVISION_MISMATCH);
    expect(detail?.failedChecks.length).toBeGreaterThanOrEqual(3);
    expect(detail?.failedChecks[0]).toMatchObject({ key: checks[0]?.key, ifRevision: 7n });
    const whole = detail?.failedChecks.length === count;
    expect(detail?.metadata["failed_checks"]).toBe(whole ? undefined : String(count));
  });
});

test("few failed checks are all sent, and not counted", async () => {
  const client = await grpcClient(true);
  const checks = Array.from({ length: 20 }, (_, i) => ({ key: `key-${i}`, if_revision: 7 }));
  const { detail } = sentIn(await failureOf(client, "Commit", { session_id: "s", checks }));
  expect(detail?.failedChecks.length).toBe(20);
  expect(detail?.metadata).toEqual({});
});

test("the client in TypeScript is told how many there were", async () => {
  const server = await serving();
  const store = await openStore(server.url);
  onTestFinished(() => store.close());
  const checks = Array.from({ length: 1_000 }, (_, i) => ({ key: `${"k".repeat(500)}${i}`, ifRevision: 7 }));
  const error = await store.commit("s", { checks }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ reason: "REVISION_MISMATCH", metadata: { failed_checks: "1000" } });
});

test("a batch over its count says so, although its operations would be too many a second", async () => {
  const store = memoryStore();
  const server = await serving({ store, perPrincipal: { operationsPerSecond: 1 } });
  const client = await openStore(server.url);
  onTestFinished(() => client.close());
  const get = { kind: "getState", sessionId: "s", key: "k" } as const;
  await expect(client.batch(Array(257).fill(get))).rejects.toMatchObject({ reason: "REQUEST_TOO_LARGE" });
});

describe("whatever an error says", () => {
  const long = (character: string, length: number): string => character.repeat(length);

  test.each([
    ["an endless message", new WorkflowStateError("INVALID_VALUE", long("é", 100_000))],
    [
      "endless facts",
      new WorkflowStateError("INVALID_VALUE", "Wrong.", {
        metadata: {
          field: "value",
          path: long("x", 100_000),
          other: long("y", 1_000),
          last: long("z", 1_000),
        },
      }),
    ],
    ["a lone surrogate", new WorkflowStateError("INVALID_VALUE", "\ud800", { metadata: { path: "\udc00" } })],
    ["a message cut within a pair", new WorkflowStateError("INVALID_VALUE", `x${long("😀", 1_000)}`)],
  ])("%s fits, in a status and in a batch", (_, error) => {
    const connectError = toConnectError(error);
    const { message, metadata } = errorToWire(error);
    expect(connectError.rawMessage).toBe(message);
    expect(encodeURIComponent(message).length).toBeLessThanOrEqual(1_536);
    expect(message.isWellFormed()).toBe(true);
    const facts = metadata.map(({ value }) => value).join("");
    expect(Buffer.byteLength(facts)).toBeLessThan(2_048);
    expect(facts.isWellFormed()).toBe(true);
  });

  test("what is short is sent as it is", () => {
    const error = new WorkflowStateError("INVALID_KEY", "Wrong: “é”.", { metadata: { field: "key" } });
    const { message, metadata } = errorToWire(error);
    expect(message).toBe("Wrong: “é”.");
    expect(metadata).toMatchObject([{ key: "field", value: "key" }]);
  });
});
