/** Request bodies on their way to connect: decompressed, and every message looked at before it is decoded. */
import type { Buffer } from "node:buffer";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressionNegotiate,
  encodeEnvelope,
  pipe,
  transformDecompressEnvelope,
  transformSplitEnvelope,
} from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { toConnectError } from "../wire.ts";
import { ByteQueue } from "./byte-queue.ts";

type Received = AsyncIterable<Buffer>;

const COMPRESSIONS = [compressionGzip, compressionBrotli].map(blamingCaller);

/** Connect calls compressed bytes that are cut short an internal error, as if it had made them. */
function blamingCaller(compression: Compression): Compression {
  return {
    ...compression,
    decompress: (bytes, limitBytes) =>
      compression.decompress(bytes, limitBytes).catch((error: unknown) => {
        if (!(error instanceof ConnectError) || error.code !== Code.Internal || isMemory(error.cause))
          throw error;
        throw new ConnectError(error.rawMessage, Code.InvalidArgument, undefined, undefined, error.cause);
      }),
  };
}

function isMemory(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "Z_MEM_ERROR";
}

/** What is done to the messages of a body. */
export interface BodyChecks {
  /** Bytes of a message, decompressed. */
  readonly limitBytes: number;
  /** Throws what the call is to fail with. */
  readonly check: (message: Uint8Array) => void;
}

/** The body with its messages checked and as they were before compression, which the header then no longer speaks of. */
export function checkedBody(body: Received, header: Headers, checks: BodyChecks): AsyncIterable<Uint8Array> {
  const type = header.get("content-type")?.toLowerCase() ?? "";
  const [encoding, accepting] = type.startsWith("application/grpc")
    ? ["grpc-encoding", "grpc-accept-encoding"]
    : type.startsWith("application/connect")
      ? ["connect-content-encoding", "connect-accept-encoding"]
      : ["content-encoding", "accept-encoding"];
  const { request, error } = compressionNegotiate(COMPRESSIONS, header.get(encoding), null, accepting);
  header.delete(encoding);
  // Who lies about it gets no memory set aside; HTTP itself sees to it that it is true.
  header.delete("content-length");
  return encoding === "content-encoding"
    ? single(body, request, error, checks)
    : enveloped(body, request, error, checks);
}

/** The whole body is the message. */
async function* single(
  body: Received,
  compression: Compression | null,
  unknown: ConnectError | undefined,
  { limitBytes, check }: BodyChecks,
): AsyncGenerator<Uint8Array> {
  if (unknown !== undefined) throw unknown;
  const received = new ByteQueue();
  for await (const piece of body) {
    received.push(piece);
    if (received.length > limitBytes) throw new ConnectError("too large", Code.ResourceExhausted);
  }
  const bytes = received.take();
  const message = compression === null ? bytes : await compression.decompress(bytes, limitBytes);
  checkAsCall(message, check);
  yield message;
}

/** Each message has a frame. */
async function* enveloped(
  body: Received,
  compression: Compression | null,
  unknown: ConnectError | undefined,
  { limitBytes, check }: BodyChecks,
): AsyncGenerator<Uint8Array> {
  if (unknown !== undefined) throw unknown;
  const envelopes = pipe(
    wholeFrames(body, limitBytes),
    transformSplitEnvelope(limitBytes),
    transformDecompressEnvelope(compression, limitBytes),
  );
  for await (const { flags, data } of envelopes) {
    checkAsCall(data, check);
    yield encodeEnvelope(flags, data);
  }
}

const HEADER_BYTES = 5;

/**
 * The same bytes, in pieces that end where a frame does: of a frame in many small pieces connect takes ever longer over each,
 * and sets the whole of it aside as soon as it is announced.
 */
async function* wholeFrames(body: Received, limitBytes: number): AsyncGenerator<Uint8Array> {
  const received = new ByteQueue();
  for await (const piece of body) {
    received.push(piece);
    while (received.length >= HEADER_BYTES) {
      const size = received.peek().readUInt32BE(1);
      // What is too large is refused by what comes next, at once.
      const length = size > limitBytes ? received.length : HEADER_BYTES + size;
      if (received.length < length) break;
      yield received.take(length);
    }
  }
  // Of one whose message has not begun connect would say nothing.
  if (received.length > 0)
    throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
}

/** Connect knows its own errors only. */
function checkAsCall(message: Uint8Array, check: BodyChecks["check"]): void {
  try {
    check(message);
  } catch (error) {
    throw toConnectError(error);
  }
}
