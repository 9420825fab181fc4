/** Turns by key: what runs under one key runs one after the other, what runs under different keys does not wait. */
import { Mutex } from "async-mutex";

/** A mutex for every key. One that nobody holds or waits for is dropped, so idle keys cost nothing. */
export class KeyedMutex {
  readonly #locks: Map<string, { readonly mutex: Mutex; users: number }> = new Map();

  /** How many keys are held or waited for. */
  get size(): number {
    return this.#locks.size;
  }

  /**
   * Runs `work` when all that came before it under the same key has ended; returns what it returns.
   * A signal that aborts before its turn rejects with the signal's reason, and `work` never runs.
   */
  run<R>(key: string, work: () => Promise<R>, signal?: AbortSignal): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      signal?.throwIfAborted();
      const lock = this.#locks.get(key) ?? { mutex: new Mutex(), users: 0 };
      this.#locks.set(key, lock);
      lock.users += 1;
      const aborted = (): void => reject(signal?.reason);
      signal?.addEventListener("abort", aborted, { once: true });
      lock.mutex
        .runExclusive(() => {
          signal?.throwIfAborted();
          signal?.removeEventListener("abort", aborted);
          return work();
        })
        .then(resolve, reject)
        .finally(() => {
          lock.users -= 1;
          if (lock.users === 0) this.#locks.delete(key);
        });
    });
  }
}
