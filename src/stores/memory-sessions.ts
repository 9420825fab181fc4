/** The sessions of a memory store: its clock, its namespaces, and what falls due. */
import TinyQueue from "tinyqueue";
import { WorkflowStateError } from "../errors.ts";
import type { CallContext, EventKind } from "../store.ts";
import { storeIsClosed } from "./failures.ts";
import { bytesBeside } from "./memory-metadata.ts";
import { Namespace } from "./memory-namespace.ts";
import { RECORD_BYTES, SessionRecord, sessionBytes, type Usage, VERSION_BYTES } from "./memory-session.ts";
import type { Metadata } from "./metadata.ts";
import { RequestLog } from "./request-log.ts";
import type { KeyWrite } from "./staging.ts";
import { wake } from "./watch.ts";

/** How many answers are remembered in all. */
const REQUESTS_KEPT = 1_000_000;
/** How many sessions one turn of the sweeper looks at before it lets others run. */
const SWEEP_SLICE = 1_000;
/** The longest and the shortest wait of the sweeper's timer. */
const TIMER_MS = { most: 60_000, least: 10 };
/** How many items that no longer count may wait beside as many as counted when the queue was gone through last. */
const COMPACT_MARGIN = 100_000;
/** A read may not see what is past its time, so a turn of the sweeper that is late is only a late event. */
interface Due {
  readonly at: number;
  readonly record: SessionRecord;
}

/** What the engine needs to know. */
export interface SessionsOptions {
  readonly now: () => number;
  readonly history: number;
  readonly historyAgeMs: number;
  readonly requestRetentionMs: number;
  readonly maxBytes: number;
}

