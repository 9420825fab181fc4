/** What the fuzzer and the attacks have found, each held by a test of its own. */
import { once } from "node:events";
import type { ClientHttp2Stream } from "node:http2";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { exportSPKI, generateKeyPair, SignJWT } from "jose";
import { describe, expect, test, vi } from "vitest";
import type { AuthOptions } from "../../src/server/auth.ts";
import { checkJsonParts, MAX_PARTS } from "../../src/server/message-parts.ts";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import { http2Request, http2Session, pathOf, serving } from "../support/serving.ts";

const KEY = { sessionId: "s", key: "k" };

describe("by Connect, a malformed binary message", () => {
  test.each([
    ["a field without a number", "0a0861747461636b656412036b6580000002"],
    ["a wire type that there is not", "1f8b08"],
    ["a message cut short", "0a05"],
  ])("is a 400, as its code says: %s", async (_, message) => {
    const { url } = await serving();
    const response = await fetch(`${url}${pathOf("GetState")}`, {
      method: "POST",
      headers: { "content-type": "application/proto" },
      body: Buffer.from(message, "hex"),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: "invalid_argument" });
  });
});

describe("names with escapes in JSON", () => {
  // Each takes as long as several without: 1.2 MB of them held the event loop for more than a second.
  const body = (name: string, count: number): Buffer =>
    Buffer.from(`{${Array.from({ length: count }, (_, n) => `"${name}${n}" :1`).join(",")}}`);

  test("count as more than one value", () => {
    expect(() => checkJsonParts(body("k\\n", MAX_PARTS / 3 + 10))).toThrow(
      expect.objectContaining({ reason: "REQUEST_TOO_LARGE" }),
    );
    checkJsonParts(body("k\\n", MAX_PARTS / 3 - 100));
    checkJsonParts(body("k", MAX_PARTS - 100));
  });

  test("and texts with escapes do not", () => {
    checkJsonParts(Buffer.from(`[${new Array(MAX_PARTS - 100).fill('"\\n"').join(",")}]`));
  });
});

describe("a compressed message that is cut short", () => {
  const whole = requestBytes("GetState", { sessionId: "s".repeat(200), key: "k" });
  const encodings = [
    ["gzip", gzipSync(whole)],
    ["br", brotliCompressSync(whole)],
  ] as const;

  test.each(encodings)("is the caller's fault by gRPC: %s", async (encoding, compressed) => {
    const headers = {
      ":path": pathOf("GetState"),
      "content-type": "application/grpc",
      "grpc-encoding": encoding,
    };
    const session = http2Session(await serving());
    for (const length of [1, 5, compressed.length - 9, compressed.length - 1]) {
      const { trailers } = await http2Request(session, headers, grpcFrame(compressed.subarray(0, length), 1));
      expect(trailers["grpc-status"], `${length} bytes`).toBe("3");
    }
  });

  test.each(encodings)("is the caller's fault by Connect: %s", async (encoding, compressed) => {
    const { url } = await serving();
    const response = await fetch(`${url}${pathOf("GetState")}`, {
      method: "POST",
      headers: { "content-type": "application/proto", "content-encoding": encoding },
      body: new Uint8Array(compressed.subarray(0, -9)),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: "invalid_argument" });
  });
});

describe("a frame that ends with its header", () => {
  test.each(["GetState", "ListState", "WatchSession", "WatchSessions", "Pipeline"])(
    "is an incomplete message on both paths: %s",
    async (rpc) => {
      for (const fastPath of [true, false]) {
        const session = http2Session(await serving({ fastPath }));
        const headers = { ":path": pathOf(rpc), "content-type": "application/grpc" };
        const { trailers } = await http2Request(session, headers, Buffer.from("0000000022", "hex"));
        expect(trailers["grpc-status"]).toBe("3");
      }
    },
  );
});

describe("a frame that is too large and said to be compressed", () => {
  test.each(["GetState", "ListState", "WatchSession", "Pipeline"])(
    "is too large on both paths: %s",
    async (rpc) => {
      for (const fastPath of [true, false]) {
        const session = http2Session(await serving({ fastPath }));
        const headers = { ":path": pathOf(rpc), "content-type": "application/grpc" };
        const { trailers } = await http2Request(session, headers, Buffer.from("0165641203000000", "hex"));
        expect(trailers["grpc-status"]).toBe("8");
      }
    },
  );
});

