/** What the operations of a store take and give, one to one with the requests and responses of the service. Types only. */
import type { WorkflowStateError } from "./errors.ts";
import type {
  Change,
  Check,
  Entry,
  Event,
  Form,
  JsonForm,
  Session,
  SessionFilter,
  SessionMetadata,
  SessionOrder,
  SessionView,
} from "./nouns.ts";

/** Which page of a listing. */
export interface Page {
  /** At most so many, up to `limits.pageSize` (a larger number counts as that); absent or 0: 100. A page may be shorter. */
  readonly pageSize?: number | undefined;
  /** `nextPageToken` of the page before, with the same other fields; absent or `""`: the first page. */
  readonly pageToken?: string | undefined;
}

/** Makes a retry of a write safe. */
export interface Replayable {
  /** At most 128 bytes; absent or `""`: none. */
  readonly requestId?: string | undefined;
  /**
   * What tells this write from another with its `requestId`, at most 128 bytes; absent or `""`: all that it carries. For callers
   * that encrypt values and so never send the same bytes twice: a repeated write gets the first answer, with the values of
   * the first. Needs a `requestId`.
   */
  readonly requestFingerprint?: string | undefined;
}

/** Which session to read. */
export interface GetSessionRequest {
  readonly sessionId: string;
  /** As it was then. */
  readonly atRevision?: number | undefined;
  /** Only entries whose key begins with this. */
  readonly keyPrefix?: string | undefined;
}

/** What a save writes of a session: the rest is the store's. */
export interface SessionContent<F extends Form = JsonForm> {
  readonly sessionId: string;
  readonly state: F["state"];
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** A session to create or to replace. */
export interface SaveSessionRequest<F extends Form = JsonForm> extends Replayable {
  readonly session: SessionContent<F>;
  /** Only if the session is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** How long the session lives from now; 0: it does not expire; absent: unchanged. */
  readonly ttlMs?: number | undefined;
  /** How long it lives after its last write; 0: idleness does not end it; absent: unchanged. */
  readonly idleTtlMs?: number | undefined;
}

/** Which session to delete. */
export interface DeleteSessionRequest extends Replayable {
  readonly sessionId: string;
  readonly ifRevision?: number | undefined;
}

/** Which sessions to list. */
export interface ListSessionsRequest<F extends Form = JsonForm> extends SessionFilter<F>, Page {
  /** Absent: METADATA. */
  readonly view?: SessionView | undefined;
  /** Absent: ID. */
  readonly order?: SessionOrder | undefined;
}

/** A page of sessions. */
export interface ListSessionsResponse<F extends Form = JsonForm> {
  readonly sessions: readonly Session<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}

/** Which entry to read. */
export interface GetStateRequest {
  readonly sessionId: string;
  readonly key: string;
  readonly atRevision?: number | undefined;
}

/** An entry to write. */
export interface SetStateRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  readonly key: string;
  readonly value: F["value"];
  /** Only if the entry is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** How long the entry lives; absent or 0: it does not expire, also if it did before. */
  readonly ttlMs?: number | undefined;
}

/** Which entry to delete. */
export interface DeleteStateRequest extends Replayable {
  readonly sessionId: string;
  readonly key: string;
  readonly ifRevision?: number | undefined;
}

/** What a deletion of an entry found. */
export interface DeleteStateResponse {
  /** Whether there was an entry. */
  readonly deleted: boolean;
  /** The session's revision after the call; 0: there is no session. */
  readonly revision: number;
}

/** Which entries to list. */
export interface ListStateRequest extends Page {
  readonly sessionId: string;
  readonly keyPrefix?: string | undefined;
  /** Only keys after this in the order of the listing, exclusive; absent or `""`: from the beginning. */
  readonly startAfter?: string | undefined;
  readonly reverse?: boolean | undefined;
  readonly atRevision?: number | undefined;
}

/** A page of entries, by key. */
export interface ListStateResponse<F extends Form = JsonForm> {
  readonly entries: readonly Entry<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}

/** One atomic write: all checks, then all changes in order, or nothing. */
export interface CommitRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  readonly checks?: readonly Check[] | undefined;
  readonly changes?: readonly Change<F>[] | undefined;
  /** Only if the session is at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  readonly metadata?: SessionMetadata | undefined;
}

/** What a commit left. */
export interface CommitResponse<F extends Form = JsonForm> {
  /** The session's revision after the commit; unchanged if nothing was written; 0: there is no session. */
  readonly revision: number;
  /** When the session was last written; absent: there is no session. */
  readonly updateTime?: F["time"] | undefined;
  /** Each entry that a change named, as it is after the commit, in the order first named. */
  readonly entries: readonly Entry<F>[];
}

/** Which session to copy, and to where. */
export interface ForkSessionRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  readonly atRevision?: number | undefined;
  readonly newSessionId: string;
  /** Values to store in place of the copied ones, by key; of keys that are not copied: ignored. Absent or empty: none. */
  readonly values?: F["state"] | undefined;
}

/** Which content to give back to a session. */
export interface RestoreSessionRequest<F extends Form = JsonForm> extends Replayable {
  readonly sessionId: string;
  /** 1 or more. */
  readonly atRevision: number;
  readonly ifRevision?: number | undefined;
  /** Values to store in place of the old ones, by key; of keys that are not brought back: ignored. Absent or empty: none. */
  readonly values?: F["state"] | undefined;
}

/** Which events to list. */
export interface ListEventsRequest extends Page {
  readonly sessionId: string;
  /** Exclusive; absent or 0: from the oldest that is kept. */
  readonly afterRevision?: number | undefined;
  /** The newest first. */
  readonly reverse?: boolean | undefined;
}

/** A page of events, by revision. */
export interface ListEventsResponse<F extends Form = JsonForm> {
  readonly events: readonly Event<F>[];
  /** `""`: this was the last page. */
  readonly nextPageToken: string;
}

/** Which session to follow, and from where. */
export interface WatchSessionRequest {
  readonly sessionId: string;
  /** Begin with the event after this revision; absent: with a snapshot. */
  readonly afterRevision?: number | undefined;
  /** Only entries whose key begins with this; an event without one is left out, unless the session was deleted or expired. */
  readonly keyPrefix?: string | undefined;
}

/** One operation of a batch. */
export type Operation<F extends Form = JsonForm> =
  | ({ readonly kind: "getState" } & GetStateRequest)
  | ({ readonly kind: "setState" } & SetStateRequest<F>)
  | ({ readonly kind: "deleteState" } & DeleteStateRequest)
  | ({ readonly kind: "commit" } & CommitRequest<F>)
  | ({ readonly kind: "getSession" } & GetSessionRequest);

/** What one operation of a batch answered. */
export type Result<F extends Form = JsonForm> =
  | { readonly kind: "getState"; readonly entry: Entry<F> | undefined }
  | { readonly kind: "setState"; readonly entry: Entry<F> }
  | ({ readonly kind: "deleteState" } & DeleteStateResponse)
  | ({ readonly kind: "commit" } & CommitResponse<F>)
  | { readonly kind: "getSession"; readonly session: Session<F> | undefined }
  | { readonly kind: "error"; readonly error: WorkflowStateError };
