/**
 * One session of the memory store: its entries with their versions, its log of commits, and what will expire.
 *
 * Every version of an entry points to the one before, as far as history is kept, so a write costs the changed keys and a
 * read at a past revision walks back from the newest. Dropping the oldest commit cuts the versions that it wrote off from
 * older ones; nothing is ever copied.
 */
import TinyQueue from "tinyqueue";
import type { EncodedForm, Entry, Event, EventKind, Session } from "../store.ts";
import { absentRevision, compacted, cursorAfter, isUnknown, type Kept, placeOf } from "./history.ts";
import { bytesBeside } from "./memory-metadata.ts";
import type { Namespace } from "./memory-namespace.ts";
import { deadline, type Metadata, type Moment, NOBODY, sessionOf } from "./metadata.ts";
import { SortedKeys } from "./order.ts";
import type { Remembered } from "./request-log.ts";
import { entryBytes, type KeyWrite } from "./staging.ts";
import { wake } from "./watch.ts";

/** One version of an entry, as it is given out; without a value where it was deleted. */
export class Version implements Entry<EncodedForm> {
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly revision: number;
  readonly updateTime: number;
  readonly expireTime: number | undefined;
  /** Bytes of key and value, as the session limit counts them. */
  readonly bytes: number;
  /** The version before, while history keeps it. */
  previous: Version | undefined;

  constructor(
    key: string,
    value: Uint8Array | undefined,
    revision: number,
    updateTime: number,
    expireTime: number | undefined,
    previous: Version | undefined,
  ) {
    this.key = key;
    this.value = value;
    this.revision = revision;
    this.updateTime = updateTime;
    this.expireTime = expireTime;
    this.bytes = entryBytes(key, value);
    this.previous = previous;
  }
}

/** A commit as the log keeps it: the event that is given out, all that it wrote, and the metadata after it. */
interface LogRecord {
  readonly event: Event<EncodedForm>;
  readonly versions: readonly Version[];
  readonly moment: Moment;
}

/** What the store counts: bytes are keys, encoded values and metadata in state and history, with an estimate of what holds them. */
export interface Usage {
  sessions: number;
  entries: number;
  bytes: number;
}

/** Bytes that a session, a version and a log record take in the heap beside keys and values, as measured on Node 26. */
const SESSION_BYTES = 750;
export const VERSION_BYTES = 350;
export const RECORD_BYTES = 350;

const NOTHING: readonly Version[] = [];

/** One session id: its life, its past, and who waits for its future. */
export class SessionRecord implements Kept {
  readonly namespace: Namespace;
  readonly sessionId: string;
  /** The last revision; 0 or the store's floor before the first commit. */
  revision: number;
  /** `undefined`: there is no session now. */
  metadata: Metadata | undefined = undefined;
  updateTime = 0;
  /** The last revision with which the session expired; what came before it is not brought back. */
  expiredRevision = 0;
  /** When a caller last wrote: what idle_ttl counts from. An expiry of keys moves `updateTime` and not this. */
  #activeTime = 0;
  /** The live entries. */
  readonly live: Map<string, Version> = new Map();
  #keys: SortedKeys | undefined;
  /** Bytes of the live keys and values, as the session limit counts them. */
  liveBytes = 0;
  /** The answers of writes that carried a request id. */
  requests: Map<string, Remembered> | undefined = undefined;
  /** Called once when the next commit is made or the store closes. */
  #waiting: Set<() => void> | undefined;
  /** Open watches, waiting or not. */
  watches = 0;
  /** The place among all sessions by last write: the store's count of commits at this one's last. */
  sequence = 0;
  newer: SessionRecord | undefined = undefined;
  older: SessionRecord | undefined = undefined;
  /** When the sweeper looks next: nothing falls due before. */
  nextDue: number = Number.POSITIVE_INFINITY;

  /** The revision before the first that this record knows of. */
  readonly born: number;
  readonly #usage: Usage;
  /** Tombstones of keys that are gone, while history keeps them. */
  #gone: Map<string, Version> | undefined;
  /** Kept commits, oldest first, from #head on. */
  #log: (LogRecord | undefined)[] = [];
  #head = 0;
  #expiring: TinyQueue<Version> | undefined;
  #expiringCount = 0;

  constructor(namespace: Namespace, sessionId: string) {
    this.namespace = namespace;
    this.sessionId = sessionId;
    this.revision = namespace.floor;
    this.born = namespace.floor;
    this.#usage = namespace.usage;
  }

  /** The live keys in order. */
  get keys(): SortedKeys {
    this.#keys ??= new SortedKeys(this.live);
    return this.#keys;
  }

