/** A caller that has proven who it is. */
import { WorkflowStateError } from "../../errors.ts";

export interface Caller {
  readonly principal: string;
  readonly namespaces: readonly string[];
  /** In epoch milliseconds; absent: its credentials don't expire. */
  readonly expireTime?: number | undefined;
  /** The part of the options by which it is known: while that stays, so does the caller. */
  readonly knownBy: object;
}

/** Credentials that are missing, or prove nothing. Never says which part was wrong. */
export function unauthenticated(message: string, cause?: unknown): WorkflowStateError {
  return new WorkflowStateError("UNAUTHENTICATED", message, cause === undefined ? {} : { cause });
}
