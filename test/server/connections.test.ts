/** How long connections last, and that nothing is lost when they end. */
import { once } from "node:events";
import { Agent, request as http1Request } from "node:http";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ErrorDetailSchema, ErrorReason } from "../../gen/agenterra/state/v1/state_pb.ts";
import { openStore } from "../../src/open.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { framed, http2Request, http2Session, pathOf, serving, talk, webHeaders } from "../support/serving.ts";
import { stubStore } from "../support/stub-store.ts";

const WATCH = framed(Buffer.from("0a0173", "hex"));
const GET = framed(Buffer.from("0a017312016b", "hex"));
const grpc = (rpc: string) => ({ ":path": pathOf(rpc), "content-type": "application/grpc" });

/** What a connection is told, and when it is over. */
function farewell(session: ClientHttp2Session): { codes: number[]; closed: Promise<unknown> } {
  const codes: number[] = [];
  session.on("goaway", (code) => codes.push(code));
  return { codes, closed: once(session, "close") };
}

/** The reason in a gRPC answer that failed. */
function reasonIn(trailers: Parameters<typeof webHeaders>[0]): ErrorReason | undefined {
  return findTrailerError(webHeaders(trailers))?.findDetails(ErrorDetailSchema)[0]?.reason;
}

describe.each([true, false])("with the fast path: %s", (fastPath) => {
  test("a connection that is too old takes no more calls, finishes those it has, and ends its streams", async () => {
    let finish = (): void => {};
    const asked = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const watched = memoryStore();
    const store = stubStore({
      getState: async ({ sessionId }) => {
        if (sessionId === "s") await asked;
        return undefined;
      },
      watchSession: (request, context) => watched.watchSession(request, context),
    });
    const server = await serving({ store, fastPath, connections: { maxAgeMs: 300, ageGraceMs: 200 } });
    const session = http2Session(server);
    const { codes, closed } = farewell(session);
    const watch = http2Request(session, grpc("WatchSession"), WATCH);
    const call = http2Request(session, grpc("GetState"), GET);
    const { trailers } = await watch;
    expect(trailers["grpc-status"]).toBe("14");
    expect(reasonIn(trailers)).toBe(ErrorReason.SHUTTING_DOWN);
    expect(codes[0]).toBe(0);
    finish();
    expect((await call).trailers["grpc-status"]).toBe("0");
    await closed;
  });

  test("a pipeline on a connection that is too old answers what it has begun, then ends", async () => {
    const server = await serving({ fastPath, connections: { maxAgeMs: 200, ageGraceMs: 50 } });
    const session = http2Session(server);
    const stream = session.request({ ":method": "POST", ...grpc("Pipeline") });
    let trailers: Parameters<typeof webHeaders>[0] = {};
    stream.on("trailers", (got) => {
      trailers = got;
    });
    stream.resume().on("error", () => {});
    stream.write(framed(Buffer.from("0a080a060a017312016b", "hex")));
    await once(stream, "end");
    expect(reasonIn(trailers)).toBe(ErrorReason.SHUTTING_DOWN);
  });

  test("our client follows a session and writes over many connections, and misses and doubles nothing", async () => {
    const store = memoryStore();
    const server = await serving({ store, fastPath, connections: { maxAgeMs: 150, ageGraceMs: 20 } });
    const client = await openStore(server.url);
    onTestFinished(() => client.close());
    const writes = 60;
    const revisions: number[] = [];
    const watching = (async () => {
      for await (const message of client.watchSession("s", { afterRevision: 0 })) {
        if (message.kind === "event") revisions.push(message.event.revision);
        if (revisions.length === writes) return;
      }
    })();
    for (let i = 0; i < writes; i++) {
      await client.commit("s", { changes: [{ kind: "increment", key: "n", delta: 1 }] });
      await pause(10);
    }
    await watching;
    expect(revisions).toEqual(Array.from({ length: writes }, (_, i) => i + 1));
    expect(await client.getState("s", "n")).toBe(writes);
  });
});

