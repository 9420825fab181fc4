/** The types of a session with typed keys: what its schemas make of the types of a store. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { CallOptions, Check, CommitRequest, CommitResponse, Entry, Event } from "./store.ts";

/** The schema of each key. */
export type Schemas = Readonly<Record<string, StandardSchemaV1>>;
/** A key that has a schema. */
export type KeyOf<S extends Schemas> = keyof S & string;
/** What may be written under a key; it is stored as it is given. */
export type InputOf<S extends Schemas, K extends keyof S> = StandardSchemaV1.InferInput<S[K]>;
/** What is read from a key: what its schema makes of the stored value. */
export type OutputOf<S extends Schemas, K extends keyof S> = StandardSchemaV1.InferOutput<S[K]>;
/** The same where there is a value: `undefined`, which optional schemas take, stands for none. */
export type ValueOf<S extends Schemas, K extends keyof S> = Exclude<InputOf<S, K>, undefined>;
/** The keys whose values are numbers. */
export type NumberKeyOf<S extends Schemas> = {
  [K in KeyOf<S>]: ValueOf<S, K> extends number ? K : never;
}[KeyOf<S>];
/** The keys whose values are lists. */
export type ListKeyOf<S extends Schemas> = {
  [K in KeyOf<S>]: ValueOf<S, K> extends readonly unknown[] ? K : never;
}[KeyOf<S>];
/** The keys whose values are objects. */
export type ObjectKeyOf<S extends Schemas> = {
  [K in KeyOf<S>]: ValueOf<S, K> extends readonly unknown[]
    ? never
    : ValueOf<S, K> extends object
      ? K
      : never;
}[KeyOf<S>];
/** A JSON Merge Patch of an object; null removes a member. */
export type PatchOf<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { readonly [M in keyof T]?: PatchOf<T[M]> | null }
    : T;

/** One key with its value. */
export interface TypedEntry<S extends Schemas, K extends KeyOf<S> = KeyOf<S>> extends Omit<Entry, "value"> {
  readonly key: K;
  /** Absent: the entry was deleted. */
  readonly value?: OutputOf<S, K> | undefined;
}

/** One change of a commit. */
export type TypedChange<S extends Schemas> =
  | {
      readonly [K in KeyOf<S>]: {
        readonly kind: "set";
        readonly key: K;
        readonly value: InputOf<S, K>;
        readonly ttlMs?: number | undefined;
        readonly keepExpiry?: boolean | undefined;
      };
    }[KeyOf<S>]
  | { readonly kind: "delete"; readonly key: KeyOf<S> }
  | { readonly kind: "increment"; readonly key: NumberKeyOf<S>; readonly delta: number }
  | {
      readonly [K in ListKeyOf<S>]: {
        readonly kind: "append";
        readonly key: K;
        readonly values: ValueOf<S, K>;
        readonly maxItems?: number | undefined;
      };
    }[ListKeyOf<S>]
  | {
      readonly [K in ObjectKeyOf<S>]: {
        readonly kind: "merge";
        readonly key: K;
        readonly value: PatchOf<ValueOf<S, K>>;
      };
    }[ObjectKeyOf<S>];

/** One atomic write. */
export interface TypedCommit<S extends Schemas>
  extends Omit<CommitRequest, "sessionId" | "changes" | "checks">,
    CallOptions {
  readonly checks?: readonly (Check & { readonly key: KeyOf<S> })[] | undefined;
  readonly changes?: readonly TypedChange<S>[] | undefined;
}

/** One message of a watch: of the keys that have a schema only. */
export type TypedWatchMessage<S extends Schemas> =
  | {
      readonly kind: "snapshot";
      readonly revision: number;
      readonly state: { [K in KeyOf<S>]?: OutputOf<S, K> };
    }
  | {
      readonly kind: "event";
      readonly event: Omit<Event, "entries"> & { readonly entries: readonly TypedEntry<S>[] };
    }
  | { readonly kind: "progress"; readonly revision: number };

/** What a commit's one change may be told beside it. */
export type TypedWriteOptions = Pick<CommitRequest, "requestId" | "ifRevision" | "metadata"> & CallOptions;

/** The answer of a commit. */
export interface TypedCommitResponse<S extends Schemas> extends Omit<CommitResponse, "entries"> {
  readonly entries: readonly TypedEntry<S>[];
}

/** The values of a session, as they are read. */
export type OutputsOf<S extends Schemas> = { [K in KeyOf<S>]?: OutputOf<S, K> };
/** The values of a session, as they are written. */
export type InputsOf<S extends Schemas> = { [K in KeyOf<S>]?: InputOf<S, K> };
