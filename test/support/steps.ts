/** Random steps of a run of the model: what may happen to a store. */
import fc from "fast-check";
import type { Change, JsonValue, SessionMetadata } from "../../src/store.ts";
import type { ModelWrite } from "./model-types.ts";

/** How many revisions the stores under test keep: few, so that runs reach the end of them. */
export const HISTORY = 6;
/** Sessions that are written; forks are made over these and beside them. */
const IDS = ["s1", "s2"];
const FORKS = ["f1", "f2"];
export const ALL_IDS: readonly string[] = [...IDS, ...FORKS];
const KEYS = ["a", "b", "é"];

/** Which revision a write or read names, in words: what it is depends on what was before. */
export type Guess = "current" | "zero" | "one less" | "oldest" | "one too old" | "future";

/** A step of a run: a write whose revisions are still guesses, a replay, a read of the past, or the passing of time. */
export type Step =
  | { readonly do: "write"; readonly write: GuessedWrite; readonly ifRevision: Guess | undefined }
  | { readonly do: "replay"; readonly back: number }
  | { readonly do: "read"; readonly id: string; readonly key: string; readonly at: Guess }
  | { readonly do: "advance"; readonly ms: number };

export type GuessedWrite = ModelWrite extends infer W
  ? W extends { kind: "fork" | "restore" }
    ? Omit<W, "atRevision"> & { readonly at: Guess | undefined }
    : W extends { kind: "commit" }
      ? Omit<W, "checks"> & { readonly guesses: { readonly key: string; readonly guess: Guess }[] }
      : W
  : never;

const id = fc.constantFrom(...IDS, ...IDS, ...IDS, ...FORKS);
const key = fc.constantFrom(...KEYS);
const guess = fc.constantFrom<Guess[]>(
  "current",
  "current",
  "zero",
  "one less",
  "oldest",
  "one too old",
  "future",
);
const value: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.constantFrom<JsonValue[]>(0, 1, -2.5, "x", "", null, true, [], {}, Number.MAX_SAFE_INTEGER),
  fc.array(fc.constantFrom<JsonValue[]>(1, "y", null), { maxLength: 3 }),
  fc.dictionary(fc.constantFrom("p", "q"), fc.constantFrom<JsonValue[]>(1, null, { r: 1 }, []), {
    noNullPrototype: true,
  }),
);
const ttlMs = fc.constantFrom(10, 20, 50);
const durationMs = fc.constantFrom(0, 20, 50, 100);
const requestId = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.nat({ max: 30 }).map((n) => `r${n}`) },
);
const labels = fc.dictionary(fc.constantFrom("l", "m"), fc.constantFrom("", "1"), { noNullPrototype: true });
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), key, value, ttlMs: fc.option(ttlMs, { nil: undefined }) }),
  fc.record({ kind: fc.constant("delete" as const), key }),
  fc.record({ kind: fc.constant("increment" as const), key, delta: fc.constantFrom(1, -1, 0.5, 0) }),
  fc.record({
    kind: fc.constant("append" as const),
    key,
    values: fc.array(value, { maxLength: 3 }),
    maxItems: fc.constantFrom(undefined, 1, 3),
  }),
  fc.record({ kind: fc.constant("merge" as const), key, value }),
);
const metadata: fc.Arbitrary<SessionMetadata | undefined> = fc.option(
  fc.record(
    {
      workflowId: fc.constantFrom("", "w"),
      userId: fc.constantFrom("", "u"),
      labels,
      ttlMs: durationMs,
      idleTtlMs: durationMs,
    },
    { requiredKeys: [] },
  ),
  { nil: undefined },
);

export const write: fc.Arbitrary<GuessedWrite> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("set" as const), id, key, value, ttlMs, requestId }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("set" as const), id, key, value, requestId }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("deleteKey" as const), id, key, requestId }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("commit" as const),
      id,
      guesses: fc.array(fc.record({ key, guess }), { maxLength: 2 }),
      changes: fc.array(change, { maxLength: 5 }),
      metadata,
      requestId,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record(
      {
        kind: fc.constant("save" as const),
        id,
        state: fc.dictionary(key, value, { noNullPrototype: true }),
        workflowId: fc.constant("w"),
        labels,
        ttlMs: durationMs,
        idleTtlMs: durationMs,
        requestId,
      },
      { requiredKeys: ["kind", "id", "state"] },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("delete" as const),
      id: fc.constantFrom(...ALL_IDS),
      requestId,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("fork" as const),
      id,
      newId: fc.constantFrom(...ALL_IDS),
      at: fc.option(guess, { nil: undefined }),
      requestId,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restore" as const), id, at: guess, requestId }) },
);

export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      write,
      ifRevision: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: guess }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("replay" as const), back: fc.nat({ max: 5 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("read" as const), id, key, at: guess }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.constantFrom(1, 10, 25, 60) }),
  },
);

/** The revisions that guesses are about. */
export interface Revisions {
  /** Of the session now; 0: there is none. */
  revision(id: string): number;
  /** The last that the id had. */
  lastRevision(id: string): number;
  /** Of the entry; 0: there is none. */
  entryRevision(id: string, key: string): number;
}

/** The revision that is meant. */
export function revisionOf(guess: Guess, current: number, last: number): number {
  switch (guess) {
    case "current":
      return current;
    case "zero":
      return 0;
    case "one less":
      return Math.max(0, current - 1);
    case "oldest":
      return Math.max(0, last - HISTORY + 1);
    case "one too old":
      return Math.max(0, last - HISTORY);
    case "future":
      return last + 1;
  }
}

/** The write with its guesses made. */
export function resolved(
  model: Revisions,
  { write, ifRevision }: Extract<Step, { do: "write" }>,
): ModelWrite {
  const last = model.lastRevision(write.id);
  const sessions = ifRevision && { ifRevision: revisionOf(ifRevision, model.revision(write.id), last) };
  const entry = (key: string, guess: Guess): number =>
    revisionOf(guess, model.entryRevision(write.id, key), last);
  switch (write.kind) {
    case "set":
    case "deleteKey":
      return { ...write, ...(ifRevision && { ifRevision: entry(write.key, ifRevision) }) };
    case "commit": {
      const { guesses, ...rest } = write;
      return {
        ...rest,
        ...sessions,
        checks: guesses.map(({ key, guess }) => ({ key, ifRevision: entry(key, guess) })),
      };
    }
    case "save":
    case "delete":
      return { ...write, ...sessions };
    case "fork": {
      const { at, ...rest } = write;
      return { ...rest, ...(at && { atRevision: revisionOf(at, last, last) }) };
    }
    case "restore": {
      const { at, ...rest } = write;
      return { ...rest, ...sessions, atRevision: Math.max(1, revisionOf(at ?? "current", last, last)) };
    }
  }
}
