/** What moving sessions needs: whole dumps, loads, and new bytes for values. */
import { randomBytes } from "node:crypto";
import { WorkflowStateError } from "../errors.ts";
import type { BackendOptions, SessionKey, StoredRecord } from "./backend.ts";
import { sameBytes } from "./same-bytes.ts";
import { type Database, openDatabase, type Statement } from "./sqlite-database.ts";
import { HeadRow, headOf, LOADING, metadataText, parseMetadata } from "./sqlite-heads.ts";
import { type EventRow, keysText, parseKeys } from "./sqlite-log.ts";
import { metadataTextOf, momentOf } from "./sqlite-looks.ts";
import type { Queue } from "./sqlite-queue.ts";
import { bytesOf } from "./sqlite-text.ts";
import { type Tables, tablesOf, type Unit } from "./sqlite-unit.ts";
import type { StoredVersion, VersionPlace } from "./sqlite-versions.ts";

/** Up to so many bytes a dump is read at once, so that no transaction waits for its reader; a load and a rewrite write so much at once. */
const PIECE_BYTES = 1 << 20;
/** What a record counts beside its values. */
const RECORD_BYTES = 200;

/** Keys of all sessions after a place, in the order of namespaces by age and of ids. */
export function sessionKeysSql(): string {
  return `SELECT namespace.name, head.id FROM head INDEXED BY head_id JOIN namespace ON namespace.id = head.namespace
    WHERE (head.namespace, head.id) > (?, ?) ORDER BY head.namespace, head.id LIMIT ?`;
}

type HeadRecord = StoredRecord & { readonly kind: "head" };
type EventRecord = StoredRecord & { readonly kind: "event" };

/** Dumps sessions through connections of its own, so that writers go on. */
export class Dumper {
  readonly #path: string;
  readonly #options: BackendOptions;
  readonly #idle: Connection[] = [];
  #closed = false;

  constructor(path: string, options: BackendOptions) {
    this.#path = path;
    this.#options = options;
  }

