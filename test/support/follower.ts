/** A watch on a session that is held to its word: every revision once, in order, without a gap. */
import { isDeepStrictEqual } from "node:util";
import type { WorkflowStateStore } from "../../src/store.ts";

/** Follows a session from its first revision, or from a later one, until it is stopped. */
export class Follower {
  readonly #abort: AbortController = new AbortController();
  readonly #revisions: number[] = [];
  readonly #done: Promise<void>;
  #wake: () => void = () => {};
  #failure: unknown;

  constructor(store: WorkflowStateStore, sessionId: string, afterRevision = 0) {
    this.#done = this.#follow(store, sessionId, afterRevision);
  }

  /** The revisions of the events, as they came. */
  get revisions(): readonly number[] {
    return this.#revisions;
  }

  /** Waits for the event of a revision; fails if the watch ends before, or if it does not come in time. */
  async reached(revision: number, timeoutMs = 10_000): Promise<void> {
    const until = performance.now() + timeoutMs;
    while ((this.#revisions.at(-1) ?? 0) < revision) {
      if (this.#failure !== undefined) throw this.#failure;
      const left = until - performance.now();
      if (left <= 0) throw new Error(`The watch saw ${this.#revisions.at(-1)}, not ${revision}.`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends it; gives what was wrong with it, were all revisions from `after` to `last` to come. */
  async stop(last: number, after = 0): Promise<string[]> {
    this.#abort.abort();
    await this.#done;
    const problems: string[] = [];
    if (this.#failure !== undefined) problems.push(`the watch ended: ${String(this.#failure)}`);
    const expected = Array.from({ length: last - after }, (_, i) => after + 1 + i);
    if (!isDeepStrictEqual(this.#revisions, expected)) {
      const first = this.#revisions.findIndex((revision, i) => revision !== expected[i]);
      const at = first < 0 ? this.#revisions.length : first;
      const saw = this.#revisions.slice(Math.max(0, at - 2), at + 3).join(", ");
      problems.push(`a watch of ${after + 1} to ${last} saw …${saw}… from place ${at} on`);
    }
    return problems;
  }

  async #follow(store: WorkflowStateStore, sessionId: string, afterRevision: number): Promise<void> {
    const { signal } = this.#abort;
    try {
      for await (const message of store.watchSession(sessionId, { afterRevision, signal })) {
        if (message.kind === "event") this.#revisions.push(message.event.revision);
        this.#wake();
      }
      if (!signal.aborted) this.#failure = new Error("the watch ended by itself");
    } catch (error) {
      if (!signal.aborted) this.#failure = error;
    } finally {
      this.#wake();
    }
  }
}
