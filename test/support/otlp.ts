/** A collector: takes what is sent by OTLP over HTTP, as JSON or protobuf, and reads the spans of it. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { onTestFinished } from "vitest";

/** A span as it was sent. */
export interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
}

/** What the collector got. */
export interface Collector {
  readonly url: string;
  readonly requests: {
    readonly path: string;
    readonly headers: IncomingHttpHeaders;
    readonly body: Buffer;
  }[];
  /** The spans of all requests. */
  spans(): SentSpan[];
}

/** Starts a collector for the test that runs. `answers`: false has it take requests and never answer. */
export async function collecting({
  answers = true,
}: {
  readonly answers?: boolean;
} = {}): Promise<Collector> {
  const requests: Collector["requests"] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const sent = Buffer.concat(chunks);
      const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
      requests.push({ path: request.url ?? "", headers: request.headers, body });
      if (answers) response.writeHead(200, { "content-type": request.headers["content-type"] }).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    spans: () =>
      requests
        .filter(({ path }) => path === "/v1/traces")
        .flatMap(({ headers, body }) =>
          headers["content-type"] === "application/json" ? jsonSpans(body) : binarySpans(body),
        ),
  };
}

interface JsonTraces {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly { readonly spans: readonly Partial<SentSpan>[] }[];
  }[];
}

function jsonSpans(body: Buffer): SentSpan[] {
  const { resourceSpans } = JSON.parse(body.toString()) as JsonTraces;
  return resourceSpans
    .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
    .map(({ traceId = "", spanId = "", parentSpanId = "", name = "" }) => ({
      traceId,
      spanId,
      parentSpanId,
      name,
    }));
}

/** ExportTraceServiceRequest.resource_spans (1), .scope_spans (2), .spans (2), and of a span the first members. */
function binarySpans(body: Buffer): SentSpan[] {
  return membersOf(body, 1)
    .flatMap((resource) => membersOf(resource, 2))
    .flatMap((scope) => membersOf(scope, 2))
    .map((span) => {
      const hex = (field: number): string => Buffer.from(membersOf(span, field)[0] ?? []).toString("hex");
      const name = Buffer.from(membersOf(span, 5)[0] ?? []).toString();
      return { traceId: hex(1), spanId: hex(2), parentSpanId: hex(4), name };
    });
}

/** The bytes of each field of a number. */
function membersOf(message: Uint8Array, field: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === field && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type);
  }
  return found;
}
