import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectNet } from "node:net";
import { connect as connectTls } from "node:tls";
import { gunzipSync, gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  GetStateRequestSchema,
  GetStateResponseSchema,
  type PipelineRequest,
  PipelineRequestSchema,
  WorkflowStateService,
} from "../gen/agenterra/state/v1/service_pb.ts";
import { ErrorDetailSchema, ErrorReason } from "../gen/agenterra/state/v1/state_pb.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { encodeValue } from "../src/value.ts";
import { selfSigned } from "./support/self-signed.ts";
import { framed, http2Request, http2Session, pathOf, serving, talk } from "./support/serving.ts";
import { stubStore } from "./support/stub-store.ts";

type ServiceClient = Client<typeof WorkflowStateService>;

const text = (value: string) => ({ kind: { case: "stringValue" as const, value } });

/** Every way to call: protocol, codec, version of HTTP. */
const ways: readonly [string, (baseUrl: string) => Transport][] = [
  ["gRPC", (baseUrl) => createGrpcTransport({ baseUrl })],
  ["gRPC JSON", (baseUrl) => createGrpcTransport({ baseUrl, useBinaryFormat: false })],
  ["gRPC-Web, HTTP/1.1", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  [
    "gRPC-Web JSON, HTTP/2",
    (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  ],
  [
    "Connect, HTTP/1.1",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  ],
  [
    "Connect, HTTP/2",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  ],
  [
    "Connect JSON, HTTP/1.1",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  ],
  [
    "Connect JSON, HTTP/2",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  ],
  [
    "Connect GET, HTTP/1.1",
    (baseUrl) =>
      createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true, useHttpGet: true }),
  ],
  [
    "Connect GET JSON, HTTP/2",
    (baseUrl) =>
      createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false, useHttpGet: true }),
  ],
  [
    "gzip",
    (baseUrl) => createGrpcTransport({ baseUrl, sendCompression: compressionGzip, compressMinBytes: 1 }),
  ],
];

function reasonOf(error: unknown): string | undefined {
  const [detail] = ConnectError.from(error).findDetails(ErrorDetailSchema);
  return Object.keys(ErrorReason).find(
    (name) => ErrorReason[name as keyof typeof ErrorReason] === detail?.reason,
  );
}

