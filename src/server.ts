/** The server: the service on a port, for gRPC, gRPC-Web and Connect, over HTTP/2 and HTTP/1.1, with or without TLS. */
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from "node:net";
import { createSecureContext, createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { WorkflowStateService } from "../gen/agenterra/state/v1/service_pb.ts";
import { Health as HealthService } from "../gen/grpc/health/v1/health_pb.ts";
import { Authenticator, type AuthOptions } from "./server/auth.ts";
import { Buffers } from "./server/buffers.ts";
import { type ConnectionLimits, connectionLimitsOf } from "./server/connection-limits.ts";
import { Connections } from "./server/connections.ts";
import { type CorsOptions, withCors } from "./server/cors.ts";
import { fastPath } from "./server/fast-path.ts";
import { httpHandler } from "./server/http-handler.ts";
import { Http1 } from "./server/http1.ts";
import { Http2 } from "./server/http2.ts";
import { withLocalHosts } from "./server/local-hosts.ts";
import { isLoopback } from "./server/loopback.ts";
import { sniffProtocol } from "./server/protocol-sniffer.ts";
import { timerMs } from "./service/call.ts";
import type { PrincipalLimits } from "./service/gate.ts";
import { Health, healthRoutes, probeStatus } from "./service/health.ts";
import type { Observer } from "./service/observer.ts";
import { reflectionRoutes } from "./service/reflection.ts";
import { binaryRoutes, jsonRoutes } from "./service/routes.ts";
import { createService } from "./service.ts";
import type { EncodedStore, Limits } from "./store.ts";

export type { ConnectionLimits } from "./server/connection-limits.ts";
export type { CorsOptions } from "./server/cors.ts";
export {
  type Failure,
  type Observation,
  type Observer,
  observers,
  type RpcProtocol,
  type RpcStart,
  type Write,
} from "./service/observer.ts";

/** What a server serves, where and how. */
export interface ServerOptions {
  /** The store; whoever opened it closes it, after the server. */
  readonly store: EncodedStore;
  /** Where to listen. Default: 127.0.0.1, port 7410; port 0 takes a free one. */
  readonly listen?: { readonly host?: string; readonly port?: number };
  /** Limits that differ from the default ones; the store's own should be the same. */
  readonly limits?: Partial<Limits>;
  /** The certificate chain and its key, as PEM. Absent: no TLS. */
  readonly tls?: ServerTls;
  /** What each principal may take at once and over time; without `auth`, all callers are one. Its `burst` can't be less than a batch may hold. */
  readonly perPrincipal?: PrincipalLimits;
  /** Who may call, and what each may do. Absent: whoever reaches the server may do everything. */
  readonly auth?: AuthOptions;
  /** How long a unary call may take, in milliseconds; no more than 24 days. Default: 60 s. */
  readonly maxTimeoutMs?: number;
  /** How long `close` waits for calls in flight, in milliseconds; no more than 24 days. Default: 10 s. */
  readonly drainTimeoutMs?: number;
  /** The pages of other origins that may call. Default: none. */
  readonly cors?: CorsOptions | undefined;
  /** How many connections there may be, how long each may last, and what is held for those who take no answers. */
  readonly connections?: ConnectionLimits;
  /** How often a connection's peer is asked whether it lives, in milliseconds. Default: 20 s. */
  readonly pingIntervalMs?: number;
  /** Told of every failure that is no answer to a caller. Default: printed to stderr. */
  readonly onError?: (error: unknown) => void;
  /** Whether the hottest gRPC calls are answered in front of connect's handlers, with the same bytes. Default: true. */
  readonly fastPath?: boolean;
  /** Whether anybody may ask for the schema (gRPC's reflection protocol). Default: false. */
  readonly reflection?: boolean;
  /** Sees each RPC and each write: for logs, an audit, metrics, traces. `observers` makes one of several. Default: nobody. */
  readonly observer?: Observer | undefined;
}

/** Certificates, as PEM. */
export interface ServerTls {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** The authorities whose client certificates are believed; absent: callers are not asked for one. */
  readonly clientCa?: string | Buffer | undefined;
}

/** What can be changed while a server runs; what is absent becomes so. */
export type Reloadable = Pick<ServerOptions, "tls" | "auth" | "perPrincipal">;

/** A server that accepts connections. */
export interface RunningServer {
  /** Where it is, for clients: `http://127.0.0.1:7410`. */
  readonly url: string;
  /** The port, also where 0 was asked for. */
  readonly port: number;
  /**
   * Stops: accepts no more, ends watches and pipelines with SHUTTING_DOWN, lets unary calls finish, and after
   * `drainTimeoutMs` drops what is left. Can be called again; `now` drops everything at once.
   */
  close(options?: { readonly now?: boolean }): Promise<void>;
  /**
   * Takes new certificates for connections to come, and new rules about callers and new limits of each from the next call on;
   * no connection is lost. Whether there is TLS, and auth, and whether callers must or may show certificates, can't change.
   * Throws if it can't be done, and leaves all as it was.
   */
  reload(options: Reloadable): void;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How long a peer has, when the server stops, to take what was sent. */
const LAST_BYTES_MS = 250;
/** How long a peer has to take what was sent last on its connection. */
const FAREWELL_MS = 2_000;

/** Starts a server. Fails with the error of the operating system if it can't listen. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { store, listen = {}, tls, limits } = options;
  const maxTimeoutMs = timerMs(options.maxTimeoutMs ?? 60_000);
  const drainTimeoutMs = timerMs(options.drainTimeoutMs ?? 10_000);
  const { host = "127.0.0.1", port = 7410 } = listen;
  const pingIntervalMs = timerMs(options.pingIntervalMs ?? 20_000);
  const { onError = printError, observer } = options;

  const connectionLimits = connectionLimitsOf(options.connections);
  const { writeTimeoutMs } = connectionLimits;
  // A request that never ends, or an answer that nobody takes.
  const unaryIdleMs = timerMs(maxTimeoutMs + writeTimeoutMs);
  const { perPrincipal = {} } = options;
  const service = createService(store, {
    maxTimeoutMs,
    perPrincipal,
    ...(limits === undefined ? {} : { limits }),
  });
  const authenticator = new Authenticator(options.auth);
  const health = new Health(store);
  const common = [healthRoutes(health)];
  if (options.reflection === true) {
    common.push(reflectionRoutes([WorkflowStateService, HealthService], service.stopping));
  }
  const connections = new Connections({ ...connectionLimits, lastMs: unaryIdleMs }, service.stopping);
  const taking = { buffers: new Buffers(connectionLimits), writeTimeoutMs };
  const answer = httpHandler({
    connections,
    taking,
    common,
    identify: authenticator,
    probe: (path) => probeStatus(health, path),
    binary: binaryRoutes(service.rpcs, onError),
    json: jsonRoutes(service.rpcs, onError),
    observer,
    messageBytes: service.limits.requestBytes,
    unaryIdleMs,
    onError,
  });
  const forPages = options.cors === undefined ? answer : withCors(answer, options.cors);
  // Who may reach a loopback address without being asked is this machine, not the pages that it shows.
  const isOpen = options.auth === undefined && isLoopback(host);
  const onRequest = isOpen ? withLocalHosts(forPages, options.cors?.origins ?? []) : forPages;
  const http1 = new Http1({
    onRequest,
    connections,
    idleMs: unaryIdleMs,
    keepAliveMs: connectionLimits.maxIdleMs,
  });
  const http2 = new Http2({
    onRequest,
    ...(options.fastPath === false
      ? {}
      : {
          fastPath: fastPath(service, {
            identify: authenticator,
            maxTimeoutMs,
            unaryIdleMs,
            taking,
            onError,
            observer,
          }),
        }),
    maxConcurrentStreams: service.limits.streamsPerConnection,
    messageBytes: service.limits.requestBytes,
    connections,
    pingIntervalMs,
  });
  const receivers = {
    http1: (socket: Socket) => http1.accept(socket),
    http2: (socket: Socket) => http2.accept(socket),
  };

  const sockets = new Set<Socket>();
  const front = createFront(options, (socket) => {
    socket.setNoDelay(true);
    sniffProtocol(socket, receivers, HANDSHAKE_TIMEOUT_MS);
  });
  // Others are closed as they come: to hear them would cost more than they may.
  front.maxConnections = connectionLimits.maxConnections;
  front.on("connection", (socket: Socket) => {
    // Until somebody else listens; and an error always closes.
    socket.on("error", () => {});
    // A dead peer of HTTP/1.1 is found by the operating system, one of HTTP/2 by a ping.
    socket.setKeepAlive(true, pingIntervalMs);
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // All was said: a peer that doesn't close its side is not waited for long.
    socket.on("finish", () => setTimeout(() => socket.destroy(), FAREWELL_MS).unref());
  });

  const address = await listening(front, host, port).catch((error: unknown) => {
    health.stop();
    connections.stop();
    throw error;
  });
  front.on("error", onError);
  const scheme = tls === undefined ? "http" : "https";
  let closed: Promise<void> | undefined;
  const drop = (how: "destroy" | "destroySoon"): void => {
    for (const socket of sockets) {
      socket[how]();
    }
  };

  return {
    url: `${scheme}://${host.includes(":") ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    close({ now = false } = {}) {
      closed ??= stop();
      if (now) {
        drop("destroy");
      }
      return closed;
    },
    reload,
  };

  function reload(next: Reloadable): void {
    if (
      (next.tls === undefined) !== (tls === undefined) ||
      (next.auth === undefined) !== (options.auth === undefined)
    ) {
      throw new Error(
        "Whether there is TLS, and authentication, can't change while the server runs: restart it.",
      );
    }
    if (clientCertificates(next) !== clientCertificates(options)) {
      throw new Error(
        "Whether callers must, may or can't show certificates can't change while the server runs: restart it.",
      );
    }
    const context = next.tls && secureContext(next.tls);
    // What can fail does so before anything has changed.
    if (context !== undefined) createSecureContext(context);
    void new Authenticator(next.auth);
    service.reload(next.perPrincipal ?? {});
    authenticator.reload(next.auth);
    if (context !== undefined) (front as TlsServer).setSecureContext(context);
  }

  async function stop(): Promise<void> {
    const allClosed = new Promise<void>((resolve) => front.close(() => resolve()));
    const deadline = setTimeout(drop, drainTimeoutMs, "destroy");
    // First of all: whoever balances load must know before the first call is turned away.
    health.stop();
    connections.stop();
    const answered = Promise.all([http1.drain(), http2.drain()]);
    service.stop();
    await answered;
    // All is said. A peer that does not close its side of a connection is not waited for long.
    const farewell = setTimeout(drop, LAST_BYTES_MS, "destroySoon");
    await allClosed;
    clearTimeout(deadline);
    clearTimeout(farewell);
  }
}

/** Whether TLS asks callers for certificates, and lets those in who have none that is believed. */
function clientCertificates({ tls, auth }: Reloadable): "none" | "optional" | "required" {
  if (tls?.clientCa === undefined) return "none";
  // Where there are other credentials, a caller without a certificate may have those.
  return auth?.keys === undefined && auth?.jwt === undefined ? "required" : "optional";
}

/** What listens, and gives connections once they are ready to speak HTTP. */
function createFront(options: Reloadable, onReady: (socket: Socket) => void): Server {
  const { tls } = options;
  if (tls === undefined) {
    return createNetServer(onReady);
  }
  const certificates = clientCertificates(options);
  const front = createTlsServer(
    {
      ...secureContext(tls),
      ALPNProtocols: ["h2", "http/1.1"],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      requestCert: certificates !== "none",
      rejectUnauthorized: certificates === "required",
    },
    onReady,
  );
  // Who can't agree on TLS, there is nobody to tell. Node.js itself lets one stay that says nothing (test/attacks/slow.test.ts).
  front.on("tlsClientError", (_, socket) => socket.destroy());
  return front;
}

function secureContext({ cert, key, clientCa }: ServerTls): {
  cert: string | Buffer;
  key: string | Buffer;
  ca?: string | Buffer;
} {
  return { cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) };
}

function listening(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve(server.address() as AddressInfo);
    });
  });
}

function printError(error: unknown): void {
  console.error(error);
}
