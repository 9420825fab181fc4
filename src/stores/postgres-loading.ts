/** Loads into PostgreSQL: the rows of a dump, put in under a number that nobody knows yet. */
import type { StoredRecord } from "./backend.ts";
import type { Metadata } from "./metadata.ts";
import {
  bigintArray,
  byteaArray,
  bytes,
  EVENT_KINDS,
  LARGE_BYTES,
  metadataTexts,
  text,
} from "./postgres-codec.ts";
import type { Connection, TextRows } from "./postgres-connections.ts";

/** A head as it is moved. */
export type HeadRecord = StoredRecord & { readonly kind: "head" };
/** A version of an entry as it is moved. */
export type VersionRecord = StoredRecord & { readonly kind: "version" };
/** An event as it is moved. */
export type EventRecord = StoredRecord & { readonly kind: "event" };
/** A remembered answer as it is moved. */
export type RequestRecord = StoredRecord & { readonly kind: "request" };

/** About so many bytes are read or written at once, and at most so many rows. */
export const PIECE: { readonly bytes: number; readonly rows: number } = { bytes: 1 << 20, rows: 1_000 };
/** What a row counts beside its value. */
export const ROW_BYTES = 200;

/** A load that runs: the rows of one number. */
export class Loading {
  readonly #connection: Connection;
  readonly #schema: string;
  readonly #number: string;
  #versions: VersionRecord[] = [];
  #requests: RequestRecord[] = [];
  #left: number = PIECE.bytes;

  constructor(connection: Connection, schema: string, number: string) {
    this.#connection = connection;
    this.#schema = schema;
    this.#number = number;
  }

  /** Puts the records in. Gives the head; `undefined`: there were none. */
  async take(records: AsyncIterable<StoredRecord>): Promise<HeadRecord | undefined> {
    let head: HeadRecord | undefined;
    const events: EventRecord[] = [];
    for await (const record of records) {
      if (record.kind === "head") head = record;
      else if (record.kind === "event") events.push(record);
      else if (record.kind === "request") this.#requests.push(record);
      else this.#versions.push(record);
      this.#left -= ROW_BYTES + (record.kind === "version" ? (record.value?.length ?? 0) : 0);
      if (this.#left <= 0) await this.#flush();
    }
    await this.#flush();
    await this.#putEvents(events.sort((a, b) => a.revision - b.revision));
    return head;
  }

  async #flush(): Promise<void> {
    await this.#putVersions(this.#versions);
    await this.#putRequests(this.#requests);
    this.#versions = [];
    this.#requests = [];
    this.#left = PIECE.bytes;
  }

