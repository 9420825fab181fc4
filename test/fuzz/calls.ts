/** Calls as bytes: a gRPC request over HTTP/2, and a request of Connect over HTTP/1.1, with all of the answer. */
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import { rpcPath } from "../support/attack-http2.ts";

/** What a gRPC call was answered. */
export interface GrpcAnswer {
  readonly httpStatus: number;
  /** gRPC's; -1: none came. */
  readonly status: number;
  readonly message: string;
  /** `grpc-status-details-bin`. */
  readonly details: string;
  /** The frames of the answer, in hexadecimal; of a stream that goes on, what came first. */
  readonly body: string;
}

/** How long an answer is waited for. */
const PATIENCE_MS = 20_000;
/** How long a stream that may say nothing is listened to. */
const LISTEN_MS = 20;

/** A connection that is made anew when it was lost. */
export class GrpcCaller {
  readonly #port: number;
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Makes a call. Of WatchSession and WatchSessions only what comes first is taken, and the call then cancelled. */
  call(rpc: string, body: Uint8Array, headers: OutgoingHttpHeaders = {}): Promise<GrpcAnswer> {
    const stream = this.#connected().request({
      ":method": "POST",
      ":path": rpcPath(rpc),
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    return new Promise((resolve, reject) => {
      const answer = { httpStatus: 0, status: -1, message: "", details: "", body: "" };
      const note = (got: Readonly<Record<string, unknown>>): void => {
        answer.httpStatus ||= Number(got[":status"] ?? 0);
        if (got["grpc-status"] === undefined) return;
        answer.status = Number(got["grpc-status"]);
        answer.message = String(got["grpc-message"] ?? "");
        answer.details = String(got["grpc-status-details-bin"] ?? "");
      };
      const isWatch = rpc.startsWith("Watch");
      const late = setTimeout(() => {
        stream.close();
        reject(new Error(`${rpc} is not answered within ${PATIENCE_MS} ms.`));
      }, PATIENCE_MS);
      const listening = rpc === "WatchSessions" ? setTimeout(() => stream.close(), LISTEN_MS) : undefined;
      stream
        .on("response", note)
        .on("trailers", note)
        .on("error", () => {});
      stream.on("data", (chunk: Buffer) => {
        answer.body += chunk.toString("hex");
        if (isWatch) stream.close();
      });
      stream.on("close", () => {
        clearTimeout(late);
        clearTimeout(listening);
        resolve(answer);
      });
      stream.end(body);
    });
  }

  close(): void {
    this.#session?.destroy();
  }

  #connected(): ClientHttp2Session {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(`http://127.0.0.1:${this.#port}`);
      this.#session.on("error", () => {});
    }
    return this.#session;
  }
}

/** What a request of Connect was answered. */
export interface ConnectAnswer {
  readonly status: number;
  readonly text: string;
  /** Connect's code of an error. */
  readonly code: string | undefined;
}

/** A unary call by Connect. */
export async function connectCall(
  port: number,
  rpc: string,
  body: Uint8Array | string,
  type = "application/json",
): Promise<ConnectAnswer> {
  const response = await fetch(`http://127.0.0.1:${port}${rpcPath(rpc)}`, {
    method: "POST",
    headers: { "content-type": type },
    body: typeof body === "string" ? body : new Uint8Array(body),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const text = await response.text();
  const code = response.ok ? undefined : (JSON.parse(text) as { readonly code?: string }).code;
  return { status: response.status, text, code };
}
