/** Lays the records of a dump out as the Redis store keeps a session. */
import type { Head, StoredRecord } from "./backend.ts";
import { deadline } from "./metadata.ts";
import { type Argument, bufferOf, doubles } from "./redis-bytes.ts";
import { eventRecordBytes, metadataBytes, rememberedBytes } from "./redis-codec.ts";

type EventRecord = StoredRecord & { readonly kind: "event" };
type VersionRecord = StoredRecord & { readonly kind: "version" };

/** What is remembered of a version, its value left out. */
interface Placed {
  readonly revision: number;
  readonly ended: number | undefined;
  readonly expireTime: number | undefined;
  readonly size: number;
}

/** One change to what is put aside: how, which key, field, value; see the script `stage`. */
type Part = readonly [how: string, key: string, field: Argument, value: Argument];

/** Collects the records of one session; what it gives is to be put aside in any pieces. */
export class Layout {
  /** The head's numbers; empty: there is nothing. */
  head: Buffer = Buffer.alloc(0);
  metadata: Buffer = Buffer.alloc(0);
  versions = 0;
  answers = 0;
  #head: Head | undefined;
  #firstAnswer = Number.POSITIVE_INFINITY;
  #firstEvent = Number.POSITIVE_INFINITY;
  readonly #events: EventRecord[] = [];
  readonly #placed: Map<string, Placed[]> = new Map();
  readonly #requests: { readonly requestId: string; readonly time: number }[] = [];

  get events(): number {
    return this.#events.length;
  }

  /** Takes in a record; gives what of it is to be put aside now. */
  *add(record: StoredRecord): Generator<Part> {
    if (record.kind === "head") {
      this.#head = record;
    } else if (record.kind === "event") {
      this.#events.push(record);
    } else if (record.kind === "version") {
      yield this.#version(record);
    } else {
      const { requestId, time } = record;
      this.answers++;
      this.#requests.push({ requestId, time });
      yield ["h", "q", requestId, rememberedBytes(record)];
    }
  }

