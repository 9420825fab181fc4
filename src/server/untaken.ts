/** Answers that connect's handlers make, on their way out: counted while nobody takes them, and ended if that lasts. */
import type { ServerResponse } from "node:http";
import { constants, Http2ServerResponse } from "node:http2";
import { toConnectError } from "../wire.ts";
import { type Buffers, COUNTED_BYTES, type Droppable, Held } from "./buffers.ts";
import type { Connection } from "./connections.ts";

/** What all answers of a server are held to. */
export interface Taking {
  readonly buffers: Buffers;
  /** How long a caller may take nothing of an answer that waits for it, in milliseconds. */
  readonly writeTimeoutMs: number;
}

/** How soon to look first whether a written answer was taken, and how often at last, in milliseconds. */
const FIRST_LOOK_MS = 5;
const LAST_LOOK_MS = 500;

/** One answer, of either version of HTTP. */
export class Untaken implements Droppable {
  readonly held: Held;
  readonly #response: ServerResponse | Http2ServerResponse;
  readonly #writeTimeoutMs: number;
  #timed = false;
  #looking = false;

  constructor(
    response: ServerResponse | Http2ServerResponse,
    connection: Connection,
    { buffers, writeTimeoutMs }: Taking,
  ) {
    this.#response = response;
    this.#writeTimeoutMs = writeTimeoutMs;
    this.held = new Held(buffers, connection.share, this);
    const stream = response instanceof Http2ServerResponse ? response.stream : response;
    stream.once("close", () => this.held.release());
  }

  /** Nobody sends the rest of the request, or takes the answer, and others wait. */
  drop(): void {
    const response = this.#response;
    if (response instanceof Http2ServerResponse) response.stream.close(constants.NGHTTP2_CANCEL);
    else response.destroy();
  }

  /** The same request. A large one counts, and waits if there is no room for the rest of it. */
  async *request(pieces: AsyncIterable<Buffer>, mostBytes: number): AsyncGenerator<Buffer> {
    let bytes = 0;
    let counted = false;
    for await (const piece of pieces) {
      bytes += piece.length;
      if (counted) this.held.moves();
      if (!counted && bytes >= COUNTED_BYTES) {
        counted = true;
        await this.held.receive(mostBytes, mostBytes)?.catch((error: unknown) => {
          throw toConnectError(error);
        });
      }
      yield piece;
    }
  }

  /** The same body. Each chunk counts from when it is there until it is taken. */
  body(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    return {
      [Symbol.asyncIterator]: () => {
        const chunks = body[Symbol.asyncIterator]();
        const step = (result: IteratorResult<Uint8Array>): IteratorResult<Uint8Array> => {
          if (result.done !== true) this.#made(result.value.length);
          return result;
        };
        return {
          next: () => {
            this.#written();
            return chunks.next().then(step);
          },
          throw: (error) => (chunks.throw?.(error) ?? Promise.reject(error)).then(step),
          return: () => chunks.return?.() ?? Promise.resolve({ done: true, value: undefined }),
        };
      },
    };
  }

  /** How many bytes are written, and not taken. */
  get #lying(): number {
    const response = this.#response;
    return response instanceof Http2ServerResponse ? response.stream.writableLength : response.writableLength;
  }

  /** All chunks were written; but a stream takes several times as much before it says that it has enough. */
  #written(): void {
    const isLying = this.held.isParked && this.#lying >= COUNTED_BYTES;
    if (!isLying) this.held.release();
    else if (!this.#looking) this.#lookAgain(FIRST_LOOK_MS);
  }

  /** Nobody tells when it is taken: connect has been told that it is written. */
  #lookAgain(ms: number): void {
    this.#looking = true;
    setTimeout(() => {
      this.#looking = false;
      // What is set aside for the work of the call stays.
      if (!this.held.isParked) return;
      if (this.#lying < COUNTED_BYTES) this.held.release();
      else this.#lookAgain(Math.min(2 * ms, LAST_LOOK_MS));
    }, ms).unref();
  }

  #made(bytes: number): void {
    // Connect keeps the message of which it made the chunk.
    this.held.made(2 * bytes + this.#lying);
    if (this.#timed) return;
    this.#timed = true;
    const response = this.#response;
    // Each time, and not once as by `setTimeout` itself: a stream that has nothing to say is none of this, but may have later.
    const onTimeout = (): void => {
      if (this.#lying > 0) this.drop();
    };
    // Node.js begins anew with all that is written or taken.
    if (response instanceof Http2ServerResponse) {
      response.stream.on("timeout", onTimeout);
      response.stream.setTimeout(this.#writeTimeoutMs);
    } else {
      response.on("timeout", onTimeout);
      response.setTimeout(this.#writeTimeoutMs);
    }
  }
}
