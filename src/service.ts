/**
 * The service: the RPCs on messages of the encoded schema, over any {@link EncodedStore}. Whatever protocol a call came by,
 * it ends here: connect's routers (`service/routes.ts`) and the fast path call the same functions.
 */
import type {
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageShape,
} from "@bufbuild/protobuf";
import type { WorkflowStateService } from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "./errors.ts";
import { allowedBatch, RULES, type Rule } from "./service/access.ts";
import {
  checkListed,
  fitting,
  fittingEvent,
  mostOfBatch,
  mostOfCommit,
  mostOfEntry,
  trimmed,
  trimmedResults,
} from "./service/answer-size.ts";
import {
  after,
  bounded,
  type Call,
  checkCredentials,
  endingWith,
  raced,
  streamEnd,
  timerMs,
  until,
} from "./service/call.ts";
import { Gate, type PrincipalLimits } from "./service/gate.ts";
import { TellingPipeline, TOLD, type Told, tellingBatch, tellingWrite } from "./service/writes.ts";
import type * as Store from "./store.ts";
import {
  type CallContext,
  DEFAULT_LIMITS,
  type EncodedForm,
  type EncodedStore,
  type Limits,
} from "./store.ts";
import { type BatchFromWire, requestFromWire, responseToWire } from "./wire.ts";

export type { Call } from "./service/call.ts";

/** How a service is set up. */
export interface ServiceOptions {
  /** Limits that differ from the default ones; the store's own should be the same. */
  readonly limits?: Partial<Limits>;
  /** How long a unary call may take, in milliseconds, whatever its caller says. Default: 60 s. Streams have no limit. */
  readonly maxTimeoutMs?: number;
  /** What each principal may take at once and over time. */
  readonly perPrincipal?: PrincipalLimits;
}

type Methods = (typeof WorkflowStateService)["method"];

/**
 * The RPCs by name, on encoded messages. They throw a `WorkflowStateError`, the reason of the call's signal, or whatever the
 * store throws: `toConnectError` turns any of it into a status.
 */
export type Rpcs = {
  readonly [Name in keyof Methods]: Methods[Name] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, call: Call) => Promise<MessageShape<O>>
    : Methods[Name] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, call: Call) => AsyncIterable<MessageShape<O>>
      : Methods[Name] extends DescMethodBiDiStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => AsyncIterable<MessageShape<O>>
        : never;
};

/**
 * The same calls on the requests and answers of `store.ts`, for who reads and writes messages by other means. Batches are as
 * `requestFromWire.batch` gives them.
 */
export interface Calls {
  getSession(request: Store.GetSessionRequest, call: Call): Promise<Store.Session<EncodedForm> | undefined>;
  saveSession(
    request: Store.SaveSessionRequest<EncodedForm>,
    call: Call,
  ): Promise<Store.Session<EncodedForm>>;
  deleteSession(request: Store.DeleteSessionRequest, call: Call): Promise<boolean>;
  listSessions(
    request: Store.ListSessionsRequest<EncodedForm>,
    call: Call,
  ): Promise<Store.ListSessionsResponse<EncodedForm>>;
  getState(request: Store.GetStateRequest, call: Call): Promise<Store.Entry<EncodedForm> | undefined>;
  setState(request: Store.SetStateRequest<EncodedForm>, call: Call): Promise<Store.Entry<EncodedForm>>;
  deleteState(request: Store.DeleteStateRequest, call: Call): Promise<Store.DeleteStateResponse>;
  listState(request: Store.ListStateRequest, call: Call): Promise<Store.ListStateResponse<EncodedForm>>;
  commit(request: Store.CommitRequest<EncodedForm>, call: Call): Promise<Store.CommitResponse<EncodedForm>>;
  batch(batch: BatchFromWire, call: Call): Promise<Store.Result<EncodedForm>[]>;
  pipeline(batches: AsyncIterable<BatchFromWire>, call: Call): AsyncIterable<Store.Result<EncodedForm>[]>;
  forkSession(
    request: Store.ForkSessionRequest<EncodedForm>,
    call: Call,
  ): Promise<Store.Session<EncodedForm>>;
  restoreSession(
    request: Store.RestoreSessionRequest<EncodedForm>,
    call: Call,
  ): Promise<Store.Session<EncodedForm>>;
  listEvents(request: Store.ListEventsRequest, call: Call): Promise<Store.ListEventsResponse<EncodedForm>>;
  watchSession(
    request: Store.WatchSessionRequest,
    call: Call,
  ): AsyncIterable<Store.WatchMessage<EncodedForm>>;
  watchSessions(
    filter: Store.SessionFilter<EncodedForm>,
    call: Call,
  ): AsyncIterable<Store.SessionChange<EncodedForm>>;
}

