/** The answer to one gRPC call, written straight to its HTTP/2 stream. */
import type { Buffer } from "node:buffer";
import { constants, type ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { Call } from "../../service.ts";
import { toConnectError } from "../../wire.ts";
import { typedRefusal } from "../refusals.ts";

const MAX_TIMER_MS = 2 ** 31 - 1;

/** Headers, frames, and trailers with the status; each call ends in just one of the ways that gRPC has. */
export class GrpcAnswer {
  readonly #stream: ServerHttp2Stream;
  readonly #limitBytes: number;
  readonly #onError: (error: unknown) => void;
  #corked = false;
  #finished = false;

  /** @param limitBytes what a message of the caller may have */
  constructor(stream: ServerHttp2Stream, limitBytes: number, onError: (error: unknown) => void) {
    this.#stream = stream;
    this.#limitBytes = limitBytes;
    this.#onError = onError;
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
    });
    const call: Call = {
      access,
      signal: controller.signal,
      ...(timer === undefined ? {} : { timeoutMs }),
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
    if (!this.#corked) {
      // Frames that are written in one turn travel together.
      this.#corked = true;
      stream.cork();
      setImmediate(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    return stream.write(frame) ? undefined : drained(stream);
  }

  /** Ends the call well, after a last frame if there is one. */
  end(frame?: Buffer): void {
    this.#finish({ "grpc-status": "0" }, frame);
  }

  /** Ends the call with the status of what was thrown. */
  fail(error: unknown): void {
    const thrown = toConnectError(error, this.#onError);
    const status = typedRefusal(thrown, this.#limitBytes) ?? thrown;
    const trailers: Record<string, string> = {};
    setTrailerStatus(new Headers(), status).forEach((text, name) => {
      trailers[name] = text;
    });
    this.#finish(trailers, undefined);
  }

  #finish(trailers: Record<string, string>, frame: Buffer | undefined): void {
    const stream = this.#stream;
    this.#finished = true;
    if (isGone(stream)) return;
    stream.once("wantTrailers", () => {
      if (!isGone(stream)) stream.sendTrailers(trailers);
    });
    this.begin();
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
