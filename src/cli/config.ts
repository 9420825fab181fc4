/** The settings of `workflow-state serve`: a config file under what options and the environment say. */
import { BlockList, isIP } from "node:net";
import { readConfig, readFile } from "./config-file.ts";
import { parseDuration } from "./duration.ts";
import { type StoreOptions, type StoreSettings, storeSettingsOf } from "./store-settings.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it; commander has put the option first. */
export interface ServeOptions extends StoreOptions {
  readonly config?: string;
  readonly listen?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly drainTimeout?: string;
  readonly insecureNoAuth?: boolean;
}

/** What to serve, and where. */
export interface Settings extends StoreSettings {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls?: { readonly key: Buffer; readonly cert: Buffer };
  readonly drainTimeoutMs: number;
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
    ...storeSettingsOf(options, file),
    listen,
    ...(tls === undefined ? {} : { tls }),
    drainTimeoutMs: parseDuration(given.drainTimeout ?? "10s"),
  };
}

function readTls(key: string | undefined, cert: string | undefined): Settings["tls"] {
  if (key === undefined && cert === undefined) {
    return undefined;
  }
  if (key === undefined || cert === undefined) {
    throw new UsageError("TLS needs both --tls-key and --tls-cert");
  }
  return { key: readFile(key, "TLS key"), cert: readFile(cert, "TLS certificate") };
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
