/** Errors between the wire and `WorkflowStateError`: statuses with an `ErrorDetail`, and `Result.error`. */
import { Code, ConnectError } from "@connectrpc/connect";
// A status carries its detail in the public schema: the same bytes, and readable where a protocol shows it as JSON.
import { ErrorDetailSchema } from "../../gen/agenterra/state/v1/state_pb.ts";
import type * as Message from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { ErrorReason as WireReason } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { type ErrorCode, type ErrorReason, type FailedCheck, WorkflowStateError } from "../errors.ts";
import { sentError } from "./error-bounds.ts";
import { fromStrings, toStrings } from "./nouns.ts";

const CODES: Readonly<Record<ErrorCode, Code>> = {
  INVALID_ARGUMENT: Code.InvalidArgument,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNAVAILABLE: Code.Unavailable,
  UNAUTHENTICATED: Code.Unauthenticated,
};

const REASON_NAMES = new Map<number, ErrorReason>(
  Object.entries(WireReason)
    .filter(([name]) => name !== "UNSPECIFIED")
    .map(([name, number]) => [number, name as ErrorReason]),
);

/** The message of an error, for `Result.error`. */
export function errorToWire(error: WorkflowStateError): Message.ErrorDetail {
  const { message, metadata, failedChecks } = sentError(error);
  return {
    $typeName: "agenterra.state.v1.ErrorDetail",
    reason: WireReason[error.reason],
    metadata: toStrings(metadata),
    failedChecks: failedChecks.map(({ key, ifRevision, actualRevision }) => ({
      $typeName: "agenterra.state.v1.FailedCheck",
      key,
      ifRevision: BigInt(ifRevision),
      actualRevision: BigInt(actualRevision),
    })),
    message,
  };
}

/**
 * The error of a `Result.error`. A reason that this version does not know, from a newer service, is OUTCOME_UNKNOWN: of
 * which operation it is, and that nothing is unknown about a read, the caller knows.
 */
export function errorFromWire(detail: Message.ErrorDetail): WorkflowStateError {
  return new WorkflowStateError(REASON_NAMES.get(detail.reason) ?? "OUTCOME_UNKNOWN", detail.message, {
    metadata: fromStrings(detail.metadata),
    failedChecks: failedChecks(detail),
  });
}

function failedChecks(detail: Pick<Message.ErrorDetail, "failedChecks">): FailedCheck[] {
  return detail.failedChecks.map(({ key, ifRevision, actualRevision }) => ({
    key,
    ifRevision: Number(ifRevision),
    actualRevision: Number(actualRevision),
  }));
}

/**
 * Whatever a handler threw, as the status to answer with. A `WorkflowStateError` keeps its reason, message and facts; an
 * abort is CANCELLED, or DEADLINE_EXCEEDED if time ran out; anything else is INTERNAL with a fixed text, and goes to `onError`.
 */
export function toConnectError(error: unknown, onError?: (error: unknown) => void): ConnectError {
  if (error instanceof WorkflowStateError) {
    const { message, metadata, failedChecks } = sentError(error);
    const value = {
      reason: WireReason[error.reason],
      metadata,
      failedChecks: failedChecks.map(({ key, ifRevision, actualRevision }) => ({
        key,
        ifRevision: BigInt(ifRevision),
        actualRevision: BigInt(actualRevision),
      })),
    };
    const details = [{ desc: ErrorDetailSchema, value }];
    return new ConnectError(message, CODES[error.code], undefined, details, error);
  }
  const code = error instanceof ConnectError ? error.code : abortCode(error);
  if (code === Code.Canceled) {
    return new ConnectError("The call was cancelled.", code, undefined, undefined, error);
  }
  if (code === Code.DeadlineExceeded) {
    return new ConnectError("The deadline passed.", code, undefined, undefined, error);
  }
  if (error instanceof ConnectError) {
    return error;
  }
  onError?.(error);
  return new ConnectError(
    "The service failed; its log says why.",
    Code.Internal,
    undefined,
    undefined,
    error,
  );
}

function abortCode(error: unknown): Code | undefined {
  const name = error instanceof Error ? error.name : undefined;
  return name === "AbortError" ? Code.Canceled : name === "TimeoutError" ? Code.DeadlineExceeded : undefined;
}

/** The reason that a status carries, made here or received; `undefined`: none, or one that this version does not know. */
export function reasonOf(status: ConnectError): ErrorReason | undefined {
  if (status.cause instanceof WorkflowStateError) return status.cause.reason;
  const [detail] = status.findDetails(ErrorDetailSchema);
  return detail && REASON_NAMES.get(detail.reason);
}

/** What a status without a detail means, where that does not depend on the call. */
const REASON_OF_CODE = new Map<Code, ErrorReason>([
  [Code.InvalidArgument, "INVALID_REQUEST"],
  [Code.ResourceExhausted, "REQUEST_TOO_LARGE"],
  [Code.Unauthenticated, "UNAUTHENTICATED"],
  [Code.PermissionDenied, "PERMISSION_DENIED"],
]);

/** Causes with which a connection was never made, so that nothing was written. */
const NEVER_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/**
 * Whatever a transport threw, as the error of a store. What the service said, it keeps. Of the rest, a failure of a write
 * that may have reached the service is OUTCOME_UNKNOWN, any other STORE_UNAVAILABLE. An abort by the caller's own signal
 * is the caller's to tell apart before.
 */
export function fromConnectError(error: unknown, call: { readonly write: boolean }): WorkflowStateError {
  if (error instanceof WorkflowStateError) {
    return error;
  }
  if (error instanceof ConnectError) {
    const [detail] = error.findDetails(ErrorDetailSchema);
    if (detail !== undefined) {
      return new WorkflowStateError(
        REASON_NAMES.get(detail.reason) ?? unsaid(error, call),
        error.rawMessage,
        {
          metadata: detail.metadata,
          failedChecks: failedChecks(detail),
          cause: error,
        },
      );
    }
    const reason = REASON_OF_CODE.get(error.code);
    if (reason !== undefined) {
      return new WorkflowStateError(reason, error.rawMessage, { cause: error });
    }
    if (error.code === Code.Unimplemented || error.code === Code.NotFound) {
      // It will be so the next time too: no reason to retry.
      const message =
        "There is no such call at this address: check the URL, and that the service is not older than this client.";
      return new WorkflowStateError("INVALID_REQUEST", message, { cause: error });
    }
  }
  const reason = unsaid(error, call);
  const message =
    reason === "OUTCOME_UNKNOWN"
      ? "The write may or may not have happened; retry it with the same request id."
      : "The service can't be reached or did not answer; retry later.";
  return new WorkflowStateError(reason, message, { cause: error });
}

function unsaid(error: unknown, { write }: { readonly write: boolean }): ErrorReason {
  return write && !neverConnected(error) ? "OUTCOME_UNKNOWN" : "STORE_UNAVAILABLE";
}

function neverConnected(error: unknown): boolean {
  // A chain of causes can be a circle.
  for (let cause = error, depth = 0; cause instanceof Error && depth < 10; cause = cause.cause, depth++) {
    if ("code" in cause && typeof cause.code === "string" && NEVER_CONNECTED.has(cause.code)) {
      return true;
    }
  }
  return false;
}
