/** What moving sessions needs of the Redis store: whole dumps, loads, and new bytes for values. */
import type { Head, SessionKey, StoredRecord } from "./backend.ts";
import { type Argument, bytes, list, number, optionalBytes, own, text } from "./redis-bytes.ts";
import { type Call, type Calls, isConfirmed, replyOf, unconfirmed } from "./redis-calls.ts";
import {
  bucketOf,
  entryOf,
  eventRecordOf,
  headOf,
  keysOf,
  metadataOf,
  referenceOf,
  rememberedOf,
  sessionOf,
} from "./redis-codec.ts";
import { unavailable } from "./redis-errors.ts";
import { Layout } from "./redis-layout.ts";
import { SCRIPTS, type Script } from "./redis-scripts.ts";

/** Bytes that one call reads or writes, about. */
const PIECE_BYTES = 1 << 20;
/** Buckets that a listing of all sessions reads at once. */
const BUCKETS_AT_ONCE = 8;
const LOOK_AT_NOTHING = ["", "-1", ""];

/** What moving needs to know of the store. */
export interface MovingContext {
  readonly calls: Calls;
  /** Those that wait for replicas, if any do. */
  readonly plans: Calls;
  /** How many replicas those wait for. */
  readonly wait: number;
  readonly buckets: number;
  readonly history: number;
  readonly historyAgeMs: number;
  readonly requestRetentionMs: number;
  tagOf(bucket: number): string;
  callOf(script: Script, session: SessionKey, args: readonly Argument[]): Call;
}

/** Moves sessions out of the store and into it. */
export class Mover {
  readonly #context: MovingContext;

  constructor(context: MovingContext) {
    this.#context = context;
  }