test("a watch of the server's health ends with its connection, too", async () => {
  const server = await serving({ connections: { maxAgeMs: 300, ageGraceMs: 50 } });
  const session = http2Session(server);
  const headers = { ":path": "/grpc.health.v1.Health/Watch", "content-type": "application/grpc" };
  const { trailers, body } = await http2Request(session, headers, framed(Buffer.alloc(0)));
  expect(trailers["grpc-status"]).toBe("14");
  expect(body.length).toBeGreaterThan(0);
});

describe("a connection without calls", () => {
  test("is closed after a while, one with a watch is not", async () => {
    const server = await serving({ connections: { maxIdleMs: 1_000 } });
    const busy = http2Session(server);
    const busyEnd = farewell(busy);
    const watch = busy.request({ ":method": "POST", ...grpc("WatchSession") });
    watch.on("error", () => {});
    watch.resume().end(WATCH);
    await once(watch, "response");
    const idle = http2Session(server);
    const idleEnd = farewell(idle);
    await http2Request(idle, grpc("GetState"), GET);
    await idleEnd.closed;
    expect(idleEnd.codes[0]).toBe(0);
    await pause(1_500);
    expect(busyEnd.codes).toEqual([]);
    watch.close();
    await busyEnd.closed;
  });

  test("of HTTP/1.1 is closed after a while, too", async () => {
    const server = await serving({ connections: { maxIdleMs: 1_000 } });
    const body = '{"sessionId":"s","key":"k"}';
    const head = `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
    const { text, closed } = await talk(
      server,
      `${head}Content-Length: ${body.length}\r\n\r\n${body}`,
      10_000,
    );
    expect(text).toContain("HTTP/1.1 200");
    expect(closed).toBe(true);
  });
});

/** What the answer to a call over HTTP/1.1 says of its connection. */
function connectionAfterCall(url: string, agent: Agent) {
  return new Promise<string | undefined>((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const sent = http1Request(`${url}${pathOf("GetState")}`, { method: "POST", agent, headers }, (answer) => {
      answer.resume().on("end", () => resolve(answer.headers.connection));
    });
    sent.on("error", reject);
    sent.end('{"sessionId":"s","key":"k"}');
  });
}

test("HTTP/1.1 on a connection that is too old is told that this answer is the last", async () => {
  const server = await serving({ connections: { maxAgeMs: 300, ageGraceMs: 60_000 } });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  expect(await connectionAfterCall(server.url, agent)).toBe("keep-alive");
  await vi.waitFor(async () => expect(await connectionAfterCall(server.url, agent)).toBe("close"), {
    timeout: 20_000,
    interval: 20,
  });
});

test("a watch over HTTP/1.1 on a connection that is too old ends with SHUTTING_DOWN", async () => {
  const server = await serving({ connections: { maxAgeMs: 200, ageGraceMs: 50 } });
  const client = await openStore(`${server.url}?protocol=connect&httpVersion=1.1`);
  onTestFinished(() => client.close());
  const [revisions, writes]: [number[], number] = [[], 20];
  const watching = (async () => {
    for await (const message of client.watchSession("s", { afterRevision: 0 })) {
      if (message.kind === "event") revisions.push(message.event.revision);
      if (revisions.length === writes) return;
    }
  })();
  for (let i = 0; i < writes; i++) {
    await client.setState("s", "k", i);
    await pause(30);
  }
  await watching;
  expect(revisions).toEqual(Array.from({ length: writes }, (_, i) => i + 1));
});

test("there are no more connections than there may be, and another when one has gone", async () => {
  const server = await serving({ connections: { maxConnections: 2 } });
  const open = async () => {
    const session = http2Session(server);
    await once(session, "remoteSettings");
    return session;
  };
  const first = await open();
  await open();
  const refused = connect(server.port, "127.0.0.1");
  refused.on("error", () => {});
  await once(refused, "close");
  first.close();
  await vi.waitFor(async () => {
    const session = http2Session(server);
    const answer = await http2Request(session, grpc("GetState"), GET);
    expect(answer.trailers["grpc-status"]).toBe("0");
  }, 20_000);
});

describe("requests that come one behind the other on a connection of HTTP/1.1", () => {
  const body = '{"sessionId":"s","key":"k"}';
  const head = `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  const bytes = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;

  test("are answered one after the other", async () => {
    let running = 0;
    let most = 0;
    const store = stubStore({
      async getState({ sessionId }) {
        // The store is asked whether it lives, too.
        if (sessionId !== "s") return undefined;
        most = Math.max(most, ++running);
        await pause(2);
        running--;
        return undefined;
      },
    });
    const server = await serving({ store });
    const socket = connect(server.port, "127.0.0.1");
    onTestFinished(() => {
      socket.destroy();
    });
    socket.write(bytes.repeat(50));
    let answers = 0;
    for await (const chunk of socket) {
      answers += String(chunk).split("HTTP/1.1 200").length - 1;
      if (answers === 50) break;
    }
    expect(most).toBe(1);
  });

  test("are too many at last, and cost the connection", async () => {
    const server = await serving({ store: stubStore({ getState: () => new Promise(() => {}) }) });
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(bytes.repeat(150));
    await once(socket, "close");
    await server.close();
  });
});

describe("a peer that doesn't close its side", () => {
  const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const SETTINGS = Buffer.from("000000040000000000", "hex");
  const ACKNOWLEDGED = Buffer.from("000000040100000000", "hex");
  const GOAWAY = Buffer.from("0000080700000000000000000000000000", "hex");

  /** Speaks HTTP/2, and goes on listening whatever it hears. Gives how its connection is doing on the server's side. */
  async function stubborn({ port }: { readonly port: number }, ...frames: readonly Buffer[]) {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {}).resume();
    await once(socket, "connect");
    socket.write(Buffer.concat([PREFACE, SETTINGS, ACKNOWLEDGED, ...frames]));
    return socket;
  }

  test("after its GOAWAY, is dropped when it should be asked whether it lives", async () => {
    const server = await serving({ pingIntervalMs: 300 });
    const socket = await stubborn(server, GOAWAY);
    await once(socket, "end");
    // To write to what is dropped is answered with a reset.
    const lost = new Promise((resolve) => socket.once("close", resolve));
    const writing = setInterval(() => socket.write(SETTINGS), 100);
    onTestFinished(() => clearInterval(writing));
    await lost;
    const session = http2Session(server);
    expect((await http2Request(session, grpc("GetState"), GET)).trailers["grpc-status"]).toBe("0");
  });

  test("when it was idle for too long, is dropped soon", async () => {
    const server = await serving({ connections: { maxIdleMs: 200 } });
    const socket = await stubborn(server);
    await once(socket, "end");
    const lost = new Promise((resolve) => socket.once("close", resolve));
    const writing = setInterval(() => socket.write(SETTINGS), 100);
    onTestFinished(() => clearInterval(writing));
    await lost;
  });
});

describe("requests of HTTP/1.1 that are broken off", () => {
  test.each([
    ["of a type that is not served", "POST", "GetState", "application/connect+proto"],
    ["of a method that is not served", "PUT", "GetState", "application/json"],
    ["of a stream", "POST", "Pipeline", "application/connect+proto"],
  ])("behind another, %s, cost the server nothing", async (_, method, rpc, type) => {
    const server = await serving();
    const first = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const second = `${method} ${pathOf(rpc)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: 9\r\n\r\nabc`;
    for (let n = 0; n < 10; n++) {
      const socket = connect(server.port, "127.0.0.1");
      socket.on("error", () => {}).resume();
      socket.write(first + second);
      await pause(20);
      socket.destroy();
      await pause(10);
    }
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  test("behind an answer that is the last are not run", async () => {
    const asked: string[] = [];
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
    const store = stubStore({
      async getState({ sessionId, key }) {
        // The store is asked whether it lives, too.
        if (sessionId !== "s") return undefined;
        asked.push(key);
        begin();
        await answered;
        return undefined;
      },
    });
    const server = await serving({ store });
    const get = (key: string): string => {
      const body = JSON.stringify({ sessionId: "s", key });
      return `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    };
    const socket = connect(server.port, "127.0.0.1");
    let answers = "";
    socket.on("data", (data) => {
      answers += data;
    });
    socket.write(get("a") + get("b") + get("c"));
    await begun;
    const over = new Promise((resolve) => socket.once("close", resolve));
    const closed = server.close();
    answer();
    await Promise.all([over, closed]);
    expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(asked).toEqual(["a", "b"]);
  });
});
