/** How the program says that a store could not be opened. */
import { WorkflowStateError } from "../errors.ts";
import { Failure, UsageError } from "./usage-error.ts";

/** The store that is being opened. What is wrong with its URL is a {@link UsageError}, what with the store a {@link Failure}. */
export async function opened<Store>(opening: Promise<Store>, what = "the store"): Promise<Store> {
  try {
    return await opening;
  } catch (cause) {
    if (!WorkflowStateError.is(cause)) throw cause;
    const message = `can't open ${what}: ${cause.message}`;
    throw cause.code === "INVALID_ARGUMENT"
      ? new UsageError(message, { cause })
      : new Failure(message, { cause });
  }
}
