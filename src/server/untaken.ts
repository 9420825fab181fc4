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

/** One answer, of either version of HTTP. */
export class Untaken implements Droppable {
  readonly held: Held;
  readonly #response: ServerResponse | Http2ServerResponse;
  readonly #writeTimeoutMs: number;
  #timed = false;

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
      if (!counted && bytes >= COUNTED_BYTES) {
        counted = true;
        await this.held.receive(mostBytes, mostBytes)?.catch((error: unknown) => {
          throw toConnectError(error);
        });
      }
      yield piece;
    }
  }

  /** The same body. Each chunk counts from when it is there until the next is asked for: then it was taken. */
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
            this.held.release();
            return chunks.next().then(step);
          },
          throw: (error) => (chunks.throw?.(error) ?? Promise.reject(error)).then(step),
          return: () => chunks.return?.() ?? Promise.resolve({ done: true, value: undefined }),
        };
      },
    };
  }

  #made(bytes: number): void {
    // Connect keeps the message of which it made the chunk.
    this.held.made(2 * bytes);
    if (this.#timed) return;
    this.#timed = true;
    const response = this.#response;
    // Node.js begins anew with all that is written or taken. A stream that has nothing to say is none of this.
    if (response instanceof Http2ServerResponse) {
      response.stream.setTimeout(this.#writeTimeoutMs, () => {
        if (response.stream.writableLength > 0) this.drop();
      });
    } else {
      response.setTimeout(this.#writeTimeoutMs, () => {
        if ((response.socket?.writableLength ?? 0) > 0) this.drop();
      });
    }
  }
}
