/**
 * What a server holds in memory for its callers: large requests that are on their way in, answers that they have not taken
 * yet, and room for those that are being made. Who takes nothing holds up himself first; when all of it is taken, what has
 * waited longest is let go.
 */
import { WorkflowStateError } from "../errors.ts";
import type { Room } from "../service/call.ts";

/** How much may be held. */
export interface BufferLimits {
  /** Bytes for all callers together. */
  readonly maxBytes: number;
  /** Bytes for the calls of one connection. */
  readonly maxConnectionBytes: number;
  /**
   * How long an answer may lie untaken while calls of other connections wait for its room, in milliseconds; while only those of
   * its own do, five times as long. Default: 1 s.
   */
  readonly shedAfterMs?: number;
  /** How long a call waits for room, in milliseconds; more than five times the other. Default: 10 s. */
  readonly patienceMs?: number;
}

/** Less than this of a request or an answer is not counted: what comes with a stream anyway is as much. */
export const COUNTED_BYTES: number = 16 << 10;

/** How many times as long as one of another connection an answer may lie while calls of its own wait. */
const OWN_PATIENCE = 5;

/** What one connection holds. */
export class Share {
  bytes = 0;
  /** Calls that wait until their own connection holds less. */
  readonly waiting: Set<Waiter> = new Set();
}

interface Waiter {
  readonly held: Held;
  readonly since: number;
  readonly go: () => void;
  readonly fail: (error: unknown) => void;
}

