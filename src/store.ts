/**
 * The contract of a store: types only. `WorkflowStateStore` is what programs use, in plain JSON; `EncodedStore` is the
 * same operations one to one with the service's RPCs, on encoded values, and is all that a backend implements.
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
 *   content it must fail with REQUEST_ID_REUSED. A request id belongs to one session (of a fork: the new one). A write that
 *   failed is not remembered.
 * - The last `history` revisions must stay readable with their values; older ones must fail with HISTORY_COMPACTED, ones
 *   not made yet with FUTURE_REVISION. The history outlives a deletion by the retention. At a revision at which the session
 *   did not exist, it reads as missing.
 * - What expires must be hidden from the moment its time passes, and an EXPIRED event must be written for it before the
 *   session's next commit.
 * - A missing session or key must read as `undefined`; a store that can't answer must throw STORE_UNAVAILABLE, never that.
 * - What is returned must be the caller's own; what was given must not be kept by reference.
 * - An aborted signal must reject a call that has not begun its commit with the signal's reason; it must not be looked at
 *   after the commit. It must end a stream by throwing the signal's reason.
 */
import type { WorkflowStateError } from "./errors.ts";

/** A plain JSON value: what a state holds. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** How values and times look: in plain JSON for programs, or encoded inside the service. */
export interface Form {
  /** One value. */
  readonly value: unknown;
  /** A whole state: each key with its value. */
  readonly state: unknown;
  /** A point in time. */
  readonly time: unknown;
}

/** The form that programs use. */
export interface JsonForm extends Form {
  readonly value: JsonValue;
  readonly state: Record<string, JsonValue>;
  readonly time: Date;
}

/** The form inside the service. */
export interface EncodedForm extends Form {
  /** The bytes of the value's `google.protobuf.Value`. Never changed by whoever holds it. */
  readonly value: Uint8Array;
  readonly state: ReadonlyMap<string, Uint8Array>;
  /** Milliseconds since 1970-01-01T00:00:00Z, whole. */
  readonly time: number;
}

/** One workflow session. */
export interface Session<F extends Form = JsonForm> {
  /** 1 to 256 bytes of well-formed UTF-8. */
  readonly sessionId: string;
  /** Each key with its value; empty where the view leaves it out. */
  readonly state: F["state"];
  /** When it was created, by the store's clock. Absent in the snapshot of a session that does not exist and in view IDS. */
  readonly createTime?: F["time"] | undefined;
  /** When it was last written. Absent as `createTime`. */
  readonly updateTime?: F["time"] | undefined;
  /** The workflow that it belongs to. */
  readonly workflowId?: string | undefined;
  /** The user that it belongs to. */
  readonly userId?: string | undefined;
  /** Labels to select by. */
  readonly labels: Readonly<Record<string, string>>;
  /** The revision of the last commit, also in the snapshot of a deleted session; 0 in that of one that never was, and in view IDS. */
  readonly revision: number;
  /** When it expires unless written or renewed before. Absent: never. */
  readonly expireTime?: F["time"] | undefined;
  /** Where it was forked from. */
  readonly forkedFrom?: { readonly sessionId: string; readonly revision: number } | undefined;
}

/** One key of a state. */
export interface Entry<F extends Form = JsonForm> {
  /** 1 to 512 bytes of well-formed UTF-8. */
  readonly key: string;
  /** The value. Absent: the entry was deleted (in the answers of writes and in events only). */
  readonly value?: F["value"] | undefined;
  /** The revision of the commit that last wrote it. */
  readonly revision: number;
  /** When that commit was made. */
  readonly updateTime: F["time"];
  /** When it expires. Absent: never. */
  readonly expireTime?: F["time"] | undefined;
}

/** "This key is still at this revision"; 0: is absent. */
export interface Check {
  readonly key: string;
  readonly ifRevision: number;
}

