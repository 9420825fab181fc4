/** What a thousand watchers cost: each sees every commit, and those who don't read hold no memory. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, it } from "vitest";
import {
  WatchSessionRequestSchema,
  WatchSessionResponseSchema,
} from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import { openStore } from "../src/open.ts";
import { type Measured, startMeasured } from "./support/measured.ts";

const WATCHERS = 1_000;
const SILENT = 100;
const COMMITS = 1_000;
const STREAMS_PER_CONNECTION = 100;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function started(history: number): Promise<Measured> {
  const server = await startMeasured(history);
  cleanups.push(() => server.stop());
  return server;
}

/** Opens a watch by a frame, as any gRPC client does; the client reads nothing of its own accord. */
function openWatch(session: ClientHttp2Session, sessionId: string): ClientHttp2Stream {
  const message = toBinary(WatchSessionRequestSchema, create(WatchSessionRequestSchema, { sessionId }));
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  const stream = session.request({
    ":method": "POST",
    ":path": "/agenterra.state.v1.WorkflowStateService/WatchSession",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  stream.end(frame);
  return stream;
}

/** Reads frames until `last` is seen; gives the revisions in the order they came. */
function readRevisions(stream: ClientHttp2Stream, last: number, onFirst: () => void): Promise<number[]> {
  const revisions: number[] = [];
  let held: Buffer = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    stream.on("close", () => reject(new Error("the watch ended early")));
    stream.on("data", (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      while (held.length >= 5 && held.length >= 5 + held.readUInt32BE(1)) {
        const end = 5 + held.readUInt32BE(1);
        const { message } = fromBinary(WatchSessionResponseSchema, held.subarray(5, end));
        held = held.subarray(end);
        if (message.case === "snapshot") onFirst();
        if (message.case === "event") revisions.push(Number(message.value.revision));
        if (revisions.at(-1) === last) resolve(revisions);
      }
    });
  });
}

describe("a thousand watchers of one session", () => {
  it("each see every one of a thousand commits in order; a hundred that don't read meanwhile hold no memory of the server", {
    timeout: 180_000,
  }, async () => {
    const { url, memory } = await started(COMMITS + 10);
    const writer = await openStore(url);
    cleanups.push(() => writer.close());
    await writer.setState("s", "n", 0);

    const streams: ClientHttp2Stream[] = [];
    for (let i = 0; i < WATCHERS / STREAMS_PER_CONNECTION; i++) {
      const session = connect(url);
      session.on("error", () => {});
      cleanups.push(() => session.destroy());
      for (let j = 0; j < STREAMS_PER_CONNECTION; j++) streams.push(openWatch(session, "s"));
    }
    // Every tenth one opens its watch and then reads no more.
    const readers = streams.filter((_, i) => i % (WATCHERS / SILENT) !== 0);
    expect(readers).toHaveLength(WATCHERS - SILENT);
    let opened = 0;
    const allOpen = new Promise<void>((resolve) => {
      for (const stream of streams) {
        if (readers.includes(stream)) continue;
        stream.once("response", () => {
          stream.pause();
          if (++opened === WATCHERS) resolve();
        });
      }
      const onFirst = (): void => {
        if (++opened === WATCHERS) resolve();
      };
      results = readers.map((stream) => readRevisions(stream, 1 + COMMITS, onFirst));
    });
    await allOpen;

    // Values large enough that what the silent ones have not taken would be seen: 100 of them times 500 commits of 500 bytes
    // are 25 MB in each half.
    const text = "x".repeat(500);
    const commitSome = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 10) {
        await Promise.all(
          Array.from({ length: 10 }, (_, j) => writer.setState("s", "n", `${i + j} ${text}`)),
        );
      }
    };
    await commitSome(COMMITS / 2);
    const half = await memory();
    await commitSome(COMMITS / 2);
    const expected = Array.from({ length: COMMITS }, (_, i) => i + 2);
    for (const revisions of await Promise.all(results)) expect(revisions).toEqual(expected);
    const full = await memory();
    console.log(
      `held by the server after ${COMMITS / 2} commits ${mib(half.held)}, after ${COMMITS} ${mib(full.held)} (rss ${mib(full.rss)})`,
    );
    // The log itself grows by 500 values of 500 bytes. What silent readers have not taken must not.
    expect(full.held - half.held).toBeLessThan(8 << 20);

    // When they read at last, they have missed nothing: it was all in the log.
    const silent = streams.filter((stream) => !readers.includes(stream));
    const late = silent.map((stream) => {
      const revisions = readRevisions(stream, 1 + COMMITS, () => {});
      stream.resume();
      return revisions;
    });
    for (const revisions of await Promise.all(late)) expect(revisions).toEqual(expected);
  });
});

let results: Promise<number[]>[] = [];

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
