/** A service as a store: the operations of `store.ts` over a transport of Connect. It loads in browsers. */
import type { Transport } from "@connectrpc/connect";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import {
  type CallContext,
  DEFAULT_LIMITS,
  type EncodedForm,
  type EncodedStore,
  type Limits,
  type Operation,
  type Replayable,
  type Result,
  type SessionFilter,
  type WatchSessionRequest,
} from "../store.ts";
import * as validate from "../validate.ts";
import { requestToWire, responseFromWire } from "../wire.ts";
import { checkOptions } from "./check-options.ts";
import { type PreparedBatch, prepareBatch } from "./prepared-batch.ts";
import { Batcher, isWrite, resultsOf } from "./remote-batcher.ts";
import { type Call, Channel, type HeadersOption, type RetryOptions } from "./remote-channel.ts";
import { completed } from "./remote-session.ts";
import { begun, followSession, followSessions, oneByOne, pipelined, stoppable } from "./remote-streams.ts";

export type { HeadersOption, RetryOptions } from "./remote-channel.ts";

/** Options of {@link remoteStore}. */
export interface RemoteOptions {
  /** How messages are written; the transport must be set up alike (`useBinaryFormat`). Absent: binary. */
  readonly codec?: "binary" | "json" | undefined;
  /** How long a call may take with all its attempts, in milliseconds; the service is told. Absent: 30,000. */
  readonly timeoutMs?: number | undefined;
  /** How calls are tried again when the service can't be reached or can't answer. */
  readonly retry?: RetryOptions | undefined;
  /** Headers for every call. */
  readonly headers?: HeadersOption | undefined;
  /** A watch on a session that hears nothing for so long connects anew, in milliseconds. Absent: 45,000. */
  readonly silenceMs?: number | undefined;
  /** Whether the transport can send and receive at once; if not, a pipeline is a call a batch. Absent: true. */
  readonly duplex?: boolean | undefined;
  /** Closes the connections below the transport; called once, by `close`. */
  readonly disconnect?: (() => void) | undefined;
}

/** The service says what is too large or too many; what no message can hold is refused before it is sent. */
const UNBOUNDED = Object.fromEntries(
  Object.keys(DEFAULT_LIMITS).map((name) => [name, Number.POSITIVE_INFINITY]),
) as unknown as Limits;

/**
 * A store that a service keeps.
 *
 * - A call that fails with UNAVAILABLE is tried again until its attempts or its time run out. Every write carries a request
 *   id, so that it is done once. What can't be known in the end is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read.
 * - getState, setState, deleteState, commit and getSession that are called in one tick travel together, and take effect in
 *   that order as far as they are about one session. The abort of one leaves the others alone.
 * - A write that is aborted on its way may have been made: sent again with the same request id, it is answered as it was.
 * - A watch on a session outlives its connections, without a gap or a repetition, until it is ended. A watch on sessions
 *   does not, as a gap could not be closed: it fails with STORE_UNAVAILABLE.
 * - A session that is too large for one answer is forked and restored all the same: its state is read page by page then, as
 *   it was left. Fails with HISTORY_COMPACTED if others have written so much meanwhile that this is not kept any more.
 * - `close` aborts what is open: streams end with SHUTTING_DOWN, writes with OUTCOME_UNKNOWN, reads with STORE_UNAVAILABLE.
 */
