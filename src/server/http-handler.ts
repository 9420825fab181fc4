/** Answers HTTP requests, of either version, with connect's handlers; what is no request of ours gets a plain HTTP status. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { isIPv6 } from "node:net";
import {
  Code,
  type ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextValues,
} from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { WorkflowStateError } from "../errors.ts";
import type { Identity } from "../service/access.ts";
import { saysCallerGone } from "../service/call.ts";
import {
  CANCELLED,
  type Failure,
  failureOfStatus,
  type Observation,
  type Observer,
} from "../service/observer.ts";
import { callerKey, connectionKey, observationKey } from "../service/routes.ts";
import { jsonText } from "../wire/json-keys.ts";
import type { Identify } from "./auth.ts";
import { checkedBody } from "./checked-body.ts";
import type { Connections } from "./connections.ts";
import { credentialsOf } from "./credentials.ts";
import { HttpRpc } from "./http-rpc.ts";
import { checkBinaryParts, checkJsonParts } from "./message-parts.ts";
import { typedRefusals } from "./refusals.ts";
import { type Taking, Untaken } from "./untaken.ts";

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/** How requests are handled. */
export interface HttpHandlerOptions {
  /** Routes for binary callers. */
  readonly binary: (router: ConnectRouter) => void;
  /** Routes for all others. */
  readonly json: (router: ConnectRouter) => void;
  /** Routes with one schema for all callers. */
  readonly common: readonly ((router: ConnectRouter) => void)[];
  /** The HTTP status that a GET of a path is answered with; `undefined`: there is no such path. */
  readonly probe: (path: string) => number | undefined;
  /** Tells who makes a call. */
  readonly identify: Identify;
  /** Whose requests come, and what answers are held to until they are taken; absent: nobody looks after either. */
  readonly connections?: Connections | undefined;
  readonly taking?: Taking | undefined;
  /** Sees each RPC; absent: nobody does. */
  readonly observer?: Observer | undefined;
  /** Bytes of a message, decompressed. */
  readonly messageBytes: number;
  /** How long nothing may happen on the HTTP/2 stream of a unary call, in milliseconds. */
  readonly unaryIdleMs: number;
  /** Told of what fails outside a handler. */
  readonly onError: (error: unknown) => void;
}

/** Makes a listener for `request` events. It never throws. */
export function httpHandler(options: HttpHandlerOptions): (request: Request, response: Response) => void {
  const { messageBytes, unaryIdleMs, onError, observer, connections, taking } = options;
  const binary = handlersByPath([options.binary, ...options.common], messageBytes);
  const json = handlersByPath([options.json, ...options.common], messageBytes);

  return (request, response) => {
    try {
      const [path = "", query] = (request.url ?? "").split("?", 2);
      const ofBinary = isBinary(request, query);
      const handler = (ofBinary ? binary : json).get(path);
      if (handler === undefined) {
        const probed =
          request.method === "GET" || request.method === "HEAD" ? options.probe(path) : undefined;
        answer(response, probed ?? 404);
        return;
      }
      // What an answer did not wait for is still read, so that the caller comes to reading the answer.
      outgoing(response).once("finish", () => request.resume());
      if (handler.method.methodKind === "unary" && response instanceof Http2ServerResponse) {
        // A request that never ends, or an answer that nobody reads.
        const { stream } = response;
        stream.setTimeout(unaryIdleMs, () => stream.close(constants.NGHTTP2_CANCEL));
      }
      const observed = observer && observedAnswer(observer, handler, request, response);
      repairHeaders(request);
      // Throws where the host can't be part of a URL.
      const values = createContextValues();
      const connection = connections?.of(keyOf(request));
      const untaken = taking && connection && new Untaken(response, connection, taking);
      if (untaken) values.set(connectionKey, { ending: connection.ending, room: untaken.held });
      const call = universalRequestFromNodeRequest(request, response, undefined, values);
      // Leaving connect's own iterator would destroy the request, and with it the way back for the answer.
      const received = request.iterator({ destroyOnReturn: false });
      const isOne = handler.method.methodKind !== "bidi_streaming";
      const counted = untaken && isOne ? untaken.request(received, messageBytes) : received;
      const body = checkedBody(counted, call.header, {
        limitBytes: messageBytes,
        check: ofBinary ? (message) => checkBinaryParts(handler.method.input, message) : checkJsonParts,
      });
      identified(options.identify, request)
        .then((caller) => {
          values.set(callerKey, caller);
          if (observed !== undefined) {
            values.set(observationKey, observed.observation);
            if (!WorkflowStateError.is(caller)) observed.observation.who(caller.principal, undefined);
          }
          return handler({ ...call, body });
        })
        .then((answered) =>
          universalResponseToNodeResponse(
            typedRefusals(
              untaken && answered.body ? { ...answered, body: untaken.body(answered.body) } : answered,
              messageBytes,
              observed?.failed,
            ),
            response,
          ),
        )
        .catch((error: unknown) => {
          if (!saysCallerGone(error)) {
            onError(error);
            answer(response, 500);
          }
        });
    } catch {
      answer(response, 400);
    }
  };
}