  /** Keys of all sessions, bucket by bucket. */
  async sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]> {
    const { calls, buckets } = this.#context;
    const keys: SessionKey[] = [];
    let bucket = after === undefined ? 0 : bucketOf(after, buckets);
    let low: Argument = after === undefined ? "[k" : Buffer.concat([Buffer.from("(k"), referenceOf(after)]);
    while (bucket < buckets && keys.length < count) {
      const some = Math.min(BUCKETS_AT_ONCE, buckets - bucket);
      const outcomes = await calls.make(
        Array.from({ length: some }, (_, i) => {
          const key = `${this.#context.tagOf(bucket + i)}index`;
          const from = i === 0 ? low : "[k";
          const limit = String(count - keys.length);
          return { key, args: ["ZRANGE", key, from, "(l", "BYLEX", "LIMIT", "0", limit] };
        }),
      );
      for (const outcome of outcomes)
        for (const member of list(replyOf(outcome))) keys.push(sessionOf(bytes(member).subarray(1)));
      bucket += some;
      low = "[k";
    }
    return keys.slice(0, count);
  }

  /**
   * All that is kept of a session, at one moment: a small one is read at once. A large one is read piece by piece, as it was
   * when the dump began; fails with STORE_UNAVAILABLE if too much of that is gone meanwhile.
   */
  async *dump(session: SessionKey): AsyncGenerator<StoredRecord> {
    const { calls, history } = this.#context;
    const whole = await calls.one(this.#context.callOf(SCRIPTS.dumpWhole, session, [String(PIECE_BYTES)]));
    if (whole === null) return;
    if (Buffer.isBuffer(whole)) return yield* this.#dumpLarge(session);
    const [head, metadata, events, versions, answers] = list(whole);
    yield { kind: "head", ...headOf(bytes(head), optionalBytes(metadata), history) };
    yield* eventsOf(list(events));
    yield* versionsOf(list(versions));
    yield* answersOf(list(answers));
  }

  async *#dumpLarge(session: SessionKey): AsyncGenerator<StoredRecord> {
    const first = await this.#head(session);
    if (first === undefined) return;
    const { head, stored, now } = first;
    yield { kind: "head", ...head };
    yield* this.#events(session, head);
    const lives = [...livesIn(stored).filter((end) => end <= head.revision && end > head.oldest), -1];
    for (const life of lives) yield* this.#versions(session, head, life);
    yield* this.#answers(session, head, now);
    const last = await this.#head(session);
    if (last === undefined || last.stored.readDoubleBE(16) > head.oldest || last.head.born !== head.born)
      throw unavailable("The session was written too often while it was read", undefined);
  }

  /** Puts a dump in the place of whatever is kept of a session. */
  async load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void> {
    const { calls, buckets, historyAgeMs, requestRetentionMs } = this.#context;
    const token = Buffer.from(crypto.getRandomValues(new Uint8Array(12))).toString("hex");
    const staged = `${this.#context.tagOf(bucketOf(session, buckets))}staged${token}`;
    const layout = new Layout();
    let parts: Argument[] = [];
    let size = 0;
    const write = async (part: readonly Argument[]): Promise<void> => {
      parts.push(...part);
      for (const argument of part) size += argument.length + 16;
      if (size >= PIECE_BYTES) await flush();
    };
    const flush = async (): Promise<void> => {
      if (parts.length > 0) await calls.one(this.#context.callOf(SCRIPTS.stage, session, [staged, ...parts]));
      parts = [];
      size = 0;
    };
    for await (const record of records) for (const part of layout.add(record)) await write(part);
    for (const part of layout.finish()) await write(part);
    await flush();
    const { head, metadata, versions, answers, events } = layout;
    const due = layout.due(historyAgeMs, requestRetentionMs);
    const counts = [versions, events, answers, due].map(String);
    const args = [staged, head, metadata, ...counts];
    const { reply, confirmed } = await this.#write(SCRIPTS.adopt, session, args);
    if (reply !== 1)
      throw unavailable("What was loaded of the session was dropped before it was whole", undefined);
    if (!confirmed) throw unconfirmed().error;
  }

  /** Gives every version of every value to `rewrite`, and stores what it returns: also at the replicas, if writes wait for them. */
  async rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    const { calls, buckets, wait } = this.#context;
    const keys = keysOf(this.#context.tagOf(bucketOf(session, buckets)), session);
    const versions = keys[3] as string;
    let count = 0;
    let cursor = "0";
    do {
      const [next, pairs] = list(
        await calls.one({ key: versions, args: ["HSCAN", versions, cursor, "COUNT", "16"] }),
      );
      const found = list(pairs);
      let args: Argument[] = [];
      let size = 0;
      const store = async (): Promise<void> => {
        if (args.length > 0) {
          const { reply, confirmed } = await this.#write(SCRIPTS.rewrite, session, args);
          if (!confirmed) throw unconfirmed().error;
          count += number(reply);
        }
        args = [];
        size = 0;
      };
      for (let i = 0; i < found.length; i += 2) {
        const field = bytes(found[i]);
        const version = bytes(found[i + 1]);
        // Metadata that was replaced has no key.
        if (field.length === 8) continue;
        const after = rewrite(field.toString("utf8", 8), own(version, 32));
        if (after === undefined) continue;
        args.push(field, version, Buffer.concat([version.subarray(0, 32), after]));
        size += 2 * version.length;
        if (size >= PIECE_BYTES) await store();
      }
      await store();
      cursor = text(next);
    } while (cursor !== "0");
    // One that finds all as it should be speaks for an earlier one too, which the replicas may not have heard of.
    if (wait > 0 && !(await this.#write(SCRIPTS.touch, session, [""])).confirmed) throw unconfirmed().error;
    return count;
  }

  /** Runs a script that writes, and waits for replicas, if writes do. Fails if it failed, not if they were too few. */
  async #write(
    script: Script,
    session: SessionKey,
    args: readonly Argument[],
  ): Promise<{ reply: unknown; confirmed: boolean }> {
    const call = { ...this.#context.callOf(script, session, args), confirm: true };
    const [outcome = {}] = await this.#context.plans.make([call]);
    return { reply: replyOf(outcome), confirmed: await isConfirmed(outcome) };
  }

  async #head(session: SessionKey): Promise<{ head: Head; stored: Buffer; now: number } | undefined> {
    const reply = await this.#context.calls.one(
      this.#context.callOf(SCRIPTS.lookDoing, session, LOOK_AT_NOTHING),
    );
    const [now, numbers, metadata] = list(reply);
    const stored = bytes(numbers);
    if (stored.length === 0) return undefined;
    return {
      head: headOf(stored, optionalBytes(metadata), this.#context.history),
      stored,
      now: number(now),
    };
  }

  async *#events(session: SessionKey, head: Head): AsyncGenerator<StoredRecord> {
    let from = head.oldest;
    while (from <= head.revision) {
      const args = [from, head.revision, PIECE_BYTES].map(String);
      const reply = await this.#context.calls.one(this.#context.callOf(SCRIPTS.dumpEvents, session, args));
      const [oldest, events] = reply === null ? [] : list(reply);
      const found = list(events ?? []);
      if (found.length === 0 || number(oldest) > from)
        throw unavailable("The session was written too often while it was read", undefined);
      yield* eventsOf(found);
      from = number(found.at(-3)) + 1;
    }
  }

  async *#versions(session: SessionKey, head: Head, life: number): AsyncGenerator<StoredRecord> {
    let from: Argument = "";
    do {
      const args: Argument[] = [head.revision, head.oldest, life].map(String);
      args.push(from, String(PIECE_BYTES));
      const reply = await this.#context.calls.one(this.#context.callOf(SCRIPTS.dumpVersions, session, args));
      const [versions, last] = reply === null ? [[], Buffer.alloc(0)] : list(reply);
      yield* versionsOf(list(versions));
      from = bytes(last);
    } while (from.length > 0);
  }

  async *#answers(session: SessionKey, head: Head, now: number): AsyncGenerator<StoredRecord> {
    const { calls, buckets, requestRetentionMs } = this.#context;
    const key = keysOf(this.#context.tagOf(bucketOf(session, buckets)), session)[5] as string;
    const given: Set<string> = new Set();
    let cursor = "0";
    do {
      const [next, pairs] = list(await calls.one({ key, args: ["HSCAN", key, cursor, "COUNT", "16"] }));
      for (const answer of answersOf(list(pairs))) {
        // What was answered since the dump began is no part of it; a scan may give something twice.
        if (answer.revision > head.revision || given.has(answer.requestId)) continue;
        // Forgotten, though nobody has swept it away yet.
        if (answer.time + requestRetentionMs <= now) continue;
        given.add(answer.requestId);
        yield answer;
      }
      cursor = text(next);
    } while (cursor !== "0");
  }
}

