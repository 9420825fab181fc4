/**
 * A process that calls a server as anybody would, with grpc-js, while others attack it: on its one connection, a write and a
 * read, again and again. Told `begin` it starts to count, told `end` it makes a last call on a new connection and reports.
 */
import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import {
  GetStateRequestSchema,
  GetStateResponseSchema,
  SetStateRequestSchema,
} from "../../gen/agenterra/state/v1/service_pb.ts";
import { rpcPath } from "./attack-http2.ts";
import type { BystanderReport } from "./attack-target.ts";

/** After so long a call has failed. */
const DEADLINE_MS = 30_000;
const PAUSE_MS = 5;

const [address = "", caFile] = process.argv.slice(2);
const channel =
  caFile === undefined ? credentials.createInsecure() : credentials.createSsl(readFileSync(caFile));

function connected(): Client {
  return new Client(address, channel, { "grpc.use_local_subchannel_pool": 1 });
}

function call(client: Client, rpc: string, message: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      rpcPath(rpc),
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes) => bytes,
      message,
      new Metadata(),
      { deadline: Date.now() + DEADLINE_MS },
      (error, answer) => (error === null ? resolve(answer ?? Buffer.alloc(0)) : reject(error)),
    );
  });
}

let calls = 0;
let slowestMs = 0;
let failures: string[] = [];
let number = 0;

/** Writes a number and reads it again. */
async function round(client: Client, sessionId: string): Promise<void> {
  const key = "number";
  const written = ++number;
  const value = { kind: { case: "numberValue" as const, value: written } };
  const write = toBinary(SetStateRequestSchema, create(SetStateRequestSchema, { sessionId, key, value }));
  const read = toBinary(GetStateRequestSchema, create(GetStateRequestSchema, { sessionId, key }));
  for (const [rpc, message] of [
    ["SetState", write],
    ["GetState", read],
  ] as const) {
    const started = performance.now();
    try {
      const answer = await call(client, rpc, message);
      const { kind } = fromBinary(GetStateResponseSchema, answer).entry?.value ?? {};
      if (kind?.value !== written) failures.push(`${rpc} answered ${kind?.value} in place of ${written}`);
    } catch (error) {
      failures.push(`${rpc}: ${(error as Error).message}`);
    }
    calls++;
    slowestMs = Math.max(slowestMs, performance.now() - started);
  }
}

let under: Promise<void> = Promise.resolve();
const client = connected();

async function forEver(): Promise<void> {
  for (;;) {
    under = round(client, "bystander");
    await under;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

process.on("message", async (question) => {
  if (question === "begin") {
    calls = 0;
    slowestMs = 0;
    failures = [];
    process.send?.("begun");
    return;
  }
  await under;
  const late = connected();
  await round(late, "late bystander");
  late.close();
  process.send?.({ calls, slowestMs, failures } satisfies BystanderReport);
});
process.on("disconnect", () => process.exit());

await round(client, "bystander");
process.send?.("ready");
await forEver();
