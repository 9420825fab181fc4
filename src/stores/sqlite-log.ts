/** What commits leave beside the state: their events, which are the feed too, and the answers to request ids. */
import type { EventKind } from "../store.ts";
import type { Remembered } from "./backend.ts";
import type { Cell, Database, Row, Statement } from "./sqlite-database.ts";
import { bytesOf, textOf } from "./sqlite-text.ts";

/** Events of the last so many commits stay for the feed, also where a session's history is shorter. */
export const FEED_KEPT = 10_000;
/** How many events one trim drops at most, of those that stayed for the feed. */
const DROPPED_AT_ONCE = 256;

/** Kinds of events by the number that is stored. */
const KINDS: readonly EventKind[] = ["COMMITTED", "SAVED", "DELETED", "EXPIRED", "FORKED", "RESTORED"];
const NUMBER_OF_KIND: ReadonlyMap<EventKind, number> = new Map(KINDS.map((kind, number) => [kind, number]));

/** A key that a commit wrote or removed. */
export interface EventKey {
  readonly key: string;
  readonly removed: boolean;
}

/** An event as it is stored. */
export interface EventRow {
  readonly session: number;
  readonly revision: number;
  readonly kind: EventKind;
  /** Whether the commit left no session. */
  readonly ended: boolean;
  readonly time: number;
  readonly expireTime: number | undefined;
  readonly requestId: string | undefined;
  /** JSON: a list of keys, each after a `+` if it was written, a `-` if removed. */
  readonly keys: string;
  /** JSON; `null`: that of the event before. */
  readonly metadata: string | null;
}

/** Keys as an event stores them. */
export function keysText(keys: readonly EventKey[]): string {
  return JSON.stringify(keys.map(({ key, removed }) => (removed ? "-" : "+") + key));
}

/** The keys in a stored text. */
export function parseKeys(text: string): EventKey[] {
  return (JSON.parse(text) as string[]).map((item) => ({ key: item.slice(1), removed: item[0] === "-" }));
}

const EVENT = "session, revision, kind, ended, time, expire_time, request_id, keys, metadata";

/** Reads and writes events and answers. */
export class Log {
  readonly #append: Statement;
  readonly #least: Statement;
  readonly #at: Statement;
  readonly #range: Statement;
  readonly #rangeReverse: Statement;
  readonly #metadataAt: Statement;
  readonly #setMetadata: Statement;
  readonly #first: Statement;
  readonly #firstAfterTime: Statement;
  readonly #oldest: Statement;
  readonly #dropBelow: Statement;
  readonly #end: Statement;
  readonly #after: Statement;
  readonly #remembered: Statement;
  readonly #remember: Statement;
  readonly #requests: Statement;
  readonly #forgetAll: Statement;
  readonly #hasRequest: Statement;
  readonly #oldRequests: Statement;
  readonly #forget: Statement;
  readonly #oldestRequest: Statement;

