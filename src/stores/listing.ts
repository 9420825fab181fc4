/** What the listings of all stores share: what a page token belongs to, and how much of a page an item takes. */
import type {
  EncodedForm,
  Entry,
  Event,
  ListEventsRequest,
  ListSessionsRequest,
  ListStateRequest,
  Session,
} from "../store.ts";
import { compareUtf8 } from "./order.ts";

/** Bytes of a page that a session takes beside its state. */
export const SESSION_ITEM_BYTES = 1024;

/** What a listing of sessions was asked for: what its tokens are good for. */
export function sessionsQuery(request: ListSessionsRequest<EncodedForm>): readonly unknown[] {
  return [
    "sessions",
    request.workflowId ?? "",
    request.userId ?? "",
    request.sessionIdPrefix ?? "",
    Object.entries(request.labels ?? {}).sort(([a], [b]) => compareUtf8(a, b)),
    request.updatedAfter ?? null,
    request.updatedBefore ?? null,
    request.order === "UPDATE_TIME_DESC",
  ];
}

/** What a listing of entries was asked for. */
export function stateQuery(request: ListStateRequest): readonly unknown[] {
  const { sessionId, keyPrefix = "", startAfter = "", reverse = false, atRevision } = request;
  return ["state", sessionId, keyPrefix, startAfter, reverse, atRevision ?? null];
}

/** What a listing of events was asked for. */
export function eventsQuery(request: ListEventsRequest): readonly unknown[] {
  return ["events", request.sessionId, request.afterRevision ?? 0, request.reverse ?? false];
}

/** Bytes of a page that a session takes, with a state of so many entries and bytes. */
export function sessionItemBytes(entries: number, bytes: number): number {
  return SESSION_ITEM_BYTES + bytes + 64 * entries;
}

/** Bytes of a page that an event takes. */
export function eventItemBytes(event: Event<EncodedForm>): number {
  return event.entries.reduce(
    (bytes, { key, value }) => bytes + 3 * key.length + (value?.length ?? 0) + 64,
    1024,
  );
}

/** A session in view IDS. */
export function idOnly(sessionId: string): Session<EncodedForm> {
  return { sessionId, state: new Map(), labels: {}, revision: 0 };
}

/** The entries as a state, in the order that they come in, or those whose key begins with a prefix. */
export function stateOf(
  entries: Iterable<Pick<Entry<EncodedForm>, "key" | "value">>,
  prefix: string,
): Map<string, Uint8Array> {
  const state = new Map<string, Uint8Array>();
  for (const { key, value } of entries)
    if (value !== undefined && key.startsWith(prefix)) state.set(key, value);
  return state;
}
