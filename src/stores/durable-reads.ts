/** The reads of a durable store. */
import type {
  EncodedForm,
  Entry,
  Event,
  GetSessionRequest,
  GetStateRequest,
  Limits,
  ListEventsRequest,
  ListEventsResponse,
  ListSessionsRequest,
  ListSessionsResponse,
  ListStateRequest,
  ListStateResponse,
  Session,
  SessionFilter,
} from "../store.ts";
import type { ListedSession, Look } from "./backend.ts";
import type { Engine } from "./durable-engine.ts";
import { eventOf, pastOf, presentOf, type Single, seen, sessionIn } from "./durable-steps.ts";
import { compacted, cursorAfter, isUnknown, placeOf } from "./history.ts";
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
import { type Moment, NOBODY, sessionOf } from "./metadata.ts";
import { PageBuilder, pageRoom } from "./page.ts";
import { pagePosition, pageToken } from "./page-token.ts";
import { pause, unlessAborted } from "./pause.ts";
import { matches } from "./session-filter.ts";

/** Reads a session, as it is or was. */
export function getSession(
  namespace: string,
  request: GetSessionRequest,
): Single<Session<EncodedForm> | undefined> {
  const { sessionId, atRevision, keyPrefix: prefix = "" } = request;
  const session = { namespace, sessionId };
  return {
    step: { kind: "look", session, entries: { prefix }, atRevision },
    answer: (result) => {
      const look = seen(result);
      const moment = momentIn(look, atRevision);
      if (moment.metadata === undefined) return undefined;
      const revision = atRevision ?? pastOf(look).revision;
      return sessionOf(sessionId, moment, revision, stateOf(look.entries, ""));
    },
  };
}

/** Reads an entry, as it is or was. */
export function getState(
  namespace: string,
  request: GetStateRequest,
): Single<Entry<EncodedForm> | undefined> {
  const { sessionId, key, atRevision } = request;
  const session = { namespace, sessionId };
  return {
    step: { kind: "look", session, entries: { keys: [key] }, atRevision },
    answer: (result) => {
      const look = seen(result);
      return momentIn(look, atRevision).metadata === undefined ? undefined : look.entries[0];
    },
  };
}

/** Lists the entries of a session, as they are or were. */
export function listState(
  namespace: string,
  request: ListStateRequest,
  limits: Limits,
): Single<ListStateResponse<EncodedForm>> {
  const { sessionId, keyPrefix: prefix = "", startAfter = "", reverse = false, atRevision } = request;
  const query = stateQuery(request);
  const from = pagePosition(request.pageToken, query, "string")?.[0] ?? startAfter;
  const page = { from, reverse, ...pageRoom(request.pageSize, limits) };
  return {
    step: {
      kind: "look",
      session: { namespace, sessionId },
      entries: { prefix, page },
      atRevision,
    },
    answer: (result) => {
      const look = seen(result);
      if (momentIn(look, atRevision).metadata === undefined) return { entries: [], nextPageToken: "" };
      const { entries, more } = look;
      const last = entries.at(-1);
      return { entries, nextPageToken: more && last !== undefined ? pageToken(query, [last.key]) : "" };
    },
  };
}

/** The session at a revision, or now. Fails with HISTORY_COMPACTED, FUTURE_REVISION if anything is known of the session. */
function momentIn(look: Look, atRevision: number | undefined): Moment {
  const { head } = look;
  if (head === undefined || isUnknown(head, head.metadata !== undefined)) return NOBODY;
  const place = atRevision === undefined ? "now" : placeOf(head, atRevision);
  return place === "now" ? presentOf(head) : place === "past" ? (look.moment ?? NOBODY) : NOBODY;
}

