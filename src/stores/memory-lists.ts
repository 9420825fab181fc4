/** The listings of the memory store: sessions, entries and events, a page at a time. */
import type {
  EncodedForm,
  Entry,
  Event,
  Limits,
  ListEventsRequest,
  ListEventsResponse,
  ListSessionsRequest,
  ListSessionsResponse,
  ListStateRequest,
  ListStateResponse,
  Session,
} from "../store.ts";
import { compacted } from "./history.ts";
import {
  eventItemBytes,
  eventsQuery,
  idOnly,
  SESSION_ITEM_BYTES,
  sessionItemBytes,
  sessionsQuery,
  stateOf,
  stateQuery,
} from "./listing.ts";
import type { Namespace } from "./memory-namespace.ts";
import type { SessionRecord, Version } from "./memory-session.ts";
import { compareUtf8 } from "./order.ts";
import { PageBuilder } from "./page.ts";
import { pagePosition, pageToken } from "./page-token.ts";
import { matches } from "./session-filter.ts";

/** Lists sessions. @param current brings a record up to date; `undefined`: it is gone */
export function listSessions(
  namespace: Namespace,
  request: ListSessionsRequest<EncodedForm>,
  limits: Limits,
  current: (record: SessionRecord) => SessionRecord | undefined,
): ListSessionsResponse<EncodedForm> {
  const byTime = request.order === "UPDATE_TIME_DESC";
  const query = sessionsQuery(request);
  const after = pagePosition(request.pageToken, query, "string", "number");
  const page = new PageBuilder<Session<EncodedForm>>(request.pageSize, limits);
  const candidates = byTime
    ? byLastWrite(namespace, after)
    : byId(namespace, request.sessionIdPrefix ?? "", after?.[0]);
  let last: SessionRecord | undefined;
  for (const candidate of candidates) {
    // A candidate that comes after a full page proves only that there may be more; a page may be shorter, so that is enough.
    const record = current(candidate);
    if (record?.metadata === undefined) continue;
    const session = record.session(record.now, record.revision, new Map());
    if (!matches(session, request)) continue;
    const full = request.view === "FULL";
    if (!page.fits(full ? sessionItemBytes(record.live.size, record.liveBytes) : SESSION_ITEM_BYTES)) {
      return {
        sessions: page.items,
        nextPageToken: pageToken(query, [
          (last as SessionRecord).sessionId,
          (last as SessionRecord).sequence,
        ]),
      };
    }
    page.items.push(
      request.view === "IDS"
        ? idOnly(record.sessionId)
        : full
          ? { ...session, state: stateOf(record.live.values(), "") }
          : session,
    );
    last = record;
  }
  return { sessions: page.items, nextPageToken: "" };
}

/** Lists the entries of a session, as they are or were; without a record there is no session, and there are none. */
export function listState(
  record: SessionRecord | undefined,
  request: ListStateRequest,
  limits: Limits,
): ListStateResponse<EncodedForm> {
  const { keyPrefix = "", startAfter = "", reverse = false, atRevision } = request;
  const query = stateQuery(request);
  const from = pagePosition(request.pageToken, query, "string")?.[0] ?? startAfter;
  if (record === undefined) return { entries: [], nextPageToken: "" };
  const page = new PageBuilder<Entry<EncodedForm>>(request.pageSize, limits);
  const entries =
    atRevision === undefined || atRevision === record.revision
      ? currentEntries(record, keyPrefix, from, reverse)
      : pastEntries(record, keyPrefix, from, reverse, atRevision);
  for (const entry of entries) {
    if (!page.fits(entry.bytes + 64))
      return { entries: page.items, nextPageToken: pageToken(query, [(page.items.at(-1) as Version).key]) };
    page.items.push(entry);
  }
  return { entries: page.items, nextPageToken: "" };
}

/** Lists the kept events of a session. */
export function listEvents(
  record: SessionRecord,
  request: ListEventsRequest,
  limits: Limits,
): ListEventsResponse<EncodedForm> {
  const { afterRevision = 0, reverse = false } = request;
  const query = eventsQuery(request);
  const position = pagePosition(request.pageToken, query, "number")?.[0];
  const first = (afterRevision === 0 ? record.oldest - 1 : record.cursorAfter(afterRevision)) + 1;
  const page = new PageBuilder<Event<EncodedForm>>(request.pageSize, limits);
  const step = reverse ? -1 : 1;
  let revision = position === undefined ? (reverse ? record.revision : first) : position + step;
  // What the next page was to begin with went while it was waited for: a gap must not pass for the end.
  if (!reverse && revision < first) throw compacted(record, revision);
  for (; revision >= first && revision <= record.revision; revision += step) {
    const event = record.eventAt(revision) as Event<EncodedForm>;
    if (!page.fits(eventItemBytes(event)))
      return { events: page.items, nextPageToken: pageToken(query, [revision - step]) };
    page.items.push(event);
  }
  return { events: page.items, nextPageToken: "" };
}

function* byId(namespace: Namespace, prefix: string, after: string | undefined): Generator<SessionRecord> {
  const { ids, sessions } = namespace;
  // What is due may take records away while this runs: read the order once.
  const sorted = ids.all();
  const start = after !== undefined && compareUtf8(after, prefix) >= 0 ? after : prefix;
  for (let i = ids.lowerBound(start); i < sorted.length; i++) {
    const id = sorted[i] as string;
    if (!id.startsWith(prefix)) return;
    const record = id === after ? undefined : sessions.get(id);
    if (record !== undefined) yield record;
  }
}

function* byLastWrite(
  namespace: Namespace,
  after: readonly [string, number] | undefined,
): Generator<SessionRecord> {
  let record = namespace.newest;
  if (after !== undefined) {
    const [id, sequence] = after;
    const last = namespace.sessions.get(id);
    // The session where the page before ended, if it was not written since; else the first that is older than that.
    if (last?.sequence === sequence) record = last.older;
    else while (record !== undefined && record.sequence >= sequence) record = record.older;
  }
  while (record !== undefined) {
    // Looking at the record may expire it, which moves it to the front.
    const { older } = record;
    yield record;
    record = older;
  }
}

function* currentEntries(
  record: SessionRecord,
  prefix: string,
  from: string,
  reverse: boolean,
): Generator<Version> {
  const keys = record.keys.all();
  const start = compareUtf8(from, prefix) > 0 ? from : prefix;
  const step = reverse ? -1 : 1;
  let i = reverse
    ? (from === "" ? keys.length : record.keys.lowerBound(from)) - 1
    : record.keys.lowerBound(start);
  for (; i >= 0 && i < keys.length; i += step) {
    const key = keys[i] as string;
    if (!key.startsWith(prefix)) {
      // Ascending, the keys of a prefix stand together from the start; descending, larger keys may stand before them.
      if (!reverse || compareUtf8(key, prefix) < 0) return;
      continue;
    }
    if (key !== from || from === "") yield record.live.get(key) as Version;
  }
}

function pastEntries(
  record: SessionRecord,
  prefix: string,
  from: string,
  reverse: boolean,
  revision: number,
): Version[] {
  if (record.at(revision).metadata === undefined) return [];
  const inRange = (key: string): boolean =>
    key.startsWith(prefix) &&
    (from === "" || (reverse ? compareUtf8(key, from) < 0 : compareUtf8(key, from) > 0));
  const versions = [...record.entriesAt(revision)].filter(({ key }) => inRange(key));
  return versions.sort((a, b) => (reverse ? compareUtf8(b.key, a.key) : compareUtf8(a.key, b.key)));
}
