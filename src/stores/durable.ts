/**
 * The store over a database: every rule of the contract that a backend need not know. What a call asks for becomes steps of the
 * backend (`backend.ts`), each atomic by itself; a call that is one step is one round trip. Nothing is kept here but who waits.
 */
import {
  type CallContext,
  type CommitRequest,
  type CommitResponse,
  DEFAULT_LIMITS,
  type DeleteSessionRequest,
  type DeleteStateRequest,
  type DeleteStateResponse,
  type EncodedForm,
  type EncodedStore,
  type Entry,
  type ForkSessionRequest,
  type GetSessionRequest,
  type GetStateRequest,
  type Limits,
  type ListEventsRequest,
  type ListEventsResponse,
  type ListSessionsRequest,
  type ListSessionsResponse,
  type ListStateRequest,
  type ListStateResponse,
  type Operation,
  type RestoreSessionRequest,
  type Result,
  type SaveSessionRequest,
  type Session,
  type SessionChange,
  type SessionFilter,
  type SetStateRequest,
  type WatchMessage,
  type WatchSessionRequest,
} from "../store.ts";
import * as validate from "../validate.ts";
import type { Backend } from "./backend.ts";
import { runBatch } from "./durable-batch.ts";
import { Engine } from "./durable-engine.ts";
import * as reads from "./durable-reads.ts";
import * as sessions from "./durable-sessions.ts";
import type { Single } from "./durable-steps.ts";
import { watchSession, watchSessions } from "./durable-watch.ts";
import * as writes from "./durable-writes.ts";
import { runPipeline } from "./pipeline.ts";

/** How a durable store is set up; how much of the past is kept is the backend's option. Durations are in milliseconds. */
export interface DurableOptions {
  /** Limits that differ from the default ones; the backend must have been given the same. */
  readonly limits?: Partial<Limits> | undefined;
  /** After so long without a message a watch of a session gives progress. Default: 10 s. */
  readonly progressIntervalMs?: number | undefined;
  /** The longest time between two sweeps; what is known to fall due before is swept when it does. Default: 5 s. */
  readonly sweepIntervalMs?: number | undefined;
}

/** Makes a store over a database, which it closes when it is closed. */
export function durableStore(backend: Backend, options: DurableOptions = {}): DurableStore {
  return new DurableStore(backend, options);
}

/** A store over a database. */
export class DurableStore implements EncodedStore {
  readonly #engine: Engine;
  readonly #progressIntervalMs: number;