describe("one port speaks every protocol", () => {
  test.each(ways)("%s", async (way, transportTo) => {
    const server = await serving();
    const client: ServiceClient = createClient(WorkflowStateService, transportTo(server.url));
    const written = await client.setState({ sessionId: "s", key: "__proto__", value: text("té") });
    expect(written.entry).toMatchObject({ key: "__proto__", revision: 1n, value: text("té") });
    const read = await client.getSession({ sessionId: "s" });
    expect(Object.entries(read.session?.state ?? {})).toMatchObject([["__proto__", text("té")]]);
    expect((await client.getState({ sessionId: "s", key: "none" })).entry).toBeUndefined();

    const conflict = await client
      .setState({ sessionId: "s", key: "k", value: text("x"), ifRevision: 9n })
      .catch((error: unknown) => error);
    expect(ConnectError.from(conflict).code).toBe(Code.Aborted);
    expect(reasonOf(conflict)).toBe("REVISION_MISMATCH");

    const { results } = await client.batch({
      operations: [
        { operation: { case: "getState", value: { sessionId: "s", key: "__proto__" } } },
        { operation: { case: "setState", value: { sessionId: "", key: "k", value: text("x") } } },
      ],
    });
    expect(results.map(({ result }) => result.case)).toEqual(["getState", "error"]);

    const ended = new AbortController();
    onTestFinished(() => ended.abort());
    const watch = client.watchSession({ sessionId: "s" }, { signal: ended.signal })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({
      message: { case: "snapshot", value: { revision: 1n } },
    });
    await client.deleteState({ sessionId: "s", key: "__proto__" });
    expect((await watch.next()).value).toMatchObject({ message: { case: "event", value: { revision: 2n } } });

    if (!way.includes("HTTP/1.1") && !way.includes("Web")) {
      async function* batches(): AsyncGenerator<PipelineRequest> {
        yield create(PipelineRequestSchema, {
          operations: [{ operation: { case: "getSession", value: { sessionId: "s" } } }],
        });
        yield create(PipelineRequestSchema);
      }
      const counts: number[] = [];
      for await (const answer of client.pipeline(batches())) {
        counts.push(answer.results.length);
      }
      expect(counts).toEqual([1, 0]);
    }
  });

  test("JSON reads as the public schema says, and GET reads too", async () => {
    const server = await serving();
    const call = async (rpc: string, body: object): Promise<unknown> => {
      const response = await fetch(server.url + pathOf(rpc), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return response.json();
    };
    await call("SetState", { sessionId: "s", key: "k", value: { a: [1, null] }, ttl: "1000s" });
    const query = new URLSearchParams({
      connect: "v1",
      encoding: "json",
      message: '{"sessionId":"s","key":"k"}',
    });
    const response = await fetch(`${server.url}${pathOf("GetState")}?${query}`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      entry: { key: "k", value: { a: [1, null] }, revision: "1" },
    });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("answers are not compressed, although clients say they can take it", async () => {
    const store = memoryStore();
    await store.setState({ sessionId: "s", key: "k", value: encodeValue("x".repeat(10_000)) });
    const server = await serving({ store, fastPath: false });
    const { headers, body } = await http2Request(
      http2Session(server),
      { ":path": pathOf("GetState"), "content-type": "application/grpc", "grpc-accept-encoding": "gzip" },
      framed(toBinary(GetStateRequestSchema, create(GetStateRequestSchema, { sessionId: "s", key: "k" }))),
    );
    expect(headers["grpc-encoding"]).toBeUndefined();
    expect(fromBinary(GetStateResponseSchema, body.subarray(5)).entry?.value).toMatchObject({
      kind: { value: "x".repeat(10_000) },
    });
    expect(gunzipSync(gzipSync("x")).toString()).toBe("x");
  });
});

describe("limits", () => {
  test("many large answers at once pass through one connection", async () => {
    const store = memoryStore();
    const changes = [1, 2, 3].map(
      (n) => ({ kind: "set", key: `${n}`, value: encodeValue("x".repeat(1_000_000)) }) as const,
    );
    await store.commit({ sessionId: "s", changes });
    const server = await serving({ store });
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => client.getSession({ sessionId: "s" })),
    );
    expect(answers.map(({ session }) => Object.keys(session?.state ?? {}).length)).toEqual(
      new Array(30).fill(3),
    );
  });

  test("a request of nearly the limit is taken, a larger one refused, on a connection that goes on", async () => {
    const server = await serving();
    for (const [, transportTo] of ways) {
      const client = createClient(WorkflowStateService, transportTo(server.url));
      const changes = (bytes: number) =>
        [1, 2, 3, 4, 5].map((n) => ({
          change: { case: "set" as const, value: { key: `${n}`, value: text("x".repeat(bytes)) } },
        }));
      await client.commit({ sessionId: "s", changes: changes(800_000) });
      const refused = await client
        .commit({ sessionId: "s", changes: changes(1_000_000) })
        .catch((error: unknown) => error);
      expect(reasonOf(refused)).toBe("REQUEST_TOO_LARGE");
      await client.getState({ sessionId: "s", key: "none" });
    }
  });

  test("a gzip bomb is refused without unpacking it", async () => {
    const server = await serving();
    const bomb = gzipSync(Buffer.alloc(300 << 20));
    const before = process.memoryUsage().rss;
    const response = await fetch(server.url + pathOf("GetState"), {
      method: "POST",
      headers: { "content-type": "application/json", "content-encoding": "gzip" },
      body: bomb,
    });
    expect(response.status).toBe(429);
    expect(await response.text()).toContain("ERROR_REASON_REQUEST_TOO_LARGE");
    expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20);
  });

  test("a connection has as many streams as the limit says", async () => {
    const server = await serving({ limits: { streamsPerConnection: 7 } });
    const session = http2Session(server);
    await once(session, "remoteSettings");
    expect(session.remoteSettings.maxConcurrentStreams).toBe(7);
  });
});

