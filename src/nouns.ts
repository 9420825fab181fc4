/** The nouns of the contract: sessions, entries, changes, events, and how their values look. Types only. */

/** A plain JSON value: what a state holds. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** How values and times look: in plain JSON for programs, or encoded inside the service. */
export interface Form {
  /** One value. */
  readonly value: unknown;
  /** A whole state: each key with its value. */
  readonly state: unknown;
  /** A point in time. */
  readonly time: unknown;
}

/** The form that programs use. */
export interface JsonForm extends Form {
  readonly value: JsonValue;
  readonly state: Record<string, JsonValue>;
  readonly time: Date;
}

/** The form inside the service. */
export interface EncodedForm extends Form {
  /** The bytes of the value's `google.protobuf.Value`. Never changed by whoever holds it. */
  readonly value: Uint8Array;
  readonly state: ReadonlyMap<string, Uint8Array>;
  /** Milliseconds since 1970-01-01T00:00:00Z, whole. */
  readonly time: number;
}

/** One workflow session. */
export interface Session<F extends Form = JsonForm> {
  /** 1 to 256 bytes of well-formed UTF-8. */
  readonly sessionId: string;
  /** Each key with its value; empty where the view leaves it out. */
  readonly state: F["state"];
  /** When it was created, by the store's clock. Absent in the snapshot of a session that does not exist and in view IDS. */
  readonly createTime?: F["time"] | undefined;
  /** When it was last written. Absent as `createTime`. */
  readonly updateTime?: F["time"] | undefined;
  /** The workflow that it belongs to. */
  readonly workflowId?: string | undefined;
  /** The user that it belongs to. */
  readonly userId?: string | undefined;
  /** Labels to select by. */
  readonly labels: Readonly<Record<string, string>>;
  /** The revision of the last commit, also in the snapshot of a deleted session; 0 in that of one that never was, and in view IDS. */
  readonly revision: number;
  /** When it expires unless written or renewed before. Absent: never. */
  readonly expireTime?: F["time"] | undefined;
  /** Where it was forked from. */
  readonly forkedFrom?: { readonly sessionId: string; readonly revision: number } | undefined;
}

/** One key of a state. */
export interface Entry<F extends Form = JsonForm> {
  /** 1 to 512 bytes of well-formed UTF-8. */
  readonly key: string;
  /** The value. Absent: the entry was deleted (in the answers of writes and in events only). */
  readonly value?: F["value"] | undefined;
  /** The revision of the commit that last wrote it. */
  readonly revision: number;
  /** When that commit was made. */
  readonly updateTime: F["time"];
  /** When it expires. Absent: never. */
  readonly expireTime?: F["time"] | undefined;
}

/** "This key is still at this revision"; 0: is absent. */
export interface Check {
  readonly key: string;
  readonly ifRevision: number;
}

/** One change of a commit. */
export type Change<F extends Form = JsonForm> =
  /** Write a value. `ttlMs` absent or 0: it does not expire, also if it did before, unless `keepExpiry` leaves that as it is. */
  | {
      readonly kind: "set";
      readonly key: string;
      readonly value: F["value"];
      readonly ttlMs?: number | undefined;
      /** Only without a `ttlMs`. */
      readonly keepExpiry?: boolean | undefined;
    }
  /** Remove a key, if it is there. */
  | { readonly kind: "delete"; readonly key: string }
  /** Add to a number, from 0. */
  | { readonly kind: "increment"; readonly key: string; readonly delta: number }
  /** Add to the end of a list, from []; keep the last `maxItems` (absent or 0: all). */
  | {
      readonly kind: "append";
      readonly key: string;
      readonly values: readonly F["value"][];
      readonly maxItems?: number | undefined;
    }
  /** Apply a JSON Merge Patch (RFC 7396) to an object, from {}. */
  | { readonly kind: "merge"; readonly key: string; readonly value: F["value"] };

/** What a commit changes about the session itself; an absent field leaves what was. */
export interface SessionMetadata {
  /** `""`: none. */
  readonly workflowId?: string | undefined;
  /** `""`: none. */
  readonly userId?: string | undefined;
  /** All labels, in place of those that are there; `{}`: none. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** How long the session lives from now; 0: it does not expire. */
  readonly ttlMs?: number | undefined;
  /** How long it lives after its last write; 0: idleness does not end it. */
  readonly idleTtlMs?: number | undefined;
}

/** What kind of write made an event. EXPIRED without entries: the whole session. */
export type EventKind = "COMMITTED" | "SAVED" | "DELETED" | "EXPIRED" | "FORKED" | "RESTORED";

/** What one commit did. */
export interface Event<F extends Form = JsonForm> {
  readonly sessionId: string;
  /** The revision that the commit made. */
  readonly revision: number;
  readonly time: F["time"];
  readonly kind: EventKind;
  /** The entries that it wrote, as they were after it; without a value where deleted or expired. */
  readonly entries: readonly Entry<F>[];
  /** The request id that the write carried. */
  readonly requestId?: string | undefined;
}

/** One message of a watch on a session. */
export type WatchMessage<F extends Form = JsonForm> =
  | { readonly kind: "snapshot"; readonly snapshot: Session<F> }
  | { readonly kind: "event"; readonly event: Event<F> }
  /** All events up to `revision` have been given. */
  | { readonly kind: "progress"; readonly revision: number };

/** One message of a watch on sessions: a session after a commit (without its state), and the kind of commit. */
export interface SessionChange<F extends Form = JsonForm> {
  readonly session: Session<F>;
  readonly kind: EventKind;
}

/** How much of each session a listing returns. */
export type SessionView = "IDS" | "METADATA" | "FULL";

/** The order of a listing of sessions. */
export type SessionOrder = "ID" | "UPDATE_TIME_DESC";

/** Which sessions to take; a session must match every filter that is given. `""` and `{}` count as not given. */
export interface SessionFilter<F extends Form = JsonForm> {
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly sessionIdPrefix?: string | undefined;
  /** All of these must be among the session's. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Exclusive. */
  readonly updatedAfter?: F["time"] | undefined;
  /** Exclusive. */
  readonly updatedBefore?: F["time"] | undefined;
}
