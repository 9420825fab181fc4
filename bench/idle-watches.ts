/**
 * What idle watches cost a server: memory each, and time of a processor all together. Each follows a session of its own over
 * gRPC, a hundred on a connection.
 */
import { type ClientHttp2Session, connect } from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { WatchSessionRequestSchema } from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import { openStore } from "../src/open.ts";
import { startMeasured } from "../test/support/measured.ts";

const PER_CONNECTION = 100;
/** Watches that are open before the first measure: what the first ones need is not what each needs. */
const WARM = 1_000;

/** Prints what so many idle watches cost. */
export async function benchIdleWatches(watches: number, seconds: number): Promise<void> {
  console.log(`${watches.toLocaleString("en")} idle watches, ${PER_CONNECTION} on a connection`);
  for (const fastPath of [true, false]) {
    const server = await startMeasured(10, { fastPath });
    const sessions: ClientHttp2Session[] = [];
    const warm = Math.min(WARM, watches / 2);
    try {
      await fill(server.url, watches);
      await open(server.url, 0, warm, sessions);
      const before = await server.memory();
      await open(server.url, warm, watches, sessions);
      // Longer than the time between two signs of life of a watch.
      await pause(1_000);
      const after = await server.memory();
      const each = (kind: "rss" | "held"): string =>
        `${((after[kind] - before[kind]) / (watches - warm) / 1_024).toFixed(1)} KiB`;
      const cpu = await server.cpuShare(seconds * 1_000);
      const label = fastPath ? "gRPC on the fast path" : "gRPC by connect";
      console.log(`  ${label.padEnd(30)} heap and buffers ${each("held")}, process ${each("rss")} each`);
      console.log(`  ${"".padEnd(30)} ${(100 * cpu).toFixed(1)}% of a processor`);
    } finally {
      for (const session of sessions) session.destroy();
      await server.stop();
    }
  }
}

/** Makes the sessions. */
async function fill(url: string, count: number): Promise<void> {
  const store = await openStore(url);
  for (let i = 0; i < count; i += PER_CONNECTION) {
    await Promise.all(
      Array.from({ length: PER_CONNECTION }, (_, n) => store.setState(`session-${i + n}`, "step", 1)),
    );
  }
  await store.close();
}

/** Opens watches, and waits until each has had its snapshot. */
async function open(url: string, from: number, to: number, sessions: ClientHttp2Session[]): Promise<void> {
  for (let i = from; i < to; i += PER_CONNECTION) {
    const session = connect(url);
    sessions.push(session);
    await Promise.all(Array.from({ length: PER_CONNECTION }, (_, n) => opened(session, `session-${i + n}`)));
  }
}

function opened(session: ClientHttp2Session, sessionId: string): Promise<void> {
  const message = toBinary(WatchSessionRequestSchema, create(WatchSessionRequestSchema, { sessionId }));
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  const stream = session.request({
    ":method": "POST",
    ":path": "/agenterra.state.v1.WorkflowStateService/WatchSession",
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.end(frame);
  return new Promise((resolve) => {
    stream.once("data", () => resolve());
    stream.resume();
  });
}
