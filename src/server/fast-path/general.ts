/** What the fast path takes from the general one, so that both say the same. */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { PipelineRequestSchema } from "../../../gen/encoded/agenterra/state/v1/service_pb.ts";
import {
  ErrorDetailSchema,
  EventKind as WireEventKind,
} from "../../../gen/encoded/agenterra/state/v1/state_pb.ts";
import type { WorkflowStateError } from "../../errors.ts";
import type { EventKind } from "../../store.ts";
import { type BatchFromWire, errorToWire, requestFromWire } from "../../wire.ts";
import { checkBinaryParts } from "../message-parts.ts";

/** The bytes of an error's `ErrorDetail`, as a batch carries it. */
export function errorBytes(error: WorkflowStateError): Uint8Array {
  return toBinary(ErrorDetailSchema, errorToWire(error));
}

/** The number of a kind of event. */
export function eventKindNumber(kind: EventKind): number {
  return WireEventKind[kind];
}

/**
 * The operations of a message of Pipeline that the fast decoder leaves. Fails as connect does if it is malformed, and with
 * REQUEST_TOO_LARGE if it has too many parts.
 */
export function generalBatch(message: Uint8Array): BatchFromWire {
  checkBinaryParts(PipelineRequestSchema, message);
  let request: ReturnType<typeof decode>;
  try {
    request = decode(message);
  } catch (error) {
    throw new ConnectError((error as Error).message, Code.InvalidArgument);
  }
  return requestFromWire.batch(request);
}

function decode(message: Uint8Array) {
  return fromBinary(PipelineRequestSchema, message);
}
