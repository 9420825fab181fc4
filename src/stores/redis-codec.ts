/** How sessions look in Redis: names of keys, arguments of scripts, and what scripts answer. */
import type { EncodedForm, Entry, EventKind } from "../store.ts";
import type {
  Answer,
  Applied,
  BackendOptions,
  FeedChange,
  Head,
  Look,
  LookStep,
  MetadataWrite,
  Moment,
  PlanStep,
  Remembered,
  SessionKey,
  StoredEvent,
  Write,
} from "./backend.ts";
import type { Metadata } from "./metadata.ts";
import {
  type Argument,
  bufferOf,
  bytes,
  doubles,
  list,
  number,
  optionalBytes,
  own,
  sized,
  text,
  timeAt,
} from "./redis-bytes.ts";

/** The letter of each kind of event. */
const LETTERS: Readonly<Record<EventKind, string>> = {
  COMMITTED: "C",
  SAVED: "S",
  DELETED: "D",
  EXPIRED: "X",
  FORKED: "F",
  RESTORED: "R",
};
const KINDS: ReadonlyMap<string, EventKind> = new Map(
  Object.entries(LETTERS).map(([kind, letter]) => [letter, kind as EventKind]),
);

/** The settings that every script takes. @param confirm whether a replayed answer waits for replicas */
export function settingsOf(options: BackendOptions, feedLength: number, confirm: boolean): Buffer {
  const { history, historyAgeMs, requestRetentionMs, limits } = options;
  return doubles(
    history,
    historyAgeMs,
    requestRetentionMs,
    limits.entries,
    limits.sessionBytes,
    feedLength,
    confirm ? 1 : 0,
  );
}

/** The bucket of a session: a number that never changes while the number of buckets doesn't. */
export function bucketOf({ namespace, sessionId }: SessionKey, buckets: number): number {
  // FNV-1a over the code units, with the length between, so that two names are never taken for one.
  let hash = 0x811c9dc5;
  const add = (unit: number): void => {
    hash = Math.imul(hash ^ (unit & 0xff), 0x0100_0193);
    hash = Math.imul(hash ^ (unit >>> 8), 0x0100_0193);
  };
  add(namespace.length & 0xffff);
  for (let i = 0; i < namespace.length; i++) add(namespace.charCodeAt(i));
  for (let i = 0; i < sessionId.length; i++) add(sessionId.charCodeAt(i));
  // The last step spreads what differs in the low bits only.
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return (hash >>> 0) % buckets;
}

/** What the names of a bucket's keys begin with: all of it in one slot. */
export function tagOf(prefix: string, bucket: number): string {
  return `{${prefix}:${bucket}}`;
}

/** The keys that scripts take, in their order; with an empty session id those of the bucket count. */
export function keysOf(tag: string, { namespace, sessionId }: SessionKey): string[] {
  const rest = `${namespace.length}:${namespace}:${sessionId}`;
  return [
    `${tag}h${rest}`,
    `${tag}e${rest}`,
    `${tag}k${rest}`,
    `${tag}v${rest}`,
    `${tag}l${rest}`,
    `${tag}q${rest}`,
    `${tag}r${rest}`,
    `${tag}x${rest}`,
    `${tag}index`,
    `${tag}due`,
    `${tag}times:${namespace}`,
    `${tag}floors`,
    `${tag}feed`,
    `${tag}none`,
  ];
}

/** A session as indexes name it. */
export function referenceOf({ namespace, sessionId }: SessionKey): Buffer {
  return Buffer.concat([sized(namespace), Buffer.from(sessionId)]);
}

/** The session that an index names. */
export function sessionOf(reference: Buffer): SessionKey {
  const end = 2 + reference.readUInt16BE(0);
  return { namespace: reference.toString("utf8", 2, end), sessionId: reference.toString("utf8", end) };
}

/** What metadata is beside its times, as JSON. */
interface Described {
  readonly w?: string | undefined;
  readonly u?: string | undefined;
  readonly l?: Readonly<Record<string, string>> | undefined;
  readonly f?: readonly [string, number] | undefined;
}

