/** Stores behind a server: every protocol and codec, and how to serve a store and reach it. */
import { type NodeTransport, nodeTransport } from "../../src/node-transport.ts";
import { type OpenOptions, openStore } from "../../src/open.ts";
import { startServer } from "../../src/server.ts";
import type { EncodedStore, Limits, WorkflowStateStore } from "../../src/store.ts";

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
