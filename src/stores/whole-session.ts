/** All of a session at one revision, however large it is. */
import { WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  EncodedForm,
  EncodedStore,
  Entry,
  GetSessionRequest,
  Limits,
  Session,
} from "../store.ts";

/** No key begins with it, as keys go: it asks for a session without its state. */
export const NO_KEY: string = "\u{10ffff}".repeat(8);

/** The entries of a session as they were at a revision, read page by page. Fails with HISTORY_COMPACTED. */
export async function* entriesAt(
  store: EncodedStore,
  sessionId: string,
  atRevision: number,
  pageSize: number,
  context: CallContext | undefined,
): AsyncGenerator<Entry<EncodedForm>> {
  let pageToken = "";
  do {
    const page = await store.listState({ sessionId, atRevision, pageSize, pageToken }, context);
    yield* page.entries;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/**
 * A session with its state, in one call or, where one answer can't hold it, page by page; `undefined`: there is or was none.
 * Fails with HISTORY_COMPACTED, FUTURE_REVISION.
 */
export async function wholeSession(
  store: EncodedStore,
  { sessionId, atRevision }: Omit<GetSessionRequest, "keyPrefix">,
  limits: Limits,
  context: CallContext | undefined,
): Promise<Session<EncodedForm> | undefined> {
  try {
    return await store.getSession({ sessionId, atRevision }, context);
  } catch (error) {
    if (!WorkflowStateError.is(error, "SESSION_TOO_LARGE")) throw error;
  }
  const session = await store.getSession({ sessionId, atRevision, keyPrefix: NO_KEY }, context);
  if (session === undefined) return undefined;
  const state = new Map<string, Uint8Array>();
  for await (const { key, value } of entriesAt(store, sessionId, session.revision, limits.pageSize, context))
    if (value !== undefined) state.set(key, value);
  return { ...session, state };
}
