/**
 * How parameters are written for PostgreSQL and its rows are read. Text goes as UTF-8 in `bytea`, whatever the database's
 * encoding is; arrays go in the binary form, in which a value costs its own bytes.
 */
import type { EncodedForm, Entry, EventKind } from "../store.ts";
import type { Answer, FeedChange, Head, Moment, Remembered } from "./backend.ts";
import type { Metadata } from "./metadata.ts";

/** A row of the reading functions: numbers, texts, key, value; see `ROW` in postgres-reads.ts. */
export type Row = readonly [n: string, t: string | null, k: string | null, v: string | null];

/** Kinds of events by number. Never reordered: databases hold the numbers. */
export const EVENT_KINDS: readonly EventKind[] = [
  "COMMITTED",
  "SAVED",
  "DELETED",
  "EXPIRED",
  "FORKED",
  "RESTORED",
];

/** Values longer than this have a row of their own: what is shorter fits into a page beside the longest key. */
export const LARGE_BYTES = 2_000;

const OID = { bytea: 17, int8: 20 };
const ARRAY_HEADER_BYTES = 20;

/** Text as a `bytea` parameter. */
export function text(value: string): Buffer {
  return Buffer.from(value, "utf8");
}

/** Bytes as a `bytea` parameter. */
export function bytes(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** Texts or bytes as a `bytea[]` parameter; `undefined` is NULL. */
export function byteaArray(values: readonly (string | Uint8Array | undefined)[]): Buffer {
  const parts = values.map((value) => (typeof value === "string" ? text(value) : value));
  const size = parts.reduce((sum, part) => sum + 4 + (part?.length ?? 0), ARRAY_HEADER_BYTES);
  const result = Buffer.allocUnsafe(size);
  let at = arrayHeader(result, OID.bytea, values.length);
  for (const part of parts) {
    result.writeInt32BE(part === undefined ? -1 : part.length, at);
    at += 4;
    if (part !== undefined) {
      result.set(part, at);
      at += part.length;
    }
  }
  return result;
}

/** Whole numbers as a `bigint[]` parameter; `undefined` is NULL. Fractions are rounded up, what is beyond 2^53 is that. */
export function bigintArray(values: readonly (number | undefined)[]): Buffer {
  const result = Buffer.allocUnsafe(ARRAY_HEADER_BYTES + 12 * values.length);
  let at = arrayHeader(result, OID.int8, values.length);
  for (const value of values) {
    result.writeInt32BE(value === undefined ? -1 : 8, at);
    at += 4;
    if (value !== undefined) at = result.writeBigInt64BE(BigInt(whole(value)), at);
  }
  return result.subarray(0, at);
}

/** A whole number that both sides can hold. */
export function whole(value: number): number {
  return Math.ceil(Math.max(Math.min(value, Number.MAX_SAFE_INTEGER), Number.MIN_SAFE_INTEGER));
}

function arrayHeader(result: Buffer, oid: number, length: number): number {
  // Dimensions, whether there may be NULLs, the type; and for the one dimension its length and lower bound.
  let at = result.writeInt32BE(1, 0);
  at = result.writeInt32BE(1, at);
  at = result.writeInt32BE(oid, at);
  at = result.writeInt32BE(length, at);
  return result.writeInt32BE(1, at);
}

/** The bytes of a `bytea` in a row (`\x…`). */
export function bytesOf(column: string): Uint8Array {
  const result = new Uint8Array((column.length - 2) / 2);
  Buffer.from(result.buffer).write(column.slice(2), "hex");
  return result;
}

/** The text of a `bytea` in a row. */
export function textOf(column: string): string {
  return Buffer.from(column.slice(2), "hex").toString("utf8");
}

/** The numbers of a `bigint[]` in a row. */
export function numbersOf(column: string): (number | undefined)[] {
  return column
    .slice(1, -1)
    .split(",")
    .map((word) => (word === "NULL" ? undefined : Number(word)));
}

/** The elements of a `bytea[]` in a row, as {@link bytesOf} and {@link textOf} take them. */
export function textsOf(column: string): (string | undefined)[] {
  // Each is NULL or "\\x…": quoted, and its backslash doubled.
  if (column === "{}") return [];
  return column
    .slice(1, -1)
    .split(",")
    .map((word) => (word === "NULL" ? undefined : word.slice(2, -1)));
}

/** Metadata from the numbers of its columns, from `at` on, and its texts. */
export function metadataOf(n: readonly (number | undefined)[], at: number, t: string | null): Metadata {
  const texts = textsOf(t ?? "{}").map((word) => (word === undefined ? undefined : textOf(word)));
  const [workflowId, userId, forkedId, ...labels] = texts;
  const count = labels.length / 2;
  const entries = labels.slice(0, count).map((name, i) => [name, labels[count + i]]);
  const revision = n[at + 3];
  return {
    createTime: n[at] as number,
    workflowId,
    userId,
    labels: Object.fromEntries(entries) as Record<string, string>,
    forkedFrom:
      forkedId === undefined || revision === undefined ? undefined : { sessionId: forkedId, revision },
    expireTime: n[at + 1],
    idleTtlMs: n[at + 2],
  };
}

/** The texts of metadata as a parameter. */
export function metadataTexts(metadata: Omit<Metadata, "createTime">): Buffer {
  const { workflowId, userId, forkedFrom, labels } = metadata;
  const names = Object.keys(labels);
  return byteaArray([
    workflowId,
    userId,
    forkedFrom?.sessionId,
    ...names,
    ...names.map((name) => labels[name]),
  ]);
}

/** The head in a row. */
export function headOf([n, t]: readonly [string, string | null, ...unknown[]]): Head {
  const numbers = numbersOf(n) as number[];
  const [, , live, revision, born, oldest, expiredRevision, metadataRevision, updateTime, activeTime] =
    numbers;
  return {
    revision: revision as number,
    born: born as number,
    oldest: oldest as number,
    expiredRevision: expiredRevision as number,
    metadataRevision: metadataRevision as number,
    metadata: live === 1 ? metadataOf(numbers, 12, t) : undefined,
    updateTime: updateTime as number,
    activeTime: activeTime as number,
    entries: numbers[10] as number,
    bytes: numbers[11] as number,
  };
}

/** The moment in a row. */
export function momentOf([n, t]: Row): Moment {
  const numbers = numbersOf(n);
  return {
    metadata: numbers[1] === 1 ? metadataOf(numbers, 4, t) : undefined,
    time: numbers[2] as number,
    expireTime: numbers[3],
  };
}

/** The times of an answer. @param time when the session was last written; negated when the answer was given: there is none */
export function answerTimes(time: number): Pick<Answer, "updateTime" | "time"> {
  return time < 0 ? { updateTime: undefined, time: -time } : { updateTime: time };
}

/** The remembered answer in a row. */
export function rememberedOf([n, t, , v]: Row): Remembered {
  const [, revision, time, wrote] = numbersOf(n);
  return {
    revision: revision as number,
    ...answerTimes(time as number),
    wrote: wrote === 1,
    fingerprint: textOf(textsOf(t as string)[0] as string),
    kept: v === null ? undefined : bytesOf(v),
  };
}

/** The entry in a row. */
export function entryOf([n, , k, v]: Row): Entry<EncodedForm> {
  const [, revision, updateTime, expireTime] = numbersOf(n);
  return {
    key: textOf(k as string),
    value: v === null ? undefined : bytesOf(v),
    revision: revision as number,
    updateTime: updateTime as number,
    expireTime,
  };
}

/** The change in a row of the feed, and the numbers of its place in it. */
export function changeOf([n, t, k, v]: Row): {
  readonly change: FeedChange;
  readonly place: readonly [time: number, session: number, revision: number];
} {
  const numbers = numbersOf(n);
  const [session, revision, time, kind, expireTime] = numbers as number[];
  const change: FeedChange = {
    session: { namespace: textOf(k as string), sessionId: textOf(v as string) },
    revision: revision as number,
    kind: EVENT_KINDS[kind as number] as EventKind,
    metadata: metadataOf(numbers, 5, t),
    time: time as number,
    expireTime,
  };
  return { change, place: [time as number, session as number, revision as number] };
}

/** The end of the keys that begin with a prefix: what is exclusively below it and not below the prefix does. */
export function prefixEnd(prefix: string): Buffer {
  const end = text(prefix);
  // UTF-8 has no byte beyond 0xF4: the last one can always be one more.
  if (end.length === 0) return Buffer.from([0xff]);
  end[end.length - 1] = (end[end.length - 1] as number) + 1;
  return end;
}
