/** What one HTTP/2 connection bears: as much as the limits allow, and callers who change their minds. */
import { connect as connectHttp2 } from "node:http2";
import { Code, type ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";

const STREAMS = 100;
let server: RunningServer;
let manager: Http2SessionManager;

beforeEach(async () => {
  server = await startServer({ store: memoryStore(), listen: { port: 0 } });
  manager = new Http2SessionManager(server.url);
});

afterEach(async () => {
  manager.abort();
  await server.close({ now: true });
});

function client(fast: boolean) {
  // A call that says its messages may be compressed is odd enough for the general handler.
  const header = fast ? {} : { "grpc-encoding": "gzip" };
  const transport = createGrpcTransport({
    baseUrl: server.url,
    sessionManager: manager,
    interceptors: [
      (next) => (request) => {
        for (const [name, value] of Object.entries(header)) request.header.set(name, value);
        return next(request);
      },
    ],
  });
  return createClient(WorkflowStateService, transport);
}

describe.each([
  ["on the fast path", true],
  ["by connect's handlers", false],
])("one connection, answered %s", (_, fast) => {
  it("bears as many answers of the largest value at once as it has streams", async () => {
    const { setState, getState } = client(fast);
    const value = encodeValue("x".repeat((1 << 20) - 10));
    await setState({ sessionId: "s", key: "k", value });
    const answers = await Promise.all(
      Array.from({ length: 2 * STREAMS }, () => getState({ sessionId: "s", key: "k" })),
    );
    for (const { entry } of answers) expect(entry?.value?.length).toBe(value.length);
  });

  it("bears callers who end hundreds of watches, and goes on serving others", async () => {
    const { setState, watchSession, getState } = client(fast);
    await setState({ sessionId: "s", key: "k", value: encodeValue(1) });
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        Array.from({ length: STREAMS - 1 }, async () => {
          const left = new AbortController();
          const watching = async (): Promise<void> => {
            for await (const message of watchSession({ sessionId: "s" }, { signal: left.signal })) {
              expect(message.message.case).toBe("snapshot");
              left.abort();
            }
          };
          await expect(watching()).rejects.toMatchObject({ code: Code.Canceled });
        }),
      );
      expect((await getState({ sessionId: "s", key: "k" })).entry?.revision).toBe(1n);
    }
  });
});

describe("a connection whose peer resets one stream after the other", () => {
  it("is ended at last, and the server serves others", async () => {
    const session = connectHttp2(server.url);
    const closed = new Promise((resolve) => session.on("close", resolve));
    session.on("error", () => {});
    const flood = (): void => {
      for (let i = 0; i < 100 && !session.destroyed; i++) {
        const stream = session.request({ ":method": "POST", ":path": "/x" });
        stream.on("error", () => {});
        stream.close(8);
      }
      if (!session.destroyed) setImmediate(flood);
    };
    flood();
    await closed;
    const answer = client(true).getState({ sessionId: "", key: "k" });
    await expect(answer).rejects.toMatchObject({
      code: Code.InvalidArgument,
    } satisfies Partial<ConnectError>);
  });
});
