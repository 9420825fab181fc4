/** A store behind a server behind a network that can break: for what clients do about it. */
import { afterEach, beforeEach } from "vitest";
import { type RunningServer, startServer } from "../../src/server.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { type MemoryOptions, type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { type RemoteOptions, remoteStore } from "../../src/stores/remote.ts";
import { TcpProxy } from "./tcp-proxy.ts";
import { transportTo } from "./wires.ts";

/** Short pauses between attempts. */
export const QUICK = { baseMs: 5, maxMs: 20 } as const;

/** What a test has of it; everything is fresh for each test. */
export class Network {
  memory!: MemoryStore;
  /** The store behind the server, without the network. */
  direct!: WorkflowStateStore;
  server!: RunningServer;
  proxy!: TcpProxy;
  readonly #opened: WorkflowStateStore[] = [];

  /** A remote store through the proxy, over gRPC or, over HTTP/1.1, Connect. The test's end closes it. */
  connect(options: RemoteOptions = {}, httpVersion: "1.1" | "2" = "2"): WorkflowStateStore {
    const duplex = httpVersion === "2";
    const protocol = duplex ? "grpc" : "connect";
    const { transport, disconnect } = transportTo(this.proxy.url, { protocol, codec: "binary", httpVersion });
    const store = jsonStore(remoteStore(transport, { retry: QUICK, disconnect, duplex, ...options }));
    this.#opened.push(store);
    return store;
  }

  /** Waits until something holds of the store behind the server. */
  async until(holds: (direct: WorkflowStateStore) => Promise<boolean>): Promise<void> {
    while (!(await holds(this.direct))) await sleep(1);
  }

  async begin(options: MemoryOptions): Promise<void> {
    this.memory = memoryStore(options);
    this.direct = jsonStore(this.memory);
    this.server = await startServer({ store: this.memory, listen: { port: 0 } });
    this.proxy = await TcpProxy.start(this.server.port);
  }

  async end(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((store) => store.close()));
    await this.proxy.refuse();
    await this.server.close({ now: true });
    await this.memory.close();
  }
}

/** A network for each test of a file. */
export function network(options: MemoryOptions = {}): Network {
  const net = new Network();
  beforeEach(() => net.begin(options));
  afterEach(() => net.end());
  return net;
}

/** Waits so long. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
