/** Tells an observer of writes: what each asked for, and what became of it. Run only where somebody wants to know. */
import { Code } from "@connectrpc/connect";
import { WorkflowStateError } from "../errors.ts";
import type * as Store from "../store.ts";
import type { EncodedForm, Operation, Result } from "../store.ts";
import type { BatchFromWire } from "../wire.ts";
import { CANCELLED, type Failure, failureOf, type Observation, type Write } from "./observer.ts";

/** What a write asks for. */
type Asked = Pick<Write, "operation" | "sessionId" | "keys" | "requestId">;

/** How the writes of an RPC are told of. */
export interface Told<Request, Answer> {
  asked(request: Request): Asked;
  /** The session's revision after it. */
  revision(answer: Answer): number | undefined;
}

/** How the writes of each RPC that writes one are told of. */
export const TOLD: {
  readonly setState: Told<Store.SetStateRequest<EncodedForm>, Store.Entry<EncodedForm>>;
  readonly deleteState: Told<Store.DeleteStateRequest, Store.DeleteStateResponse>;
  readonly commit: Told<Store.CommitRequest<EncodedForm>, Store.CommitResponse<EncodedForm>>;
  readonly saveSession: Told<Store.SaveSessionRequest<EncodedForm>, Store.Session<EncodedForm>>;
  readonly deleteSession: Told<Store.DeleteSessionRequest, boolean>;
  readonly forkSession: Told<Store.ForkSessionRequest<EncodedForm>, Store.Session<EncodedForm>>;
  readonly restoreSession: Told<Store.RestoreSessionRequest<EncodedForm>, Store.Session<EncodedForm>>;
} = {
  setState: {
    asked: ({ sessionId, key, requestId }) => ({ operation: "SetState", sessionId, keys: [key], requestId }),
    revision: (entry) => entry.revision,
  },
  deleteState: {
    asked: ({ sessionId, key, requestId }) => ({
      operation: "DeleteState",
      sessionId,
      keys: [key],
      requestId,
    }),
    revision: (answer) => answer.revision,
  },
  commit: {
    asked: ({ sessionId, changes = [], requestId }) => ({
      operation: "Commit",
      sessionId,
      // A change of a kind that isn't known here has no key; the store refuses it.
      keys: changes.map(({ key }) => (key as string | undefined) ?? ""),
      requestId,
    }),
    revision: (answer) => answer.revision,
  },
  saveSession: {
    // A message need not have a session; the store refuses it.
    asked: ({ session, requestId }) => ({
      operation: "SaveSession",
      sessionId: (session as typeof session | undefined)?.sessionId ?? "",
      requestId,
    }),
    revision: (session) => session.revision,
  },
  deleteSession: {
    asked: ({ sessionId, requestId }) => ({ operation: "DeleteSession", sessionId, requestId }),
    revision: () => undefined,
  },
  forkSession: {
    asked: ({ newSessionId, requestId }) => ({
      operation: "ForkSession",
      sessionId: newSessionId,
      requestId,
    }),
    revision: (session) => session.revision,
  },
  restoreSession: {
    asked: ({ sessionId, requestId }) => ({ operation: "RestoreSession", sessionId, requestId }),
    revision: (session) => session.revision,
  },
};

/** Whose writes are told of, and to whom. */
export interface Telling {
  readonly observation: Observation;
  /** The signal of the call. */
  readonly signal: AbortSignal;
  /** As many operations as a batch may have: of a refused one no more writes are told of, however many it has. */
  readonly operations: number;
}

/** Passes on what a write comes to, once it is told of. */
export async function tellingWrite<Request, Answer>(
  { observation, signal }: Omit<Telling, "operations">,
  told: Told<Request, Answer>,
  request: Request,
  writing: Promise<Answer>,
): Promise<Answer> {
  try {
    const answer = await writing;
    observation.wrote?.({ ...told.asked(request), revision: told.revision(answer) });
    return answer;
  } catch (error) {
    observation.wrote?.({ ...told.asked(request), failure: failureWithin(signal, error) });
    throw error;
  }
}

/**
 * What a call failed with. Of one that its caller has ended nothing is known: connect makes a code of how the stream was
 * reset, and so the caller would choose what is told of it.
 */
