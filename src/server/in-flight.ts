/** Counts what is under way, and tells when nothing is any more. */
export class InFlight {
  #count = 0;
  #onNone: (() => void) | undefined;

  /** Counts something in, until it emits `close`. */
  add(work: { once(event: "close", listener: () => void): unknown }): void {
    this.#count++;
    work.once("close", () => {
      this.#count--;
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
