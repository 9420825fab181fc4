/** Messages of very many small parts: refused before anything is made of them, whatever way they come. */
import { brotliCompressSync, gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ErrorDetailSchema, ErrorReason } from "../../gen/agenterra/state/v1/state_pb.ts";
import * as Wire from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { checkBinaryParts, checkJsonParts, MAX_PARTS } from "../../src/server/message-parts.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { framed, http2Request, http2Session, pathOf, webHeaders } from "../support/serving.ts";

const LARGEST = 4 << 20;

/** A field of a tag, with its length. */
function field(tag: number, content: Uint8Array): Buffer {
  const length: number[] = [];
  let left = content.length;
  for (; left > 0x7f; left >>>= 7) length.push((left & 0x7f) | 0x80);
  return Buffer.concat([Uint8Array.of(tag, ...length, left), content]);
}

/** The same few bytes again and again, nearly as often as a request may have them. */
function many(hex: string, count: number = (LARGEST - 100) / (hex.length / 2)): Buffer {
  return Buffer.alloc(Math.floor(count) * (hex.length / 2), hex, "hex");
}

describe("the parts of a binary message", () => {
  it.each([
    ["operations", Wire.BatchRequestSchema, many("0a00")],
    ["checks", Wire.CommitRequestSchema, many("1200")],
    ["changes", Wire.CommitRequestSchema, many("1a00")],
    ["labels of a commit", Wire.CommitRequestSchema, field(0x2a, many("1a00"))],
    ["values to append", Wire.CommitRequestSchema, field(0x1a, field(0x22, many("1200")))],
    ["entries of a session", Wire.SaveSessionRequestSchema, field(0x0a, many("1200"))],
    ["labels of a session", Wire.SaveSessionRequestSchema, field(0x0a, many("3a00"))],
    ["labels to list by", Wire.ListSessionsRequestSchema, many("2200")],
    ["one field again and again", Wire.GetStateRequestSchema, many("0a00")],
    ["one message again and again", Wire.SetStateRequestSchema, many("2a00")],
    ["fields that nobody knows", Wire.GetStateRequestSchema, many("7800")],
    ["checks of a commit in a batch", Wire.BatchRequestSchema, field(0x0a, field(0x22, many("1200")))],
    // The decoder goes by the field, whatever wire type its tag has: so must the count.
    ["operations as numbers", Wire.BatchRequestSchema, many("0800")],
    ["checks in what says to be bytes", Wire.CommitRequestSchema, field(0x22, many("1200"))],
  ])("are too many: %s", (_, type, bytes) => {
    expect(bytes.length).toBeLessThan(LARGEST);
    expect(() => checkBinaryParts(type, bytes)).toThrow(
      expect.objectContaining({ reason: "REQUEST_TOO_LARGE", metadata: { limit: `${MAX_PARTS}` } }),
    );
  });

  it("are malformed: groups, which no client sends", () => {
    expect(() => checkBinaryParts(Wire.GetStateRequestSchema, many("7b7c"))).toThrow(
      expect.objectContaining({ reason: "INVALID_REQUEST" }),
    );
  });

  it.each([
    ["an overlong tag", field(0x0a, many("ff"))],
    [
      "a length beyond the end",
      Buffer.concat([many("00", 600_000).fill(0x0a, 0, 1).fill(0xff, 1, 4), many("00", 9)]),
    ],
  ])("are malformed: %s", (_, bytes) => {
    expect(() => fromBinary(Wire.BatchRequestSchema, bytes)).toThrow();
    try {
      checkBinaryParts(Wire.BatchRequestSchema, bytes);
    } catch (error) {
      expect(error).toMatchObject({ reason: "INVALID_REQUEST" });
    }
  });

  it("are few, however large", () => {
    const value = many("1200");
    const change = { change: { case: "set" as const, value: { key: "k", value } } };
    const bytes = toBinary(Wire.CommitRequestSchema, create(Wire.CommitRequestSchema, { changes: [change] }));
    checkBinaryParts(Wire.CommitRequestSchema, bytes);
  });

  it("are all that the other limits allow: a full batch of full commits", () => {
    const change = {
      change: {
        case: "set" as const,
        value: { key: "a-key", value: Uint8Array.of(8, 0), ttl: { seconds: 1n } },
      },
    };
    const commit = { sessionId: "s", changes: new Array(128).fill(change), requestId: "r" };
    const operation = { operation: { case: "commit" as const, value: commit } };
    const request = create(Wire.BatchRequestSchema, { operations: new Array(256).fill(operation) });
    checkBinaryParts(Wire.BatchRequestSchema, toBinary(Wire.BatchRequestSchema, request));
  });

  it("are counted to the limit", () => {
    checkBinaryParts(Wire.BatchRequestSchema, many("0a020a00", MAX_PARTS / 2));
    expect(() => checkBinaryParts(Wire.BatchRequestSchema, many("0a020a00", MAX_PARTS / 2 + 1))).toThrow(
      expect.objectContaining({ reason: "REQUEST_TOO_LARGE" }),
    );
  });
});

