/** Cases: what a store refuses because there is too much of it. The limits of values are with the values. */
import type { Change, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, mustGet, textOfBytes } from "./reading.ts";

/** Fills a session with `count` more entries, a commit of `step` at a time. */
async function fill(
  store: WorkflowStateStore,
  sessionId: string,
  from: number,
  count: number,
  step: number,
): Promise<void> {
  for (let i = from; i < from + count; i += step) {
    const changes = Array.from(
      { length: Math.min(step, from + count - i) },
      (_, j): Change => ({ kind: "set", key: `k${i + j}`, value: 1 }),
    );
    await store.commit(sessionId, { changes });
  }
}

/** What every store must refuse for its size. */
export const limitCases: readonly ConformanceCase[] = [
  storeCase("ids and keys are held to their bytes and their form", async (store, { limits }) => {
    const ofBytes = (bytes: number): string => "é".repeat(bytes / 2) + "x".repeat(bytes % 2);
    const longId = ofBytes(limits.sessionIdBytes - 20) + newId("").padEnd(20, "-").slice(0, 20);
    const longKey = ofBytes(limits.keyBytes);
    await store.setState(longId, longKey, 1);
    expectEqual(await store.getState(longId, longKey), 1, "the longest id and key");
    expectEqual((await mustGet(store, longId)).state, { [longKey]: 1 }, "the session");
    expectEqual(
      (await store.listState(longId, { keyPrefix: longKey })).entries.length,
      1,
      "the longest prefix",
    );
    const wrongIds = [`${longId}x`, "é".repeat(limits.sessionIdBytes), "\ud800", "a\udfff", "\udfff\ud800"];
    for (const sessionId of wrongIds) {
      const error = await expectReason(store.setState(sessionId, "a", 1), "INVALID_SESSION_ID");
      expectEqual(error.code, "INVALID_ARGUMENT", "its code");
      await expectReason(store.getSession(sessionId), "INVALID_SESSION_ID");
      await expectReason(store.saveSession({ sessionId, state: {} }), "INVALID_SESSION_ID");
      await expectReason(store.forkSession(longId, sessionId), "INVALID_SESSION_ID");
    }
    for (const key of [`${longKey}x`, "\ud800", "a\udfff"]) {
      const error = await expectReason(store.setState(longId, key, 1), "INVALID_KEY");
      expectEqual(error.code, "INVALID_ARGUMENT", "its code");
      await expectReason(store.getState(longId, key), "INVALID_KEY");
      await expectReason(store.deleteState(longId, key), "INVALID_KEY");
      await expectReason(store.saveSession({ sessionId: longId, state: { [key]: 1 } }), "INVALID_KEY");
      await expectReason(store.commit(longId, { changes: [{ kind: "delete", key }] }), "INVALID_KEY");
      await expectReason(store.commit(longId, { checks: [{ key, ifRevision: 0 }] }), "INVALID_KEY");
    }
    await store.deleteSession(longId);
  }),

  storeCase("a commit is held to its changes and its checks", async (store, { limits }) => {
    const sessionId = newId();
    const changes = (count: number): Change[] =>
      Array.from({ length: count }, () => ({ kind: "increment", key: "n", delta: 1 }));
    await store.commit(sessionId, { changes: changes(limits.changes) });
    expectEqual(await store.getState(sessionId, "n"), limits.changes, "as many changes as may be");
    const error = await expectReason(
      store.commit(sessionId, { changes: changes(limits.changes + 1) }),
      "REQUEST_TOO_LARGE",
    );
    expectEqual(
      [error.metadata["limit"], error.metadata["actual"], error.code],
      [String(limits.changes), String(limits.changes + 1), "RESOURCE_EXHAUSTED"],
      "what the error tells",
    );
    const checks = (count: number) => Array.from({ length: count }, () => ({ key: "none", ifRevision: 0 }));
    await store.commit(sessionId, { checks: checks(limits.checks) });
    const many = await expectReason(
      store.commit(sessionId, { checks: checks(limits.checks + 1) }),
      "REQUEST_TOO_LARGE",
    );
    expectEqual(many.metadata["limit"], String(limits.checks), "the limit of checks");
    expectEqual(await store.getState(sessionId, "n"), limits.changes, "the count");
  }),

  storeCase("a session is held to its entries", async (store, { limits }) => {
    const sessionId = newId();
    await fill(store, sessionId, 0, limits.entries, limits.changes);
    expectEqual((await allEntries(store, sessionId)).length, limits.entries, "as many as may be");
    const { revision } = await mustGet(store, sessionId);
    const error = await expectReason(store.setState(sessionId, "more", 1), "TOO_MANY_ENTRIES");
    expectEqual(error.code, "RESOURCE_EXHAUSTED", "its code");
    expectEqual(error.metadata["limit"], String(limits.entries), "the limit");
    const more: Change = { kind: "increment", key: "more", delta: 1 };
    await expectReason(
      store.commit(sessionId, { changes: [{ kind: "set", key: "k0", value: 2 }, more] }),
      "TOO_MANY_ENTRIES",
    );
    expectEqual((await mustGet(store, sessionId)).revision, revision, "the revision");
    await store.setState(sessionId, "k0", 3);
    await store.commit(sessionId, { changes: [more, { kind: "delete", key: "k1" }] });
    expectEqual(await store.getState(sessionId, "more"), 1, "one in place of another");
    const state = Object.fromEntries(Array.from({ length: limits.entries + 1 }, (_, i) => [`s${i}`, 1]));
    await expectReason(store.saveSession({ sessionId, state }), "TOO_MANY_ENTRIES");
    await store.deleteSession(sessionId);
    await store.setState(sessionId, "new", 1);
    expectEqual((await mustGet(store, sessionId)).state, { new: 1 }, "a new beginning has room");
  }),

  storeCase(
    "a session is held to the bytes of its keys and values, to the last of them",
    async (store, { limits, storedBytes = (bytes) => bytes }) => {
      const sessionId = newId();
      const most = Math.min(limits.valueBytes, Math.floor(limits.requestBytes / 2));
      let left = limits.sessionBytes;
      let count = 0;
      // What is left for the last one is never too little for a key and a text.
      for (let last = false; !last; count += 1) {
        const key = `é${count}`;
        const keyBytes = count.toString().length + 2;
        last = left <= 1_000;
        let bytes = last ? left : (left < 2 * most ? Math.ceil(left / 2) : most) - 100;
        while (last && storedBytes(bytes) > left - keyBytes) bytes -= 1;
        await store.setState(sessionId, key, textOfBytes(bytes));
        left -= storedBytes(bytes) + keyBytes;
      }
      const { revision } = expectDefined(await store.getEntry(sessionId, `é${count - 1}`), "the last entry");
      const one = await expectReason(store.setState(sessionId, "k", null), "SESSION_TOO_LARGE");
      expectEqual(one.code, "RESOURCE_EXHAUSTED", "its code");
      expectEqual(one.metadata["limit"], String(limits.sessionBytes), "the limit");
      const grow: Change = { kind: "set", key: `é${count - 1}`, value: textOfBytes(limits.valueBytes) };
      await expectReason(store.commit(sessionId, { changes: [grow] }), "SESSION_TOO_LARGE");
      expectEqual((await store.deleteState(sessionId, "none")).revision, revision, "the revision");
      await store.setState(sessionId, `é${count - 1}`, 1);
      await store.setState(sessionId, "k", "there is room again");
      await store.deleteSession(sessionId);
    },
  ),

  storeCase("a request is held to its bytes", async (store, { limits }) => {
    const sessionId = newId();
    await store.setState(sessionId, "before", 1);
    const size = Math.min(limits.valueBytes, limits.requestBytes) - 64;
    const count = Math.ceil(limits.requestBytes / size) + 1;
    const changes = Array.from(
      { length: count },
      (_, i): Change => ({ kind: "set", key: `k${i}`, value: "x".repeat(size) }),
    );
    expectTrue(count <= limits.changes, "the limits allow so many changes");
    const error = await expectReason(store.commit(sessionId, { changes }), "REQUEST_TOO_LARGE");
    expectEqual(error.code, "RESOURCE_EXHAUSTED", "its code");
    expectEqual((await mustGet(store, sessionId)).state, { before: 1 }, "nothing was written");
  }),
];
