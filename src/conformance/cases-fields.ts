/** Cases: requests that are wrong in themselves. */
import { type ConformanceCase, expectEqual, expectReason, expectTrue, newId, storeCase } from "./harness.ts";

/** What every store must refuse, whatever it holds. */
export const fieldCases: readonly ConformanceCase[] = [
  storeCase("required fields are enforced", async (store) => {
    const session = newId();
    const noId: (() => Promise<unknown>)[] = [
      () => store.getSession(""),
      () => store.saveSession({ sessionId: "", state: {} }),
      () => store.deleteSession(""),
      () => store.getState("", "a"),
      () => store.getEntry("", "a"),
      () => store.setState("", "a", 1),
      () => store.deleteState("", "a"),
      () => store.listState(""),
      () => store.commit("", { changes: [] }),
      () => store.forkSession("", session),
      () => store.forkSession(session, ""),
      () => store.restoreSession("", 1),
      () => store.listEvents(""),
      async () => store.watchSession("")[Symbol.asyncIterator]().next(),
    ];
    for (const call of noId) {
      await expectReason(call(), "INVALID_SESSION_ID");
    }
    const noKey: (() => Promise<unknown>)[] = [
      () => store.getState(session, ""),
      () => store.getEntry(session, ""),
      () => store.setState(session, "", 1),
      () => store.deleteState(session, ""),
      () => store.saveSession({ sessionId: session, state: { "": 1 } }),
      () => store.commit(session, { checks: [{ key: "", ifRevision: 0 }] }),
      () => store.commit(session, { changes: [{ kind: "set", key: "", value: 1 }] }),
      () => store.commit(session, { changes: [{ kind: "delete", key: "" }] }),
      () => store.commit(session, { changes: [{ kind: "increment", key: "", delta: 1 }] }),
      () => store.commit(session, { changes: [{ kind: "append", key: "", values: [] }] }),
      () => store.commit(session, { changes: [{ kind: "merge", key: "", value: {} }] }),
    ];
    for (const call of noKey) {
      await expectReason(call(), "INVALID_KEY");
    }
    await expectReason(store.setState(session, "a", undefined), "INVALID_VALUE");
    await expectReason(store.restoreSession(session, 0), "INVALID_REQUEST");
    expectEqual(await store.getAllSessionIds(), [], "nothing was written");
  }),

  storeCase("fields out of their range are refused by name", async (store) => {
    const session = newId();
    const long = "x".repeat(129);
    const wrong: [field: string, call: () => Promise<unknown>][] = [
      ["if_revision", () => store.setState(session, "a", 1, { ifRevision: -1 })],
      ["if_revision", () => store.setState(session, "a", 1, { ifRevision: 1.5 })],
      ["if_revision", () => store.saveSession({ sessionId: session, state: {} }, { ifRevision: -1 })],
      ["if_revision", () => store.deleteSession(session, { ifRevision: Number.NaN })],
      ["if_revision", () => store.commit(session, { ifRevision: 2 ** 53 })],
      ["at_revision", () => store.getSession(session, { atRevision: -1 })],
      ["at_revision", () => store.getEntry(session, "a", { atRevision: -1 })],
      ["at_revision", () => store.listState(session, { atRevision: -1 })],
      ["at_revision", () => store.restoreSession(session, -1)],
      ["after_revision", () => store.listEvents(session, { afterRevision: -1 })],
      ["page_size", () => store.listState(session, { pageSize: -1 })],
      ["page_size", () => store.listSessions({ pageSize: -1 })],
      ["page_size", () => store.listEvents(session, { pageSize: 0.5 })],
      ["ttl", () => store.setState(session, "a", 1, { ttlMs: -1 })],
      ["ttl", () => store.setState(session, "a", 1, { ttlMs: 36_500 * 86_400_000 + 1 })],
      ["ttl", () => store.saveSession({ sessionId: session, state: {} }, { ttlMs: Number.NaN })],
      ["idle_ttl", () => store.saveSession({ sessionId: session, state: {} }, { idleTtlMs: -5 })],
      ["request_id", () => store.setState(session, "a", 1, { requestId: long })],
      ["request_id", () => store.setState(session, "a", 1, { requestId: "\ud800" })],
    ];
    for (const [field, call] of wrong) {
      const error = await expectReason(call(), "INVALID_REQUEST");
      const named = error.metadata["field"] ?? "";
      expectTrue(named === field || named.endsWith(`.${field}`), `the error names ${field}, not ${named}`);
    }
    expectEqual(await store.getSession(session), undefined, "nothing was written");
  }),
];
