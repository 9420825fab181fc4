/** Sessions that a service answered without their state, as one answer could not hold it: the state is read after. */
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import { DEFAULT_LIMITS, type EncodedForm, type Session } from "../store.ts";
import { requestToWire, responseFromWire } from "../wire.ts";
import { type Call, type Channel, isBeforeTheStore } from "./remote-channel.ts";

/**
 * The session that a write left, with its state: where the answer has none, page by page, at the answer's revision.
 * HISTORY_COMPACTED, where that is not kept any more, passes on. The write is done by then, so a service that can't be
 * reached, or does not let the caller in, is OUTCOME_UNKNOWN: the same request id gives the same answer again.
 */
export async function completed(
  channel: Channel,
  session: Session<EncodedForm>,
  call: Call,
): Promise<Session<EncodedForm>> {
  if (session.state.size > 0) return session;
  const { sessionId, revision } = session;
  const { listState } = WorkflowStateService.method;
  const { pageSize } = DEFAULT_LIMITS;
  const reading = { ...call, write: false };
  const state = new Map<string, Uint8Array>();
  let pageToken = "";
  try {
    do {
      const message = requestToWire.listState({ sessionId, atRevision: revision, pageSize, pageToken });
      const page = await channel.unary(listState, message, responseFromWire.listState, reading);
      for (const { key, value } of page.entries) if (value !== undefined) state.set(key, value);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  } catch (error) {
    if (!WorkflowStateError.is(error) || !isBeforeTheStore(error)) throw error;
    throw new WorkflowStateError(
      "OUTCOME_UNKNOWN",
      "The write was made, but not all of the session's state could be read; retry it with the same request id.",
      { cause: error },
    );
  }
  return { ...session, state };
}
