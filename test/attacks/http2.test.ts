/** Attacks on HTTP/2, written frame by frame: the process lives, its memory stays bounded, and others are served meanwhile. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { flood, repeated, staying } from "../support/attack-floods.ts";
import {
  ACK,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  grpcCall,
  grpcHeaders,
  header,
  indexedHeader,
  PADDED,
  PREFACE,
  RawConnection,
  reset,
  settings,
  windowUpdate,
} from "../support/attack-http2.ts";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import { AttackTarget } from "../support/attack-target.ts";

const MIB = 2 ** 20;
/** What a flood may cost; most of it is what V8 lets lie until it collects it. */
const BOUND = 150 * MIB;

let target: AttackTarget;

beforeAll(async () => {
  target = await AttackTarget.start();
});

afterAll(() => target.stop());

/** Runs an attack of this file; it may cost so much memory. */
async function survives(attack: string, run: () => Promise<unknown>, boundBytes = BOUND): Promise<void> {
  const { growthBytes, calls } = await target.under("HTTP/2", attack, async () => void (await run()));
  expect(growthBytes).toBeLessThan(boundBytes);
  expect(calls).toBeGreaterThan(0);
}

const odd = (n: number): number => 2 * n + 1;
/** Frames for 64 streams, one after the other. */
const streams =
  (each: (stream: number) => Uint8Array) =>
  (n: number): Buffer =>
    Buffer.concat(Array.from({ length: 64 }, (_, i) => each(odd(64 * n + i))));
const read = grpcFrame(requestBytes("GetState"));
const write = grpcFrame(requestBytes("SetState"));

describe("resets", () => {
  test("rapid reset: calls that are cancelled as soon as they are made", async () => {
    const calls = streams((stream) => Buffer.concat([grpcCall(stream, "GetState"), reset(stream)]));
    await survives("rapid reset, calls without a message", async () => {
      const { closed } = await flood(target, {
        connections: 2,
        times: 300,
        bytes: calls,
        mostMs: 20_000,
        closesWithinMs: 20_000,
      });
      expect(closed).toBeGreaterThan(0);
    });
  });

  test("rapid reset of calls that are complete", async () => {
    const calls = streams((stream) => Buffer.concat([grpcCall(stream, "SetState", write), reset(stream)]));
    await survives("rapid reset, complete calls", async () => {
      const { closed } = await flood(target, {
        connections: 2,
        times: 300,
        bytes: calls,
        mostMs: 20_000,
        closesWithinMs: 20_000,
      });
      expect(closed).toBeGreaterThan(0);
    });
  });

  // CVE-2025-8671, "MadeYouReset": the client has the server do it.
  test.each([
    ["a window that grows by nothing", (stream: number) => windowUpdate(stream, 0)],
    ["a window that overflows", (stream: number) => windowUpdate(stream, 0x7fffffff)],
    ["a stream that depends on itself", (stream: number) => dependsOnItself(stream)],
    ["data after the end", (stream: number) => frame(FRAME.data, 0, stream, "00")],
    ["a length of headers that is not true", (stream: number) => lied(stream)],
  ])("resets that the server makes: %s", async (name, provoke) => {
    const calls = streams((stream) => Buffer.concat([grpcCall(stream, "GetState", read), provoke(stream)]));
    await survives(`resets by the server: ${name}`, () => flood(target, { times: 150, bytes: calls }));
  });

  function dependsOnItself(stream: number): Buffer {
    const payload = Buffer.alloc(5);
    payload.writeUInt32BE(stream);
    return frame(FRAME.priority, 0, stream, payload);
  }

  function lied(stream: number): Buffer {
    const head = grpcHeaders("GetState", header("content-length", "1"));
    return Buffer.concat([
      frame(FRAME.headers, END_HEADERS, stream + 128, head),
      frame(FRAME.data, END_STREAM, stream + 128, "0000"),
    ]);
  }
});

