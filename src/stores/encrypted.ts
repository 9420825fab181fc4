/** A store around a store that encrypts what it keeps: whoever reads its disk, its backups or its wire sees no value. */
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
  type Page,
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
import { sealedPipeline } from "./encrypted-pipeline.ts";
import { SessionWriter } from "./encrypted-sessions.ts";
import { type Sealed, SealedValues } from "./encrypted-values.ts";
import {
  Committer,
  looksFirst,
  masksOf,
  type ReadyWrite,
  replayable,
  sealedCommit,
  sealedSet,
} from "./encrypted-writes.ts";
import type { WriteOperation } from "./fingerprint.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { Keyring, sealedBytes } from "./keyring.ts";
import { eventItemBytes, sessionItemBytes } from "./listing.ts";
import { mapIterable } from "./map-iterable.ts";
import { pageRoom } from "./page.ts";
import { entryBytes } from "./staging.ts";

export { type EncryptionKey, Keyring, parseKeyring, reseal } from "./keyring.ts";

/** Options of {@link encrypted}. */
export interface EncryptedOptions {
  /** What callers may ask for, counted on their own values; the inner store must allow {@link innerLimits} of these. */
  readonly limits?: Partial<Limits> | undefined;
}

/**
 * A store that keeps every value encrypted in another one. Closing it closes that.
 *
 * - **What is hidden**: values, wherever they are kept or sent below (entries, history, events, remembered answers). What is not:
 *   ids of sessions, workflows and users, keys, labels, request ids, times, revisions, and about how large a value is: listing and
 *   filtering need them.
 * - **What is guarded**: a value is bound to its namespace, session and key. One that was changed, put elsewhere, or is not
 *   encrypted at all can't be read: VALUE_UNREADABLE. Whoever may write to the inner store can still delete values, put back
 *   an older value of the same key, or change what is readable.
 * - **What it costs**: nothing but time for reads, sets, deletes, and commits of these. Increments, appends and merges read what is
 *   there, compute here and commit under a check, in turns for each session, and again if another program was faster. A save
 *   and a restore read the session first, a fork reads and sends all of it: over the wire it must fit a request.
 * - Restores bring back old values as they were sealed, so their keys must still be in the keyring, and so must those of remembered
 *   answers.
 *
 * Fails with INVALID_REQUEST for what is no keyring.
 */
export function encrypted(
  store: EncodedStore,
  keyring: Keyring,
  options: EncryptedOptions = {},
): EncodedStore {
  if (!(keyring instanceof Keyring)) {
    throw new WorkflowStateError("INVALID_REQUEST", "What encrypts must be a Keyring.", {
      metadata: { field: "encryption" },
    });
  }
  return new EncryptedStore(store, keyring, { ...DEFAULT_LIMITS, ...options.limits });
}

/**
 * The limits that a store needs below an encrypted one, so that all that these allow has room there. What a session may hold in
 * all is counted by that store, on what it keeps: here its limit is so large that no session within `sessionBytes` meets it.
 */
export function innerLimits(limits: Limits): Limits {
  const overhead = sealedBytes(0);
  // A value takes 8 bytes of a request at least, with its key and what is around them.
  const values = Math.min(
    Math.ceil(limits.requestBytes / 8),
    Math.max(limits.entries, limits.operations * limits.changes),
  );
  return {
    ...limits,
    valueBytes: sealedBytes(limits.valueBytes),
    requestBytes: Math.ceil((limits.requestBytes * 4) / 3) + values * overhead,
    sessionBytes: Math.ceil((limits.sessionBytes * 4) / 3) + limits.entries * overhead,
    // One for each computed key, and one more.
    checks: limits.checks + limits.changes + 1,
  };
}

/** An operation of a batch that can be sent, and how its result is opened. */
interface Ready {
  readonly operation: Operation<EncodedForm>;
  readonly sent: ReadonlyMap<string, Sealed> | undefined;
  /** What the caller asked for. */
  readonly asked: Operation<EncodedForm>;
}

