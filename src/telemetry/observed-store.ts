/** A store around a store that measures its calls, and makes each a span of the RPC that it is part of. */

import type { Meter, Tracer } from "@opentelemetry/api";
import { type Attributes, type Histogram, type Span, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { type Failure, failureOf } from "../service/observer.ts";
import type * as Store from "../store.ts";
import type { CallContext, EncodedForm, EncodedStore } from "../store.ts";
import { errorType, isServersFault } from "./conventions.ts";
import { LATENCY_BOUNDS } from "./rpc-metrics.ts";
import { SpanTrace } from "./rpc-traces.ts";

/** How a store is observed. */
export interface ObservedStoreOptions {
  /** What keeps the state, as the conventions name it: `postgresql`, `sqlite`, `redis`; `memory`. */
  readonly system: string;
  /** Measures latency and lag; absent: they are not measured. */
  readonly meter?: Meter | undefined;
  /** Makes spans, of calls that are part of a recorded RPC; absent: there are none. */
  readonly tracer?: Tracer | undefined;
  /** Whether spans tell the ids of sessions. Default: false. */
  readonly sessionIds?: boolean | undefined;
}

/** Puts a store around a store. Closing it closes the inner one. */
export function observedStore(store: EncodedStore, options: ObservedStoreOptions): EncodedStore {
  return new ObservedStore(store, options);
}

class ObservedStore implements EncodedStore {
  readonly #store: EncodedStore;
  readonly #system: string;
  readonly #tracer: Tracer | undefined;
  readonly #sessionIds: boolean;
  readonly #latency: Histogram | undefined;
  readonly #lag: Histogram | undefined;

  constructor(store: EncodedStore, { system, meter, tracer, sessionIds = false }: ObservedStoreOptions) {
    this.#store = store;
    this.#system = system;
    this.#tracer = tracer;
    this.#sessionIds = sessionIds;
    const advice = { explicitBucketBoundaries: [...LATENCY_BOUNDS] };
    this.#latency = meter?.createHistogram("db.client.operation.duration", {
      description: "How long calls of the store took; of a pipeline each batch.",
      unit: "s",
      advice,
    });
    this.#lag = meter?.createHistogram("workflow_state.watch.lag", {
      description:
        "From a commit, by the store's clock, to its being given to a watch that was open by then.",
      unit: "s",
      advice,
    });
  }

  getSession(request: Store.GetSessionRequest, context?: CallContext) {
    return this.#call("getSession", request, context, () => this.#store.getSession(request, context));
  }

  saveSession(request: Store.SaveSessionRequest<EncodedForm>, context?: CallContext) {
    return this.#call("saveSession", request.session, context, () =>
      this.#store.saveSession(request, context),
    );
  }

  deleteSession(request: Store.DeleteSessionRequest, context?: CallContext) {
    return this.#call("deleteSession", request, context, () => this.#store.deleteSession(request, context));
  }

  listSessions(request: Store.ListSessionsRequest<EncodedForm>, context?: CallContext) {
    return this.#call("listSessions", undefined, context, () => this.#store.listSessions(request, context));
  }

  getState(request: Store.GetStateRequest, context?: CallContext) {
    return this.#call("getState", request, context, () => this.#store.getState(request, context));
  }

  setState(request: Store.SetStateRequest<EncodedForm>, context?: CallContext) {
    return this.#call("setState", request, context, () => this.#store.setState(request, context));
  }

  deleteState(request: Store.DeleteStateRequest, context?: CallContext) {
    return this.#call("deleteState", request, context, () => this.#store.deleteState(request, context));
  }

  listState(request: Store.ListStateRequest, context?: CallContext) {
    return this.#call("listState", request, context, () => this.#store.listState(request, context));
  }

  commit(request: Store.CommitRequest<EncodedForm>, context?: CallContext) {
    return this.#call("commit", request, context, () => this.#store.commit(request, context));
  }

  batch(operations: readonly Store.Operation<EncodedForm>[], context?: CallContext) {
    return this.#call("batch", undefined, context, () => this.#store.batch(operations, context));
  }

  pipeline(
    batches: AsyncIterable<readonly Store.Operation<EncodedForm>[]>,
    context?: CallContext,
  ): AsyncIterable<Store.Result<EncodedForm>[]> {
    // When each was taken: answers come in the same order.
    const taken: number[] = [];
    async function* timed(): AsyncGenerator<readonly Store.Operation<EncodedForm>[]> {
      for await (const batch of batches) {
        taken.push(performance.now());
        yield batch;
      }
    }
    const attributes = this.#attributes("pipeline");
    return this.#stream("pipeline", undefined, context, {
      begin: () => this.#store.pipeline(this.#latency === undefined ? batches : timed(), context),
      given: () => {
        const start = taken.shift();
        if (start !== undefined) this.#latency?.record((performance.now() - start) / 1_000, attributes);
      },
    });
  }

  forkSession(request: Store.ForkSessionRequest<EncodedForm>, context?: CallContext) {
    return this.#call("forkSession", request, context, () => this.#store.forkSession(request, context));
  }

  restoreSession(request: Store.RestoreSessionRequest<EncodedForm>, context?: CallContext) {
    return this.#call("restoreSession", request, context, () => this.#store.restoreSession(request, context));
  }

  listEvents(request: Store.ListEventsRequest, context?: CallContext) {
    return this.#call("listEvents", request, context, () => this.#store.listEvents(request, context));
  }

  watchSession(
    request: Store.WatchSessionRequest,
    context?: CallContext,
  ): AsyncIterable<Store.WatchMessage<EncodedForm>> {
    const since = Date.now();
    return this.#stream("watchSession", request, context, {
      begin: () => this.#store.watchSession(request, context),
      given: (message) => {
        if (message.kind === "event") this.#lags(message.event.time, since);
      },
    });
  }

  watchSessions(
    filter: Store.SessionFilter<EncodedForm>,
    context?: CallContext,
  ): AsyncIterable<Store.SessionChange<EncodedForm>> {
    const since = Date.now();
    return this.#stream("watchSessions", undefined, context, {
      begin: () => this.#store.watchSessions(filter, context),
      given: ({ session }) => this.#lags(session.updateTime, since),
    });
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #call<Answer>(
    operation: string,
    named: { readonly sessionId: string } | undefined,
    context: CallContext | undefined,
    run: () => Promise<Answer>,
  ): Promise<Answer> {
    const span = this.#span(operation, named, context);
    const start = performance.now();
    let failed: Failure | undefined;
    try {
      return await run();
    } catch (error) {
      failed = failureOf(error);
      throw error;
    } finally {
      this.#latency?.record((performance.now() - start) / 1_000, this.#attributes(operation, failed));
      if (span !== undefined) endSpan(span, failed);
    }
  }

  /** Passes a stream on as it is: what it gives is seen, and what ends it. */
  #stream<T>(
    operation: string,
    named: { readonly sessionId: string } | undefined,
    context: CallContext | undefined,
    { begin, given }: { readonly begin: () => AsyncIterable<T>; readonly given: (item: T) => void },
  ): AsyncIterable<T> {
    const span = this.#span(operation, named, context);
    let open = true;
    const end = (failed: Failure | undefined): void => {
      if (open && span !== undefined) endSpan(span, failed);
      open = false;
    };
    const fail = (error: unknown): never => {
      end(failureOf(error));
      throw error;
    };
    const seen = (step: IteratorResult<T, unknown>): IteratorResult<T, unknown> => {
      if (step.done === true) end(undefined);
      else given(step.value);
      return step;
    };
    let source: AsyncIterable<T>;
    try {
      source = begin();
    } catch (error) {
      return fail(error);
    }
    return {
      [Symbol.asyncIterator](): AsyncIterator<T, unknown> {
        const items = source[Symbol.asyncIterator]();
        return {
          next: () => items.next().then(seen, fail),
          // Left by whoever reads it; the inner one may be stuck, and is not waited for here either.
          return(value) {
            end(undefined);
            return items.return?.(value) ?? Promise.resolve({ done: true, value });
          },
        };
      },
    };
  }

  #lags(time: number | undefined, since: number): void {
    // What was there before is not late: somebody reads the past.
    if (time === undefined || time < since) return;
    this.#lag?.record(Math.max(0, Date.now() - time) / 1_000);
  }

  #attributes(operation: string, failed?: Failure): Attributes {
    return {
      "db.system.name": this.#system,
      "db.operation.name": operation,
      ...(failed === undefined ? {} : { "error.type": errorType(failed) }),
    };
  }

  /** The span of a call that is part of a recorded RPC; the store's own work, such as a health check, has none. */
  #span(
    operation: string,
    named: { readonly sessionId: string } | undefined,
    context: CallContext | undefined,
  ): Span | undefined {
    if (this.#tracer === undefined || !(context?.trace instanceof SpanTrace)) return undefined;
    const attributes = this.#attributes(operation);
    if (this.#sessionIds && named !== undefined) attributes["agenterra.session.id"] = named.sessionId;
    // What is kept in memory is asked by no protocol.
    const kind = this.#system === "memory" ? SpanKind.INTERNAL : SpanKind.CLIENT;
    return this.#tracer.startSpan(
      `${operation} ${this.#system}`,
      { kind, attributes },
      context.trace.context,
    );
  }
}

function endSpan(span: Span, failed: Failure | undefined): void {
  if (failed !== undefined) {
    span.setAttribute("error.type", errorType(failed));
    if (isServersFault(failed)) span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}