export function remoteStore(transport: Transport, options: RemoteOptions = {}): EncodedStore {
  checkOptions(options);
  const { codec = "binary", timeoutMs = 30_000, silenceMs = 45_000, duplex = true, headers } = options;
  const retry = options.retry ?? {};
  const channel = new Channel(transport, { codec, headers, timeoutMs, retry });
  const batcher = new Batcher(channel);
  const { method } = WorkflowStateService;

  const reading = (context: CallContext | undefined) => ({
    write: false,
    namespace: context?.namespace,
    signal: context?.signal,
  });
  const writing = (context: CallContext | undefined) => ({ ...reading(context), write: true });
  /** A write that may take more than one call, in the time of one. */
  const writingAll = (context: CallContext | undefined): Call => ({
    ...writing(context),
    deadline: channel.deadline(),
  });

  const batch = async (
    operations: readonly Operation<EncodedForm>[],
    context: CallContext | undefined,
  ): Promise<Result<EncodedForm>[]> => {
    const ready = prepare(operations);
    const write = ready.operations.some(isWrite);
    const results = await channel.unary(
      method.batch,
      requestToWire.batch(ready.operations),
      (answer, inDoubt) => resultsOf(answer, ready.operations, inDoubt),
      { ...reading(context), write },
    );
    return ready.answer(results);
  };

  return {
    async getSession(request, context) {
      validate.checkGetSession(request, UNBOUNDED);
      return (await run(batcher, { ...request, kind: "getSession" }, context)).session;
    },
    async saveSession(request, context) {
      validate.checkSaveSession(request, UNBOUNDED);
      for (const value of request.session.state.values()) validate.validateValue(value, UNBOUNDED);
      const message = requestToWire.saveSession(withId(request));
      const call = writingAll(context);
      const saved = await channel.unary(method.saveSession, message, responseFromWire.saveSession, call);
      if (saved.state.size > 0 || request.session.state.size === 0) return saved;
      // One answer could not hold it: what is there now is what was sent, the first time.
      return request.requestFingerprint
        ? completed(channel, saved, call)
        : { ...saved, state: stateOf(message) };
    },
    async deleteSession(request, context) {
      validate.checkDeleteSession(request, UNBOUNDED);
      const message = requestToWire.deleteSession(withId(request));
      return channel.unary(method.deleteSession, message, responseFromWire.deleteSession, writing(context));
    },
    async listSessions(request, context) {
      validate.checkListSessions(request, UNBOUNDED);
      const message = requestToWire.listSessions(request);
      return channel.unary(method.listSessions, message, responseFromWire.listSessions, reading(context));
    },
    async getState(request, context) {
      validate.checkGetState(request, UNBOUNDED);
      return (await run(batcher, { ...request, kind: "getState" }, context)).entry;
    },
    async setState(request, context) {
      validate.checkSetState(request, UNBOUNDED);
      validate.validateValue(request.value, UNBOUNDED);
      return (await run(batcher, { ...withId(request), kind: "setState" }, context)).entry;
    },
    async deleteState(request, context) {
      validate.checkDeleteState(request, UNBOUNDED);
      const { deleted, revision } = await run(batcher, { ...withId(request), kind: "deleteState" }, context);
      return { deleted, revision };
    },
    async listState(request, context) {
      validate.checkListState(request, UNBOUNDED);
      const message = requestToWire.listState(request);
      return channel.unary(method.listState, message, responseFromWire.listState, reading(context));
    },
    async commit(request, context) {
      check({ ...request, kind: "commit" });
      const operation = { ...withId(request), kind: "commit" } as const;
      const { revision, updateTime, entries } = await run(batcher, operation, context);
      return { revision, updateTime, entries };
    },
    async batch(operations, context) {
      return batch(operations, context);
    },
    pipeline(batches, context) {
      return stoppable(context, (call) => {
        const input = batches[Symbol.asyncIterator]();
        if (!duplex) return oneByOne(channel, input, call, (operations) => batch(operations, call));
        return pipelined(channel, mapIterator(input, prepare), call, retry);
      });
    },
    async forkSession(request, context) {
      validate.checkFork(request, UNBOUNDED);
      checkValues(request.values);
      const message = requestToWire.forkSession(withId(request));
      const call = writingAll(context);
      const copy = await channel.unary(method.forkSession, message, responseFromWire.forkSession, call);
      return completed(channel, copy, call);
    },
    async restoreSession(request, context) {
      validate.checkRestore(request, UNBOUNDED);
      checkValues(request.values);
      const message = requestToWire.restoreSession(withId(request));
      const call = writingAll(context);
      const restored = await channel.unary(
        method.restoreSession,
        message,
        responseFromWire.restoreSession,
        call,
      );
      return completed(channel, restored, call);
    },
    async listEvents(request, context) {
      validate.checkListEvents(request, UNBOUNDED);
      const message = requestToWire.listEvents(request);
      return channel.unary(method.listEvents, message, responseFromWire.listEvents, reading(context));
    },
    watchSession(request: WatchSessionRequest, context) {
      validate.checkWatchSession(request, UNBOUNDED);
      return stoppable(context, (call) => followSession(channel, request, call, { retry, silenceMs }));
    },
    watchSessions(filter: SessionFilter<EncodedForm>, context) {
      validate.checkSessionFilter(filter, UNBOUNDED);
      // At once: what happens from now on is to be seen, whenever its reading begins.
      return begun(stoppable(context, (call) => followSessions(channel, filter, call)));
    },
    async close() {
      if (channel.closed) return;
      channel.close();
      options.disconnect?.();
    },
  };
}

