/**
 * The hottest gRPC calls answered straight on the HTTP/2 stream, in front of connect's handlers: the same service functions,
 * the same bytes, a fraction of the work per call.
 *
 * It takes plain gRPC only. What is unusual (another protocol or codec, compression, an odd header, a message that is not
 * exactly one frame or not in canonical form) is left, untouched or put back, to the general handler.
 */
import type { Buffer } from "node:buffer";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Access } from "../service/access.ts";
import type { Observation, Observer } from "../service/observer.ts";
import type { Call, Service } from "../service.ts";
import type { EncodedForm, Event, WatchMessage } from "../store.ts";
import type { BatchFromWire } from "../wire.ts";
import type { Identify } from "./auth.ts";
import { http2Credentials } from "./credentials.ts";
import { decodeRequest } from "./fast-path/decode.ts";
import { encodeFrame } from "./fast-path/encode.ts";
import { readMessages, readSingle } from "./fast-path/frames.ts";
import { generalBatch } from "./fast-path/general.ts";
import { cancel, GrpcAnswer } from "./fast-path/grpc-answer.ts";
import { HttpRpc } from "./http-rpc.ts";
import type { FastPath } from "./http2.ts";
import type { Taking } from "./untaken.ts";

const SERVICE_NAME = "agenterra.state.v1.WorkflowStateService";
const SERVICE = `/${SERVICE_NAME}/`;
const NONE_REFUSED: BatchFromWire["refused"] = new Map();

/** What a call does once its request is read. */
type Work = (answer: GrpcAnswer, call: Call, stream: ServerHttp2Stream) => Promise<void>;
/** Reads a request; `undefined`: it is for the general handler. */
type Method = (message: Buffer) => Work | undefined;

/** Who may call, and how long calls may take, in milliseconds. */
export interface FastPathOptions {
  readonly identify: Identify;
  /** The deadline of a unary call that has none, or a later one. */
  readonly maxTimeoutMs: number;
  /** How long nothing may happen on the stream of a unary call. */
  readonly unaryIdleMs: number;
  /** What answers are held to until their callers take them. */
  readonly taking: Taking;
  /** Told of what fails that is no answer to a caller. */
  readonly onError: (error: unknown) => void;
  /** Sees each RPC; absent: nobody does. */
  readonly observer?: Observer | undefined;
}

/** Makes the fast path of a service. */
export function fastPath(
  service: Service,
  { identify, maxTimeoutMs, unaryIdleMs, taking, onError, observer }: FastPathOptions,
): FastPath {
  const { calls, limits } = service;
  const answerOptions = { ...taking, limitBytes: limits.requestBytes, onError };

  /** A method with one answer. */
  function unary<Request, Response>(
    decode: (message: Buffer) => Request | undefined,
    handle: (request: Request, call: Call) => Promise<Response>,
    encode: (response: Response) => Buffer,
  ): Method {
    return (message) => {
      const request = decode(message);
      return request && (async (answer, call) => answer.end(encode(await handle(request, call))));
    };
  }

  const methods: Readonly<Record<string, Method>> = {
    GetState: unary(decodeRequest.getState, calls.getState, encodeFrame.entry),
    SetState: unary(decodeRequest.setState, calls.setState, encodeFrame.entry),
    Commit: unary(decodeRequest.commit, calls.commit, encodeFrame.commit),
    Batch: unary(
      decodeRequest.batch,
      (operations, call) => calls.batch({ operations, refused: NONE_REFUSED }, call),
      encodeFrame.batch,
    ),
    WatchSession: (message) => {
      const request = decodeRequest.watchSession(message);
      return (
        request &&
        (async (answer, call) => {
          // A caller who waits for the first event must know meanwhile that the watch is open.
          answer.begin();
          for await (const next of calls.watchSession(request, call)) await answer.write(watchFrame(next));
          answer.end();
        })
      );
    },
  };

  const pipeline: Work = async (answer, call, stream) => {
    for await (const results of calls.pipeline(batches(readMessages(stream, limits.requestBytes)), call)) {
      await answer.write(encodeFrame.batch(results));
    }
    answer.end();
  };

  return (stream, headers, general, connection) => {
    const path = headers[":path"] ?? "";
    if (!path.startsWith(SERVICE)) return false;
    const name = path.slice(SERVICE.length);
    const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
    const timeoutMs = method === undefined && name !== "Pipeline" ? undefined : plainTimeout(headers);
    if (timeoutMs === undefined) return false;
    // Who is not known at once, or refused, is so by the general handler; as is who asks for a namespace.
    const access = accessOf(identify, stream, headers);
    if (access === undefined) return false;
    const answer = new GrpcAnswer(stream, connection, answerOptions);
    // Who looks on is called only once the call can't be left to the general handler any more, which calls them too.
    if (method === undefined) {
      if (observer !== undefined) answer.observedBy(begun(observer, name, stream, headers, access));
      answer.begin();
      answer.run(pipeline, { access, timeoutMs });
      return true;
    }
    let work: Work | undefined;
    const isWatch = name === "WatchSession";
    if (!isWatch) stream.setTimeout(unaryIdleMs, () => cancel(stream));
    readSingle(stream, limits.requestBytes, isWatch ? "server-streaming" : "unary", {
      large: (bytes) => answer.receive(bytes),
      take(message) {
        work = method(message);
        return work !== undefined;
      },
      run() {
        if (observer !== undefined) answer.observedBy(begun(observer, name, stream, headers, access));
        answer.run(work as Work, {
          access,
          timeoutMs: isWatch ? timeoutMs : Math.min(timeoutMs, maxTimeoutMs),
        });
      },
      leave() {
        answer.leave();
        general();
      },
      fail(error) {
        if (observer !== undefined) answer.observedBy(begun(observer, name, stream, headers, access));
        answer.fail(error);
      },
    });
    return true;
  };
}

