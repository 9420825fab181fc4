/** Requests between the encoded messages and `store.ts`, one function an RPC in each direction. */
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type * as Message from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import type { EncodedEntry, StringEntry } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { SessionOrder, SessionView } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type * as Store from "../store.ts";
import type { EncodedForm } from "../store.ts";
import * as noun from "./nouns.ts";
import { NOTHING } from "./nouns.ts";

/** The operations of a batch out of its message. */
export interface BatchFromWire {
  /** Those that a store can be asked for, in order. */
  readonly operations: readonly Store.Operation<EncodedForm>[];
  /** The others: the index in the message, and why. Each is that operation's result; the rest of the batch runs. */
  readonly refused: ReadonlyMap<number, WorkflowStateError>;
}

type ReplayFields = { readonly requestId: string; readonly requestFingerprint: string };
type PageFields = { readonly pageSize: number; readonly pageToken: string };
type FilterFields = {
  readonly workflowId: string;
  readonly userId: string;
  readonly sessionIdPrefix: string;
  readonly labels: StringEntry[];
  readonly updatedAfter?: Timestamp | undefined;
  readonly updatedBefore?: Timestamp | undefined;
};
type Revision<Name extends string> = { readonly [key in Name]?: bigint | undefined };

function ifRevision(message: Revision<"ifRevision">): { ifRevision?: number } {
  return message.ifRevision === undefined ? NOTHING : { ifRevision: Number(message.ifRevision) };
}

function atRevision(message: Revision<"atRevision">): { atRevision?: number } {
  return message.atRevision === undefined ? NOTHING : { atRevision: Number(message.atRevision) };
}

function replayable({ requestId, requestFingerprint }: ReplayFields): Store.Replayable {
  return {
    ...(requestId === "" ? NOTHING : { requestId }),
    ...(requestFingerprint === "" ? NOTHING : { requestFingerprint }),
  };
}

function values(message: { readonly values: EncodedEntry[] }): { values?: EncodedForm["state"] } {
  return message.values.length === 0 ? NOTHING : { values: noun.stateFromWire(message.values) };
}

function keyPrefix({ keyPrefix }: { keyPrefix: string }): { keyPrefix?: string } {
  return keyPrefix === "" ? NOTHING : { keyPrefix };
}

function page({ pageSize, pageToken }: PageFields): Store.Page {
  return {
    ...(pageSize === 0 ? NOTHING : { pageSize }),
    ...(pageToken === "" ? NOTHING : { pageToken }),
  };
}

function filterFromWire(message: FilterFields): Store.SessionFilter<EncodedForm> {
  const { workflowId, userId, sessionIdPrefix, labels, updatedAfter, updatedBefore } = message;
  return {
    ...(workflowId === "" ? NOTHING : { workflowId }),
    ...(userId === "" ? NOTHING : { userId }),
    ...(sessionIdPrefix === "" ? NOTHING : { sessionIdPrefix }),
    ...(labels.length === 0 ? NOTHING : { labels: noun.fromStrings(labels) }),
    ...(updatedAfter === undefined ? NOTHING : { updatedAfter: noun.fromTimestamp(updatedAfter) }),
    ...(updatedBefore === undefined
      ? NOTHING
      : { updatedBefore: noun.fromTimestamp(updatedBefore, Math.ceil) }),
  };
}

function filterToWire(filter: Store.SessionFilter<EncodedForm>): FilterFields {
  return {
    workflowId: filter.workflowId ?? "",
    userId: filter.userId ?? "",
    sessionIdPrefix: filter.sessionIdPrefix ?? "",
    labels: noun.toStrings(filter.labels),
    updatedAfter: noun.toTimestamp(filter.updatedAfter),
    updatedBefore: noun.toTimestamp(filter.updatedBefore),
  };
}

/** The name of an enum's number; 0 is absent, an unknown number is a name that the validator refuses. */
function nameOf<Name extends string>(names: Readonly<Record<string, number>>, number: number): Name {
  return (Object.keys(names).find((name) => names[name] === number) ?? String(number)) as Name;
}

