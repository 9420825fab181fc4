/** The URL of a store in Redis: where it is, and how it is kept there. */
import type { ConnectionOptions } from "node:tls";
import { invalidUrl } from "./service-url.ts";

/** How a store in Redis is opened. */
export interface RedisOptions {
  /** How long a call may take, in milliseconds. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  /** How often a watch reads the feed should no hint come, in milliseconds. Default: 1,000. */
  readonly pollMs?: number | undefined;
  /** Certificates for `rediss://` and `rediss+cluster://`. */
  readonly tls?:
    | Pick<ConnectionOptions, "ca" | "cert" | "key" | "servername" | "rejectUnauthorized">
    | undefined;
}

/** What a URL says. */
export interface RedisTarget {
  readonly cluster: boolean;
  readonly tls: boolean;
  /** One server, or some of a cluster, from which the others are found. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  /** What the names of all keys begin with, in braces with the number of a bucket. */
  readonly prefix: string;
  /** Over how many buckets sessions are spread, if the URL says so. */
  readonly buckets: number | undefined;
  /** How many replicas must have a write before it is acknowledged. */
  readonly wait: number;
  /** How long to wait for them. */
  readonly waitTimeoutMs: number;
}

const DEFAULT_PORT = 6379;

/**
 * Reads `redis://user:password@host:port/database`, `rediss://…` with TLS, `redis+cluster://host:port,host:port`,
 * `rediss+cluster://…`. The query may say `prefix` (letters, digits, `_ . : -`), `buckets` (counts when the store is made),
 * `wait` (replicas) and `waitTimeout` (milliseconds). Fails with INVALID_REQUEST, in words that don't repeat the URL.
 */
export function parseRedisUrl(url: string): RedisTarget {
  const [, scheme = "", authority = "", path = "", query = ""] =
    /^([a-z+]+):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url) ?? [];
  const [, secure, cluster] = /^redis(s?)(\+cluster)?$/i.exec(scheme) ?? [];
  if (secure === undefined) {
    throw invalidUrl(
      "Write the URL of a Redis store as redis://host:port or redis+cluster://host:port,host:port.",
    );
  }
  const at = authority.lastIndexOf("@");
  const [username, password] = at < 0 ? [] : credentials(authority.slice(0, at));
  const nodes = authority
    .slice(at + 1)
    .split(",")
    .map(node);
  if (cluster === undefined && nodes.length > 1) {
    throw invalidUrl("A single Redis has one host: write several of a cluster as redis+cluster://host,host.");
  }
  if (!/^\d{0,5}$/.test(path) || (cluster !== undefined && Number(path) !== 0)) {
    throw invalidUrl(
      "The path of a Redis URL is the number of a database, and a cluster has only database 0.",
    );
  }
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (!["prefix", "buckets", "wait", "waitTimeout"].includes(name)) {
      throw invalidUrl(
        "The query of a Redis URL may say prefix, buckets, wait, waitTimeout, and nothing else.",
      );
    }
  }
  const prefix = parameters.get("prefix") ?? "wfs";
  if (!/^[\w.:-]{1,64}$/.test(prefix)) {
    throw invalidUrl("prefix must be 1 to 64 letters, digits, or _ . : - of ASCII.", "prefix");
  }
  return {
    cluster: cluster !== undefined,
    tls: secure !== "",
    nodes,
    username,
    password,
    database: Number(path),
    prefix,
    buckets: count(parameters, "buckets", 1, 4096),
    wait: count(parameters, "wait", 0, 16) ?? 0,
    waitTimeoutMs: count(parameters, "waitTimeout", 1, 60_000) ?? 1_000,
  };
}

function credentials(text: string): [string | undefined, string | undefined] {
  const colon = text.indexOf(":");
  const name = decoded(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? undefined : decoded(text.slice(colon + 1));
  // redis://:password@host, and the older redis://password@host is refused as what it is: a user without a password.
  if (password === undefined) throw invalidUrl("A user of Redis has a password: redis://user:password@host.");
  return [name === "" ? undefined : name, password];
}

function node(text: string): { host: string; port: number } {
  const [, literal, name, port] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = literal ?? (name === undefined ? undefined : decoded(name));
  const number = port === undefined ? DEFAULT_PORT : Number(port);
  if (host === undefined || number < 1 || number > 65_535) {
    throw invalidUrl("The URL of a Redis store names its hosts: redis://host:port.");
  }
  return { host, port: number };
}

function count(parameters: URLSearchParams, name: string, least: number, most: number): number | undefined {
  const text = parameters.get(name);
  if (text === null) return undefined;
  const number = /^\d{1,9}$/.test(text) ? Number(text) : -1;
  if (number < least || number > most)
    throw invalidUrl(`${name} must be a number from ${least} to ${most}.`, name);
  return number;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidUrl("The URL of a Redis store has a % that begins no escape: write it as %25.");
  }
}
