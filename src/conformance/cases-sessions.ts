/** Cases: creating, saving, reading and deleting whole sessions. */
import type { JsonValue, Session } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, allSessions, mustGet } from "./reading.ts";

/** What every store must do with whole sessions. */
export const sessionCases: readonly ConformanceCase[] = [
  storeCase("get of a missing session gives nothing", async (store) => {
    expectEqual(await store.getSession(newId()), undefined, "a missing session");
  }),

  storeCase("save creates", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({
      sessionId,
      state: { cart: { items: ["tea"] }, total: 3.5 },
      workflowId: "checkout",
      userId: "ada",
      labels: { tier: "gold", empty: "" },
    });
    expectEqual(saved.sessionId, sessionId, "the id");
    expectEqual(saved.state, { cart: { items: ["tea"] }, total: 3.5 }, "the state");
    expectEqual(saved.workflowId, "checkout", "the workflow");
    expectEqual(saved.userId, "ada", "the user");
    expectEqual(saved.labels, { tier: "gold", empty: "" }, "the labels");
    expectTrue(saved.revision >= 1, "the first revision is 1 or more");
    expectEqual(saved.expireTime, undefined, "no expiry");
    expectEqual(saved.forkedFrom, undefined, "not forked");
    expectEqual(await store.getSession(sessionId), saved, "the session read back");
  }),

  storeCase("a session saved with nothing but its id is there", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({ sessionId, state: {} });
    expectEqual(saved.state, {}, "the state");
    expectEqual(saved.labels, {}, "the labels");
    expectEqual(saved.workflowId, undefined, "the workflow");
    expectEqual(saved.userId, undefined, "the user");
    expectEqual(await store.getSession(sessionId), saved, "the session read back");
  }),

  storeCase("creation sets both times", async (store, { clock }) => {
    const ways: Record<string, (sessionId: string) => Promise<unknown>> = {
      save: (sessionId) => store.saveSession({ sessionId, state: { a: 1 } }),
      set: (sessionId) => store.setState(sessionId, "a", 1),
      commit: (sessionId) => store.commit(sessionId, { changes: [{ kind: "set", key: "a", value: 1 }] }),
    };
    for (const [way, create] of Object.entries(ways)) {
      const sessionId = newId(way);
      const before = clock.now();
      await create(sessionId);
      const after = clock.now();
      const { createTime, updateTime } = await mustGet(store, sessionId);
      expectTrue(createTime instanceof Date && updateTime instanceof Date, `both times are set by ${way}`);
      expectEqual(createTime, updateTime, `both times of a session made by ${way}`);
      expectTrue(
        createTime.getTime() >= before && createTime.getTime() <= after,
        `${way}: the store's clock`,
      );
    }
  }),

  storeCase("save moves update_time", async (store, { clock }) => {
    const sessionId = newId();
    const first = await store.saveSession({ sessionId, state: { a: 1 } });
    await clock.advance(5);
    const second = await store.saveSession({ sessionId, state: { a: 1 } });
    expectEqual(second.createTime, first.createTime, "the creation time");
    const moved = expectDefined(second.updateTime, "update_time").getTime();
    expectTrue(moved > expectDefined(first.updateTime, "update_time").getTime(), "update_time moves");
    expectEqual(second.revision, first.revision + 1, "a save always makes a revision");
    expectEqual(await store.getSession(sessionId), second, "the session read back");
  }),

  storeCase("every write moves update_time and none moves create_time", async (store, { clock }) => {
    const sessionId = newId();
    let { createTime, updateTime, revision } = await store.saveSession({ sessionId, state: { a: 1 } });
    const created = createTime;
    const writes: (() => Promise<unknown>)[] = [
      () => store.setState(sessionId, "b", 2),
      () => store.deleteState(sessionId, "b"),
      () => store.commit(sessionId, { changes: [{ kind: "increment", key: "a", delta: 1 }] }),
      () => store.commit(sessionId, { metadata: { workflowId: "w" } }),
      () => store.saveSession({ sessionId, state: { a: 5 } }),
      () => store.restoreSession(sessionId, revision),
    ];
    for (const [i, write] of writes.entries()) {
      const before = expectDefined(updateTime, "update_time").getTime();
      await clock.advance(2);
      await write();
      ({ createTime, updateTime, revision } = await mustGet(store, sessionId));
      expectTrue(expectDefined(updateTime, "update_time").getTime() > before, `write ${i} moves update_time`);
      expectEqual(createTime, created, `create_time after write ${i}`);
    }
  }),

  storeCase("save replaces the whole state and metadata", async (store) => {
    const sessionId = newId();
    await store.saveSession({
      sessionId,
      state: { a: 1, b: 2 },
      workflowId: "w",
      userId: "u",
      labels: { x: "1" },
    });
    await store.saveSession({ sessionId, state: { b: 3, c: 4 }, labels: { y: "2" } });
    const session = await mustGet(store, sessionId);
    expectEqual(session.state, { b: 3, c: 4 }, "the state");
    expectEqual(session.workflowId, undefined, "the workflow");
    expectEqual(session.userId, undefined, "the user");
    expectEqual(session.labels, { y: "2" }, "the labels");
  }),

  storeCase("save keeps the revision of entries that stay the same", async (store) => {
    const sessionId = newId();
    const first = await store.saveSession({ sessionId, state: { same: { a: [1, "x"] }, other: 1 } });
    const second = await store.saveSession({
      sessionId,
      state: { same: { a: [1, "x"] }, other: 2, more: 3 },
    });
    const revisions = (await allEntries(store, sessionId)).map(({ key, revision }) => [key, revision]);
    expectEqual(
      revisions,
      [
        ["more", second.revision],
        ["other", second.revision],
        ["same", first.revision],
      ],
      "the entries' revisions",
    );
  }),

  storeCase("save ignores what is the store's own", async (store) => {
    const sessionId = newId();
    const first = await store.saveSession({ sessionId, state: { a: 1 } });
    const forged: Session = {
      sessionId,
      state: { a: 2 },
      labels: {},
      revision: 4_000,
      createTime: new Date(0),
      updateTime: new Date(1),
      expireTime: new Date(2),
      forkedFrom: { sessionId: "elsewhere", revision: 3 },
    };
    const second = await store.saveSession(forged);
    expectEqual(second.revision, first.revision + 1, "the revision");
    expectEqual(second.createTime, first.createTime, "the creation time");
    expectTrue(expectDefined(second.updateTime, "update_time").getTime() > 1, "update_time is the store's");
    expectEqual(second.expireTime, undefined, "the expiry");
    expectEqual(second.forkedFrom, undefined, "the origin");
  }),

  storeCase("what was read can be saved as it is", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { a: [null, {}] }, workflowId: "w", labels: { l: "1" } });
    const read = await mustGet(store, sessionId);
    const saved = await store.saveSession(read);
    const { updateTime: _, ...rest } = read;
    const { updateTime: __, ...again } = saved;
    expectEqual(again, { ...rest, revision: read.revision + 1 }, "the session saved again");
  }),

  storeCase("save under if_revision writes only at that revision", async (store) => {
    const sessionId = newId();
    const none = await expectReason(
      store.saveSession({ sessionId, state: {} }, { ifRevision: 3 }),
      "REVISION_MISMATCH",
    );
    expectEqual(none.failedChecks, [{ key: "", ifRevision: 3, actualRevision: 0 }], "the failed check");
    expectEqual(await store.getSession(sessionId), undefined, "a refused save");
    const { revision } = await store.saveSession({ sessionId, state: { a: 1 } }, { ifRevision: 0 });
    const there = await expectReason(
      store.saveSession({ sessionId, state: { a: 2 } }, { ifRevision: 0 }),
      "REVISION_MISMATCH",
    );
    expectEqual(
      there.failedChecks,
      [{ key: "", ifRevision: 0, actualRevision: revision }],
      "the failed check",
    );
    const next = await store.saveSession({ sessionId, state: { a: 3 } }, { ifRevision: revision });
    expectEqual(next.revision, revision + 1, "the revision");
    expectEqual((await mustGet(store, sessionId)).state, { a: 3 }, "the state");
  }),

  storeCase("get takes only the keys with a prefix", async (store) => {
    const sessionId = newId();
    const state = { "cart:1": 1, "cart:2": 2, car: 3, Cart: 4, "🛒": 5 };
    const saved = await store.saveSession({ sessionId, state, workflowId: "w" });
    const cut = async (keyPrefix: string): Promise<Session | undefined> =>
      store.getSession(sessionId, { keyPrefix });
    expectEqual(await cut("cart:"), { ...saved, state: { "cart:1": 1, "cart:2": 2 } }, "a prefix");
    expectEqual(await cut("🛒"), { ...saved, state: { "🛒": 5 } }, "a prefix of four bytes");
    expectEqual(await cut("none"), { ...saved, state: {} }, "a prefix of no key");
    expectEqual(await cut(""), saved, "no prefix");
    expectEqual(await store.getSession(newId(), { keyPrefix: "a" }), undefined, "a missing session");
  }),

  storeCase("delete removes and says whether it did", async (store) => {
    const sessionId = newId();
    expectEqual(await store.deleteSession(sessionId), false, "delete of a missing session");
    await store.saveSession({ sessionId, state: { a: 1 } });
    expectEqual(await store.deleteSession(sessionId), true, "delete of a session");
    expectEqual(await store.deleteSession(sessionId), false, "delete of a deleted session");
  }),

  storeCase("a deleted session is gone from every read", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { a: 1 } });
    await store.deleteSession(sessionId);
    expectEqual(await store.getSession(sessionId), undefined, "getSession");
    expectEqual(await store.getState(sessionId, "a"), undefined, "getState");
    expectEqual(await store.getEntry(sessionId, "a"), undefined, "getEntry");
    expectEqual(await store.listState(sessionId), { entries: [], nextPageToken: "" }, "listState");
    expectEqual(await allSessions(store, { sessionIdPrefix: sessionId }), [], "listSessions");
    expectTrue(!(await store.getAllSessionIds()).includes(sessionId), "getAllSessionIds");
    const [read] = await store.batch([{ kind: "getSession", sessionId }]);
    expectEqual(read?.kind === "getSession" ? read.session : read, undefined, "batch");
  }),

  storeCase("delete under if_revision deletes only at that revision", async (store) => {
    const sessionId = newId();
    const { revision } = await store.saveSession({ sessionId, state: { a: 1 } });
    const error = await expectReason(
      store.deleteSession(sessionId, { ifRevision: revision + 1 }),
      "REVISION_MISMATCH",
    );
    const failed = { key: "", ifRevision: revision + 1, actualRevision: revision };
    expectEqual(error.failedChecks, [failed], "the failed check");
    expectEqual((await mustGet(store, sessionId)).revision, revision, "the revision after a refused delete");
    expectEqual(
      await store.deleteSession(sessionId, { ifRevision: revision }),
      true,
      "delete at the revision",
    );
    expectEqual(
      await store.deleteSession(sessionId, { ifRevision: 0 }),
      false,
      "delete of what is not there",
    );
    await expectReason(store.deleteSession(sessionId, { ifRevision: revision }), "REVISION_MISMATCH");
  }),

  storeCase(
    "a session made again after its deletion begins empty, and its revisions go on",
    async (store, { clock }) => {
      const sessionId = newId();
      const content = { state: { a: 1, b: 2 }, workflowId: "w", userId: "u", labels: { l: "1" } };
      const first = await store.saveSession({ sessionId, ...content }, { ttlMs: 60_000, idleTtlMs: 60_000 });
      const old = expectDefined(await store.getEntry(sessionId, "a"), "the entry");
      await store.deleteSession(sessionId);
      await clock.advance(2);
      const entry = await store.setState(sessionId, "c", 3);
      expectTrue(entry.revision > first.revision + 1, "the delete has a revision, and none is used twice");
      const { createTime, updateTime, ...rest } = await mustGet(store, sessionId);
      expectEqual(
        rest,
        { sessionId, state: { c: 3 }, labels: {}, revision: entry.revision },
        "the new session",
      );
      expectEqual(createTime, updateTime, "the times of the new session");
      expectTrue(
        expectDefined(createTime, "create_time") > expectDefined(first.createTime, "it"),
        "it is new",
      );
      await store.setState(sessionId, "a", 1);
      await expectReason(
        store.setState(sessionId, "a", 9, { ifRevision: old.revision }),
        "REVISION_MISMATCH",
      );
    },
  ),

  storeCase("revisions grow by one with every write, and not with what writes nothing", async (store) => {
    const sessionId = newId();
    let { revision } = await store.setState(sessionId, "a", 1);
    const at = async (): Promise<number> => (await store.getSession(sessionId))?.revision ?? 0;
    const step = async (by: 0 | 1, what: string, write: () => Promise<unknown>): Promise<void> => {
      await write().catch(() => undefined);
      revision += by;
      expectEqual(await at(), revision, `the revision after ${what}`);
    };
    await step(1, "a set", () => store.setState(sessionId, "a", 2));
    await step(1, "a set of the same", () => store.setState(sessionId, "a", 2));
    await step(1, "an increment by 0", () =>
      store.commit(sessionId, { changes: [{ kind: "increment", key: "a", delta: 0 }] }),
    );
    await step(1, "an append of nothing", () =>
      store.commit(sessionId, { changes: [{ kind: "append", key: "list", values: [] }] }),
    );
    await step(1, "a merge of nothing", () =>
      store.commit(sessionId, { changes: [{ kind: "merge", key: "object", value: {} }] }),
    );
    await step(1, "several changes at once", () =>
      store.commit(sessionId, {
        changes: [
          { kind: "set", key: "x", value: 1 },
          { kind: "set", key: "y", value: 1 },
          { kind: "delete", key: "x" },
        ],
      }),
    );
    await step(1, "a delete", () => store.deleteState(sessionId, "a"));
    await step(0, "a delete of nothing", () => store.deleteState(sessionId, "a"));
    await step(0, "a commit of nothing", () => store.commit(sessionId, {}));
    await step(0, "a commit of a delete of nothing", () =>
      store.commit(sessionId, { changes: [{ kind: "delete", key: "a" }] }),
    );
    await step(0, "a commit of empty metadata", () => store.commit(sessionId, { metadata: {} }));
    await step(1, "metadata that is the same", () => store.commit(sessionId, { metadata: { userId: "" } }));
    await step(0, "a failed check", () => store.setState(sessionId, "a", 1, { ifRevision: 1_000 }));
    await step(0, "a refused value", () => store.setState(sessionId, "a", Number.NaN));
    await step(1, "a save of the same", async () => store.saveSession(await mustGet(store, sessionId)));
    await step(1, "a restore", () => store.restoreSession(sessionId, revision));
  }),

  storeCase("all session ids", async (store, { limits }) => {
    expectEqual(await store.getAllSessionIds(), [], "no ids yet");
    // More than one page of the store's own, and ids whose UTF-16 order is another than that of their bytes.
    const count = Math.min(limits.pageSize, 1_000) + 5;
    const ids = Array.from({ length: count }, (_, i) => `s${String(i).padStart(5, "0")}`);
    ids.push("s｡", "s😀", "s\u00e9");
    const backwards = [...ids].reverse();
    for (let i = 0; i < backwards.length; i += limits.operations) {
      await store.batch(
        backwards
          .slice(i, i + limits.operations)
          .map((sessionId) => ({ kind: "setState", sessionId, key: "a", value: 1 as JsonValue })),
      );
    }
    const ordered = [...ids.slice(0, count), "s\u00e9", "s｡", "s😀"];
    expectEqual(await store.getAllSessionIds(), ordered, "all ids, in the order of their bytes");
    await store.deleteSession("s00001");
    expectEqual(
      await store.getAllSessionIds(),
      ordered.filter((id) => id !== "s00001"),
      "all ids without the deleted one",
    );
  }),
];
