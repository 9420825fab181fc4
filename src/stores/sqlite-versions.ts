/** The versions of entries: those that are live, those that commits replaced or removed, and values too large for either. */
import type { EncodedForm, Entry } from "../store.ts";
import type { EntryPage, Selection } from "./backend.ts";
import type { Cell, Database, Row, Statement } from "./sqlite-database.ts";
import { bytesOf, endOf, greater, justAfter, lesser, textOf } from "./sqlite-text.ts";

/**
 * Up to so many bytes of key and value lie in the row itself. A longer row would have pages of its own for the rest, that go to
 * the past and back with it: replacing a value of 3,000 bytes then wrote 33 KB, and 21 KB with the value apart; of 1 MiB, 2 MiB
 * instead of 1. Short values are best in the row: a table with row numbers beside its key took a page more for each write.
 */
const INLINE_BYTES = 900;

/** What a write needs to know of the entry that it replaces. */
export interface Before {
  readonly revision: number;
  /** Bytes of key and value. */
  readonly size: number;
}

/** Where a version lies: of a key, the live one or that which a revision replaced or removed. */
export interface VersionPlace {
  readonly key: Uint8Array;
  readonly ended: number | undefined;
}

/** A version as it is stored. */
export interface StoredVersion extends VersionPlace {
  readonly entry: Entry<EncodedForm>;
  /** Bytes of key and value. */
  readonly size: number;
}

const NOTHING = new Uint8Array();
const COLUMNS = "key, revision, size, update_time, expire_time, value";

/** Reads and writes versions. */
export class Versions {
  readonly #before: Statement;
  readonly #get: Statement;
  readonly #getPast: Statement;
  readonly #page: Statement;
  readonly #pageReverse: Statement;
  readonly #pageAt: Statement;
  readonly #pageAtReverse: Statement;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #keep: Statement;
  readonly #keepAll: Statement;
  readonly #delete: Statement;
  readonly #deleteAll: Statement;
  readonly #expired: Statement;
  readonly #firstExpiry: Statement;
  readonly #drop: Statement;
  readonly #dropUntil: Statement;
  readonly #dropLarge: Statement;
  readonly #large: Statement;
  readonly #insertLarge: Statement;
  readonly #deleteLarge: Statement;
  readonly #insertPast: Statement;
  readonly #count: Statement;
  readonly #valueOf: Statement;
  readonly #pastValueOf: Statement;
  readonly #rewrite: Statement;
  readonly #rewritePast: Statement;
  readonly #liveAfter: Statement;
  readonly #pastAfter: Statement;

