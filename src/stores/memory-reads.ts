/** Sessions read from the memory store: as they are, as they were, and as they change. */
import type {
  CallContext,
  EncodedForm,
  Session,
  SessionChange,
  SessionFilter,
  WatchMessage,
  WatchSessionRequest,
} from "../store.ts";
import { stateOf } from "./listing.ts";
import type { SessionRecord } from "./memory-session.ts";
import type { Sessions } from "./memory-sessions.ts";
import { NOBODY } from "./metadata.ts";
import { eventWithPrefix } from "./session-filter.ts";
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
      const ended = keyPrefix !== "" && record.endedAt(event.revision);
      const seen = eventWithPrefix(event, ended, keyPrefix);
      if (seen !== undefined) return { kind: "event", event: seen };
    }
    return undefined;
  };
  const progress = (): WatchMessage<EncodedForm> => ({
    kind: "progress",
    // Where the id begins is said as 0: the number that it begins above is other sessions', and may be another one soon.
    revision: cursor === undefined || cursor === record.born ? 0 : cursor,
  });
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
  return new Watch(changes.watch(filter), context?.signal, Number.POSITIVE_INFINITY, () => sessions.closed);
}