function described(metadata: Omit<Metadata, "createTime">): Buffer {
  const { workflowId, userId, labels, forkedFrom } = metadata;
  let hasLabels = false;
  for (const _ in labels) {
    hasLabels = true;
    break;
  }
  const description: Described = {
    w: workflowId,
    u: userId,
    l: hasLabels ? labels : undefined,
    f: forkedFrom && [forkedFrom.sessionId, forkedFrom.revision],
  };
  return Buffer.from(JSON.stringify(description));
}

/** Metadata as it is stored. */
export function metadataBytes(metadata: Metadata): Buffer {
  const { createTime, expireTime = -1, idleTtlMs = -1 } = metadata;
  return Buffer.concat([doubles(createTime, expireTime, idleTtlMs), described(metadata)]);
}

const NO_LABELS: Metadata["labels"] = Object.freeze({});

/** Metadata from how it is stored. */
export function metadataOf(bytes: Buffer): Metadata {
  const { w, u, l, f }: Described = bytes.length === 26 ? {} : JSON.parse(bytes.toString("utf8", 24));
  return {
    createTime: bytes.readDoubleBE(0),
    workflowId: w,
    userId: u,
    labels: l ?? NO_LABELS,
    forkedFrom: f && { sessionId: f[0], revision: f[1] },
    expireTime: timeAt(bytes, 8),
    idleTtlMs: timeAt(bytes, 16),
  };
}

/** A head from how it is stored. @param history how many commits are kept */
export function headOf(numbers: Buffer, metadata: Buffer | null, history: number): Head {
  const revision = numbers.readDoubleBE(0);
  return {
    revision,
    born: numbers.readDoubleBE(8),
    oldest: Math.max(numbers.readDoubleBE(16), revision - history + 1),
    expiredRevision: numbers.readDoubleBE(24),
    metadataRevision: numbers.readDoubleBE(32),
    metadata: metadata === null ? undefined : metadataOf(metadata),
    updateTime: updateTimeOf(numbers),
    activeTime: numbers.readDoubleBE(48),
    entries: numbers.readDoubleBE(56),
    bytes: numbers.readDoubleBE(64),
  };
}

/** The time of the last commit in a head as it is stored. */
export function updateTimeOf(numbers: Buffer): number {
  return numbers.readDoubleBE(40);
}

const NOTHING: Buffer = Buffer.alloc(0);

/** The arguments of a plan, after those that every script takes. */
export function planArguments(step: PlanStep): Argument[] {
  const { request, checks = [], guards, writes, metadata } = step;
  const entryGuards = guards?.entries ?? [];
  const numbers = Buffer.allocUnsafe(46);
  numbers.write(
    LETTERS[step.event] + (metadata === undefined ? "-" : metadata === "end" ? "e" : "m"),
    "latin1",
  );
  numbers.writeDoubleBE(step.ifRevision ?? -1, 2);
  numbers.writeDoubleBE(guards?.revision ?? -1, 10);
  numbers.writeDoubleBE(guards?.metadataRevision ?? -1, 18);
  numbers.writeDoubleBE(step.time ?? -1, 26);
  numbers.writeUInt32BE(checks.length, 34);
  numbers.writeUInt32BE(entryGuards.length, 38);
  numbers.writeUInt32BE(writes.length, 42);
  const list: Argument[] = [
    numbers,
    request?.id ?? "",
    request?.fingerprint ?? "",
    request?.kept === undefined ? "" : keptBytes(request.kept),
    metadata === undefined || metadata === "end" ? "" : metadataArgument(metadata),
  ];
  for (const { key, ifRevision } of checks) list.push(key, String(ifRevision));
  for (const { key, ifRevision } of entryGuards) list.push(key, String(ifRevision));
  for (const write of writes)
    list.push(write.key, manner(write), write.value === undefined ? "" : bufferOf(write.value));
  return list;
}

/** Whether a plan can make nothing larger, so that it needs no memory. */
export function onlyRemoves({ writes, metadata }: PlanStep): boolean {
  return (metadata === undefined || metadata === "end") && writes.every(({ value }) => value === undefined);
}

function manner({ value, ttlMs, expireTime, always }: Write): string {
  if (value === undefined) return always === true ? "!" : "-";
  if (ttlMs) return `+${ttlMs}`;
  return expireTime === undefined ? "" : `=${expireTime}`;
}

