/**
 * The commits of one transaction. Heads are read once and saved once however many commits change them; everything else is
 * written as it comes. A plan decides before it writes, so a plan that isn't applied has written nothing.
 */
import type { FailedCheck } from "../errors.ts";
import type { EventKind } from "../store.ts";
import type {
  Answer,
  Applied,
  BackendOptions,
  MetadataWrite,
  PlanStep,
  SessionKey,
  Write,
} from "./backend.ts";
import { created, type Metadata } from "./metadata.ts";
import type { Database } from "./sqlite-database.ts";
import { HeadRow, Heads, oldestOf } from "./sqlite-heads.ts";
import { keysText, Log, parseKeys } from "./sqlite-log.ts";
import { bytesOf, textOf } from "./sqlite-text.ts";
import { type Before, Versions } from "./sqlite-versions.ts";

/** How many commits a session makes before the past beyond its history is dropped. */
const TRIM_EVERY = 32;

/** At the least every so many events one has the session's metadata. */
const METADATA_EVERY = 64;

/** The tables of a connection, with their statements. */
export interface Tables {
  readonly heads: Heads;
  readonly versions: Versions;
  readonly log: Log;
}

/** Prepares all statements of a connection. */
export function tablesOf(database: Database): Tables {
  return { heads: new Heads(database), versions: new Versions(database), log: new Log(database) };
}

/** A write with what it finds. */
interface Put {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly expireTime: number | undefined;
  readonly before: Before | undefined;
}

/** What a commit leaves of the metadata: `undefined`: as it was; `"end"`: the session ends. */
type After = Metadata | "end" | undefined;

/** One transaction. */
export class Unit {
  readonly tables: Tables;
  /** The backend's time. */
  readonly now: number;
  /** Sessions with a commit, for those who watch. */
  readonly committed: Map<string, SessionKey> = new Map();
  readonly #options: BackendOptions;
  readonly #heads: Map<string, HeadRow | undefined> = new Map();
  readonly #changed: Set<HeadRow> = new Set();
  #nextNumber: number | undefined;

  constructor(tables: Tables, options: BackendOptions, now: number) {
    this.tables = tables;
    this.now = now;
    this.#options = options;
  }

  /** The head of a session with all that is due done; `undefined`: nothing is known of it. */
  head(session: SessionKey): HeadRow | undefined {
    const place = placeOf(session);
    let head = this.#heads.get(place);
    if (head === undefined && !this.#heads.has(place)) {
      head = this.tables.heads.find(session);
      this.#heads.set(place, head);
    }
    if (head !== undefined && head.nextDue !== null && head.nextDue <= this.now) this.#doDue(head, session);
    return head;
  }

  /** The session of a number with all that is due done. */
  open(number: number): { head: HeadRow; session: SessionKey } | undefined {
    const { heads } = this.tables;
    const found = heads.byNumber(number);
    const namespace = found && heads.namespaceName(found.namespace);
    if (found === undefined || namespace === undefined) return undefined;
    const session = { namespace: textOf(namespace), sessionId: textOf(found.id) };
    const head = this.head(session);
    return head && { head, session };
  }