/** What a connection is known by. */
function keyOf(request: Request): object | undefined {
  return "stream" in request ? request.stream.session : request.socket;
}

/** One RPC and who looks on. */
interface Observed {
  readonly observation: Observation;
  /** Notes what its caller is told. */
  readonly failed: (status: ConnectError) => void;
}

/** Begins to observe an RPC; its end is the end of its answer. */
function observedAnswer(
  observer: Observer,
  { service, method }: UniversalHandler,
  request: Request,
  response: Response,
): Observed {
  const kind = method.methodKind === "unary" ? "unary" : "streaming";
  const served = { service: service.typeName, method: method.name, kind } as const;
  const observation = observer.begin(new HttpRpc(served, request.headers, request.socket));
  let failure: Failure | undefined;
  let ended = false;
  const end = (otherwise: Failure | undefined): void => {
    if (ended) return;
    ended = true;
    observation.end(failure ?? otherwise);
  };
  const answer = outgoing(response);
  // A stream of HTTP/2 that its caller resets says that it has finished, too; not finished at all: nobody is left to take it.
  answer.once("finish", () => end(response.writableEnded ? failureOfHttp(response.statusCode) : CANCELLED));
  answer.once("close", () => end(CANCELLED));
  return {
    observation,
    failed(status) {
      failure = failureOfStatus(status);
    },
  };
}

/** What a plain HTTP status means for a call, as gRPC has it of its clients; none: all is well, or the protocol says more. */
function failureOfHttp(status: number): Failure | undefined {
  if (status < 400) return undefined;
  return { code: status === 400 || status === 500 ? Code.Internal : Code.Unknown };
}

/** Who makes a call, or what is wrong with the credentials: the handler says that in the caller's protocol. */
async function identified(identify: Identify, request: Request): Promise<Identity | WorkflowStateError> {
  try {
    return await identify.identify(credentialsOf(request));
  } catch (error) {
    if (WorkflowStateError.is(error)) return error;
    throw error;
  }
}

/** What says when the answer is sent: the HTTP/2 response itself says so only when its stream is closed. */
function outgoing(response: Response): NodeJS.EventEmitter {
  return response instanceof Http2ServerResponse ? response.stream : response;
}

function handlersByPath(
  routes: readonly ((router: ConnectRouter) => void)[],
  messageBytes: number,
): ReadonlyMap<string, UniversalHandler> {
  // Keys must be read as they are, and a lone surrogate or a broken byte refused, not replaced; a value that is nested too
  // deeply must reach the validator, which says where; and a field with a name misspelt must not count as absent.
  const jsonOptions = { textDecoder: jsonText, recursionLimit: 1000, ignoreUnknownFields: false };
  // Bodies are decompressed before (`checkedBody`). What is left is the message in the URL of a GET, which needs no compression.
  const router = createConnectRouter({ acceptCompression: [], readMaxBytes: messageBytes, jsonOptions });
  for (const add of routes) add(router);
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

/** Content types of binary messages; only these may meet the encoded schema. */
const BINARY = /^application\/(?:proto|connect\+proto|grpc(?:\+proto)?|grpc-web(?:\+proto)?)$/i;

function isBinary(request: Request, query: string | undefined): boolean {
  return request.method === "GET"
    ? new URLSearchParams(query).get("encoding") === "proto"
    : BINARY.test(request.headers["content-type"] ?? "");
}

/**
 * Takes out what answers would be compressed for: state is small, or encrypted, or on its way within a data centre, and gRPC
 * clients ask for gzip unasked. Takes out timeouts longer than a timer can be, which would run out at once: they count as none.
 * Puts brackets around an IPv6 address, which Node's own HTTP/2 client leaves out.
 */
function repairHeaders({ headers }: Request): void {
  headers["accept-encoding"] = undefined;
  headers["connect-accept-encoding"] = undefined;
  headers["grpc-accept-encoding"] = undefined;
  if (timeoutMs(headers["grpc-timeout"], headers["connect-timeout-ms"]) > MAX_TIMER_MS) {
    headers["grpc-timeout"] = undefined;
    headers["connect-timeout-ms"] = undefined;
  }
  const authority = String(headers[":authority"]);
  const colon = authority.lastIndexOf(":");
  if (isIPv6(authority.slice(0, colon))) {
    headers[":authority"] = `[${authority.slice(0, colon)}]${authority.slice(colon)}`;
  }
}

const MAX_TIMER_MS = 2 ** 31 - 1;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000 };

function timeoutMs(grpc: string | string[] | undefined, connect: string | string[] | undefined): number {
  if (typeof grpc === "string") {
    const [, count, unit = ""] = /^(\d{1,8})([HMS])$/.exec(grpc) ?? [];
    return Number(count ?? 0) * (UNIT_MS[unit] ?? 0);
  }
  return typeof connect === "string" && /^\d{1,10}$/.test(connect) ? Number(connect) : 0;
}

function answer(response: Response, status: number): void {
  try {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (!(response instanceof Http2ServerResponse)) {
      response.setHeader("connection", "close");
    }
    response.statusCode = status;
    response.end();
  } catch {
    // The stream is gone, and with it whoever asked.
  }
}
