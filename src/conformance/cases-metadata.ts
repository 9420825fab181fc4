/** Cases: what a commit does to a session's metadata. */
import { type ConformanceCase, expectEqual, expectReason, newId, storeCase } from "./harness.ts";
import { allEvents, mustGet, summary } from "./reading.ts";

/** What every store must do with workflow, user and labels. Expiry has its own cases. */
export const metadataCases: readonly ConformanceCase[] = [
  storeCase("an absent metadata field leaves what was", async (store) => {
    const sessionId = newId();
    await store.saveSession({
      sessionId,
      state: { a: 1 },
      workflowId: "w",
      userId: "u",
      labels: { x: "1", y: "2" },
    });
    await store.commit(sessionId, { metadata: { workflowId: "w2" } });
    let session = await mustGet(store, sessionId);
    expectEqual([session.workflowId, session.userId], ["w2", "u"], "the workflow changed, the user not");
    expectEqual(session.labels, { x: "1", y: "2" }, "the labels");
    expectEqual(session.state, { a: 1 }, "the state");
    await store.commit(sessionId, { metadata: { userId: "u2", labels: { z: "3" } } });
    session = await mustGet(store, sessionId);
    expectEqual([session.workflowId, session.userId], ["w2", "u2"], "the user changed, the workflow not");
    expectEqual(session.labels, { z: "3" }, "all labels are replaced");
    await store.setState(sessionId, "b", 2);
    const after = await mustGet(store, sessionId);
    expectEqual([after.workflowId, after.userId, after.labels], ["w2", "u2", { z: "3" }], "after a set");
  }),

  storeCase("an empty metadata field clears it", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: {}, workflowId: "w", userId: "u", labels: { x: "1" } });
    await store.commit(sessionId, { metadata: { workflowId: "", userId: "", labels: {} } });
    const session = await mustGet(store, sessionId);
    expectEqual(session.workflowId, undefined, "the workflow");
    expectEqual(session.userId, undefined, "the user");
    expectEqual(session.labels, {}, "the labels");
    const saved = await store.saveSession({ sessionId, state: {}, workflowId: "", userId: "" });
    expectEqual([saved.workflowId, saved.userId], [undefined, undefined], "a save of empty fields");
  }),

  storeCase("metadata alone makes a session and a revision, with an event without entries", async (store) => {
    const sessionId = newId();
    const made = await store.commit(sessionId, { metadata: { labels: { l: "1" } } });
    const session = await mustGet(store, sessionId);
    expectEqual(session.state, {}, "the state");
    expectEqual(session.labels, { l: "1" }, "the labels");
    expectEqual(session.revision, made.revision, "the revision");
    const changed = await store.commit(sessionId, { metadata: { userId: "u" } });
    expectEqual(changed.revision, made.revision + 1, "the next revision");
    expectEqual(
      (await allEvents(store, sessionId)).map(summary),
      [made, changed].map(({ revision }) => ({ kind: "COMMITTED", revision, entries: [] })),
      "the events",
    );
  }),

  storeCase("the bounds of metadata hold", async (store) => {
    const sessionId = newId();
    const text = "x".repeat(256);
    const label = "l".repeat(128);
    const many = (count: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, ""]));
    const labels: Record<string, string> = { ...many(61), [label]: text, "é😀": "é😀" };
    Object.defineProperty(labels, "__proto__", { value: "own", enumerable: true });
    await store.commit(sessionId, { metadata: { workflowId: text, userId: text, labels } });
    const before = await mustGet(store, sessionId);
    expectEqual(before.labels, labels, "as many and as long as may be");
    expectEqual([before.workflowId, before.userId], [text, text], "as long as may be");
    const wrong: Record<string, unknown>[] = [
      { workflowId: `${text}x` },
      { userId: `${text}x` },
      { workflowId: "é".repeat(129) },
      { userId: "\udfff" },
      { labels: many(65) },
      { labels: { [`${label}l`]: "" } },
      { labels: { "": "x" } },
      { labels: { l: `${text}x` } },
      { labels: { l: "\ud800" } },
      { labels: { "\ud800": "l" } },
    ];
    for (const metadata of wrong) {
      await expectReason(store.commit(sessionId, { metadata }), "INVALID_REQUEST");
      await expectReason(store.saveSession({ sessionId, state: {}, ...metadata }), "INVALID_REQUEST");
    }
    expectEqual(await store.getSession(sessionId), before, "the session");
  }),

  storeCase("labels that are no plain object are refused, not taken for none", async (store) => {
    const sessionId = newId();
    const before = await store.saveSession({ sessionId, state: {}, labels: { l: "1" } });
    for (const wrong of [new Map([["l", "2"]]), ["l"], new (class Labels {})()]) {
      const labels = wrong as unknown as Record<string, string>;
      await expectReason(store.saveSession({ sessionId, state: {}, labels }), "INVALID_REQUEST");
      await expectReason(store.commit(sessionId, { metadata: { labels } }), "INVALID_REQUEST");
      await expectReason(store.listSessions({ labels }), "INVALID_REQUEST");
      await expectReason(
        (async () => {
          for await (const _ of store.watchSessions({ labels })) return;
        })(),
        "INVALID_REQUEST",
      );
    }
    expectEqual(await store.getSession(sessionId), before, "the session");
  }),
];
