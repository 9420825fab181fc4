/** The iterator behind every watch: it reads a log when it is asked, waits when there is nothing, and holds no queue. */
import { storeClosed } from "./failures.ts";

/** What a watch reads. */
export interface WatchSource<Message> {
  /**
   * The next message; `undefined`: nothing now. Throws what ends the watch. Must not skip when called again, and is not
   * called again before it has answered. A promise that is no longer wanted is left alone.
   */
  read(): Message | undefined | Promise<Message | undefined>;
  /** What to say when nothing was said for the progress interval. */
  progress(): Message | undefined;
  /** Those who are called once when there may be more to read, or when the store closes. */
  readonly waiting: Set<() => void>;
  /** Called once when the watch ends, however it does. */
  ended(): void;
}

/**
 * A watch as an async iterator. It ends by `return`, by the signal (throwing its reason) or by what the source throws.
 * Reading happens at `next`, so a slow reader costs no memory.
 * @param progressMs after so long without a message `progress` is given; Infinity: never
 * @param closed whether the store has been closed
 */
export class Watch<Message> implements AsyncIterableIterator<Message> {
  readonly #source: WatchSource<Message>;
  readonly #signal: AbortSignal | undefined;
  readonly #progressMs: number;
  readonly #closed: () => boolean;
  #over = false;
  #released = false;
  #lastMessage: number = performance.now();
  /** Those of this watch who are called once when it ends. */
  readonly #ending: Set<() => void> = new Set();
  /** Settles, never failing, with the read that is under way. */
  #reading: Promise<void> | undefined;
  readonly #release = (): void => {
    if (!this.#released) {
      this.#released = true;
      this.#signal?.removeEventListener("abort", this.#release);
      this.#source.ended();
    }
    wake(this.#ending);
  };

  constructor(
    source: WatchSource<Message>,
    signal: AbortSignal | undefined,
    progressMs: number,
    closed: () => boolean,
  ) {
    this.#source = source;
    this.#signal = signal;
    this.#progressMs = progressMs;
    this.#closed = closed;
    // A reader who went away without a word is let go when its signal says so, whether it asks again or not.
    signal?.addEventListener("abort", this.#release, { once: true });
  }

  async next(): Promise<IteratorResult<Message, undefined>> {
    try {
      while (!this.#over) {
        if (this.#reading !== undefined) {
          await this.#reading;
          continue;
        }
        this.#signal?.throwIfAborted();
        if (this.#closed()) throw storeClosed();
        const quietMs = performance.now() - this.#lastMessage;
        const read = this.#source.read();
        let message: Message | undefined;
        if (read instanceof Promise) {
          const reading = this.#beginRead();
          try {
            message = await Promise.race([read, reading.ended]);
          } catch (error) {
            throw this.#closed() ? storeClosed() : error;
          } finally {
            reading.done();
          }
          if (this.#released) continue;
          // Read again, but not for ever: what is always written to has its progress too.
          if (reading.stale && message === undefined && quietMs < this.#progressMs) continue;
        } else {
          message = read;
        }
        if (message === undefined && quietMs >= this.#progressMs) message = this.#source.progress();
        if (message !== undefined) {
          this.#lastMessage = performance.now();
          return { done: false, value: message };
        }
        await this.#more(this.#progressMs - quietMs);
      }
    } catch (error) {
      await this.return();
      throw error;
    }
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.#over = true;
    this.#release();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Notes until `done` whether there may be more than a read that began now finds; `ended` settles when the watch ends. */
  #beginRead(): { readonly ended: Promise<undefined>; stale: boolean; done(): void } {
    const ended = Promise.withResolvers<undefined>();
    const settled = Promise.withResolvers<void>();
    const end = (): void => ended.resolve(undefined);
    const woken = (): void => {
      reading.stale = true;
      if (this.#closed()) end();
      else this.#source.waiting.add(woken);
    };
    const reading = {
      ended: ended.promise,
      stale: false,
      done: (): void => {
        this.#source.waiting.delete(woken);
        this.#ending.delete(end);
        this.#reading = undefined;
        settled.resolve();
      },
    };
    this.#reading = settled.promise;
    this.#ending.add(end);
    this.#source.waiting.add(woken);
    return reading;
  }

  /** Waits for more to read, for the time of the next progress, or for the end. */
  #more(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const woken = (): void => {
        this.#ending.delete(woken);
        this.#source.waiting.delete(woken);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(woken, Math.max(1, Math.min(ms, 0x7fffffff)));
      this.#ending.add(woken);
      this.#source.waiting.add(woken);
    });
  }
}

/** Calls and forgets all who wait. */
export function wake(waiting: Set<() => void>): void {
  if (waiting.size === 0) return;
  const all = [...waiting];
  waiting.clear();
  for (const callback of all) callback();
}
