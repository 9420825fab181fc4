/** What the connections of a server may take of it. */
import { timerMs } from "../service/call.ts";

/** Limits of connections; what is absent is the default. Infinity: no limit. */
export interface ConnectionLimits {
  /** How many there may be; more are closed as they come. Default: 10,000. */
  readonly maxConnections?: number | undefined;
  /** How old one may get, in milliseconds; each up to a tenth less or more. Default: no limit. */
  readonly maxAgeMs?: number | undefined;
  /** How long calls may go on when it is too old, in milliseconds; then streams end with SHUTTING_DOWN. Default: 10 s. */
  readonly ageGraceMs?: number | undefined;
  /** How long it may be without a call, in milliseconds. Default: 5 minutes. */
  readonly maxIdleMs?: number | undefined;
  /** How long a caller may take nothing of an answer that waits for it, in milliseconds. Default: 60 s. */
  readonly writeTimeoutMs?: number | undefined;
  /** Bytes of answers that may wait to be taken, those being made counted at their largest. Default: 256 MiB. */
  readonly maxBufferedBytes?: number | undefined;
}

/** The limits, complete. */
export interface AllConnectionLimits {
  readonly maxConnections: number;
  readonly maxAgeMs: number;
  readonly ageGraceMs: number;
  readonly maxIdleMs: number;
  readonly writeTimeoutMs: number;
  readonly maxBytes: number;
  /** A quarter of them: nobody takes all by one connection. */
  readonly maxConnectionBytes: number;
}

/** The limits with the defaults of those that are absent. */
export function connectionLimitsOf(limits: ConnectionLimits = {}): AllConnectionLimits {
  const maxBytes = limits.maxBufferedBytes ?? 256 << 20;
  return {
    maxConnections: limits.maxConnections ?? 10_000,
    maxAgeMs: limits.maxAgeMs ?? Number.POSITIVE_INFINITY,
    ageGraceMs: limits.ageGraceMs ?? 10_000,
    maxIdleMs: limits.maxIdleMs ?? 300_000,
    writeTimeoutMs: timerMs(limits.writeTimeoutMs ?? 60_000),
    maxBytes,
    maxConnectionBytes: maxBytes / 4,
  };
}
