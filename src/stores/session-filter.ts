/** Which sessions a filter takes, for stores that look at sessions one by one. */
import type { EncodedForm, Session, SessionFilter } from "../store.ts";

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
