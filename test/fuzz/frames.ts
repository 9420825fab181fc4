/** Connections of HTTP/2 that a real client made, recorded, and sent again with their frames changed. */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer } from "node:net";
import { FRAME, frame, PREFACE, RawConnection, rpcPath } from "../support/attack-http2.ts";
import { grpcFrame, REQUESTS, requestBytes } from "../support/attack-messages.ts";
import type { Random } from "../support/random.ts";
import { type Domain, type DomainContext, Finding } from "./domain.ts";
import { mutatedBytes } from "./mutate.ts";

/** How long an answer to a changed connection is waited for. */
const LISTEN_MS = 10;

/** Fuzzes connections. */
export async function framesDomain({ ports }: DomainContext): Promise<Domain> {
  const recorded = splitFrames(await recordedConnection(ports.mixed));

  return {
    name: "frames",
    async step(random: Random): Promise<void> {
      let frames = [...recorded];
      for (let n = random.between(1, 5); n > 0; n--) frames = changedFrames(random, frames);
      let bytes: Buffer = Buffer.concat(frames);
      if (random.chance(0.2)) bytes = mutatedBytes(random, bytes);
      const first = random.chance(0.02) ? mutatedBytes(random, PREFACE) : PREFACE;
      const connection = await RawConnection.open({ port: ports.mixed }, { first }).catch(() => undefined);
      if (connection === undefined) throw new Finding("The server takes no connection", bytes);
      await connection.send(bytes);
      await connection.closes(LISTEN_MS);
      connection.destroy();
    },
  };
}

/** What a client of Node.js sends that makes a call of each kind, after the preface. */
async function recordedConnection(port: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const recorder = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    client.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", () => {});
    server.on("error", () => {});
    client.pipe(server).pipe(client);
  }).listen(0, "127.0.0.1");
  await once(recorder, "listening");
  const session = connectHttp2(`http://127.0.0.1:${(recorder.address() as AddressInfo).port}`);
  for (const rpc of Object.keys(REQUESTS)) {
    const stream = session.request({
      ":method": "POST",
      ":path": rpcPath(rpc),
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-timeout": "9S",
    });
    stream.resume().on("error", () => {});
    stream.end(grpcFrame(requestBytes(rpc)));
    if (rpc.startsWith("Watch")) setTimeout(() => stream.close(), 50);
    await once(stream, "close");
  }
  await new Promise((resolve) => session.ping(resolve));
  session.destroy();
  recorder.close();
  return Buffer.concat(chunks).subarray(PREFACE.length);
}

function splitFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}

function changedFrames(random: Random, frames: readonly Buffer[]): Buffer[] {
  if (frames.length === 0) return [];
  const at = random.between(0, frames.length - 1);
  const other = random.between(0, frames.length - 1);
  const one = Buffer.from(frames[at] as Buffer);
  const others = (...instead: readonly Buffer[]): Buffer[] => [
    ...frames.slice(0, at),
    ...instead,
    ...frames.slice(at + 1),
  ];
  switch (random.between(0, 9)) {
    case 0:
      return others();
    case 1:
      return others(one, one);
    case 2:
      return others(one, frames[other] as Buffer);
    case 3:
      return frames.slice(0, at + 1);
    case 4:
      one[3] = random.between(0, 12);
      return others(one);
    case 5:
      one[4] = random.between(0, 255);
      return others(one);
    case 6:
      one.writeUInt32BE(random.one([0, 1, 2, 3, 5, 0x7fffffff, random.between(0, 64)]), 5);
      return others(one);
    case 7:
      one.writeUIntBE(random.one([0, 1, one.length, 16_384, 16_385, 0xffffff]), 0, 3);
      return others(one);
    case 8:
      return others(
        one,
        frame(
          random.one(Object.values(FRAME)),
          random.between(0, 255),
          random.between(0, 40),
          Buffer.alloc(random.between(0, 12), random.between(0, 255)),
        ),
      );
    default:
      return others(
        one.length > 9 ? Buffer.concat([one.subarray(0, 9), mutatedBytes(random, one.subarray(9))]) : one,
      );
  }
}
