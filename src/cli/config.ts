/** The settings of `workflow-state serve`: a config file under what options and the environment say. */
import { readFileSync } from "node:fs";
import { BlockList, isIP } from "node:net";
import { dirname, resolve } from "node:path";
import { DEFAULT_LIMITS, type Limits } from "../store.ts";
import type { MemoryOptions } from "../stores/memory.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it; commander has put the option first. */
export interface ServeOptions {
  readonly config?: string;
  readonly listen?: string;
  readonly store?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly drainTimeout?: string;
  readonly insecureNoAuth?: boolean;
}

/** What to serve, and where. */
export interface Settings {
  readonly listen: { readonly host: string; readonly port: number };
  readonly store: string;
  readonly tls?: { readonly key: Buffer; readonly cert: Buffer };
  readonly drainTimeoutMs: number;
  readonly limits: Partial<Limits>;
  /** What a store in memory keeps, and for how long. */
  readonly memory: MemorySettings;
}

/** What a config file can say of a store in memory: the numbers of its options. */
type MemorySettings = Pick<MemoryOptions, "history" | "historyAgeMs" | "requestRetentionMs" | "maxBytes">;

/** The members of a config file and the type of each. */
const CONFIG_TYPES = {
  listen: "string",
  store: "string",
  tlsKey: "string",
  tlsCert: "string",
  drainTimeout: "string",
  insecureNoAuth: "boolean",
  limits: "object",
  memory: "object",
} as const;

interface ConfigFile extends Omit<ServeOptions, "config"> {
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly memory?: Readonly<Record<string, unknown>>;
}

/** Puts the settings together. Fails with a {@link UsageError}. */
export function settingsOf(options: ServeOptions): Settings {
  const file = options.config === undefined ? {} : readConfig(options.config);
  const given = { ...file, ...options };
  const listen = parseListen(given.listen ?? "127.0.0.1:7410");
  if (!isLoopback(listen.host) && given.insecureNoAuth !== true) {
    throw new UsageError(
      `won't listen on ${listen.host}: without authentication whoever reaches that address could read and change all state; if that is meant, add --insecure-no-auth`,
    );
  }
  const tls = readTls(given.tlsKey, given.tlsCert);
  return {
    listen,
    store: given.store ?? "memory:",
    ...(tls === undefined ? {} : { tls }),
    drainTimeoutMs: parseDuration(given.drainTimeout ?? "10s"),
    limits: checkNumbers("limit", file.limits ?? {}, LARGEST_LIMITS),
    memory: checkNumbers("setting of memory", file.memory ?? {}, LARGEST_MEMORY),
  };
}

function readConfig(path: string): ConfigFile {
  const config = parseJson(read(path, "config file"), path);
  for (const [name, value] of Object.entries(config)) {
    const type = Object.hasOwn(CONFIG_TYPES, name)
      ? CONFIG_TYPES[name as keyof typeof CONFIG_TYPES]
      : undefined;
    if (type === undefined) {
      throw new UsageError(`config file ${path}: there is no setting "${name}"`);
    }
    if (type === "object" ? !isObject(value) : typeof value !== type) {
      throw new UsageError(
        `config file ${path}: "${name}" must be ${type === "object" ? "an object" : `a ${type}`}`,
      );
    }
  }
  const file = config as ConfigFile;
  // A path in a file is seen from the file.
  const seen = (name: "tlsKey" | "tlsCert"): ServeOptions => {
    const value = file[name];
    return value === undefined ? {} : { [name]: resolve(dirname(path), value) };
  };
  return { ...file, ...seen("tlsKey"), ...seen("tlsCert") };
}

function parseJson(text: Buffer, path: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text.toString("utf8"));
  } catch {
    // Not the parser's own words: they quote the file.
    throw new UsageError(`config file ${path} is not JSON`);
  }
  if (!isObject(value)) {
    throw new UsageError(`config file ${path} must hold a JSON object`);
  }
  return value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function read(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`can't read the ${what} ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function readTls(key: string | undefined, cert: string | undefined): Settings["tls"] {
  if (key === undefined && cert === undefined) {
    return undefined;
  }
  if (key === undefined || cert === undefined) {
    throw new UsageError("TLS needs both --tls-key and --tls-cert");
  }
  return { key: read(key, "TLS key"), cert: read(cert, "TLS certificate") };
}

function parseListen(listen: string): Settings["listen"] {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(listen) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port <= 65_535) || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    throw new UsageError(
      `can't listen on "${listen}": expected HOST:PORT, such as 127.0.0.1:7410 or [::1]:7410`,
    );
  }
  return { host, port };
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version === 0 ? host === "localhost" : LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

function parseDuration(duration: string): number {
  const [, count, unit = ""] = /^(\d{1,6})(ms|s|m)$/.exec(duration) ?? [];
  if (count === undefined) {
    throw new UsageError(`"${duration}" is no duration: expected one such as 10s, 500ms or 1m`);
  }
  return Number(count) * (UNIT_MS[unit] ?? 1);
}

const INT32 = 2 ** 31 - 1;
/** The largest that each limit may be; most have no other bound than what a message can say. */
const LARGEST_LIMITS: Limits = {
  ...(Object.fromEntries(Object.keys(DEFAULT_LIMITS).map((name) => [name, INT32])) as unknown as Limits),
  valueDepth: DEFAULT_LIMITS.valueDepth,
};
/** The largest that each setting of a store in memory may be. */
const LARGEST_MEMORY: Required<MemorySettings> = {
  history: INT32,
  historyAgeMs: Number.MAX_SAFE_INTEGER,
  requestRetentionMs: Number.MAX_SAFE_INTEGER,
  maxBytes: Number.MAX_SAFE_INTEGER,
};

/** Checks that all are whole numbers from 1 to the largest of their name. */
function checkNumbers<Names>(
  what: string,
  numbers: Readonly<Record<string, unknown>>,
  largest: Names,
): { readonly [Name in keyof Names]?: number } {
  const bounds = largest as Readonly<Record<string, number>>;
  for (const [name, value] of Object.entries(numbers)) {
    const bound = Object.hasOwn(bounds, name) ? bounds[name] : undefined;
    if (bound === undefined) {
      throw new UsageError(`there is no ${what} "${name}": there are ${Object.keys(bounds).join(", ")}`);
    }
    if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= bound)) {
      throw new UsageError(`the ${what} "${name}" must be a whole number from 1 to ${bound}`);
    }
  }
  return numbers as { readonly [Name in keyof Names]?: number };
}
