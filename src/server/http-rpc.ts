/** An RPC that begins, as observers see it, from the request that asks for it. */
import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import type { RpcProtocol, RpcStart } from "../service/observer.ts";

/** A method that is served. */
export interface ServedMethod {
  readonly service: string;
  readonly method: string;
  readonly kind: RpcStart["kind"];
}

/** Reads nothing of a request before somebody asks. */
export class HttpRpc implements RpcStart {
  readonly service: string;
  readonly method: string;
  readonly kind: RpcStart["kind"];
  readonly protocol: RpcProtocol;
  readonly #headers: IncomingHttpHeaders;
  readonly #socket: Socket | undefined;

  constructor(served: ServedMethod, headers: IncomingHttpHeaders, socket: Socket | undefined) {
    this.service = served.service;
    this.method = served.method;
    this.kind = served.kind;
    this.protocol = protocolOf(headers["content-type"]);
    this.#headers = headers;
    this.#socket = socket;
  }

  header(name: string): string | undefined {
    const value = Object.hasOwn(this.#headers, name) ? this.#headers[name] : undefined;
    return Array.isArray(value) ? value.join(", ") : value;
  }

  peer(): { readonly address: string; readonly port: number } | undefined {
    try {
      const { remoteAddress: address, remotePort: port } = this.#socket ?? {};
      return address === undefined || port === undefined ? undefined : { address, port };
    } catch {
      // What stands for the socket of an HTTP/2 session throws once that has ended.
      return undefined;
    }
  }
}

function protocolOf(contentType = ""): RpcProtocol {
  if (!/^application\/grpc/i.test(contentType)) return "connect";
  return /^application\/grpc-web/i.test(contentType) ? "grpc-web" : "grpc";
}
