/** What the program says of its own work: lines on stderr, JSON for machines and readable on a terminal. No value is ever among them. */
import { type DestinationStream, destination, type Logger, pino } from "pino";
import { UsageError } from "./usage-error.ts";

export type { Logger } from "pino";

/** How much is said, from everything to failures only. */
const LEVELS = ["debug", "info", "warn", "error"] as const;
/** JSON Lines, or lines for people. */
const FORMATS = ["json", "pretty"] as const;

/** How to log. */
export interface LogSettings {
  /** What is less important than this is left out. */
  readonly level: (typeof LEVELS)[number];
  readonly format: (typeof FORMATS)[number];
}

/** What options say, or what suits where stderr goes to. Fails with a {@link UsageError}. */
export function logSettingsOf({
  logLevel = "info",
  logFormat = process.stderr.isTTY ? "pretty" : "json",
}: {
  readonly logLevel?: string;
  readonly logFormat?: string;
}): LogSettings {
  return { level: oneOf("--log-level", LEVELS, logLevel), format: oneOf("--log-format", FORMATS, logFormat) };
}

/** Bytes of lines that nobody takes from stderr: what comes beyond them is dropped, as the service must go on. */
const MAX_WAITING_BYTES = 16 << 20;

/**
 * Makes the logger. It does not hold up the service for a reader of stderr who is slow: what there is no room for is dropped,
 * and once there is room again, a line says how many lines that were.
 * @param fd where lines go; default: stderr
 */
export async function openLogger(settings: LogSettings, fd = 2): Promise<Logger> {
  const lines = destination({ fd, sync: false, maxLength: MAX_WAITING_BYTES });
  const logger = pino(
    {
      level: settings.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
      serializers: { err: shownError },
    },
    settings.format === "json" ? lines : await forPeople(lines),
  );
  tellDropped(lines, logger);
  return logger;
}

/** Has the log say how many of its lines were dropped, as soon as something of it has been taken. */
function tellDropped(stream: ReturnType<typeof destination>, logger: Logger): void {
  // Whatever else is left out: what is missing may be more important.
  const notices = logger.child({}, { level: "warn" });
  let dropped = 0;
  const tell = (): void => {
    if (dropped === 0) return;
    const lines = dropped;
    dropped = 0;
    notices.warn({ lines }, "lines dropped: stderr is read too slowly");
    // There was no room for this one either; it is none of those that are counted.
    if (dropped > 0) dropped = lines;
  };
  stream.on("drop", () => {
    dropped++;
  });
  // Told of before what was taken makes room.
  stream.on("write", () => {
    if (dropped > 0) queueMicrotask(tell);
  });
}

/** Makes the lines readable. Not by PinoPretty's own stream: it keeps all that nobody takes, or waits for who does. */
async function forPeople(lines: DestinationStream): Promise<DestinationStream> {
  const { prettyFactory } = await import("pino-pretty");
  const pretty = prettyFactory({ colorize: process.stderr.isTTY, ignore: "pid,hostname" });
  return { write: (line) => lines.write(pretty(line)) };
}

/** What may be shown of something thrown: not what databases and libraries hang onto it, which may quote what is stored. */
function shownError(thrown: unknown): object {
  if (!(thrown instanceof Error)) return { type: typeof thrown };
  const { name, message, stack, cause } = thrown;
  const code = "code" in thrown ? { code: String(thrown.code) } : {};
  return {
    type: name,
    message,
    ...code,
    stack,
    ...(cause === undefined ? {} : { cause: shownError(cause) }),
  };
}

function oneOf<const Names extends readonly string[]>(
  option: string,
  names: Names,
  given: string,
): Names[number] {
  if (!names.includes(given)) {
    throw new UsageError(`${option} is "${given}", and must be one of ${names.join(", ")}`);
  }
  return given;
}
