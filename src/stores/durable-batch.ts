/** A batch on a durable store: its operations in order, as many at once as one round trip can hold. */
import { WorkflowStateError } from "../errors.ts";
import type { EncodedForm, Limits, Operation, Result } from "../store.ts";
import { checkOperation } from "../validate.ts";
import type { Engine } from "./durable-engine.ts";
import { getSession, getState } from "./durable-reads.ts";
import type { Single } from "./durable-steps.ts";
import { blindCommit, deleteState, lookingCommit, setState } from "./durable-writes.ts";

type Answer = Result<EncodedForm>;

/** Runs an operation of several steps; the signal may end it before its commit. */
type Other = (signal: AbortSignal | undefined) => Promise<Answer>;

/** Operations that are under way together: those that are one step each in one round trip, the others beside them. */
class Group {
  readonly singles: Single<Answer>[] = [];
  /** Where their results stand. */
  readonly places: number[] = [];
  readonly others: { readonly place: number; readonly run: Other }[] = [];
  /** The sessions of `others`: what follows on these waits for the next group. */
  readonly #busy: Set<string> = new Set();
  readonly #touched: Set<string> = new Set();

  /** Whether an operation can join without overtaking, or being overtaken by, one of its session. */
  takes(sessionId: string, single: boolean): boolean {
    return !this.#busy.has(sessionId) && (single || !this.#touched.has(sessionId));
  }

  add(place: number, sessionId: string, single: Single<Answer>): void {
    this.singles.push(single);
    this.places.push(place);
    this.#touched.add(sessionId);
  }

  addOther(place: number, sessionId: string, run: Other): void {
    this.others.push({ place, run });
    this.#busy.add(sessionId);
  }
}

/**
 * Runs operations, those of one session in order; an operation's error is its result. The signal is looked at before the first
 * is sent: a batch that has begun is done.
 */
export async function runBatch(
  engine: Engine,
  namespace: string,
  operations: readonly Operation<EncodedForm>[],
  signal: AbortSignal | undefined,
): Promise<Answer[]> {
  const { limits } = engine;
  const results = new Array<Answer>(operations.length);
  let before = signal;
  let group = new Group();
  const send = async (): Promise<void> => {
    const { singles, places, others } = group;
    // One that gave up beside others that go on would leave a batch half done.
    const given = others.length + Math.min(1, singles.length) > 1 ? undefined : before;
    before?.throwIfAborted();
    before = undefined;
    group = new Group();
    await Promise.all([
      runSingles(singles, places, given),
      ...others.map(async ({ place, run }) => {
        results[place] = await settled(() => run(given));
      }),
    ]);
  };
  const runSingles = async (
    singles: readonly Single<Answer>[],
    places: readonly number[],
    given: AbortSignal | undefined,
  ): Promise<void> => {
    if (singles.length === 0) return;
    try {
      const answers = await engine.runAll(singles, given);
      for (const [i, single] of singles.entries())
        results[places[i] as number] = attempt(() => single.answer(answers[i]));
    } catch (error) {
      for (const place of places) results[place] = errorOf(error);
    }
  };
  for (const [place, operation] of operations.entries()) {
    try {
      checkOperation(operation, limits);
      const { sessionId } = operation;
      const single = singleOf(operation, namespace, limits);
      if (!group.takes(sessionId, single !== undefined)) await send();
      if (single !== undefined) {
        group.add(place, sessionId, single);
      } else if (operation.kind === "commit") {
        group.addOther(place, sessionId, async (given) => ({
          kind: "commit",
          ...(await lookingCommit(engine, namespace, operation, given)),
        }));
      }
    } catch (error) {
      results[place] = errorOf(error);
    }
  }
  await send();
  return results;
}

async function settled(run: () => Promise<Answer>): Promise<Answer> {
  try {
    return await run();
  } catch (error) {
    return errorOf(error);
  }
}

function attempt(answer: () => Answer): Answer {
  try {
    return answer();
  } catch (error) {
    return errorOf(error);
  }
}

/** The error as a result; throws what is not one of a store's. */
function errorOf(error: unknown): Answer {
  if (WorkflowStateError.is(error)) return { kind: "error", error };
  throw error;
}

/** The operation as one step; `undefined`: it is a commit that needs more. */
function singleOf(
  operation: Operation<EncodedForm>,
  namespace: string,
  limits: Limits,
): Single<Answer> | undefined {
  switch (operation.kind) {
    case "getState":
      return map(getState(namespace, operation), (entry) => ({ kind: "getState", entry }));
    case "setState":
      return map(setState(namespace, operation, limits), (entry) => ({ kind: "setState", entry }));
    case "deleteState":
      return map(deleteState(namespace, operation, limits), (answer) => ({ kind: "deleteState", ...answer }));
    case "commit": {
      const blind = blindCommit(namespace, operation, limits);
      return blind && map(blind, (answer) => ({ kind: "commit", ...answer }));
    }
    case "getSession":
      return map(getSession(namespace, operation), (session) => ({ kind: "getSession", session }));
  }
}

function map<A>({ step, answer }: Single<A>, result: (answer: A) => Answer): Single<Answer> {
  return { step, answer: (given) => result(answer(given)) };
}