  /** Those who are called once when the next commit is made or the store closes. */
  get waiting(): Set<() => void> {
    this.#waiting ??= new Set();
    return this.#waiting;
  }

  /** Calls those who wait. */
  wake(): void {
    if (this.#waiting !== undefined) wake(this.#waiting);
  }

  /** Kept commits. */
  get logLength(): number {
    return this.#log.length - this.#head;
  }

  /** The revision of the oldest kept commit, or the one to come if none is kept. */
  get oldest(): number {
    return this.revision - this.logLength + 1;
  }

  /** The session's revision as callers see it: 0 if there is none. */
  get currentRevision(): number {
    return this.metadata === undefined ? 0 : this.revision;
  }

  /** Whether the store knows of no session by this id, now or in history. */
  get unknown(): boolean {
    return isUnknown(this, this.metadata !== undefined);
  }

  /** The revision that a watch of nothing begins at: the last of a deleted session, 0 of one that never was. */
  get absentRevision(): number {
    return absentRevision(this);
  }

  /** Whether nothing needs this record: no session, no history, no watch, no remembered request. */
  get forgettable(): boolean {
    return this.unknown && this.watches === 0 && (this.requests?.size ?? 0) === 0;
  }

  /** When the session expires: the earlier of its two deadlines. */
  get expireTime(): number | undefined {
    return this.metadata === undefined ? undefined : deadline(this.metadata, this.#activeTime);
  }

  /** Makes a commit: writes versions, moves revision and time, keeps the event and drops what is beyond `history` commits. */
  write(
    kind: EventKind,
    time: number,
    writes: readonly KeyWrite[],
    metadata: Metadata | undefined,
    requestId: string | undefined,
    history: number,
  ): Event<EncodedForm> {
    const revision = ++this.revision;
    this.updateTime = time;
    if (kind !== "EXPIRED") this.#activeTime = time;
    else if (metadata === undefined) this.expiredRevision = revision;
    if (metadata === undefined) this.#usage.sessions -= this.metadata === undefined ? 0 : 1;
    else if (this.metadata === undefined) this.#usage.sessions += 1;
    this.#usage.bytes += bytesBeside(this.metadata, metadata);
    // Where the log doesn't hold what was before, nothing does from now on.
    if (this.logLength === 0) this.#usage.bytes -= bytesBeside(metadata, this.metadata);
    this.metadata = metadata;

    const versions: Version[] = [];
    for (const { key, value, expireTime } of writes)
      versions.push(this.#put(key, value, revision, time, expireTime));
    // A session that ends loses its entries one by one in history, but its event doesn't name them.
    const entries = metadata === undefined ? NOTHING : versions;
    const event = { sessionId: this.sessionId, revision, time, kind, entries, requestId };
    this.#usage.bytes += RECORD_BYTES;
    const record = { event, versions, moment: this.now };
    // The first one by itself: an array that grows takes room for many at once, and most sessions are small.
    if (this.#log.length === 0) this.#log = [record];
    else this.#log.push(record);
    while (this.logLength > history) this.#dropOldest();
    return event;
  }

  /** Removes of every live key: what a commit that ends the session writes. */
  removeAll(): KeyWrite[] {
    return Array.from(this.live.keys(), (key) => ({ key, value: undefined, expireTime: undefined }));
  }

  /** Takes out the keys whose time has passed, as the removes to commit. */
  takeExpired(now: number): KeyWrite[] {
    const writes: KeyWrite[] = [];
    for (;;) {
      const version = this.#expiring?.peek();
      if (version === undefined || (version.expireTime as number) > now) return writes;
      this.#expiring?.pop();
      if (this.live.get(version.key) === version)
        writes.push({ key: version.key, value: undefined, expireTime: undefined });
    }
  }

  /** Drops commits made at or before `time`. */
  dropUntil(time: number): void {
    while (this.logLength > 0 && (this.#log[this.#head] as LogRecord).event.time <= time) this.#dropOldest();
  }

  /** When something falls due next: a key, the session, or the age of the oldest commit. */
  dueTime(historyAgeMs: number): number {
    const oldest = this.#log[this.#head];
    return Math.min(
      this.#expiring?.peek()?.expireTime ?? Number.POSITIVE_INFINITY,
      this.expireTime ?? Number.POSITIVE_INFINITY,
      oldest === undefined ? Number.POSITIVE_INFINITY : oldest.event.time + historyAgeMs,
    );
  }

  /** The event of a revision; `undefined`: not made yet. Fails with HISTORY_COMPACTED. */
  eventAt(revision: number): Event<EncodedForm> | undefined {
    if (revision > this.revision) return undefined;
    if (revision < this.oldest) throw compacted(this, revision);
    return (this.#log[this.#head + revision - this.oldest] as LogRecord).event;
  }

  /**
   * Where reading events after `afterRevision` begins, as the revision before the first.
   * Fails with HISTORY_COMPACTED, FUTURE_REVISION.
   */
  cursorAfter(afterRevision: number): number {
    return cursorAfter(this, afterRevision);
  }

  /** The session as it is. */
  get now(): Moment {
    return { metadata: this.metadata, time: this.updateTime, expireTime: this.expireTime };
  }

  /** The session as it was at a kept revision. Fails with HISTORY_COMPACTED, FUTURE_REVISION. */
  at(revision: number): Moment {
    const place = placeOf(this, revision);
    if (place !== "past") return place === "now" ? this.now : NOBODY;
    return (this.#log[this.#head + revision - this.oldest] as LogRecord).moment;
  }

  /** Whether the commit of a kept revision left no session. */
  endedAt(revision: number): boolean {
    return this.at(revision).metadata === undefined;
  }

  /** The entry as it was at a kept revision (see `at`); `undefined`: it was not there. */
  entryAt(key: string, revision: number): Version | undefined {
    let version = this.live.get(key) ?? this.#gone?.get(key);
    while (version !== undefined && version.revision > revision) version = version.previous;
    return version?.value === undefined ? undefined : version;
  }

  /** The entries as they were at a kept revision, in no order. */
  *entriesAt(revision: number): Generator<Version> {
    for (const map of [this.live, this.#gone]) {
      for (const key of map?.keys() ?? []) {
        const version = this.entryAt(key, revision);
        if (version !== undefined) yield version;
      }
    }
  }

  /** The session as it is given out, with the state given. */
  session(moment: Moment, revision: number, state: EncodedForm["state"]): Session<EncodedForm> {
    return sessionOf(this.sessionId, moment, revision, state);
  }

  #put(
    key: string,
    value: Uint8Array | undefined,
    revision: number,
    time: number,
    expireTime: number | undefined,
  ): Version {
    const before = this.live.get(key);
    const version = new Version(key, value, revision, time, expireTime, before ?? this.#gone?.get(key));
    this.#usage.bytes += versionBytes(version);
    if (before !== undefined) {
      this.liveBytes -= before.bytes;
      if (before.expireTime !== undefined) this.#expiringCount--;
    }
    if (value === undefined) {
      this.#gone ??= new Map();
      this.#gone.set(key, version);
      if (before !== undefined) {
        this.live.delete(key);
        this.#keys?.removed();
        this.#usage.entries--;
      }
      return version;
    }
    this.live.set(key, version);
    this.liveBytes += version.bytes;
    if (before === undefined) {
      this.#gone?.delete(key);
      this.#keys?.added(key);
      this.#usage.entries++;
    }
    if (expireTime !== undefined) this.#expires(version);
    return version;
  }

  #expires(version: Version): void {
    this.#expiringCount++;
    this.#expiring ??= new TinyQueue<Version>([], byExpireTime);
    this.#expiring.push(version);
    if (this.#expiring.length > 2 * this.#expiringCount + 64) {
      // Renewed leases leave their old deadlines in the queue: begin anew before these outgrow the entries.
      this.#expiring = new TinyQueue(
        [...this.live.values()].filter((entry) => entry.expireTime !== undefined),
        byExpireTime,
      );
    }
  }

  #dropOldest(): void {
    const record = this.#log[this.#head] as LogRecord;
    this.#log[this.#head++] = undefined;
    // The record after it, or the session as it is, holds the same metadata unless a commit changed it.
    const after = this.logLength === 0 ? this.metadata : this.#log[this.#head]?.moment.metadata;
    this.#usage.bytes -= RECORD_BYTES + bytesBeside(after, record.moment.metadata);
    for (const version of record.versions) {
      // What stood before this version was readable at older revisions only. It is the last of its chain, as all
      // versions older than that went when their own commits were dropped.
      if (version.previous !== undefined) {
        this.#usage.bytes -= versionBytes(version.previous);
        version.previous = undefined;
      }
      if (version.value === undefined && this.#gone?.get(version.key) === version) {
        this.#gone?.delete(version.key);
        this.#usage.bytes -= versionBytes(version);
      }
    }
    if (this.#head > 32 && this.#head * 2 > this.#log.length) {
      this.#log = this.#log.slice(this.#head);
      this.#head = 0;
    }
  }
}

/** Bytes that a record takes beside its versions and commits. */
export function sessionBytes(sessionId: string): number {
  return SESSION_BYTES + 2 * sessionId.length;
}

function versionBytes(version: Version): number {
  return VERSION_BYTES + version.bytes;
}

function byExpireTime(a: Version, b: Version): number {
  return (a.expireTime as number) - (b.expireTime as number);
}
