/** Listings of the Redis store: the pages of all buckets, merged. */
import type { ListedSession, SessionKey, SessionQuery } from "./backend.ts";
import { compareUtf8 } from "./order.ts";
import { type Argument, bytes, list, number, sized, text } from "./redis-bytes.ts";
import type { Call, Calls } from "./redis-calls.ts";
import { replyOf } from "./redis-calls.ts";
import { headOf } from "./redis-codec.ts";
import { SCRIPTS } from "./redis-scripts.ts";

/** What a listing needs to know of the store. */
export interface ListingContext {
  readonly calls: Calls;
  readonly buckets: number;
  readonly history: number;
  /** A call of a script on a session, or with an empty session id on a bucket's own. */
  callOf(
    script: (typeof SCRIPTS)["list"],
    session: SessionKey,
    args: readonly Argument[],
    bucket?: number,
  ): Call;
  /** Does what is due for sessions. */
  maintain(sessions: readonly SessionKey[]): Promise<unknown>;
}

/** What is read of a bucket and not yet taken. */
interface Reading {
  readonly bucket: number;
  items: ListedSession[];
  /** Where the bucket goes on; `undefined`: it ends with the items. */
  from: { readonly sessionId: string; readonly updateTime: number } | undefined;
}

/** Lists live sessions that match. */
export async function listSessions(context: ListingContext, query: SessionQuery): Promise<ListedSession[]> {
  const { buckets } = context;
  const start = query.after ?? { sessionId: "", updateTime: -1 };
  const readings: Reading[] = Array.from({ length: buckets }, (_, bucket) => ({
    bucket,
    items: [],
    from: start,
  }));
  const compare = query.order === "ID" ? byId : byTime;
  const page: ListedSession[] = [];
  // What falls on each bucket, and some more for those that have more than their share.
  let share = Math.ceil((query.count / buckets) * 1.3) + 3;
  let open = readings;
  while (page.length < query.count) {
    const dry = open.filter(({ items, from }) => items.length === 0 && from !== undefined);
    if (dry.length > 0) {
      await read(context, query, dry, Math.min(share, query.count - page.length));
      share *= 2;
      continue;
    }
    open = open.filter(({ items }) => items.length > 0);
    const next = firstOf(open, compare);
    if (next === undefined) break;
    page.push(next.items.shift() as ListedSession);
  }
  return page;
}

function byId(a: ListedSession, b: ListedSession): number {
  return compareUtf8(a.sessionId, b.sessionId);
}

function byTime(a: ListedSession, b: ListedSession): number {
  return b.head.updateTime - a.head.updateTime || byId(a, b);
}

function firstOf(
  readings: readonly Reading[],
  compare: (a: ListedSession, b: ListedSession) => number,
): Reading | undefined {
  let first: Reading | undefined;
  for (const reading of readings) {
    const [item] = reading.items;
    const [best] = first?.items ?? [];
    if (item !== undefined && (best === undefined || compare(item, best) < 0)) first = reading;
  }
  return first;
}

/** Reads on in some buckets. */
async function read(
  context: ListingContext,
  query: SessionQuery,
  readings: readonly Reading[],
  count: number,
): Promise<void> {
  let left = readings;
  while (left.length > 0) {
    const outcomes = await context.calls.make(
      left.map(({ bucket, from }) => {
        const session = { namespace: query.namespace, sessionId: "" };
        return context.callOf(SCRIPTS.list, session, listArguments(query, from, count), bucket);
      }),
    );
    const again: Reading[] = [];
    const due: SessionKey[] = [];
    for (const [i, reading] of left.entries()) {
      const [found, place, placeTime, late] = list(replyOf(outcomes[i]));
      const expired = list(late);
      if (expired.length > 0) {
        for (const id of expired) due.push({ namespace: query.namespace, sessionId: text(id) });
        again.push(reading);
        continue;
      }
      const at = text(place);
      reading.items = itemsOf(list(found), context.history);
      reading.from = at === "" ? undefined : { sessionId: at.slice(1), updateTime: number(placeTime) };
      // Nothing here matched, and there is more to look at.
      if (reading.items.length === 0 && reading.from !== undefined) again.push(reading);
    }
    if (due.length > 0) await context.maintain(due);
    left = again;
  }
}

function itemsOf(found: readonly unknown[], history: number): ListedSession[] {
  const items: ListedSession[] = [];
  for (let i = 0; i < found.length; i += 3) {
    const { metadata, ...head } = headOf(bytes(found[i + 1]), bytes(found[i + 2]), history);
    if (metadata !== undefined) items.push({ sessionId: text(found[i]), head: { ...head, metadata } });
  }
  return items;
}

function listArguments(query: SessionQuery, from: Reading["from"], count: number): Argument[] {
  const { workflowId, userId, sessionIdPrefix, labels = {}, updatedAfter, updatedBefore } = query.filter;
  const hasLabels = Object.keys(labels).length > 0;
  return [
    indexOf(query),
    sessionIdPrefix ?? "",
    workflowId ?? "",
    userId ?? "",
    updatedAfter === undefined ? "" : String(updatedAfter),
    updatedBefore === undefined ? "" : String(updatedBefore),
    hasLabels ? JSON.stringify(labels) : "",
    from?.sessionId ?? "",
    String(from?.updateTime ?? -1),
    String(count),
    query.order === "ID" ? "i" : "t",
  ];
}

/** The index that leaves the least to look at, with what its members begin with. */
function indexOf({ namespace, filter }: SessionQuery): Buffer {
  const { workflowId, userId, labels = {} } = filter;
  const [label] = Object.entries(labels);
  const index = (letter: string, ...parts: string[]): Buffer =>
    Buffer.concat([Buffer.from(letter), ...[namespace, ...parts].map(sized)]);
  if (workflowId) return index("w", workflowId);
  if (userId) return index("u", userId);
  if (label !== undefined) return index("l", ...label);
  return index("i");
}
