/** The iterator behind every watch: it reads a log when it is asked, waits when there is nothing, and holds no queue. */
import { storeClosed } from "./failures.ts";

/** What a watch reads. */
export interface WatchSource<Message> {
  /** The next message; `undefined`: nothing now. Throws what ends the watch. Must not skip when called again. */
  read(): Message | undefined;
  /** What to say when nothing was said for the progress interval. */
  progress(): Message | undefined;
  /** Those who are called once when there may be more to read. */
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
  #lastMessage: number = Date.now();
  #wake: (() => void) | undefined;
  readonly #release = (): void => {
    if (!this.#released) {
      this.#released = true;
      this.#signal?.removeEventListener("abort", this.#release);
      this.#source.ended();
    }
    this.#wake?.();
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
        this.#signal?.throwIfAborted();
        if (this.#closed()) throw storeClosed();
        const quietMs = Date.now() - this.#lastMessage;
        const message =
          this.#source.read() ?? (quietMs >= this.#progressMs ? this.#source.progress() : undefined);
        if (message !== undefined) {
          this.#lastMessage = Date.now();
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

  /** Waits for more to read, for the time of the next progress, or for the end. */
  #more(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wake = undefined;
        this.#source.waiting.delete(wake);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(wake, Math.max(1, Math.min(ms, 0x7fffffff)));
      this.#wake = wake;
      this.#source.waiting.add(wake);
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