/** All that is held by a server. */
export class Buffers {
  readonly #limits: Required<BufferLimits>;
  #bytes = 0;
  /** By their connections, which hold little enough themselves: calls that wait until all connections together do. */
  readonly #waiting: Map<Share, Set<Waiter>> = new Map();
  /** What waits for its callers to take it, the oldest first. */
  readonly #untaken: Set<Held> = new Set();
  /** Connections with calls that wait until they themselves hold less. */
  readonly #crowded: Set<Share> = new Set();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limits: BufferLimits) {
    this.#limits = { shedAfterMs: 1_000, patienceMs: 10_000, ...limits };
  }

  /** Bytes that are held, or set aside for calls that run. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Sets so much room aside; the promise is there if that has to be waited for. */
  reserve(held: Held, bytes: number): Promise<void> | undefined {
    const { share } = held;
    if (held.bytes > 0) this.change(held, 0);
    held.bytes = bytes;
    if (share.waiting.size > 0 || !this.#fitsShare(held)) {
      this.#crowded.add(share);
      this.#look();
      return this.#wait(share.waiting, held);
    }
    share.bytes += bytes;
    if (this.#waiting.size === 0 && this.#fits(held)) {
      this.#bytes += bytes;
      return undefined;
    }
    const waiting = this.#wait(this.#queueOf(share), held);
    this.#admit(share);
    return waiting;
  }

  /** What is held waits for its caller: to be sent in full, or to be taken. */
  park(held: Held): void {
    held.since = performance.now();
    held.moved = held.since;
    this.#untaken.add(held);
  }

  /** Whether what is held waits for its caller. */
  isParked(held: Held): boolean {
    return this.#untaken.has(held);
  }

  /** What is held does not wait for its caller any more. */
  unpark(held: Held): void {
    this.#untaken.delete(held);
  }

  /** What is held has another size from now on, and waits to be taken; 0: nothing is held any more, nor waited for. */
  change(held: Held, bytes: number): void {
    const less = held.bytes - bytes;
    held.bytes = bytes;
    if (held.waiter !== undefined) {
      // It was never let in.
      if (!this.#leaveShare(held.waiter)) held.share.bytes -= less;
      this.#unqueue(held.waiter);
      held.waiter = undefined;
    } else {
      this.#bytes -= less;
      held.share.bytes -= less;
      this.#untaken.delete(held);
      if (bytes > 0) this.park(held);
    }
    if (less > 0) this.#admit(held.share);
    else if (this.#bytes > this.#limits.maxBytes) this.#look();
  }

  #fitsShare({ share, bytes }: Held): boolean {
    return share.bytes === 0 || share.bytes + bytes <= this.#limits.maxConnectionBytes;
  }

  #fits({ bytes }: Held): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#limits.maxBytes;
  }

  #wait(waiting: Set<Waiter>, held: Held): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    held.waiter = { held, since: performance.now(), go: resolve, fail: reject };
    waiting.add(held.waiter);
    return promise;
  }

  #queueOf(share: Share): Set<Waiter> {
    const queue = this.#waiting.get(share) ?? new Set();
    this.#waiting.set(share, queue);
    return queue;
  }

  #unqueue(waiter: Waiter): void {
    const { share } = waiter.held;
    const queue = this.#waiting.get(share);
    if (queue?.delete(waiter) === true && queue.size === 0) this.#waiting.delete(share);
  }

  /** Whether it waited for its own connection. */
  #leaveShare(waiter: Waiter): boolean {
    const { share } = waiter.held;
    const waited = share.waiting.delete(waiter);
    if (share.waiting.size === 0) this.#crowded.delete(share);
    return waited;
  }

  /** Who is next: the first of the connection that holds least, so that nobody waits behind all of another's calls. */
  #next(): Waiter | undefined {
    let least: Share | undefined;
    for (const share of this.#waiting.keys()) {
      if (least === undefined || share.bytes < least.bytes) least = share;
    }
    return least && firstOf(this.#waiting.get(least));
  }

  /** Lets in who can be, after there is more room. */
  #admit(share: Share): void {
    for (const waiter of share.waiting) {
      if (!this.#fitsShare(waiter.held)) break;
      this.#leaveShare(waiter);
      share.bytes += waiter.held.bytes;
      this.#queueOf(share).add(waiter);
    }
    for (let next = this.#next(); next !== undefined && this.#fits(next.held); next = this.#next()) {
      this.#unqueue(next);
      next.held.waiter = undefined;
      this.#bytes += next.held.bytes;
      next.go();
    }
    this.#look();
  }

  /** While calls wait, or too much is held, looks from time to time what has lain too long. */
  #look(): void {
    const isQuiet = this.#waiting.size === 0 && this.#crowded.size === 0;
    if (isQuiet && this.#bytes <= this.#limits.maxBytes) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#giveUp();
      this.#shedOwn();
      this.#shed();
      this.#look();
    }, this.#limits.shedAfterMs / 4).unref();
  }

  /** Fails the calls that have waited too long. */
  #giveUp(): void {
    const { maxBytes, maxConnectionBytes } = this.#limits;
    for (const queue of [...this.#waiting.values()]) this.#giveUpOf(queue, SERVER_FULL, maxBytes);
    for (const { waiting } of [...this.#crowded]) {
      this.#giveUpOf(waiting, CONNECTION_FULL, maxConnectionBytes);
    }
  }

  #giveUpOf(queue: Set<Waiter>, message: string, limit: number): void {
    const { shedAfterMs, patienceMs } = this.#limits;
    const before = performance.now() - patienceMs;
    for (const { held, since, fail } of queue) {
      if (since > before) break;
      held.release();
      fail(full(message, limit, shedAfterMs));
    }
  }

  /**
   * Drops what has lain too long for a call of the same connection that has waited as long, until it has room. One call of
   * each connection at a time: who reads nothing would only make work, and garbage, by more.
   */
  #shedOwn(): void {
    if (this.#crowded.size === 0) return;
    // Its caller may well be reading, but slowly, one answer after the other.
    const before = performance.now() - OWN_PATIENCE * this.#limits.shedAfterMs;
    const first = new Map([...this.#crowded].map((share) => [share, firstOf(share.waiting)]));
    for (const held of [...this.#untaken]) {
      const next = first.get(held.share);
      if (next === undefined || next !== firstOf(held.share.waiting)) continue;
      if (next.since > before || held.moved > before) continue;
      held.call.drop();
      held.release();
    }
  }

  /**
   * Drops what has lain too long, of those who hold most, until there is room for the next who waits. Not for him who holds
   * half as much himself: all that they would gain from each other is work. While more is held than may be, as events of
   * watches are made without asking, nobody need wait for that.
   */
  #shed(): void {
    const before = performance.now() - this.#limits.shedAfterMs;
    const lain = [...this.#untaken].filter(({ since }) => since <= before);
    lain.sort((a, b) => b.share.bytes - a.share.bytes || a.since - b.since);
    for (const held of lain) {
      const next = this.#next();
      if (next === undefined) {
        if (this.#bytes <= this.#limits.maxBytes || this.#bytes === held.bytes) return;
      } else {
        const { share, bytes } = next.held;
        if (held.share.bytes < 2 * (share.bytes - bytes)) return;
      }
      held.call.drop();
      held.release();
    }
  }
}

function firstOf<T>(items: Set<T> | undefined): T | undefined {
  const [first] = items ?? [];
  return first;
}

/** What can be ended because nobody takes its answer. */
export interface Droppable {
  drop(): void;
}

/** What is held for one call. */
export class Held implements Room {
  readonly #buffers: Buffers;
  readonly share: Share;
  readonly call: Droppable;
  bytes = 0;
  /** Since when it waits for its caller, as `performance.now` counts. */
  since = 0;
  /** When its caller last sent a part of it; `since` if none has come. */
  moved = 0;
  waiter: Waiter | undefined;
  #requestBytes = 0;

  constructor(buffers: Buffers, share: Share, call: Droppable) {
    this.#buffers = buffers;
    this.share = share;
    this.call = call;
  }

  /**
   * Sets room aside for a request of so many bytes that is on its way in, and for its answer; as `reserve`. At once, as who
   * holds the one and waits for the other could wait for ever.
   */
  receive(requestBytes: number, answerBytes: number): Promise<void> | undefined {
    this.#requestBytes = requestBytes;
    const waiting = this.#buffers.reserve(this, requestBytes + answerBytes);
    // Who does not go on sending is let go like who takes no answer.
    if (waiting === undefined) this.#buffers.park(this);
    return waiting?.then(() => {
      if (this.bytes > 0) this.#buffers.park(this);
    });
  }

  /** Whether it waits for its caller: to be sent in full, or to be taken. */
  get isParked(): boolean {
    return this.#buffers.isParked(this);
  }

  /** The caller goes on sending: the calls of the same connection wait for that. */
  moves(): void {
    this.moved = performance.now();
  }

  reserve(bytes: number): Promise<void> | undefined {
    this.#buffers.unpark(this);
    const wanted = this.#requestBytes + bytes;
    return wanted <= this.bytes ? undefined : this.#buffers.reserve(this, wanted);
  }

  /** The answer, or the next part of it, has so many bytes and waits to be taken. True: they count, and must be released. */
  made(bytes: number): boolean {
    const counts = bytes >= COUNTED_BYTES;
    if (counts || this.bytes > 0) this.#buffers.change(this, counts ? bytes : 0);
    return counts;
  }

  /** Nothing is held any more, nor waited for. */
  release(): void {
    if (this.bytes > 0) this.#buffers.change(this, 0);
  }
}

const SERVER_FULL =
  "The server holds as much for callers who do not go on sending or reading as it may: try again later.";
const CONNECTION_FULL =
  "The server holds as much for the calls of this connection as it may: read their answers, and try again.";

function full(message: string, limit: number, retryMs: number): WorkflowStateError {
  return new WorkflowStateError("RATE_LIMITED", message, {
    metadata: { limit: String(limit), retry_after_ms: String(retryMs) },
  });
}
