/** The latest changes of a namespace's sessions, for those who watch them all. */
import type { EncodedForm, SessionChange, SessionFilter } from "../store.ts";
import { tooFarBehind } from "./failures.ts";
import { matches } from "./session-filter.ts";
import { type WatchSource, wake } from "./watch.ts";

/** How many changes a reader may be behind. */
const CHANGES_KEPT = 10_000;

/** The latest changes: a ring, so that a slow reader costs nothing. */
export class Changes {
  /** Called once at the next change. */
  readonly waiting: Set<() => void> = new Set();
  /** Open watches; without one nothing need be added. */
  watches = 0;
  #count = 0;
  #ring: SessionChange<EncodedForm>[] = [];
  #failure: { readonly error: unknown } | undefined;

  /** Takes in a change and wakes those who wait. */
  add(change: SessionChange<EncodedForm>): void {
    this.#ring[this.#count++ % CHANGES_KEPT] = change;
    wake(this.waiting);
  }

  /** Ends all watches with an error. */
  fail(error: unknown): void {
    this.#failure = { error };
    wake(this.waiting);
  }

  /**
   * Opens a watch that sees what is added from now on, as far as it matches.
   * @param closed is called when the watch ends
   */
  watch(filter: SessionFilter<EncodedForm>, closed?: () => void): WatchSource<SessionChange<EncodedForm>> {
    this.watches++;
    let next = this.#count;
    const read = (): SessionChange<EncodedForm> | undefined => {
      if (this.#failure !== undefined) throw this.#failure.error;
      while (next < this.#count) {
        if (this.#count - next > CHANGES_KEPT) throw tooFarBehind();
        const change = this.#ring[next++ % CHANGES_KEPT] as SessionChange<EncodedForm>;
        if (matches(change.session, filter)) return change;
      }
      return undefined;
    };
    const ended = (): void => {
      if (--this.watches === 0) this.#ring = [];
      closed?.();
    };
    return { read, progress: () => undefined, waiting: this.waiting, ended };
  }
}