/** Requests out of their messages. */
export const requestFromWire = {
  getSession(message: Message.GetSessionRequest): Store.GetSessionRequest {
    return { sessionId: message.sessionId, ...atRevision(message), ...keyPrefix(message) };
  },
  /** Fails with INVALID_REQUEST where there is no session. */
  saveSession(message: Message.SaveSessionRequest): Store.SaveSessionRequest<EncodedForm> {
    const { session, ttl, idleTtl } = message;
    if (session === undefined) {
      throw new WorkflowStateError("INVALID_REQUEST", "A session is required.", {
        metadata: { field: "session" },
      });
    }
    return {
      session: noun.contentFromWire(session),
      ...ifRevision(message),
      ...(ttl === undefined ? NOTHING : { ttlMs: noun.fromDuration(ttl) }),
      ...(idleTtl === undefined ? NOTHING : { idleTtlMs: noun.fromDuration(idleTtl) }),
      ...replayable(message),
    };
  },
  deleteSession(message: Message.DeleteSessionRequest): Store.DeleteSessionRequest {
    return { sessionId: message.sessionId, ...ifRevision(message), ...replayable(message) };
  },
  listSessions(message: Message.ListSessionsRequest): Store.ListSessionsRequest<EncodedForm> {
    const { view, order } = message;
    return {
      ...filterFromWire(message),
      ...(view === SessionView.UNSPECIFIED
        ? NOTHING
        : { view: nameOf<Store.SessionView>(SessionView, view) }),
      ...(order === SessionOrder.UNSPECIFIED
        ? NOTHING
        : { order: nameOf<Store.SessionOrder>(SessionOrder, order) }),
      ...page(message),
    };
  },
  getState(message: Message.GetStateRequest): Store.GetStateRequest {
    return { sessionId: message.sessionId, key: message.key, ...atRevision(message) };
  },
  setState(message: Message.SetStateRequest): Store.SetStateRequest<EncodedForm> {
    return {
      sessionId: message.sessionId,
      key: message.key,
      value: noun.required(message.value),
      ...ifRevision(message),
      ...(message.ttl === undefined ? NOTHING : { ttlMs: noun.fromDuration(message.ttl) }),
      ...replayable(message),
    };
  },
  deleteState(message: Message.DeleteStateRequest): Store.DeleteStateRequest {
    return {
      sessionId: message.sessionId,
      key: message.key,
      ...ifRevision(message),
      ...replayable(message),
    };
  },
  listState(message: Message.ListStateRequest): Store.ListStateRequest {
    const { sessionId, startAfter, reverse } = message;
    return {
      sessionId,
      ...keyPrefix(message),
      ...(startAfter === "" ? NOTHING : { startAfter }),
      ...(reverse ? { reverse } : NOTHING),
      ...page(message),
      ...atRevision(message),
    };
  },
  /** Fails with INVALID_REQUEST where labels are both given and cleared. */
  commit(message: Message.CommitRequest): Store.CommitRequest<EncodedForm> {
    const { checks, metadata } = message;
    return {
      sessionId: message.sessionId,
      ...(checks.length === 0 ? NOTHING : { checks: checks.map(noun.checkFromWire) }),
      changes: message.changes.map(noun.changeFromWire),
      ...ifRevision(message),
      ...(metadata === undefined ? NOTHING : { metadata: noun.metadataFromWire(metadata) }),
      ...replayable(message),
    };
  },
  /** Also for a message of Pipeline. */
  batch({ operations }: Pick<Message.BatchRequest, "operations">): BatchFromWire {
    const accepted: Store.Operation<EncodedForm>[] = [];
    const refused = new Map<number, WorkflowStateError>();
    for (const [index, operation] of operations.entries()) {
      try {
        accepted.push(operationFromWire(operation));
      } catch (error) {
        if (!WorkflowStateError.is(error)) {
          throw error;
        }
        refused.set(index, error);
      }
    }
    return { operations: accepted, refused };
  },
  forkSession(message: Message.ForkSessionRequest): Store.ForkSessionRequest<EncodedForm> {
    return {
      sessionId: message.sessionId,
      ...atRevision(message),
      newSessionId: message.newSessionId,
      ...values(message),
      ...replayable(message),
    };
  },
  restoreSession(message: Message.RestoreSessionRequest): Store.RestoreSessionRequest<EncodedForm> {
    return {
      sessionId: message.sessionId,
      atRevision: Number(message.atRevision),
      ...ifRevision(message),
      ...values(message),
      ...replayable(message),
    };
  },
  listEvents(message: Message.ListEventsRequest): Store.ListEventsRequest {
    const { sessionId, afterRevision, reverse } = message;
    return {
      sessionId,
      ...(afterRevision === 0n ? NOTHING : { afterRevision: Number(afterRevision) }),
      ...page(message),
      ...(reverse ? { reverse } : NOTHING),
    };
  },
  watchSession(message: Message.WatchSessionRequest): Store.WatchSessionRequest {
    const { sessionId, afterRevision } = message;
    return {
      sessionId,
      ...(afterRevision === undefined ? NOTHING : { afterRevision: Number(afterRevision) }),
      ...keyPrefix(message),
    };
  },
  watchSessions(message: Message.WatchSessionsRequest): Store.SessionFilter<EncodedForm> {
    return filterFromWire(message);
  },
} as const;

