/** What is under way on a server. */
import type { Connection } from "./connections.ts";

/** Counts what is under way, and tells when nothing is any more. */
export class InFlight {
  #count = 0;
  #onNone: (() => void) | undefined;

  /** Counts something in, also at its connection if that is open, until it emits `close`. */
  add(work: { once(event: "close", listener: () => void): unknown }, connection?: Connection): void {
    this.#count++;
    connection?.enter();
    work.once("close", () => {
      this.#count--;
      connection?.leave();
      this.#tell();
    });
  }

  /** Settles when nothing is under way. */
  none(): Promise<void> {
    return new Promise((resolve) => {
      this.#onNone = resolve;
      this.#tell();
    });
  }

  #tell(): void {
    if (this.#count === 0) {
      this.#onNone?.();
    }
  }
}
