/** Cases: checks and changes of a commit, all or nothing. */
import type { Change, JsonValue, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEvents, mustGet } from "./reading.ts";

/** What every store must do with commits. */
export const commitCases: readonly ConformanceCase[] = [
  storeCase("a commit creates the session", async (store) => {
    const sessionId = newId();
    const answer = await store.commit(sessionId, {
      changes: [
        { kind: "set", key: "a", value: 1 },
        { kind: "increment", key: "n", delta: 2 },
      ],
      metadata: { workflowId: "w" },
    });
    const session = await mustGet(store, sessionId);
    expectEqual(session.state, { a: 1, n: 2 }, "the state");
    expectEqual(session.workflowId, "w", "the workflow");
    expectEqual(answer.revision, session.revision, "the revision");
    expectEqual(answer.updateTime, session.updateTime, "the time");
    expectEqual(
      answer.entries,
      [await store.getEntry(sessionId, "a"), await store.getEntry(sessionId, "n")],
      "the entries",
    );
  }),

  storeCase("a commit that writes nothing creates nothing", async (store) => {
    const sessionId = newId();
    expectEqual(await store.commit(sessionId, {}), { revision: 0, entries: [] }, "an empty commit");
    const deleted = await store.commit(sessionId, { changes: [{ kind: "delete", key: "a" }] });
    expectEqual(deleted.revision, 0, "a commit of a delete of nothing");
    await store.commit(sessionId, { checks: [{ key: "a", ifRevision: 0 }], ifRevision: 0, metadata: {} });
    expectEqual(await store.getSession(sessionId), undefined, "the session");
    expectEqual(await allEvents(store, sessionId), [], "its events");
    const entry = await store.setState(sessionId, "a", 1);
    const { updateTime } = await mustGet(store, sessionId);
    const nothing = await store.commit(sessionId, { checks: [{ key: "a", ifRevision: entry.revision }] });
    expectEqual(nothing, { revision: entry.revision, updateTime, entries: [] }, "a commit of checks only");
  }),

  storeCase("a commit that found no session is replayed with its first answer", async (store, { clock }) => {
    const [sessionId, requestId] = [newId(), newId("request")];
    const remove = () => store.commit(sessionId, { requestId, changes: [{ kind: "delete", key: "a" }] });
    const from = clock.now();
    const first = await remove();
    expectEqual([first.revision, first.updateTime], [0, undefined], "no session");
    const gone = expectDefined(first.entries[0], "the entry").updateTime.getTime();
    expectTrue(gone >= from && gone <= clock.now(), "the time of the key's absence is the store's");
    await clock.advance(100);
    expectEqual(await remove(), first, "the answer later");
    await store.setState(sessionId, "a", 1);
    expectEqual(await remove(), first, "the answer when there is a session");
  }),

  storeCase("all changes of a commit have one revision and one time", async (store) => {
    const sessionId = newId();
    const first = await store.setState(sessionId, "a", 1);
    const answer = await store.commit(sessionId, {
      changes: [
        { kind: "set", key: "x", value: 1 },
        { kind: "append", key: "y", values: [1] },
        { kind: "merge", key: "z", value: { m: 1 } },
      ],
    });
    expectEqual(answer.revision, first.revision + 1, "the revision");
    for (const entry of answer.entries) {
      expectEqual(entry.revision, answer.revision, `the revision of ${entry.key}`);
      expectEqual(entry.updateTime, answer.updateTime, `the time of ${entry.key}`);
    }
  }),

  storeCase("changes apply in order", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { gone: 1, kept: "old" } });
    const answer = await store.commit(sessionId, {
      changes: [
        { kind: "set", key: "n", value: 10 },
        { kind: "increment", key: "n", delta: 5 },
        { kind: "delete", key: "gone" },
        { kind: "append", key: "list", values: [1] },
        { kind: "append", key: "list", values: [2, 3] },
        { kind: "set", key: "again", value: "first" },
        { kind: "delete", key: "again" },
        { kind: "increment", key: "again", delta: 1 },
        { kind: "merge", key: "o", value: { a: 1, b: 1 } },
        { kind: "merge", key: "o", value: { a: null, c: 2 } },
        { kind: "set", key: "late", value: 1 },
        { kind: "delete", key: "late" },
      ],
    });
    expectEqual(
      (await mustGet(store, sessionId)).state,
      { kept: "old", n: 15, list: [1, 2, 3], again: 1, o: { b: 1, c: 2 } },
      "the state",
    );
    expectEqual(
      answer.entries.map(({ key, value }) => [key, value]),
      [
        ["n", 15],
        ["gone", undefined],
        ["list", [1, 2, 3]],
        ["again", 1],
        ["o", { b: 1, c: 2 }],
        ["late", undefined],
      ],
      "each entry once, in the order first named, as it is after",
    );
    const gone = expectDefined(
      answer.entries.find(({ key }) => key === "gone"),
      "the deleted entry",
    );
    expectEqual(gone.value, undefined, "a deleted entry has no value");
    expectEqual(gone.revision, answer.revision, "the revision of a deleted entry");
  }),

  storeCase("all checks hold, or nothing is written and every failed one is told", async (store) => {
    const sessionId = newId();
    const a = await store.setState(sessionId, "a", 1);
    const b = await store.setState(sessionId, "b", 1);
    const error = await expectReason(
      store.commit(sessionId, {
        ifRevision: a.revision,
        checks: [
          { key: "a", ifRevision: a.revision },
          { key: "b", ifRevision: a.revision },
          { key: "none", ifRevision: 5 },
          { key: "absent", ifRevision: 0 },
          { key: "a", ifRevision: 0 },
        ],
        changes: [{ kind: "set", key: "a", value: 2 }],
        metadata: { workflowId: "w" },
      }),
      "REVISION_MISMATCH",
    );
    const failed = [...error.failedChecks].sort((x, y) => (x.key < y.key ? -1 : 1));
    expectEqual(
      failed,
      [
        { key: "", ifRevision: a.revision, actualRevision: b.revision },
        { key: "a", ifRevision: 0, actualRevision: a.revision },
        { key: "b", ifRevision: a.revision, actualRevision: b.revision },
        { key: "none", ifRevision: 5, actualRevision: 0 },
      ],
      "the failed checks",
    );
    const session = await mustGet(store, sessionId);
    expectEqual(session.revision, b.revision, "the revision");
    expectEqual(session.state, { a: 1, b: 1 }, "the state");
    expectEqual(session.workflowId, undefined, "the metadata");
    const answer = await store.commit(sessionId, {
      ifRevision: b.revision,
      checks: [
        { key: "a", ifRevision: a.revision },
        { key: "b", ifRevision: b.revision },
        { key: "absent", ifRevision: 0 },
      ],
      changes: [{ kind: "set", key: "a", value: 2 }],
    });
    expectEqual(answer.revision, b.revision + 1, "a commit whose checks hold");
  }),

  storeCase("checks look at the state before the commit's own changes", async (store) => {
    const sessionId = newId();
    await store.commit(sessionId, {
      checks: [{ key: "a", ifRevision: 0 }],
      changes: [{ kind: "set", key: "a", value: 1 }],
      ifRevision: 0,
    });
    expectEqual(await store.getState(sessionId, "a"), 1, "the value");
    await expectReason(store.commit(sessionId, { ifRevision: 0 }), "REVISION_MISMATCH");
  }),

  storeCase("commits on disjoint keys do not conflict", async (store) => {
    const sessionId = newId();
    const { revision } = await store.saveSession({ sessionId, state: { a: 1, b: 1 } });
    await store.commit(sessionId, {
      checks: [{ key: "a", ifRevision: revision }],
      changes: [{ kind: "set", key: "a", value: 2 }],
    });
    await store.commit(sessionId, {
      checks: [{ key: "b", ifRevision: revision }],
      changes: [{ kind: "set", key: "b", value: 2 }],
    });
    expectEqual((await mustGet(store, sessionId)).state, { a: 2, b: 2 }, "both commits");
    const stale = store.commit(sessionId, {
      ifRevision: revision,
      changes: [{ kind: "set", key: "c", value: 1 }],
    });
    await expectReason(stale, "REVISION_MISMATCH");
  }),

  storeCase("computed changes start from 0, [] and {}", async (store) => {
    const sessionId = newId();
    await store.commit(sessionId, {
      changes: [
        { kind: "increment", key: "n", delta: -1.5 },
        { kind: "append", key: "list", values: [] },
        { kind: "append", key: "items", values: [null, { a: 1 }] },
        { kind: "merge", key: "empty", value: {} },
        { kind: "merge", key: "object", value: { a: { b: null, c: 1 }, d: null } },
      ],
    });
    expectEqual(
      (await mustGet(store, sessionId)).state,
      { n: -1.5, list: [], items: [null, { a: 1 }], empty: {}, object: { a: { c: 1 } } },
      "the state",
    );
  }),

  storeCase("a computed change on another type writes nothing", async (store) => {
    const sessionId = newId();
    const values: Record<string, JsonValue> = { n: 1, s: "x", t: true, z: null, l: [1], o: { a: 1 } };
    const { revision } = await store.saveSession({ sessionId, state: values });
    const fits: Record<string, string> = { increment: "n", append: "l", merge: "o" };
    for (const key of Object.keys(values)) {
      const changes: Change[] = [
        { kind: "increment", key, delta: 1 },
        { kind: "append", key, values: [1] },
        { kind: "merge", key, value: { b: 1 } },
      ];
      for (const change of changes.filter(({ kind }) => fits[kind] !== key)) {
        const error = await expectReason(
          store.commit(sessionId, { changes: [{ kind: "set", key: "before", value: 1 }, change] }),
          "VALUE_TYPE_MISMATCH",
        );
        expectEqual(error.code, "FAILED_PRECONDITION", "its code");
      }
    }
    const within = store.commit(sessionId, {
      changes: [
        { kind: "set", key: "fresh", value: "text" },
        { kind: "increment", key: "fresh", delta: 1 },
      ],
    });
    await expectReason(within, "VALUE_TYPE_MISMATCH");
    const session = await mustGet(store, sessionId);
    expectEqual(session.state, values, "the state");
    expectEqual(session.revision, revision, "the revision");
  }),

  storeCase("an increment adds as numbers do", async (store) => {
    const sessionId = newId();
    const add = async (delta: number): Promise<JsonValue | undefined> =>
      (await store.commit(sessionId, { changes: [{ kind: "increment", key: "n", delta }] })).entries[0]
        ?.value;
    expectEqual(await add(0.1), 0.1, "0 + 0.1");
    expectEqual(await add(0.2), 0.1 + 0.2, "0.1 + 0.2");
    expectEqual(await add(-(0.1 + 0.2)), 0, "down to 0");
    expectEqual(await add(-0), 0, "0 + -0");
    expectEqual(await add(5e-324), 5e-324, "the smallest number");
  }),

  storeCase("a count that could not be kept exactly is refused", async (store) => {
    const sessionId = newId();
    const max = Number.MAX_SAFE_INTEGER;
    const add = (key: string, delta: number): Promise<unknown> =>
      store.commit(sessionId, { changes: [{ kind: "increment", key, delta }] });
    await store.saveSession({ sessionId, state: { up: max - 1, down: -max + 1, big: 1e308 } });
    await add("up", 1);
    await add("down", -1);
    const error = await expectReason(add("up", 1), "NUMBER_OUT_OF_RANGE");
    expectEqual(error.code, "OUT_OF_RANGE", "its code");
    await expectReason(add("down", -1), "NUMBER_OUT_OF_RANGE");
    await expectReason(add("big", 1e308), "NUMBER_OUT_OF_RANGE");
    await expectReason(add("big", 1), "NUMBER_OUT_OF_RANGE");
    await expectReason(add("big", 0.5), "NUMBER_OUT_OF_RANGE");
    await expectReason(add("new", 2 ** 53), "NUMBER_OUT_OF_RANGE");
    for (const delta of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      await expectReason(add("up", delta), "INVALID_VALUE");
    }
    expectEqual((await mustGet(store, sessionId)).state, { up: max, down: -max, big: 1e308 }, "the state");
    await add("up", -1);
    expectEqual(await store.getState(sessionId, "up"), max - 1, "and down again");
  }),

  storeCase("an append keeps the last max_items", async (store) => {
    const sessionId = newId();
    const append = async (values: JsonValue[], maxItems?: number): Promise<JsonValue | undefined> => {
      const change: Change = {
        kind: "append",
        key: "l",
        values,
        ...(maxItems === undefined ? {} : { maxItems }),
      };
      return (await store.commit(sessionId, { changes: [change] })).entries[0]?.value;
    };
    expectEqual(await append([1, 2, 3], 5), [1, 2, 3], "fewer than that");
    expectEqual(await append([4, 5], 5), [1, 2, 3, 4, 5], "just as many");
    expectEqual(await append([6], 5), [2, 3, 4, 5, 6], "one more");
    expectEqual(await append([7, 8, 9, 10], 2), [9, 10], "more given than kept");
    expectEqual(await append([11], 0), [9, 10, 11], "0: all");
    expectEqual(await append([12]), [9, 10, 11, 12], "absent: all");
    expectEqual(await append([], 1), [12], "nothing added, and cut");
  }),

  storeCase(
    "a key that is gone after a commit has the commit's revision and time",
    async (store, { clock }) => {
      const sessionId = newId();
      const remove = (...keys: string[]): ReturnType<WorkflowStateStore["commit"]> =>
        store.commit(sessionId, { changes: keys.map((key) => ({ kind: "delete", key })) });
      const begun = clock.now();
      const nothing = await remove("a");
      const { updateTime = 0, ...rest } = nothing.entries[0] ?? {};
      expectEqual(nothing.revision, 0, "there is no session");
      expectEqual(rest, { key: "a", revision: 0 }, "a key of no session");
      expectTrue(Number(updateTime) > 0, "it is gone since a time");
      await store.saveSession({ sessionId, state: { a: 1, b: 1 } });
      await remove("a");
      const change = { kind: "increment", key: "n", delta: 1 } as const;
      const keys = ["a", "b", "never"].map((key) => ({ kind: "delete", key }) as const);
      const written = await store.commit(sessionId, { changes: [...keys, change] });
      const gone = { revision: written.revision, updateTime: written.updateTime };
      expectEqual(
        written.entries.slice(0, 3),
        keys.map(({ key }) => ({ key, ...gone })),
        "keys removed by it, by another, and never there",
      );
      expectTrue(Number(written.updateTime) >= begun, "the time is the store's");
      await clock.advance(5);
      expectEqual(
        (await remove("a", "never")).entries,
        ["a", "never"].map((key) => ({ key, ...gone })),
        "where nothing was written, the session's last ones",
      );
    },
  ),

  storeCase("a merge is a JSON Merge Patch", async (store) => {
    // The vectors of RFC 7396, appendix A, less those whose target is no object.
    const vectors: [target: JsonValue, patch: JsonValue, result: JsonValue][] = [
      [{ a: "b" }, { a: "c" }, { a: "c" }],
      [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
      [{ a: "b" }, { a: null }, {}],
      [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
      [{ a: ["b"] }, { a: "c" }, { a: "c" }],
      [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
      [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
      [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
      [{ a: "b" }, { a: { b: "c" } }, { a: { b: "c" } }],
      [{ a: [1, null] }, { a: [null, { x: null }] }, { a: [null, { x: null }] }],
      [{ a: { b: { c: 1, d: 2 } } }, { a: { b: { c: null } } }, { a: { b: { d: 2 } } }],
      [{ a: 1 }, {}, { a: 1 }],
      [{ a: "b" }, ["c"], ["c"]],
      [{ a: "foo" }, null, null],
      [{ a: "foo" }, "bar", "bar"],
    ];
    const sessionId = newId();
    for (const [target, patch, result] of vectors) {
      await store.setState(sessionId, "o", target);
      const answer = await store.commit(sessionId, { changes: [{ kind: "merge", key: "o", value: patch }] });
      expectEqual(answer.entries[0]?.value, result, `${JSON.stringify(target)} + ${JSON.stringify(patch)}`);
      expectEqual(await store.getState(sessionId, "o"), result, "the value read back");
    }
    const own: JsonValue = JSON.parse('{"__proto__":{"a":1,"b":2},"constructor":1}');
    await store.setState(sessionId, "o", own);
    const patch: JsonValue = JSON.parse('{"__proto__":{"a":null,"c":3}}');
    await store.commit(sessionId, { changes: [{ kind: "merge", key: "o", value: patch }] });
    const merged: JsonValue = JSON.parse('{"__proto__":{"b":2,"c":3},"constructor":1}');
    expectEqual(await store.getState(sessionId, "o"), merged, "__proto__ is a member like any other");
    await store.commit(sessionId, { changes: [{ kind: "merge", key: "p", value: patch }] });
    expectEqual(await store.getState(sessionId, "p"), JSON.parse('{"__proto__":{"c":3}}'), "into nothing");
    expectEqual(Reflect.has({}, "c"), false, "no prototype is changed");
  }),

  storeCase("computed changes hold the value to its limits", async (store, { limits }) => {
    const sessionId = newId();
    const append = (key: string, values: JsonValue[]): Promise<unknown> =>
      store.commit(sessionId, { changes: [{ kind: "append", key, values }] });
    const half = "x".repeat(Math.floor(limits.valueBytes / 2));
    await append("bytes", [half]);
    await expectReason(append("bytes", [half]), "VALUE_TOO_LARGE");
    const merge = store.commit(sessionId, {
      changes: [
        { kind: "set", key: "object", value: { a: half } },
        { kind: "merge", key: "object", value: { b: half } },
      ],
    });
    await expectReason(merge, "VALUE_TOO_LARGE");
    const nulls = (count: number): JsonValue[] => Array.from({ length: count }, () => null);
    await append("nodes", nulls(limits.valueNodes - 2));
    await append("nodes", [null]);
    await expectReason(append("nodes", [null]), "INVALID_VALUE");
    await store.commit(sessionId, { changes: [{ kind: "append", key: "nodes", values: [1], maxItems: 1 }] });
    const deep = (levels: number): JsonValue => (levels === 1 ? 1 : [deep(levels - 1)]);
    await append("depth", [deep(limits.valueDepth - 1)]);
    await expectReason(append("depth", [deep(limits.valueDepth)]), "INVALID_VALUE");
    const { state } = await mustGet(store, sessionId);
    expectEqual(Object.keys(state).sort(), ["bytes", "depth", "nodes"], "the keys");
    expectEqual(state["nodes"], [1], "the list");
  }),
];
