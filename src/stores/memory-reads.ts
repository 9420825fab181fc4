/** Sessions read from the memory store: as they are, as they were, and as they change. */
import { WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  EncodedForm,
  Event,
  Session,
  SessionChange,
  SessionFilter,
  WatchMessage,
  WatchSessionRequest,
} from "../store.ts";
import { stateOf } from "./memory-lists.ts";
import { NOBODY, type SessionRecord } from "./memory-session.ts";
import type { Sessions } from "./memory-sessions.ts";
import { matches } from "./session-filter.ts";
import { Watch } from "./watch.ts";

/** A session as it is, or as it was at a kept revision; `undefined`: there is or was none. */
export function readSession(
  record: SessionRecord,
  atRevision: number | undefined,
  keyPrefix: string,
): Session<EncodedForm> | undefined {
  const revision = atRevision ?? record.revision;
  const moment = record.at(revision);
  if (moment.metadata === undefined) return undefined;
  const versions = revision === record.revision ? record.live.values() : record.entriesAt(revision);
  return record.session(moment, revision, stateOf(versions, keyPrefix));
}

/** Follows a session. Nothing is held for a reader but its place in the log. */
export function watchSession(
  sessions: Sessions,
  request: WatchSessionRequest,
  context: CallContext | undefined,
  progressMs: number,
): AsyncIterable<WatchMessage<EncodedForm>> {
  const { sessionId, afterRevision, keyPrefix = "" } = request;
  const namespace = sessions.begin(context);
  const record = sessions.open(namespace, sessionId);
  const ended = sessions.watch(record);
  let cursor: number | undefined;
  const snapshot = (): WatchMessage<EncodedForm> => {
    cursor = record.revision;
    const session =
      readSession(record, undefined, keyPrefix) ?? record.session(NOBODY, record.absentRevision, new Map());
    return { kind: "snapshot", snapshot: session };
  };
  const read = (): WatchMessage<EncodedForm> | undefined => {
    // What is due now belongs in the log before it is read.
    sessions.begin(context);
    sessions.find(namespace, sessionId);
    if (cursor === undefined) {
      if (afterRevision === undefined) return snapshot();
      cursor = record.cursorAfter(afterRevision);
    }
    for (let event = record.eventAt(cursor + 1); event !== undefined; event = record.eventAt(cursor + 1)) {
      cursor++;
      const seen = keyPrefix === "" ? event : withPrefix(event, record.endedAt(event.revision), keyPrefix);
      if (seen !== undefined) return { kind: "event", event: seen };
    }
    return undefined;
  };
  const progress = (): WatchMessage<EncodedForm> => ({ kind: "progress", revision: cursor ?? 0 });
  return new Watch(
    { read, progress, waiting: record.waiting, ended },
    context?.signal,
    progressMs,
    () => sessions.closed,
  );
}

/** Follows all sessions that match, from now on. */
export function watchSessions(
  sessions: Sessions,
  filter: SessionFilter<EncodedForm>,
  context: CallContext | undefined,
): AsyncIterable<SessionChange<EncodedForm>> {
  const { changes } = sessions.begin(context);
  let next = changes.openWatch();
  const read = (): SessionChange<EncodedForm> | undefined => {
    while (next < changes.count) {
      const change = changes.at(next);
      if (change === undefined) {
        throw new WorkflowStateError(
          "HISTORY_COMPACTED",
          "This watch fell too far behind: watch again, and close the gap with ListSessions(updated_after).",
        );
      }
      next++;
      if (matches(change.session, filter)) return change;
    }
    return undefined;
  };
  const source = {
    read,
    progress: () => undefined,
    waiting: changes.waiting,
    ended: () => changes.closeWatch(),
  };
  return new Watch(source, context?.signal, Number.POSITIVE_INFINITY, () => sessions.closed);
}

/** The event with the entries of a prefix only; `undefined`: it has none, and the session did not end with it. */
function withPrefix(
  event: Event<EncodedForm>,
  ended: boolean,
  prefix: string,
): Event<EncodedForm> | undefined {
  if (ended) return event;
  const entries = event.entries.filter(({ key }) => key.startsWith(prefix));
  return entries.length === 0 ? undefined : { ...event, entries };
}
