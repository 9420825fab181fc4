/** The answer to one gRPC call, written straight to its HTTP/2 stream. */
import type { Buffer } from "node:buffer";
import { constants, type ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { CANCELLED, type Failure, failureOfStatus, type Observation } from "../../service/observer.ts";
import type { Call } from "../../service.ts";
import { toConnectError } from "../../wire.ts";
import { COUNTED_BYTES, type Droppable, Held } from "../buffers.ts";
import type { Connection } from "../connections.ts";
import { typedRefusal } from "../refusals.ts";
import type { Taking } from "../untaken.ts";

const MAX_TIMER_MS = 2 ** 31 - 1;

/** What all answers of a server have in common. */
export interface GrpcAnswerOptions extends Taking {
  /** What a message of the caller may have. */
  readonly limitBytes: number;
  readonly onError: (error: unknown) => void;
}

/** Headers, frames, and trailers with the status; each call ends in just one of the ways that gRPC has. */
export class GrpcAnswer implements Droppable {
  readonly #stream: ServerHttp2Stream;
  readonly #connection: Connection | undefined;
  readonly #options: GrpcAnswerOptions;
  readonly #held: Held | undefined;
  #corked = false;
  /** Whether it is looked after that somebody takes what is written. */
  #timed = false;
  /** What was counted has been taken, or some of it; absent: nothing was. */
  #onTaken: (() => void) | undefined;
  #finished = false;
  #observation: Observation | undefined;

  constructor(stream: ServerHttp2Stream, connection: Connection | undefined, options: GrpcAnswerOptions) {
    this.#stream = stream;
    this.#connection = connection;
    this.#options = options;
    this.#held = connection && new Held(options.buffers, connection.share, this);
  }

  /** Nobody sends the rest of the request, or takes the answer, and others wait. */
  drop(): void {
    cancel(this.#stream);
  }

  /** The request has so many bytes; the promise is there if there is no room for the rest of it. */
  receive(bytes: number): Promise<void> | undefined {
    const held = this.#held;
    if (held === undefined) return undefined;
    this.#stream.once("close", () => held.release());
    this.#stream.on("data", () => held.moves());
    return held.receive(bytes, this.#options.limitBytes);
  }

  /** The call is for somebody else. */
  leave(): void {
    this.#held?.release();
  }

  /** From now on somebody sees the call, if it isn't `undefined`. */
  observedBy(observation: Observation | undefined): void {
    this.#observation = observation;
  }

  /** Runs the work of the call with its deadline. The signal aborts when that passes or the caller goes away. */
  run(
    work: (answer: GrpcAnswer, call: Call, stream: ServerHttp2Stream) => Promise<void>,
    { access, timeoutMs }: Pick<Call, "access"> & { readonly timeoutMs: number },
  ): void {
    const stream = this.#stream;
    const controller = new AbortController();
    const timer =
      timeoutMs > MAX_TIMER_MS ? undefined : setTimeout(() => controller.abort(deadlinePassed()), timeoutMs);
    stream.once("close", () => {
      clearTimeout(timer);
      if (!this.#finished) controller.abort();
      this.#held?.release();
    });
    const call: Call = {
      access,
      signal: controller.signal,
      ...(timer === undefined ? {} : { timeoutMs }),
      ...(this.#observation === undefined ? {} : { observation: this.#observation }),
      ending: this.#connection?.ending,
      room: this.#held,
    };
    work(this, call, stream).catch((error: unknown) => this.fail(error));
  }

  /** Sends the headers now, ahead of the first frame. */
  begin(): void {
    const stream = this.#stream;
    if (stream.headersSent || isGone(stream)) return;
    stream.respond({ ":status": 200, "content-type": contentTypeProto }, { waitForTrailers: true });
  }

  /** Sends a frame; the promise is there when the caller reads too slowly, and settles when there is room again. */
  write(frame: Buffer): Promise<void> | undefined {
    const stream = this.#stream;
    if (isGone(stream)) return undefined;
    this.begin();
    this.#observation?.sent();
    if (!this.#corked) {
      // Frames that are written in one turn travel together.
      this.#corked = true;
      stream.cork();
      setImmediate(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    // A stream takes several times as much before it says that it has enough.
    const lying = stream.writableLength + frame.length;
    if (lying >= COUNTED_BYTES) return this.#writeCounted(frame, lying);
    this.#held?.release();
    return stream.write(frame) ? undefined : drained(stream);
  }

  /** Large ones go one by one; of small ones as many as the stream will hold. */
  #writeCounted(frame: Buffer, lying: number): Promise<void> | undefined {
    const stream = this.#stream;
    const held = this.#held;
    this.#timeWrites();
    this.#onTaken ??= () => {
      if (held?.isParked === true && stream.writableLength < COUNTED_BYTES) held.release();
    };
    if (frame.length >= COUNTED_BYTES) {
      held?.made(lying);
      return writeTaken(stream, frame, this.#onTaken);
    }
    // At once for all that may follow.
    if (held !== undefined && !(held.isParked && held.bytes >= lying)) {
      held.made(Math.max(lying, stream.writableHighWaterMark));
    }
    return stream.write(frame, this.#onTaken) ? undefined : drained(stream);
  }

  /** From now on looks after that somebody takes what is written. */
  #timeWrites(): void {
    if (this.#timed) return;
    this.#timed = true;
    const stream = this.#stream;
    // Each time, and not once as by `setTimeout` itself: a stream that has nothing to say is none of this, but may have later.
    stream.on("timeout", () => {
      if (stream.writableLength > 0) cancel(stream);
    });
    // Node.js begins anew with all that is written or taken.
    stream.setTimeout(this.#options.writeTimeoutMs);
  }

  /** Ends the call well, after a last frame if there is one. */
  end(frame?: Buffer): void {
    this.#finish({ "grpc-status": "0" }, frame);
    // A caller who has gone has not got it.
    this.#observed(isGone(this.#stream) ? CANCELLED : undefined);
  }

  /** Ends the call with the status of what was thrown. */
  fail(error: unknown): void {
    const { limitBytes, onError } = this.#options;
    const thrown = toConnectError(error, onError);
    const status = typedRefusal(thrown, limitBytes) ?? thrown;
    const trailers: Record<string, string> = {};
    setTrailerStatus(new Headers(), status).forEach((text, name) => {
      trailers[name] = text;
    });
    this.#finish(trailers, undefined);
    this.#observed(failureOfStatus(status));
  }

  #observed(failure: Failure | undefined): void {
    const observation = this.#observation;
    this.#observation = undefined;
    observation?.end(failure);
  }

  #finish(trailers: Record<string, string>, frame: Buffer | undefined): void {
    const stream = this.#stream;
    this.#finished = true;
    if (isGone(stream)) return;
    stream.once("wantTrailers", () => {
      if (!isGone(stream)) stream.sendTrailers(trailers);
    });
    this.begin();
    // A small one is no reason for a timer of its own: the one of the call does for it.
    const lying = stream.writableLength + (frame?.length ?? 0);
    if (this.#held?.made(lying) === true) stream.setTimeout(this.#options.writeTimeoutMs);
    if (frame === undefined) stream.end();
    else stream.end(frame);
    // What the caller still sends has nobody to read it.
    if (!stream.readableEnded) stream.resume();
  }
}

/** What connect says of a deadline. */
function deadlinePassed(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}

/** Whether nothing can be sent any more: to a stream that its caller has closed Node.js throws, before it is destroyed. */
export function isGone(stream: ServerHttp2Stream): boolean {
  return stream.closed || stream.destroyed;
}

/** Stops a stream whose caller has no answer to expect. */
export function cancel(stream: ServerHttp2Stream): void {
  stream.close(constants.NGHTTP2_CANCEL);
}

/** Writes; settles when all of it is taken, or the stream is gone. */
function writeTaken(stream: ServerHttp2Stream, frame: Buffer, taken: () => void): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("close", done);
      taken();
      resolve();
    };
    stream.on("close", done);
    stream.write(frame, done);
  });
}

function drained(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done);
      stream.off("close", done);
      resolve();
    };
    stream.on("drain", done);
    stream.on("close", done);
  });
}