describe("floods", () => {
  const open = frame(FRAME.headers, END_HEADERS, 1, grpcHeaders("Pipeline"));

  test.each<[string, Uint8Array, Uint8Array?]>([
    ["PING", frame(FRAME.ping, 0, 0, "0000000000000000")],
    ["SETTINGS", settings()],
    ["SETTINGS that change the header table", Buffer.concat([settings([1, 0]), settings([1, 65_536])])],
    ["acknowledgements of SETTINGS", frame(FRAME.settings, ACK, 0)],
    ["empty DATA", frame(FRAME.data, 0, 1), open],
    ["DATA that is all padding", frame(FRAME.data, PADDED, 1, `ff${"00".repeat(255)}`), open],
    ["PRIORITY", frame(FRAME.priority, 0, 1, "00000000ff"), open],
    ["PRIORITY of streams that are idle", frame(FRAME.priority, 0, 9, "8000000300")],
    ["WINDOW_UPDATE", Buffer.concat([windowUpdate(0, 1), windowUpdate(1, 1)]), open],
    [
      "empty CONTINUATION",
      frame(FRAME.continuation, 0, 1),
      frame(FRAME.headers, 0, 1, grpcHeaders("GetState")),
    ],
    ["frames of an unknown type", frame(0xfa, 0, 0, "00".repeat(16))],
    ["GOAWAY", frame(FRAME.goaway, 0, 0, "0000000000000000")],
    ["RST_STREAM of streams that are closed", reset(1), grpcCall(1, "GetState", read)],
  ])("%s", async (name, bytes, opening) => {
    const piece = repeated(bytes, 65_536);
    const sent = { times: 200, bytes: () => piece, ...(opening === undefined ? {} : { opening }) };
    await survives(`flood of ${name}`, () => flood(target, sent));
  });

  test.each([
    ["PING", frame(FRAME.ping, 0, 0, "0000000000000000")],
    ["SETTINGS", settings()],
  ])("%s, by a caller that reads no answer", async (name, bytes) => {
    const piece = repeated(bytes, 65_536);
    const sent = { times: 200, bytes: () => piece, reads: false };
    await survives(`flood of ${name}, answers not read`, () => flood(target, sent));
  });
});

describe("headers", () => {
  test("that go on for ever", async () => {
    const filler = Buffer.concat(Array.from({ length: 100 }, (_, i) => header(`x-${i}`, "v".repeat(150))));
    const piece = frame(FRAME.continuation, 0, 1, filler.subarray(0, 16_384));
    const opening = frame(FRAME.headers, 0, 1, grpcHeaders("GetState"));
    await survives("CONTINUATION without end", async () => {
      const { closed } = await flood(target, { times: 200, bytes: () => piece, opening });
      expect(closed).toBeGreaterThan(0);
    });
  });

  test("that refer a thousand times to what they had the server remember", async () => {
    const filling = Buffer.concat([
      grpcHeaders("GetState"),
      header("x-bomb", "b".repeat(3_900), { indexed: true }),
    ]);
    const bomb = Buffer.concat(new Array<Uint8Array>(16_000).fill(indexedHeader(62)));
    const calls = (n: number): Buffer =>
      n === 0
        ? frame(FRAME.headers, END_HEADERS | END_STREAM, 1, filling)
        : frame(
            FRAME.headers,
            END_HEADERS | END_STREAM,
            odd(n),
            Buffer.concat([grpcHeaders("GetState"), bomb]).subarray(0, 16_384),
          );
    await survives("HPACK bomb: 4 KiB from one byte", () => flood(target, { times: 100, bytes: calls }));
  });

  test.each([
    ["with more than may be", () => header("x", "v".repeat(15_000))],
    ["of many lines", () => Buffer.concat(Array.from({ length: 2_000 }, (_, i) => header(`x${i}`, "")))],
    ["without a name", () => repeated(header("", ""), 15_000)],
    ["without a name, remembered", () => repeated(header("", "", { indexed: true }), 15_000)],
  ])("%s", async (name, more) => {
    const block = Buffer.concat([grpcHeaders("GetState"), more()]).subarray(0, 16_384);
    const calls = (n: number): Buffer => frame(FRAME.headers, END_HEADERS | END_STREAM, odd(n), block);
    await survives(`headers ${name}`, () => flood(target, { times: 200, bytes: calls }));
  });

  test("again and again on one stream", async () => {
    const trailers = frame(FRAME.headers, END_HEADERS, 1, header("x", "y"));
    const piece = repeated(trailers, 65_536);
    const opening = frame(FRAME.headers, END_HEADERS, 1, grpcHeaders("Pipeline"));
    await survives("trailers without end", () => flood(target, { times: 30, bytes: () => piece, opening }));
  });
});

describe("callers that wait", () => {
  async function stay(
    attack: string,
    connections: number,
    bytes: Uint8Array,
    boundBytes = BOUND,
  ): Promise<void> {
    await survives(
      attack,
      async () => {
        const held = await staying(target, connections, bytes);
        await new Promise((resolve) => setTimeout(resolve, 500));
        for (const connection of held) connection.destroy();
      },
      boundBytes,
    );
  }

  test.each(["GetState", "Commit", "ListState", "Pipeline"])(
    "half-open streams of %s, as many as may be",
    async (rpc) => {
      const calls = Buffer.concat(
        Array.from({ length: 100 }, (_, n) => grpcCall(odd(n), rpc, undefined, { open: true })),
      );
      await stay(`100 half-open streams of ${rpc} on each of 20 connections`, 20, calls);
    },
  );

  test("more streams than may be", async () => {
    const calls = Buffer.concat(
      Array.from({ length: 2_000 }, (_, n) => grpcCall(odd(n), "GetState", undefined, { open: true })),
    );
    await stay("2,000 streams at once on each of 20 connections", 20, calls);
  });

  test("messages that are promised and never come", async () => {
    const promise = Buffer.from("0000400000", "hex");
    const calls = Buffer.concat(
      Array.from({ length: 100 }, (_, n) => grpcCall(odd(n), "SetState", promise, { open: true })),
    );
    await stay("4 MiB promised on 100 streams of each of 20 connections", 20, calls);
  });
});