/** Shows a call to who looks on. */
function begun(
  observer: Observer,
  method: string,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { identity, namespace }: Access,
): Observation {
  const kind = method === "WatchSession" || method === "Pipeline" ? "streaming" : "unary";
  const served = { service: SERVICE_NAME, method, kind } as const;
  const observation = observer.begin(new HttpRpc(served, headers, stream.session?.socket));
  observation.who(identity.principal, namespace);
  return observation;
}

/** What the caller may do, if that is known at once. */
function accessOf(
  identify: Identify,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): Access | undefined {
  const identity = identify.known(http2Credentials(stream, headers));
  // Who has to choose a namespace, and didn't, is told so by the general handler.
  return identity?.namespaces.length === 1 ? new Access(identity, undefined) : undefined;
}

/** The batches of a pipeline as their messages come. */
async function* batches(messages: AsyncIterable<Buffer>): AsyncGenerator<BatchFromWire> {
  for await (const message of messages) {
    const operations = decodeRequest.batch(message);
    yield operations === undefined ? generalBatch(message) : { operations, refused: NONE_REFUSED };
  }
}

/** Frames up to this are kept: of a larger one the copying costs more than the encoding. */
const KEPT_FRAME_BYTES = 16 << 10;
/** The frames of events: those who watch the same session are sent the same bytes. */
const eventFrames = new WeakMap<Event<EncodedForm>, Buffer>();

function watchFrame(message: WatchMessage<EncodedForm>): Buffer {
  if (message.kind !== "event") return encodeFrame.watch(message);
  let frame = eventFrames.get(message.event);
  if (frame === undefined) {
    frame = encodeFrame.watch(message);
    if (frame.length <= KEPT_FRAME_BYTES) eventFrames.set(message.event, frame);
  }
  return frame;
}

const UNITS_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** A host as clients send it. Others are for the general handler, which refuses what is no part of a URL. */
const PLAIN_HOST =
  /^(?:[\w.-]+|\[[\da-fA-F:]+\])(?::(?:\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]))?$/;

/** The timeout of a call that is plain gRPC, in milliseconds, Infinity if there is none; `undefined`: it is not plain. */
function plainTimeout(headers: IncomingHttpHeaders): number | undefined {
  const type = headers["content-type"];
  const encoding = headers["grpc-encoding"];
  const plain =
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (encoding === undefined || encoding === "identity") &&
    headers["x-workflow-state-namespace"] === undefined &&
    headers.expect === undefined &&
    PLAIN_HOST.test(headers[":authority"] ?? "");
  if (!plain) return undefined;
  const timeout = headers["grpc-timeout"];
  if (timeout === undefined) return Number.POSITIVE_INFINITY;
  const [, count = "", unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(timeout)) ?? [];
  const timeoutMs = Number(count) * (UNITS_MS[unit] ?? 0);
  // Not a time, or one that is over before anything is done.
  return timeoutMs >= 1 ? timeoutMs : undefined;
}
