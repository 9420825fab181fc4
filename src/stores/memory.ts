/**
 * The store in memory: every rule of the contract, nothing on disk. A commit is one synchronous section, so it is atomic and
 * its computed changes need no lock.
 */
import { WorkflowStateError } from "../errors.ts";
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
import { listEvents, listSessions, listState } from "./memory-lists.ts";
import type { Namespace } from "./memory-namespace.ts";
import { readSession, watchSession, watchSessions } from "./memory-reads.ts";
import type { Usage } from "./memory-session.ts";
import { Sessions } from "./memory-sessions.ts";
import * as writes from "./memory-writes.ts";
import { runPipeline } from "./pipeline.ts";

/** How a memory store is set up; all durations are in milliseconds. */
export interface MemoryOptions {
  /** Limits that differ from the default ones. */
  readonly limits?: Partial<Limits> | undefined;
  /** The clock, in epoch milliseconds. Default: Date.now. */
  readonly now?: (() => number) | undefined;
  /** How many commits of a session are kept, 1 or more. Default: 256. */
  readonly history?: number | undefined;
  /** How long a commit is kept at most. Default: one day. */
  readonly historyAgeMs?: number | undefined;
  /** How long the answer to a request id is kept. Default: 10 minutes; in all at most 1,000,000 answers are kept. */
  readonly requestRetentionMs?: number | undefined;
  /** Bytes that the store may hold (see `usage`), beyond which writes fail with STORAGE_FULL, unless they only remove. Default: 2 GiB. */
  readonly maxBytes?: number | undefined;
  /** After so long without a message a watch of a session gives progress. Default: 10 s. */
  readonly progressIntervalMs?: number | undefined;
}

/** Makes a store in memory. */
export function memoryStore(options: MemoryOptions = {}): MemoryStore {
  return new MemoryStore(options);
}

/** A store in memory; what it holds is gone with it. */
export class MemoryStore implements EncodedStore {
  readonly #limits: Limits;
  readonly #progressIntervalMs: number;
  readonly #sessions: Sessions;