  /** Does a plan, or says why not. */
  apply(step: PlanStep): Applied {
    const { session, request } = step;
    const { log } = this.tables;
    const head = this.head(session);
    if (request !== undefined && head !== undefined) {
      const since = this.now - this.#options.requestRetentionMs;
      const known = log.remembered(head.session, request.id, since);
      if (known !== undefined) {
        if (known.fingerprint !== request.fingerprint) return { kind: "reused" };
        const { fingerprint: _, ...answer } = known;
        return { kind: "replayed", ...answer };
      }
    }
    const befores = new Befores(this.tables.versions, head);
    if (!this.#guarded(step, head, befores)) return { kind: "stale" };
    const failedChecks = failed(step, head, befores);
    if (failedChecks.length > 0) return { kind: "failed", failedChecks };

    const time = Math.max(step.time ?? this.now, head?.updateTime ?? 0);
    const alive = head?.alive ?? false;
    const metadata = step.metadata === "end" ? (alive ? "end" : undefined) : resolved(step.metadata, time);
    const puts = step.metadata === "end" ? [] : putsOf(step.writes, time, befores);
    if (puts.length > 0) {
      const tooLarge = this.#tooLarge(puts, head);
      if (tooLarge !== undefined) return tooLarge;
    }
    const wrote = puts.length > 0 || metadata !== undefined;
    if (!wrote && request === undefined) return { kind: "done", ...answerOf(head, false, this.now) };
    const target = head ?? this.#create(session);
    if (wrote) {
      const after = metadata ?? (alive ? undefined : created(time));
      this.#commit(target, session, step.event, time, puts, after, request?.id);
    }
    const answer = answerOf(target, wrote, this.now);
    if (request !== undefined) {
      const { id, fingerprint, kept } = request;
      log.remember(target.session, id, this.now, { ...answer, fingerprint, kept });
      this.#changed.add(target);
    }
    return { kind: "done", ...answer };
  }

  /** Drops what is kept of a session before a revision; of events those before another, which is not later. */
  trim(head: HeadRow, oldest: number, oldestEvent: number): void {
    const { versions, log } = this.tables;
    const last = Math.min(oldest, head.revision);
    if (oldest > head.oldest) {
      let ended = 0;
      for (const event of log.range(head.session, head.oldest, last, false, Number.MAX_SAFE_INTEGER)) {
        if (event.ended) ended = event.revision;
        else for (const { key } of parseKeys(event.keys)) versions.drop(head.session, key, event.revision);
      }
      // An event that ended a session doesn't name the keys that went with it.
      if (ended > 0) versions.dropUntil(head.session, ended);
      head.oldest = oldest;
    }
    head.oldestTime = log.dropBelow(head.session, oldestEvent);
    this.#changed.add(head);
  }

  /** Forgets a session of which nothing is left. */
  forgetIfEmpty(head: HeadRow, session: SessionKey): boolean {
    const { heads, log } = this.tables;
    if (head.alive || head.oldestTime !== null || log.hasRequests(head.session)) return false;
    heads.raiseFloor(head.namespace, head.revision);
    heads.delete(head);
    this.#changed.delete(head);
    this.#heads.set(placeOf(session), undefined);
    return true;
  }

  /** Drops all that is stored of a session, as if it had never been. @param session absent: it has no name yet */
  drop(head: HeadRow, session?: SessionKey): void {
    const { heads, versions, log } = this.tables;
    versions.dropAll(head.session);
    log.dropAll(head.session);
    heads.delete(head);
    this.#changed.delete(head);
    if (session !== undefined) this.#heads.set(placeOf(session), undefined);
  }

  /** Takes in the head of a session that was made elsewhere. */
  adopt(head: HeadRow, session: SessionKey): void {
    this.#heads.set(placeOf(session), head);
    this.committed.set(placeOf(session), session);
    this.#changed.add(head);
  }

  /** Notes that a head is to be saved. */
  touch(head: HeadRow): void {
    this.#changed.add(head);
  }

  /** A number for a new session. */
  number(): number {
    this.#nextNumber ??= this.tables.heads.nextNumber();
    return this.#nextNumber++;
  }

  /** Must be called at the end, before the transaction is committed. */
  finish(): void {
    for (const head of this.#changed) this.tables.heads.save(head);
  }

  #create(session: SessionKey): HeadRow {
    const { heads } = this.tables;
    const id = heads.openNamespace(session.namespace);
    const head = new HeadRow(this.number(), id, bytesOf(session.sessionId), heads.floor(id));
    this.#heads.set(placeOf(session), head);
    return head;
  }

  /** Does what is due, and notes when something is next. */
  #doDue(head: HeadRow, session: SessionKey): void {
    const { versions } = this.tables;
    const time = Math.max(this.now, head.updateTime);
    const deadline = head.deadline;
    head.nextDue = null;
    this.#changed.add(head);
    if (!head.alive) return;
    if (deadline !== undefined && deadline <= this.now) {
      this.#commit(head, session, "EXPIRED", time, [], "end", undefined);
      return;
    }
    const expired = versions.expired(head.session, this.now).map(({ key, before }) => ({
      ...{ key: textOf(key), bytes: key, before },
      ...{ value: undefined, expireTime: undefined },
    }));
    if (expired.length > 0) this.#commit(head, session, "EXPIRED", time, expired, undefined, undefined);
    head.due(deadline);
    head.due(versions.firstExpiry(head.session));
  }

