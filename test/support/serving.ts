/** Servers for tests, and ways to talk to them that no proper client offers. */
import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect } from "node:net";
import { onTestFinished } from "vitest";
import { type RunningServer, type ServerOptions, startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";

/** Starts a server on a free port for the test that runs; by default over a store in memory. */
export async function serving(options: Partial<ServerOptions> = {}): Promise<RunningServer> {
  const store = options.store ?? memoryStore();
  const server = await startServer({ listen: { port: 0 }, ...options, store });
  onTestFinished(async () => {
    await server.close({ now: true });
    await store.close();
  });
  return server;
}

/** Sends bytes over a new connection; gives what comes back until the server closes it, or until `waitMs` is over. */
export function talk(
  { port }: { readonly port: number },
  bytes: string | Uint8Array,
  waitMs = 3_000,
): Promise<{ readonly text: string; readonly closed: boolean }> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const done = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed });
    };
    const timer = setTimeout(done, waitMs, false);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => done(true));
    socket.on("close", () => done(true));
  });
}

/** An HTTP/2 connection for the test that runs. */
export function http2Session({ url }: RunningServer): ClientHttp2Session {
  const session = connectHttp2(url);
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

/** What an HTTP/2 stream got back. */
export interface Http2Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly rstCode: number;
}

/** Makes a request of an HTTP/2 connection as it is told, however odd. */
export function http2Request(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Uint8Array = new Uint8Array(),
): Promise<Http2Answer> {
  return new Promise((resolve) => {
    const stream = session.request({ ":method": "POST", ...headers });
    const chunks: Buffer[] = [];
    let answered: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on("response", (got) => {
      answered = got;
    });
    stream.on("trailers", (got) => {
      trailers = got;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () => {
      resolve({ headers: answered, trailers, body: Buffer.concat(chunks), rstCode: stream.rstCode ?? 0 });
    });
    stream.end(body);
  });
}

/** Waits until the other end has read what was sent on a connection before. */
export async function arrived(session: ClientHttp2Session): Promise<void> {
  if (session.connecting) await once(session, "connect");
  // A ping may overtake what waits to be sent: only the second goes out after all of it.
  for (let pings = 0; pings < 2; pings++)
    await new Promise<void>((resolve, reject) => {
      session.ping((error) => (error === null ? resolve() : reject(error)));
    });
}

/** A message in the frame of gRPC, gRPC-Web and streams of Connect. */
export function framed(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The path of an RPC. */
export function pathOf(rpc: string): string {
  return `/agenterra.state.v1.WorkflowStateService/${rpc}`;
}

/** Headers of HTTP/2 as connect's helpers take them. */
export function webHeaders(headers: IncomingHttpHeaders): Headers {
  const entries = Object.entries(headers).filter(([name]) => !name.startsWith(":"));
  return new Headers(entries.map(([name, value]) => [name, String(value)]));
}
