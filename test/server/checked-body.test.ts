/** Bodies on their way to connect: whole messages, decompressed, and every one of them checked. */
import { gzipSync } from "node:zlib";
import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { checkedBody } from "../../src/server/checked-body.ts";
import { framed } from "../support/serving.ts";

const LIMIT = 200_000;

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(
  body: Buffer,
  headers: Record<string, string>,
  { size = 1000, check = (_: Uint8Array): void => {} } = {},
): Promise<{ header: Headers; pieces: Uint8Array[] }> {
  const header = new Headers(headers);
  const pieces: Uint8Array[] = [];
  for await (const piece of checkedBody(inPieces(body, size), header, { limitBytes: LIMIT, check })) {
    pieces.push(Buffer.from(piece));
  }
  return { header, pieces };
}

const message = Buffer.alloc(LIMIT, "message ");
const grpc = { "content-type": "application/grpc" };

describe.each([
  ["gRPC", grpc, "grpc-encoding"],
  ["gRPC in capitals", { "content-type": "Application/gRPC+Proto" }, "grpc-encoding"],
  ["gRPC-Web", { "content-type": "application/grpc-web+proto" }, "grpc-encoding"],
  ["a stream of Connect", { "content-type": "application/connect+json" }, "connect-content-encoding"],
])("a body of %s", (_, headers, encoding) => {
  it("comes in whole frames, also out of a great many pieces", async () => {
    const small = framed(Buffer.from("small"));
    const { pieces } = await read(Buffer.concat([small, framed(message), small]), headers, { size: 1 });
    expect(pieces.map((piece) => piece.length)).toEqual([10, LIMIT + 5, 10]);
    expect(message.equals(pieces[1]?.subarray(5) ?? Buffer.alloc(0))).toBe(true);
  });

  it("is decompressed, and says so no more", async () => {
    const body = Buffer.concat([framed(gzipSync(message), 1), framed(message)]);
    const checked: string[] = [];
    const check = (one: Uint8Array): void => {
      checked.push(Buffer.from(one).toString());
    };
    const { header, pieces } = await read(body, { ...headers, [encoding]: "gzip" }, { check });
    expect(header.has(encoding)).toBe(false);
    expect(Buffer.concat(pieces).equals(Buffer.concat([framed(message), framed(message)]))).toBe(true);
    expect(checked).toEqual([`${message}`, `${message}`]);
  });

  it("fails with what the check says", async () => {
    const check = (): never => {
      throw new WorkflowStateError("REQUEST_TOO_LARGE", "Too much.");
    };
    await expect(read(framed(message), headers, { check })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
      rawMessage: "Too much.",
    });
  });

  it("fails at once where a frame is over the limit", async () => {
    const header = Buffer.from("00ffffffff", "hex");
    const endless = async function* (): AsyncGenerator<Buffer> {
      for (;;) yield header;
    };
    const body = checkedBody(endless(), new Headers(headers), { limitBytes: LIMIT, check: () => {} });
    await expect(body[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: Code.ResourceExhausted });
  });

  it.each([1, 4, 9])("fails where it ends in a frame (%s bytes)", async (bytes) => {
    await expect(read(framed(message).subarray(0, bytes), headers)).rejects.toMatchObject({
      code: Code.InvalidArgument,
    });
  });

  it("fails where nobody knows its compression", async () => {
    await expect(read(framed(message), { ...headers, [encoding]: "zip" })).rejects.toMatchObject({
      code: Code.Unimplemented,
      rawMessage: expect.stringContaining("gzip,br"),
    });
  });
});

describe("a body that is a message", () => {
  const headers = { "content-type": "application/proto", "content-length": "7" };

  it("comes whole, also out of a great many pieces", async () => {
    const { header, pieces } = await read(message, headers, { size: 1 });
    expect(pieces.map((piece) => message.equals(piece))).toEqual([true]);
    expect(header.has("content-length")).toBe(false);
  });

  it("is decompressed", async () => {
    const { header, pieces } = await read(gzipSync(message), { ...headers, "content-encoding": "gzip" });
    expect(pieces.map((piece) => message.equals(piece))).toEqual([true]);
    expect(header.has("content-encoding")).toBe(false);
  });

  it.each([
    ["as it is", Buffer.alloc(LIMIT + 1), {}],
    ["decompressed", gzipSync(Buffer.alloc(LIMIT + 1)), { "content-encoding": "gzip" }],
  ])("fails where it is over the limit: %s", async (_, body, more) => {
    await expect(read(body, { ...headers, ...more })).rejects.toMatchObject({ code: Code.ResourceExhausted });
  });
});