function metadataArgument(metadata: MetadataWrite): Buffer {
  const { createTime = -1, ttlMs, expireTime = -1, idleTtlMs = -1 } = metadata;
  return Buffer.concat([doubles(createTime, ttlMs || -1, expireTime, idleTtlMs), described(metadata)]);
}

/** What is to be kept with an answer, told apart from nothing. */
export function keptBytes(kept: Uint8Array | undefined): Buffer {
  return kept === undefined ? NOTHING : Buffer.concat([Buffer.from("+"), kept]);
}

/** What became of a plan, from what its script answered. */
export function appliedOf(reply: unknown): Applied {
  const [kind, ...rest] = list(reply);
  switch (text(kind)) {
    case "done":
      return { kind: "done", ...answerOf(bytes(rest[0])) };
    case "replayed":
      return { kind: "replayed", ...answerOf(bytes(rest[0])), kept: keptOf(bytes(rest[1])) };
    case "reused":
      return { kind: "reused" };
    case "stale":
      return { kind: "stale" };
    case "failed": {
      const failedChecks = [];
      for (let i = 0; i < rest.length; i += 3) {
        failedChecks.push({
          key: text(rest[i]),
          ifRevision: number(rest[i + 1]),
          actualRevision: number(rest[i + 2]),
        });
      }
      return { kind: "failed", failedChecks };
    }
    case "tooLarge": {
      const [entries, size, entriesAfter, sizeAfter] = rest.map(number) as [number, number, number, number];
      return {
        kind: "tooLarge",
        before: { entries, bytes: size },
        after: { entries: entriesAfter, bytes: sizeAfter },
      };
    }
    default:
      throw new Error("a plan was answered in an unknown way");
  }
}

/** An answer from how it begins where it is stored. */
function answerOf(stored: Buffer): Answer {
  const updateTime = timeAt(stored, 16);
  return {
    revision: stored.readDoubleBE(8),
    updateTime,
    time: updateTime === undefined ? stored.readDoubleBE(0) : undefined,
    wrote: stored[24] === 0x31,
  };
}

function keptOf(kept: Buffer): Uint8Array | undefined {
  return kept.length === 0 ? undefined : own(kept, 1);
}

/** A remembered answer from how it is stored, with the time when it was given. */
export function rememberedOf(stored: Buffer): Remembered & { readonly time: number } {
  return {
    ...answerOf(stored),
    time: stored.readDoubleBE(0),
    fingerprint: stored.toString("latin1", 25, 49),
    kept: keptOf(stored.subarray(49)),
  };
}

/** A remembered answer as it is stored. */
export function rememberedBytes(answer: Remembered & { readonly time: number }): Buffer {
  return Buffer.concat([
    doubles(answer.time, answer.revision, answer.updateTime ?? -1),
    Buffer.from((answer.wrote ? "1" : "0") + answer.fingerprint, "latin1"),
    keptBytes(answer.kept),
  ]);
}

/** The arguments of a look, after those that every script takes. */
export function lookArguments({ entries, atRevision, requestId }: LookStep): Argument[] {
  const at = String(atRevision ?? -1);
  const request = requestId ?? "";
  if (entries === undefined) return ["", at, request];
  if ("keys" in entries) return ["k", at, request, ...entries.keys];
  const { prefix, page } = entries;
  if (page === undefined) return ["p", at, request, prefix, "", "0"];
  const { from, reverse, count, bytes: room } = page;
  return ["P", at, request, prefix, from, reverse ? "1" : "0", String(count), String(room)];
}

/** What a look saw, from what its script answered. */
export function lookOf(reply: unknown, history: number): Look {
  const [now, head, metadata, floor, answer, moment, more, entries] = list(reply);
  const numbers = bytes(head);
  return {
    kind: "look",
    now: number(now),
    head: numbers.length === 0 ? undefined : headOf(numbers, optionalBytes(metadata), history),
    floor: number(floor),
    entries: entriesOf(list(entries)),
    more: more === 1,
    moment: moment === null ? undefined : momentOf(list(moment)),
    remembered: answer === null ? undefined : lookedUp(bytes(answer)),
  };
}

function lookedUp(stored: Buffer): Remembered {
  return { ...rememberedOf(stored), ...answerOf(stored) };
}

