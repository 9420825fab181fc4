/** The HTTP/2 side of a server. */
import {
  constants,
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Connection, Connections } from "./connections.ts";
import { InFlight } from "./in-flight.ts";

/**
 * Stands in front of the general handler for calls that are worth it. It takes a stream and returns true, or returns false
 * and leaves it as it is. One that it took it can still give to `general`, as long as nothing was answered.
 */
export type FastPath = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  general: () => void,
  connection: Connection | undefined,
) => boolean;

/** How HTTP/2 is served. */
export interface Http2Options {
  readonly onRequest: (request: Http2ServerRequest, response: Http2ServerResponse) => void;
  readonly fastPath?: FastPath;
  readonly connections: Connections;
  readonly maxConcurrentStreams: number;
  /** Bytes of a message, either way. */
  readonly messageBytes: number;
  /** After so long without an answer to a ping, in milliseconds, a peer is dead. */
  readonly pingIntervalMs: number;
}

/** How long a connection without calls stays after its peer was told to send no more, in milliseconds. */
const FAREWELL_MS = 200;
/** How long a caller may go on sending once it has been answered, in milliseconds. */
const LINGER_MS = 1_000;

/** Ends a stream that has been answered in full, and whose caller has not said that it is done. */
function endSoon(stream: ServerHttp2Stream): void {
  if (!stream.readableEnded) {
    // Not at once, or the trailers would be lost.
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LINGER_MS);
    stream.once("close", () => clearTimeout(timer));
  }
}

/** What Node's server calls with a new stream. */
type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => void;

/** Serves connections that it is given: it listens on no port of its own. */
export class Http2 {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #streams = new InFlight();
  readonly #connections: Connections;
  #draining = false;
  /** The socket whose session is being made. */
  #accepted: Socket | undefined;

  constructor(options: Http2Options) {
    const { onRequest, fastPath, connections, maxConcurrentStreams, messageBytes, pingIntervalMs } = options;
    this.#connections = connections;
    const server = createServer({
      maxSettings: 32,
      maxHeaderListPairs: 64,
      // As many streams as may be open, each with a request and an answer of the largest size. Less would refuse calls that
      // are within every limit, and without a word.
      maxSessionMemory: Math.ceil((2 * maxConcurrentStreams * messageBytes) / 1e6) + 8,
      maxOutstandingPings: 4,
      maxSessionInvalidFrames: 20,
      maxSessionRejectedStreams: 20,
      // Callers end watches and run into deadlines: that must not cost them the connection. A flood of resets does.
      streamResetBurst: 1_000,
      streamResetRate: 100,
      unknownProtocolTimeout: 2_000,
      settings: { maxConcurrentStreams, maxHeaderListSize: 16_384, enablePush: false },
    });
    server.on("request", onRequest);
    // The listener that makes a request of a stream: with ours in front, a stream can also be answered as it is.
    const [general] = server.listeners("stream") as [StreamListener];
    server.off("stream", general);
    server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => {
      // A peer may end a stream at any time: whoever works on it learns it from there.
      stream.on("error", () => {});
      const connection = connections.of(stream.session);
      this.#streams.add(stream, connection);
      stream.once("finish", () => endSoon(stream));
      const pass = (): void => general.call(server, stream, headers, ...rest);
      if (fastPath === undefined || !fastPath(stream, headers, pass, connection)) {
        pass();
      }
    });
    server.on("session", (session) => this.#watch(session, pingIntervalMs));
    // A peer that breaks the protocol loses its connection; there is nobody to tell.
    server.on("sessionError", () => {});
    this.#server = server;
  }

  accept(socket: Socket): void {
    this.#accepted = socket;
    this.#server.emit("connection", socket);
    this.#accepted = undefined;
  }

  /** Says GOAWAY: no more streams are taken; settles when those that are open have ended. */
  drain(): Promise<void> {
    this.#draining = true;
    for (const session of this.#sessions) {
      this.#connections.of(session)?.retire();
    }
    return this.#streams.none();
  }

  #watch(session: ServerHttp2Session, pingIntervalMs: number): void {
    // A session that has ended knows it no more, although the peer may keep it open.
    const socket = this.#accepted;
    const connection = this.#connections.add(session, {
      retire: () => retire(session),
      destroy: () => {
        session.destroy();
        socket?.destroy();
      },
    });
    if (this.#draining) connection.retire();
    this.#sessions.add(session);
    let answered = true;
    const pings = setInterval(() => {
      // Of a session that has ended nothing can be asked: its peer has not closed the connection.
      if (!answered || session.destroyed) {
        connection.endings.destroy();
        return;
      }
      answered = false;
      // False: as many pings as may be are under way, none of them answered.
      session.ping((error) => {
        answered = error === null;
      });
    }, pingIntervalMs);
    pings.unref();
    session.on("close", () => {
      clearInterval(pings);
      this.#sessions.delete(session);
      this.#connections.remove(session);
    });
  }
}

/** Says GOAWAY, and closes when the streams that were begun have ended. */
function retire(session: ServerHttp2Session): void {
  if (session.closed || session.destroyed) return;
  session.goaway();
  // Not at once: a call that is on its way would meet a closed socket, and its caller not learn that it was never begun.
  setTimeout(() => {
    if (!session.destroyed) session.close();
  }, FAREWELL_MS).unref();
}
