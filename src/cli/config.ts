/** The settings of `workflow-state serve`: a config file under what options and the environment say. */
import { isIP } from "node:net";
import type { AuthOptions } from "../server/auth.ts";
import { isLoopback } from "../server/loopback.ts";
import type { ServerTls } from "../server.ts";
import type { PrincipalLimits } from "../service/gate.ts";
import { authOf } from "./auth-config.ts";
import { checkNumbers, readConfig, readFile } from "./config-file.ts";
import {
  type ConnectionOptions,
  type ConnectionSettings,
  connectionSettingsOf,
  parseWait,
} from "./connection-settings.ts";
import { type LogSettings, logSettingsOf } from "./logger.ts";
import { type StoreOptions, type StoreSettings, storeSettingsOf } from "./store-settings.ts";
import { type TelemetrySettings, telemetrySettingsOf } from "./telemetry-settings.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it; commander has put the option first. */
export interface ServeOptions extends StoreOptions, ConnectionOptions {
  readonly config?: string;
  readonly listen?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly tlsClientCa?: string;
  readonly reflection?: boolean;
  readonly logLevel?: string;
  readonly logFormat?: string;
  readonly audit?: boolean;
  readonly metrics?: string;
  readonly traceSessionIds?: boolean;
  readonly drainTimeout?: string;
  readonly insecureNoAuth?: boolean;
}

/** What to serve, and where. */
export interface Settings extends StoreSettings, ConnectionSettings {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls?: ServerTls;
  readonly auth?: AuthOptions;
  readonly perPrincipal: PrincipalLimits;
  readonly reflection: boolean;
  readonly log: LogSettings;
  /** Whether each write is told of in the log. */
  readonly audit: boolean;
  /** What is measured, and where that goes; absent: nothing. */
  readonly telemetry?: TelemetrySettings | undefined;
  readonly drainTimeoutMs: number;
}

/** Puts the settings together. Fails with a {@link UsageError}. */
export function settingsOf(options: ServeOptions): Settings {
  const file = options.config === undefined ? {} : readConfig(options.config);
  const given = { ...file, ...options };
  const listen = parseListen(given.listen ?? "127.0.0.1:7410");
  const loopback = isLoopback(listen.host);
  if (!loopback && file.auth === undefined && given.insecureNoAuth !== true) {
    throw new UsageError(
      `won't listen on ${listen.host}: without authentication whoever reaches that address could read and change all state; put "auth" into a config file, or, if that is meant, add --insecure-no-auth`,
    );
  }
  const tls = readTls(given);
  const auth = file.auth === undefined ? undefined : authOf(file.auth, options.config ?? "");
  if ((auth?.certificates === undefined) !== (tls?.clientCa === undefined)) {
    throw new UsageError('client certificates need both --tls-client-ca and "auth.certificates"');
  }
  return {
    ...storeSettingsOf(options, file),
    ...connectionSettingsOf(given, file.cors),
    listen,
    ...(tls === undefined ? {} : { tls }),
    ...(auth === undefined ? {} : { auth }),
    perPrincipal: checkNumbers("limit of perPrincipal", file.perPrincipal ?? {}, LARGEST_PER_PRINCIPAL),
    // Who is on this machine may know the schema: it is in the package.
    reflection: given.reflection ?? loopback,
    log: logSettingsOf(given),
    audit: given.audit ?? false,
    telemetry: telemetrySettingsOf(
      {
        metricsListen: given.metrics === undefined ? undefined : parseMetrics(given.metrics),
        sessionIds: given.traceSessionIds ?? false,
      },
      process.env,
    ),
    drainTimeoutMs: parseWait("--drain-timeout", given.drainTimeout ?? "10s"),
  };
}

/** The largest that each limit of a principal may be. */
const LARGEST_PER_PRINCIPAL: Required<PrincipalLimits> = {
  calls: 2 ** 31 - 1,
  streams: 2 ** 31 - 1,
  operationsPerSecond: 2 ** 31 - 1,
  burst: 2 ** 31 - 1,
};

function readTls({ tlsKey: key, tlsCert: cert, tlsClientCa }: ServeOptions): Settings["tls"] {
  if (key === undefined && cert === undefined) {
    if (tlsClientCa !== undefined) throw new UsageError("--tls-client-ca needs --tls-key and --tls-cert");
    return undefined;
  }
  if (key === undefined || cert === undefined) {
    throw new UsageError("TLS needs both --tls-key and --tls-cert");
  }
  return {
    key: readFile(key, "TLS key"),
    cert: readFile(cert, "TLS certificate"),
    ...(tlsClientCa === undefined ? {} : { clientCa: readFile(tlsClientCa, "client CA") }),
  };
}

function parseMetrics(metrics: string): Settings["listen"] {
  return parseListen(/^:?\d+$/.test(metrics) ? `127.0.0.1:${metrics.replace(":", "")}` : metrics);
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