describe("deadlines", () => {
  test.each([true, false])(
    "a store that ignores its signal holds nobody (fast path: %s)",
    async (fastPath) => {
      const store = stubStore({ getState: () => new Promise(() => {}) });
      const server = await serving({ store, fastPath });
      const { trailers } = await http2Request(
        http2Session(server),
        { ":path": pathOf("GetState"), "content-type": "application/grpc", "grpc-timeout": "50m" },
        framed(new Uint8Array()),
      );
      expect(trailers["grpc-status"]).toBe(`${Code.DeadlineExceeded}`);
    },
  );

  test.each([true, false])("nobody waits longer than the server allows (fast path: %s)", async (fastPath) => {
    const store = stubStore({ getState: () => new Promise(() => {}) });
    const server = await serving({ store, maxTimeoutMs: 50, fastPath });
    for (const timeout of [{}, { "grpc-timeout": "10S" }]) {
      const { trailers } = await http2Request(
        http2Session(server),
        { ":path": pathOf("GetState"), "content-type": "application/grpc", ...timeout },
        framed(new Uint8Array()),
      );
      expect(trailers["grpc-status"]).toBe(`${Code.DeadlineExceeded}`);
    }
  });

  test("a watch ends when its caller's time is over", async () => {
    const server = await serving();
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const all = async (): Promise<void> => {
      for await (const _ of client.watchSession({ sessionId: "s" }, { timeoutMs: 100 })) {
        // Until it ends.
      }
    };
    await expect(all()).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  });

  test("a caller who goes away is gone for the store too", async () => {
    const aborted = vi.fn();
    let leave = new AbortController();
    const store = stubStore({
      getState: ({ sessionId }, context) =>
        new Promise((_, reject) => {
          // The store is asked whether it lives, too.
          if (sessionId !== "s") return;
          context?.signal?.addEventListener("abort", () => {
            aborted();
            reject(context?.signal?.reason);
          });
          leave.abort();
        }),
    });
    const onError = vi.fn();
    const server = await serving({ store, onError });
    for (const [, transportTo] of ways.slice(0, 8)) {
      const client = createClient(WorkflowStateService, transportTo(server.url));
      const before = aborted.mock.calls.length;
      leave = new AbortController();
      const call = client.getState({ sessionId: "s", key: "k" }, { signal: leave.signal });
      await expect(call).rejects.toThrow();
      await vi.waitFor(() => expect(aborted.mock.calls.length).toBe(before + 1), 20_000);
    }
    expect(onError).not.toHaveBeenCalled();
  });
});

test("a failure of the store's own is INTERNAL, says nothing of itself, and is told once", async () => {
  for (const [, transportTo] of ways) {
    const onError = vi.fn();
    const failure = new Error("password=hunter2");
    const store = stubStore({ getState: () => Promise.reject(failure) });
    const server = await serving({ store, onError });
    const client = createClient(WorkflowStateService, transportTo(server.url));
    const error = ConnectError.from(await client.getState({}).catch((thrown: unknown) => thrown));
    expect(error.code).toBe(Code.Internal);
    expect(error.message).not.toContain("hunter2");
    expect(onError.mock.calls).toEqual([[failure]]);
  }
});

test("without another place for them, failures are printed", async () => {
  const printed = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => printed.mockRestore());
  const failure = new Error("broken");
  const server = await serving({ store: stubStore({ getState: () => Promise.reject(failure) }) });
  const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
  await expect(client.getState({})).rejects.toThrow();
  expect(printed.mock.calls).toEqual([[failure]]);
});