/** A service. Made by {@link createService}. */
export interface Service {
  readonly calls: Calls;
  readonly rpcs: Rpcs;
  readonly limits: Limits;
  /** From the next call on each principal may take this. Fails with INVALID_REQUEST, and then changes nothing. */
  reload(perPrincipal: PrincipalLimits): void;
  /** Ends all streams with SHUTTING_DOWN, now and from now on; a pipeline answers what it has begun. Unary calls go on. */
  stop(): void;
  /** Aborts when the service is stopped. */
  readonly stopping: AbortSignal;
}

/** Makes the service over a store. Closing the store is its owner's. */
export function createService(store: EncodedStore, options: ServiceOptions = {}): Service {
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const stopping = new AbortController();
  const gate = new Gate(options.perPrincipal ?? {}, limits.operations);
  const calls = callsOf(store, {
    limits,
    gate,
    maxTimeoutMs: timerMs(options.maxTimeoutMs ?? 60_000),
    stopping: stopping.signal,
  });
  return {
    calls,
    rpcs: rpcsOf(calls),
    limits,
    stopping: stopping.signal,
    reload: (perPrincipal) => gate.reload(perPrincipal),
    stop: () =>
      stopping.abort(
        new WorkflowStateError("SHUTTING_DOWN", "The server is stopping: call again, on a new connection."),
      ),
  };
}

