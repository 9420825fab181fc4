/** Callers that ask for much and take little of it: what is made for them, and not taken, stays bounded. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { staying } from "../support/attack-floods.ts";
import {
  grpcCall,
  PREFACE,
  type RawConnection,
  rpcPath,
  settings,
  windowUpdate,
} from "../support/attack-http2.ts";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import { AttackTarget } from "../support/attack-target.ts";

const MIB = 2 ** 20;
/** Bytes of the value that is asked for. */
const VALUE_BYTES = 1_000_000;
const CONNECTIONS = 10;
const STREAMS = 100;

let target: AttackTarget;

beforeAll(async () => {
  target = await AttackTarget.start();
  const response = await fetch(`http://127.0.0.1:${target.port}${rpcPath("SetState")}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sessionId: "attacked", key: "key", value: "v".repeat(VALUE_BYTES) }),
  });
  expect(response.status).toBe(200);
});

afterAll(() => target.stop());

async function survives(attack: string, run: () => Promise<unknown>, boundBytes: number): Promise<void> {
  const { growthBytes } = await target.under("answers not read", attack, async () => void (await run()));
  expect(growthBytes).toBeLessThan(boundBytes);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const getState = grpcFrame(requestBytes("GetState", { sessionId: "attacked", key: "key" }));
const getSession = grpcFrame(requestBytes("GetSession", { sessionId: "attacked" }));
const watchSession = grpcFrame(requestBytes("WatchSession", { sessionId: "attacked" }));

describe("over HTTP/2", () => {
  /** SETTINGS_INITIAL_WINDOW_SIZE. */
  const window = (bytes: number): Buffer => Buffer.concat([PREFACE, settings([4, bytes])]);

  async function held(rpc: string, message: Uint8Array, first: Buffer): Promise<RawConnection[]> {
    const calls = Buffer.concat(Array.from({ length: STREAMS }, (_, n) => grpcCall(2 * n + 1, rpc, message)));
    return staying(target, CONNECTIONS, calls, { first });
  }

  test.each([
    ["GetState", getState],
    ["GetSession", getSession],
    ["WatchSession", watchSession],
  ])("%s with a window of nothing", async (rpc, message) => {
    await survives(
      `${CONNECTIONS * STREAMS} calls of ${rpc} for ${VALUE_BYTES} bytes each, window 0`,
      async () => {
        const connections = await held(rpc, message, window(0));
        await pause(1_000);
        for (const connection of connections) connection.destroy();
      },
      700 * MIB,
    );
  });

  test("a window that grows byte by byte", async () => {
    await survives(
      `${CONNECTIONS * STREAMS} calls of GetState for ${VALUE_BYTES} bytes each, read byte by byte`,
      async () => {
        const connections = await held("GetState", getState, window(1));
        const more = Buffer.concat(Array.from({ length: STREAMS }, (_, n) => windowUpdate(2 * n + 1, 1)));
        for (let n = 0; n < 30; n++) {
          await Promise.all(connections.map((connection) => connection.send(more)));
          await pause(30);
        }
        for (const connection of connections) connection.destroy();
      },
      700 * MIB,
    );
  });
});

describe("over HTTP/1.1", () => {
  test("requests one behind the other, of which no answer is read", async () => {
    const body = JSON.stringify({ sessionId: "attacked", key: "key" });
    const request = `POST ${rpcPath("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    await survives(
      `${CONNECTIONS} × 1,000 requests for ${VALUE_BYTES} bytes each, in one piece`,
      async () => {
        const sockets = Array.from({ length: CONNECTIONS }, () => {
          const socket = connect(target.port, "127.0.0.1");
          socket.on("error", () => {});
          socket.write(request.repeat(1_000));
          return socket;
        });
        await pause(2_000);
        for (const socket of sockets) socket.destroy();
      },
      700 * MIB,
    );
  });
});
