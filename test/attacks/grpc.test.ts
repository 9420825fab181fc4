/** Attacks by what is inside proper HTTP: bombs, lies about lengths, messages of very many parts, odd headers. */
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { rpcPath } from "../support/attack-http2.ts";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import { AttackTarget } from "../support/attack-target.ts";
import { bytes, field, listBytes, nullBytes } from "../support/values.ts";

const MIB = 2 ** 20;
const BOUND = 200 * MIB;
/** Requests of an attack, and how many of them are under way at once. */
const REQUESTS = 32;
const AT_ONCE = 8;

let target: AttackTarget;

beforeAll(async () => {
  target = await AttackTarget.start();
});

afterAll(() => target.stop());

/** What a stream was answered with. */
interface Answer {
  readonly httpStatus: number;
  /** gRPC's, if it said one. */
  readonly grpcStatus: number | undefined;
  readonly body: string;
}

function session(): ClientHttp2Session {
  // By default this side would itself refuse to send so much at once.
  const made = connect(`http://127.0.0.1:${target.port}`, { maxSessionMemory: 1_000 });
  made.on("error", () => {});
  onTestFinished(() => made.destroy());
  return made;
}

function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders, body: Uint8Array): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = client.request({ ":method": "POST", ...headers });
    let httpStatus = 0;
    let grpcStatus: number | undefined;
    let text = "";
    const note = (got: Readonly<Record<string, unknown>>): void => {
      httpStatus ||= Number(got[":status"] ?? 0);
      if (got["grpc-status"] !== undefined) grpcStatus = Number(got["grpc-status"]);
    };
    stream
      .on("response", note)
      .on("trailers", note)
      .on("error", () => {});
    stream.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
    });
    stream.on("close", () => resolve({ httpStatus, grpcStatus, body: text }));
    stream.end(body);
  });
}

const grpc = (rpc: string): OutgoingHttpHeaders => ({
  ":path": rpcPath(rpc),
  "content-type": "application/grpc",
  te: "trailers",
});
const connectUnary = (rpc: string, type = "application/proto"): OutgoingHttpHeaders => ({
  ":path": rpcPath(rpc),
  "content-type": type,
});

/** Asks the same many times; gives what the answers have in common. */
async function survives(
  attack: string,
  headers: OutgoingHttpHeaders,
  body: Uint8Array,
  {
    requests = REQUESTS,
    boundBytes = BOUND,
  }: { readonly requests?: number; readonly boundBytes?: number } = {},
): Promise<Answer> {
  const answers: Answer[] = [];
  const { growthBytes } = await target.under("gRPC", attack, async () => {
    const client = session();
    for (let n = 0; n < requests; n += AT_ONCE) {
      answers.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => ask(client, headers, body)))));
    }
    client.destroy();
  });
  expect(growthBytes).toBeLessThan(boundBytes);
  const kinds = new Map(answers.map((each) => [`${each.httpStatus} ${each.grpcStatus}`, each]));
  expect([...kinds.keys()]).toHaveLength(1);
  return answers[0] as Answer;
}

const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;

describe("bombs", () => {
  // 200 MiB of zeros: the value's bytes, and a field that nobody knows.
  const zeros = new Uint8Array(200 * MIB);
  const gzipped = gzipSync(zeros, { level: 9 });
  const brotli = brotliCompressSync(zeros, { params: { 0: 1 } });
  const size = (compressed: Uint8Array): string => `200 MiB in ${Math.ceil(compressed.length / 1024)} KiB`;

  test("gzip in gRPC", async () => {
    const headers = { ...grpc("SetState"), "grpc-encoding": "gzip" };
    expect(
      await survives(`gzip bomb by gRPC: ${size(gzipped)}`, headers, grpcFrame(gzipped, 1)),
    ).toMatchObject({
      grpcStatus: RESOURCE_EXHAUSTED,
    });
  });

  test("gzip in a stream of gRPC", async () => {
    const headers = { ...grpc("Pipeline"), "grpc-encoding": "gzip" };
    expect(await survives("gzip bomb by Pipeline", headers, grpcFrame(gzipped, 1))).toMatchObject({
      grpcStatus: RESOURCE_EXHAUSTED,
    });
  });

  test.each([
    ["gzip", gzipped],
    ["br", brotli],
  ])("%s in Connect", async (encoding, compressed) => {
    const headers = { ...connectUnary("SetState"), "content-encoding": encoding };
    const answer = await survives(`${encoding} bomb by Connect: ${size(compressed)}`, headers, compressed);
    expect(answer).toMatchObject({ httpStatus: 429, body: expect.stringContaining("REQUEST_TOO_LARGE") });
  });

  test("gzip in a stream of Connect", async () => {
    const headers = {
      ...connectUnary("WatchSession", "application/connect+proto"),
      "connect-content-encoding": "gzip",
    };
    const answer = await survives("gzip bomb by a stream of Connect", headers, grpcFrame(gzipped, 1));
    expect(answer.body).toContain("resource_exhausted");
  });

  test("gzip within gzip", async () => {
    const headers = { ...connectUnary("SetState"), "content-encoding": "gzip" };
    expect(await survives("gzip within gzip", headers, gzipSync(gzipped))).toMatchObject({ httpStatus: 400 });
  });

  test("gzip in the URL of a Connect GET", async () => {
    const message = gzipSync(new Uint8Array(8 * MIB), { level: 9 }).toString("base64url");
    const query = `connect=v1&encoding=proto&base64=1&compression=gzip&message=${message}`;
    const headers = { ":method": "GET", ":path": `${rpcPath("GetState")}?${query}` };
    expect(await survives("gzip bomb by a Connect GET", headers, new Uint8Array())).toMatchObject({
      httpStatus: expect.toSatisfy((status: number) => [404, 415, 429, 501].includes(status)),
    });
  });
});

