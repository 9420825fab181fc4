/** The one factory of stores: a URL says which, and a program changes it without another line. */
import type { TlsOptions } from "./node-transport.ts";
import { DEFAULT_LIMITS, type EncodedStore, type Limits, type WorkflowStateStore } from "./store.ts";
import type { Backend, BackendOptions } from "./stores/backend.ts";
import { checkOptions } from "./stores/check-options.ts";
import { jsonStore } from "./stores/json.ts";
import type { Keyring } from "./stores/keyring.ts";
import type { MemoryOptions } from "./stores/memory.ts";
import { type RetentionOptions, retentionOf } from "./stores/retention.ts";
import { invalidUrl, parseServiceUrl, type ServiceOptions } from "./stores/service-url.ts";
import { sqlitePath } from "./stores/sqlite-url.ts";

/** Options of {@link openStore}; each kind of store takes those that it knows. */
export interface OpenOptions extends ServiceOptions<"grpc" | "connect" | "grpc-web"> {
  /** The version of HTTP to speak to a service; absent: 2. gRPC needs 2. */
  readonly httpVersion?: "1.1" | "2" | undefined;
  /** Certificates for a service over https. */
  readonly tls?: TlsOptions | undefined;
  /** What a store in memory keeps, and for how long; counts before `retention`. */
  readonly memory?: MemoryOptions | undefined;
  /** How much of the past any store but a service keeps: a service has its own. */
  readonly retention?: RetentionOptions | undefined;
  /** The keys that values are encrypted with before they reach the store; absent: they are not. A service must allow larger ones. */
  readonly encryption?: Keyring | undefined;
}

const CHOICES = {
  protocol: ["grpc", "connect", "grpc-web"],
  codec: ["binary", "json"],
  httpVersion: ["1.1", "2"],
} as const;

/** What there is, for whoever wrote something else. */
const KINDS =
  "there are memory:, sqlite:./file, postgres://host/database, redis://host, redis+cluster://host,host and http(s)://host:port";

/**
 * Opens a store of workflow sessions:
 *
 * - `memory:` in this process, gone with it;
 * - `sqlite:./state.db`: a file;
 * - `postgres://user@host/database`: a PostgreSQL database;
 * - `redis://host`, `redis+cluster://host,host` (with TLS `rediss://`, `rediss+cluster://`): Redis or Valkey;
 * - `http://host:port`, `https://host:port`: a running service. Its query may say how to speak to it:
 *   `?protocol=grpc|connect|grpc-web&codec=binary|json&httpVersion=2|1.1`, by default gRPC in binary over HTTP/2.
 *
 * A database is connected to at once, and set up if it is new: fails with STORE_UNAVAILABLE if it can't be reached. A service
 * is not asked for until the first call. Fails with INVALID_REQUEST for any other URL, and for options that make no sense.
 *
 * @example
 * await using store = await openStore("sqlite:./state.db");
 * await store.setState("cart-1", "items", ["tea"]);
 */
export async function openStore(url: string, options: OpenOptions = {}): Promise<WorkflowStateStore> {
  const { limits, namespace } = options;
  return jsonStore(await openEncodedStore(url, options), { limits, namespace });
}

/** Opens the same store on encoded values: for the service. Its calls name the tenant themselves. */
export async function openEncodedStore(url: string, options: OpenOptions = {}): Promise<EncodedStore> {
  checkOptions(options);
  const { encryption } = options;
  if (encryption === undefined) return openPlain(url, options);
  const { encrypted, innerLimits } = await import("./stores/encrypted.ts");
  const own = schemeOf(url) === "memory" ? options.memory?.limits : undefined;
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits, ...own };
  const inner = innerLimits(limits);
  const store = await openPlain(url, {
    ...options,
    limits: inner,
    memory: { ...options.memory, limits: inner },
  });
  return encrypted(store, encryption, { limits });
}

/** Opens the database of a store, to move what it keeps; the values are as they lie there. Fails as {@link openStore} does. */
export async function openBackend(url: string, options: OpenOptions = {}): Promise<Backend> {
  checkOptions(options);
  const open = BACKENDS.get(schemeOf(url));
  if (open === undefined) {
    throw invalidUrl("Only a store in SQLite, PostgreSQL or Redis can be moved: its URL is wanted.");
  }
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  return open(url, { limits, ...retentionOf(options.retention) });
}

type OpenBackend = (url: string, options: BackendOptions) => Promise<Backend>;

// Loaded only when they are asked for: a program with a store in memory needs none of these drivers.
const openPostgresAt: OpenBackend = async (url, options) =>
  (await import("./stores/postgres.ts")).openPostgres(url, options);
const openRedisAt: OpenBackend = async (url, options) =>
  (await import("./stores/redis.ts")).openRedis(url, options);
const openSqliteAt: OpenBackend = async (url, options) => {
  const path = sqlitePath(url);
  return (await import("./stores/sqlite.ts")).openSqlite(path, options);
};

/** What opens the database of each scheme. */
const BACKENDS: ReadonlyMap<string, OpenBackend> = new Map([
  ["sqlite", openSqliteAt],
  ["postgres", openPostgresAt],
  ["postgresql", openPostgresAt],
  ["redis", openRedisAt],
  ["rediss", openRedisAt],
  ["redis+cluster", openRedisAt],
  ["rediss+cluster", openRedisAt],
]);

/** The scheme of a URL, in lower case; `""`: it has none. Not by `URL`, which refuses lists of hosts and moves paths. */
function schemeOf(url: unknown): string {
  return (/^([a-z][a-z0-9+]*):/i.exec(typeof url === "string" ? url : "")?.[1] ?? "").toLowerCase();
}

async function openPlain(url: string, options: OpenOptions): Promise<EncodedStore> {
  const scheme = schemeOf(url);
  if (scheme === "memory") {
    if (!/^memory:(\/\/)?$/i.test(url)) throw invalidUrl("The URL of a store in memory is just memory:");
    return openMemory(options);
  }
  if ((scheme === "http" || scheme === "https") && URL.canParse(url))
    return openService(new URL(url), options);
  // The URL is not repeated: it may hold a password.
  if (!BACKENDS.has(scheme)) throw invalidUrl(`This is no URL of a store; ${KINDS}.`);
  const backend = await openBackend(url, options);
  const { durableStore } = await import("./stores/durable.ts");
  return durableStore(backend, { limits: { ...DEFAULT_LIMITS, ...options.limits } });
}

async function openMemory({ limits, memory, retention }: OpenOptions): Promise<EncodedStore> {
  const { memoryStore } = await import("./stores/memory.ts");
  return memoryStore({
    ...memory,
    ...retentionOf(memory, retention),
    limits: { ...limits, ...memory?.limits },
  });
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
