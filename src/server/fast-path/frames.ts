/** The messages of a gRPC call as they come on its HTTP/2 stream: each in a frame of a flag, four bytes of length, and itself. */
import type { Buffer } from "node:buffer";
import type { ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { COUNTED_BYTES } from "../buffers.ts";
import { ByteQueue } from "../byte-queue.ts";

const HEADER_BYTES = 5;

/** Cuts what comes into messages. Holds one message and what came with it. */
class Splitter {
  readonly #limitBytes: number;
  readonly #bytes = new ByteQueue();

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** How many bytes are held that were not given out. */
  get held(): number {
    return this.#bytes.length;
  }

  push(chunk: Buffer): void {
    this.#bytes.push(chunk);
  }

  /** All that is held, at once. */
  all(): Buffer {
    return this.#bytes.peek();
  }

  /**
   * The bytes of the next frame, Infinity while that is not known.
   * Fails as the general handler does if it is compressed or over the limit.
   */
  get frameBytes(): number {
    if (this.held < HEADER_BYTES) return Number.POSITIVE_INFINITY;
    const header = this.all();
    const size = header.readUInt32BE(1);
    if (size > this.#limitBytes) {
      const text = `message size ${size} is larger than configured readMaxBytes ${this.#limitBytes}`;
      throw new ConnectError(text, Code.ResourceExhausted);
    }
    if (((header[0] as number) & 1) !== 0) {
      throw new ConnectError(
        "received compressed envelope, but do not know how to decompress",
        Code.Internal,
      );
    }
    return HEADER_BYTES + size;
  }

  /** The next message; `undefined`: it is not all there. */
  next(): Buffer | undefined {
    const size = this.frameBytes;
    return this.held < size ? undefined : this.#bytes.take(size).subarray(HEADER_BYTES);
  }
}

/** What becomes of the one message of a call. */
export interface SingleMessage {
  /** The message has so many bytes, and is not all there; the promise is there if the rest must wait. */
  large(bytes: number): Promise<void> | undefined;
  /** Whether this message is one for the fast path: then `run` follows when the caller has said that it is all. */
  take(message: Buffer): boolean;
  run(): void;
  /** What was read is put back: the general handler must do it. */
  leave(): void;
  fail(error: unknown): void;
}

/** Reads the one message that a call has. */
export function readSingle(
  stream: ServerHttp2Stream,
  limitBytes: number,
  kind: string,
  to: SingleMessage,
): void {
  const splitter = new Splitter(limitBytes);
  let taken = false;
  let announced = false;
  const off = (): void => {
    stream.off("data", onData);
    stream.off("end", onEnd);
  };
  const fail = (text: string, code: Code): void => to.fail(new ConnectError(`protocol error: ${text}`, code));
  const onData = (chunk: Buffer): void => {
    if (taken) {
      off();
      fail(`received extra input message for ${kind} method`, Code.Unimplemented);
      return;
    }
    splitter.push(chunk);
    if (isPartial(splitter)) {
      if (announced || splitter.held < COUNTED_BYTES) return;
      announced = true;
      const waiting = to.large(splitter.frameBytes);
      if (waiting !== undefined) pauseUntil(waiting);
      return;
    }
    taken = isOne(splitter) && to.take(splitter.all().subarray(HEADER_BYTES));
    if (taken) return;
    off();
    putBack(stream, splitter.all());
    to.leave();
  };
  const pauseUntil = (waiting: Promise<void>): void => {
    stream.pause();
    waiting.then(
      () => stream.resume(),
      (error: unknown) => {
        off();
        to.fail(error);
      },
    );
  };
  const onEnd = (): void => {
    off();
    // The caller has gone: it did not say that its request was complete.
    if (stream.closed) return;
    if (taken) to.run();
    else if (splitter.held === 0) fail(`missing input message for ${kind} method`, Code.Unimplemented);
    else fail("incomplete envelope", Code.InvalidArgument);
  };
  stream.on("data", onData);
  stream.on("end", onEnd);
}

/** Puts back what was read, for a reader who begins by listening to `data`. */
function putBack(stream: ServerHttp2Stream, bytes: Buffer): void {
  stream.pause();
  stream.unshift(bytes);
  // A stream that was paused doesn't flow by itself when somebody listens, as a fresh one does.
  const onListener = (event: string): void => {
    if (event !== "data") return;
    stream.off("newListener", onListener);
    process.nextTick(() => stream.resume());
  };
  stream.on("newListener", onListener);
}

function isPartial(splitter: Splitter): boolean {
  return isPlain(splitter) && splitter.held < splitter.frameBytes;
}

function isOne(splitter: Splitter): boolean {
  return isPlain(splitter) && splitter.held === splitter.frameBytes;
}

function isPlain(splitter: Splitter): boolean {
  try {
    return splitter.frameBytes > 0;
  } catch {
    return false;
  }
}

/** The messages of a call that may have many, one after the other. */
export async function* readMessages(stream: ServerHttp2Stream, limitBytes: number): AsyncGenerator<Buffer> {
  const splitter = new Splitter(limitBytes);
  // A failure is answered on the same stream: leaving the loop must not destroy it.
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    splitter.push(chunk as Buffer);
    for (let message = splitter.next(); message !== undefined; message = splitter.next()) yield message;
  }
  if (splitter.held > 0) throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
}
