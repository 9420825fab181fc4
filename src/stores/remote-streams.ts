/** The streams of a remote store: watches that find their way back after a lost connection, and pipelines. */
import {
  type PipelineRequest,
  type PipelineResponse,
  WorkflowStateService,
} from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  EncodedForm,
  Result,
  SessionChange,
  SessionFilter,
  WatchMessage,
  WatchSessionRequest,
} from "../store.ts";
import { requestToWire, responseFromWire } from "../wire.ts";
import type { PreparedBatch } from "./prepared-batch.ts";
import { isWrite, resultsOf } from "./remote-batcher.ts";
import { backoffMs, type Call, type Channel, isBeforeTheStore, type RetryOptions } from "./remote-channel.ts";

/** A call that can always be aborted. */
export type StreamCall = Call & { readonly signal: AbortSignal };

/**
 * An iterable over what `open` generates, from its first `next` on. Its end reaches the generator also while that waits for
 * a message: by `return` without an error, by the caller's signal with the signal's reason.
 */
export function stoppable<T>(
  context: CallContext | undefined,
  open: (call: StreamCall) => AsyncGenerator<T, void, undefined>,
): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const outer = context?.signal;
      const stop = new AbortController();
      const aborted = (): void => stop.abort(outer?.reason);
      const items = open({ write: false, namespace: context?.namespace, signal: stop.signal });
      let returned = false;
      const end = (): void => outer?.removeEventListener("abort", aborted);
      outer?.addEventListener("abort", aborted, { once: true });
      return {
        async next() {
          try {
            // Not before: an iterable that is never read must not fail.
            if (outer?.aborted === true) aborted();
            stop.signal.throwIfAborted();
            const item = await items.next();
            if (item.done === true) end();
            return item;
          } catch (error) {
            end();
            if (returned) return { done: true, value: undefined };
            throw error;
          }
        },
        async return() {
          returned = true;
          end();
          stop.abort();
          await items.return().catch(() => undefined);
          return { done: true, value: undefined };
        },
      };
    },
  };
}

/** The iterable, with the first item asked for now: its first reading gets that one. */
export function begun<T>(items: AsyncIterable<T>): AsyncIterable<T> {
  const iterator = items[Symbol.asyncIterator]();
  let first: Promise<IteratorResult<T>> | undefined = iterator.next();
  // Whoever reads it gets the error; who never does must not hear of it.
  first.catch(() => undefined);
  let read = false;
  return {
    [Symbol.asyncIterator]() {
      if (read) return items[Symbol.asyncIterator]();
      read = true;
      return {
        ...iterator,
        next() {
          const item = first ?? iterator.next();
          first = undefined;
          return item;
        },
      };
    },
  };
}

/** How a stream goes on after its connection is lost. */
export interface ResumeOptions {
  readonly retry: RetryOptions;
  /** The connection of a watch that says nothing for so long counts as lost. */
  readonly silenceMs: number;
}

/**
 * Follows a session over as many connections as it takes: after a lost one it goes on behind the last revision that it gave,
 * so nothing is missed and nothing comes twice. Only an error that is not UNAVAILABLE ends it.
 */
export async function* followSession(
  channel: Channel,
  request: WatchSessionRequest,
  call: StreamCall,
  { retry, silenceMs }: ResumeOptions,
): AsyncGenerator<WatchMessage<EncodedForm>, void, undefined> {
  let { afterRevision } = request;
  for (let failures = 1; ; failures++) {
    const connection = new AbortController();
    const messages = channel.stream(
      WorkflowStateService.method.watchSession,
      once(requestToWire.watchSession({ ...request, afterRevision })),
      responseFromWire.watchSession,
      { ...call, signal: AbortSignal.any([call.signal, connection.signal]) },
    );
    const silent = (): void =>
      connection.abort(new WorkflowStateError("STORE_UNAVAILABLE", "The service fell silent."));
    try {
      for await (const message of timed(messages, silenceMs, silent)) {
        if (message === undefined) continue;
        failures = 0;
        afterRevision = revisionOf(message);
        yield message;
      }
    } catch (error) {
      if (channel.closed || !isUnavailable(error)) throw error;
    }
    await channel.rest(backoffMs(Math.max(1, failures), retry), call);
  }
}

/** Follows sessions over one connection; a lost one is thrown, as what happened meanwhile can't be had. */
export async function* followSessions(
  channel: Channel,
  filter: SessionFilter<EncodedForm>,
  call: StreamCall,
): AsyncGenerator<SessionChange<EncodedForm>, void, undefined> {
  const input = once(requestToWire.watchSessions(filter));
  const { watchSessions } = WorkflowStateService.method;
  yield* channel.stream(watchSessions, input, responseFromWire.watchSessions, call);
  throw new WorkflowStateError(
    "STORE_UNAVAILABLE",
    "The service ended the watch; watch again, and close the gap with listSessions({ updatedAfter }).",
  );
}

/** Runs batches by a call each, for a transport that can't send and receive at once. */
export async function* oneByOne<B>(
  channel: Channel,
  batches: AsyncIterator<B>,
  call: StreamCall,
  run: (batch: B) => Promise<Result<EncodedForm>[]>,
): AsyncGenerator<Result<EncodedForm>[], void, undefined> {
  try {
    for (;;) {
      const batch = await channel.unlessEnded(batches.next(), call);
      if (batch.done === true) return;
      yield await run(batch.value);
    }
  } finally {
    // Not awaited: it may be waiting for its next item, and nobody can tell for how long.
    void batches.return?.().catch(() => undefined);
  }
}