/** One change of a commit. */
export type Change<F extends Form = JsonForm> =
  /** Write a value. `ttlMs` absent or 0: it does not expire, also if it did before. */
  | {
      readonly kind: "set";
      readonly key: string;
      readonly value: F["value"];
      readonly ttlMs?: number | undefined;
    }
  /** Remove a key, if it is there. */
  | { readonly kind: "delete"; readonly key: string }
  /** Add to a number, from 0. */
  | { readonly kind: "increment"; readonly key: string; readonly delta: number }
  /** Add to the end of a list, from []; keep the last `maxItems` (absent or 0: all). */
  | {
      readonly kind: "append";
      readonly key: string;
      readonly values: readonly F["value"][];
      readonly maxItems?: number | undefined;
    }
  /** Apply a JSON Merge Patch (RFC 7396) to an object, from {}. */
  | { readonly kind: "merge"; readonly key: string; readonly value: F["value"] };

/** What a commit changes about the session itself; an absent field leaves what was. */
export interface SessionMetadata {
  /** `""`: none. */
  readonly workflowId?: string | undefined;
  /** `""`: none. */
  readonly userId?: string | undefined;
  /** All labels, in place of those that are there; `{}`: none. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** How long the session lives from now; 0: it does not expire. */
  readonly ttlMs?: number | undefined;
  /** How long it lives after its last write; 0: idleness does not end it. */
  readonly idleTtlMs?: number | undefined;
}

/** What kind of write made an event. EXPIRED without entries: the whole session. */
export type EventKind = "COMMITTED" | "SAVED" | "DELETED" | "EXPIRED" | "FORKED" | "RESTORED";

/** What one commit did. */
export interface Event<F extends Form = JsonForm> {
  readonly sessionId: string;
  /** The revision that the commit made. */
  readonly revision: number;
  readonly time: F["time"];
  readonly kind: EventKind;
  /** The entries that it wrote, as they were after it; without a value where deleted or expired. */
  readonly entries: readonly Entry<F>[];
  /** The request id that the write carried. */
  readonly requestId?: string | undefined;
}

/** One message of a watch on a session. */
export type WatchMessage<F extends Form = JsonForm> =
  | { readonly kind: "snapshot"; readonly snapshot: Session<F> }
  | { readonly kind: "event"; readonly event: Event<F> }
  /** All events up to `revision` have been given. */
  | { readonly kind: "progress"; readonly revision: number };

/** One message of a watch on sessions: a session after a commit (without its state), and the kind of commit. */
export interface SessionChange<F extends Form = JsonForm> {
  readonly session: Session<F>;
  readonly kind: EventKind;
}

/** How much of each session a listing returns. */
export type SessionView = "IDS" | "METADATA" | "FULL";

/** The order of a listing of sessions. */
export type SessionOrder = "ID" | "UPDATE_TIME_DESC";

/** Which sessions to take; a session must match every filter that is given. `""` and `{}` count as not given. */
export interface SessionFilter<F extends Form = JsonForm> {
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly sessionIdPrefix?: string | undefined;
  /** All of these must be among the session's. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Exclusive. */
  readonly updatedAfter?: F["time"] | undefined;
  /** Exclusive. */
  readonly updatedBefore?: F["time"] | undefined;
}

/** Which page of a listing. */
export interface Page {
  /** At most so many, up to `limits.pageSize` (a larger number counts as that); absent or 0: 100. A page may be shorter. */
  readonly pageSize?: number | undefined;
  /** `nextPageToken` of the page before, with the same other fields; absent or `""`: the first page. */
  readonly pageToken?: string | undefined;
}

/** Makes a retry of a write safe; at most 128 bytes. */
export interface Replayable {
  readonly requestId?: string | undefined;
}

