/**
 * The contract of a store, made of `nouns.ts`, `requests.ts` and `limits.ts`. `WorkflowStateStore` is what programs use, in
 * plain JSON; `EncodedStore` is the same operations one to one with the service's RPCs, on encoded values, and is all that a
 * backend implements.
 * Every "must" below is a case of the conformance suite (`conformance.ts`).
 *
 * - A store must be linearizable per session: a read after an acknowledged write must see it.
 * - A commit must apply all its changes in order, or nothing; all its checks must hold first.
 * - A session's revision must grow by one with every commit that writes, and must never be used twice for one id, not
 *   even after a deletion or an expiry. A set, increment, append, merge or save writes, whatever the value; a delete
 *   writes if the key is there; metadata writes if a field of it is given. A new id begins at revision 1, or later where
 *   the store has forgotten deleted sessions and can no longer tell whether this id was one of them.
 * - `createTime` and `updateTime` must be the store's; `updateTime` must never go back, `createTime` must not change while
 *   the session lives. Times have millisecond precision.
 * - Keys and ids must be ordered as their UTF-8 bytes compare.
 * - A write repeated with its `requestId` within the retention must return the first answer and write nothing; with other
 *   content it must fail with REQUEST_ID_REUSED. Where the write has a `requestFingerprint`, that is its content: its values
 *   may be others than the first time, and the first answer must come with the first values. A request id belongs to one session (of a fork: the new one). A write that
 *   failed is not remembered.
 * - The last `history` revisions must stay readable with their values; older ones must fail with HISTORY_COMPACTED, ones
 *   not made yet with FUTURE_REVISION. The history outlives a deletion by the retention. At a revision at which the session
 *   did not exist, it reads as missing.
 * - What expires must be hidden from the moment its time passes, and an EXPIRED event must be written for it before the
 *   session's next commit. What expired must not be brought back by a fork or a restore; what was deleted may be.
 * - A missing session or key must read as `undefined`; a store that can't answer must throw STORE_UNAVAILABLE, never that.
 * - What is returned must be the caller's own; what was given must not be kept by reference.
 * - An aborted signal must reject a call that has not begun its commit with the signal's reason; it must not be looked at
 *   after the commit, except over a service: there a write that was on its way may have been made, and the same request id
 *   tells. It must end a stream by throwing the signal's reason.
 */
import type {
  EncodedForm,
  Entry,
  JsonValue,
  Session,
  SessionChange,
  SessionFilter,
  WatchMessage,
} from "./nouns.ts";
import type {
  CommitRequest,
  CommitResponse,
  DeleteSessionRequest,
  DeleteStateRequest,
  DeleteStateResponse,
  ForkSessionRequest,
  GetSessionRequest,
  GetStateRequest,
  ListEventsRequest,
  ListEventsResponse,
  ListSessionsRequest,
  ListSessionsResponse,
  ListStateRequest,
  ListStateResponse,
  Operation,
  RestoreSessionRequest,
  Result,
  SaveSessionRequest,
  SessionContent,
  SetStateRequest,
  WatchSessionRequest,
} from "./requests.ts";

export { DEFAULT_LIMITS, type Limits } from "./limits.ts";
export type * from "./nouns.ts";
export type * from "./requests.ts";

/** Options of every call on an {@link EncodedStore}. */
export interface CallContext {
  /** The tenant, part of every storage key; absent: `""`, the default one. */
  readonly namespace?: string | undefined;
  /** Aborts the call before its commit, or on its way to a service, or ends the stream. */
  readonly signal?: AbortSignal | undefined;
  /** What whoever observes the call has given it, for a store that observes its own work; others leave it alone. */
  readonly trace?: unknown;
}

/**
 * What a backend implements: the operations of the service, one to one, on encoded values. Requests reach it as callers
 * made them: a backend must refuse what `validate.ts` refuses.
 */