/**
 * Runs batches over one stream. After a lost connection those that are not answered are sent again on a new one: their
 * writes carry request ids. Gives up after so many connections in a row that answered nothing.
 */
export async function* pipelined(
  channel: Channel,
  batches: AsyncIterator<PreparedBatch>,
  call: StreamCall,
  retry: RetryOptions,
): AsyncGenerator<Result<EncodedForm>[], void, undefined> {
  const input = new Resendable(batches);
  try {
    for (let failures = 1; !input.done; failures++) {
      let lost: WorkflowStateError | undefined;
      try {
        const { pipeline } = WorkflowStateService.method;
        const read = (answer: PipelineResponse) => input.answered(answer);
        for await (const results of channel.stream(pipeline, input.messages(), read, call)) {
          failures = 0;
          yield results;
        }
      } catch (error) {
        if (input.failure !== undefined) throw input.failure.error;
        call.signal.throwIfAborted();
        if (channel.closed || !WorkflowStateError.is(error)) throw error;
        if (!isUnavailable(error)) throw input.unanswered(error);
        lost = error;
      }
      if (input.done) return;
      if (failures >= (retry.attempts ?? 5)) throw input.unanswered(lost ?? unfinished());
      await channel.rest(backoffMs(Math.max(1, failures), retry), call);
    }
  } finally {
    // Not awaited, as above.
    void batches.return?.().catch(() => undefined);
  }
}

/** The batches of a pipeline, with those kept that are not answered yet. */
class Resendable {
  readonly #source: AsyncIterator<PreparedBatch>;
  readonly #sent: { readonly batch: PreparedBatch; readonly message: PipelineRequest }[] = [];
  /** Asked of the source, on whichever connection it will be sent. */
  #next: Promise<IteratorResult<PreparedBatch>> | undefined;
  #ended = false;
  #connections = 0;
  /** How many of those sent, from the oldest on, a connection before that of the moment had: they may be done. */
  #doubtful = 0;
  /** Whether the connection of the moment has answered something: it was let in, and what it has may be done. */
  #hasAnswered = false;
  /** What the source threw. */
  failure: { readonly error: unknown } | undefined;

  constructor(source: AsyncIterator<PreparedBatch>) {
    this.#source = source;
  }

  /** Whether all is sent and answered. */
  get done(): boolean {
    return this.#ended && this.#sent.length === 0;
  }

  /** The messages for another connection; the one before takes no more. */
  messages(): AsyncGenerator<PipelineRequest, void, undefined> {
    // Now, not at the first message: a connection that fails before that is another one all the same.
    this.#connections += 1;
    this.#doubtful = this.#sent.length;
    this.#hasAnswered = false;
    return this.#messages(this.#connections);
  }

  async *#messages(connection: number): AsyncGenerator<PipelineRequest, void, undefined> {
    for (const { message } of [...this.#sent]) yield message;
    while (!this.#ended) {
      try {
        this.#next ??= this.#source.next();
        const item = await this.#next;
        if (connection !== this.#connections) return;
        this.#next = undefined;
        if (item.done === true) {
          this.#ended = true;
          return;
        }
        const message = requestToWire.pipeline(item.value.operations);
        this.#sent.push({ batch: item.value, message });
        yield message;
      } catch (error) {
        this.failure = { error };
        throw error;
      }
    }
  }

  /** Takes the answer of the oldest batch. */
  answered(answer: PipelineResponse): Result<EncodedForm>[] {
    const [oldest] = this.#sent;
    if (oldest === undefined) throw new Error("The service answered what was not asked.");
    const { batch } = oldest;
    const results = batch.answer(resultsOf(answer, batch.operations, this.#doubtful > 0));
    this.#sent.shift();
    this.#hasAnswered = true;
    this.#doubtful = Math.max(0, this.#doubtful - 1);
    return results;
  }

  /** The error of a stream that is given up. */
  unanswered(error: WorkflowStateError): WorkflowStateError {
    if (!isBeforeTheStore(error)) return error;
    // A connection that is refused before it has answered anything was not let in: what it sent was not looked at.
    const open = isUnavailable(error) || this.#hasAnswered ? this.#sent : this.#sent.slice(0, this.#doubtful);
    return open.some(({ batch }) => batch.operations.some(isWrite))
      ? new WorkflowStateError(
          "OUTCOME_UNKNOWN",
          "Writes without an answer may or may not have happened; send them again with the same request ids.",
          { cause: error },
        )
      : error;
  }
}

function unfinished(): WorkflowStateError {
  return new WorkflowStateError(
    "STORE_UNAVAILABLE",
    "The service ended the pipeline before it had answered; retry later.",
  );
}

function isUnavailable(error: unknown): error is WorkflowStateError {
  return WorkflowStateError.is(error) && error.code === "UNAVAILABLE";
}

function revisionOf(message: WatchMessage<EncodedForm>): number {
  switch (message.kind) {
    case "snapshot":
      return message.snapshot.revision;
    case "event":
      return message.event.revision;
    case "progress":
      return message.revision;
  }
}

/** The items; `late` is called when one has been waited for so long. */
async function* timed<T>(
  items: AsyncGenerator<T, void, undefined>,
  ms: number,
  late: () => void,
): AsyncGenerator<T, void, undefined> {
  try {
    for (;;) {
      const timer = setTimeout(late, ms);
      const item = await items.next().finally(() => clearTimeout(timer));
      if (item.done === true) return;
      yield item.value;
    }
  } finally {
    await items.return();
  }
}

async function* once<T>(item: T): AsyncGenerator<T, void, undefined> {
  yield item;
}
