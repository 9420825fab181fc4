/** A TCP proxy in front of a server, to break connections in the ways that networks do. */
import { type AddressInfo, createServer, connect as openSocket, type Server, type Socket } from "node:net";

/** What happens to bytes in one direction. */
export type Flow = "pass" | "swallow";

/** Forwards connections to a port of this machine, as long as nothing else is asked of it. */
export class TcpProxy {
  readonly port: number;
  /** What happens to what clients send. */
  requests: Flow = "pass";
  /** What happens to what the server sends. */
  replies: Flow = "pass";
  /** Connections that were made so far. */
  connections = 0;
  /** The server's port; changes count for new connections. */
  target: number;
  readonly #sockets: Set<Socket> = new Set();
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

  /** Takes connections again, on the same port. */
  async accept(): Promise<void> {
    this.requests = this.replies = "pass";
    if (this.#server !== undefined) return;
    this.#server = await listen(this.port);
    this.#accept(this.#server);
  }

  #accept(server: Server): void {
    server.on("connection", (client) => {
      this.connections += 1;
      const upstream = openSocket(this.target, "127.0.0.1");
      this.#join(client, upstream, () => this.requests);
      this.#join(upstream, client, () => this.replies);
    });
  }

  #join(from: Socket, to: Socket, flow: () => Flow): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on("data", (bytes) => {
      if (flow() === "pass" && to.writable) to.write(bytes);
    });
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