describe("lengths that are not true", () => {
  test.each([
    ["4 GiB", 0xffff_ffff, RESOURCE_EXHAUSTED],
    ["2 GiB, negative in 32 bits", 0x8000_0000, RESOURCE_EXHAUSTED],
    ["one more than the limit", 4 * MIB + 1, RESOURCE_EXHAUSTED],
    ["the limit, of which one byte comes", 4 * MIB, INVALID_ARGUMENT],
    ["one more than comes", 2, INVALID_ARGUMENT],
  ])("a frame of %s", async (name, length, grpcStatus) => {
    for (const rpc of ["GetState", "ListState", "Pipeline"]) {
      const answer = await survives(
        `a frame of ${rpc} said to have ${name}`,
        grpc(rpc),
        grpcFrame(Buffer.alloc(1), 0, length),
      );
      expect(answer, rpc).toMatchObject({ grpcStatus });
    }
  });

  test("inside a message", async () => {
    // A field of 2^32 - 1 bytes, one of 2^63, a varint without end.
    for (const message of ["0affffffff0f", "0affffffffffffffff7f", `0a${"ff".repeat(1_000)}`]) {
      const answer = await survives(
        "a field longer than its message",
        grpc("SetState"),
        grpcFrame(Buffer.from(message, "hex")),
      );
      expect(answer).toMatchObject({ grpcStatus: INVALID_ARGUMENT });
    }
  });
});