function operationFromWire({ operation }: Message.Operation): Store.Operation<EncodedForm> {
  switch (operation.case) {
    case "getState":
      return { kind: "getState", ...requestFromWire.getState(operation.value) };
    case "setState":
      return { kind: "setState", ...requestFromWire.setState(operation.value) };
    case "deleteState":
      return { kind: "deleteState", ...requestFromWire.deleteState(operation.value) };
    case "commit":
      return { kind: "commit", ...requestFromWire.commit(operation.value) };
    case "getSession":
      return { kind: "getSession", ...requestFromWire.getSession(operation.value) };
    default:
      // Of no known kind: the validator refuses it.
      return { kind: undefined } as unknown as Store.Operation<EncodedForm>;
  }
}

const NO_VALUES: EncodedForm["state"] = new Map();

function replayFields({ requestId, requestFingerprint }: Store.Replayable): ReplayFields {
  return { requestId: requestId ?? "", requestFingerprint: requestFingerprint ?? "" };
}

/** Messages of requests, for a client. They hold what has passed the validator: a revision that is no integer throws. */
export const requestToWire = {
  getSession(request: Store.GetSessionRequest): Message.GetSessionRequest {
    return {
      $typeName: "agenterra.state.v1.GetSessionRequest",
      sessionId: request.sessionId,
      atRevision: noun.toInt64(request.atRevision),
      keyPrefix: request.keyPrefix ?? "",
    };
  },
  saveSession(request: Store.SaveSessionRequest<EncodedForm>): Message.SaveSessionRequest {
    return {
      $typeName: "agenterra.state.v1.SaveSessionRequest",
      session: noun.contentToWire(request.session),
      ifRevision: noun.toInt64(request.ifRevision),
      ttl: noun.toDuration(request.ttlMs),
      idleTtl: noun.toDuration(request.idleTtlMs),
      ...replayFields(request),
    };
  },
  deleteSession(request: Store.DeleteSessionRequest): Message.DeleteSessionRequest {
    return {
      $typeName: "agenterra.state.v1.DeleteSessionRequest",
      sessionId: request.sessionId,
      ifRevision: noun.toInt64(request.ifRevision),
      ...replayFields(request),
    };
  },
  listSessions(request: Store.ListSessionsRequest<EncodedForm>): Message.ListSessionsRequest {
    return {
      $typeName: "agenterra.state.v1.ListSessionsRequest",
      ...filterToWire(request),
      view: SessionView[request.view ?? "UNSPECIFIED"],
      order: SessionOrder[request.order ?? "UNSPECIFIED"],
      pageSize: noun.toInt32(request.pageSize),
      pageToken: request.pageToken ?? "",
    };
  },
  getState(request: Store.GetStateRequest): Message.GetStateRequest {
    return {
      $typeName: "agenterra.state.v1.GetStateRequest",
      sessionId: request.sessionId,
      key: request.key,
      atRevision: noun.toInt64(request.atRevision),
    };
  },
  setState(request: Store.SetStateRequest<EncodedForm>): Message.SetStateRequest {
    return {
      $typeName: "agenterra.state.v1.SetStateRequest",
      sessionId: request.sessionId,
      key: request.key,
      value: request.value,
      ifRevision: noun.toInt64(request.ifRevision),
      ttl: noun.toDuration(request.ttlMs),
      ...replayFields(request),
    };
  },
  deleteState(request: Store.DeleteStateRequest): Message.DeleteStateRequest {
    return {
      $typeName: "agenterra.state.v1.DeleteStateRequest",
      sessionId: request.sessionId,
      key: request.key,
      ifRevision: noun.toInt64(request.ifRevision),
      ...replayFields(request),
    };
  },
  listState(request: Store.ListStateRequest): Message.ListStateRequest {
    return {
      $typeName: "agenterra.state.v1.ListStateRequest",
      sessionId: request.sessionId,
      keyPrefix: request.keyPrefix ?? "",
      startAfter: request.startAfter ?? "",
      reverse: request.reverse ?? false,
      pageSize: noun.toInt32(request.pageSize),
      pageToken: request.pageToken ?? "",
      atRevision: noun.toInt64(request.atRevision),
    };
  },
  commit(request: Store.CommitRequest<EncodedForm>): Message.CommitRequest {
    const { metadata } = request;
    return {
      $typeName: "agenterra.state.v1.CommitRequest",
      sessionId: request.sessionId,
      checks: request.checks?.map(noun.checkToWire) ?? [],
      changes: request.changes?.map(noun.changeToWire) ?? [],
      ifRevision: noun.toInt64(request.ifRevision),
      metadata: metadata === undefined ? undefined : noun.metadataToWire(metadata),
      ...replayFields(request),
    };
  },
  batch(operations: readonly Store.Operation<EncodedForm>[]): Message.BatchRequest {
    return {
      $typeName: "agenterra.state.v1.BatchRequest",
      operations: operations.map(operationToWire),
    };
  },
  pipeline(operations: readonly Store.Operation<EncodedForm>[]): Message.PipelineRequest {
    return {
      $typeName: "agenterra.state.v1.PipelineRequest",
      operations: operations.map(operationToWire),
    };
  },
  forkSession(request: Store.ForkSessionRequest<EncodedForm>): Message.ForkSessionRequest {
    return {
      $typeName: "agenterra.state.v1.ForkSessionRequest",
      sessionId: request.sessionId,
      atRevision: noun.toInt64(request.atRevision),
      newSessionId: request.newSessionId,
      ...replayFields(request),
      values: noun.stateToWire(request.values ?? NO_VALUES),
    };
  },
  restoreSession(request: Store.RestoreSessionRequest<EncodedForm>): Message.RestoreSessionRequest {
    return {
      $typeName: "agenterra.state.v1.RestoreSessionRequest",
      sessionId: request.sessionId,
      atRevision: noun.toInt64(request.atRevision),
      ifRevision: noun.toInt64(request.ifRevision),
      ...replayFields(request),
      values: noun.stateToWire(request.values ?? NO_VALUES),
    };
  },
  listEvents(request: Store.ListEventsRequest): Message.ListEventsRequest {
    return {
      $typeName: "agenterra.state.v1.ListEventsRequest",
      sessionId: request.sessionId,
      afterRevision: noun.toInt64(request.afterRevision ?? 0),
      pageSize: noun.toInt32(request.pageSize),
      pageToken: request.pageToken ?? "",
      reverse: request.reverse ?? false,
    };
  },
  watchSession(request: Store.WatchSessionRequest): Message.WatchSessionRequest {
    return {
      $typeName: "agenterra.state.v1.WatchSessionRequest",
      sessionId: request.sessionId,
      afterRevision: noun.toInt64(request.afterRevision),
      keyPrefix: request.keyPrefix ?? "",
    };
  },
  watchSessions(filter: Store.SessionFilter<EncodedForm>): Message.WatchSessionsRequest {
    return { $typeName: "agenterra.state.v1.WatchSessionsRequest", ...filterToWire(filter) };
  },
} as const;

function operationToWire(operation: Store.Operation<EncodedForm>): Message.Operation {
  return { $typeName: "agenterra.state.v1.Operation", operation: operationCase(operation) };
}

function operationCase(operation: Store.Operation<EncodedForm>): Message.Operation["operation"] {
  switch (operation.kind) {
    case "getState":
      return { case: "getState", value: requestToWire.getState(operation) };
    case "setState":
      return { case: "setState", value: requestToWire.setState(operation) };
    case "deleteState":
      return { case: "deleteState", value: requestToWire.deleteState(operation) };
    case "commit":
      return { case: "commit", value: requestToWire.commit(operation) };
    case "getSession":
      return { case: "getSession", value: requestToWire.getSession(operation) };
  }
}
