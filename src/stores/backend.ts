/**
 * What a durable store (`durable.ts`) asks of its database: atomic steps on one session, a feed of commits, and what moving
 * needs. The store knows the contract of `store.ts`; a backend knows how to keep a session, and these rules:
 *
 * - **A session is its head, its entries and its past.** An entry is a row (or a field) of its own. What a commit replaces or
 *   removes goes to the past with the revision that replaced it, so each version of a value is kept once, and a write costs
 *   the changed keys. An event names the keys that its commit wrote; their values are found among entries and past.
 * - **A step is atomic and looks at one moment.** Before anything else it does what is due for its session: if the session's
 *   deadline has passed, a commit of kind EXPIRED that ends it; else, if keys' have, one that removes them. So no step ever
 *   sees what has expired. A step that finds nothing due must not pay for this with a round trip.
 * - **Time is the backend's**: the database server's clock where replicas share one; the commit's time is never before the
 *   session's `updateTime`. Options may inject a clock.
 * - **An acknowledged commit is durable** as the backend promises; one that may or may not have been made fails with
 *   OUTCOME_UNKNOWN, one that was certainly not made with STORE_UNAVAILABLE or STORAGE_FULL. A look that can't be answered
 *   fails with STORE_UNAVAILABLE. Every call settles within the backend's own time limit.
 * - Keys, ids and labels are any well-formed Unicode, NUL included, and are ordered by their UTF-8 bytes.
 */
import type { FailedCheck, WorkflowStateError } from "../errors.ts";
import type { Check, EncodedForm, Entry, Event, EventKind, Limits, SessionFilter } from "../store.ts";
import type { Metadata } from "./metadata.ts";

/** Which session, of which tenant. */
export interface SessionKey {
  readonly namespace: string;
  readonly sessionId: string;
}

/** How a backend is set up, whichever it is; all durations are in milliseconds. */
export interface BackendOptions {
  readonly limits: Limits;
  /** How many commits of a session are kept. */
  readonly history: number;
  /** How long a commit is kept at most. */
  readonly historyAgeMs: number;
  /** How long the answer to a request id is kept. */
  readonly requestRetentionMs: number;
  /** The clock in epoch milliseconds; absent: the backend's own. */
  readonly now?: (() => number) | undefined;
}

/** What is known of a session beside its entries and its past, also of one that ended and is not yet forgotten. */
export interface Head {
  /** The last revision made. */
  readonly revision: number;
  /** The revision before the first that was ever made of this head: 0, or the floor that forgotten sessions left. */
  readonly born: number;
  /** The revision of the oldest kept event; `revision + 1` if none is kept. A state is readable from here on. */
  readonly oldest: number;
  /** The last revision with which the session expired as a whole; 0: it never did. */
  readonly expiredRevision: number;
  /** The last revision that wrote `metadata`, its creation and its end included. */
  readonly metadataRevision: number;
  /** `undefined`: there is no session now. */
  readonly metadata: Metadata | undefined;
  /** When the last commit was made. */
  readonly updateTime: number;
  /** When a caller last wrote, an expiry is none: what idle_ttl counts from. */
  readonly activeTime: number;
  /** Live entries. */
  readonly entries: number;
  /** Bytes of the live entries: of their keys in UTF-8 and of their encoded values. */
  readonly bytes: number;
}

/** Which entries to look at. */
export type Selection =
  /** Those of these keys that are there, in any order. */
  | { readonly keys: readonly string[] }
  /** All whose key begins with the prefix, in the order of their keys; `page`: a part of them. */
  | { readonly prefix: string; readonly page?: EntryPage | undefined };

/** Which part of a listing of entries. */
export interface EntryPage {
  /** Exclusive, in the order of the listing; `""`: from the beginning. */
  readonly from: string;
  readonly reverse: boolean;
  /** At most so many. */
  readonly count: number;
  /** At most so many bytes, counted as {@link entrySize}; the first entry always fits. */
  readonly bytes: number;
}

/** The bytes that an entry takes on a page: its key's and its value's, and 64. */
export function entrySize(keyBytes: number, valueBytes: number): number {
  return keyBytes + valueBytes + 64;
}

/** A look at a session. */
export interface LookStep {
  readonly kind: "look";
  readonly session: SessionKey;
  /** Absent: no entries. */
  readonly entries?: Selection | undefined;
  /** As they were after this revision. Only a kept revision (see {@link Head.oldest}) and the last one give entries. */
  readonly atRevision?: number | undefined;
  /** Also look for the answer of this request id. */
  readonly requestId?: string | undefined;
}

/** What a look sees, all at one moment. */
export interface Look {
  readonly kind: "look";
  /** The backend's time. */
  readonly now: number;
  /** `undefined`: nothing is known of this session. */
  readonly head: Head | undefined;
  /** The highest revision of any forgotten session that this id may have been; only said if there is no head. */
  readonly floor: number;
  /** Always with values. */
  readonly entries: readonly Entry<EncodedForm>[];
  /** Whether a page ended before the listing did. */
  readonly more: boolean;
  /** The session's moment at `atRevision`, if that is kept or the last one. */
  readonly moment?: Moment | undefined;
  /** The answer of the request id, if it is kept and within the retention. */
  readonly remembered?: Remembered | undefined;
}

