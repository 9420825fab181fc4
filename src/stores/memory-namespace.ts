/** One tenant's sessions in the memory store: by id, by last write, and who watches them all. */
import { Changes } from "./changes.ts";
import { type SessionRecord, sessionBytes, type Usage } from "./memory-session.ts";
import { SortedKeys } from "./order.ts";

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
