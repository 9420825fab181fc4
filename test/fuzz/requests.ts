/** Requests of gRPC: the fast path and connect's handlers must answer the same bytes with the same bytes. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { grpcFrame, REQUESTS, requestBytes } from "../support/attack-messages.ts";
import type { Random } from "../support/random.ts";
import { connectCall, type GrpcAnswer, GrpcCaller } from "./calls.ts";
import { blamesServer, type Domain, type DomainContext, Finding } from "./domain.ts";
import { mutatedBytes, mutatedMessage } from "./mutate.ts";

const RPCS = Object.keys(REQUESTS);
const INTERNAL = 13;

/** Fuzzes the messages of every RPC, and the frames around them. */
export function requestsDomain({ ports }: DomainContext): Domain {
  const fast = new GrpcCaller(ports.fast);
  const general = new GrpcCaller(ports.general);

  async function step(random: Random): Promise<void> {
    const rpc = random.one(RPCS);
    const base = requestBytes(rpc);
    const message = random.chance(0.05)
      ? Buffer.from(base)
      : random.chance(0.7)
        ? mutatedMessage(random, base)
        : mutatedBytes(random, base);
    const { body, headers } = framed(random, message);
    const [one, other] = await Promise.all([fast.call(rpc, body, headers), general.call(rpc, body, headers)]);
    const input = `${rpc} ${JSON.stringify(headers)} ${body.toString("hex")}`;
    for (const answer of [one, other]) {
      // Of a compressed frame without an encoding gRPC itself says that it is INTERNAL (compression.md).
      const ofGrpc = answer.status === INTERNAL && answer.message.includes("compressed");
      if (blamesServer(answer.status) && !ofGrpc) {
        throw new Finding(`${rpc} answers ${answer.status}: ${answer.message}`, input);
      }
      if (
        answer.status === -1 &&
        rpc !== "WatchSessions" &&
        !(rpc === "WatchSession" && answer.httpStatus === 200)
      ) {
        throw new Finding(`${rpc} ends without a status (HTTP ${answer.httpStatus})`, input);
      }
    }
    // What changes goes on changing: only a watch of all sessions says what happened when, not what is.
    if (rpc !== "WatchSessions" && fingerprint(rpc, one) !== fingerprint(rpc, other)) {
      throw new Finding(
        `${rpc} by the fast path: ${JSON.stringify(one)}; by the general one: ${JSON.stringify(other)}`,
        input,
      );
    }
    if (random.chance(0.1) && !/^(?:Watch|Pipeline)/.test(rpc) && isRead(rpc)) {
      const { status, code, text } = await connectCall(ports.fast, rpc, message, "application/proto");
      if (status >= 500 || code === "internal" || code === "unknown") {
        throw new Finding(
          `${rpc} by Connect answers ${status}: ${text}`,
          `${rpc} ${message.toString("hex")}`,
        );
      }
    }
  }

  return {
    name: "requests",
    step,
    close() {
      fast.close();
      general.close();
    },
  };
}

function isRead(rpc: string): boolean {
  return rpc.startsWith("Get") || rpc.startsWith("List");
}

/** The message in its frame; now and then in a wrong one, in two, or compressed. */
function framed(
  random: Random,
  message: Buffer,
): { readonly body: Buffer; readonly headers: Record<string, string> } {
  switch (random.between(0, 30)) {
    case 0:
      return { body: mutatedBytes(random, grpcFrame(message)), headers: {} };
    case 1:
      return { body: Buffer.concat([grpcFrame(message), grpcFrame(message)]), headers: {} };
    case 2:
      return { body: grpcFrame(gzipSync(message), 1), headers: { "grpc-encoding": "gzip" } };
    case 3:
      return {
        body: mutatedBytes(random, grpcFrame(gzipSync(message), 1)),
        headers: { "grpc-encoding": "gzip" },
      };
    case 4:
      return {
        body: grpcFrame(message),
        headers: { "grpc-timeout": random.one(["9S", "99999999H", "1", "0m", "1e3S"]) },
      };
    default:
      return { body: grpcFrame(message), headers: {} };
  }
}

/** All of an answer that must be the same: of a watch, its first message. */
function fingerprint(rpc: string, answer: GrpcAnswer): string {
  const { httpStatus, status, message, details, body } = answer;
  const first =
    rpc === "WatchSession" ? body.slice(0, 10 + 2 * Number.parseInt(body.slice(2, 10), 16)) : body;
  return createHash("sha256")
    .update(JSON.stringify([httpStatus, status, message, details, first]))
    .digest("hex");
}
