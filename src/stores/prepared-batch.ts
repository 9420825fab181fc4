/** Batches on their way to a store, less the operations that can't be sent: those are answered with why not. */
import { WorkflowStateError } from "../errors.ts";
import type { EncodedForm, Operation, Result } from "../store.ts";

/** A batch that was made ready. */
export interface PreparedBatch {
  /** Those to send, in order. */
  readonly operations: readonly Operation<EncodedForm>[];
  /** The answer of the whole batch, of the answer to what was sent. */
  answer(results: readonly Result<EncodedForm>[]): Result<EncodedForm>[];
}

/** Makes each operation ready; one that fails with a store's error is its own result. */
export function prepareBatch<O>(
  operations: readonly O[],
  ready: (operation: O) => Operation<EncodedForm>,
): PreparedBatch {
  const refused = new Map<number, WorkflowStateError>();
  const accepted: Operation<EncodedForm>[] = [];
  for (const [i, operation] of operations.entries()) {
    try {
      accepted.push(ready(operation));
    } catch (error) {
      if (!WorkflowStateError.is(error)) throw error;
      refused.set(i, error);
    }
  }
  return {
    operations: accepted,
    answer(results) {
      const rest = results.values();
      return Array.from(operations, (_, i): Result<EncodedForm> => {
        const error = refused.get(i);
        // A store answers one for one.
        return error === undefined ? (rest.next().value as Result<EncodedForm>) : { kind: "error", error };
      });
    },
  };
}