class EncryptedStore implements EncodedStore {
  readonly #store: EncodedStore;
  readonly #keyring: Keyring;
  readonly #limits: Limits;
  readonly #committer: Committer;
  readonly #sessions: SessionWriter;
  /** Turns, by session, of writes that look first. */
  readonly #turns: KeyedMutex = new KeyedMutex();

  constructor(store: EncodedStore, keyring: Keyring, limits: Limits) {
    this.#store = store;
    this.#keyring = keyring;
    this.#limits = limits;
    this.#committer = new Committer(store, limits);
    this.#sessions = new SessionWriter(store, limits);
  }

  async getSession(
    request: GetSessionRequest,
    context?: CallContext,
  ): Promise<Session<EncodedForm> | undefined> {
    validate.checkGetSession(request, this.#limits);
    return this.#values(context).session(await this.#store.getSession(request, context));
  }

  async saveSession(
    request: SaveSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkSaveSession(request, this.#limits);
    const { sessionId } = request.session;
    return this.#lookingFirst({ kind: "saveSession", ...request }, sessionId, context, (requestFingerprint) =>
      this.#sessions.save({ ...request, requestFingerprint }, this.#values(context), context),
    );
  }

  async deleteSession(request: DeleteSessionRequest, context?: CallContext): Promise<boolean> {
    validate.checkDeleteSession(request, this.#limits);
    return replayable(this.#keyring, { kind: "deleteSession", ...request }, (requestFingerprint) =>
      this.#store.deleteSession({ ...request, requestFingerprint }, context),
    );
  }

  async listSessions(
    request: ListSessionsRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<ListSessionsResponse<EncodedForm>> {
    validate.checkListSessions(request, this.#limits);
    const values = this.#values(context);
    return this.#fitting(
      request,
      async (page) => {
        const { sessions, nextPageToken } = await this.#store.listSessions(page, context);
        return { sessions: sessions.map((session) => values.session(session)), nextPageToken };
      },
      ({ sessions }) => sessions.map(({ state }) => sessionItemBytes(state.size, stateBytes(state))),
    );
  }

  async getState(request: GetStateRequest, context?: CallContext): Promise<Entry<EncodedForm> | undefined> {
    validate.checkGetState(request, this.#limits);
    const entry = await this.#store.getState(request, context);
    return entry && this.#values(context).entry(request.sessionId, entry);
  }

  async setState(request: SetStateRequest<EncodedForm>, context?: CallContext): Promise<Entry<EncodedForm>> {
    validate.checkSetState(request, this.#limits);
    const values = this.#values(context);
    const { operation, sent } = sealedSet(request, values, this.#limits);
    const { kind: _, ...sealed } = operation;
    return replayable(this.#keyring, { kind: "setState", ...request }, async (requestFingerprint) => {
      const entry = await this.#store.setState({ ...sealed, requestFingerprint }, context);
      return values.entry(request.sessionId, entry, sent);
    });
  }

  async deleteState(request: DeleteStateRequest, context?: CallContext): Promise<DeleteStateResponse> {
    validate.checkDeleteState(request, this.#limits);
    return replayable(this.#keyring, { kind: "deleteState", ...request }, (requestFingerprint) =>
      this.#store.deleteState({ ...request, requestFingerprint }, context),
    );
  }

  async listState(request: ListStateRequest, context?: CallContext): Promise<ListStateResponse<EncodedForm>> {
    validate.checkListState(request, this.#limits);
    const values = this.#values(context);
    return this.#fitting(
      request,
      async (page) => {
        const { entries, nextPageToken } = await this.#store.listState(page, context);
        return { entries: values.entries(request.sessionId, entries), nextPageToken };
      },
      ({ entries }) => entries.map(({ key, value }) => 64 + entryBytes(key, value)),
    );
  }

  async commit(
    request: CommitRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<CommitResponse<EncodedForm>> {
    validate.checkCommit(request, this.#limits);
    const values = this.#values(context);
    return this.#lookingFirst(
      { kind: "commit", ...request },
      looksFirst(request) ? request.sessionId : undefined,
      context,
      (requestFingerprint) => this.#committer.commit({ ...request, requestFingerprint }, values, context),
    );
  }

  async batch(
    operations: readonly Operation<EncodedForm>[],
    context?: CallContext,
  ): Promise<Result<EncodedForm>[]> {
    validate.checkOperations(operations, this.#limits);
    const values = this.#values(context);
    const results: Result<EncodedForm>[] = [];
    let ready: Ready[] = [];
    // Together what can be sent as it is; what must look first, or is refused here, by itself and in its turn.
    for (const asked of operations) {
      const next = this.#ready(asked, values);
      if (next !== undefined) {
        ready.push(next);
        continue;
      }
      results.push(...(await this.#send(ready, values, context)));
      ready = [];
      results.push(await this.#alone(asked, context));
    }
    // Also where there is nothing to send: the store says whether it is open, and the call still wanted.
    if (ready.length > 0 || results.length === 0) results.push(...(await this.#send(ready, values, context)));
    return results;
  }

  pipeline(
    batches: AsyncIterable<readonly Operation<EncodedForm>[]>,
    context?: CallContext,
  ): AsyncIterable<Result<EncodedForm>[]> {
    const values = this.#values(context);
    return sealedPipeline(batches, {
      // Also one that is no list, or too long: what runs it says so.
      ready: (operations) => this.#allReady(operations, values),
      sent: ({ operation }) => operation,
      opened: (answers, ready) => this.#opened(answers, ready, values, context),
      run: (operations) => this.batch(operations, context),
      pipeline: (sealed) => this.#store.pipeline(sealed, context),
    });
  }

  async forkSession(
    request: ForkSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkFork(request, this.#limits);
    return replayable(this.#keyring, { kind: "forkSession", ...request }, (requestFingerprint) =>
      this.#sessions.fork({ ...request, requestFingerprint }, this.#values(context), context),
    );
  }

  async restoreSession(
    request: RestoreSessionRequest<EncodedForm>,
    context?: CallContext,
  ): Promise<Session<EncodedForm>> {
    validate.checkRestore(request, this.#limits);
    const { sessionId } = request;
    return this.#lookingFirst(
      { kind: "restoreSession", ...request },
      sessionId,
      context,
      (requestFingerprint) =>
        this.#sessions.restore({ ...request, requestFingerprint }, this.#values(context), context),
    );
  }

  async listEvents(
    request: ListEventsRequest,
    context?: CallContext,
  ): Promise<ListEventsResponse<EncodedForm>> {
    validate.checkListEvents(request, this.#limits);
    const values = this.#values(context);
    return this.#fitting(
      request,
      async (page) => {
        const { events, nextPageToken } = await this.#store.listEvents(page, context);
        return { events: events.map((event) => values.event(event)), nextPageToken };
      },
      ({ events }) => events.map(eventItemBytes),
    );
  }

  watchSession(
    request: WatchSessionRequest,
    context?: CallContext,
  ): AsyncIterable<WatchMessage<EncodedForm>> {
    validate.checkWatchSession(request, this.#limits);
    const values = this.#values(context);
    return mapIterable(this.#store.watchSession(request, context), (message) => values.message(message));
  }

  watchSessions(
    filter: SessionFilter<EncodedForm>,
    context?: CallContext,
  ): AsyncIterable<SessionChange<EncodedForm>> {
    validate.checkSessionFilter(filter, this.#limits);
    const values = this.#values(context);
    return mapIterable(this.#store.watchSessions(filter, context), (change) => values.change(change));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #values(context: CallContext | undefined): SealedValues {
    return new SealedValues(this.#keyring, context?.namespace ?? "");
  }

  /** Runs a write that reads a session first, if one is named, in its turn. */
  #lookingFirst<Answer>(
    operation: WriteOperation,
    sessionId: string | undefined,
    context: CallContext | undefined,
    run: (requestFingerprint: string | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    const write = (): Promise<Answer> => replayable(this.#keyring, operation, run);
    if (sessionId === undefined) return write();
    const name = JSON.stringify([context?.namespace ?? "", sessionId]);
    return this.#turns.run(name, write, context?.signal);
  }

  /** What the operations of a batch are sent as; `undefined`: one must be run by itself, or all are refused. */
  #allReady(operations: readonly Operation<EncodedForm>[], values: SealedValues): Ready[] | undefined {
    if (!Array.isArray(operations) || operations.length > this.#limits.operations) return undefined;
    const all: Ready[] = [];
    for (const asked of operations) {
      const ready = this.#ready(asked, values);
      if (ready === undefined) return undefined;
      all.push(ready);
    }
    return all;
  }

  /** What an operation of a batch is sent as; `undefined`: it must be run by itself. */
  #ready(asked: Operation<EncodedForm>, values: SealedValues): Ready | undefined {
    try {
      validate.checkOperation(asked, this.#limits);
      switch (asked.kind) {
        case "setState":
          return this.#masked(asked, sealedSet(asked, values, this.#limits));
        case "deleteState":
          return this.#masked(asked, { operation: asked, sent: new Map() });
        case "commit":
          return looksFirst(asked)
            ? undefined
            : this.#masked(asked, sealedCommit(asked, new Map(), values, this.#limits));
        default:
          return { operation: asked, sent: undefined, asked };
      }
    } catch (error) {
      if (WorkflowStateError.is(error)) return undefined;
      throw error;
    }
  }

  /** A write with its fingerprint under the first key. */
  #masked<O extends Operation<EncodedForm> & WriteOperation>(
    asked: O,
    { operation, sent }: ReadyWrite<O>,
  ): Ready {
    if (!asked.requestId) return { operation, sent, asked };
    const [requestFingerprint] = masksOf(this.#keyring, asked);
    return { operation: { ...operation, requestFingerprint }, sent, asked };
  }

  async #send(
    ready: readonly Ready[],
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Result<EncodedForm>[]> {
    const operations = ready.map(({ operation }) => operation);
    return this.#opened(await this.#store.batch(operations, context), ready, values, context);
  }

  /** The answers to what was sent, opened. */
  async #opened(
    answers: readonly Result<EncodedForm>[],
    ready: readonly Ready[],
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Result<EncodedForm>[]> {
    const results: Result<EncodedForm>[] = [];
    for (const [i, answer] of answers.entries()) {
      const { asked, sent } = ready[i] as Ready;
      const reused = answer.kind === "error" && answer.error.reason === "REQUEST_ID_REUSED";
      // It may be known under an older key.
      const again = reused && this.#keyring.ids.length > 1;
      results.push(again ? await this.#alone(asked, context) : values.result(asked.sessionId, answer, sent));
    }
    return results;
  }

  async #alone(
    operation: Operation<EncodedForm>,
    context: CallContext | undefined,
  ): Promise<Result<EncodedForm>> {
    try {
      validate.checkOperation(operation, this.#limits);
      switch (operation.kind) {
        case "setState":
          return { kind: "setState", entry: await this.setState(operation, context) };
        case "deleteState":
          return { kind: "deleteState", ...(await this.deleteState(operation, context)) };
        case "commit":
          return { kind: "commit", ...(await this.commit(operation, context)) };
        case "getState":
          return { kind: "getState", entry: await this.getState(operation, context) };
        case "getSession":
          return { kind: "getSession", session: await this.getSession(operation, context) };
      }
    } catch (error) {
      if (WorkflowStateError.is(error)) return { kind: "error", error };
      throw error;
    }
  }

  /** A page that an answer of the outer limits has room for: as the inner ones are larger, it may have to be asked for anew. */
  async #fitting<Request extends Page, Response>(
    request: Request,
    ask: (request: Request) => Promise<Response>,
    itemBytes: (page: Response) => number[],
  ): Promise<Response> {
    for (let pageSize = request.pageSize; ; ) {
      const page = await ask({ ...request, pageSize });
      const items = itemBytes(page);
      let room = pageRoom(pageSize, this.#limits).bytes;
      let count = 0;
      while (count < items.length && (count === 0 || room >= (items[count] as number)))
        room -= items[count++] as number;
      if (count === items.length) return page;
      pageSize = count;
    }
  }
}

function stateBytes(state: EncodedForm["state"]): number {
  let bytes = 0;
  for (const [key, value] of state) bytes += entryBytes(key, value);
  return bytes;
}
