/** Requests to begin from: a valid message of every RPC, as bytes, and the frame of gRPC. */
import { fromJson, type JsonValue as ProtobufJson, toBinary } from "@bufbuild/protobuf";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";

/** A message in the frame of gRPC, gRPC-Web and streams of Connect; `length` is what the frame says of it, if not the truth. */
export function grpcFrame(message: Uint8Array, flags = 0, length: number = message.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

const SESSION = { sessionId: "attacked" };
const KEY = { ...SESSION, key: "key" };
const CHANGES = [
  { set: { key: "a", value: { list: [1, "two", null, { three: [false] }] }, ttl: "60s" } },
  { delete: { key: "b" } },
  { increment: { key: "c", delta: 2.5 } },
  { append: { key: "d", values: [1, "x"], maxItems: 9 } },
  { merge: { key: "e", value: { f: null, g: { h: 1 } } } },
  { set: { key: "a", value: "again", keepExpiry: true } },
];
const COMMIT = {
  ...SESSION,
  checks: [{ key: "never", ifRevision: "0" }],
  changes: CHANGES,
  metadata: {
    workflowId: "flow",
    userId: "",
    labels: { one: "1" },
    ttl: "3600s",
    idleTtl: "60s",
  },
  requestId: "commit-1",
};
const OPERATIONS = [
  { setState: { ...KEY, value: { a: 1 }, ttl: "0.5s" } },
  { getState: KEY },
  { commit: { ...SESSION, changes: CHANGES } },
  { getSession: { ...SESSION, keyPrefix: "k" } },
  { deleteState: { ...KEY, ifRevision: "1" } },
];
const FILTER = { workflowId: "flow", labels: { one: "1" }, updatedAfter: "2020-01-01T00:00:00Z" };

/** A valid request of every RPC, in the form of JSON. */
export const REQUESTS: Readonly<Record<string, ProtobufJson>> = {
  GetSession: { ...SESSION, atRevision: "1", keyPrefix: "k" },
  SaveSession: {
    session: { ...SESSION, state: { a: [1, { b: "c" }], d: null }, workflowId: "flow", labels: { one: "1" } },
    ttl: "3600s",
    idleTtl: "60s",
    requestId: "save-1",
  },
  DeleteSession: { ...SESSION, ifRevision: "3", requestId: "delete-1" },
  ListSessions: {
    ...FILTER,
    sessionIdPrefix: "att",
    view: "SESSION_VIEW_FULL",
    order: "SESSION_ORDER_UPDATE_TIME_DESC",
    pageSize: 3,
  },
  GetState: { ...KEY, atRevision: "2" },
  SetState: {
    ...KEY,
    value: { text: "é", n: [1.5, true, null] },
    ifRevision: "0",
    ttl: "60.5s",
    requestId: "set-1",
  },
  DeleteState: { ...KEY, ifRevision: "1", requestId: "delete-state-1" },
  ListState: { ...SESSION, keyPrefix: "k", startAfter: "a", reverse: true, pageSize: 10, atRevision: "1" },
  Commit: COMMIT,
  Batch: { operations: OPERATIONS },
  Pipeline: { operations: OPERATIONS },
  ForkSession: { ...SESSION, atRevision: "1", newSessionId: "fork", requestId: "fork-1" },
  RestoreSession: { ...SESSION, atRevision: "1", ifRevision: "2", requestId: "restore-1" },
  ListEvents: { ...SESSION, afterRevision: "1", pageSize: 5, reverse: true },
  WatchSession: { ...SESSION, afterRevision: "1", keyPrefix: "k" },
  WatchSessions: { ...FILTER, sessionIdPrefix: "att" },
};

/** The bytes of a request given in the form of JSON. */
export function requestBytes(rpc: string, request: ProtobufJson = REQUESTS[rpc] ?? {}): Uint8Array {
  const method = WorkflowStateService.methods.find(({ name }) => name === rpc);
  if (method === undefined) throw new Error(`There is no RPC ${rpc}.`);
  return toBinary(method.input, fromJson(method.input, request));
}
