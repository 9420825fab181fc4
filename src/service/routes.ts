/** The service as connect routes: the encoded schema for binary callers, the public one for JSON callers. */
import type { DescMethod } from "@bufbuild/protobuf";
import {
  type ConnectRouter,
  type ContextKey,
  createContextKey,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import { WorkflowStateService as PublicService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { WorkflowStateService as EncodedService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type { Rpcs } from "../service.ts";
import { toConnectError } from "../wire.ts";
import { Access, type Identity, NAMESPACE_HEADER } from "./access.ts";
import { type Call, type Room, saysCallerGone } from "./call.ts";
import { type Converter, converterOf } from "./json-schema.ts";
import { failureOf, type Observation, type Write } from "./observer.ts";
import { TOLD } from "./writes.ts";

/** What all handlers have in common, whatever their messages. */
type UnaryRpc = (request: object, call: Call) => Promise<object>;
type StreamRpc = (request: object | AsyncIterable<object>, call: Call) => AsyncIterable<object>;
type Handler = (request: never, context: HandlerContext) => Promise<object> | AsyncIterable<object>;

/** Routes for binary callers. What the service throws that is no error of a call goes to `onError`. */
export function binaryRoutes(rpcs: Rpcs, onError: (error: unknown) => void): (router: ConnectRouter) => void {
  return (router) => {
    router.service(
      EncodedService,
      handlers(EncodedService.methods, rpcs, onError) as ServiceImpl<typeof EncodedService>,
    );
  };
}

/** Routes for JSON callers, to the same functions. */
export function jsonRoutes(rpcs: Rpcs, onError: (error: unknown) => void): (router: ConnectRouter) => void {
  return (router) => {
    router.service(
      PublicService,
      handlers(PublicService.methods, rpcs, onError, converters) as ServiceImpl<typeof PublicService>,
    );
  };
}

interface Converters {
  readonly input: Converter;
  readonly output: Converter;
}

function converters(method: DescMethod): Converters {
  const twin = EncodedService.method[method.localName as keyof Rpcs];
  return {
    input: converterOf(method.input, twin.input),
    output: converterOf(method.output, twin.output),
  };
}

function handlers(
  methods: readonly DescMethod[],
  rpcs: Rpcs,
  onError: (error: unknown) => void,
  convertersOf?: (method: DescMethod) => Converters,
): Readonly<Record<string, Handler>> {
  return Object.fromEntries(
    methods.map((method) => {
      const rpc = rpcs[method.localName as keyof Rpcs];
      const convert = convertersOf?.(method);
      const handler =
        method.methodKind === "unary"
          ? unary(rpc as UnaryRpc, onError, convert, writeOf(method))
          : streaming(rpc as StreamRpc, onError, convert);
      return [method.localName, handler];
    }),
  );
}

/** What a method writes; `undefined`: nothing, or what its message says. */
function writeOf({ localName, name }: DescMethod): Write["operation"] | undefined {
  return Object.hasOwn(TOLD, localName) ? (name as Write["operation"]) : undefined;
}

function unary(
  rpc: UnaryRpc,
  onError: (error: unknown) => void,
  convert: Converters | undefined,
  writes: Write["operation"] | undefined,
): Handler {
  return async (request: object, context: HandlerContext) => {
    try {
      const call = callOf(context, writes);
      return convert === undefined
        ? await rpc(request, call)
        : convert.output.toPublic(await rpc(convert.input.toEncoded(request), call));
    } catch (error) {
      throw toConnectError(error, onError);
    }
  };
}

function streaming(
  rpc: StreamRpc,
  onError: (error: unknown) => void,
  convert: Converters | undefined,
): Handler {
  return async function* (request: object, context: HandlerContext) {
    try {
      const call = callOf(context);
      if (convert === undefined && call.observation === undefined) {
        yield* rpc(request, call);
        return;
      }
      for await (const answer of rpc(convert ? encodedRequest(request, convert.input) : request, call)) {
        call.observation?.sent();
        yield convert === undefined ? answer : convert.output.toPublic(answer);
      }
    } catch (error) {
      // Connect throws here what became of sending an answer.
      const isOurs = !(context.signal.aborted && saysCallerGone(error));
      throw toConnectError(error, isOurs ? onError : undefined);
    }
  };
}

function encodedRequest(request: object | AsyncIterable<object>, { toEncoded }: Converter): object {
  return Symbol.asyncIterator in request ? eachEncoded(request, toEncoded) : toEncoded(request);
}

async function* eachEncoded(
  requests: AsyncIterable<object>,
  toEncoded: Converter["toEncoded"],
): AsyncGenerator<object> {
  for await (const request of requests) {
    yield toEncoded(request);
  }
}

/** Who makes the call; or what is wrong with its credentials, for the handler to say. */
export const callerKey: ContextKey<Identity | WorkflowStateError | undefined> = createContextKey<
  Identity | WorkflowStateError | undefined
>(undefined);

/** Who looks on; `undefined`: nobody. */
export const observationKey: ContextKey<Observation | undefined> = createContextKey<Observation | undefined>(
  undefined,
);

/** What the call's connection has to do with it; `undefined`: nobody looks after that. */
export const connectionKey: ContextKey<ConnectionOfCall | undefined> = createContextKey<
  ConnectionOfCall | undefined
>(undefined);

/** See `Call`. */
export interface ConnectionOfCall {
  readonly ending: AbortSignal;
  readonly room: Room;
}

function identityOf(context: HandlerContext): Identity {
  const caller = context.values.get(callerKey);
  if (caller === undefined) throw new Error("The call has passed nobody who asks who makes it.");
  if (WorkflowStateError.is(caller)) throw caller;
  return caller as Identity;
}

function callOf(context: HandlerContext, writes?: Write["operation"]): Call {
  // Nobody is told of a caller, or of a write, of a call that has ended before anything was done for it.
  context.signal.throwIfAborted();
  const timeoutMs = context.timeoutMs();
  const observation = context.values.get(observationKey);
  const access = accessOf(context, observation, writes);
  observation?.who(access.identity.principal, access.namespace);
  return {
    access,
    signal: context.signal,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(observation === undefined ? {} : { observation }),
    ...context.values.get(connectionKey),
  };
}

/** What the caller may do; one who is known, and asks for a write in a namespace of others, is told of. */
function accessOf(
  context: HandlerContext,
  observation: Observation | undefined,
  writes: Write["operation"] | undefined,
): Access {
  const identity = identityOf(context);
  try {
    return new Access(identity, context.requestHeader.get(NAMESPACE_HEADER));
  } catch (error) {
    if (writes !== undefined) {
      observation?.wrote?.({ operation: writes, sessionId: "", failure: failureOf(error) });
    }
    throw error;
  }
}