/** All sessions of a store, by namespace and id. */
export class Sessions {
  readonly usage: Usage = { sessions: 0, entries: 0, bytes: 0 };
  readonly requests: RequestLog;
  /** The time of the call that runs; never goes back, whatever the clock does. */
  time = 0;
  closed = false;
  /** Called once when the store closes. */
  readonly closing: Set<() => void> = new Set();
  readonly #options: SessionsOptions;
  readonly #namespaces: Map<string, Namespace> = new Map();
  /** When to look at which session: an item counts only while it is that session's `nextDue`. */
  #due: TinyQueue<Due> = new TinyQueue<Due>([], byTime);
  /** With more items than this the queue is gone through for those that no longer count. */
  #compactAt = COMPACT_MARGIN;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt: number = Number.POSITIVE_INFINITY;
  /** Commits so far: the order of last writes. */
  #sequence = 0;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.requests = new RequestLog(options.requestRetentionMs, REQUESTS_KEPT, this.usage, (record) => {
      if (record.forgettable) this.#forget(record);
    });
  }

  /** The door of every call: is the store open, is the call still wanted, what time is it, whose sessions are meant. */
  begin(context: CallContext | undefined): Namespace {
    if (this.closed) throw storeIsClosed();
    context?.signal?.throwIfAborted();
    this.#tick();
    if (this.requests.dueTime <= this.time) this.requests.forgetUntil(this.time);
    const name = context?.namespace ?? "";
    let namespace = this.#namespaces.get(name);
    if (namespace === undefined) {
      namespace = new Namespace(this.usage);
      this.#namespaces.set(name, namespace);
    }
    return namespace;
  }

  /** The record of an id with all that is due done; `undefined`: the store knows nothing of it. */
  find(namespace: Namespace, sessionId: string): SessionRecord | undefined {
    const record = namespace.sessions.get(sessionId);
    if (record === undefined || record.nextDue > this.time) return record;
    this.#maintain(record);
    return namespace.sessions.get(sessionId);
  }

  /** As `find`, if there is a session or history of one. */
  known(namespace: Namespace, sessionId: string): SessionRecord | undefined {
    const record = this.find(namespace, sessionId);
    return record?.unknown ? undefined : record;
  }

  /** The record of an id to write to. A new one is kept only when something is written, remembered or waited for. */
  open(namespace: Namespace, sessionId: string): SessionRecord {
    return this.find(namespace, sessionId) ?? new SessionRecord(namespace, sessionId);
  }

  /** Makes a commit and tells those who watch. Fails with STORAGE_FULL before anything is changed. */
  write(
    record: SessionRecord,
    kind: EventKind,
    writes: readonly KeyWrite[],
    metadata: Metadata | undefined,
    requestId: string | undefined,
  ): void {
    const { namespace } = record;
    if (kind !== "DELETED" && kind !== "EXPIRED") this.#checkRoom(record, writes, metadata);
    namespace.add(record);
    const before = record.metadata;
    record.write(
      kind,
      this.time,
      writes,
      metadata,
      requestId === "" ? undefined : requestId,
      this.#options.history,
    );
    record.sequence = ++this.#sequence;
    namespace.touch(record);
    this.#schedule(record);
    record.wake();
    if (namespace.changes.watches > 0) {
      const session = record.session(
        { ...record.now, metadata: metadata ?? before },
        record.revision,
        new Map(),
      );
      namespace.changes.add({ session, kind });
    }
  }

  /** Keeps a record while it is watched, whether there is a session or not. Call what is returned when the watch ends. */
  watch(record: SessionRecord): () => void {
    record.namespace.add(record);
    record.watches++;
    return () => {
      record.watches--;
      if (record.forgettable) this.#forget(record);
    };
  }

  /** Expires and forgets what is due now. */
  sweep(): void {
    this.#tick();
    this.#sweepDue();
  }

  /** Moves no clock: a write that makes room must not see what expires after it has read. */
  #sweepDue(): void {
    this.requests.forgetUntil(this.time);
    for (let left = SWEEP_SLICE; left > 0; left--) {
      const next = this.#due.peek();
      if (next === undefined || next.at > this.time) break;
      this.#due.pop();
      if (next.at === next.record.nextDue) this.#maintain(next.record);
    }
    this.#arm(Math.min(this.#due.peek()?.at ?? Number.POSITIVE_INFINITY, this.requests.dueTime));
  }

  /** Lets go of everything and wakes all who wait. */
  close(): void {
    this.closed = true;
    clearTimeout(this.#timer);
    for (const namespace of this.#namespaces.values()) {
      for (const record of namespace.sessions.values()) record.wake();
      wake(namespace.changes.waiting);
    }
    wake(this.closing);
    this.#namespaces.clear();
    this.#due = new TinyQueue<Due>([], byTime);
  }

  #tick(): void {
    const now = Math.floor(this.#options.now());
    if (now > this.time) this.time = now;
  }

  #checkRoom(record: SessionRecord, writes: readonly KeyWrite[], metadata: Metadata | undefined): void {
    const texts = bytesBeside(record.metadata, metadata);
    let growth = RECORD_BYTES + texts;
    let removesOnly = texts === 0;
    for (const { key, value } of writes) {
      if (value === undefined) continue;
      removesOnly = false;
      growth += VERSION_BYTES + key.length + value.length;
    }
    if (record.metadata === undefined) growth += sessionBytes(record.sessionId);
    if (this.usage.bytes + growth <= this.#options.maxBytes) return;
    this.#sweepDue();
    // Whoever makes room must be let through.
    if (!removesOnly && this.usage.bytes + growth > this.#options.maxBytes) {
      throw new WorkflowStateError(
        "STORAGE_FULL",
        `The store holds ${this.usage.bytes} of ${this.#options.maxBytes} bytes with its history: wait until history runs out of age, give sessions a ttl, or raise maxBytes.`,
        { metadata: { limit: String(this.#options.maxBytes), actual: String(this.usage.bytes + growth) } },
      );
    }
  }

  /** Does what is due for a session: expires it or its keys, drops old commits, forgets it. */
  #maintain(record: SessionRecord): void {
    record.nextDue = Number.POSITIVE_INFINITY;
    if ((record.expireTime ?? Number.POSITIVE_INFINITY) <= this.time) {
      this.write(record, "EXPIRED", record.removeAll(), undefined, undefined);
    } else {
      const expired = record.takeExpired(this.time);
      if (expired.length > 0) this.write(record, "EXPIRED", expired, record.metadata, undefined);
    }
    record.dropUntil(this.time - this.#options.historyAgeMs);
    if (record.forgettable) this.#forget(record);
    else this.#schedule(record);
  }

  #schedule(record: SessionRecord): void {
    const at = record.dueTime(this.#options.historyAgeMs);
    if (at >= record.nextDue) return;
    record.nextDue = at;
    this.#due.push({ at, record });
    this.#arm(at);
    if (this.#due.length > this.#compactAt) this.#compactDue();
  }

  /** Drops the items that no longer count, before sooner and sooner deadlines of the same sessions pile up. */
  #compactDue(): void {
    this.#due = new TinyQueue(
      this.#due.data.filter((item) => item.at === item.record.nextDue),
      byTime,
    );
    // All that are left may count, those of ended sessions too: not again before as many have come.
    this.#compactAt = 2 * this.#due.length + COMPACT_MARGIN;
  }

  #forget(record: SessionRecord): void {
    if (record.namespace.sessions.get(record.sessionId) === record) record.namespace.remove(record);
    record.nextDue = Number.POSITIVE_INFINITY;
  }

  /** Sets the timer to a time, if it isn't set to an earlier one. */
  #arm(at: number): void {
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#timerAt = at;
    const wait = Math.min(Math.max(at - this.time, TIMER_MS.least), TIMER_MS.most);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.sweep();
    }, wait);
    // Where timers are objects (Node), one that waits must not keep a program alive that is done.
    if (typeof this.#timer === "object") this.#timer.unref();
  }
}

function byTime(a: Due, b: Due): number {
  return a.at - b.at;
}