describe("TLS", () => {
  const identity = selfSigned();

  test("speaks HTTP/2 and HTTP/1.1, as ALPN or the first bytes say", async () => {
    const server = await serving({ tls: identity });
    expect(server.url).toMatch(/^https:/);
    const nodeOptions = { ca: identity.cert };
    const transports = [
      createGrpcTransport({ baseUrl: server.url, nodeOptions }),
      createConnectTransport({ baseUrl: server.url, httpVersion: "1.1", nodeOptions }),
    ];
    for (const transport of transports) {
      const client = createClient(WorkflowStateService, transport);
      await client.setState({ sessionId: "s", key: "k", value: text("x") });
    }
    const socket = connectTls({ port: server.port, host: "localhost", ca: identity.cert });
    socket.write(
      `GET ${pathOf("GetState")}?encoding=json&message={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 400 /);
    expect(socket.alpnProtocol).toBe(false);
    const other = connectTls({
      port: server.port,
      host: "localhost",
      ca: identity.cert,
      ALPNProtocols: ["spdy/1"],
    });
    await expect(once(other, "secureConnect")).rejects.toThrow(/alpn|protocol/i);
  });

  test("a caller without TLS, or without trust, harms nobody", async () => {
    const server = await serving({ tls: identity });
    await talk(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const distrustful = connectTls({ port: server.port, host: "localhost" });
    await expect(once(distrustful, "secureConnect")).rejects.toThrow(/self.signed/i);
    const session = connectHttp2(server.url, { ca: identity.cert });
    onTestFinished(() => session.destroy());
    await once(session, "connect");
    await server.close();
  });

  test("a key that is none is refused at the start", async () => {
    const tls = { key: "no key", cert: "no certificate" };
    await expect(startServer({ store: memoryStore(), listen: { port: 0 }, tls })).rejects.toThrow();
  });
});

describe("listening", () => {
  test("on IPv6", async () => {
    const server = await serving({ listen: { host: "::1", port: 0 } });
    expect(server.url).toBe(`http://[::1]:${server.port}`);
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    await client.getState({ sessionId: "s", key: "k" });
  });

  test("on a port in use fails", async () => {
    const { port } = await serving();
    await expect(startServer({ store: memoryStore(), listen: { port } })).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
  });

  test("a peer that answers no ping is dropped", async () => {
    const server = await serving({ pingIntervalMs: 50 });
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
    const { closed } = await talk(server, preface, 5_000);
    expect(closed).toBe(true);
    const living = http2Session(server);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(living.destroyed).toBe(false);
  });
});

/** A store that never answers, and when it has been asked for the session "s": the server asks whether it lives, too. */
function unanswering() {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const store = stubStore({
    getState({ sessionId }) {
      if (sessionId === "s") resolve();
      return new Promise(() => {});
    },
  });
  return { store, asked };
}

describe("stopping", () => {
  async function connected(server: RunningServer): Promise<ClientHttp2Session> {
    const session = http2Session(server);
    await once(session, "connect");
    return session;
  }

  test("watches end with SHUTTING_DOWN, whoever watches how", async () => {
    for (const [, transportTo] of ways) {
      const server = await serving();
      const client = createClient(WorkflowStateService, transportTo(server.url));
      const watch = client.watchSession({ sessionId: "s" })[Symbol.asyncIterator]();
      await watch.next();
      const next = watch.next().catch((error: unknown) => error);
      const closed = server.close();
      expect(reasonOf(await next)).toBe("SHUTTING_DOWN");
      await closed;
    }
  });

  test.each([true, false])("pipelines end with SHUTTING_DOWN too (fast path: %s)", async (fastPath) => {
    const server = await serving({ fastPath });
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    async function* batches(): AsyncGenerator<PipelineRequest> {
      yield create(PipelineRequestSchema);
      await new Promise(() => {});
    }
    const answers = client.pipeline(batches())[Symbol.asyncIterator]();
    expect((await answers.next()).value).toMatchObject({ results: [] });
    const next = answers.next().catch((error: unknown) => error);
    const closed = server.close();
    expect(reasonOf(await next)).toBe("SHUTTING_DOWN");
    await closed;
  });

  test("many watches end together, and Node.js has nothing to warn of", async () => {
    const warned = vi.fn();
    process.on("warning", warned);
    onTestFinished(() => {
      process.off("warning", warned);
    });
    const server = await serving({ fastPath: false });
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const watches = Array.from({ length: 50 }, () =>
      client.watchSession({ sessionId: "s" })[Symbol.asyncIterator](),
    );
    await Promise.all(watches.map((watch) => watch.next()));
    const ends = Promise.all(watches.map((watch) => watch.next().catch(reasonOf)));
    const closed = server.close();
    expect(await ends).toEqual(new Array(50).fill("SHUTTING_DOWN"));
    await closed;
    expect(warned).not.toHaveBeenCalled();
  });

  test("calls in flight are answered, and nobody is let in any more", async () => {
    let answer: ((entry: undefined) => void) | undefined;
    const store = stubStore({
      getState: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    const server = await serving({ store });
    const transports = [
      createGrpcTransport({ baseUrl: server.url }),
      createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }),
    ];
    const inFlight: Promise<unknown>[] = [];
    const answers: ((entry: undefined) => void)[] = [];
    for (const transport of transports) {
      answer = undefined;
      inFlight.push(createClient(WorkflowStateService, transport).getState({ sessionId: "s", key: "k" }));
      await vi.waitUntil(() => answer !== undefined, 20_000);
      answers.push(answer as never);
    }
    const closed = server.close();
    expect(server.close()).toBe(closed);
    const { text: nothing, closed: refused } = await talk(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect([nothing, refused]).toEqual(["", true]);
    for (const done of answers) {
      done(undefined);
    }
    await expect(Promise.all(inFlight)).resolves.toHaveLength(2);
    await closed;
  });

  test("what does not finish in time is dropped", async () => {
    const { store, asked } = unanswering();
    const server = await serving({ store, drainTimeoutMs: 100 });
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const call = client.getState({ sessionId: "s", key: "k" }).catch((error: unknown) => error);
    await asked;
    const started = performance.now();
    await server.close();
    expect(performance.now() - started).toBeGreaterThan(90);
    expect(await call).toBeInstanceOf(ConnectError);
  });

  test("now means now", async () => {
    const { store, asked } = unanswering();
    const server = await serving({ store });
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const call = client.getState({ sessionId: "s", key: "k" }).catch((error: unknown) => error);
    await asked;
    const gentle = server.close();
    await server.close({ now: true });
    await gentle;
    expect(await call).toBeInstanceOf(ConnectError);
  });

  test("idle connections do not hold it up, nor do peers that stay", async () => {
    const server = await serving();
    const session = await connected(server);
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const response = await new Promise<{ resume(): void }>((resolve) => {
      httpRequest(`${server.url}/nobody`, { agent }, resolve).end();
    });
    response.resume();
    const silent = talk(server, "", 10_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const started = performance.now();
    await server.close();
    expect(performance.now() - started).toBeLessThan(3_000);
    expect((await silent).closed).toBe(true);
    await vi.waitUntil(() => session.destroyed, 20_000);
  });

  test("a connection that comes while it stops is told to go", async () => {
    const { store, asked } = unanswering();
    const server = await serving({ store });
    // A connection that has not said yet what it speaks. The one that comes after it shows that it has been taken.
    const late = connectNet(server.port, "127.0.0.1");
    late.on("error", () => {});
    await once(late, "connect");
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: server.url }));
    const call = client.getState({ sessionId: "s", key: "k" }).catch((error: unknown) => error);
    await asked;
    const closed = server.close();
    late.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let bytes = Buffer.alloc(0);
    late.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
    });
    await once(late, "close");
    // A GOAWAY frame is of type 7.
    expect(bytes.includes(Buffer.from([0, 0, 8, 7, 0]))).toBe(true);
    await server.close({ now: true });
    await closed;
    await call;
  });
});