  constructor(database: Database) {
    const prepare = (sql: string): Statement => database.prepare(sql);
    const of = "FROM event WHERE session = ?";
    const range = `SELECT ${EVENT} ${of} AND revision >= ? AND revision <= ? ORDER BY revision`;
    this.#append = prepare(`INSERT INTO event (${EVENT}, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#least = prepare("SELECT min(seq) FROM event");
    this.#at = prepare(`SELECT ${EVENT} ${of} AND revision = ?`);
    this.#range = prepare(`${range} LIMIT ?`);
    this.#rangeReverse = prepare(`${range} DESC LIMIT ?`);
    this.#metadataAt = prepare(
      `SELECT metadata ${of} AND revision <= ? AND metadata IS NOT NULL ORDER BY revision DESC LIMIT 1`,
    );
    this.#setMetadata = prepare("UPDATE event SET metadata = ? WHERE session = ? AND revision = ?");
    this.#first = prepare(
      `SELECT revision, time, metadata ${of} AND revision >= ? ORDER BY revision LIMIT 1`,
    );
    this.#firstAfterTime = prepare(`SELECT revision ${of} AND time > ? ORDER BY revision LIMIT 1`);
    this.#oldest = prepare(`SELECT revision, seq ${of} ORDER BY revision LIMIT ?`);
    this.#dropBelow = prepare("DELETE FROM event WHERE session = ? AND revision < ?");
    this.#end = prepare("SELECT seq FROM sqlite_sequence WHERE name = 'event'");
    this.#after = prepare(`SELECT ${EVENT}, seq FROM event WHERE seq > ? ORDER BY seq LIMIT ?`);
    const answer = "time, fingerprint, revision, update_time, wrote, kept";
    this.#remembered = prepare(`SELECT ${answer} FROM request WHERE session = ? AND id = ?`);
    this.#remember = prepare(
      `INSERT OR REPLACE INTO request (${answer}, session, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#requests = prepare(`SELECT ${answer}, id FROM request WHERE session = ? AND time > ?`);
    this.#forgetAll = prepare("DELETE FROM request WHERE session = ?");
    this.#hasRequest = prepare("SELECT 1 FROM request WHERE session = ? LIMIT 1");
    this.#oldRequests = prepare("SELECT session, id FROM request WHERE time <= ? ORDER BY time LIMIT ?");
    this.#forget = prepare("DELETE FROM request WHERE session = ? AND id = ?");
    this.#oldestRequest = prepare("SELECT min(time) FROM request");
  }

  /** @param seq its place below the feed (see {@link untold}); absent: it comes next in the feed */
  append(event: EventRow, seq?: number): void {
    this.#append.run(
      ...[event.session, event.revision, NUMBER_OF_KIND.get(event.kind) as number, event.ended ? 1 : 0],
      ...[event.time, event.expireTime ?? null],
      event.requestId === undefined ? null : bytesOf(event.requestId),
      ...[event.keys, event.metadata, seq ?? null],
    );
  }

  /** The first of so many places that the feed does not tell of: they are below where it begins. */
  untold(count: number): number {
    const least = (this.#least.get()?.[0] as number | null) ?? 0;
    return Math.min(0, least) - count;
  }

  /** The event of a revision, if it is stored. */
  at(session: number, revision: number): EventRow | undefined {
    const row = this.#at.get(session, revision);
    return row && eventOf(row);
  }

  /** Events of revisions `from` to `to`. */
  *range(session: number, from: number, to: number, reverse: boolean, count: number): Generator<EventRow> {
    const statement = reverse ? this.#rangeReverse : this.#range;
    for (const row of statement.iterate(session, from, to, count)) yield eventOf(row);
  }

  /** The metadata after a revision whose event is stored, as JSON; of one that ended the session the last before. */
  metadataAt(session: number, revision: number): string {
    return this.#metadataAt.get(session, revision)?.[0] as string;
  }

  /** Where the feed ends. */
  end(): number {
    return (this.#end.get()?.[0] as number | undefined) ?? 0;
  }

  /** Events after a place in the feed, each with its own. */
  after(seq: number, count: number): { event: EventRow; seq: number }[] {
    return this.#after.all(seq, count).map((row) => ({ event: eventOf(row), seq: row[9] as number }));
  }

  /** The revision of the first event made after a time. */
  firstAfterTime(session: number, time: number): number | undefined {
    return this.#firstAfterTime.get(session, time)?.[0] as number | undefined;
  }

  /** The revision below which events can go without being missed in the feed, at most `below`; a bounded number of them. */
  droppable(session: number, below: number): number {
    // Below the feed is what it never told of.
    const kept = Math.max(0, this.end() - FEED_KEPT);
    let seen = 0;
    for (const [revision, seq] of this.#oldest.iterate(session, DROPPED_AT_ONCE)) {
      if ((revision as number) >= below) break;
      if ((seq as number) > kept || ++seen === DROPPED_AT_ONCE) return revision as number;
    }
    return below;
  }

  /** Drops the events before a revision. Returns the time of the first that is left; `null`: none is. */
  dropBelow(session: number, revision: number): number | null {
    const first = this.#first.get(session, revision);
    if (first !== undefined && first[2] === null) {
      const left = first[0] as number;
      this.#setMetadata.run(this.metadataAt(session, left), session, left);
    }
    this.#dropBelow.run(session, revision);
    return (first?.[1] as number | undefined) ?? null;
  }

  /** The answer of a request id, if it was given after a time. */
  remembered(session: number, requestId: string, since: number): Remembered | undefined {
    const row = this.#remembered.get(session, bytesOf(requestId));
    return row === undefined || (row[0] as number) <= since ? undefined : rememberedOf(row);
  }

  remember(session: number, requestId: string, time: number, answer: Remembered): void {
    const { fingerprint, revision, updateTime, wrote, kept } = answer;
    this.#remember.run(
      ...[time, fingerprint, revision, updateTime ?? null, wrote ? 1 : 0, kept ?? null],
      ...[session, bytesOf(requestId)],
    );
  }

  /** All answers of a session that were given after a time. */
  *requests(
    session: number,
    since: number,
  ): Generator<{ requestId: string; time: number; answer: Remembered }> {
    for (const row of this.#requests.iterate(session, since)) {
      const requestId = textOf(row[6] as Uint8Array);
      yield { requestId, time: row[0] as number, answer: rememberedOf(row) };
    }
  }

  hasRequests(session: number): boolean {
    return this.#hasRequest.get(session) !== undefined;
  }

  /** Drops the events and answers of a session. */
  dropAll(session: number): void {
    this.#dropBelow.run(session, Number.MAX_SAFE_INTEGER);
    this.#forgetAll.run(session);
  }

  /** Forgets at most `count` answers that were given up to a time. Returns whose they were, one for each. */
  forgetUntil(time: number, count: number): number[] {
    return this.#oldRequests.all(time, count).map(([session, id]) => {
      this.#forget.run(session as number, id as Cell);
      return session as number;
    });
  }

  /** When the oldest answer was given. */
  oldestRequest(): number | undefined {
    return (this.#oldestRequest.get()?.[0] as number | null) ?? undefined;
  }
}

function eventOf(row: Row): EventRow {
  const [session, revision, kind, ended, time, expireTime, requestId, keys, metadata] = row;
  return {
    session: session as number,
    revision: revision as number,
    kind: KINDS[kind as number] as EventKind,
    ended: ended === 1,
    time: time as number,
    expireTime: (expireTime as number | null) ?? undefined,
    requestId: requestId === null ? undefined : textOf(requestId as Uint8Array),
    keys: keys as string,
    metadata: metadata as string | null,
  };
}

function rememberedOf([time, fingerprint, revision, updateTime, wrote, kept]: Row): Remembered {
  return {
    fingerprint: fingerprint as string,
    revision: revision as number,
    updateTime: (updateTime as number | null) ?? undefined,
    time: updateTime === null ? (time as number) : undefined,
    wrote: wrote === 1,
    kept: (kept as Uint8Array | null) ?? undefined,
  };
}
