/** What moving needs of PostgreSQL: whole dumps, loads, and new bytes for values. */
import type { EventKind } from "../store.ts";
import type { SessionKey, StoredRecord } from "./backend.ts";
import {
  bigintArray,
  byteaArray,
  bytesOf,
  EVENT_KINDS,
  headOf,
  LARGE_BYTES,
  metadataOf,
  metadataTexts,
  numbersOf,
  text,
  textOf,
  textsOf,
} from "./postgres-codec.ts";
import { type Connection, type Connections, NotSent } from "./postgres-connections.ts";
import { type Stage, translated } from "./postgres-errors.ts";
import {
  type EventRecord,
  type HeadRecord,
  Loading,
  PIECE,
  type RequestRecord,
  ROW_BYTES,
  type VersionRecord,
} from "./postgres-loading.ts";

/** A version, with what tells whether it is still the one that was read. */
interface Version {
  readonly record: VersionRecord;
  /** The number of a long value. */
  readonly large: number | undefined;
}

/** Dumps, loads and rewrites. */
export class Moving {
  readonly #connections: Connections;
  readonly #schema: string;

  /** @param schema quoted */
  constructor(connections: Connections, schema: string) {
    this.#connections = connections;
    this.#schema = schema;
  }

  /** All that is kept of a session, at one moment. @param settings what every function is given */
  async *dump(session: SessionKey, settings: Buffer): AsyncGenerator<StoredRecord> {
    const connection = await this.#hold();
    let clean = false;
    try {
      await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const records = this.#records(connection, session, settings);
      for (let done = false; !done; ) {
        const piece: StoredRecord[] = [];
        for (let left: number = PIECE.bytes; left > 0 && !done; ) {
          const next = await records.next();
          done = next.done === true;
          if (next.done === true) break;
          piece.push(next.value);
          left -= ROW_BYTES + (next.value.kind === "version" ? (next.value.value?.length ?? 0) : 0);
        }
        if (done) {
          // Most sessions are read by now: no transaction is left open while the reader does something else.
          await connection.query("COMMIT");
          clean = true;
          this.#connections.putBack(connection, clean);
        }
        yield* piece;
      }
    } catch (error) {
      throw failure(error, "reading");
    } finally {
      this.#connections.putBack(connection, clean);
    }
  }

  /**
   * Puts a dump in the place of what is kept of a session. Its rows are put in under a new number, where they are in nobody's way,
   * in the transaction that then gives them the session's name.
   */
  async load(session: SessionKey, records: AsyncIterable<StoredRecord>, settings: Buffer): Promise<void> {
    const connection = await this.#hold();
    let clean = false;
    let committing = false;
    try {
      await connection.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      const [[number] = []] = await connection.query("SELECT nextval(pg_get_serial_sequence($1, 'id'))", [
        `${this.#schema}.head`,
      ]);
      const loading = new Loading(connection, this.#schema, number as string);
      const head = await loading.take(records);
      await connection.query(`SELECT ${this.#schema}.take_place($1, $2, $3, $4, $5, $6)`, [
        settings,
        number as string,
        text(session.namespace),
        text(session.sessionId),
        head === undefined ? null : headNumbers(head),
        head?.metadata === undefined ? null : metadataTexts(head.metadata),
      ]);
      committing = true;
      await connection.query("COMMIT");
      clean = true;
    } catch (error) {
      throw failure(error, committing ? "writing" : "reading");
    } finally {
      this.#connections.putBack(connection, clean);
    }
  }

  /** Gives every version of every value to `rewrite` and stores what it returns. Returns how many it stored. */
  async rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    const connection = await this.#hold();
    let count = 0;
    try {
      const number = await this.#number(connection, session);
      for (let last: VersionRecord | undefined; number !== undefined; ) {
        const versions = await this.#versions(connection, number, last, 0);
        last = versions.at(-1)?.record;
        if (last === undefined) break;
        const changed = versions.flatMap(({ record, large }) => {
          const value = record.value as Uint8Array;
          const rewritten = rewrite(record.key, value);
          return rewritten === undefined ? [] : [{ record, large, value, rewritten }];
        });
        if (changed.length === 0) continue;
        const [[stored] = []] = await connection.query(
          `SELECT ${this.#schema}.rewrite($1, $2, $3, $4, $5, $6, $7)`,
          [
            number,
            byteaArray(changed.map(({ record }) => record.key)),
            bigintArray(changed.map(({ record }) => record.revision)),
            byteaArray(changed.map(({ value, large }) => (large === undefined ? value : undefined))),
            bigintArray(changed.map(({ large }) => large)),
            byteaArray(changed.map(({ rewritten }) => rewritten)),
            LARGE_BYTES,
          ],
        );
        count += Number(stored);
      }
      return count;
    } catch (error) {
      throw failure(error, "reading");
    } finally {
      this.#connections.putBack(connection, true);
    }
  }