/** Ids are unique: a random part for the process's store, and a count. */
const ids = { prefix: "", count: 0 };

function newRequestId(): string {
  if (ids.prefix === "") {
    // Not randomUUID: that is missing where a browser's page has no secure context.
    const random = crypto.getRandomValues(new Uint8Array(16));
    ids.prefix = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  ids.count += 1;
  return `${ids.prefix}-${ids.count.toString(36)}`;
}

/** The write with a request id, so that it can be tried again. */
function withId<W extends Replayable>(write: W): W {
  return write.requestId === undefined || write.requestId === ""
    ? { ...write, requestId: newRequestId() }
    : write;
}

/** The state that a request saves, as a copy. */
function stateOf({ session }: ReturnType<typeof requestToWire.saveSession>): Map<string, Uint8Array> {
  return new Map(session?.state.map(({ key, value }) => [key, value.slice()]));
}

/** Runs an operation together with others of this tick. */
async function run<O extends Operation<EncodedForm>>(
  batcher: Batcher,
  operation: O,
  context: CallContext | undefined,
): Promise<Extract<Result<EncodedForm>, { kind: O["kind"] }>> {
  const result = await batcher.run(operation, context);
  // The batcher answers in kind.
  return result as Extract<Result<EncodedForm>, { kind: O["kind"] }>;
}

/** Refuses what no message can hold. */
function check(operation: Operation<EncodedForm>): void {
  validate.checkOperation(operation, UNBOUNDED);
  if (operation.kind === "setState") validate.validateValue(operation.value, UNBOUNDED);
  if (operation.kind !== "commit") return;
  for (const [i, change] of (operation.changes ?? []).entries()) {
    const values = change.kind === "append" ? change.values : "value" in change ? [change.value] : [];
    for (const value of values) validate.validateValue(value, UNBOUNDED, `changes[${i}]`);
  }
}

function checkValues(values: EncodedForm["state"] | undefined): void {
  for (const value of values?.values() ?? []) validate.validateValue(value, UNBOUNDED, "values");
}

/** A batch that can be sent, its writes with request ids. */
function prepare(operations: readonly Operation<EncodedForm>[]): PreparedBatch {
  validate.checkOperations(operations, UNBOUNDED);
  return prepareBatch(operations, (operation) => {
    check(operation);
    return operation.kind === "getState" || operation.kind === "getSession" ? operation : withId(operation);
  });
}

function mapIterator<A, B>(items: AsyncIterator<A>, map: (item: A) => B): AsyncIterator<B> {
  return {
    async next() {
      const { done, value } = await items.next();
      return done === true ? { done, value: undefined } : { done: false, value: map(value) };
    },
    async return() {
      await items.return?.();
      return { done: true, value: undefined };
    },
  };
}
