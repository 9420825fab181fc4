/** Durations as the command line has them: `10s`. */
import { UsageError } from "./usage-error.ts";

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** The milliseconds of a duration such as `500ms`, `10s`, `1m`, `12h` or `7d`. Fails with a {@link UsageError}. */
export function parseDuration(duration: string): number {
  const [, count, unit = ""] = /^(\d{1,6})(ms|s|m|h|d)$/.exec(duration) ?? [];
  if (count === undefined) {
    throw new UsageError(`"${duration}" is no duration: expected one such as 10s, 500ms or 1m`);
  }
  return Number(count) * (UNIT_MS[unit] ?? 1);
}
