/** The one factory of stores: a URL says which, and a program changes it without another line. */
import type { TlsOptions } from "./node-transport.ts";
import type { EncodedStore, WorkflowStateStore } from "./store.ts";
import { checkOptions } from "./stores/check-options.ts";
import { jsonStore } from "./stores/json.ts";
import type { MemoryOptions } from "./stores/memory.ts";
import { invalidUrl, parseServiceUrl, type ServiceOptions } from "./stores/service-url.ts";

/** Options of {@link openStore}; each kind of store takes those that it knows. */
export interface OpenOptions extends ServiceOptions<"grpc" | "connect" | "grpc-web"> {
  /** The version of HTTP to speak to a service; absent: 2. gRPC needs 2. */
  readonly httpVersion?: "1.1" | "2" | undefined;
  /** Certificates for a service over https. */
  readonly tls?: TlsOptions | undefined;
  /** What a store in memory keeps, and for how long. */
  readonly memory?: MemoryOptions | undefined;
}

/** Schemes of stores that are planned. */
const PLANNED: ReadonlySet<string> = new Set([
  "sqlite:",
  "postgres:",
  "postgresql:",
  "redis:",
  "rediss:",
  "redis+cluster:",
]);

const CHOICES = {
  protocol: ["grpc", "connect", "grpc-web"],
  codec: ["binary", "json"],
  httpVersion: ["1.1", "2"],
} as const;

/**
 * Opens a store of workflow sessions:
 *
 * - `memory:` in this process, gone with it;
 * - `http://host:port`, `https://host:port`: a running service. Its query may say how to speak to it:
 *   `?protocol=grpc|connect|grpc-web&codec=binary|json&httpVersion=2|1.1`, by default gRPC in binary over HTTP/2.
 *
 * A service is not asked for until the first call. Fails with INVALID_REQUEST for any other URL, and for options that make
 * no sense.
 *
 * @example
 * await using store = await openStore("memory:");
 * await store.setState("cart-1", "items", ["tea"]);
 */
export async function openStore(url: string, options: OpenOptions = {}): Promise<WorkflowStateStore> {
  const { limits, namespace } = options;
  return jsonStore(await openEncodedStore(url, options), { limits, namespace });
}

/** Opens the same store on encoded values: for the service. Its calls name the tenant themselves. */
export async function openEncodedStore(url: string, options: OpenOptions = {}): Promise<EncodedStore> {
  checkOptions(options);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  switch (parsed?.protocol) {
    case "memory:":
      if (!/^memory:(\/\/)?$/.test(parsed.href))
        throw invalidUrl("The URL of a store in memory is just memory:");
      return openMemory(options);
    case "http:":
    case "https:":
      return openService(parsed, options);
    default:
      // The URL is not repeated: it may hold a password.
      if (parsed !== undefined && PLANNED.has(parsed.protocol)) {
        throw invalidUrl(
          `A store at ${parsed.protocol} is not in this version; there are memory: and http(s)://host:port.`,
        );
      }
      throw invalidUrl("This is no URL of a store; there are memory: and http(s)://host:port.");
  }
}

async function openMemory({ limits, memory }: OpenOptions): Promise<EncodedStore> {
  const { memoryStore } = await import("./stores/memory.ts");
  return memoryStore({ ...memory, limits: { ...limits, ...memory?.limits } });
}

async function openService(url: URL, options: OpenOptions): Promise<EncodedStore> {
  const { baseUrl, chosen } = parseServiceUrl(url, CHOICES, options);
  const { protocol = "grpc", codec = "binary", httpVersion = "2" } = chosen;
  if (protocol === "grpc" && httpVersion !== "2") throw invalidUrl("gRPC needs HTTP/2.", "httpVersion");
  // Only now: a program with a store in memory need not load them.
  const [{ nodeTransport }, { remoteStore }] = await Promise.all([
    import("./node-transport.ts"),
    import("./stores/remote.ts"),
  ]);
  const { transport, duplex, disconnect } = nodeTransport(baseUrl, {
    protocol,
    codec,
    httpVersion,
    tls: options.tls ?? {},
  });
  const { headers, timeoutMs, retry, silenceMs } = options;
  return remoteStore(transport, { codec, headers, timeoutMs, retry, silenceMs, duplex, disconnect });
}
