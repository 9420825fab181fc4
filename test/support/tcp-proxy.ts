/** A TCP proxy in front of a server, to break connections in the ways that networks do. */
import { type AddressInfo, createServer, connect as openSocket, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What happens to bytes in one direction: they pass; they vanish; or they vanish and so does all that follows on their
 * connection, in both directions and for ever, although it stays open (a black hole).
 */
export type Flow = "pass" | "swallow" | "black hole";

/** Forwards connections to a port of this machine, as long as nothing else is asked of it. */
export class TcpProxy {
  readonly port: number;
  /** What happens to what clients send. */
  requests: Flow = "pass";
  /** What happens to what the server sends. */
  replies: Flow = "pass";
  /** How much later than it was sent everything arrives, in each direction. */
  delayMs = 0;
  /** How much passes in each direction of each connection. */
  bytesPerSecond: number = Number.POSITIVE_INFINITY;
  /** Connections that were made so far. */
  connections = 0;
  /** Connections that broke by `breakNext`. */
  broken = 0;
  /** The server's port; changes count for new connections. */
  target: number;
  readonly #sockets: Set<Socket> = new Set();
  readonly #pairs: Set<{ readonly client: Socket; readonly upstream: Socket }> = new Set();
  #next: "before the reply" | "after the request" | undefined;
  #server: Server | undefined;

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.target = target;
    this.#accept(server);
  }

  /** Starts a proxy on a free port. */
  static async start(target: number): Promise<TcpProxy> {
    return new TcpProxy(await listen(0), target);
  }

  /** Where clients connect to. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks all connections, without a word to either side. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Breaks one connection: the first that gets a reply, in its place; or the first that sends something, once that is passed on. */
  breakNext(when: "before the reply" | "after the request"): void {
    this.#next = when;
  }

  /** Tells one side of all connections that the other will send no more, although the other knows nothing of it. */
  halfClose(side: "client" | "server"): void {
    for (const { client, upstream } of this.#pairs) (side === "client" ? client : upstream).end();
  }

  /** Breaks all connections and refuses new ones, until `accept`. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = new Promise((resolve) =>
      server === undefined ? resolve(undefined) : server.close(resolve),
    );
    this.cut();
    await closed;
  }

  /** Passes everything again, for connections that there are and for new ones, on the same port. */
  async accept(): Promise<void> {
    this.requests = this.replies = "pass";
    this.delayMs = 0;
    this.bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#next = undefined;
    if (this.#server !== undefined) return;
    this.#server = await listen(this.port);
    this.#accept(this.#server);
  }

  #accept(server: Server): void {
    server.on("connection", (client) => {
      this.connections += 1;
      const upstream = openSocket({ port: this.target, host: "127.0.0.1", allowHalfOpen: true });
      const pair = { client, upstream };
      this.#pairs.add(pair);
      let lost = false;
      const passes = (flow: Flow): boolean => {
        lost ||= flow === "black hole";
        return flow === "pass" && !lost;
      };
      this.#join(client, upstream, async (bytes) => {
        if (!passes(this.requests)) return;
        const last = this.#take("after the request");
        await pass(upstream, bytes);
        // Gently, towards the server: a reset could throw away what it has not read yet.
        if (last) client.resetAndDestroy();
      });
      this.#join(upstream, client, async (bytes) => {
        if (!passes(this.replies)) return;
        if (!this.#take("before the reply")) return pass(client, bytes);
        client.resetAndDestroy();
        upstream.resetAndDestroy();
      });
      client.once("close", () => this.#pairs.delete(pair));
    });
  }

  #take(when: "before the reply" | "after the request"): boolean {
    if (this.#next !== when) return false;
    this.#next = undefined;
    this.broken += 1;
    return true;
  }

  #join(from: Socket, to: Socket, forward: (bytes: Buffer) => Promise<void> | undefined): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    // One after the other: what is delayed must not be overtaken.
    let before = Promise.resolve();
    from.on("data", (bytes) => {
      const due = performance.now() + this.delayMs;
      const rate = this.bytesPerSecond;
      if (this.delayMs === 0 && rate === Number.POSITIVE_INFINITY) {
        before = before.then(() => forward(bytes));
        return;
      }
      // Only a slow line stops the sender; over a long one much is under way at once.
      if (rate !== Number.POSITIVE_INFINITY) from.pause();
      before = before.then(async () => {
        const waitMs = due - performance.now() + (bytes.length / rate) * 1_000;
        if (waitMs > 0) await sleep(waitMs);
        await forward(bytes);
        from.resume();
      });
    });
    from.on("error", () => {});
    from.on("end", () => {
      before = before.then(() => {
        to.end();
      });
    });
    from.on("close", (failed) => {
      this.#sockets.delete(from);
      if (failed) to.resetAndDestroy();
      else before = before.then(() => end(to));
    });
  }
}

/** Passes bytes on; settles when they are on their way. */
function pass(to: Socket, bytes: Buffer): Promise<void> | undefined {
  if (!to.writable) return undefined;
  return new Promise((resolve) => to.write(bytes, () => resolve()));
}

/** Ends a socket when what was passed to it is on its way. */
function end(socket: Socket): void {
  if (socket.destroyed) return;
  socket.end(() => socket.destroy());
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true });
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