  async #hold(): Promise<Connection> {
    try {
      return await this.#connections.hold();
    } catch (error) {
      throw failure(error, "before");
    }
  }

  /** The number of a session's rows. */
  async #number(connection: Connection, { namespace, sessionId }: SessionKey): Promise<string | undefined> {
    const [[number, standby] = []] = await connection.query(
      `SELECT (SELECT id FROM ${this.#schema}.head WHERE namespace = $1 AND session_id = $2), ${this.#schema}.refuse_standby()`,
      [text(namespace), text(sessionId)],
    );
    return standby === undefined ? undefined : (number ?? undefined);
  }

  async *#records(
    connection: Connection,
    session: SessionKey,
    settings: Buffer,
  ): AsyncGenerator<StoredRecord> {
    const s = this.#schema;
    const number = await this.#number(connection, session);
    if (number === undefined) return;
    const [row] = await connection.query(
      `SELECT y.n, y.t FROM ${s}.head h CROSS JOIN LATERAL ${s}.head_row(h, 0, ($2::bigint[])[1]) y WHERE h.id = $1`,
      [number, settings],
    );
    const head = headOf(row as [string, string | null]);
    yield { kind: "head", ...head };
    for (let last: VersionRecord | undefined; ; ) {
      const versions = await this.#versions(connection, number, last, head.oldest);
      last = versions.at(-1)?.record;
      if (last === undefined) break;
      for (const { record } of versions) yield record;
    }
    for (let revision = head.oldest - 1; ; ) {
      const events = await this.#events(connection, number, revision);
      yield* events;
      if (events.length === 0) break;
      revision = (events.at(-1) as EventRecord).revision;
    }
    for (let after = ""; ; ) {
      const requests = await this.#requests(connection, number, after, settings);
      yield* requests;
      if (requests.length === 0) break;
      after = (requests.at(-1) as RequestRecord).requestId;
    }
  }

  /** The versions after one, by key and revision: as many as make a piece. @param oldest those that ended by then are left out */
  async #versions(
    connection: Connection,
    number: string,
    last: VersionRecord | undefined,
    oldest: number,
  ): Promise<Version[]> {
    const s = this.#schema;
    const columns = "revision, update_time, expire_time, large, size, key, value";
    const where = "session = $1 AND (key, revision) > ($2, $3)";
    const rows = await connection.query(
      `SELECT ARRAY[v.revision, v.ended, v.update_time, v.expire_time, v.large], v.key,
         coalesce(v.value, (SELECT l.value FROM ${s}.large l WHERE l.id = v.large))
       FROM (
         SELECT *, sum(size + ${ROW_BYTES}) OVER (ORDER BY key, revision ROWS UNBOUNDED PRECEDING) - size - ${ROW_BYTES} AS before
         FROM (
           (SELECT ${columns}, NULL::bigint AS ended FROM ${s}.entry WHERE ${where} ORDER BY key LIMIT ${PIECE.rows})
           UNION ALL
           (SELECT ${columns}, ended FROM ${s}.past WHERE ${where} AND ended > $4 ORDER BY key, revision LIMIT ${PIECE.rows})
           ORDER BY key, revision LIMIT ${PIECE.rows}
         ) u
       ) v WHERE v.before < ${PIECE.bytes} ORDER BY v.key, v.revision`,
      [number, text(last?.key ?? ""), last?.revision ?? 0, oldest],
    );
    return rows.map(([n, key, value]) => {
      const [revision, ended, updateTime, expireTime, large] = numbersOf(n as string);
      const record: VersionRecord = {
        kind: "version",
        key: textOf(key as string),
        value: bytesOf(value as string),
        revision: revision as number,
        updateTime: updateTime as number,
        expireTime,
        ended,
      };
      return { record, large };
    });
  }

  async #events(connection: Connection, number: string, after: number): Promise<EventRecord[]> {
    const s = this.#schema;
    const metadata =
      "create_time, expire_time, idle_ttl, forked_revision, workflow_id, user_id, forked_id, label_names, label_values";
    const rows = await connection.query(
      `SELECT ARRAY[e.revision, e.time, e.kind, e.ended::int, e.expire_time, m.create_time, m.expire_time, m.idle_ttl, m.forked_revision],
         ARRAY[m.workflow_id, m.user_id, m.forked_id] || m.label_names || m.label_values, e.request_id, e.keys, e.removed
       FROM ${s}.event e CROSS JOIN LATERAL (
         SELECT ended, ${metadata} FROM ${s}.earlier x WHERE x.session = e.session AND x.ended >= e.revision + (NOT e.ended)::int
         UNION ALL SELECT NULL, ${metadata} FROM ${s}.head h WHERE h.id = e.session
         ORDER BY ended LIMIT 1
       ) m
       WHERE e.session = $1 AND e.revision > $2 ORDER BY e.revision LIMIT 100`,
      [number, after],
    );
    return rows.map(([n, t, requestId, keys, removed]) => {
      const numbers = numbersOf(n as string) as number[];
      const [revision, time, kind, ended, expireTime] = numbers as [number, number, number, number, number];
      const gone = new Set(removed === null || removed === "{}" ? [] : numbersOf(removed as string));
      const left = metadataOf(numbers, 5, t as string | null);
      return {
        kind: "event",
        revision,
        event: EVENT_KINDS[kind] as EventKind,
        requestId: typeof requestId === "string" ? textOf(requestId) : undefined,
        keys: textsOf(keys as string).map((key, i) => ({
          key: textOf(key as string),
          removed: gone.has(i + 1),
        })),
        moment: { metadata: ended === 1 ? undefined : left, time, expireTime },
        metadata: left,
      };
    });
  }

  async #requests(
    connection: Connection,
    number: string,
    after: string,
    settings: Buffer,
  ): Promise<RequestRecord[]> {
    const s = this.#schema;
    const rows = await connection.query(
      `SELECT ARRAY[time, revision, update_time, wrote::int], request_id, fingerprint, kept FROM ${s}.request
       WHERE session = $1 AND request_id > $2 AND time > ${s}.now_ms($3::bigint[]) - ($3::bigint[])[3]
       ORDER BY request_id LIMIT 100`,
      [number, text(after), settings],
    );
    return rows.map(([n, requestId, fingerprint, kept]) => {
      const [time, revision, updateTime, wrote] = numbersOf(n as string);
      return {
        kind: "request",
        requestId: textOf(requestId as string),
        time: time as number,
        fingerprint: textOf(fingerprint as string),
        kept: typeof kept === "string" ? bytesOf(kept) : undefined,
        revision: revision as number,
        updateTime,
        wrote: wrote === 1,
      };
    });
  }
}

function headNumbers(head: HeadRecord): Buffer {
  const { metadata, revision, born, oldest, expiredRevision, metadataRevision, updateTime, activeTime } =
    head;
  return bigintArray([
    metadata === undefined ? 0 : 1,
    revision,
    born,
    oldest,
    expiredRevision,
    metadataRevision,
    updateTime,
    activeTime,
    metadata?.createTime,
    metadata?.expireTime,
    metadata?.idleTtlMs,
    metadata?.forkedFrom?.revision,
  ]);
}

function failure(error: unknown, stage: Stage): Error {
  // What the records failed with is not ours.
  if (error instanceof NotSent) return translated(error.cause, "before");
  return translated(error, stage);
}