  async #putVersions(versions: readonly VersionRecord[]): Promise<void> {
    if (versions.length === 0) return;
    const s = this.#schema;
    const isLarge = ({ value }: VersionRecord): boolean => (value?.length ?? 0) > LARGE_BYTES;
    const numbers = await Promise.all(
      versions.map(async (version) => {
        if (!isLarge(version)) return undefined;
        const value = bytes(version.value as Uint8Array);
        const [[id] = []] = await this.#query(`INSERT INTO ${s}.large (value) VALUES ($1) RETURNING id`, [
          value,
        ]);
        return Number(id);
      }),
    );
    const columns = "session, revision, update_time, expire_time, large, size, key, value";
    const values = "$1::bigint, u.revision, u.update_time, u.expire_time, u.large, u.size, u.key, u.value";
    const from = `FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[])
      u(revision, ended, update_time, expire_time, large, size, key, value)`;
    await this.#query(
      `WITH rows AS MATERIALIZED (SELECT * ${from}), live AS (
         INSERT INTO ${s}.entry (${columns}) SELECT ${values} FROM rows u WHERE u.ended IS NULL)
       INSERT INTO ${s}.past (${columns}, ended) SELECT ${values}, u.ended FROM rows u WHERE u.ended IS NOT NULL`,
      [
        this.#number,
        bigintArray(versions.map(({ revision }) => revision)),
        bigintArray(versions.map(({ ended }) => ended)),
        bigintArray(versions.map(({ updateTime }) => updateTime)),
        bigintArray(versions.map(({ expireTime }) => expireTime)),
        bigintArray(numbers),
        bigintArray(versions.map(({ value }) => value?.length ?? 0)),
        byteaArray(versions.map(({ key }) => key)),
        byteaArray(versions.map((version) => (isLarge(version) ? undefined : version.value))),
      ],
    );
  }

  async #putRequests(requests: readonly RequestRecord[]): Promise<void> {
    if (requests.length === 0) return;
    await this.#query(
      `INSERT INTO ${this.#schema}.request (session, time, revision, update_time, wrote, request_id, fingerprint, kept)
       SELECT $1, u.time, u.revision, u.update_time, u.wrote = 1, u.id, u.fingerprint, u.kept
       FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[])
         u(time, revision, update_time, wrote, id, fingerprint, kept)`,
      [
        this.#number,
        bigintArray(requests.map(({ time }) => time)),
        bigintArray(requests.map(({ revision }) => revision)),
        bigintArray(requests.map(({ updateTime }) => updateTime)),
        bigintArray(requests.map(({ wrote }) => (wrote ? 1 : 0))),
        byteaArray(requests.map(({ requestId }) => requestId)),
        byteaArray(requests.map(({ fingerprint }) => fingerprint)),
        byteaArray(requests.map(({ kept }) => kept)),
      ],
    );
  }

  /** They have no transaction number: the feed tells of commits, and these were made elsewhere. */
  async #putEvents(events: readonly EventRecord[]): Promise<void> {
    const s = this.#schema;
    let standing: Metadata | undefined;
    const sent: Promise<unknown>[] = [];
    for (const { revision, event, requestId, keys, moment, metadata } of events) {
      const ended = moment.metadata === undefined;
      const replaced = ended ? metadata : standing;
      if (ended || (standing !== undefined && !sameMetadata(standing, metadata))) {
        sent.push(this.#putEarlier(revision, replaced as Metadata));
      }
      standing = ended ? undefined : metadata;
      const removed = keys.flatMap(({ removed }, i) => (removed ? [i + 1] : []));
      const size = keys.reduce((sum, { key }) => sum + Buffer.byteLength(key), 0);
      sent.push(
        this.#query(
          `INSERT INTO ${s}.event (session, revision, time, expire_time, size, kind, ended, request_id, keys, removed)
           SELECT $1, $2, $3, $4, $5 + coalesce((SELECT sum(e.size) FROM ${s}.entry e WHERE e.session = $1 AND e.revision = $2 AND e.key = ANY ($9)), 0)
             + coalesce((SELECT sum(p.size) FROM ${s}.past p WHERE p.session = $1 AND p.revision = $2 AND p.key = ANY ($9)), 0),
             $6, $7, $8, $9, $10`,
          [
            this.#number,
            revision,
            moment.time,
            moment.expireTime ?? null,
            size,
            EVENT_KINDS.indexOf(event),
            ended ? "t" : "f",
            requestId === undefined ? null : text(requestId),
            byteaArray(keys.map(({ key }) => key)),
            removed.length === 0 ? null : bigintArray(removed),
          ],
        ),
      );
      if (sent.length >= PIECE.rows) await Promise.all(sent.splice(0));
    }
    await Promise.all(sent);
  }

  #putEarlier(ended: number, metadata: Metadata): Promise<TextRows> {
    const { createTime, expireTime, idleTtlMs, forkedFrom } = metadata;
    return this.#query(
      `INSERT INTO ${this.#schema}.earlier (session, ended, create_time, expire_time, idle_ttl, forked_revision, workflow_id, user_id,
         forked_id, label_names, label_values)
       SELECT $1, $2, n[1], n[2], n[3], n[4], t[1], t[2], t[3], t[4:3 + $5], t[4 + $5:]
       FROM (SELECT $3::bigint[], $4::bytea[]) x(n, t)`,
      [
        this.#number,
        ended,
        bigintArray([createTime, expireTime, idleTtlMs, forkedFrom?.revision]),
        metadataTexts(metadata),
        Object.keys(metadata.labels).length,
      ],
    );
  }

  #query(sql: string, parameters: Parameters<Connection["query"]>[1]): Promise<TextRows> {
    return this.#connection.query(sql, parameters);
  }
}

function sameMetadata(a: Metadata, b: Metadata): boolean {
  const plain = ({ labels, ...rest }: Metadata): string =>
    JSON.stringify([
      Object.entries(rest).sort(),
      Object.entries(labels).sort(([x], [y]) => (x < y ? -1 : 1)),
    ]);
  return plain(a) === plain(b);
}
