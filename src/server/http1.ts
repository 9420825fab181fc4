/** The HTTP/1.1 side of a server. */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Connection, Connections } from "./connections.ts";
import { InFlight } from "./in-flight.ts";

/** How HTTP/1.1 is served. */
export interface Http1Options {
  readonly onRequest: RequestListener;
  readonly connections: Connections;
  /** How long nothing may happen on a connection with a request, in milliseconds. */
  readonly idleMs: number;
  /** How long nothing may happen on a connection without one; Infinity: no limit. */
  readonly keepAliveMs: number;
}

/** Answers to connections that don't speak HTTP/1.1, or too slowly, or with too many headers. */
const STATUS_LINES: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
};

/** Requests that may wait for the answers to those before them on a connection. */
const MOST_WAITING = 100;

/** Serves connections that it is given: it listens on no port of its own. */
export class Http1 {
  readonly #server: Server;
  readonly #onRequest: RequestListener;
  readonly #connections: Connections;
  readonly #requests = new InFlight();
  /** By the sockets on which a request is being answered: those that came behind it. */
  readonly #behind: Map<Socket, (readonly [IncomingMessage, ServerResponse])[]> = new Map();
  #draining = false;

  constructor({ onRequest, connections, idleMs, keepAliveMs }: Http1Options) {
    this.#onRequest = onRequest;
    this.#connections = connections;
    const server = createServer({
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16_384,
      // 0: no limit.
      keepAliveTimeout: Number.isFinite(keepAliveMs) ? keepAliveMs : 0,
    });
    server.timeout = idleMs;
    server.maxHeadersCount = 64;
    server.on("request", (request, response) => this.#take(request, response));
    server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      if (!socket.writable) {
        socket.destroy();
        return;
      }
      const status = STATUS_LINES[error.code ?? ""] ?? "400 Bad Request";
      const answer = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
      socket.end(answer, () => socket.destroy());
    });
    // Not listening, it would not look after its timeouts: they begin with this event.
    server.emit("listening");
    this.#server = server;
  }

  accept(socket: Socket): void {
    const connection = this.#connections.add(socket, {
      // Its next answer says that it is the last: to close now could meet a request that is on its way.
      retire: () => {},
      destroy: () => socket.destroy(),
    });
    if (this.#draining) connection.retire();
    socket.once("close", () => {
      this.#connections.remove(socket);
      this.#behind.delete(socket);
    });
    this.#server.emit("connection", socket);
  }

  /** Takes no more connections and closes those that are idle; settles when the requests under way are answered. */
  drain(): Promise<void> {
    this.#draining = true;
    this.#server.close();
    return this.#requests.none();
  }

  /**
   * Answers one request of a connection after the other, as HTTP/1.1 wants it; so many of them at once cost no more than
   * one, and whoever takes no answer gets none to the others.
   */
  #take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // One that waits, or is answered before it is read, may be broken off with nobody listening.
    request.on("error", () => {});
    const behind = this.#behind.get(socket);
    if (behind === undefined) {
      this.#behind.set(socket, []);
      this.#begin(request, response);
      return;
    }
    behind.push([request, response]);
    if (behind.length > MOST_WAITING) socket.destroy();
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection: Connection | undefined = this.#connections.of(socket);
    this.#requests.add(response, connection);
    if (this.#draining || connection?.retired === true) response.shouldKeepAlive = false;
    response.once("close", () => this.#next(socket));
    this.#onRequest(request, response);
  }

  #next(socket: Socket): void {
    const next = this.#behind.get(socket)?.shift();
    // Not writable: what was answered last said that it is the last.
    if (next === undefined || !socket.writable) this.#behind.delete(socket);
    else this.#begin(...next);
  }
}
