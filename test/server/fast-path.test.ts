/** The fast path answers as connect's handlers do: its codec against the general one, and whole calls byte for byte. */
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as Wire from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { decodeRequest } from "../../src/server/fast-path/decode.ts";
import { encodeFrame } from "../../src/server/fast-path/encode.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import type { EncodedForm, Entry, Result, Session, WatchMessage } from "../../src/store.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";
import { requestFromWire, responseToWire } from "../../src/wire.ts";

const ascii = fc.string({ maxLength: 40 });
const text = fc.oneof(
  { weight: 40, arbitrary: ascii },
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.constant("x".repeat(300)),
);
const value = fc.uint8Array({ minLength: 1, maxLength: 200 });
const revision = fc.oneof(
  fc.nat(300),
  fc.maxSafeInteger().map(Math.abs),
  fc.constantFrom(0, 127, 128, 2 ** 32, 2 ** 48),
);
const int64 = revision.map(BigInt);
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 20 });
const duration = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({ seconds: fc.nat(100_000).map(BigInt), nanos: fc.nat(999).map((ms) => ms * 1e6) }),
  },
  fc.record({ seconds: fc.constantFrom(-1n, 0n, 5n), nanos: fc.nat(999_999_999) }),
);

const getState: fc.Arbitrary<MessageInitShape<typeof Wire.GetStateRequestSchema>> = fc.record({
  sessionId: text,
  key: text,
  atRevision: optional(int64),
});
const getSession: fc.Arbitrary<MessageInitShape<typeof Wire.GetSessionRequestSchema>> = fc.record({
  sessionId: text,
  atRevision: optional(int64),
  keyPrefix: text,
});
const setState: fc.Arbitrary<MessageInitShape<typeof Wire.SetStateRequestSchema>> = fc.record({
  sessionId: text,
  key: text,
  value: optional(value),
  ifRevision: optional(int64),
  ttl: optional(duration),
  requestId: text,
  requestFingerprint: text,
});
const deleteState: fc.Arbitrary<MessageInitShape<typeof Wire.DeleteStateRequestSchema>> = fc.record({
  sessionId: text,
  key: text,
  ifRevision: optional(int64),
  requestId: text,
  requestFingerprint: text,
});
type ChangeInit = NonNullable<MessageInitShape<typeof Wire.CommitRequestSchema>["changes"]>[number]["change"];
const change: fc.Arbitrary<NonNullable<ChangeInit>> = fc.oneof(
  { withCrossShrink: true },
  fc.record({
    case: fc.constant("set" as const),
    value: fc.record({
      key: text,
      value: optional(value),
      ttl: optional(duration),
      keepExpiry: fc.boolean(),
    }),
  }),
  fc.record({ case: fc.constant("delete" as const), value: fc.record({ key: text }) }),
  fc.record({ case: fc.constant("increment" as const), value: fc.record({ key: text, delta: fc.double() }) }),
  fc.record({
    case: fc.constant("append" as const),
    value: fc.record({
      key: text,
      values: fc.array(value, { maxLength: 4 }),
      maxItems: fc.oneof({ weight: 20, arbitrary: fc.nat(100) }, fc.constantFrom(-1, 2 ** 31 - 1)),
    }),
  }),
  fc.record({ case: fc.constant("merge" as const), value: fc.record({ key: text, value: optional(value) }) }),
  { weight: 1, arbitrary: fc.constant({ case: undefined }) },
);
const commit: fc.Arbitrary<MessageInitShape<typeof Wire.CommitRequestSchema>> = fc.record({
  sessionId: text,
  checks: fc.array(fc.record({ key: text, ifRevision: int64 }), { maxLength: 3 }),
  changes: fc.array(
    change.map((one) => ({ change: one })),
    { maxLength: 4 },
  ),
  ifRevision: optional(int64),
  metadata: fc.oneof(
    { weight: 8, arbitrary: fc.constant(undefined) },
    fc.record({ workflowId: optional(text) }),
  ),
  requestId: text,
  requestFingerprint: text,
});
type OperationInit = NonNullable<
  MessageInitShape<typeof Wire.BatchRequestSchema>["operations"]