export interface GetSessionRequest {
  readonly sessionId: string;
  /** As it was then. */
  readonly atRevision?: number | undefined;
  /** Only entries whose key begins with this. */
  readonly keyPrefix?: string | undefined;
}
/** What a save writes of a session: the rest is the store's. */
export interface SessionContent<F extends Form = JsonForm> {
  readonly sessionId: string;
  readonly state: F["state"];
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}
export interface SaveSessionRequest<F extends Form = JsonForm> extends Replayable {
  readonly session: SessionContent<F>;
  /** Only if the session is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** How long the session lives from now; 0: it does not expire; absent: unchanged. */
  readonly ttlMs?: number | undefined;
  /** How long it lives after its last write; 0: idleness does not end it; absent: unchanged. */
  readonly idleTtlMs?: number | undefined;
}
export interface DeleteSessionRequest extends Replayable {
  readonly sessionId: string;
  readonly ifRevision?: number | undefined;
}
export interface ListSessionsRequest<F extends Form = JsonForm> extends SessionFilter<F>, Page {
  /** Absent: METADATA. */
  readonly view?: SessionView | undefined;
  /** Absent: ID. */
  readonly order?: SessionOrder | undefined;
}
export interface ListSessionsResponse<F extends Form = JsonForm> {
  readonly sessions: readonly Session<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}
export interface GetStateRequest {
  readonly sessionId: string;
  readonly key: string;
  readonly atRevision?: number | undefined;
}
export interface SetStateRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  readonly key: string;
  readonly value: F["value"];
  /** Only if the entry is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** How long the entry lives; absent or 0: it does not expire, also if it did before. */
  readonly ttlMs?: number | undefined;
}
export interface DeleteStateRequest extends Replayable {
  readonly sessionId: string;
  readonly key: string;
  readonly ifRevision?: number | undefined;
}
export interface DeleteStateResponse {
  /** Whether there was an entry. */
  readonly deleted: boolean;
  /** The session's revision after the call; 0: there is no session. */
  readonly revision: number;
}
export interface ListStateRequest extends Page {
  readonly sessionId: string;
  readonly keyPrefix?: string | undefined;
  /** Only keys after this in the order of the listing, exclusive; absent or `""`: from the beginning. */
  readonly startAfter?: string | undefined;
  readonly reverse?: boolean | undefined;
  readonly atRevision?: number | undefined;
}
export interface ListStateResponse<F extends Form = JsonForm> {
  readonly entries: readonly Entry<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}
export interface CommitRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  readonly checks?: readonly Check[] | undefined;
  readonly changes?: readonly Change<F>[] | undefined;
  /** Only if the session is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  readonly metadata?: SessionMetadata | undefined;
}
export interface CommitResponse<F extends Form = JsonForm> {
  /** The session's revision after the commit; unchanged if nothing was written; 0: there is no session. */
  readonly revision: number;
  /** When the session was last written; absent: there is no session. */
  readonly updateTime?: F["time"] | undefined;
  /** Each entry that a change named, as it is after the commit, in the order first named. */
  readonly entries: readonly Entry<F>[];
}
export interface ForkSessionRequest extends Replayable {
  readonly sessionId: string;
  readonly atRevision?: number | undefined;
  readonly newSessionId: string;
}
export interface RestoreSessionRequest extends Replayable {
  readonly sessionId: string;
  /** 1 or more. */
  readonly atRevision: number;
  readonly ifRevision?: number | undefined;
}
export interface ListEventsRequest extends Page {
  readonly sessionId: string;
  /** Exclusive; absent or 0: from the oldest that is kept. */
  readonly afterRevision?: number | undefined;
  /** The newest first. */
  readonly reverse?: boolean | undefined;
}
export interface ListEventsResponse<F extends Form = JsonForm> {
  readonly events: readonly Event<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}
export interface WatchSessionRequest {
  readonly sessionId: string;
  /** Begin with the event after this revision; absent: with a snapshot. */
  readonly afterRevision?: number | undefined;
  /** Only entries whose key begins with this; an event without one is left out, unless the session was deleted or expired. */
  readonly keyPrefix?: string | undefined;
}