describe("the parts of a JSON message", () => {
  const list = (item: string, count: number): Buffer =>
    Buffer.from(`{"operations":[${new Array(count).fill(item).join()}]}`);

  it.each([
    ["objects", list("{}", 1_000_000)],
    ["numbers", list("1", 1_000_000)],
    ["lists in lists", Buffer.from("[".repeat(1_000_000))],
    ["members", Buffer.from(`{${new Array(400_000).fill('"\\"":1').join()}}`)],
  ])("are too many: %s", (_, bytes) => {
    expect(() => checkJsonParts(bytes)).toThrow(
      expect.objectContaining({ reason: "REQUEST_TOO_LARGE", metadata: { limit: `${MAX_PARTS}` } }),
    );
  });

  it.each([
    ["commas and brackets in a text", `["${",[{".repeat(1_000_000)}"]`],
    ["after a quote that is escaped", `["\\"${",[{".repeat(1_000_000)}"]`],
    ["after a backslash that is escaped", `["\\\\", "${",[{".repeat(1_000_000)}"]`],
    ["in a text that does not end", `["${",[{".repeat(1_000_000)}`],
  ])("are few: %s", (_, text) => {
    checkJsonParts(Buffer.from(text));
  });

  it("are counted to the limit", () => {
    // The lists and objects, and the commas between them.
    checkJsonParts(list("{}", MAX_PARTS / 2 - 1));
    expect(() => checkJsonParts(list("{}", MAX_PARTS / 2))).toThrow(
      expect.objectContaining({ reason: "REQUEST_TOO_LARGE" }),
    );
  });
});

describe.each([
  ["with the fast path", true],
  ["without the fast path", false],
])("a server %s refuses very many parts", (_, fastPath) => {
  let server: RunningServer;
  const batch = many("0a00");
  const checks = many("1200");
  const json = Buffer.from(`{"operations":[${new Array(1_300_000).fill("{}").join()}]}`);

  beforeAll(async () => {
    server = await startServer({ store: memoryStore(), listen: { port: 0 }, fastPath });
  });
  afterAll(() => server.close({ now: true }));

  it.each<[string, string, Uint8Array, Record<string, string>]>([
    ["gRPC", "Batch", framed(batch), {}],
    ["gRPC", "Commit", framed(checks), {}],
    ["a pipeline of gRPC", "Pipeline", framed(batch), {}],
    ["gRPC with a flag of nobody", "Batch", framed(batch, 4), {}],
    ["gRPC with gzip", "Commit", framed(gzipSync(checks), 1), { "grpc-encoding": "gzip" }],
    ["gRPC with Brotli", "Batch", framed(brotliCompressSync(batch), 1), { "grpc-encoding": "br" }],
    ["gRPC of JSON", "Batch", framed(json), { "content-type": "application/grpc+json" }],
    ["gRPC-Web", "Batch", framed(batch), { "content-type": "application/grpc-web+proto" }],
  ])("%s: %s", async (_, rpc, body, headers) => {
    const { trailers, body: answer } = await http2Request(
      http2Session(server),
      { ":path": pathOf(rpc), "content-type": "application/grpc", te: "trailers", ...headers },
      body,
    );
    const status = "grpc-status" in trailers ? webHeaders(trailers) : trailerParse(answer.subarray(5));
    const [detail] = findTrailerError(status)?.findDetails(ErrorDetailSchema) ?? [];
    expect(detail).toMatchObject({
      reason: ErrorReason.REQUEST_TOO_LARGE,
      metadata: { limit: `${MAX_PARTS}` },
    });
  });

  it.each<[string, string, Uint8Array, Record<string, string>]>([
    ["Connect", "Batch", batch, { "content-type": "application/proto" }],
    [
      "Connect with gzip",
      "Batch",
      gzipSync(batch),
      { "content-type": "application/proto", "content-encoding": "gzip" },
    ],
    ["Connect of JSON", "Batch", json, { "content-type": "application/json" }],
    [
      "Connect of JSON with gzip",
      "Batch",
      gzipSync(json),
      { "content-type": "application/json", "content-encoding": "gzip" },
    ],
    [
      "a stream of Connect",
      "WatchSessions",
      framed(many("2200")),
      { "content-type": "application/connect+proto" },
    ],
    [
      "a stream of Connect with gzip",
      "WatchSessions",
      framed(gzipSync(many("2200")), 1),
      { "content-type": "application/connect+proto", "connect-content-encoding": "gzip" },
    ],
  ])("%s: %s", async (_, rpc, body, headers) => {
    const response = await fetch(server.url + pathOf(rpc), {
      method: "POST",
      headers,
      body: new Uint8Array(body),
    });
    expect(await response.text()).toMatch(`"reason":"ERROR_REASON_REQUEST_TOO_LARGE"`);
  });

  it("a compressed GET is not taken: it could hold more than a URL", async () => {
    const query = new URLSearchParams({
      connect: "v1",
      encoding: "proto",
      base64: "1",
      compression: "gzip",
      message: gzipSync(many("2200")).toString("base64url"),
    });
    const response = await fetch(`${server.url}${pathOf("ListSessions")}?${query}`);
    expect(await response.json()).toMatchObject({ code: "unimplemented" });
  });

  it.each([
    ["gzip", gzipSync],
    ["br", brotliCompressSync],
  ])("what is compressed (%s) is read, and answered as it is", async (name, compress) => {
    const message = Buffer.from(`{"sessionId":"s","key":"k","value":"${"x".repeat(10_000)}"}`);
    const response = await fetch(server.url + pathOf("SetState"), {
      method: "POST",
      headers: { "content-type": "application/json", "content-encoding": name },
      body: new Uint8Array(compress(message)),
    });
    expect(response.headers.get("content-encoding")).toBeNull();
    expect(await response.json()).toMatchObject({ entry: { key: "k" } });
  });
});
