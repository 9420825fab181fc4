/** Bytes that come in pieces and are taken out in others. */
import { Buffer } from "node:buffer";

/** Holds what came in one piece as it is, and more in one growing buffer: so many small pieces cost their bytes, not an object each. */
export class ByteQueue {
  #buffer: Buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  /** Whether there may be room after the end, and the buffer is nobody else's. */
  #growing = false;

  /** How many bytes are held. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Adds a piece, which must not change afterwards. */
  push(piece: Buffer): void {
    if (this.length === 0) {
      this.#buffer = piece;
      this.#start = 0;
      this.#end = piece.length;
      this.#growing = false;
      return;
    }
    if (!this.#growing || this.#end + piece.length > this.#buffer.length) {
      const held = this.peek();
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (held.length + piece.length)));
      this.#buffer.set(held);
      this.#start = 0;
      this.#end = held.length;
      this.#growing = true;
    }
    this.#buffer.set(piece, this.#end);
    this.#end += piece.length;
  }

  /** All that is held, and stays so. */
  peek(): Buffer {
    const isAll = this.length === this.#buffer.length;
    return isAll ? this.#buffer : this.#buffer.subarray(this.#start, this.#end);
  }

  /** Takes out so many bytes, by default all; there must be so many. */
  take(length: number = this.length): Buffer {
    this.#start += length;
    return this.#buffer.subarray(this.#start - length, this.#start);
  }
}
