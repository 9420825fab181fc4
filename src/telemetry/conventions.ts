/** The names that OpenTelemetry's semantic conventions (1.45) have for what is measured here. */

import { Code } from "@connectrpc/connect";
import type { Attributes } from "@opentelemetry/api";
import type { Failure, RpcStart } from "../service/observer.ts";

/** By which instruments and spans say where they come from. */
export const SCOPE = "@agenterra/workflow-state";

/** Codes by which a server says that it failed; with the others it says that the call can't be answered as it is. */
const SERVER_FAILED: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/** Whether it is the server that failed: only that makes a span an error. */
export function isServersFault({ code }: Failure): boolean {
  return SERVER_FAILED.has(code);
}

/** The full name of an RPC's method: `agenterra.state.v1.WorkflowStateService/GetState`. */
export function methodName({ service, method }: RpcStart): string {
  return `${service}/${method}`;
}

/** What a call speaks: gRPC-Web is gRPC as far as that goes. */
export function systemName({ protocol }: RpcStart): "grpc" | "connectrpc" {
  return protocol === "connect" ? "connectrpc" : "grpc";
}

/** How a call ended: the status as its protocol writes it (Connect has none for success), and the reason. */
export function outcomeAttributes(rpc: RpcStart, failure: Failure | undefined): Attributes {
  const isGrpc = rpc.protocol !== "connect";
  if (failure === undefined) return isGrpc ? { "rpc.response.status_code": "OK" } : {};
  return {
    "rpc.response.status_code": isGrpc ? codeName(failure.code) : connectName(failure.code),
    "error.type": errorType(failure),
  };
}

/** What a failure is by name, out of a bounded number: its reason, or its code. */
export function errorType({ reason, code }: Failure): string {
  return reason ?? codeName(code);
}

/** As gRPC writes it: FAILED_PRECONDITION. */
function codeName(code: Code): string {
  return code === Code.Canceled ? "CANCELLED" : connectName(code).toUpperCase();
}

/** As Connect writes it: failed_precondition. */
function connectName(code: Code): string {
  return Code[code].replace(/\B[A-Z]/g, "_$&").toLowerCase();
}
