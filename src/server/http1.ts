/** The HTTP/1.1 side of a server. */
import { createServer, type RequestListener, type Server } from "node:http";
import type { Socket } from "node:net";
import { InFlight } from "./in-flight.ts";

/** How HTTP/1.1 is served. */
export interface Http1Options {
  readonly onRequest: RequestListener;
  /** How long nothing may happen on a connection, in milliseconds. */
  readonly idleMs: number;
}

/** Answers to connections that don't speak HTTP/1.1, or too slowly, or with too many headers. */
const STATUS_LINES: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
};

/** Serves connections that it is given: it listens on no port of its own. */
export class Http1 {
  readonly #server: Server;
  readonly #requests = new InFlight();

  constructor({ onRequest, idleMs }: Http1Options) {
    const server = createServer({
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16_384,
    });
    server.timeout = idleMs;
    server.maxHeadersCount = 64;
    server.on("request", (request, response) => {
      this.#requests.add(response);
      onRequest(request, response);
    });
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
    this.#server.emit("connection", socket);
  }

  /** Takes no more connections and closes those that are idle; settles when the requests under way are answered. */
  drain(): Promise<void> {
    this.#server.close();
    return this.#requests.none();
  }
}