/** The calls over a store: its own, within their deadlines, with answers that fit. */
function callsOf(
  store: EncodedStore,
  around: {
    readonly limits: Limits;
    readonly gate: Gate;
    readonly maxTimeoutMs: number;
    readonly stopping: AbortSignal;
  },
): Calls {
  const { limits, gate, maxTimeoutMs, stopping } = around;
  const { requestBytes } = limits;
  const ofOneEntry = mostOfEntry(limits);

  /** Runs a call with one answer, of so many operations and with so large an answer, as its principal, the server's memory and its deadline let it; `check` comes first of all. */
  async function admitted<Answer>(
    call: Call,
    { operations, answerBytes }: { readonly operations: number; readonly answerBytes: number },
    run: (signal: AbortSignal) => Promise<Answer>,
    check?: () => void,
  ): Promise<Answer> {
    // What is refused anyway takes nothing.
    check?.();
    const { identity } = call.access;
    checkCredentials(identity);
    const { principal } = identity;
    gate.take(principal, operations);
    const leave = gate.enter(principal, "calls");
    try {
      return await bounded(call, maxTimeoutMs, (signal) => {
        const waiting = call.room?.reserve(answerBytes);
        return waiting === undefined ? run(signal) : after(waiting, signal, run);
      });
    } finally {
      leave();
    }
  }

  /** A call with one answer, if its rule allows it. */
  function unary<Request, Answer>(
    rule: Rule<Request>,
    run: (request: Request, context: CallContext) => Promise<Answer>,
    answerBytes: number | ((request: Request) => number) = ofOneEntry,
  ): (request: Request, call: Call) => Promise<Answer> {
    const sizeOf = typeof answerBytes === "number" ? () => answerBytes : answerBytes;
    return (request, call) =>
      admitted(call, { operations: 1, answerBytes: sizeOf(request) }, async (signal) => {
        rule(call.access, request);
        return run(request, contextOf(call, signal));
      });
  }

  /** A call that writes: whoever looks on is told. */
  function writing<Request, Answer>(
    rule: Rule<Request>,
    told: Told<Request, Answer>,
    run: (request: Request, context: CallContext) => Promise<Answer>,
    answerBytes: number | ((request: Request) => number) = ofOneEntry,
  ): (request: Request, call: Call) => Promise<Answer> {
    const untold = unary(rule, run, answerBytes);
    return (request, call) => {
      const { observation, signal } = call;
      return observation?.wrote === undefined
        ? untold(request, call)
        : tellingWrite({ observation, signal }, told, request, untold(request, call));
    };
  }

  /**
   * A watch, if its rule allows it, until its caller, the server or the caller's credentials end it.
   * @param firstBytes what its first message may have, if that comes at once
   */
  async function* watch<Request, T>(
    rule: Rule<Request>,
    request: Request,
    call: Call,
    begin: (context: CallContext) => AsyncIterable<T>,
    firstBytes = 0,
  ): AsyncGenerator<T> {
    rule(call.access, request);
    const { principal } = call.access.identity;
    gate.take(principal, 1);
    const leave = gate.enter(principal, "streams");
    const end = streamEnd(call, call.ending ?? stopping);
    try {
      const waiting = firstBytes > 0 ? call.room?.reserve(firstBytes) : undefined;
      if (waiting !== undefined) await raced(waiting, end.signal);
      yield* until(begin(contextOf(call, end.signal)), end.signal);
    } finally {
      end.unlink();
      leave();
    }
  }

  return {
    getSession: unary(
      RULES.getSession,
      async (request, context) => fitting(await store.getSession(request, context), requestBytes),
      requestBytes,
    ),
    saveSession: writing(
      RULES.saveSession,
      TOLD.saveSession,
      async (request, context) => trimmed(await store.saveSession(request, context), requestBytes),
      requestBytes,
    ),
    deleteSession: writing(RULES.deleteSession, TOLD.deleteSession, (request, context) =>
      store.deleteSession(request, context),
    ),
    listSessions: unary(
      RULES.listSessions,
      async (request, context) => {
        const page = await store.listSessions(request, context);
        checkListed(page.sessions, requestBytes);
        return page;
      },
      requestBytes,
    ),
    getState: unary(RULES.getState, (request, context) => store.getState(request, context)),
    setState: writing(RULES.setState, TOLD.setState, (request, context) => store.setState(request, context)),
    deleteState: writing(RULES.deleteState, TOLD.deleteState, (request, context) =>
      store.deleteState(request, context),
    ),
    listState: unary(RULES.listState, (request, context) => store.listState(request, context), requestBytes),
    commit: writing(
      RULES.commit,
      TOLD.commit,
      (request, context) => store.commit(request, context),
      (request) => mostOfCommit(request, limits),
    ),
    async batch(batch, call) {
      const running = admitted(
        call,
        {
          operations: batch.operations.length + batch.refused.size,
          answerBytes: mostOfBatch(batch.operations, limits),
        },
        async (signal) => {
          const allowed = allowedBatch(call.access, batch);
          return answered(allowed, await store.batch(allowed.operations, contextOf(call, signal)));
        },
        () => checkCount(batch, limits),
      );
      const { observation, signal } = call;
      const results = await (observation?.wrote === undefined
        ? running
        : tellingBatch({ observation, signal, operations: limits.operations }, batch, running));
      return trimmedResults(results, requestBytes);
    },
    async *pipeline(batches, call) {
      const { principal } = call.access.identity;
      const leave = gate.enter(principal, "streams");
      const { ending = stopping } = call;
      // The store may take batches ahead of its answers: what it doesn't see of them waits here, in the same order.
      const begun: BatchFromWire[] = [];
      const { observation, signal } = call;
      const telling =
        observation?.wrote === undefined
          ? undefined
          : new TellingPipeline({ observation, signal, operations: limits.operations });
      function allowed(batch: BatchFromWire): BatchFromWire {
        try {
          checkCount(batch, limits);
          gate.take(principal, batch.operations.length + batch.refused.size);
          return allowedBatch(call.access, batch);
        } catch (error) {
          telling?.refused(batch, error);
          throw error;
        }
      }
      let whole = false;
      async function* operations(): AsyncGenerator<readonly Store.Operation<EncodedForm>[]> {
        for await (const batch of endingWith(batches, end.signal)) {
          // A store that is not told to stop, or doesn't yet, is given no more.
          call.signal.throwIfAborted();
          if (end.signal.aborted) return;
          const kept = allowed(batch);
          begun.push(kept);
          telling?.gave(batch);
          yield kept.operations;
        }
        whole = !end.signal.aborted;
      }
      // Ends what is read, and not what was begun: that is done, and is still answered.
      const end = streamEnd({ ...call, signal: NEVER }, ending);
      try {
        const context = contextOf(call, call.signal);
        for await (const results of until(store.pipeline(operations(), context), call.signal)) {
          const all = answered(begun.shift(), results);
          telling?.answered(all);
          yield trimmedResults(all, requestBytes);
        }
      } catch (error) {
        telling?.failed(error);
        throw error;
      } finally {
        telling?.end();
        end.unlink();
        leave();
      }
      // Of what is answered in full nothing is missing.
      if (!whole) end.signal.throwIfAborted();
    },
    forkSession: writing(
      RULES.forkSession,
      TOLD.forkSession,
      async (request, context) => trimmed(await store.forkSession(request, context), requestBytes),
      requestBytes,
    ),
    restoreSession: writing(
      RULES.restoreSession,
      TOLD.restoreSession,
      async (request, context) => trimmed(await store.restoreSession(request, context), requestBytes),
      requestBytes,
    ),
    listEvents: unary(
      RULES.listEvents,
      async (request, context) => {
        const page = await store.listEvents(request, context);
        for (const event of page.events) fittingEvent(event, requestBytes);
        return page;
      },
      requestBytes,
    ),
    async *watchSession(request, call) {
      // One that goes on from a revision may wait long for its first message.
      const firstBytes = request.afterRevision === undefined ? requestBytes : 0;
      const begin = (context: CallContext) => store.watchSession(request, context);
      const messages = watch(RULES.watchSession, request, call, begin, firstBytes);
      for await (const next of messages) {
        if (next.kind === "snapshot") {
          fitting(next.snapshot, requestBytes);
        } else if (next.kind === "event") {
          fittingEvent(next.event, requestBytes);
        }
        yield next;
      }
    },
    watchSessions: (filter, call) =>
      watch(RULES.watchSessions, filter, call, (context) => store.watchSessions(filter, context)),
  };
}

