/** The stores that the suites run on: one in memory, and the same behind a server, over each protocol and codec. */
import { type NodeTransport, nodeTransport } from "../../src/node-transport.ts";
import { type OpenOptions, openStore } from "../../src/open.ts";
import { startServer } from "../../src/server.ts";
import type { EncodedStore, Limits, WorkflowStateStore } from "../../src/store.ts";
import { type MemoryOptions, type MemoryStore, memoryStore } from "../../src/stores/memory.ts";

/** A memory store with a clock that stands still until it is moved. Its sweeper goes by the real one, so reads come first. */
export class ClockedMemory {
  readonly store: MemoryStore;
  #time = Date.UTC(2026, 0, 1);

  constructor(options: MemoryOptions) {
    this.store = memoryStore({ ...options, now: () => this.#time });
  }

  now(): number {
    return this.#time;
  }

  async advance(ms: number): Promise<void> {
    this.#time += ms;
  }
}

/** How to reach a server. */
export interface Wire {
  readonly protocol: "grpc" | "grpc-web" | "connect";
  readonly codec: "binary" | "json";
  readonly httpVersion: "1.1" | "2";
}

/** Every protocol with every codec; those that can, over HTTP/1.1 too. */
export const WIRES: readonly Wire[] = [
  { protocol: "grpc", codec: "binary", httpVersion: "2" },
  { protocol: "grpc", codec: "json", httpVersion: "2" },
  { protocol: "connect", codec: "binary", httpVersion: "2" },
  { protocol: "connect", codec: "json", httpVersion: "1.1" },
  { protocol: "grpc-web", codec: "binary", httpVersion: "1.1" },
  { protocol: "grpc-web", codec: "json", httpVersion: "2" },
];

/** A wire's name in the output of tests. */
export function nameOf({ protocol, codec, httpVersion }: Wire): string {
  return `${protocol} ${codec} over HTTP/${httpVersion}`;
}

/** A transport to a server, with what belongs to it. */
export function transportTo(url: string, wire: Wire): NodeTransport {
  return nodeTransport(url, { ...wire, tls: {} });
}

/** Serves a store on a free port of this machine, until `close`. */
export async function serve(
  store: EncodedStore,
  limits: Partial<Limits> = {},
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = await startServer({ store, limits, listen: { host: "127.0.0.1", port: 0 } });
  return { url: server.url, close: () => server.close({ now: true }) };
}

/** A store behind a server, over a given wire. */
export function openRemote(url: string, wire: Wire, options: OpenOptions = {}): Promise<WorkflowStateStore> {
  return openStore(url, { ...wire, ...options });
}
