/** One tenant's sessions in the memory store: by id, by last write, and who watches them all. */
import type { EncodedForm, SessionChange } from "../store.ts";
import { type SessionRecord, sessionBytes, type Usage } from "./memory-session.ts";
import { SortedKeys } from "./order.ts";
import { wake } from "./watch.ts";

/** How many changes a reader of `watchSessions` may be behind. */
const CHANGES_KEPT = 10_000;

/** The sessions of one namespace. */
export class Namespace {
  readonly sessions: Map<string, SessionRecord> = new Map();
  readonly ids: SortedKeys = new SortedKeys(this.sessions);
  readonly changes: Changes = new Changes();
  /** The highest revision of any session that was forgotten: a new one begins above it, so that none is used twice. */
  floor = 0;
  /** The session that was written last; the others follow by `older`. */
  newest: SessionRecord | undefined = undefined;
  /** The store's counters. */
  readonly usage: Usage;

  constructor(usage: Usage) {
    this.usage = usage;
  }

  /** Takes in a record that is worth keeping; one that is in already stays. */
  add(record: SessionRecord): void {
    if (this.sessions.has(record.sessionId)) return;
    this.sessions.set(record.sessionId, record);
    this.ids.added(record.sessionId);
    this.usage.bytes += sessionBytes(record.sessionId);
  }

  remove(record: SessionRecord): void {
    this.sessions.delete(record.sessionId);
    this.usage.bytes -= sessionBytes(record.sessionId);
    this.ids.removed();
    this.#unlink(record);
    this.floor = Math.max(this.floor, record.revision);
  }

  /** Puts a session first in the order of last writes. */
  touch(record: SessionRecord): void {
    if (this.newest === record) return;
    this.#unlink(record);
    record.older = this.newest;
    if (this.newest !== undefined) this.newest.newer = record;
    this.newest = record;
  }

  #unlink(record: SessionRecord): void {
    if (record.newer !== undefined) record.newer.older = record.older;
    else if (this.newest === record) this.newest = record.older;
    if (record.older !== undefined) record.older.newer = record.newer;
    record.newer = undefined;
    record.older = undefined;
  }
}

/** The latest changes of a namespace's sessions, for those who watch: a ring, so that a slow reader costs nothing. */
export class Changes {
  /** Called once at the next change. */
  readonly waiting: Set<() => void> = new Set();
  /** Open watches; without one nothing is kept. */
  watches = 0;
  /** How many changes there have been. */
  count = 0;
  #ring: SessionChange<EncodedForm>[] = [];

  add(change: SessionChange<EncodedForm>): void {
    this.#ring[this.count++ % CHANGES_KEPT] = change;
    wake(this.waiting);
  }

  /** The change of a number, counted from 0; `undefined`: no longer kept. */
  at(index: number): SessionChange<EncodedForm> | undefined {
    return this.count - index > CHANGES_KEPT ? undefined : this.#ring[index % CHANGES_KEPT];
  }

  /** Opens a watch; returns the number of the first change that it will see. */
  openWatch(): number {
    this.watches++;
    return this.count;
  }

  /** Frees the ring when the last watch is gone. */
  closeWatch(): void {
    if (--this.watches === 0) this.#ring = [];
  }
}