export interface EncodedStore {
  /** Reads a session; `undefined`: there is none. Fails with HISTORY_COMPACTED, FUTURE_REVISION. */
  getSession(request: GetSessionRequest, context?: CallContext): Promise<Session<EncodedForm> | undefined>;
  /**
   * Creates a session or replaces its state and metadata; returns it as it is after. Entries whose bytes stay the same must
   * keep their revision and expiry. It always makes a revision. Fails with REVISION_MISMATCH.
   */
  saveSession(request: SaveSessionRequest<EncodedForm>, context?: CallContext): Promise<Session<EncodedForm>>;
  /** Deletes a session; returns whether there was one. Fails with REVISION_MISMATCH. */
  deleteSession(request: DeleteSessionRequest, context?: CallContext): Promise<boolean>;
  /** Lists sessions. Fails with INVALID_PAGE_TOKEN. */
  listSessions(
    request: ListSessionsRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<ListSessionsResponse<EncodedForm>>;
  /** Reads an entry; `undefined`: there is none. Fails with HISTORY_COMPACTED, FUTURE_REVISION. */
  getState(request: GetStateRequest, context?: CallContext): Promise<Entry<EncodedForm> | undefined>;
  /** Writes an entry, creating the session if it is missing. Fails with REVISION_MISMATCH. */
  setState(request: SetStateRequest<EncodedForm>, context?: CallContext): Promise<Entry<EncodedForm>>;
  /** Deletes an entry. Fails with REVISION_MISMATCH. */
  deleteState(request: DeleteStateRequest, context?: CallContext): Promise<DeleteStateResponse>;
  /** Lists the entries of a session by key. Fails with HISTORY_COMPACTED, FUTURE_REVISION, INVALID_PAGE_TOKEN. */
  listState(request: ListStateRequest, context?: CallContext): Promise<ListStateResponse<EncodedForm>>;
  /** All checks, then all changes in order, or nothing. Fails with REVISION_MISMATCH, VALUE_TYPE_MISMATCH, NUMBER_OUT_OF_RANGE. */
  commit(request: CommitRequest<EncodedForm>, context?: CallContext): Promise<CommitResponse<EncodedForm>>;
  /** Runs operations in order; one result for each. Each is atomic by itself; an operation's error is its result. */
  batch(operations: readonly Operation<EncodedForm>[], context?: CallContext): Promise<Result<EncodedForm>[]>;
  /** Runs batches as they come; one answer for each, in order. */
  pipeline(
    batches: AsyncIterable<readonly Operation<EncodedForm>[]>,
    context?: CallContext,
  ): AsyncIterable<Result<EncodedForm>[]>;
  /** Copies a session. Fails with SESSION_NOT_FOUND, SESSION_EXISTS, HISTORY_COMPACTED, FUTURE_REVISION. */
  forkSession(request: ForkSessionRequest<EncodedForm>, context?: CallContext): Promise<Session<EncodedForm>>;
  /**
   * Gives a session the state, workflow, user and labels it had at a revision; brings back a deleted session, never an expired one.
   * Fails with SESSION_NOT_FOUND, REVISION_MISMATCH, HISTORY_COMPACTED, FUTURE_REVISION.
   */
  restoreSession(
    request: RestoreSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>>;
  /** Lists events. Fails with HISTORY_COMPACTED, FUTURE_REVISION, INVALID_PAGE_TOKEN. */
  listEvents(request: ListEventsRequest, context?: CallContext): Promise<ListEventsResponse<EncodedForm>>;
  /**
   * Follows a session: ordered, unique, gap-free; a slow reader must cost no memory. Ends only by abort, `return` or an error:
   * HISTORY_COMPACTED, FUTURE_REVISION.
   */
  watchSession(request: WatchSessionRequest, context?: CallContext): AsyncIterable<WatchMessage<EncodedForm>>;
  /** Follows all sessions that match, from the call on. A reader too far behind gets HISTORY_COMPACTED. */
  watchSessions(
    filter: SessionFilter<EncodedForm>,
    context?: CallContext,
  ): AsyncIterable<SessionChange<EncodedForm>>;
  /** Frees what the store holds and ends its streams with SHUTTING_DOWN; later calls fail with STORE_UNAVAILABLE. */
  close(): Promise<void>;
}

/** Options of every call on a {@link WorkflowStateStore}. */
export interface CallOptions {
  /**
   * Aborts the call before its commit, or ends the stream. Over a service a write that was on its way may have been made:
   * send it again with the same `requestId`.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link WorkflowStateStore.update}. */
export interface UpdateOptions extends CallOptions {
  /** How often to try before a conflict is thrown, 1 or more; absent: 50. */
  readonly attempts?: number | undefined;
}

/** A value of a draft: plain JSON, to change in place. */
export type DraftValue = null | boolean | number | string | DraftValue[] | { [key: string]: DraftValue };

/** A session's state, to change as an object: assign, delete, change what is inside. */
export type Draft = { [key: string]: DraftValue };

/** Turns a request's fields, less those given by position, into call options. */
type Options<Request, Given extends keyof Request> = Omit<Request, Given> & CallOptions;

/**
 * A store of workflow sessions, in plain JSON. Get one from `openStore(url)`.
 *
 * Reads of a missing session or key give `undefined`; a stored null is `null`. Failures are `WorkflowStateError`s; which
 * ones, {@link EncodedStore} says method by method. What is returned is the caller's own.
 */
export interface WorkflowStateStore extends AsyncDisposable {
  /** Reads a session with its state. */
  getSession(
    sessionId: string,
    options?: Options<GetSessionRequest, "sessionId">,
  ): Promise<Session | undefined>;
  /** Creates a session, or replaces its state and metadata; returns it as it is after. */
  saveSession(session: SessionContent, options?: Options<SaveSessionRequest, "session">): Promise<Session>;
  /** Deletes a session; returns whether there was one. */
  deleteSession(sessionId: string, options?: Options<DeleteSessionRequest, "sessionId">): Promise<boolean>;
  /** The ids of all sessions, in order. Reads page by page: for many sessions prefer `listSessions`. */
  getAllSessionIds(options?: CallOptions): Promise<string[]>;
  /** Reads one value. The type is the caller's word; a session handle with a schema checks it. */
  getState<T = JsonValue>(
    sessionId: string,
    key: string,
    options?: Options<GetStateRequest, "sessionId" | "key">,
  ): Promise<T | undefined>;
  /** Writes one value, creating the session if it is missing; returns the entry. */
  setState<T = JsonValue>(
    sessionId: string,
    key: string,
    value: T,
    options?: Options<SetStateRequest, "sessionId" | "key" | "value">,
  ): Promise<Entry>;

  /** Reads one entry: the value with its revision and times. */
  getEntry(
    sessionId: string,
    key: string,
    options?: Options<GetStateRequest, "sessionId" | "key">,
  ): Promise<Entry | undefined>;
  /** Deletes one entry. */
  deleteState(
    sessionId: string,
    key: string,
    options?: Options<DeleteStateRequest, "sessionId" | "key">,
  ): Promise<DeleteStateResponse>;
  /** Lists entries by key, a page at a time. */
  listState(sessionId: string, options?: Options<ListStateRequest, "sessionId">): Promise<ListStateResponse>;
  /** Lists sessions, a page at a time. */
  listSessions(options?: ListSessionsRequest & CallOptions): Promise<ListSessionsResponse>;
  /** Makes one atomic write: all checks, then all changes in order, or nothing. */
  commit(sessionId: string, commit: Options<CommitRequest, "sessionId">): Promise<CommitResponse>;
  /**
   * Reads a session, lets `change` change its state as an object, and commits what it changed; returns what `change`
   * returned (a plain copy of the state if that was the draft). The draft of a missing session is empty.
   *
   * The commit must go through only if every key that `change` looked at or wrote is still as it read it, and, if it
   * enumerated the keys, only if the whole session is; otherwise all is done again, so `change` may run several times. A
   * changed key is written as `setState` writes it: whole, and without an expiry. If `change` throws, or changes nothing,
   * nothing is written. Updates of one session through one store object take turns: `change` must not wait for another
   * update of the same session. Fails with REVISION_MISMATCH when the attempts run out.
   *
   * @example
   * await store.update("cart-1", (cart: { items: string[] }) => { cart.items.push("tea"); });
   */
  update<State extends object = Draft, R = unknown>(
    sessionId: string,
    change: (draft: State) => R | Promise<R>,
    options?: UpdateOptions,
  ): Promise<R>;
  /** Runs operations in order; one result for each, an error included. */
  batch(operations: readonly Operation[], options?: CallOptions): Promise<Result[]>;
  /** Runs batches as they come; one answer for each, in order. */
  pipeline(batches: AsyncIterable<readonly Operation[]>, options?: CallOptions): AsyncIterable<Result[]>;
  /** Copies a session to a new one; returns the copy. */
  forkSession(
    sessionId: string,
    newSessionId: string,
    options?: Options<ForkSessionRequest, "sessionId" | "newSessionId">,
  ): Promise<Session>;
  /** Gives a session the content it had at a revision; returns it as it is after. */
  restoreSession(
    sessionId: string,
    atRevision: number,
    options?: Options<RestoreSessionRequest, "sessionId" | "atRevision">,
  ): Promise<Session>;
  /** Lists what the commits to a session did, a page at a time. */
  listEvents(
    sessionId: string,
    options?: Options<ListEventsRequest, "sessionId">,
  ): Promise<ListEventsResponse>;
  /** Follows a session: a snapshot or, with `afterRevision`, the events after it; then every commit. */
  watchSession(
    sessionId: string,
    options?: Options<WatchSessionRequest, "sessionId">,
  ): AsyncIterable<WatchMessage>;
  /** Follows all sessions that match, from now on. */
  watchSessions(options?: SessionFilter & CallOptions): AsyncIterable<SessionChange>;
  /** Frees what the store holds. */
  close(): Promise<void>;
  /** The same store on encoded values: for the service and for stores around stores. */
  readonly encoded: EncodedStore;
}