  constructor(options: MemoryOptions = {}) {
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#progressIntervalMs = options.progressIntervalMs ?? 10_000;
    this.#sessions = new Sessions({
      now: options.now ?? Date.now,
      history: options.history ?? 256,
      historyAgeMs: options.historyAgeMs ?? 86_400_000,
      requestRetentionMs: options.requestRetentionMs ?? 600_000,
      maxBytes: options.maxBytes ?? 2 ** 31,
    });
  }

  /** What the store holds now: live sessions and entries, and bytes of all it keeps (state, metadata, history, remembered answers). */
  usage(): Readonly<Usage> {
    return { ...this.#sessions.usage };
  }

  /** Expires and forgets what is due now. A timer calls it; a test with its own clock may. */
  sweep(): void {
    this.#sessions.sweep();
  }

  async getSession(
    request: GetSessionRequest,
    context?: CallContext,
  ): Promise<Session<EncodedForm> | undefined> {
    validate.checkGetSession(request, this.#limits);
    return this.#getSession(request, this.#sessions.begin(context));
  }

  async saveSession(
    request: SaveSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkSaveSession(request, this.#limits);
    return writes.saveSession(this.#sessions, this.#sessions.begin(context), request, this.#limits);
  }

  async deleteSession(request: DeleteSessionRequest, context?: CallContext): Promise<boolean> {
    validate.checkDeleteSession(request, this.#limits);
    return writes.deleteSession(this.#sessions, this.#sessions.begin(context), request);
  }

  async listSessions(
    request: ListSessionsRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<ListSessionsResponse<EncodedForm>> {
    validate.checkListSessions(request, this.#limits);
    const namespace = this.#sessions.begin(context);
    return listSessions(namespace, request, this.#limits, (record) =>
      this.#sessions.find(namespace, record.sessionId),
    );
  }

  async getState(request: GetStateRequest, context?: CallContext): Promise<Entry<EncodedForm> | undefined> {
    validate.checkGetState(request, this.#limits);
    return this.#getState(request, this.#sessions.begin(context));
  }

  async setState(request: SetStateRequest<EncodedForm>, context?: CallContext): Promise<Entry<EncodedForm>> {
    validate.checkSetState(request, this.#limits);
    return writes.setState(this.#sessions, this.#sessions.begin(context), request, this.#limits);
  }

  async deleteState(request: DeleteStateRequest, context?: CallContext): Promise<DeleteStateResponse> {
    validate.checkDeleteState(request, this.#limits);
    return writes.deleteState(this.#sessions, this.#sessions.begin(context), request);
  }

  async listState(request: ListStateRequest, context?: CallContext): Promise<ListStateResponse<EncodedForm>> {
    validate.checkListState(request, this.#limits);
    const record = this.#sessions.known(this.#sessions.begin(context), request.sessionId);
    return listState(record, request, this.#limits);
  }

  async commit(
    request: CommitRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<CommitResponse<EncodedForm>> {
    validate.checkCommit(request, this.#limits);
    return writes.commit(this.#sessions, this.#sessions.begin(context), request, this.#limits);
  }

  async batch(
    operations: readonly Operation<EncodedForm>[],
    context?: CallContext,
  ): Promise<Result<EncodedForm>[]> {
    validate.checkOperations(operations, this.#limits);
    const namespace = this.#sessions.begin(context);
    return operations.map((operation) => {
      try {
        return this.#run(operation, namespace);
      } catch (error) {
        if (WorkflowStateError.is(error)) return { kind: "error", error };
        throw error;
      }
    });
  }

  pipeline(
    batches: AsyncIterable<readonly Operation<EncodedForm>[]>,
    context?: CallContext,
  ): AsyncIterable<Result<EncodedForm>[]> {
    this.#sessions.begin(context);
    const { closing } = this.#sessions;
    const ends = { signal: context?.signal, closed: () => this.#sessions.closed, closing };
    return runPipeline(batches, (operations) => this.batch(operations, context), ends);
  }

  async forkSession(
    request: ForkSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkFork(request, this.#limits);
    return writes.forkSession(this.#sessions, this.#sessions.begin(context), request, this.#limits);
  }

  async restoreSession(
    request: RestoreSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkRestore(request, this.#limits);
    return writes.restoreSession(this.#sessions, this.#sessions.begin(context), request, this.#limits);
  }

  async listEvents(
    request: ListEventsRequest,
    context?: CallContext,
  ): Promise<ListEventsResponse<EncodedForm>> {
    validate.checkListEvents(request, this.#limits);
    const record = this.#sessions.open(this.#sessions.begin(context), request.sessionId);
    return listEvents(record, request, this.#limits);
  }

  watchSession(
    request: WatchSessionRequest,
    context?: CallContext,
  ): AsyncIterable<WatchMessage<EncodedForm>> {
    validate.checkWatchSession(request, this.#limits);
    return watchSession(this.#sessions, request, context, this.#progressIntervalMs);
  }

  watchSessions(
    filter: SessionFilter<EncodedForm>,
    context?: CallContext,
  ): AsyncIterable<SessionChange<EncodedForm>> {
    validate.checkSessionFilter(filter, this.#limits);
    return watchSessions(this.#sessions, filter, context);
  }

  async close(): Promise<void> {
    this.#sessions.close();
  }

  #run(operation: Operation<EncodedForm>, namespace: Namespace): Result<EncodedForm> {
    validate.checkOperation(operation, this.#limits);
    switch (operation.kind) {
      case "getState":
        return { kind: "getState", entry: this.#getState(operation, namespace) };
      case "setState":
        return {
          kind: "setState",
          entry: writes.setState(this.#sessions, namespace, operation, this.#limits),
        };
      case "deleteState":
        return { kind: "deleteState", ...writes.deleteState(this.#sessions, namespace, operation) };
      case "commit":
        return { kind: "commit", ...writes.commit(this.#sessions, namespace, operation, this.#limits) };
      case "getSession":
        return { kind: "getSession", session: this.#getSession(operation, namespace) };
    }
  }

  #getSession(request: GetSessionRequest, namespace: Namespace): Session<EncodedForm> | undefined {
    const record = this.#sessions.known(namespace, request.sessionId);
    return record === undefined
      ? undefined
      : readSession(record, request.atRevision, request.keyPrefix ?? "");
  }

  #getState(request: GetStateRequest, namespace: Namespace): Entry<EncodedForm> | undefined {
    const { sessionId, key, atRevision } = request;
    const record = this.#sessions.known(namespace, sessionId);
    if (record === undefined || atRevision === undefined) return record?.live.get(key);
    return record.at(atRevision).metadata === undefined ? undefined : record.entryAt(key, atRevision);
  }
}