>[number]["operation"];
const operation: fc.Arbitrary<NonNullable<OperationInit>> = fc.oneof(
  getState.map((of) => ({ case: "getState" as const, value: of })),
  setState.map((of) => ({ case: "setState" as const, value: of })),
  deleteState.map((of) => ({ case: "deleteState" as const, value: of })),
  commit.map((of) => ({ case: "commit" as const, value: of })),
  getSession.map((of) => ({ case: "getSession" as const, value: of })),
  { weight: 1, arbitrary: fc.constant({ case: undefined }) },
);
const batch: fc.Arbitrary<MessageInitShape<typeof Wire.BatchRequestSchema>> = fc.record({
  operations: fc.array(
    operation.map((one) => ({ operation: one })),
    { maxLength: 6 },
  ),
});
const watchSession: fc.Arbitrary<MessageInitShape<typeof Wire.WatchSessionRequestSchema>> = fc.record({
  sessionId: text,
  afterRevision: optional(int64),
  keyPrefix: text,
});

/** Each hot request: how to make its bytes, and what both decoders make of them. */
const requests: Record<
  string,
  {
    bytes: fc.Arbitrary<Uint8Array>;
    fast: (bytes: Buffer) => unknown;
    general: (bytes: Uint8Array) => unknown;
  }
> = {
  GetState: {
    bytes: getState.map((init) =>
      toBinary(Wire.GetStateRequestSchema, create(Wire.GetStateRequestSchema, init)),
    ),
    fast: decodeRequest.getState,
    general: (bytes) => requestFromWire.getState(fromBinary(Wire.GetStateRequestSchema, bytes)),
  },
  SetState: {
    bytes: setState.map((init) =>
      toBinary(Wire.SetStateRequestSchema, create(Wire.SetStateRequestSchema, init)),
    ),
    fast: decodeRequest.setState,
    general: (bytes) => requestFromWire.setState(fromBinary(Wire.SetStateRequestSchema, bytes)),
  },
  Commit: {
    bytes: commit.map((init) => toBinary(Wire.CommitRequestSchema, create(Wire.CommitRequestSchema, init))),
    fast: decodeRequest.commit,
    general: (bytes) => requestFromWire.commit(fromBinary(Wire.CommitRequestSchema, bytes)),
  },
  Batch: {
    bytes: batch.map((init) => toBinary(Wire.BatchRequestSchema, create(Wire.BatchRequestSchema, init))),
    fast: decodeRequest.batch,
    general: (bytes) => requestFromWire.batch(fromBinary(Wire.BatchRequestSchema, bytes)).operations,
  },
  WatchSession: {
    bytes: watchSession.map((init) =>
      toBinary(Wire.WatchSessionRequestSchema, create(Wire.WatchSessionRequestSchema, init)),
    ),
    fast: decodeRequest.watchSession,
    general: (bytes) => requestFromWire.watchSession(fromBinary(Wire.WatchSessionRequestSchema, bytes)),
  },
};

/** A request without the name of its kind, which only the fast decoder adds. */
function unnamed(request: unknown): unknown {
  if (Array.isArray(request) || request === undefined) return request;
  const { kind: _, ...rest } = request as { kind?: string };
  return rest;
}

/** Drops what is absent or says nothing, as both decoders are free to, so that what they mean is compared. */
function meaning(request: unknown): unknown {
  if (request instanceof Uint8Array) return [...request];
  if (Array.isArray(request)) return request.map(meaning);
  if (typeof request !== "object" || request === null) return request;
  const says = Object.entries(request).filter(
    ([name, field]) =>
      field !== undefined &&
      !(field === "" && ["requestId", "requestFingerprint", "keyPrefix"].includes(name)),
  );
  return Object.fromEntries(says.map(([name, field]) => [name, meaning(field)]));
}

describe("the fast decoder", () => {
  for (const [name, { bytes, fast, general }] of Object.entries(requests)) {
    it(`makes of a ${name} what the general one makes, or leaves it`, () => {
      let answered = 0;
      fc.assert(
        fc.property(bytes, (message) => {
          const request = unnamed(fast(Buffer.from(message)));
          if (request === undefined) return;
          answered++;
          expect(meaning(request)).toEqual(meaning(general(message)));
        }),
        { numRuns: 500 },
      );
      expect(answered).toBeGreaterThan(50);
    });

    it(`never makes something else of a ${name} that was damaged`, () => {
      fc.assert(
        fc.property(
          bytes,
          fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
          fc.nat(),
          (message, edits, cut) => {
            const damaged = Buffer.from(
              message.subarray(0, message.length - (cut % 5 === 0 ? cut % (message.length + 1) : 0)),
            );
            for (const [at, byte] of edits) if (damaged.length > 0) damaged[at % damaged.length] = byte;
            const request = unnamed(fast(damaged));
            if (request !== undefined) expect(meaning(request)).toEqual(meaning(general(damaged)));
          },
        ),
        { numRuns: 2_000 },
      );
    });
  }

  it("takes what clients send: ASCII ids, a value, checks and changes", () => {
    const init = {
      sessionId: "s",
      key: "k",
      value: encodeValue({ a: [1] }),
      ifRevision: 0n,
      ttl: { seconds: 90n, nanos: 5e8 },
      requestId: "r",
      requestFingerprint: "f",
    };
    const message = toBinary(Wire.SetStateRequestSchema, create(Wire.SetStateRequestSchema, init));
    expect(decodeRequest.setState(Buffer.from(message))).toMatchObject({
      sessionId: "s",
      key: "k",
      ifRevision: 0,
      ttlMs: 90_500,
      requestId: "r",
      requestFingerprint: "f",
    });
  });
});