  /** All that is kept of a session, at one moment. */
  async *dump(session: SessionKey, now: number): AsyncGenerator<StoredRecord> {
    const connection = this.#idle.pop() ?? connect(this.#path);
    let whole = false;
    try {
      connection.begin.run();
      const records = recordsOf(connection.tables, session, now, this.#options);
      for (;;) {
        const piece: StoredRecord[] = [];
        let left = PIECE_BYTES;
        let done = false;
        while (left > 0 && !done) {
          const next = records.next();
          done = next.done === true;
          if (next.done !== true) {
            piece.push(next.value);
            left -= bytesIn(next.value);
          }
        }
        // Most sessions are read by now: no transaction is left open while the reader does something else.
        if (done) connection.commit.run();
        yield* piece;
        if (done) break;
      }
      whole = true;
    } finally {
      if (whole && !this.#closed && this.#idle.length < 8) this.#idle.push(connection);
      else connection.database.close();
    }
  }

  close(): void {
    this.#closed = true;
    for (const { database } of this.#idle.splice(0)) database.close();
  }
}

interface Connection {
  readonly database: Database;
  readonly tables: Tables;
  readonly begin: Statement;
  readonly commit: Statement;
}

function connect(path: string): Connection {
  const database = openDatabase(path, { busyTimeoutMs: 50, readOnly: true });
  return {
    database,
    tables: tablesOf(database),
    begin: database.prepare("BEGIN"),
    commit: database.prepare("COMMIT"),
  };
}

function* recordsOf(
  tables: Tables,
  session: SessionKey,
  now: number,
  { history, requestRetentionMs }: BackendOptions,
): Generator<StoredRecord> {
  const head = tables.heads.find(session);
  if (head === undefined) return;
  const known = headOf(head, history);
  yield { kind: "head", ...known };
  for (const { entry, ended } of tables.versions.all(head.session, undefined)) {
    if (ended === undefined || ended > known.oldest) yield { kind: "version", ...entry, ended };
  }
  const { oldest, revision } = known;
  for (const row of tables.log.range(head.session, oldest, revision, false, Number.MAX_SAFE_INTEGER)) {
    yield {
      kind: "event",
      revision: row.revision,
      event: row.kind,
      requestId: row.requestId,
      keys: parseKeys(row.keys),
      moment: momentOf(tables, head, row),
      metadata: parseMetadata(metadataTextOf(tables, head, row)),
    };
  }
  for (const { requestId, time, answer } of tables.log.requests(head.session, now - requestRetentionMs))
    yield { kind: "request", requestId, ...answer, time };
}

function bytesIn(record: StoredRecord): number {
  return RECORD_BYTES + (record.kind === "version" ? (record.value?.length ?? 0) : 0);
}

/**
 * Loads a session: piece by piece under a name that nobody knows, which then takes the place of what was there. Of a process
 * that dies on the way the sweeper clears up.
 */
export async function load(
  queue: Queue,
  session: SessionKey,
  records: AsyncIterable<StoredRecord>,
): Promise<void> {
  let first: HeadRecord | undefined;
  let number: number | undefined;
  const hidden = randomBytes(16);
  const events: EventRecord[] = [];
  let piece: StoredRecord[] = [];
  let left = PIECE_BYTES;
  const write = async (): Promise<void> => {
    const rows = piece;
    piece = [];
    left = PIECE_BYTES;
    number = await queue.submit((unit) => writePiece(unit, hidden, number, rows));
  };
  try {
    for await (const record of records) {
      if (record.kind === "head") first = record;
      else if (record.kind === "event") events.push(record);
      else piece.push(record);
      left -= bytesIn(record);
      if (left <= 0) await write();
    }
    await write();
    await queue.submit((unit) => {
      const staged = stagedHead(unit, hidden, number);
      const before = unit.head(session);
      if (before !== undefined) unit.drop(before, session);
      if (first === undefined) unit.drop(staged);
      else takePlace(unit, staged, session, first, events, before?.revision ?? 0);
    });
  } catch (error) {
    // If this fails too, the sweeper does it.
    if (number !== undefined)
      await queue.submit((unit) => unit.drop(stagedHead(unit, hidden, number))).catch(() => {});
    throw error;
  }
}

function writePiece(
  unit: Unit,
  hidden: Uint8Array,
  number: number | undefined,
  records: readonly StoredRecord[],
): number {
  const { heads, versions, log } = unit.tables;
  const head =
    number === undefined ? new HeadRow(unit.number(), LOADING, hidden, 0) : stagedHead(unit, hidden, number);
  // The time keeps the sweeper off.
  head.revision++;
  head.updateTime = unit.now;
  heads.save(head);
  for (const record of records) {
    if (record.kind === "version") versions.add(head.session, record, record.ended);
    else if (record.kind === "request") log.remember(head.session, record.requestId, record.time, record);
  }
  return head.session;
}

/** The head of what was loaded so far. Not by its number alone: once it was dropped, that is given to others. */
function stagedHead(unit: Unit, hidden: Uint8Array, number: number | undefined): HeadRow {
  const head = number === undefined ? undefined : unit.tables.heads.byNumber(number);
  if (head?.namespace === LOADING && sameBytes(head.id, hidden)) return head;
  throw new WorkflowStateError(
    "STORE_UNAVAILABLE",
    "What was loaded of the session was dropped, because too much time passed between its parts: load it again.",
  );
}

/**
 * Gives a session that was loaded its name. Its past is no news: the feed is told of the last commit only, which wakes those who
 * watch it in other processes, and only if it has not told of that revision yet.
 * @param told the revision up to which the feed has told of the session
 */
function takePlace(
  unit: Unit,
  staged: HeadRow,
  session: SessionKey,
  first: HeadRecord,
  events: EventRecord[],
  told: number,
): void {
  const { heads, versions, log } = unit.tables;
  heads.delete(staged);
  const namespace = heads.openNamespace(session.namespace);
  const head = new HeadRow(staged.session, namespace, bytesOf(session.sessionId), first.born);
  const { revision, oldest, expiredRevision, metadataRevision, metadata, updateTime, activeTime } = first;
  Object.assign(head, {
    revision,
    oldest,
    expiredRevision,
    metadata,
    metadataRevision,
    updateTime,
    activeTime,
  });
  Object.assign(head, versions.count(head.session));
  head.due(head.deadline);
  head.due(versions.firstExpiry(head.session));
  let last: string | undefined;
  const untold = log.untold(events.length);
  events.sort((a, b) => a.revision - b.revision);
  for (const [i, { event, moment, ...record }] of events.entries()) {
    const text = metadataText(record.metadata);
    const isNews = i === events.length - 1 && record.revision > told;
    const stored: EventRow = {
      ...{ session: head.session, revision: record.revision, kind: event, requestId: record.requestId },
      ...{ ended: moment.metadata === undefined, time: moment.time, expireTime: moment.expireTime },
      ...{ keys: keysText(record.keys), metadata: text === last ? null : text },
    };
    log.append(stored, isNews ? undefined : untold + i);
    last = text;
    head.oldestTime ??= moment.time;
  }
  unit.adopt(head, session);
}

/** Gives every version of every value of a session to `rewrite`, and stores what it returns in its place. */
export async function rewriteValues(
  queue: Queue,
  session: SessionKey,
  rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
): Promise<number> {
  let count = 0;
  let place: VersionPlace | undefined;
  do {
    const done = await queue.submit((unit) => rewritePiece(unit, session, place, rewrite));
    count += done.count;
    place = done.next;
  } while (place !== undefined);
  return count;
}

function rewritePiece(
  unit: Unit,
  session: SessionKey,
  place: VersionPlace | undefined,
  rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
): { count: number; next: VersionPlace | undefined } {
  const { versions } = unit.tables;
  const head = unit.head(session);
  if (head === undefined) return { count: 0, next: undefined };
  const piece: StoredVersion[] = [];
  let left = PIECE_BYTES;
  for (const version of versions.all(head.session, place)) {
    piece.push(version);
    left -= RECORD_BYTES + version.size;
    if (left <= 0) break;
  }
  let count = 0;
  for (const version of piece) {
    const { key, value } = version.entry;
    const rewritten = rewrite(key, value as Uint8Array);
    if (rewritten === undefined) continue;
    count++;
    const size = versions.rewrite(head.session, version, rewritten);
    if (version.ended === undefined) head.bytes += size - version.size;
  }
  unit.touch(head);
  return { count, next: left <= 0 ? piece.at(-1) : undefined };
}
