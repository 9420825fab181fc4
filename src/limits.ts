/** What callers may ask for. */

/** What callers may ask for; each has its own typed error. All counts are inclusive. */
export interface Limits {
  /** Bytes of a session id (INVALID_SESSION_ID). */
  readonly sessionIdBytes: number;
  /** Bytes of a key (INVALID_KEY). */
  readonly keyBytes: number;
  /** Bytes of an encoded value (VALUE_TOO_LARGE). */
  readonly valueBytes: number;
  /** Levels of a value; a scalar has 1 (INVALID_VALUE). At most 32: parsers in some languages stop at 100 nested messages. */
  readonly valueDepth: number;
  /** Values within a value, itself counted (INVALID_VALUE). */
  readonly valueNodes: number;
  /** Bytes of a request, and of an answer, decompressed (REQUEST_TOO_LARGE). */
  readonly requestBytes: number;
  /** Changes in a commit (REQUEST_TOO_LARGE). */
  readonly changes: number;
  /** Checks in a commit (REQUEST_TOO_LARGE). */
  readonly checks: number;
  /** Operations in a batch (REQUEST_TOO_LARGE). */
  readonly operations: number;
  /** Entries in a session (TOO_MANY_ENTRIES). */
  readonly entries: number;
  /** Bytes of a session's keys and encoded values (SESSION_TOO_LARGE). */
  readonly sessionBytes: number;
  /** Items of a page; more count as this. */
  readonly pageSize: number;
  /** HTTP/2 streams open at once on one connection. */
  readonly streamsPerConnection: number;
}

/** The limits unless configured otherwise. */
export const DEFAULT_LIMITS: Limits = Object.freeze({
  sessionIdBytes: 256,
  keyBytes: 512,
  valueBytes: 1 << 20,
  valueDepth: 32,
  valueNodes: 10_000,
  requestBytes: 4 << 20,
  changes: 128,
  checks: 1_000,
  operations: 256,
  entries: 10_000,
  sessionBytes: 64 << 20,
  pageSize: 1_000,
  streamsPerConnection: 100,
});

/** No limits: for what is only looked at here, as the store says whether it is too large, and for what it has accepted. */
export const UNBOUNDED: Limits = Object.freeze(
  Object.fromEntries(
    Object.keys(DEFAULT_LIMITS).map((name) => [name, Number.POSITIVE_INFINITY]),
  ) as unknown as Limits,
);