function momentOf([times, metadata]: readonly unknown[]): Moment {
  const numbers = bytes(times);
  const stored = optionalBytes(metadata);
  return {
    metadata: stored === null ? undefined : metadataOf(stored),
    time: numbers.readDoubleBE(0),
    expireTime: stored === null ? undefined : timeAt(numbers, 8),
  };
}

/** Entries from their keys, revisions and versions. */
export function entriesOf(reply: readonly unknown[]): Entry<EncodedForm>[] {
  const entries: Entry<EncodedForm>[] = [];
  for (let i = 0; i < reply.length; i += 3)
    entries.push(entryOf(text(reply[i]), bytes(reply[i + 1]).readDoubleBE(0), bytes(reply[i + 2])));
  return entries;
}

/** An entry from how its version is stored. */
export function entryOf(key: string, revision: number, version: Buffer): Entry<EncodedForm> {
  return {
    key,
    value: own(version, 32),
    revision,
    updateTime: version.readDoubleBE(0),
    expireTime: timeAt(version, 8),
  };
}

/** What an event's record says. */
export interface EventRecord {
  readonly kind: EventKind;
  readonly ended: boolean;
  readonly time: number;
  readonly expireTime: number | undefined;
  /** Which metadata the session has after it; of one that ended it the last that it had. */
  readonly metadataRevision: number;
  readonly requestId: string | undefined;
  readonly keys: readonly { readonly key: string; readonly removed: boolean; readonly before: number }[];
}

/** An event's record from how it is stored. */
export function eventRecordOf(record: Buffer): EventRecord {
  let at = 28 + record.readUInt16BE(26);
  const requestId = at === 28 ? undefined : record.toString("utf8", 28, at);
  const keys = [];
  while (at < record.length) {
    const end = at + 11 + record.readUInt16BE(at + 9);
    const key = record.toString("utf8", at + 11, end);
    keys.push({ key, removed: record[at] === 0x31, before: record.readDoubleBE(at + 1) });
    at = end;
  }
  return {
    kind: kindOf(record[0]),
    ended: record[1] === 0x31,
    time: record.readDoubleBE(2),
    expireTime: timeAt(record, 10),
    metadataRevision: record.readDoubleBE(18),
    requestId,
    keys,
  };
}

/** An event's record as it is stored. */
export function eventRecordBytes(record: EventRecord): Buffer {
  const { kind, ended, time, expireTime = -1, metadataRevision, requestId = "", keys } = record;
  const parts: Buffer[] = [
    Buffer.from(LETTERS[kind] + (ended ? "1" : "0"), "latin1"),
    doubles(time, expireTime, metadataRevision),
    sized(requestId),
  ];
  for (const { key, removed, before } of keys)
    parts.push(Buffer.from(removed ? "1" : "0", "latin1"), doubles(before), sized(key));
  return Buffer.concat(parts);
}

/** An event from its revision, its record, and the versions of the keys that it did not remove. */
export function storedEventOf(
  sessionId: string,
  [revision, record, versions]: readonly unknown[],
): StoredEvent {
  const said = eventRecordOf(bytes(record));
  const made = number(revision);
  const values = list(versions);
  let next = 0;
  return {
    sessionId,
    revision: made,
    time: said.time,
    kind: said.kind,
    entries: said.keys.map(({ key, removed }) =>
      removed
        ? { key, value: undefined, revision: made, updateTime: said.time, expireTime: undefined }
        : entryOf(key, made, bytes(values[next++])),
    ),
    requestId: said.requestId,
    ended: said.ended,
  };
}

/** A commit of the feed from how it is stored. */
export function feedChangeOf(stored: Buffer): FeedChange {
  const nameEnd = 27 + stored.readUInt16BE(25);
  const idEnd = nameEnd + 2 + stored.readUInt16BE(nameEnd);
  return {
    session: {
      namespace: stored.toString("utf8", 27, nameEnd),
      sessionId: stored.toString("utf8", nameEnd + 2, idEnd),
    },
    kind: kindOf(stored[0]),
    revision: stored.readDoubleBE(1),
    time: stored.readDoubleBE(9),
    expireTime: timeAt(stored, 17),
    metadata: metadataOf(stored.subarray(idEnd)),
  };
}

function kindOf(letter: number | undefined): EventKind {
  const kind = KINDS.get(String.fromCharCode(letter ?? 0));
  if (kind === undefined) throw new Error("an event of an unknown kind");
  return kind;
}
