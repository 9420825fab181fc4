/** Tells an observer of writes: what each asked for, and what became of it. Run only where somebody wants to know. */
import type * as Store from "../store.ts";
import type { EncodedForm, Operation, Result } from "../store.ts";
import type { BatchFromWire } from "../wire.ts";
import { type Failure, failureOf, type Observation, type Write } from "./observer.ts";

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
      keys: changes.map(({ key }) => key),
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

/** Passes on what a write comes to, once it is told of. */
export async function tellingWrite<Request, Answer>(
  observation: Observation,
  told: Told<Request, Answer>,
  request: Request,
  writing: Promise<Answer>,
): Promise<Answer> {
  try {
    const answer = await writing;
    observation.wrote?.({ ...told.asked(request), revision: told.revision(answer) });
    return answer;
  } catch (error) {
    observation.wrote?.({ ...told.asked(request), failure: failureOf(error) });
    throw error;
  }
}

/**
 * Tells of each write of a batch by its results, one for each operation of the message. An operation that could not be
 * read is not told of: what it would have written isn't known.
 */
export function tellBatch(
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
  observation: Observation,
  batch: BatchFromWire,
  running: Promise<readonly Result<EncodedForm>[]>,
): Promise<readonly Result<EncodedForm>[]> {
  let results: readonly Result<EncodedForm>[];
  try {
    results = await running;
  } catch (error) {
    tellFailedBatch(observation, batch, failureOf(error));
    throw error;
  }
  tellBatch(observation, batch, results);
  return results;
}

/** Tells of each write of a batch that failed as a whole. */
export function tellFailedBatch(
  observation: Observation,
  { operations }: BatchFromWire,
  failure: Failure,
): void {
  for (const operation of operations) {
    const asked = askedBy(operation);
    if (asked !== undefined) observation.wrote?.({ ...asked, failure });
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