  constructor(database: Database) {
    const prepare = (sql: string): Statement => database.prepare(sql);
    const range = "session = ? AND key >= ? AND key < ?";
    const live = (order: string): string =>
      `SELECT ${COLUMNS} FROM entry WHERE ${range} ORDER BY key ${order} LIMIT ?`;
    const at = (order: string): string =>
      `SELECT ${COLUMNS} FROM entry WHERE ${range} AND revision <= ?
       UNION ALL SELECT ${COLUMNS} FROM past WHERE ${range} AND ended > ? AND revision <= ?
       ORDER BY key ${order}`;
    const moved = "session, key, revision, size, update_time, expire_time, value";
    this.#before = prepare("SELECT revision, size FROM entry WHERE session = ? AND key = ?");
    this.#get = prepare(`SELECT ${COLUMNS} FROM entry WHERE session = ? AND key = ?`);
    this.#getPast = prepare(
      `SELECT ${COLUMNS} FROM past WHERE session = ? AND key = ? AND ended > ? ORDER BY ended LIMIT 1`,
    );
    this.#page = prepare(live("ASC"));
    this.#pageReverse = prepare(live("DESC"));
    this.#pageAt = prepare(at("ASC"));
    this.#pageAtReverse = prepare(at("DESC"));
    this.#insert = prepare(
      `INSERT INTO entry (revision, size, update_time, expire_time, value, session, key) VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#update = prepare(
      "UPDATE entry SET revision = ?, size = ?, update_time = ?, expire_time = ?, value = ? WHERE session = ? AND key = ?",
    );
    this.#keep = prepare(
      `INSERT INTO past (ended, ${moved}) SELECT ?, ${moved} FROM entry WHERE session = ? AND key = ?`,
    );
    this.#keepAll = prepare(
      `INSERT INTO past (ended, ${moved}) SELECT ?, ${moved} FROM entry WHERE session = ?`,
    );
    this.#delete = prepare("DELETE FROM entry WHERE session = ? AND key = ?");
    this.#deleteAll = prepare("DELETE FROM entry WHERE session = ?");
    this.#expired = prepare(
      `SELECT key, revision, size FROM entry INDEXED BY entry_expiring
       WHERE session = ? AND expire_time <= ? ORDER BY expire_time, key`,
    );
    this.#firstExpiry = prepare(
      `SELECT expire_time FROM entry INDEXED BY entry_expiring
       WHERE session = ? AND expire_time IS NOT NULL ORDER BY expire_time LIMIT 1`,
    );
    this.#drop = prepare("DELETE FROM past WHERE session = ? AND key = ? AND ended = ?");
    this.#dropUntil = prepare("DELETE FROM past WHERE session = ? AND ended <= ?");
    this.#dropLarge = prepare(
      "DELETE FROM large WHERE id IN (SELECT value FROM entry WHERE session = ? AND typeof(value) = 'integer')",
    );
    this.#large = prepare("SELECT value FROM large WHERE id = ?");
    this.#insertLarge = prepare("INSERT INTO large (value) VALUES (?) RETURNING id");
    this.#deleteLarge = prepare("DELETE FROM large WHERE id = ?");
    this.#insertPast = prepare(
      `INSERT INTO past (revision, size, update_time, expire_time, value, session, key, ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#count = prepare("SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE session = ?");
    this.#valueOf = prepare("SELECT value FROM entry WHERE session = ? AND key = ?");
    this.#pastValueOf = prepare("SELECT value FROM past WHERE session = ? AND key = ? AND ended = ?");
    this.#rewrite = prepare("UPDATE entry SET size = ?, value = ? WHERE session = ? AND key = ?");
    this.#rewritePast = prepare(
      "UPDATE past SET size = ?, value = ? WHERE session = ? AND key = ? AND ended = ?",
    );
    this.#liveAfter = prepare(`SELECT ${COLUMNS} FROM entry WHERE session = ? AND key > ? ORDER BY key`);
    this.#pastAfter = prepare(
      `SELECT ${COLUMNS}, ended FROM past WHERE session = ? AND (key, ended) > (?, ?) ORDER BY key, ended`,
    );
  }

  /** The live entry of a key, less its value. */
  before(session: number, key: Uint8Array): Before | undefined {
    const row = this.#before.get(session, key);
    return row && { revision: row[0] as number, size: row[1] as number };
  }

  /** The live entry of a key. */
  get(session: number, key: Uint8Array): Entry<EncodedForm> | undefined {
    const row = this.#get.get(session, key);
    return row && this.#entry(row);
  }

  /** The version of a key that was live after a revision. */
  getAt(session: number, key: Uint8Array, revision: number): Entry<EncodedForm> | undefined {
    const live = this.#get.get(session, key);
    if (live !== undefined && (live[1] as number) <= revision) return this.#entry(live);
    const past = this.#getPast.get(session, key, revision);
    return past !== undefined && (past[1] as number) <= revision ? this.#entry(past) : undefined;
  }

  /** Entries of a session as they are, or as they were after a revision. */
  select(
    session: number,
    selection: Selection,
    atRevision: number | undefined,
  ): { entries: Entry<EncodedForm>[]; more: boolean } {
    if ("prefix" in selection) return this.#list(session, selection.prefix, selection.page, atRevision);
    const entries: Entry<EncodedForm>[] = [];
    for (const key of selection.keys) {
      const bytes = bytesOf(key);
      const entry =
        atRevision === undefined ? this.get(session, bytes) : this.getAt(session, bytes, atRevision);
      if (entry !== undefined) entries.push(entry);
    }
    return { entries, more: false };
  }

  #list(
    session: number,
    prefix: string,
    page: EntryPage | undefined,
    atRevision: number | undefined,
  ): { entries: Entry<EncodedForm>[]; more: boolean } {
    const { from = "", reverse = false, count = Number.MAX_SAFE_INTEGER, bytes = Infinity } = page ?? {};
    const [low, high] = rangeOf(prefix, from, reverse);
    const entries: Entry<EncodedForm>[] = [];
    let left = bytes;
    const rows =
      atRevision === undefined
        ? (reverse ? this.#pageReverse : this.#page).iterate(session, low, high, count + 1)
        : (reverse ? this.#pageAtReverse : this.#pageAt).iterate(
            ...[session, low, high, atRevision],
            ...[session, low, high, atRevision, atRevision],
          );
    for (const row of rows) {
      left -= 64 + (row[2] as number);
      if (entries.length === count || (left < 0 && entries.length > 0)) return { entries, more: true };
      entries.push(this.#entry(row));
    }
    return { entries, more: false };
  }

  /** Entries whose time has passed, in the order in which it did. */
  expired(session: number, now: number): { key: Uint8Array; before: Before }[] {
    return this.#expired.all(session, now).map(([key, revision, size]) => ({
      key: key as Uint8Array,
      before: { revision: revision as number, size: size as number },
    }));
  }

  /** The first deadline of a session's entries. */
  firstExpiry(session: number): number | undefined {
    return this.#firstExpiry.get(session)?.[0] as number | undefined;
  }

  /** Writes an entry; the version before goes to the past. Returns the bytes of key and value. */
  put(
    session: number,
    key: Uint8Array,
    value: Uint8Array,
    revision: number,
    time: number,
    expireTime: number | undefined,
    before: Before | undefined,
  ): number {
    const size = key.length + value.length;
    if (before !== undefined) this.#keep.run(revision, session, key);
    const statement = before === undefined ? this.#insert : this.#update;
    statement.run(revision, size, time, expireTime ?? null, this.#cell(value, size), session, key);
    return size;
  }

  /** Removes an entry; its version goes to the past. */
  remove(session: number, key: Uint8Array, revision: number): void {
    this.#keep.run(revision, session, key);
    this.#delete.run(session, key);
  }

  /** Removes all entries; their versions go to the past. */
  removeAll(session: number, revision: number): void {
    this.#keepAll.run(revision, session);
    this.#deleteAll.run(session);
  }

  /** Drops the version of a key that a commit replaced or removed. */
  drop(session: number, key: string, ended: number): void {
    this.#drop.run(session, bytesOf(key), ended);
  }

  /** Drops all versions that commits up to a revision replaced or removed. */
  dropUntil(session: number, ended: number): void {
    this.#dropUntil.run(session, ended);
  }

  /** Drops everything. */
  dropAll(session: number): void {
    this.#dropUntil.run(session, Number.MAX_SAFE_INTEGER);
    this.#dropLarge.run(session);
    this.#deleteAll.run(session);
  }

  /** How many live entries there are, and the bytes of their keys and values. */
  count(session: number): { entries: number; bytes: number } {
    const [entries, bytes] = this.#count.get(session) as [number, number];
    return { entries, bytes };
  }

  /** Adds a version as it was elsewhere; `ended`: the revision that replaced or removed it. Returns its size. */
  add(
    session: number,
    { key, value, revision, updateTime, expireTime }: Entry<EncodedForm>,
    ended?: number,
  ): number {
    const bytes = bytesOf(key);
    const size = bytes.length + (value as Uint8Array).length;
    const cell = this.#cell(value as Uint8Array, size);
    const columns: Cell[] = [revision, size, updateTime, expireTime ?? null, cell, session, bytes];
    if (ended === undefined) this.#insert.run(...columns);
    else this.#insertPast.run(...columns, ended);
    return size;
  }

  /** Every version after a place, one by one: first those that are live by key, then the others by key and end. */
  *all(session: number, after: VersionPlace | undefined): Generator<StoredVersion> {
    if (after?.ended === undefined) {
      for (const row of this.#liveAfter.iterate(session, after?.key ?? NOTHING))
        yield {
          entry: this.#entry(row),
          size: row[2] as number,
          key: row[0] as Uint8Array,
          ended: undefined,
        };
    }
    const from: Cell[] = after?.ended === undefined ? [NOTHING, 0] : [after.key, after.ended];
    for (const row of this.#pastAfter.iterate(session, ...from)) {
      const ended = row[6] as number;
      yield { entry: this.#entry(row), size: row[2] as number, key: row[0] as Uint8Array, ended };
    }
  }

  /** Puts another value in the place of a version's. Returns its new size. */
  rewrite(session: number, { key, ended }: VersionPlace, value: Uint8Array): number {
    const place: Cell[] = ended === undefined ? [session, key] : [session, key, ended];
    const cell = (ended === undefined ? this.#valueOf : this.#pastValueOf).get(...place)?.[0];
    if (typeof cell === "number") this.#deleteLarge.run(cell);
    const size = key.length + value.length;
    (ended === undefined ? this.#rewrite : this.#rewritePast).run(size, this.#cell(value, size), ...place);
    return size;
  }

  #entry([key, revision, , updateTime, expireTime, value]: Row): Entry<EncodedForm> {
    return {
      key: textOf(key as Uint8Array),
      value: this.#value(value as Cell),
      revision: revision as number,
      updateTime: updateTime as number,
      expireTime: (expireTime as number | null) ?? undefined,
    };
  }

  #value(cell: Cell): Uint8Array {
    return cell instanceof Uint8Array ? cell : (this.#large.get(cell)?.[0] as Uint8Array);
  }

  /** What stands for a value in a row. A number is given as a bigint: it is kept as it is, and not made a REAL. */
  #cell(value: Uint8Array, size: number): Cell {
    return size <= INLINE_BYTES ? value : BigInt(this.#insertLarge.get(value)?.[0] as number);
  }
}

/** The keys of a page: from the first, to before the second. */
function rangeOf(prefix: string, from: string, reverse: boolean): [low: Uint8Array, high: Uint8Array] {
  const low = bytesOf(prefix);
  const high = endOf(prefix);
  if (from === "") return [low, high];
  if (reverse) return [low, lesser(high, bytesOf(from))];
  return [greater(low, justAfter(from)), high];
}