/** A session after a commit, less its state. */
export interface Moment {
  /** `undefined`: the commit left no session. */
  readonly metadata: Metadata | undefined;
  /** When the commit was made. */
  readonly time: number;
  /** When the session was to expire then: the earlier of its two deadlines. */
  readonly expireTime: number | undefined;
}

/** What is kept of the answer to a request id. */
export interface Remembered extends Answer {
  /** 24 characters: what the request asked for. */
  readonly fingerprint: string;
  /** What the plan gave to keep. */
  readonly kept: Uint8Array | undefined;
}

/** What a commit came to. */
export interface Answer {
  /** The session's revision after it; 0: there is no session. */
  readonly revision: number;
  /** When the session was last written; `undefined`: there is no session. */
  readonly updateTime: number | undefined;
  /** The backend's time when it was first given; always said where there is no session. */
  readonly time?: number | undefined;
  /** Whether it wrote anything. */
  readonly wrote: boolean;
}

/** What a commit leaves at one key. */
export interface Write {
  readonly key: string;
  /** `undefined`: the key is removed, if it is there. */
  readonly value: Uint8Array | undefined;
  /** How long the entry lives from the commit's time; absent: `expireTime` says. */
  readonly ttlMs?: number | undefined;
  /** When it expires; absent: never. */
  readonly expireTime?: number | undefined;
  /** A removal that makes a revision and stands in the event although the key may be absent. */
  readonly always?: boolean | undefined;
}

/** The metadata that a commit leaves. */
export interface MetadataWrite extends Omit<Metadata, "createTime"> {
  /** `undefined`: the commit's time. */
  readonly createTime: number | undefined;
  /** How long the session lives from the commit's time; absent: `expireTime` says. */
  readonly ttlMs?: number | undefined;
}

/**
 * One atomic commit. In this order: what is due; a known request id gives `replayed` or `reused`; a guard that does not hold
 * gives `stale`; checks that do not hold give `failed`; a session that grows beyond its limits gives `tooLarge`; then all is
 * written with the event, the past that goes beyond `history` commits is dropped (now and then, in larger pieces; `Head.oldest`
 * never tells of more than `history`), and the answer is remembered under the request id, also if nothing was written.
 */
export interface PlanStep {
  readonly kind: "plan";
  readonly session: SessionKey;
  readonly event: Exclude<EventKind, "EXPIRED">;
  /** The request id with what it is known by, and what to give back with a replay. */
  readonly request?:
    | { readonly id: string; readonly fingerprint: string; readonly kept: Uint8Array | undefined }
    | undefined;
  /** The caller's: the session's revision; 0: there must be none. */
  readonly ifRevision?: number | undefined;
  /** The caller's, of entries. */
  readonly checks?: readonly Check[] | undefined;
  /** The store's own: what it read when it made the plan. */
  readonly guards?: Guards | undefined;
  /** At most one for a key. In the order in which the event is to name them. */
  readonly writes: readonly Write[];
  /** Absent: as it was, or that of a new session if a write makes one. `"end"`: the session ends, if there is one. */
  readonly metadata?: MetadataWrite | "end" | undefined;
  /** The commit's time, if that is later than the session's last; absent: the backend's clock. */
  readonly time?: number | undefined;
}

/** What must still be as a plan's maker read it. */
export interface Guards {
  /** {@link Head.revision}; 0: there is no head. */
  readonly revision?: number | undefined;
  /** {@link Head.metadataRevision}; 0: there is no head. */
  readonly metadataRevision?: number | undefined;
  /** Revisions of entries; 0: absent. */
  readonly entries?: readonly Check[] | undefined;
}

/** What became of a plan. */
export type Applied =
  | ({ readonly kind: "done" } & Answer)
  | ({ readonly kind: "replayed"; readonly kept: Uint8Array | undefined } & Answer)
  | { readonly kind: "reused" }
  | { readonly kind: "stale" }
  /** Every check that failed: the session's first, with the key `""`, then the entries' in order. */
  | { readonly kind: "failed"; readonly failedChecks: FailedCheck[] }
  | {
      readonly kind: "tooLarge";
      readonly before: { readonly entries: number; readonly bytes: number };
      readonly after: { readonly entries: number; readonly bytes: number };
    };

export type Step = LookStep | PlanStep;

/** What a step gave. An error is that step's own. */
export type StepResult = Look | Applied | { readonly kind: "error"; readonly error: WorkflowStateError };

/** Which events to read: those of revisions `from` to `to`, both included, that are kept. */
export interface EventRange {
  readonly session: SessionKey;
  readonly from: number;
  readonly to: number;
  readonly reverse: boolean;
  /** At most so many. */
  readonly count: number;
  /** At most about so many bytes of keys and values; the first event always fits. */
  readonly bytes: number;
}