describe("a write without its value", () => {
  const set = { ...KEY, requestId: "once" };
  test.each([
    ["SetState", set],
    ["Commit", { sessionId: "s", requestId: "once", changes: [{ set: { key: "k" } }] }],
    ["Commit", { sessionId: "s", requestId: "once", changes: [{ merge: { key: "k" } }] }],
  ])("is refused as one, with a request id too: %s %j", async (rpc, request) => {
    const onError = vi.fn();
    for (const fastPath of [true, false]) {
      const session = http2Session(await serving({ fastPath, onError }));
      const headers = { ":path": pathOf(rpc), "content-type": "application/grpc" };
      const { trailers } = await http2Request(session, headers, grpcFrame(requestBytes(rpc, request)));
      expect(trailers["grpc-status"]).toBe("3");
    }
    expect(onError).not.toHaveBeenCalled();
  });

  test("is refused as one in a batch, and the others are done", async () => {
    const { url } = await serving();
    const response = await fetch(`${url}${pathOf("Batch")}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ operations: [{ setState: set }, { setState: { ...KEY, value: 1 } }] }),
    });
    expect(await response.json()).toMatchObject({
      results: [{ error: { reason: "ERROR_REASON_INVALID_VALUE" } }, { setState: { entry: { value: 1 } } }],
    });
  });
});

describe("a caller that breaks its call off", () => {
  test.each([1, 2, 3, 5, 7, 8, 11, 13])("in its answer, with code %i, is told to nobody", async (code) => {
    const onError = vi.fn();
    const session = http2Session(await serving({ onError }));
    const ask = (rpc: string, type: string, message: Uint8Array): ClientHttp2Stream => {
      const stream = session.request({ ":method": "POST", ":path": pathOf(rpc), "content-type": type });
      stream.on("error", () => {}).end(message);
      return stream;
    };
    const value = "x".repeat(500_000);
    await once(
      ask("SetState", "application/json", Buffer.from(JSON.stringify({ ...KEY, value }))).resume(),
      "close",
    );
    for (const type of ["application/grpc", "application/grpc-web+proto", "application/proto"]) {
      const message = requestBytes("GetSession", { sessionId: KEY.sessionId });
      // More than the window holds is on its way.
      const stream = ask("GetSession", type, type === "application/proto" ? message : grpcFrame(message));
      await once(stream, "response");
      await new Promise((resolve) => session.ping(resolve));
      stream.close(code);
      await new Promise((resolve) => stream.once("close", resolve));
    }
    const { trailers } = await http2Request(
      session,
      { ":path": pathOf("GetState"), "content-type": "application/grpc" },
      grpcFrame(requestBytes("GetState", KEY)),
    );
    expect(trailers["grpc-status"]).toBe("0");
    expect(onError).not.toHaveBeenCalled();
  });
});

describe("a token of the issuer", () => {
  test("whose namespace is empty is for none", async () => {
    expect(await statusOf({ sub: "worker", namespace: "" })).toBe("7");
    expect(await statusOf({ sub: "worker", namespace: ["", "team"] })).toBe("0");
  });

  test.each([[null], [""], [7], [["worker"]], [{ worker: 1 }], [true]])(
    "whose sub is %j names nobody",
    async (sub) => {
      expect(await statusOf({ sub, namespace: "team" })).toBe("16");
    },
  );

  async function statusOf(claims: Readonly<Record<string, unknown>>): Promise<unknown> {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    const jwt = {
      issuer: "i",
      audience: "a",
      algorithms: ["ES256"],
      publicKey: await exportSPKI(publicKey),
    } as const;
    const auth: AuthOptions = { jwt, grants: [{ principal: "*", action: "write", namespace: "*" }] };
    const token = await new SignJWT({ iss: "i", aud: "a", exp: 4_000_000_000, ...claims })
      .setProtectedHeader({ alg: "ES256" })
      .sign(privateKey);
    const { trailers } = await http2Request(
      http2Session(await serving({ auth })),
      { ":path": pathOf("GetState"), "content-type": "application/grpc", authorization: `Bearer ${token}` },
      grpcFrame(requestBytes("GetState", KEY)),
    );
    return trailers["grpc-status"];
  }
});
