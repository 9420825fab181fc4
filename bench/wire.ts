/** The service over loopback: raw gRPC calls, so that the server is what is measured, and the project's own client. */
import { connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  BatchRequestSchema,
  GetStateRequestSchema,
  SetStateRequestSchema,
} from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import { openStore } from "../src/open.ts";
import { encodeValue } from "../src/value.ts";
import { measure, VALUE } from "./measure.ts";
import { startServerProcess } from "./server-process.ts";

/** Calls under way at once. */
const CONCURRENCY = 64;
/** Operations in one message of a pipeline. */
const BATCH = 256;

export async function benchWire(ms: number): Promise<void> {
  const server = await startServerProcess();
  try {
    console.log(
      `Over the wire: raw gRPC on one connection, ${CONCURRENCY} calls under way, client and server on one machine`,
    );
    const value = encodeValue(VALUE);
    const set = toBinary(
      SetStateRequestSchema,
      create(SetStateRequestSchema, { sessionId: "s", key: "key", value }),
    );
    const get = toBinary(
      GetStateRequestSchema,
      create(GetStateRequestSchema, { sessionId: "s", key: "key" }),
    );
    const sets = Array.from({ length: BATCH }, (_, i) => ({
      operation: {
        case: "setState" as const,
        value: create(SetStateRequestSchema, { sessionId: "s", key: `key-${i}`, value }),
      },
    }));
    const batch = toBinary(BatchRequestSchema, create(BatchRequestSchema, { operations: sets }));
    const raw = new RawGrpc(server.url);
    const concurrently = (call: () => Promise<void>) => () =>
      Promise.all(Array.from({ length: CONCURRENCY }, call));
    await measure(
      "SetState",
      ms,
      CONCURRENCY,
      concurrently(() => raw.unary("SetState", set)),
    );
    await measure(
      "GetState",
      ms,
      CONCURRENCY,
      concurrently(() => raw.unary("GetState", get)),
    );
    await measure(`Batch of ${BATCH} set_state`, ms, BATCH, () => raw.unary("Batch", batch));
    const pipeline = raw.pipeline();
    await measure(`Pipeline, messages of ${BATCH} set_state, 4 ahead`, ms, BATCH * 4, () =>
      Promise.all(Array.from({ length: 4 }, () => pipeline.send(batch))),
    );
    raw.close();

    console.log(
      `Over the wire: openStore(url), ${CONCURRENCY} calls under way (calls of one tick travel as one batch)`,
    );
    for (const protocol of ["grpc", "connect"] as const) {
      await using store = await openStore(server.url, { protocol });
      await measure(`setState, ${protocol}`, ms, CONCURRENCY, (run) =>
        Promise.all(
          Array.from({ length: CONCURRENCY }, (_, i) => store.setState(`s${run % 100}`, `key-${i}`, VALUE)),
        ),
      );
      await measure(`getState, ${protocol}`, ms, CONCURRENCY, (run) =>
        Promise.all(
          Array.from({ length: CONCURRENCY }, (_, i) => store.getState(`s${run % 100}`, `key-${i}`)),
        ),
      );
      await measure(`setState, ${protocol}, one at a time`, ms, 1, (i) =>
        store.setState("s", `key-${i % 100}`, VALUE),
      );
    }
    console.log();
  } finally {
    await server.stop();
  }
}

/** A gRPC client that does nothing but send and count: its own work must not hide the server's. */
class RawGrpc {
  readonly #session;
  readonly #authority: string;

  constructor(url: string) {
    this.#session = connect(url);
    this.#authority = new URL(url).host;
  }

  unary(method: string, message: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.#open(method, reject);
      stream.on("data", () => {});
      stream.on("end", resolve);
      stream.end(framed(message));
    });
  }

  pipeline(): { send(message: Uint8Array): Promise<void> } {
    const waiting: (() => void)[] = [];
    const stream = this.#open("Pipeline", (error) => {
      throw error;
    });
    let held: Buffer = Buffer.alloc(0);
    stream.on("data", (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      while (held.length >= 5 && held.length >= 5 + held.readUInt32BE(1)) {
        held = held.subarray(5 + held.readUInt32BE(1));
        waiting.shift()?.();
      }
    });
    return {
      send: (message) =>
        new Promise((resolve) => {
          waiting.push(resolve);
          stream.write(framed(message));
        }),
    };
  }

  close(): void {
    this.#session.destroy();
  }

  #open(method: string, onFailure: (error: Error) => void) {
    const stream = this.#session.request({
      ":method": "POST",
      ":path": `/agenterra.state.v1.WorkflowStateService/${method}`,
      ":authority": this.#authority,
      "content-type": "application/grpc+proto",
      te: "trailers",
    });
    stream.on("error", onFailure);
    stream.on("trailers", (trailers) => {
      if (trailers["grpc-status"] !== "0")
        onFailure(new Error(`${method} failed: ${trailers["grpc-message"]}`));
    });
    return stream;
  }
}

function framed(message: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}