/** Events with the values that their commits wrote, in order, without a gap from the first; at one moment with the head. */
export interface Events {
  readonly head: Head | undefined;
  /** As in {@link Look.floor}. */
  readonly floor: number;
  readonly events: readonly StoredEvent[];
}

/** An event, and whether its commit left no session. */
export interface StoredEvent extends Event<EncodedForm> {
  readonly ended: boolean;
}

/** Which sessions to list. */
export interface SessionQuery {
  readonly namespace: string;
  readonly filter: SessionFilter<EncodedForm>;
  /** By id, ascending; or by `updateTime`, descending, and where that is the same by id, ascending. */
  readonly order: "ID" | "UPDATE_TIME_DESC";
  /** Go on after this place in the order. */
  readonly after?: { readonly sessionId: string; readonly updateTime: number } | undefined;
  readonly count: number;
}

/** A live session as a listing finds it. */
export interface ListedSession {
  readonly sessionId: string;
  readonly head: Head & { readonly metadata: Metadata };
}

/** A commit in the feed. */
export interface FeedChange {
  readonly session: SessionKey;
  readonly revision: number;
  readonly kind: EventKind;
  /** The session after it; of one that ended its last metadata. */
  readonly metadata: Metadata;
  readonly time: number;
  readonly expireTime: number | undefined;
}

/** A part of the feed: all commits in an order that agrees with each session's, none left out, none twice. */
export interface FeedPart {
  readonly changes: readonly FeedChange[];
  /** Where to go on. Opaque. */
  readonly cursor: string;
  /** Commits between the cursor given and the first change are no longer kept. */
  readonly lost: boolean;
  /** Whether there is more to read at once. */
  readonly more: boolean;
}

/** What a sweep did and left. */
export interface Swept {
  /** Whether it stopped before all was done: sweep again soon. */
  readonly more: boolean;
  /** When the next deadline passes, by the backend's clock, if that is known. */
  readonly nextDue: number | undefined;
  /** The backend's time. */
  readonly now: number;
}

/** One piece of what is kept of a session: for moving it to another backend. */
export type StoredRecord =
  /** Always the first. */
  | ({ readonly kind: "head" } & Head)
  /** A version of an entry; `ended`: the revision that replaced or removed it, absent: it is live. */
  | ({ readonly kind: "version"; readonly ended?: number | undefined } & Entry<EncodedForm>)
  /** A kept event; `entries` names the keys, without values, and says by `removed` which ones it removed. */
  | {
      readonly kind: "event";
      readonly revision: number;
      readonly event: EventKind;
      readonly requestId: string | undefined;
      readonly keys: readonly { readonly key: string; readonly removed: boolean }[];
      readonly moment: Moment;
      /** The metadata after it; of an event that ended the session the last before. */
      readonly metadata: Metadata;
    }
  /** A remembered answer. */
  | ({ readonly kind: "request"; readonly requestId: string; readonly time: number } & Remembered);

/** A database that keeps sessions. */
export interface Backend {
  /** How often the feed is to be read while someone watches, should no hint come. */
  readonly pollMs: number;
  /**
   * Runs steps in order, each atomic by itself; one result for each. Steps of one session see those before them. All are sent
   * at once where the database allows it. Rejects only with STORE_UNAVAILABLE, when certainly no plan was applied.
   */
  run(steps: readonly Step[]): Promise<StepResult[]>;
  /** Reads events, after doing what is due. */
  events(range: EventRange): Promise<Events>;
  /** Lists live sessions that match, none of which is expired; what it finds due it does first. */
  sessions(query: SessionQuery): Promise<ListedSession[]>;
  /** Where the feed ends now. */
  feedEnd(): Promise<string>;
  /** Reads the feed after a cursor. At most `count` changes. */
  feed(cursor: string, count: number): Promise<FeedPart>;
  /**
   * Calls the listener when something may have been committed, by whom ever, until what is returned is called: of a session,
   * or of any (`undefined`). A hint may come late, twice, or not at all. Called while someone watches only.
   */
  hints(listener: (session: SessionKey | undefined) => void): () => void;
  /**
   * Does a bounded part of the housekeeping: expires what is due, drops commits older than `historyAgeMs` and answers older than
   * `requestRetentionMs`, and forgets sessions of which nothing else is left, raising the floor of what may have had their id.
   */
  sweep(): Promise<Swept>;

  /** Keys of all sessions of all namespaces that something is kept of, in an order of the backend's, after a place in it. */
  sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]>;
  /** All that is kept of a session, at one moment; nothing if nothing is kept. Holds a bounded part of it in memory. */
  dump(session: SessionKey): AsyncIterable<StoredRecord>;
  /**
   * Puts a dump in the place of whatever is kept of a session; whole, or it fails and leaves no session. Counts the entries and
   * bytes anew: those that the head tells are not looked at.
   */
  load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void>;
  /**
   * Gives every kept version of every value of a session to `rewrite` and stores what it returns in its place, if that is not
   * `undefined` and the value was not replaced meanwhile. Makes no revision. Returns how many it stored.
   */
  rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number>;

  /** Ends what runs and frees what is held. */
  close(): Promise<void>;
}