  /** Gives the rest, when all records are known. */
  *finish(): Generator<Part> {
    if (this.#head === undefined) return;
    this.#events.sort((a, b) => a.revision - b.revision);
    const ends = this.#events
      .filter((event) => event.moment.metadata === undefined)
      .map((event) => event.revision);
    const replaced: Map<string, number> = new Map();
    const live = { entries: 0, bytes: 0, expireTime: -1 };
    const lives: Set<number> = new Set();
    for (const [key, versions] of this.#placed) yield* this.#key(key, versions, ends, replaced, live, lives);
    yield* this.#log(this.#head, replaced);
    for (const { requestId, time } of this.#requests.sort((a, b) => a.time - b.time)) {
      this.#firstAnswer = Math.min(this.#firstAnswer, time);
      yield ["r", "r", requestId, ""];
    }
    const { revision, born, oldest, expiredRevision, metadataRevision, metadata, updateTime, activeTime } =
      this.#head;
    this.metadata = metadata === undefined ? Buffer.alloc(0) : metadataBytes(metadata);
    this.head = doubles(
      ...[revision, born, oldest, expiredRevision, metadataRevision, updateTime, activeTime],
      ...[live.entries, live.bytes, -1, live.expireTime],
      ...[...lives].sort((a, b) => a - b),
    );
  }

  /** When to look at the session first; -1: never. */
  due(historyAgeMs: number, requestRetentionMs: number): number {
    const metadata = this.#head?.metadata;
    const due = Math.min(
      this.#firstEvent + historyAgeMs,
      this.#firstAnswer + requestRetentionMs,
      (metadata && deadline(metadata, this.#head?.activeTime ?? 0)) ?? Number.POSITIVE_INFINITY,
    );
    return due === Number.POSITIVE_INFINITY ? -1 : due;
  }

  #version({ key, value, revision, updateTime, expireTime, ended }: VersionRecord): Part {
    const bytes = value ?? new Uint8Array(0);
    const versions = this.#placed.get(key) ?? [];
    this.#placed.set(key, versions);
    versions.push({ revision, ended, expireTime, size: bytes.length });
    this.versions++;
    const version = Buffer.concat([doubles(updateTime, expireTime ?? -1, 0, 0), bufferOf(bytes)]);
    return ["h", "v", field(revision, key), version];
  }

  /** Ties the versions of a key together, and says in each life of the session how it stood with the key. */
  *#key(
    key: string,
    versions: Placed[],
    ends: readonly number[],
    replaced: Map<string, number>,
    live: { entries: number; bytes: number; expireTime: number },
    lives: Set<number>,
  ): Generator<Part> {
    versions.sort((a, b) => a.revision - b.revision);
    for (const [i, { revision, ended, expireTime, size }] of versions.entries()) {
      const end = ended === undefined ? undefined : ends.find((each) => each >= ended);
      const outlived = ended !== undefined && ended === end;
      if (ended !== undefined && !outlived) replaced.set(`${ended} ${key}`, revision);
      const next = versions[i + 1];
      if (
        next !== undefined &&
        ended !== undefined &&
        !outlived &&
        (end === undefined || next.revision < end)
      ) {
        // The next one in the same life follows it.
        yield ["p", "v", field(next.revision, key), doubles(revision, ended)];
        continue;
      }
      const name = end === undefined ? "" : String(end);
      if (end !== undefined) lives.add(end);
      const gone = ended !== undefined && !outlived;
      const standing = gone ? doubles(ended, -2, 0, revision) : doubles(revision, expireTime ?? -1, size);
      yield ["h", `e${name}`, key, standing];
      yield ["z", `k${name}`, key, "0"];
      if (ended !== undefined) continue;
      live.entries++;
      live.bytes += Buffer.byteLength(key) + size;
      if (expireTime === undefined) continue;
      yield ["z", "x", key, String(expireTime)];
      if (live.expireTime < 0 || expireTime < live.expireTime) live.expireTime = expireTime;
    }
  }

  /** The events, and the metadata that they had and that was replaced since. */
  *#log(head: Head, replaced: ReadonlyMap<string, number>): Generator<Part> {
    const current = head.metadata === undefined ? undefined : metadataBytes(head.metadata);
    // From the newest: what is the same as the current metadata goes by its revision, whenever it was written.
    let after: { readonly revision: number; readonly bytes: Buffer } | undefined = current && {
      revision: head.metadataRevision,
      bytes: current,
    };
    const names: number[] = [];
    for (let i = this.#events.length - 1; i >= 0; i--) {
      const { revision, metadata, moment } = this.#events[i] as EventRecord;
      const bytes = metadataBytes(metadata);
      if (after === undefined || !after.bytes.equals(bytes) || moment.metadata === undefined) {
        // Named by the last event that had it; one that ended the session by the one before.
        after = { revision: moment.metadata === undefined ? revision - 1 : revision, bytes };
        this.versions++;
        yield ["h", "v", doubles(after.revision), bytes];
      }
      names[i] = after.revision;
    }
    for (const [i, { event, revision, requestId, keys, moment }] of this.#events.entries()) {
      this.#firstEvent = Math.min(this.#firstEvent, moment.time);
      const record = eventRecordBytes({
        kind: event,
        ended: moment.metadata === undefined,
        time: moment.time,
        expireTime: moment.expireTime,
        metadataRevision: names[i] as number,
        requestId,
        keys: keys.map(({ key, removed }) => ({
          key,
          removed,
          before: replaced.get(`${revision} ${key}`) ?? 0,
        })),
      });
      yield ["h", "l", String(revision), record];
    }
  }
}

function field(revision: number, key: string): Buffer {
  return Buffer.concat([doubles(revision), Buffer.from(key)]);
}