describe("messages of very many parts", () => {
  const wide = field(
    0x1a,
    field(0x32, Buffer.concat(new Array<Uint8Array>(200_000).fill(field(0x0a, nullBytes)))),
  );
  const named = bytes(field(0x0a, "s"), field(0x12, "k"));
  /** `levels` lists, one in the other. */
  const deep = (levels: number): Uint8Array => {
    let value: Uint8Array = nullBytes;
    for (let n = 0; n < levels; n++) value = listBytes(value);
    return value;
  };
  const filled = (tag: number, content: Uint8Array): Uint8Array =>
    Buffer.concat(
      new Array<Uint8Array>(Math.floor((4 * MIB - 100) / (content.length + 2))).fill(field(tag, content)),
    );

  test.each<[string, string, Uint8Array, number]>([
    ["a list of 200,000 values", "SetState", bytes(named, wide), INVALID_ARGUMENT],
    [
      "4 MiB of values that replace each other",
      "SetState",
      bytes(named, filled(0x1a, nullBytes)),
      RESOURCE_EXHAUSTED,
    ],
    ["values nested 5,000 deep", "SetState", bytes(named, field(0x1a, deep(5_000))), INVALID_ARGUMENT],
    [
      "4 MiB of empty changes",
      "Commit",
      bytes(field(0x0a, "s"), filled(0x1a, new Uint8Array())),
      RESOURCE_EXHAUSTED,
    ],
    [
      "4 MiB of empty checks",
      "Commit",
      bytes(field(0x0a, "s"), filled(0x12, new Uint8Array())),
      RESOURCE_EXHAUSTED,
    ],
    ["4 MiB of empty operations", "Batch", filled(0x0a, new Uint8Array()), RESOURCE_EXHAUSTED],
    ["4 MiB of empty operations", "Pipeline", filled(0x0a, new Uint8Array()), RESOURCE_EXHAUSTED],
    ["4 MiB of unknown fields", "GetState", filled(0x7a, new Uint8Array()), RESOURCE_EXHAUSTED],
    ["4 MiB of empty labels", "ListSessions", filled(0x22, new Uint8Array()), RESOURCE_EXHAUSTED],
    [
      "4 MiB of empty members",
      "SaveSession",
      field(0x0a, filled(0x12, new Uint8Array()).subarray(0, -20)),
      RESOURCE_EXHAUSTED,
    ],
    ["groups nested 100,000 deep", "GetState", Buffer.alloc(100_000, 0x7b), INVALID_ARGUMENT],
  ])("%s, by %s", async (name, rpc, message, grpcStatus) => {
    expect(await survives(`${name}, by ${rpc}`, grpc(rpc), grpcFrame(message))).toMatchObject({ grpcStatus });
  });

  test("a batch of as many commits with as many changes as may be", async () => {
    const changes = Array.from({ length: 128 }, (_, n) => ({ set: { key: `k${n}`, value: n } }));
    const operations = Array.from({ length: 256 }, (_, n) => ({
      commit: { sessionId: `wide-${n}`, changes },
    }));
    const message = grpcFrame(requestBytes("Batch", { operations }));
    // It is stored: a million entries would be no attack.
    const few = { requests: AT_ONCE, boundBytes: 300 * MIB };
    const answer = await survives("256 commits of 128 changes in a batch", grpc("Batch"), message, few);
    expect(answer).toMatchObject({ grpcStatus: 0 });
  });

  test.each<[string, string]>([
    ["lists nested 100,000 deep", `${"[".repeat(100_000)}${"]".repeat(100_000)}`],
    ["objects nested 100,000 deep", `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`],
    ["1 MiB of empty lists", `[${"[],".repeat(MIB / 3)}[]]`],
    ["a number of a million digits", "9".repeat(1_000_000)],
    ["a number with a huge exponent", "[1e99999999]"],
    [
      "100,000 names with escapes",
      `{${Array.from({ length: 100_000 }, (_, n) => `"k\\n${n}":[]`).join(",")}}`,
    ],
    ["a text of escapes", `"${"\\u0041".repeat(600_000)}"`],
  ])("JSON: %s", async (name, value) => {
    const body = Buffer.from(`{"sessionId":"s","key":"k","value":${value}}`);
    const headers = connectUnary("SetState", "application/json");
    // Of a few hundred thousand objects that are nothing but parsed, V8 lets some lie.
    const answer = await survives(`JSON: ${name}`, headers, body, { boundBytes: 400 * MIB });
    expect([200, 400, 429]).toContain(answer.httpStatus);
  });
});

describe("headers", () => {
  const message = grpcFrame(requestBytes("GetState", { sessionId: "s", key: "k" }));

  test("of timeouts, encodings, codecs and binary values that are none get a status, never an INTERNAL", async () => {
    const odd: OutgoingHttpHeaders[] = [
      ...["0n", "1", "-1S", "1e9S", "999999999S", "99999999H", "", "S", "1 S", "0x1S", "1s", "1SS"].map(
        (timeout) => ({ "grpc-timeout": timeout }),
      ),
      ...["zip", "", "gzip,gzip", "GZIP", "identity, gzip", "deflate", "snappy"].map((name) => ({
        "grpc-encoding": name,
      })),
      ...[
        "application/grpc+json",
        "application/grpc+",
        "application/grpc;charset=x",
        "application/grpc+xml",
        "application/grpc-web-text",
      ].map((type) => ({ "content-type": type })),
      ...["!!!", "=", "AA=A", "%%%", "A"].map((value) => ({ "x-odd-bin": value })),
      { "grpc-status-details-bin": "!!!", "grpc-message": "%zz%f", "grpc-status": "nine" },
      { "x-workflow-state-namespace": "%00" },
      { authorization: "Bearer" },
      { "connect-protocol-version": "9", "connect-timeout-ms": "-1" },
      { "content-length": "0" },
    ];
    const { growthBytes } = await target.under(
      "gRPC",
      `headers that are odd, of ${odd.length} kinds`,
      async () => {
        for (const headers of odd) {
          const client = session();
          const { httpStatus, grpcStatus } = await ask(client, { ...grpc("GetState"), ...headers }, message);
          client.destroy();
          expect([2, 13], JSON.stringify(headers)).not.toContain(grpcStatus);
          expect(httpStatus, JSON.stringify(headers)).toBeLessThan(500);
        }
      },
    );
    expect(growthBytes).toBeLessThan(BOUND);
  });

  test("of an encoding that nobody knows are UNIMPLEMENTED", async () => {
    const headers = { ...grpc("GetState"), "grpc-encoding": "zip" };
    expect(await survives("an unknown encoding", headers, grpcFrame(message, 1))).toMatchObject({
      grpcStatus: UNIMPLEMENTED,
    });
  });
});
