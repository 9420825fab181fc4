/** Request bodies on their way to connect: decompressed, and every message looked at before it is decoded. */
import type { ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressionNegotiate,
  encodeEnvelope,
  pipe,
  readAllBytes,
  transformDecompressEnvelope,
  transformSplitEnvelope,
} from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { toConnectError } from "../wire.ts";

type Bytes = AsyncIterable<Uint8Array>;

const COMPRESSIONS = [compressionGzip, compressionBrotli];

/** What is done to the messages of a body. */
export interface BodyChecks {
  /** Bytes of a message, decompressed. */
  readonly limitBytes: number;
  /** Throws what the call is to fail with. */
  readonly check: (message: Uint8Array) => void;
}

/** The body with its messages checked and as they were before compression, which the header then no longer speaks of. */
export function checkedBody(body: Bytes, header: Headers, checks: BodyChecks): Bytes {
  const type = header.get("content-type") ?? "";
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
  body: Bytes,
  compression: Compression | null,
  unknown: ConnectError | undefined,
  { limitBytes, check }: BodyChecks,
): AsyncGenerator<Uint8Array> {
  if (unknown !== undefined) throw unknown;
  const bytes = await readAllBytes(body, limitBytes);
  const message = compression === null ? bytes : await compression.decompress(bytes, limitBytes);
  checkAsCall(message, check);
  yield message;
}

/** Each message has a frame. */
async function* enveloped(
  body: Bytes,
  compression: Compression | null,
  unknown: ConnectError | undefined,
  { limitBytes, check }: BodyChecks,
): AsyncGenerator<Uint8Array> {
  if (unknown !== undefined) throw unknown;
  const envelopes = pipe(
    body,
    transformSplitEnvelope(limitBytes),
    transformDecompressEnvelope(compression, limitBytes),
  );
  for await (const { flags, data } of envelopes) {
    checkAsCall(data, check);
    yield encodeEnvelope(flags, data);
  }
}

/** Connect knows its own errors only. */
function checkAsCall(message: Uint8Array, check: BodyChecks["check"]): void {
  try {
    check(message);
  } catch (error) {
    throw toConnectError(error);
  }
}
