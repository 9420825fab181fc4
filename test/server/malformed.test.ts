/** What no proper client sends: each is answered or its connection closed, and the server serves the next caller. */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ErrorDetailSchema, ErrorReason } from "../../gen/agenterra/state/v1/state_pb.ts";
import {
  GetStateRequestSchema,
  SetStateRequestSchema,
} from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { framed, http2Request, http2Session, pathOf, talk, webHeaders } from "../support/serving.ts";

const store = memoryStore();
const onError = vi.fn();
let server: RunningServer;

// Most of this never meets the fast path; what does must be answered the same.
describe.each([
  ["with the fast path", true],
  ["without the fast path", false],
])("%s", (_, fastPath) => {
  beforeAll(async () => {
    server = await startServer({
      store,
      listen: { port: 0 },
      limits: { requestBytes: 100_000 },
      onError,
      fastPath,
    });
  });

  afterAll(async () => {
    await server.close({ now: true });
    expect(onError).not.toHaveBeenCalled();
  });

  async function stillServes(): Promise<void> {
    const response = await fetch(`${server.url}${pathOf("GetState")}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"sessionId":"s","key":"k"}',
    });
    expect(response.status).toBe(200);
  }

  const json = "Content-Type: application/json\r\nContent-Length: 2\r\n";

  describe("HTTP/1.1", () => {
    test.each<[string, string | Uint8Array, RegExp]>([
      ["a host that is no host", `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: [\r\n${json}\r\n{}`, / 400 /],
      ["an empty host", `POST ${pathOf("GetState")} HTTP/1.1\r\nHost:\r\n${json}\r\n{}`, / 400 /],
      [
        "a bracket as the host",
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a:99999\r\n${json}\r\n{}`,
        / 400 /,
      ],
      ["no host", `POST ${pathOf("GetState")} HTTP/1.1\r\n${json}\r\n{}`, / 400 /],
      ["HTTP/1.0 without a host", `POST ${pathOf("GetState")} HTTP/1.0\r\n${json}\r\n{}`, / 400 /],
      ["no HTTP at all", "\x00\x01\x02\x03garbage\r\n\r\n", / 400 /],
      ["a TLS hello", Buffer.from("16030100a5010000a10303", "hex"), / 400 /],
      ["nearly HTTP/2", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", / 400 /],
      ["headers over the limit", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, / 431 /],
      ["a method that does not exist", "FETCH / HTTP/1.1\r\nHost: a\r\n\r\n", / 400 /],
      ["a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", / 400 /],
      [
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        / 400 /,
      ],
      [
        "a length and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        / 400 /,
      ],
      [
        "a chunk of no size",
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
        / 400 |^$/,
      ],
      ["a NUL in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", / 400 /],
      ["another server's address", "GET http://[/x HTTP/1.1\r\nHost: a\r\n\r\n", / 4\d\d /],
      [
        "a path that is none of ours",
        "GET /%zz?%%% HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        / 404 /,
      ],
      ["all of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", / 404 /],
      ["a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", /^$/],
      ["an upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", / 404 /],
      [
        "an odd expectation",
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n${json}\r\n{}`,
        / 417 /,
      ],
      [
        "a write by GET",
        `GET ${pathOf("SetState")}?connect=v1&encoding=json&message={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        / 405 /,
      ],
      [
        "a content type of nobody",
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}`,
        / 415 /,
      ],
      [
        "a stream both ways",
        `POST ${pathOf("Pipeline")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/connect+json\r\nContent-Length: 0\r\n\r\n`,
        / 505 /,
      ],
      [
        "a timeout that is none",
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnect-Timeout-Ms: -1\r\n${json}\r\n{}`,
        / 400 (?:.|\s)*INVALID_REQUEST/,
      ],
    ])("%s", async (_, bytes, expected) => {
      const { text, closed } = await talk(server, bytes, 1_500);
      expect(text).toMatch(expected);
      expect(text !== "" || closed).toBe(true);
      await stillServes();
    });

    test("a caller who hangs up in the middle", async () => {
      await talk(
        server,
        `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{`,
        50,
      );
      await stillServes();
    });
  });

  describe("HTTP/2", () => {
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    const settings = frame(4, 0, 0, "");

    function frame(type: number, flags: number, stream: number, hex: string): Buffer {
      const payload = Buffer.from(hex, "hex");
      const head = Buffer.alloc(9);
      head.writeUIntBE(payload.length, 0, 3);
      head.writeUInt8(type, 3);
      head.writeUInt8(flags, 4);
      head.writeUInt32BE(stream, 5);
      return Buffer.concat([head, payload]);
    }

    test.each<[string, readonly Buffer[]]>([
      ["garbage after the preface", [Buffer.from("garbage garbage garbage")]],
      ["settings of a wrong length", [frame(4, 0, 0, "00")]],
      ["data on no stream", [settings, frame(0, 0, 0, "00")]],
      ["data on a stream that is not open", [settings, frame(0, 0, 5, "00")]],
      ["headers that are no HPACK", [settings, frame(1, 5, 1, "ffffffffffffffff")]],
      ["a window that grows by nothing", [settings, frame(8, 0, 0, "00000000")]],
      ["a window that overflows", [settings, frame(8, 0, 0, "7fffffff"), frame(8, 0, 0, "7fffffff")]],
      ["a frame over the limit", [settings, Buffer.from("ffffff000000000001", "hex"), Buffer.alloc(20_000)]],
      ["a stream of an even number", [settings, frame(1, 5, 2, "8287")]],
      ["a promise from a client", [settings, frame(5, 4, 1, "00000002")]],
      [
        "headers that never end",
        [settings, frame(1, 1, 1, "82"), ...new Array(2_000).fill(frame(9, 0, 1, ""))],
      ],
      [
        "resets without end",
        [
          settings,
          ...new Array(400)
            .fill(0)
            .flatMap((_, n) => [frame(1, 5, 2 * n + 1, "828784"), frame(3, 0, 2 * n + 1, "00000008")]),
        ],
      ],
      ["pings without end", [settings, ...new Array(20_000).fill(frame(6, 0, 0, "0000000000000000"))]],
    ])("%s", async (_, frames) => {
      await talk(server, Buffer.concat([preface, ...frames]), 300);
      await stillServes();
    });

    test("half a preface", async () => {
      await talk(server, preface.subarray(0, 9), 50);
      await stillServes();
    });

    test.each([
      [
        "a host that is no host",
        { ":path": pathOf("GetState"), ":authority": "%", "content-type": "application/grpc" },
      ],
      [
        "a bracket as the host",
        { ":path": pathOf("GetState"), ":authority": "[", "content-type": "application/grpc" },
      ],
    ])("%s", async (_, headers) => {
      const { headers: answer } = await http2Request(http2Session(server), headers);
      expect(answer[":status"]).toBe(400);
      await stillServes();
    });

    test.each([
      ["a path of nobody", { ":path": "/nobody" }, 404],
      ["a tunnel", { ":method": "CONNECT", ":authority": "a:1" }, 405],
      ["an odd expectation", { ":path": pathOf("GetState"), expect: "miracles" }, 417],
      [
        "gRPC by GET",
        { ":method": "GET", ":path": pathOf("GetState"), "content-type": "application/grpc" },
        415,
      ],
    ])("%s", async (_, headers, status) => {
      const { headers: answer } = await http2Request(http2Session(server), headers);
      expect(answer[":status"]).toBe(status);
      await stillServes();
    });
  });

  describe("gRPC", () => {
    const good = toBinary(GetStateRequestSchema, {
      $typeName: "agenterra.state.v1.GetStateRequest",
      sessionId: "s",
      key: "k",
    });
    const large = toBinary(SetStateRequestSchema, {
      $typeName: "agenterra.state.v1.SetStateRequest",
      sessionId: "s",
      key: "k",
      value: new Uint8Array(200_000),
      requestId: "",
      requestFingerprint: "",
    });
    const bomb = gzipSync(large);
    const gzip = { "grpc-encoding": "gzip" };

    test.each<[string, Uint8Array, Record<string, string>, Code, keyof typeof ErrorReason | undefined]>([
      [
        "bytes that are no message",
        framed(Buffer.from("ffffffff", "hex")),
        {},
        Code.InvalidArgument,
        "INVALID_REQUEST",
      ],
      ["a message cut short", framed(good.subarray(0, -1)), {}, Code.InvalidArgument, "INVALID_REQUEST"],
      [
        "an id that is no UTF-8",
        framed(Buffer.from("0a02c328", "hex")),
        {},
        Code.InvalidArgument,
        "INVALID_REQUEST",
      ],
      ["a frame cut short", framed(good).subarray(0, -1), {}, Code.InvalidArgument, "INVALID_REQUEST"],
      [
        "a frame longer than the limit",
        Buffer.from("00ffffffff", "hex"),
        {},
        Code.ResourceExhausted,
        "REQUEST_TOO_LARGE",
      ],
      ["a message over the limit", framed(large), {}, Code.ResourceExhausted, "REQUEST_TOO_LARGE"],
      ["a gzip bomb", framed(bomb, 1), gzip, Code.ResourceExhausted, "REQUEST_TOO_LARGE"],
      ["bytes that are no gzip", framed(good, 1), gzip, Code.InvalidArgument, "INVALID_REQUEST"],
      ["a compressed frame of no codec", framed(good, 1), {}, Code.Internal, undefined],
      ["a codec of nobody", framed(good, 1), { "grpc-encoding": "zip" }, Code.Unimplemented, undefined],
      ["no message", new Uint8Array(), {}, Code.Unimplemented, undefined],
      ["two messages", Buffer.concat([framed(good), framed(good)]), {}, Code.Unimplemented, undefined],
      [
        "a timeout that is none",
        framed(good),
        { "grpc-timeout": "soon" },
        Code.InvalidArgument,
        "INVALID_REQUEST",
      ],
      ["a message without fields", framed(new Uint8Array()), {}, Code.InvalidArgument, "INVALID_SESSION_ID"],
      [
        "another namespace",
        framed(good),
        { "x-workflow-state-namespace": "n" },
        Code.PermissionDenied,
        "PERMISSION_DENIED",
      ],
    ])("%s", async (_, body, headers, code, reason) => {
      const { trailers } = await http2Request(
        http2Session(server),
        { ":path": pathOf("GetState"), "content-type": "application/grpc", te: "trailers", ...headers },
        body,
      );
      const error = findTrailerError(webHeaders(trailers));
      expect(error?.code).toBe(code);
      const [detail] = error?.findDetails(ErrorDetailSchema) ?? [];
      expect(detail?.reason).toBe(reason === undefined ? undefined : ErrorReason[reason]);
      await stillServes();
    });

    test("a timeout longer than any timer is none", async () => {
      for (const timeout of ["99999999H", "99999999M", "1M"]) {
        const { trailers } = await http2Request(
          http2Session(server),
          { ":path": pathOf("GetState"), "content-type": "application/grpc", "grpc-timeout": timeout },
          framed(good),
        );
        expect(trailers["grpc-status"]).toBe("0");
      }
    });
  });

  describe("JSON", () => {
    async function said(rpc: string, body: string | Uint8Array<ArrayBuffer>): Promise<unknown> {
      const response = await fetch(`${server.url}${pathOf(rpc)}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      const { code, message, details } = (await response.json()) as {
        code: string;
        message: string;
        details?: { debug: { reason: string; metadata?: Record<string, string> } }[];
      };
      expect(message).not.toContain("secret");
      return [response.status, code, details?.[0]?.debug.reason, details?.[0]?.debug.metadata];
    }

    const bytes = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, "latin1"));
    const set = (value: string): string => `{"sessionId":"s","key":"k","value":${value}}`;

    test.each<[string, string, string | Uint8Array<ArrayBuffer>, readonly unknown[]]>([
      ["no JSON", "GetState", "{secret", ["INVALID_REQUEST", undefined]],
      ["a field of another type", "SetState", '{"ttl":"secret"}', ["INVALID_REQUEST", undefined]],
      ["a number for a text", "GetState", '{"key":["secret"]}', ["INVALID_REQUEST", { field: "key" }]],
      ["no UTF-8", "GetState", bytes('{"sessionId":"\xc3\x28"}'), ["INVALID_REQUEST", undefined]],
      [
        "a lone surrogate as an id",
        "GetState",
        '{"sessionId":"\\ud800"}',
        ["INVALID_SESSION_ID", { field: "session_id" }],
      ],
      [
        "a lone surrogate as a key",
        "GetState",
        '{"sessionId":"s","key":"\\ud800"}',
        ["INVALID_KEY", { field: "key" }],
      ],
      [
        "a lone surrogate in a value",
        "SetState",
        set('{"a":["\\udc00"]}'),
        ["INVALID_VALUE", expect.objectContaining({ path: "$.a[0]" })],
      ],
      [
        "a lone surrogate as a name in a value",
        "SetState",
        set('{"\\udc00":1}'),
        ["INVALID_VALUE", expect.anything()],
      ],
      [
        "a number out of range",
        "SetState",
        set("[1e999]"),
        ["INVALID_VALUE", expect.objectContaining({ path: "$[0]" })],
      ],
      [
        "a value too deep",
        "SetState",
        set(`${"[".repeat(33)}${"]".repeat(33)}`),
        ["INVALID_VALUE", expect.anything()],
      ],
      [
        "a value much too deep",
        "SetState",
        set(`${"[".repeat(20_000)}${"]".repeat(20_000)}`),
        ["INVALID_VALUE", { path: "$" }],
      ],
      [
        "a missing value",
        "SetState",
        '{"sessionId":"s","key":"k"}',
        ["INVALID_VALUE", expect.objectContaining({ path: "$" })],
      ],
    ])("%s", async (_, rpc, body, expected) => {
      const [reason, metadata] = expected;
      expect(await said(rpc, body)).toEqual([400, "invalid_argument", `ERROR_REASON_${reason}`, metadata]);
      await stillServes();
    });

    test("a message over the limit", async () => {
      expect(await said("GetState", JSON.stringify({ key: "secret".repeat(20_000) }))).toEqual([
        429,
        "resource_exhausted",
        "ERROR_REASON_REQUEST_TOO_LARGE",
        { limit: "100000" },
      ]);
      await stillServes();
    });
  });
});