/** What a store is told of a call. */
function contextOf({ access, observation }: Call, signal: AbortSignal): CallContext {
  return { namespace: access.namespace, signal, trace: observation?.trace };
}

/** Aborts never. */
const NEVER = new AbortController().signal;

/** The RPCs: each reads its message, calls, and writes its answer. */
function rpcsOf(calls: Calls): Rpcs {
  const read = requestFromWire;
  const write = responseToWire;
  return {
    getSession: async (message, call) =>
      write.getSession(await calls.getSession(read.getSession(message), call)),
    saveSession: async (message, call) =>
      write.saveSession(await calls.saveSession(read.saveSession(message), call)),
    deleteSession: async (message, call) =>
      write.deleteSession(await calls.deleteSession(read.deleteSession(message), call)),
    listSessions: async (message, call) =>
      write.listSessions(await calls.listSessions(read.listSessions(message), call)),
    getState: async (message, call) => write.getState(await calls.getState(read.getState(message), call)),
    setState: async (message, call) => write.setState(await calls.setState(read.setState(message), call)),
    deleteState: async (message, call) =>
      write.deleteState(await calls.deleteState(read.deleteState(message), call)),
    listState: async (message, call) => write.listState(await calls.listState(read.listState(message), call)),
    commit: async (message, call) => write.commit(await calls.commit(read.commit(message), call)),
    batch: async (message, call) => write.batch(await calls.batch(read.batch(message), call)),
    pipeline: (messages, call) => mapped(calls.pipeline(mapped(messages, read.batch), call), write.pipeline),
    forkSession: async (message, call) =>
      write.forkSession(await calls.forkSession(read.forkSession(message), call)),
    restoreSession: async (message, call) =>
      write.restoreSession(await calls.restoreSession(read.restoreSession(message), call)),
    listEvents: async (message, call) =>
      write.listEvents(await calls.listEvents(read.listEvents(message), call)),
    watchSession: (message, call) =>
      mapped(calls.watchSession(read.watchSession(message), call), write.watchSession),
    watchSessions: (message, call) =>
      mapped(calls.watchSessions(read.watchSessions(message), call), write.watchSessions),
  };
}

async function* mapped<From, To>(source: AsyncIterable<From>, map: (item: From) => To): AsyncGenerator<To> {
  for await (const item of source) {
    yield map(item);
  }
}

function checkCount({ operations, refused }: BatchFromWire, { operations: limit }: Limits): void {
  // Counted here too: the store does not see those that are refused.
  const count = operations.length + refused.size;
  if (count > limit) {
    throw new WorkflowStateError("REQUEST_TOO_LARGE", `A batch has at most ${limit} operations.`, {
      metadata: { field: "operations", limit: `${limit}`, actual: `${count}` },
    });
  }
}

/** The results of a batch, with those that the store did not see. */
function answered(
  batch: BatchFromWire | undefined,
  results: readonly Store.Result<EncodedForm>[],
): readonly Store.Result<EncodedForm>[] {
  if (batch === undefined || batch.refused.size === 0) {
    return results;
  }
  const all = [...results];
  // In rising order of index, so that each lands where it was.
  for (const [index, error] of batch.refused) {
    all.splice(index, 0, { kind: "error", error });
  }
  return all;
}