  #guarded({ guards }: PlanStep, head: HeadRow | undefined, befores: Befores): boolean {
    if (guards === undefined) return true;
    const { revision, metadataRevision, entries = [] } = guards;
    return (
      (revision === undefined || revision === (head?.revision ?? 0)) &&
      (metadataRevision === undefined || metadataRevision === (head?.metadataRevision ?? 0)) &&
      entries.every(({ key, ifRevision }) => befores.revisionOf(key) === ifRevision)
    );
  }

  #tooLarge(puts: readonly Put[], head: HeadRow | undefined): Applied | undefined {
    const before = { entries: head?.entries ?? 0, bytes: head?.bytes ?? 0 };
    let { entries, bytes } = before;
    for (const put of puts) {
      entries += (put.value === undefined ? 0 : 1) - (put.before === undefined ? 0 : 1);
      bytes += (put.value === undefined ? 0 : put.bytes.length + put.value.length) - (put.before?.size ?? 0);
    }
    const { limits } = this.#options;
    const grows = entries > before.entries && entries > limits.entries;
    if (!grows && !(bytes > before.bytes && bytes > limits.sessionBytes)) return undefined;
    return { kind: "tooLarge", before, after: { entries, bytes } };
  }

  #commit(
    head: HeadRow,
    session: SessionKey,
    kind: EventKind,
    time: number,
    puts: readonly Put[],
    after: After,
    requestId: string | undefined,
  ): void {
    const { versions, log } = this.tables;
    const last = head.text;
    const revision = ++head.revision;
    head.updateTime = time;
    if (kind !== "EXPIRED") head.activeTime = time;
    if (after !== undefined) {
      head.metadata = after === "end" ? undefined : after;
      head.metadataRevision = revision;
    }
    if (after === "end") {
      if (kind === "EXPIRED") head.expiredRevision = revision;
      versions.removeAll(head.session, revision);
      head.entries = 0;
      head.bytes = 0;
      head.nextDue = null;
    }
    for (const put of puts) this.#put(head, put, time);
    const expireTime = head.deadline;
    head.due(expireTime);
    // The first event that is stored says what the session was, so that those after it need not; and now and then one does,
    // so that it is found without a long way back.
    const says = after !== undefined || head.oldestTime === null || revision % METADATA_EVERY === 0;
    log.append({
      ...{ session: head.session, revision, kind, ended: after === "end", time, expireTime, requestId },
      keys: keysText(puts.map(({ key, value }) => ({ key, removed: value === undefined }))),
      metadata: says ? (after === "end" ? last : head.text) : null,
    });
    head.oldestTime ??= time;
    this.#changed.add(head);
    this.committed.set(placeOf(session), session);
    const oldest = oldestOf(head, this.#options.history);
    if (oldest - head.oldest >= TRIM_EVERY) this.trim(head, oldest, log.droppable(head.session, oldest));
  }

  #put(head: HeadRow, { bytes, value, expireTime, before }: Put, time: number): void {
    const { versions } = this.tables;
    head.bytes -= before?.size ?? 0;
    if (value !== undefined) {
      head.bytes += versions.put(head.session, bytes, value, head.revision, time, expireTime, before);
      head.due(expireTime);
      if (before === undefined) head.entries++;
    } else if (before !== undefined) {
      versions.remove(head.session, bytes, head.revision);
      head.entries--;
    }
  }
}

function placeOf({ namespace, sessionId }: SessionKey): string {
  return `${namespace.length}:${namespace}${sessionId}`;
}

/** The live entries that a plan asks about, each read once. */
class Befores {
  readonly #versions: Versions;
  readonly #head: HeadRow | undefined;
  readonly #known: Map<string, { bytes: Uint8Array; before: Before | undefined }> = new Map();

  constructor(versions: Versions, head: HeadRow | undefined) {
    this.#versions = versions;
    this.#head = head;
  }

  of(key: string): { bytes: Uint8Array; before: Before | undefined } {
    let known = this.#known.get(key);
    if (known === undefined) {
      const bytes = bytesOf(key);
      const empty = this.#head === undefined || this.#head.entries === 0;
      known = { bytes, before: empty ? undefined : this.#versions.before(this.#head.session, bytes) };
      this.#known.set(key, known);
    }
    return known;
  }

  revisionOf(key: string): number {
    return this.of(key).before?.revision ?? 0;
  }
}

function failed(step: PlanStep, head: HeadRow | undefined, befores: Befores): FailedCheck[] {
  const { ifRevision, checks = [] } = step;
  const failedChecks: FailedCheck[] = [];
  const current = head?.currentRevision ?? 0;
  if (ifRevision !== undefined && ifRevision !== current)
    failedChecks.push({ key: "", ifRevision, actualRevision: current });
  for (const check of checks) {
    const actualRevision = befores.revisionOf(check.key);
    if (actualRevision !== check.ifRevision)
      failedChecks.push({ key: check.key, ifRevision: check.ifRevision, actualRevision });
  }
  return failedChecks;
}

/** The writes that write something. */
function putsOf(writes: readonly Write[], time: number, befores: Befores): Put[] {
  const puts: Put[] = [];
  for (const { key, value, ttlMs, expireTime, always } of writes) {
    const { bytes, before } = befores.of(key);
    if (value === undefined && before === undefined && always !== true) continue;
    puts.push({ key, bytes, value, expireTime: ttlMs === undefined ? expireTime : time + ttlMs, before });
  }
  return puts;
}

function resolved(write: MetadataWrite | undefined, time: number): Metadata | undefined {
  if (write === undefined) return undefined;
  const { createTime, workflowId, userId, labels, forkedFrom, expireTime, idleTtlMs, ttlMs } = write;
  return {
    createTime: createTime ?? time,
    ...{ workflowId, userId, labels, forkedFrom, idleTtlMs },
    expireTime: ttlMs === undefined ? expireTime : time + ttlMs,
  };
}

function answerOf(head: HeadRow | undefined, wrote: boolean, time: number): Answer {
  if (head === undefined || !head.alive) return { revision: 0, updateTime: undefined, time, wrote };
  return { revision: head.revision, updateTime: head.updateTime, wrote };
}
