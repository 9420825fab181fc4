/** How a program on Node.js reaches a service: a transport over connections that can be closed. */
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import type { Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { jsonAnswers } from "./stores/remote-json.ts";

/** What a connection over TLS is made with, where the system's own certificates don't do; each as PEM. */
export interface TlsOptions {
  /** The authorities to trust. */
  readonly ca?: string | undefined;
  /** The client's own certificate chain. */
  readonly cert?: string | undefined;
  /** The key of `cert`. */
  readonly key?: string | undefined;
}

/** How to speak to a service. */
export interface NodeTransportOptions {
  readonly protocol: "grpc" | "connect" | "grpc-web";
  readonly codec: "binary" | "json";
  /** gRPC needs 2. */
  readonly httpVersion: "1.1" | "2";
  readonly tls: TlsOptions;
}

/** A transport, and what belongs to it. */
export interface NodeTransport {
  readonly transport: Transport;
  /** Whether it can send and receive at once. */
  readonly duplex: boolean;
  /** Closes its connections. */
  disconnect(): void;
}

/** While calls are open a connection is asked whether it lives: a dead one is found in these two times together. */
const PING_INTERVAL_MS = 10_000;
const PING_TIMEOUT_MS = 5_000;
/** More than any answer of a service: a bound against what is none. */
const READ_MAX_BYTES = 256 << 20;

/** Makes a transport; it connects when it is first used. */
export function nodeTransport(
  baseUrl: string,
  { protocol, codec, httpVersion, tls }: NodeTransportOptions,
): NodeTransport {
  const options = {
    baseUrl,
    useBinaryFormat: codec === "binary",
    readMaxBytes: READ_MAX_BYTES,
    ...(codec === "json" && jsonAnswers),
  };
  if (httpVersion === "2") {
    const pings = { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS };
    const sessionManager = new Http2SessionManager(baseUrl, pings, { ...tls });
    const create = {
      grpc: createGrpcTransport,
      connect: createConnectTransport,
      "grpc-web": createGrpcWebTransport,
    };
    return {
      transport: create[protocol]({ ...options, httpVersion: "2", sessionManager }),
      duplex: true,
      disconnect: () => sessionManager.abort(),
    };
  }
  const agent = baseUrl.startsWith("https:")
    ? new TlsAgent({ keepAlive: true, ...tls })
    : new Agent({ keepAlive: true });
  const create = protocol === "grpc-web" ? createGrpcWebTransport : createConnectTransport;
  return {
    transport: create({ ...options, httpVersion: "1.1", nodeOptions: { agent } }),
    duplex: false,
    disconnect: () => agent.destroy(),
  };
}
