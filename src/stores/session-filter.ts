/** What a filter takes, for stores that look one by one: sessions of a listing, entries of an event. */
import type { EncodedForm, Event, Session, SessionFilter } from "../store.ts";

/** Whether a session that exists matches every filter that is given. */
export function matches(session: Session<EncodedForm>, filter: SessionFilter<EncodedForm>): boolean {
  const { workflowId, userId, sessionIdPrefix, labels, updatedAfter, updatedBefore } = filter;
  if (workflowId && session.workflowId !== workflowId) return false;
  if (userId && session.userId !== userId) return false;
  if (sessionIdPrefix && !session.sessionId.startsWith(sessionIdPrefix)) return false;
  const updateTime = session.updateTime ?? 0;
  if (updatedAfter !== undefined && updateTime <= updatedAfter) return false;
  if (updatedBefore !== undefined && updateTime >= updatedBefore) return false;
  if (labels === undefined) return true;
  return Object.keys(labels).every(
    (name) => Object.hasOwn(session.labels, name) && session.labels[name] === labels[name],
  );
}

/** The event with the entries of a prefix only; `undefined`: it has none, and the session did not end with it. */
export function eventWithPrefix(
  event: Event<EncodedForm>,
  ended: boolean,
  prefix: string,
): Event<EncodedForm> | undefined {
  if (ended || prefix === "") return event;
  const entries = event.entries.filter(({ key }) => key.startsWith(prefix));
  return entries.length === 0 ? undefined : { ...event, entries };
}
