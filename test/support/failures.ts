/** What a call failed with. */
import { type ErrorReason, WorkflowStateError } from "../../src/errors.ts";

/** The store's error that a promise rejects with; fails if there is none. */
export async function errorOf(promise: Promise<unknown>): Promise<WorkflowStateError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!WorkflowStateError.is(error)) throw new Error("no store's error was thrown", { cause: error });
  return error;
}

/** The reason of the store's error that a promise rejects with; fails if there is none. */
export async function reasonOf(promise: Promise<unknown>): Promise<ErrorReason> {
  return (await errorOf(promise)).reason;
}

/** A value of any type: what a caller without types may pass. */
export function untyped<T>(value: unknown): T {
  return value as T;
}
