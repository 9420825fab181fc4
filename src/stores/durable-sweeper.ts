/** The sweeper of a durable store: the timer behind a backend's housekeeping. */
import type { Backend } from "./backend.ts";

/** The shortest wait between two sweeps: what is past its time is hidden anyway, so a sweep that is late is only a late event. */
const LEAST_MS = 20;
/** The longest wait after sweeps that failed. */
const MOST_AFTER_FAILURE_MS = 60_000;

/** Sweeps now and then, and soon after what is known to fall due. */
export class Sweeper {
  readonly #backend: Backend;
  readonly #intervalMs: number;
  readonly #swept: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires, by `performance.now`; Infinity: it isn't set. */
  #timerAt: number = Number.POSITIVE_INFINITY;
  #failures = 0;
  #stopped = false;
  #sweeping: Promise<void> = Promise.resolve();

  /**
   * @param intervalMs the longest wait between two sweeps
   * @param swept is called after each, as it may have made commits
   */
  constructor(backend: Backend, intervalMs: number, swept: () => void) {
    this.#backend = backend;
    this.#intervalMs = intervalMs;
    this.#swept = swept;
    this.#arm(intervalMs);
  }

  /** Something falls due in so many milliseconds. */
  due(ms: number): void {
    // A millisecond more: timers may fire that much early.
    if (ms < this.#intervalMs) this.#arm(ms + 1);
  }

  /** Sweeps until nothing due is left; sweeps of this store take turns. Fails as the backend does. */
  sweep(): Promise<void> {
    const turn = this.#sweeping.then(() => this.#sweep());
    this.#sweeping = turn.catch(() => undefined);
    return turn;
  }

  /** Sweeps no more, and waits for the sweep that runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  #tick(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.sweep().catch(() => {
      // Whoever calls next is told what is wrong.
      this.#arm(Math.min(this.#intervalMs * 2 ** this.#failures++, MOST_AFTER_FAILURE_MS));
    });
  }

  async #sweep(): Promise<void> {
    while (!this.#stopped) {
      const { more, nextDue, now } = await this.#backend.sweep();
      this.#failures = 0;
      this.#swept();
      if (more) continue;
      this.#arm(Math.min(this.#intervalMs, nextDue === undefined ? this.#intervalMs : nextDue - now + 1));
      return;
    }
  }

  /** Sets the timer, if it isn't set to an earlier time. */
  #arm(ms: number): void {
    const wait = Math.max(ms, LEAST_MS);
    const at = performance.now() + wait;
    if (this.#stopped || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#tick(), wait);
    // Where timers are objects (Node), one that waits must not keep a program alive that is done.
    if (typeof this.#timer === "object") this.#timer.unref();
  }
}