const time = fc.nat({ max: 4_000_000_000_000 });
const entry: fc.Arbitrary<Entry<EncodedForm>> = fc.record({
  key: text,
  value: optional(value),
  revision,
  updateTime: time,
  expireTime: optional(time),
});
const session: fc.Arbitrary<Session<EncodedForm>> = fc.record({
  sessionId: text,
  state: fc.array(fc.tuple(text.filter(Boolean), value), { maxLength: 4 }).map((entries) => new Map(entries)),
  createTime: optional(time),
  updateTime: optional(time),
  workflowId: optional(text),
  userId: optional(text),
  labels: fc
    .dictionary(
      ascii.filter((name) => name !== "__proto__"),
      text,
      { maxKeys: 3 },
    )
    .map((labels) => ({ ...labels })),
  revision,
  expireTime: optional(time),
  forkedFrom: optional(fc.record({ sessionId: text, revision })),
});
const commitResponse = fc.record({
  revision,
  updateTime: optional(time),
  entries: fc.array(entry, { maxLength: 3 }),
});
const result: fc.Arbitrary<Result<EncodedForm>> = fc.oneof(
  optional(entry).map((of) => ({ kind: "getState" as const, entry: of })),
  entry.map((of) => ({ kind: "setState" as const, entry: of })),
  fc.record({ kind: fc.constant("deleteState" as const), deleted: fc.boolean(), revision }),
  commitResponse.map((of) => ({ kind: "commit" as const, ...of })),
  optional(session).map((of) => ({ kind: "getSession" as const, session: of })),
  text.map((message) => ({
    kind: "error" as const,
    error: new WorkflowStateError("INVALID_KEY", message, { metadata: { field: "key" } }),
  })),
);
const watchMessage: fc.Arbitrary<WatchMessage<EncodedForm>> = fc.oneof(
  session.map((snapshot) => ({ kind: "snapshot" as const, snapshot })),
  fc
    .record({
      sessionId: text,
      revision,
      time,
      kind: fc.constantFrom(
        "COMMITTED" as const,
        "SAVED" as const,
        "DELETED" as const,
        "EXPIRED" as const,
        "FORKED" as const,
        "RESTORED" as const,
      ),
      entries: fc.array(entry, { maxLength: 3 }),
      requestId: optional(text.filter(Boolean)),
    })
    .map((event) => ({ kind: "event" as const, event })),
  revision.map((of) => ({ kind: "progress" as const, revision: of })),
);

