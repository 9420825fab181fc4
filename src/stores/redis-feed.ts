/** The feed of the Redis store: a stream of the latest commits in each bucket, and hints that there are new ones. */
import type { FeedChange, FeedPart, SessionKey } from "./backend.ts";
import { bytes, list, text } from "./redis-bytes.ts";
import { type Call, type Calls, replyOf } from "./redis-calls.ts";
import { feedChangeOf, sessionOf, tagOf } from "./redis-codec.ts";
import type { Client, Link } from "./redis-link.ts";

/** A place in the feed of one bucket. */
interface Place {
  /** The number of the last commit that was read; 0: none. */
  readonly number: number;
  /** What tells that commit from another of the same number: a failover may lose commits, and others take their place. */
  readonly mark: string;
}

const START: Place = { number: 0, mark: "" };

/** Where the feed ends now. */
export async function feedEnd(calls: Calls, prefix: string, buckets: number): Promise<string> {
  const outcomes = await calls.make(
    eachBucket(prefix, buckets, (key) => ["XREVRANGE", key, "+", "-", "COUNT", "1"]),
  );
  return cursorOf(
    outcomes.map((outcome) => {
      const [last] = list(replyOf(outcome));
      return last === undefined ? START : itemOf(last).place;
    }),
  );
}

/** Reads the feed after a cursor, at most `count` changes. */
export async function readFeed(
  calls: Calls,
  prefix: string,
  buckets: number,
  cursor: string,
  count: number,
): Promise<FeedPart> {
  const places = placesOf(cursor, buckets);
  const limit = String(count + 1);
  const outcomes = await calls.make(
    eachBucket(prefix, buckets, (key, i) => {
      const from = (places[i] as Place).number;
      return ["XRANGE", key, from === 0 ? "-" : `0-${from}`, "+", "COUNT", limit];
    }),
  );
  const changes: FeedChange[] = [];
  let lost = false;
  let more = false;
  // Beginning somewhere else each time, so that a busy bucket does not keep others waiting.
  const first = Math.floor(Math.random() * buckets);
  for (let n = 0; n < buckets; n++) {
    const i = (first + n) % buckets;
    const items = list(replyOf(outcomes[i])).map(itemOf);
    // The bucket may have more than it was asked for.
    if (items.length > count) more = true;
    const place = places[i] as Place;
    const known = items[0]?.place;
    if (known !== undefined && known.number === place.number && known.mark === place.mark) items.shift();
    // What was read last is gone, with what may have come after it; or the stream is not the one that it was.
    else if (place.number > 0 || (items[0] !== undefined && items[0].place.number > 1)) lost = true;
    for (const { place: next, change } of items) {
      if (changes.length === count) {
        more = true;
        break;
      }
      changes.push(change);
      places[i] = next;
    }
  }
  if (lost) return { changes: [], cursor: await feedEnd(calls, prefix, buckets), lost, more: false };
  return { changes, cursor: cursorOf(places), lost, more };
}

function eachBucket(
  prefix: string,
  buckets: number,
  command: (key: string, bucket: number) => string[],
): Call[] {
  return Array.from({ length: buckets }, (_, bucket) => {
    const key = `${tagOf(prefix, bucket)}feed`;
    return { key, args: command(key, bucket) };
  });
}

function itemOf(item: unknown): { place: Place; change: FeedChange } {
  const [id, fields] = list(item);
  const change = feedChangeOf(bytes(list(fields)[1]));
  return { place: { number: Number(text(id).slice(2)), mark: `${change.time}.${change.revision}` }, change };
}

function cursorOf(places: readonly Place[]): string {
  return places.map(({ number, mark }) => (number === 0 ? "" : `${number}.${mark}`)).join(",");
}

function placesOf(cursor: string, buckets: number): Place[] {
  const parts = cursor.split(",");
  return Array.from({ length: buckets }, (_, i) => {
    const [, number, mark = ""] = /^(\d+)\.(.*)$/.exec(parts[i] ?? "") ?? [];
    return number === undefined ? START : { number: Number(number), mark };
  });
}

/** How long to wait before a broken subscription is made again, in milliseconds. */
const AGAIN_MS = 200;

/** Tells who listens of commits, through connections of its own, as long as someone does. */
export class Hints {
  readonly #link: Link;
  readonly #channels: readonly string[];
  readonly #listeners: Set<(session: SessionKey | undefined) => void> = new Set();
  #subscribers: Client[] = [];
  #running = false;
  #closed = false;

  constructor(link: Link, prefix: string, buckets: number) {
    this.#link = link;
    this.#channels = Array.from({ length: buckets }, (_, bucket) => `${tagOf(prefix, bucket)}hints`);
  }

  /** Calls the listener at each hint until what is returned is called. */
  listen(listener: (session: SessionKey | undefined) => void): () => void {
    // A function of its own: one listener may be given twice.
    const tell = (session: SessionKey | undefined): void => listener(session);
    this.#listeners.add(tell);
    void this.#run();
    return () => {
      this.#listeners.delete(tell);
      if (this.#listeners.size === 0) this.#stop();
    };
  }

  close(): void {
    this.#closed = true;
    this.#listeners.clear();
    this.#stop();
  }

  get #wanted(): boolean {
    return !this.#closed && this.#listeners.size > 0;
  }

  /** Keeps the subscriptions while someone listens. */
  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    while (this.#wanted) {
      const broken = Promise.withResolvers<void>();
      try {
        await this.#subscribe(broken.resolve);
        // Whatever came before is not hinted at any more.
        this.#tell(undefined);
        if (this.#wanted) await broken.promise;
      } catch {
        // Hints are a convenience: whoever watches reads now and then anyway.
      }
      this.#stop();
      if (this.#wanted) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS).unref());
    }
    this.#running = false;
  }

  /** Subscribes each channel at the server that has its bucket. */
  async #subscribe(broken: () => void): Promise<void> {
    const channelsOf: Map<Client, string[]> = new Map();
    for (const channel of this.#channels) {
      const client = this.#link.readyClientOf(channel) ?? (await this.#link.clientOf(channel));
      const channels = channelsOf.get(client) ?? [];
      channels.push(channel);
      channelsOf.set(client, channels);
    }
    for (const [client, channels] of channelsOf) {
      const subscriber = client.duplicate({
        disableOfflineQueue: false,
        socket: { ...client.options.socket, reconnectStrategy: false },
      });
      this.#subscribers.push(subscriber);
      for (const event of ["error", "end", "terminated", "sharded-channel-moved"])
        subscriber.on(event, () => broken());
      await subscriber.connect();
      // The library does not end a connection that is being made when its client is destroyed.
      if (!this.#subscribers.includes(subscriber)) return subscriber.destroy();
      const onHint = (message: Buffer): void => this.#tell(sessionOf(message));
      if (!this.#link.cluster) await subscriber.sSubscribe(channels, onHint, true);
      // In a cluster the channels of one command must be of one slot.
      else for (const channel of channels) await subscriber.sSubscribe(channel, onHint, true);
    }
  }

  #tell(session: SessionKey | undefined): void {
    for (const listener of this.#listeners) listener(session);
  }

  #stop(): void {
    const subscribers = this.#subscribers;
    this.#subscribers = [];
    for (const subscriber of subscribers) subscriber.destroy();
  }
}
