/** What is read of one session, and of the feed: always within a transaction, so that all of it is of one moment. */
import type { EncodedForm, Entry } from "../store.ts";
import { utf8Length } from "../validate.ts";
import type {
  BackendOptions,
  EventRange,
  Events,
  FeedChange,
  FeedPart,
  Look,
  LookStep,
  Moment,
  StoredEvent,
} from "./backend.ts";
import { type HeadRow, headOf, oldestOf, parseMetadata } from "./sqlite-heads.ts";
import { type EventRow, parseKeys } from "./sqlite-log.ts";
import { bytesOf, textOf } from "./sqlite-text.ts";
import type { Tables } from "./sqlite-unit.ts";

/** Whether something of a session is to be done before it is looked at; `nextDue` may be early. */
export function isDue({ versions }: Tables, head: HeadRow | undefined, now: number): boolean {
  if (head === undefined || head.nextDue === null || head.nextDue > now || !head.alive) return false;
  return (head.deadline ?? Infinity) <= now || (versions.firstExpiry(head.session) ?? Infinity) <= now;
}

/** Looks at a session of which nothing is due. */
export function look(
  tables: Tables,
  head: HeadRow | undefined,
  step: LookStep,
  now: number,
  options: BackendOptions,
): Look {
  const { session, entries: selection, atRevision, requestId } = step;
  if (head === undefined) {
    const floor = tables.heads.floor(tables.heads.namespaceId(session.namespace));
    return { kind: "look", now, head: undefined, floor, entries: [], more: false };
  }
  const { versions, log } = tables;
  const moment = atRevision === undefined ? undefined : momentAt(tables, head, atRevision, options.history);
  const past = atRevision === undefined || atRevision === head.revision ? undefined : atRevision;
  const readable = selection !== undefined && (atRevision === undefined || moment !== undefined);
  const { entries, more } = readable ? versions.select(head.session, selection, past) : NOTHING;
  const since = now - options.requestRetentionMs;
  const remembered = requestId === undefined ? undefined : log.remembered(head.session, requestId, since);
  const known = headOf(head, options.history);
  return { kind: "look", now, head: known, floor: 0, entries, more, moment, remembered };
}

const NOTHING: { readonly entries: readonly Entry<EncodedForm>[]; readonly more: boolean } = Object.freeze({
  entries: [],
  more: false,
});

/** A session's moment at a revision that is kept, or at the last. */
function momentAt(tables: Tables, head: HeadRow, revision: number, history: number): Moment | undefined {
  if (revision === head.revision)
    return { metadata: head.metadata, time: head.updateTime, expireTime: head.deadline };
  if (revision < oldestOf(head, history)) return undefined;
  const event = tables.log.at(head.session, revision);
  if (event === undefined) return undefined;
  return momentOf(tables, head, event);
}

/** A session's moment after an event. */
export function momentOf(tables: Tables, head: HeadRow, event: EventRow): Moment {
  const metadata = event.ended ? undefined : parseMetadata(metadataTextOf(tables, head, event));
  return { metadata, time: event.time, expireTime: event.expireTime };
}

/** The metadata after an event, as JSON; of one that ended the session the last before. */
export function metadataTextOf({ log }: Tables, head: HeadRow, event: EventRow): string {
  if (event.metadata !== null) return event.metadata;
  if (event.revision > head.metadataRevision && head.text !== null) return head.text;
  return log.metadataAt(head.session, event.revision);
}

/** Reads events of a session of which nothing is due. */
export function readEvents(
  tables: Tables,
  head: HeadRow | undefined,
  range: EventRange,
  options: BackendOptions,
): Events {
  const { heads, log } = tables;
  if (head === undefined) {
    const floor = heads.floor(heads.namespaceId(range.session.namespace));
    return { head: undefined, floor, events: [] };
  }
  const events: StoredEvent[] = [];
  const from = Math.max(range.from, oldestOf(head, options.history));
  let left = range.bytes;
  for (const row of log.range(head.session, from, range.to, range.reverse, range.count)) {
    const entries = parseKeys(row.keys).map(({ key, removed }) => written(tables, row, key, removed));
    for (const { key, value } of entries) left -= utf8Length(key) + (value?.length ?? 0);
    if (left < 0 && events.length > 0) break;
    const { revision, kind, ended, time, requestId } = row;
    events.push({ sessionId: range.session.sessionId, revision, kind, ended, time, requestId, entries });
  }
  return { head: headOf(head, options.history), floor: 0, events };
}

/** An entry as a commit left it. */
function written(
  { versions }: Tables,
  { session, revision, time }: EventRow,
  key: string,
  removed: boolean,
): Entry<EncodedForm> {
  const entry = removed ? undefined : versions.getAt(session, bytesOf(key), revision);
  return entry ?? { key, value: undefined, revision, updateTime: time, expireTime: undefined };
}

/** Reads the feed after a cursor. */
export function readFeed(tables: Tables, cursor: string, count: number): FeedPart {
  const after = Number(cursor);
  const end = tables.log.end();
  const changes: FeedChange[] = [];
  let at = after;
  let lost = false;
  const rows = tables.log.after(after, count);
  for (const { event, seq } of rows) {
    // The numbers have gaps only where events are no longer kept.
    if (seq !== at + 1) {
      if (at !== after) break;
      lost = true;
    }
    at = seq;
    const change = changeOf(tables, event);
    if (change !== undefined) changes.push(change);
  }
  if (rows.length === 0 && end > after) {
    lost = true;
    at = end;
  }
  return { changes, cursor: String(at), lost, more: at < end };
}

function changeOf(tables: Tables, event: EventRow): FeedChange | undefined {
  const head = tables.heads.byNumber(event.session);
  const namespace = head && tables.heads.namespaceName(head.namespace);
  if (head === undefined || namespace === undefined) return undefined;
  return {
    session: { namespace: textOf(namespace), sessionId: textOf(head.id) },
    revision: event.revision,
    kind: event.kind,
    metadata: parseMetadata(metadataTextOf(tables, head, event)),
    time: event.time,
    expireTime: event.expireTime,
  };
}