function framed(message: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

describe("the fast encoder", () => {
  it("writes the bytes that the general one writes", () => {
    fc.assert(
      fc.property(
        optional(entry),
        commitResponse,
        fc.array(result, { maxLength: 5 }),
        watchMessage,
        (one, answer, results, message) => {
          expect(encodeFrame.entry(one)).toEqual(
            framed(toBinary(Wire.GetStateResponseSchema, responseToWire.getState(one))),
          );
          expect(encodeFrame.commit(answer)).toEqual(
            framed(toBinary(Wire.CommitResponseSchema, responseToWire.commit(answer))),
          );
          expect(encodeFrame.batch(results)).toEqual(
            framed(toBinary(Wire.BatchResponseSchema, responseToWire.batch(results))),
          );
          expect(encodeFrame.watch(message)).toEqual(
            framed(toBinary(Wire.WatchSessionResponseSchema, responseToWire.watchSession(message))),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  it("writes answers of megabytes, and small ones after them", () => {
    const large: Entry<EncodedForm> = {
      key: "k",
      value: new Uint8Array(3 << 20).fill(7),
      revision: 1,
      updateTime: 1,
    };
    for (const one of [large, { ...large, value: Uint8Array.of(1) }]) {
      expect(
        encodeFrame
          .entry(one)
          .equals(framed(toBinary(Wire.GetStateResponseSchema, responseToWire.getState(one)))),
      ).toBe(true);
    }
  });

  it("begins anew after an answer that could not be written", () => {
    const odd = { key: "k", value: undefined, revision: 1, updateTime: 1 };
    expect(() =>
      encodeFrame.batch([
        { kind: "setState", entry: { ...odd, key: undefined as unknown as string } },
        { kind: "setState", entry: odd },
      ]),
    ).not.toThrow();
    expect(() =>
      encodeFrame.commit({ revision: 1, entries: [null as unknown as Entry<EncodedForm>, odd] }),
    ).toThrow();
    expect(encodeFrame.entry(odd)).toEqual(
      framed(toBinary(Wire.GetStateResponseSchema, responseToWire.getState(odd))),
    );
  });
});

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly data: string;
  readonly trailers: IncomingHttpHeaders;
}

function call(
  http2: ClientHttp2Session,
  method: string,
  chunks: readonly Buffer[],
  headers: OutgoingHttpHeaders = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = http2.request({
      ":method": "POST",
      ":path": `/agenterra.state.v1.WorkflowStateService/${method}`,
      "content-type": "application/grpc+proto",
      te: "trailers",
      ...headers,
    });
    const answer = {
      headers: {} as IncomingHttpHeaders,
      data: [] as Buffer[],
      trailers: {} as IncomingHttpHeaders,
    };
    stream.on("response", ({ date: _, ...rest }) => {
      answer.headers = rest;
    });
    stream.on("data", (chunk: Buffer) => answer.data.push(chunk));
    stream.on("trailers", (trailers) => {
      answer.trailers = trailers;
    });
    stream.on("error", reject);
    stream.on("close", () => resolve({ ...answer, data: Buffer.concat(answer.data).toString("hex") }));
    for (const chunk of chunks) stream.write(chunk);
    stream.end();
  });
}

const set = (init: MessageInitShape<typeof Wire.SetStateRequestSchema>): Buffer =>
  framed(toBinary(Wire.SetStateRequestSchema, create(Wire.SetStateRequestSchema, init)));
const get = (key: string): Buffer =>
  framed(toBinary(Wire.GetStateRequestSchema, create(Wire.GetStateRequestSchema, { sessionId: "s", key })));
const good = set({ sessionId: "s", key: "k", value: encodeValue(["milk"]), requestId: "r1" });
const operations = framed(
  toBinary(
    Wire.BatchRequestSchema,
    create(Wire.BatchRequestSchema, {
      operations: [
        { operation: { case: "setState", value: { sessionId: "b", key: "k", value: encodeValue(1) } } },
        { operation: { case: "getState", value: { sessionId: "b", key: "k" } } },
        { operation: { case: "setState", value: { sessionId: "b", key: "", value: encodeValue(1) } } },
        { operation: { case: undefined } },
        { operation: { case: "getSession", value: { sessionId: "b" } } },
      ],
    }),
  ),
);
const increment = framed(
  toBinary(
    Wire.CommitRequestSchema,
    create(Wire.CommitRequestSchema, {
      sessionId: "s",
      changes: [{ change: { case: "increment", value: { key: "k", delta: 1 } } }],
    }),
  ),
);
const compressed = Buffer.from(good);
compressed[0] = 1;
const oversized = Buffer.from(good);
oversized.writeUInt32BE(5 << 20, 1);

/** Calls in the order they are made on both servers: name, method, what is sent, other headers. */
const table: readonly [string, string, readonly Buffer[], OutgoingHttpHeaders?][] = [
  ["a good call", "SetState", [good]],
  ["the same request id again", "SetState", [good]],
  ["a call in pieces", "SetState", [good.subarray(0, 3), good.subarray(3, 20), good.subarray(20)]],
  ["a read", "GetState", [get("k")]],
  ["a read of nothing", "GetState", [get("missing")]],
  ["a read with a deadline", "GetState", [get("k")], { "grpc-timeout": "10S" }],
  ["a deadline that can't be read", "GetState", [get("k")], { "grpc-timeout": "soon" }],
  ["a deadline that has passed", "GetState", [get("k")], { "grpc-timeout": "0n" }],
  ["a missing session id", "SetState", [set({ key: "k", value: encodeValue(1) })]],
  ["a missing value", "SetState", [set({ sessionId: "s", key: "k" })]],
  [
    "a check that fails",
    "SetState",
    [set({ sessionId: "s", key: "k", value: encodeValue(1), ifRevision: 9n })],
  ],
  ["a value of another type", "Commit", [increment]],
  ["ids in other scripts", "SetState", [set({ sessionId: "сессия", key: "ключ", value: encodeValue("🛒") })]],
  ["a batch with good and bad operations", "Batch", [operations]],
  ["no message", "SetState", []],
  ["two messages", "SetState", [good, good]],
  ["two messages in one piece", "SetState", [Buffer.concat([good, good])]],
  ["half a message", "SetState", [good.subarray(0, 12)]],
  ["half a header", "SetState", [good.subarray(0, 3)]],
  ["a frame that says it is compressed", "SetState", [compressed]],
  ["a frame over the limit", "SetState", [oversized]],
  ["bytes that are no message", "SetState", [framed(Buffer.from("ffffffff", "hex"))]],
  ["ill-formed text", "SetState", [framed(Buffer.from("0a02c328", "hex"))]],
  [
    "an unknown field",
    "GetState",
    [framed(Buffer.concat([get("k").subarray(5), Buffer.from("f20101ff", "hex")]))],
  ],
  ["a namespace", "GetState", [get("k")], { "x-workflow-state-namespace": "other" }],
  ["identity as its encoding", "GetState", [get("k")], { "grpc-encoding": "identity" }],
  ["an unknown encoding", "GetState", [get("k")], { "grpc-encoding": "zstd" }],
  ["gRPC-Web", "GetState", [get("k")], { "content-type": "application/grpc-web+proto" }],
  ["an unknown method", "Nothing", [get("k")]],
  ["a method of an object", "toString", [get("k")]],
  ["a host that is none", "GetState", [get("k")], { ":authority": "%" }],
  ["a port that is none", "GetState", [get("k")], { ":authority": "a:99999" }],
  ["a pipeline of two messages", "Pipeline", [operations, operations]],
  ["a pipeline of nothing", "Pipeline", []],
  ["a pipeline with a bad message", "Pipeline", [operations, framed(Buffer.from("ffffffff", "hex"))]],
  ["a pipeline with a compressed message", "Pipeline", [operations, compressed]],
  ["a pipeline that breaks off", "Pipeline", [operations, operations.subarray(0, 20)]],
  [
    "a watch with a deadline",
    "WatchSession",
    [
      framed(
        toBinary(Wire.WatchSessionRequestSchema, create(Wire.WatchSessionRequestSchema, { sessionId: "s" })),
      ),
    ],
    { "grpc-timeout": "50m" },
  ],
  [
    "a watch from a revision to come",
    "WatchSession",
    [
      framed(
        toBinary(
          Wire.WatchSessionRequestSchema,
          create(Wire.WatchSessionRequestSchema, { sessionId: "s", afterRevision: 99n }),
        ),
      ),
    ],
  ],
  ["a watch of nobody", "WatchSession", [framed(Buffer.alloc(0))]],
  ["a watch with two messages", "WatchSession", [get("k"), get("k")]],
];

describe("a call on the fast path", () => {
  const servers: RunningServer[] = [];
  const clients: ClientHttp2Session[] = [];
  beforeAll(async () => {
    for (const fastPath of [true, false]) {
      const server = await startServer({
        store: memoryStore({ now: () => 1_790_000_000_000 }),
        listen: { port: 0 },
        fastPath,
      });
      servers.push(server);
      const client = connect(server.url);
      client.on("error", () => {});
      clients.push(client);
    }
  });
  afterAll(async () => {
    for (const client of clients) client.destroy();
    for (const server of servers) await server.close({ now: true });
  });

  for (const [name, method, chunks, headers] of table) {
    it(`is answered as by connect's handlers: ${name}`, async () => {
      const [fast, general] = await Promise.all(
        clients.map((client) => call(client, method, chunks, headers)),
      );
      expect(fast).toEqual(general);
    });
  }

  it("is dropped when its body never ends, and others are served meanwhile", async () => {
    const server = await startServer({
      store: memoryStore(),
      listen: { port: 0 },
      maxTimeoutMs: 50,
      drainTimeoutMs: 50,
    });
    const client = connect(server.url);
    client.on("error", () => {});
    const stream = client.request({
      ":method": "POST",
      ":path": "/agenterra.state.v1.WorkflowStateService/SetState",
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.write(good.subarray(0, 10));
    expect((await call(client, "GetState", [get("k")])).trailers["grpc-status"]).toBe("0");
    const closed = new Promise((resolve) => stream.on("close", resolve));
    await server.close();
    await closed;
    client.destroy();
  });
});