  constructor(backend: Backend, options: DurableOptions = {}) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#engine = new Engine(backend, limits, options.sweepIntervalMs ?? 5_000);
    this.#progressIntervalMs = options.progressIntervalMs ?? 10_000;
  }

  /** Expires and forgets what is due now. A timer calls it; a test with its own clock may. */
  async sweep(): Promise<void> {
    this.#engine.begin(undefined);
    await this.#engine.call(() => this.#engine.sweeper.sweep());
  }

  async getSession(
    request: GetSessionRequest,
    context?: CallContext,
  ): Promise<Session<EncodedForm> | undefined> {
    validate.checkGetSession(request, this.#limits);
    return this.#single((namespace) => reads.getSession(namespace, request), context);
  }

  async saveSession(
    request: SaveSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkSaveSession(request, this.#limits);
    return this.#call(sessions.saveSession, request, context);
  }

  async deleteSession(request: DeleteSessionRequest, context?: CallContext): Promise<boolean> {
    validate.checkDeleteSession(request, this.#limits);
    return this.#single((namespace) => writes.deleteSession(namespace, request, this.#limits), context);
  }

  async listSessions(
    request: ListSessionsRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<ListSessionsResponse<EncodedForm>> {
    validate.checkListSessions(request, this.#limits);
    return this.#call(reads.listSessions, request, context);
  }

  async getState(request: GetStateRequest, context?: CallContext): Promise<Entry<EncodedForm> | undefined> {
    validate.checkGetState(request, this.#limits);
    return this.#single((namespace) => reads.getState(namespace, request), context);
  }

  async setState(request: SetStateRequest<EncodedForm>, context?: CallContext): Promise<Entry<EncodedForm>> {
    validate.checkSetState(request, this.#limits);
    return this.#single((namespace) => writes.setState(namespace, request, this.#limits), context);
  }

  async deleteState(request: DeleteStateRequest, context?: CallContext): Promise<DeleteStateResponse> {
    validate.checkDeleteState(request, this.#limits);
    return this.#single((namespace) => writes.deleteState(namespace, request, this.#limits), context);
  }

  async listState(request: ListStateRequest, context?: CallContext): Promise<ListStateResponse<EncodedForm>> {
    validate.checkListState(request, this.#limits);
    return this.#single((namespace) => reads.listState(namespace, request, this.#limits), context);
  }

  async commit(
    request: CommitRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<CommitResponse<EncodedForm>> {
    validate.checkCommit(request, this.#limits);
    const namespace = this.#engine.begin(context);
    const single = writes.blindCommit(namespace, request, this.#limits);
    if (single === undefined) return this.#call(writes.lookingCommit, request, context);
    return this.#single(() => single, context);
  }

  async batch(
    operations: readonly Operation<EncodedForm>[],
    context?: CallContext,
  ): Promise<Result<EncodedForm>[]> {
    validate.checkOperations(operations, this.#limits);
    const namespace = this.#engine.begin(context);
    return this.#engine.call(() => runBatch(this.#engine, namespace, operations, context?.signal));
  }

  pipeline(
    batches: AsyncIterable<readonly Operation<EncodedForm>[]>,
    context?: CallContext,
  ): AsyncIterable<Result<EncodedForm>[]> {
    this.#engine.begin(context);
    const { closing } = this.#engine;
    const ends = { signal: context?.signal, closed: () => this.#engine.closed, closing };
    return runPipeline(batches, (operations) => this.batch(operations, context), ends);
  }

  async forkSession(
    request: ForkSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkFork(request, this.#limits);
    return this.#call(sessions.forkSession, request, context);
  }

  async restoreSession(
    request: RestoreSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkRestore(request, this.#limits);
    return this.#call(sessions.restoreSession, request, context);
  }

  async listEvents(
    request: ListEventsRequest,
    context?: CallContext,
  ): Promise<ListEventsResponse<EncodedForm>> {
    validate.checkListEvents(request, this.#limits);
    return this.#call(reads.listEvents, request, context);
  }

  watchSession(
    request: WatchSessionRequest,
    context?: CallContext,
  ): AsyncIterable<WatchMessage<EncodedForm>> {
    validate.checkWatchSession(request, this.#limits);
    return watchSession(this.#engine, request, context, this.#progressIntervalMs);
  }

  /**
   * As {@link EncodedStore.watchSessions}. Of commits that others make to the same database, the watch sees those after it has
   * first asked the database where its feed ends, which this call begins.
   */
  watchSessions(
    filter: SessionFilter<EncodedForm>,
    context?: CallContext,
  ): AsyncIterable<SessionChange<EncodedForm>> {
    validate.checkSessionFilter(filter, this.#limits);
    return watchSessions(this.#engine, filter, context);
  }

  /** Ends streams, waits for the calls that run, and closes the database. */
  close(): Promise<void> {
    return this.#engine.close();
  }

  get #limits(): Limits {
    return this.#engine.limits;
  }

  /** Makes a call that is one step. */
  #single<A>(make: (namespace: string) => Single<A>, context: CallContext | undefined): Promise<A> {
    const namespace = this.#engine.begin(context);
    return this.#engine.call(() => this.#engine.run(make(namespace), context?.signal));
  }

  /** Makes a call of several steps. */
  #call<R, A>(
    work: (engine: Engine, namespace: string, request: R, signal: AbortSignal | undefined) => Promise<A>,
    request: R,
    context: CallContext | undefined,
  ): Promise<A> {
    const namespace = this.#engine.begin(context);
    return this.#engine.call(() => work(this.#engine, namespace, request, context?.signal));
  }
}