function failureWithin(signal: AbortSignal, thrown: unknown): Failure {
  const failure = failureOf(thrown);
  const isEnded = signal.aborted && failure.code !== Code.DeadlineExceeded && !WorkflowStateError.is(thrown);
  return isEnded ? CANCELLED : failure;
}

/**
 * Tells of each write of a batch by its results, one for each operation of the message. An operation that could not be
 * read is not told of: what it would have written isn't known.
 */
function tellBatch(
  observation: Observation,
  { operations, refused }: BatchFromWire,
  results: readonly Result<EncodedForm>[],
): void {
  let index = 0;
  for (const operation of operations) {
    while (refused.has(index)) index++;
    const asked = askedBy(operation);
    const result = results[index++];
    if (asked !== undefined && result !== undefined) {
      observation.wrote?.(
        result.kind === "error"
          ? { ...asked, failure: failureOf(result.error) }
          : { ...asked, revision: revisionOf(result) },
      );
    }
  }
}

/** Passes on what a batch comes to, once its writes are told of. */
export async function tellingBatch(
  telling: Telling,
  batch: BatchFromWire,
  running: Promise<readonly Result<EncodedForm>[]>,
): Promise<readonly Result<EncodedForm>[]> {
  let results: readonly Result<EncodedForm>[];
  try {
    results = await running;
  } catch (error) {
    tellFailedBatch(telling, batch, failureWithin(telling.signal, error));
    throw error;
  }
  tellBatch(telling.observation, batch, results);
  return results;
}

/** Tells of the writes of a pipeline. */
export class TellingPipeline {
  readonly #telling: Telling;
  /** Those that the store was given and has not answered, as they came. */
  readonly #given: BatchFromWire[] = [];
  #refused: { readonly batch: BatchFromWire; readonly failure: Failure } | undefined;
  /** What is told of those that are never answered. */
  #failure = CANCELLED;

  constructor(telling: Telling) {
    this.#telling = telling;
  }

  /** The store is given a batch. */
  gave(batch: BatchFromWire): void {
    this.#given.push(batch);
  }

  /** A batch is refused: the store does not see it. */
  refused(batch: BatchFromWire, error: unknown): void {
    this.#refused = { batch, failure: failureOf(error) };
  }

  /** The store has answered the first that it hasn't yet, with one result for each operation of the message. */
  answered(results: readonly Result<EncodedForm>[]): void {
    const batch = this.#given.shift();
    if (batch !== undefined) tellBatch(this.#telling.observation, batch, results);
  }

  /** The pipeline fails. Why says nothing of batches that the store has: they may be done. */
  failed(error: unknown): void {
    const failure = failureOf(error);
    if (failure.code === Code.DeadlineExceeded || failure.reason === "OUTCOME_UNKNOWN")
      this.#failure = failure;
  }

  /** The pipeline is over: tells of all that have no answer. */
  end(): void {
    for (const batch of this.#given) tellFailedBatch(this.#telling, batch, this.#failure);
    if (this.#refused !== undefined)
      tellFailedBatch(this.#telling, this.#refused.batch, this.#refused.failure);
  }
}

/** Tells of writes of a batch that failed as a whole: of no more than a batch may have. */
function tellFailedBatch(
  { observation, operations: most }: Telling,
  { operations }: BatchFromWire,
  failure: Failure,
): void {
  let told = 0;
  for (const operation of operations) {
    const asked = askedBy(operation);
    if (asked === undefined) continue;
    observation.wrote?.({ ...asked, failure });
    if (++told >= most) return;
  }
}

/** What an operation writes; `undefined`: nothing, it reads, or is of no kind that there is. */
function askedBy(operation: Operation<EncodedForm>): Asked | undefined {
  switch (operation.kind) {
    case "setState":
      return TOLD.setState.asked(operation);
    case "deleteState":
      return TOLD.deleteState.asked(operation);
    case "commit":
      return TOLD.commit.asked(operation);
    default:
      return undefined;
  }
}

function revisionOf(result: Result<EncodedForm>): number | undefined {
  switch (result.kind) {
    case "setState":
      return result.entry.revision;
    case "deleteState":
    case "commit":
      return result.revision;
    default:
      return undefined;
  }
}
