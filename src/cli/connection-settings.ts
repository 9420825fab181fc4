/** What connections may take of a server, and who may connect from a page: of options, the environment and a config file. */
import type { ConnectionLimits } from "../server/connection-limits.ts";
import { type CorsOptions, isOrigin } from "../server/cors.ts";
import { parseDuration } from "./duration.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it; a config file may have the counts as numbers. */
export interface ConnectionOptions {
  readonly maxConnections?: string | number;
  readonly maxConnectionAge?: string;
  readonly maxConnectionAgeGrace?: string;
  readonly maxConnectionIdle?: string;
  readonly writeTimeout?: string;
  readonly maxBufferedBytes?: string | number;
  /** Origins, a comma between each two. */
  readonly corsOrigin?: string;
  readonly startTimeout?: string;
}

/** How connections are held. */
export interface ConnectionSettings {
  readonly connections: ConnectionLimits;
  readonly cors?: CorsOptions;
  /** How long the store is waited for at the start, in milliseconds; 0: not at all. */
  readonly startTimeoutMs: number;
}

/** Puts the settings together; `corsSection` is what a config file says under `cors`. Fails with a {@link UsageError}. */
export function connectionSettingsOf(
  given: ConnectionOptions,
  corsSection: Readonly<Record<string, unknown>> | undefined,
): ConnectionSettings {
  const origins = given.corsOrigin === undefined ? originsOf(corsSection) : given.corsOrigin.split(",");
  return {
    connections: {
      ...ifGiven("maxConnections", given.maxConnections, (text) => parseCount("--max-connections", text)),
      ...ifGiven("maxAgeMs", given.maxConnectionAge, (text) => parseLimit("--max-connection-age", text)),
      ...ifGiven("ageGraceMs", given.maxConnectionAgeGrace, parseDuration),
      ...ifGiven("maxIdleMs", given.maxConnectionIdle, (text) => parseLimit("--max-connection-idle", text)),
      ...ifGiven("writeTimeoutMs", given.writeTimeout, (text) => parseTimer("--write-timeout", text)),
      ...ifGiven("maxBufferedBytes", given.maxBufferedBytes, parseBytes),
    },
    ...(origins.length === 0 ? {} : { cors: { origins: origins.map(checkedOrigin) } }),
    startTimeoutMs: parseDuration(given.startTimeout ?? "60s"),
  };
}

function ifGiven<Name extends string, Text>(
  name: Name,
  text: Text | undefined,
  parse: (text: Text) => number,
): { readonly [Key in Name]?: number } {
  return (text === undefined ? {} : { [name]: parse(text) }) as { readonly [Key in Name]?: number };
}

/** The longest that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

function parseTimer(option: string, text: string): number {
  const ms = parseDuration(text);
  if (ms >= 1 && ms <= MAX_TIMER_MS) return ms;
  throw new UsageError(`${option} must be longer than nothing, and no longer than 24 days`);
}

/** The milliseconds of a duration that a timer can wait; 0 too. Fails with a {@link UsageError}, which names the option. */
export function parseWait(option: string, text: string): number {
  const ms = parseDuration(text);
  // A timer that is to wait longer does not wait at all.
  if (ms <= MAX_TIMER_MS) return ms;
  throw new UsageError(`${option} must be no longer than 24 days`);
}

/** A duration, or `off`. */
function parseLimit(option: string, text: string): number {
  return text === "off" ? Number.POSITIVE_INFINITY : parseTimer(option, text);
}

function parseCount(option: string, text: string | number): number {
  const count = Number(text);
  if (/^\d{1,10}$/.test(String(text)) && count >= 1 && count <= MAX_TIMER_MS) return count;
  throw new UsageError(`${option} must be a whole number from 1 to ${MAX_TIMER_MS}`);
}

const UNIT_BYTES: Readonly<Record<string, number>> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

function parseBytes(text: string | number): number {
  const [, count, unit = ""] = /^(\d{1,13})(KiB|MiB|GiB)?$/.exec(String(text)) ?? [];
  const bytes = Number(count) * (UNIT_BYTES[unit] ?? 1);
  if (bytes >= 1) return bytes;
  throw new UsageError("--max-buffered-bytes must be a number of bytes such as 268435456 or 256MiB");
}

function originsOf(section: Readonly<Record<string, unknown>> | undefined): readonly string[] {
  if (section === undefined) return [];
  const { origins, ...others } = section;
  const [other] = Object.keys(others);
  if (other !== undefined) throw new UsageError(`there is no setting of cors "${other}": there is origins`);
  if (Array.isArray(origins) && origins.every((each) => typeof each === "string")) return origins;
  throw new UsageError('"origins" of cors must be a list of texts');
}

function checkedOrigin(text: string): string {
  const origin = text.trim();
  if (isOrigin(origin)) return origin;
  const why =
    origin === "*" ? "every origin that may call must be named" : "expected one as browsers write it";
  throw new UsageError(`"${origin}" is no origin: ${why}, such as https://app.example.org`);
}