describe("frames that are none", () => {
  const head = grpcHeaders("GetState");

  const FRAMES: readonly (readonly [string, Uint8Array])[] = [
    ["PING of 7 bytes", frame(FRAME.ping, 0, 0, "00000000000000")],
    ["PING on a stream", frame(FRAME.ping, 0, 1, "0000000000000000")],
    ["SETTINGS of 5 bytes", frame(FRAME.settings, 0, 0, "0000000000")],
    ["SETTINGS acknowledged with content", frame(FRAME.settings, ACK, 0, "000000000000")],
    ["a window over the largest", settings([4, 0x80000000])],
    ["a frame size below the smallest", settings([5, 1])],
    ["push that is neither on nor off", settings([2, 7])],
    ["RST_STREAM of 3 bytes", frame(FRAME.rstStream, 0, 1, "000000")],
    ["RST_STREAM of an idle stream", reset(7)],
    ["PRIORITY of 4 bytes", frame(FRAME.priority, 0, 1, "00000000")],
    ["WINDOW_UPDATE of 3 bytes", frame(FRAME.windowUpdate, 0, 0, "000000")],
    ["GOAWAY of 4 bytes", frame(FRAME.goaway, 0, 0, "00000000")],
    ["DATA on stream 0", frame(FRAME.data, 0, 0, "00")],
    ["HEADERS on stream 0", frame(FRAME.headers, END_HEADERS, 0, head)],
    ["HEADERS on an even stream", frame(FRAME.headers, END_HEADERS, 2, head)],
    [
      "HEADERS on a lower stream",
      Buffer.concat([grpcCall(9, "GetState", read), grpcCall(3, "GetState", read)]),
    ],
    ["CONTINUATION of nothing", frame(FRAME.continuation, END_HEADERS, 1, head)],
    ["PUSH_PROMISE", frame(FRAME.pushPromise, END_HEADERS, 1, "00000002")],
    [
      "padding over the frame",
      frame(FRAME.headers, END_HEADERS | PADDED, 1, Buffer.concat([Buffer.from([255]), head])),
    ],
    [
      "a frame between headers",
      Buffer.concat([frame(FRAME.headers, 0, 1, head), frame(FRAME.ping, 0, 0, "00".repeat(8))]),
    ],
    ["HPACK that is none", frame(FRAME.headers, END_HEADERS, 1, "ff".repeat(64))],
    [
      "HPACK of an index that is not there",
      frame(FRAME.headers, END_HEADERS, 1, Buffer.concat([head, indexedHeader(4_000)])),
    ],
    ["HPACK whose table is too large", frame(FRAME.headers, END_HEADERS, 1, "3fffffff07")],
    ["a frame of 16 MiB", frame(FRAME.data, 0, 1, "", 0xffffff)],
    [
      "a frame longer than it says",
      Buffer.concat([frame(FRAME.ping, 0, 0, "00".repeat(8), 9), frame(FRAME.ping, 0, 0, "00".repeat(8))]),
    ],
    ["no name of a method", frame(FRAME.headers, END_HEADERS | END_STREAM, 1, header(":path", "/"))],
    [
      "two paths",
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.concat([head, header(":path", "/")])),
    ],
    [
      "an upper-case name",
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.concat([head, header("X-Y", "z")])),
    ],
    [
      "headers of a connection",
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.concat([head, header("connection", "close")])),
    ],
    [
      "a line feed in a header",
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.concat([head, header("x", "a\nb")])),
    ],
    [
      "an authority that is none",
      frame(
        FRAME.headers,
        END_HEADERS | END_STREAM,
        1,
        Buffer.concat([Buffer.from([0x83, 0x86]), header(":path", "/"), header(":authority", "[%")]),
      ),
    ],
  ];

  test("cost their connection or their stream, and nothing else", async () => {
    await survives(`malformed frames of ${FRAMES.length} kinds`, async () => {
      for (const [name, bytes] of FRAMES) {
        const connection = await RawConnection.open(target);
        await connection.send(bytes);
        await vi.waitFor(() => expect(isRefused(connection), name).toBe(true), 5_000);
        connection.destroy();
        target.checkLives();
      }
    });
  });

  function isRefused({ closed, frames }: RawConnection): boolean {
    return closed || [FRAME.goaway, FRAME.rstStream, FRAME.headers].some((type) => frames.has(type));
  }

  test("prefaces that are nearly right", async () => {
    await survives("prefaces that are cut or changed", async () => {
      for (let length = 0; length < PREFACE.length; length++) {
        const changed = Buffer.from(PREFACE);
        changed[length] = (changed[length] as number) ^ 0x20;
        for (const first of [PREFACE.subarray(0, length), changed]) {
          const connection = await RawConnection.open(target, { first });
          connection.destroy();
        }
      }
    });
  });
});
