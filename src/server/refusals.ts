/**
 * Types what connect itself refuses before a handler sees it: a malformed message, one over the limit. It says so by status
 * only, and its text may quote the message; here such a status gets an `ErrorDetail` and a text of ours, in every protocol.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  endStreamFlag,
  endStreamFromJson,
  endStreamToJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { WorkflowStateError } from "../errors.ts";
import { toConnectError } from "../wire.ts";

/**
 * The response, with the error that it may hold typed. Only of a router that doesn't compress.
 * @param onFailure told of the error that the caller is told of, if there is one, before it is
 */
export function typedRefusals(
  response: UniversalServerResponse,
  limitBytes: number,
  onFailure?: (status: ConnectError) => void,
): UniversalServerResponse {
  const typed = (error: ConnectError | undefined): ConnectError | undefined => {
    const refusal = typedRefusal(error, limitBytes);
    const status = refusal ?? error;
    if (status !== undefined) onFailure?.(status);
    return refusal;
  };
  const type = response.header?.get("content-type") ?? "";
  const { body, header, status, trailer } = response;
  if (body === undefined || header === undefined) {
    return response;
  }
  if (type.startsWith("application/grpc-web")) {
    return { ...response, body: rewritten(body, (frame) => webFrame(frame, typed)) };
  }
  if (type.startsWith("application/grpc")) {
    // Read when the body has been, as connect-node does: before that there is no status.
    return {
      status,
      header,
      body,
      get trailer() {
        return typedTrailer(trailer ?? new Headers(), typed);
      },
    };
  }
  if (type.startsWith("application/connect")) {
    return { ...response, body: rewritten(body, (frame) => streamFrame(frame, typed)) };
  }
  if (status !== 200) {
    // Connect has chosen the status by the code of its own error.
    let typedStatus = status;
    const chosen: Typed = (error) => {
      const refusal = typed(error);
      if (refusal !== undefined) typedStatus = codeToHttpStatus(refusal.code);
      return refusal;
    };
    return {
      ...response,
      // Read when the body has been, as above.
      get status() {
        return typedStatus;
      },
      body: rewritten(body, (bytes) => unaryError(bytes, header, chosen)),
    };
  }
  return response;
}

/** What connect refused, as an error of ours; `undefined`: it is one already, or no refusal of a message. */
export function typedRefusal(error: ConnectError | undefined, limitBytes: number): ConnectError | undefined {
  if (error === undefined || error.details.length > 0) {
    return undefined;
  }
  if (error.code === Code.ResourceExhausted) {
    return toConnectError(
      new WorkflowStateError("REQUEST_TOO_LARGE", `A message may have ${limitBytes} bytes.`, {
        metadata: { limit: `${limitBytes}` },
      }),
    );
  }
  // Connect calls a malformed binary message an internal error: it thinks of clients, where the server is to blame.
  if (error.code !== Code.InvalidArgument && !error.rawMessage.startsWith("parse binary: ")) {
    return undefined;
  }
  // Only values nest.
  if (/maximum recursion depth/.test(error.rawMessage)) {
    return toConnectError(
      new WorkflowStateError("INVALID_VALUE", "The value is nested too deeply.", { metadata: { path: "$" } }),
    );
  }
  const unknown = /from JSON: key "(\w{1,64})" is unknown$/.exec(error.rawMessage)?.[1];
  if (unknown !== undefined) {
    return toConnectError(
      new WorkflowStateError("INVALID_REQUEST", `The request is malformed: there is no field ${unknown}.`, {
        metadata: { field: unknown },
      }),
    );
  }
  // Of connect's text only the name of the field is safe to repeat: the rest may quote the value.
  const field = /^cannot decode field [\w.]+\.(\w+)/.exec(error.rawMessage)?.[1];
  if (field === undefined) {
    return toConnectError(new WorkflowStateError("INVALID_REQUEST", "The request is malformed."));
  }
  const illFormed = /invalid UTF8/.test(error.rawMessage);
  const reason =
    illFormed && /session_id$/.test(field)
      ? "INVALID_SESSION_ID"
      : illFormed && field === "key"
        ? "INVALID_KEY"
        : "INVALID_REQUEST";
  return toConnectError(
    new WorkflowStateError(reason, `The request is malformed: the field ${field} can't be read.`, {
      metadata: { field },
    }),
  );
}

/** What connect refused, as an error of ours; `undefined`: there is none, or it is one already. */
type Typed = (error: ConnectError | undefined) => ConnectError | undefined;

function typedTrailer(trailer: Headers, typed: Typed): Headers {
  const error = typed(findTrailerError(trailer));
  return error === undefined ? trailer : setTrailerStatus(trailer, error);
}

function webFrame(frame: Uint8Array, typed: Typed): Uint8Array {
  if (frame[0] !== trailerFlag) {
    return frame;
  }
  const trailer = trailerParse(frame.subarray(5));
  return framed(trailerFlag, trailerSerialize(typedTrailer(trailer, typed)));
}

function streamFrame(frame: Uint8Array, typed: Typed): Uint8Array {
  if (frame[0] !== endStreamFlag) {
    return frame;
  }
  const end = endStreamFromJson(frame.subarray(5));
  const error = typed(end.error);
  return error === undefined
    ? frame
    : framed(
        endStreamFlag,
        new TextEncoder().encode(JSON.stringify(endStreamToJson(end.metadata, error, undefined))),
      );
}

function unaryError(bytes: Uint8Array, header: Headers, typed: Typed): Uint8Array {
  const error = typed(errorFromJsonBytes(bytes, undefined, new ConnectError("")));
  if (error === undefined) {
    return bytes;
  }
  const body = errorToJsonBytes(error, undefined);
  header.set("content-length", `${body.byteLength}`);
  return body;
}

/** Flags, length, data: the frame of all three streaming protocols. */
function framed(flags: number, data: Uint8Array): Uint8Array {
  const frame = new Uint8Array(5 + data.byteLength);
  frame[0] = flags;
  new DataView(frame.buffer).setUint32(1, data.byteLength);
  frame.set(data, 5);
  return frame;
}

/** Connect gives one frame, or one whole body, a chunk. Its own iterator must still learn of a failed write. */
function rewritten(
  body: AsyncIterable<Uint8Array>,
  rewrite: (chunk: Uint8Array) => Uint8Array,
): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const chunks = body[Symbol.asyncIterator]();
      const then = ({ done, value }: IteratorResult<Uint8Array>): IteratorResult<Uint8Array> =>
        done === true ? { done, value: undefined } : { done: false, value: rewrite(value) };
      return {
        next: () => chunks.next().then(then),
        throw: (error) => (chunks.throw?.(error) ?? Promise.reject(error)).then(then),
        return: () => (chunks.return?.() ?? Promise.resolve({ done: true, value: undefined })).then(then),
      };
    },
  };
}
