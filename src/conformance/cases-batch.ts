/** Cases: several operations in one call, and over one stream. */
import type { Operation, Result } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectThrown,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { mustGet } from "./reading.ts";

/** What every store must do with batches and pipelines. */
export const batchCases: readonly ConformanceCase[] = [
  storeCase("a batch answers each operation in order", async (store) => {
    const [one, two] = [newId(), newId()];
    const results = await store.batch([
      { kind: "setState", sessionId: one, key: "a", value: { x: 1 } },
      { kind: "getState", sessionId: one, key: "a" },
      { kind: "getState", sessionId: two, key: "a" },
      { kind: "commit", sessionId: two, changes: [{ kind: "increment", key: "n", delta: 3 }] },
      { kind: "getSession", sessionId: two },
      { kind: "deleteState", sessionId: one, key: "a" },
      { kind: "deleteState", sessionId: one, key: "a" },
      { kind: "getState", sessionId: one, key: "a" },
      { kind: "getSession", sessionId: newId() },
    ]);
    const [set, got, none, commit, session, deleted, again, gone, missing] = results;
    expectEqual(results.length, 9, "the number of results");
    expectTrue(set?.kind === "setState" && set.entry.revision >= 1, "the set");
    expectEqual(got, { kind: "getState", entry: set.entry }, "the get");
    expectTrue(none?.kind === "getState" && none.entry === undefined, "the get of nothing");
    const two2 = await mustGet(store, two);
    const entry = expectDefined(await store.getEntry(two, "n"), "the entry");
    const { revision, updateTime } = two2;
    expectEqual(commit, { kind: "commit", revision, updateTime, entries: [entry] }, "the commit");
    expectEqual(session, { kind: "getSession", session: two2 }, "the session");
    const after = set.entry.revision + 1;
    expectEqual(deleted, { kind: "deleteState", deleted: true, revision: after }, "the delete");
    expectEqual(again, { kind: "deleteState", deleted: false, revision: after }, "the second delete");
    expectTrue(gone?.kind === "getState" && gone.entry === undefined, "the get after it");
    expectTrue(missing?.kind === "getSession" && missing.session === undefined, "the missing session");
    expectEqual(await store.batch([]), [], "a batch of nothing");
  }),

  storeCase("an operation that fails is its own result, and the others stand", async (store) => {
    const sessionId = newId();
    const results = await store.batch([
      { kind: "setState", sessionId, key: "a", value: 1 },
      { kind: "setState", sessionId, key: "a", value: 2, ifRevision: 0 },
      { kind: "setState", sessionId: "", key: "a", value: 1 },
      { kind: "getState", sessionId, key: "" },
      { kind: "setState", sessionId, key: "a", value: { deep: [Number.NaN] } },
      {
        kind: "commit",
        sessionId,
        changes: [
          { kind: "set", key: "b", value: 1 },
          { kind: "append", key: "a", values: [1] },
        ],
      },
      { kind: "getSession", sessionId, atRevision: 1_000 },
      { kind: "deleteState", sessionId, key: "a", ifRevision: -1 },
      { kind: "commit", sessionId, changes: [{ kind: "increment", key: "a", delta: 1 }] },
    ]);
    const reasons = results.map((result) => (result.kind === "error" ? result.error.reason : result.kind));
    expectEqual(
      reasons,
      [
        "setState",
        "REVISION_MISMATCH",
        "INVALID_SESSION_ID",
        "INVALID_KEY",
        "INVALID_VALUE",
        "VALUE_TYPE_MISMATCH",
        "FUTURE_REVISION",
        "INVALID_REQUEST",
        "commit",
      ],
      "the results",
    );
    const [first, mismatch, , , value] = results;
    expectTrue(
      first?.kind === "setState" && mismatch?.kind === "error" && value?.kind === "error",
      "their kinds",
    );
    expectEqual(
      mismatch.error.failedChecks,
      [{ key: "a", ifRevision: 0, actualRevision: first.entry.revision }],
      "an error's failed checks",
    );
    expectEqual(value.error.metadata["path"], "$.deep[0]", "an error's metadata");
    expectEqual(value.error.code, "INVALID_ARGUMENT", "an error's code");
    expectTrue(value.error.message !== "", "an error's message");
    expectEqual((await mustGet(store, sessionId)).state, { a: 2 }, "the state");
  }),

  storeCase("a batch over its limit is refused whole", async (store, { limits }) => {
    const sessionId = newId();
    const add: Operation = {
      kind: "commit",
      sessionId,
      changes: [{ kind: "increment", key: "n", delta: 1 }],
    };
    const results = await store.batch(Array.from({ length: limits.operations }, () => add));
    expectEqual(results.length, limits.operations, "as many as may be");
    const over = Array.from({ length: limits.operations + 1 }, () => add);
    const error = await expectReason(store.batch(over), "REQUEST_TOO_LARGE");
    expectEqual(error.metadata["limit"], String(limits.operations), "the limit");
    expectEqual(await store.getState(sessionId, "n"), limits.operations, "the count");
  }),

  storeCase("a pipeline answers each batch in order", async (store) => {
    const sessionId = newId();
    async function* batches(): AsyncGenerator<Operation[]> {
      for (let i = 0; i < 50; i += 1) {
        yield [
          { kind: "commit", sessionId, changes: [{ kind: "increment", key: "n", delta: 1 }] },
          { kind: "getState", sessionId, key: i % 10 === 3 ? "" : "n" },
        ];
        if (i % 7 === 0) {
          yield [];
        }
      }
    }
    const answers: Result[][] = [];
    for await (const results of store.pipeline(batches())) {
      answers.push(results);
    }
    const counts = answers.filter((results) => results.length > 0);
    expectEqual(answers.length - counts.length, 8, "the answers to batches of nothing");
    for (const [i, [commit, get]] of counts.entries()) {
      expectEqual(commit?.kind === "commit" && commit.entries[0]?.value, i + 1, "the count");
      const value = get?.kind === "getState" ? get.entry?.value : get?.kind === "error" && get.error.reason;
      expectEqual(value, i % 10 === 3 ? "INVALID_KEY" : i + 1, "what was read");
    }
    expectEqual(counts.length, 50, "the number of answers");
  }),

  storeCase("a pipeline answers a batch before the next is given", async (store) => {
    const sessionId = newId();
    const given = Array.from({ length: 4 }, () => Promise.withResolvers<Operation[] | undefined>());
    async function* batches(): AsyncGenerator<Operation[]> {
      for (const { promise } of given) {
        const operations = await promise;
        if (operations !== undefined) {
          yield operations;
        }
      }
    }
    const answers = store.pipeline(batches())[Symbol.asyncIterator]();
    for (let i = 1; i <= 3; i += 1) {
      given[i - 1]?.resolve([
        { kind: "commit", sessionId, changes: [{ kind: "increment", key: "n", delta: 1 }] },
      ]);
      const { value: results } = await answers.next();
      const [commit] = expectDefined(results as Result[] | undefined, "the answer");
      expectEqual(commit?.kind === "commit" && commit.entries[0]?.value, i, "the count");
    }
    given[3]?.resolve(undefined);
    expectEqual((await answers.next()).done, true, "the end");
  }),

  storeCase(
    "a batch over its limit ends a pipeline, and what was before stands",
    async (store, { limits }) => {
      const sessionId = newId();
      const add: Operation = {
        kind: "commit",
        sessionId,
        changes: [{ kind: "increment", key: "n", delta: 1 }],
      };
      async function* batches(): AsyncGenerator<Operation[]> {
        yield [add];
        yield Array.from({ length: limits.operations + 1 }, () => add);
        yield [add];
      }
      const answers = store.pipeline(batches())[Symbol.asyncIterator]();
      await answers.next();
      await expectReason(answers.next(), "REQUEST_TOO_LARGE");
      expectEqual(await store.getState(sessionId, "n"), 1, "the count");
    },
  ),

  storeCase("an abort ends a pipeline with the signal's reason", async (store) => {
    const sessionId = newId();
    const reason = new Error("enough");
    const ended = new AbortController();
    async function* batches(): AsyncGenerator<Operation[]> {
      yield [{ kind: "setState", sessionId, key: "a", value: 1 }];
      await new Promise(() => undefined);
    }
    const answers = store.pipeline(batches(), { signal: ended.signal })[Symbol.asyncIterator]();
    await answers.next();
    const next = answers.next();
    ended.abort(reason);
    await expectThrown(next, reason, "a pipeline that waits");
    expectEqual(await store.getState(sessionId, "a"), 1, "what was answered stands");
  }),
];