/** One operation of a batch. */
export type Operation<F extends Form = JsonForm> =
  | ({ readonly kind: "getState" } & GetStateRequest)
  | ({ readonly kind: "setState" } & SetStateRequest<F>)
  | ({ readonly kind: "deleteState" } & DeleteStateRequest)
  | ({ readonly kind: "commit" } & CommitRequest<F>)
  | ({ readonly kind: "getSession" } & GetSessionRequest);

/** What one operation of a batch answered. */
export type Result<F extends Form = JsonForm> =
  | { readonly kind: "getState"; readonly entry: Entry<F> | undefined }
  | { readonly kind: "setState"; readonly entry: Entry<F> }
  | ({ readonly kind: "deleteState" } & DeleteStateResponse)
  | ({ readonly kind: "commit" } & CommitResponse<F>)
  | { readonly kind: "getSession"; readonly session: Session<F> | undefined }
  | { readonly kind: "error"; readonly error: WorkflowStateError };

/** Options of every call on an {@link EncodedStore}. */
export interface CallContext {
  /** The tenant, part of every storage key; absent: `""`, the default one. */
  readonly namespace?: string | undefined;
  /** Aborts the call before its commit, or ends the stream. */
  readonly signal?: AbortSignal | undefined;
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
  forkSession(request: ForkSessionRequest, context?: CallContext): Promise<Session<EncodedForm>>;
  /**
   * Gives a session the state, workflow, user and labels it had at a revision; brings back a deleted session, never an expired one.
   * Fails with SESSION_NOT_FOUND, REVISION_MISMATCH, HISTORY_COMPACTED, FUTURE_REVISION.
   */
  restoreSession(request: RestoreSessionRequest, context?: CallContext): Promise<Session<EncodedForm>>;
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
  /** Aborts the call before its commit, or ends the stream. */
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

/** What callers may ask for; each has its own typed error. All counts are inclusive. */
export interface Limits {
  /** Bytes of a session id (INVALID_SESSION_ID). */
  readonly sessionIdBytes: number;
  /** Bytes of a key (INVALID_KEY). */
  readonly keyBytes: number;
  /** Bytes of an encoded value (VALUE_TOO_LARGE). */
  readonly valueBytes: number;
  /** Levels of a value; a scalar has 1 (INVALID_VALUE). At most 32: parsers in some languages stop at 100 nested messages. */
  readonly valueDepth: number;
  /** Values within a value, itself counted (INVALID_VALUE). */
  readonly valueNodes: number;
  /** Bytes of a request, and of an answer, decompressed (REQUEST_TOO_LARGE). */
  readonly requestBytes: number;
  /** Changes in a commit (REQUEST_TOO_LARGE). */
  readonly changes: number;
  /** Checks in a commit (REQUEST_TOO_LARGE). */
  readonly checks: number;
  /** Operations in a batch (REQUEST_TOO_LARGE). */
  readonly operations: number;
  /** Entries in a session (TOO_MANY_ENTRIES). */
  readonly entries: number;
  /** Bytes of a session's keys and encoded values (SESSION_TOO_LARGE). */
  readonly sessionBytes: number;
  /** Items of a page; more count as this. */
  readonly pageSize: number;
  /** HTTP/2 streams open at once on one connection. */
  readonly streamsPerConnection: number;
}

/** The limits unless configured otherwise. */
export const DEFAULT_LIMITS: Limits = {
  sessionIdBytes: 256,
  keyBytes: 512,
  valueBytes: 1 << 20,
  valueDepth: 32,
  valueNodes: 10_000,
  requestBytes: 4 << 20,
  changes: 128,
  checks: 1_000,
  operations: 256,
  entries: 10_000,
  sessionBytes: 64 << 20,
  pageSize: 1_000,
  streamsPerConnection: 100,
};
