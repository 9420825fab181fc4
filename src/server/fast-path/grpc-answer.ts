/** The answer to one gRPC call, written straight to its HTTP/2 stream. */
import type { Buffer } from "node:buffer";
import { constants, type ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { CANCELLED, type Failure, failureOfStatus, type Observation } from "../../service/observer.ts";
import type { Call } from "../../service.ts";
import { toConnectError } from "../../wire.ts";
import { type Droppable, Held } from "../buffers.ts";
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
    if (!stream.write(frame)) return this.#taken(frame.length);
    this.#held?.release();
    return undefined;
  }

  async #taken(bytes: number): Promise<void> {
    const stream = this.#stream;
    this.#held?.made(bytes);
    if (!this.#timed) {
      this.#timed = true;
      // Node.js begins anew with all that is written or taken. A stream that has nothing to say is none of this.
      stream.setTimeout(this.#options.writeTimeoutMs, () => {
        if (stream.writableLength > 0) cancel(stream);
      });
    }
    await drained(stream);
    this.#held?.release();
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
    if (this.#held?.made(frame?.length ?? 0) === true) stream.setTimeout(this.#options.writeTimeoutMs);
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