/** Lists the kept events of a session. */
export async function listEvents(
  engine: Engine,
  namespace: string,
  request: ListEventsRequest,
  signal: AbortSignal | undefined,
): Promise<ListEventsResponse<EncodedForm>> {
  const { sessionId, afterRevision = 0, reverse = false } = request;
  const { backend, limits } = engine;
  const query = eventsQuery(request);
  const position = pagePosition(request.pageToken, query, "number")?.[0];
  const most = Number.MAX_SAFE_INTEGER;
  const from = Math.min(reverse || position === undefined ? afterRevision + 1 : position + 1, most);
  const to = reverse && position !== undefined ? position - 1 : most;
  const session = { namespace, sessionId };
  const range = { session, from, to, reverse, ...pageRoom(request.pageSize, limits) };
  const found = await unlessAborted(backend.events(range), signal);
  const past = pastOf(found);
  const first = (afterRevision === 0 ? past.oldest - 1 : cursorAfter(past, afterRevision)) + 1;
  // What the next page was to begin with went while it was waited for: a gap must not pass for the end.
  if (!reverse && position !== undefined && from < first) throw compacted(past, from);
  const page = new PageBuilder<Event<EncodedForm>>(request.pageSize, limits);
  for (const stored of found.events) {
    const event = eventOf(stored);
    if (!page.fits(eventItemBytes(event))) break;
    page.items.push(event);
  }
  const last = page.items.at(-1)?.revision;
  const end = reverse ? first : past.revision;
  return {
    events: page.items,
    nextPageToken: last === undefined || last === end ? "" : pageToken(query, [last]),
  };
}

/** Lists sessions. */
export async function listSessions(
  engine: Engine,
  namespace: string,
  request: ListSessionsRequest<EncodedForm>,
  signal: AbortSignal | undefined,
): Promise<ListSessionsResponse<EncodedForm>> {
  const { backend, limits } = engine;
  const query = sessionsQuery(request);
  const position = pagePosition(request.pageToken, query, "string", "number");
  let after = position && { sessionId: position[0], updateTime: position[1] };
  const filter = givenFilter(request);
  const order = request.order ?? "ID";
  const page = new PageBuilder<Session<EncodedForm>>(request.pageSize, limits);
  const { count, bytes } = pageRoom(request.pageSize, limits);
  for (;;) {
    const search = backend.sessions({ namespace, filter, order, after, count: count + 1 });
    const found = await unlessAborted(search, signal);
    let more = found.length > count;
    let room = bytes;
    const chosen: ListedSession[] = [];
    for (const listed of found.slice(0, count)) {
      const { head } = listed;
      room -= request.view === "FULL" ? sessionItemBytes(head.entries, head.bytes) : SESSION_ITEM_BYTES;
      if (chosen.length > 0 && room < 0) {
        more = true;
        break;
      }
      chosen.push(listed);
    }
    const full = request.view === "FULL" ? await wholeSessions(engine, namespace, chosen, signal) : undefined;
    for (const [i, { sessionId, head }] of chosen.entries()) {
      const session =
        full === undefined ? sessionOf(sessionId, presentOf(head), head.revision, new Map()) : full[i];
      // It may have gone, grown or changed since it was found.
      if (session !== undefined && (full === undefined || matches(session, filter))) {
        if (!page.fits(full === undefined ? SESSION_ITEM_BYTES : sizeOf(session))) {
          more = true;
          break;
        }
        page.items.push(request.view === "IDS" ? idOnly(sessionId) : session);
      }
      after = { sessionId, updateTime: head.updateTime };
    }
    const token = more && after !== undefined ? pageToken(query, [after.sessionId, after.updateTime]) : "";
    if (page.items.length > 0 || token === "") return { sessions: page.items, nextPageToken: token };
    await pause(0, signal);
  }
}

async function wholeSessions(
  engine: Engine,
  namespace: string,
  chosen: readonly ListedSession[],
  signal: AbortSignal | undefined,
): Promise<(Session<EncodedForm> | undefined)[]> {
  const looks = await engine.look(
    chosen.map(({ sessionId }) => ({
      kind: "look",
      session: { namespace, sessionId },
      entries: { prefix: "" },
    })),
    signal,
  );
  return looks.map((look, i) => sessionIn((chosen[i] as ListedSession).sessionId, look));
}

function sizeOf({ state }: Session<EncodedForm>): number {
  let bytes = 0;
  for (const [key, value] of state) bytes += key.length + value.length;
  return sessionItemBytes(state.size, bytes);
}

/** The filters that are given: empty ones are none. */
function givenFilter(request: SessionFilter<EncodedForm>): SessionFilter<EncodedForm> {
  const { labels, updatedAfter, updatedBefore } = request;
  return {
    workflowId: request.workflowId || undefined,
    userId: request.userId || undefined,
    sessionIdPrefix: request.sessionIdPrefix || undefined,
    labels: labels !== undefined && Object.keys(labels).length > 0 ? labels : undefined,
    updatedAfter,
    updatedBefore,
  };
}