function* eventsOf(found: readonly unknown[]): Generator<StoredRecord> {
  for (let i = 0; i < found.length; i += 3) {
    const { kind, ended, time, expireTime, requestId, keys } = eventRecordOf(bytes(found[i + 1]));
    const metadata = metadataOf(bytes(found[i + 2]));
    yield {
      kind: "event",
      revision: number(found[i]),
      event: kind,
      requestId,
      keys: keys.map(({ key, removed }) => ({ key, removed })),
      moment: { metadata: ended ? undefined : metadata, time, expireTime },
      metadata,
    };
  }
}

function* versionsOf(found: readonly unknown[]): Generator<StoredRecord> {
  for (let i = 0; i < found.length; i += 4) {
    const entry = entryOf(text(found[i]), number(found[i + 1]), bytes(found[i + 3]));
    const ended = number(found[i + 2]);
    yield ended < 0 ? { kind: "version", ...entry } : { kind: "version", ...entry, ended };
  }
}

function* answersOf(found: readonly unknown[]): Generator<StoredRecord & { readonly kind: "request" }> {
  for (let i = 0; i < found.length; i += 2)
    yield { kind: "request", requestId: text(found[i]), ...rememberedOf(bytes(found[i + 1])) };
}

/** The revisions that ended a life of the session of which something is kept. */
function livesIn(stored: Buffer): number[] {
  const lives: number[] = [];
  for (let at = 88; at < stored.length; at += 8) lives.push(stored.readDoubleBE(at));
  return lives;
}
