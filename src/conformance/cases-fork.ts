/** Cases: forking a session, and restoring an older content. */
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEvents, mustGet, summary } from "./reading.ts";

/** What every store must do with forks and restores. */
export const forkCases: readonly ConformanceCase[] = [
  storeCase("a fork is a copy with a life of its own", async (store, { clock }) => {
    const [sessionId, newSessionId] = [newId(), newId("fork")];
    const content = { state: { a: 1, b: { x: [1] } }, workflowId: "w", userId: "u", labels: { l: "1" } };
    const origin = await store.saveSession({ sessionId, ...content });
    await clock.advance(2);
    const fork = await store.forkSession(sessionId, newSessionId);
    const { revision, createTime, updateTime, ...rest } = fork;
    const forkedFrom = { sessionId, revision: origin.revision };
    expectEqual(rest, { sessionId: newSessionId, ...content, forkedFrom }, "the fork");
    expectTrue(revision >= 1, "it has its own revisions");
    expectEqual(createTime, updateTime, "it is new");
    expectTrue(
      expectDefined(createTime, "create_time") > expectDefined(origin.createTime, "it"),
      "its own time",
    );
    expectEqual(await store.getSession(newSessionId), fork, "the fork read back");
    expectEqual(
      await store.getEntry(newSessionId, "a"),
      { key: "a", value: 1, revision, updateTime },
      "an entry",
    );
    await store.setState(newSessionId, "a", "fork");
    await store.setState(sessionId, "a", "origin");
    expectEqual(await store.getState(newSessionId, "a"), "fork", "the fork's value");
    expectEqual(await store.getState(sessionId, "a"), "origin", "the origin's value");
    expectEqual((await mustGet(store, newSessionId)).forkedFrom, forkedFrom, "its origin after a write");
    expectEqual((await mustGet(store, sessionId)).forkedFrom, undefined, "the origin is no fork");
    const saved = await store.saveSession({ sessionId: newSessionId, state: {} });
    expectEqual(saved.forkedFrom, forkedFrom, "its origin after a save");
  }),

  storeCase("a fork's history begins with the fork", async (store) => {
    const [sessionId, newSessionId] = [newId(), newId("fork")];
    await store.setState(sessionId, "a", 1);
    await store.setState(sessionId, "b", 2);
    const { revision } = await store.forkSession(sessionId, newSessionId, { requestId: "r" });
    const events = await allEvents(store, newSessionId);
    expectEqual(
      events.map(summary),
      [
        {
          kind: "FORKED",
          revision,
          entries: [
            ["a", 1],
            ["b", 2],
          ],
        },
      ],
      "the events",
    );
    expectEqual(events[0]?.requestId, "r", "its request id");
    expectEqual((await allEvents(store, sessionId)).length, 2, "the origin's events");
  }),

  storeCase("a fork can be made of the past", async (store) => {
    const sessionId = newId();
    const then = await store.saveSession({ sessionId, state: { a: 1 }, labels: { l: "1" } });
    await store.saveSession({ sessionId, state: { b: 2 } });
    const fork = await store.forkSession(sessionId, newId(), { atRevision: then.revision });
    expectEqual(fork.state, { a: 1 }, "the state");
    expectEqual(fork.labels, { l: "1" }, "the labels");
    expectEqual(fork.forkedFrom, { sessionId, revision: then.revision }, "its origin");
    await store.deleteSession(sessionId);
    const late = await store.forkSession(sessionId, newId(), { atRevision: then.revision });
    expectEqual(late.state, { a: 1 }, "a fork of the past of a deleted session");
    await expectReason(
      store.forkSession(sessionId, newId(), { atRevision: then.revision + 2 }),
      "SESSION_NOT_FOUND",
    );
    const nested = await store.forkSession(fork.sessionId, newId());
    expectEqual(
      nested.forkedFrom,
      { sessionId: fork.sessionId, revision: fork.revision },
      "a fork of a fork",
    );
  }),

  storeCase("a fork of a missing session and one over another fail", async (store) => {
    const [sessionId, other] = [newId(), newId()];
    const missing = await expectReason(store.forkSession(sessionId, other), "SESSION_NOT_FOUND");
    expectEqual(missing.code, "NOT_FOUND", "its code");
    expectEqual(await store.getSession(other), undefined, "nothing was made");
    await store.setState(sessionId, "a", 1);
    const kept = await store.setState(other, "a", "kept");
    const exists = await expectReason(store.forkSession(sessionId, other), "SESSION_EXISTS");
    expectEqual(exists.code, "ALREADY_EXISTS", "its code");
    expectEqual(await store.getEntry(other, "a"), kept, "the one that is there");
    await expectReason(store.forkSession(sessionId, sessionId), "SESSION_EXISTS");
    await store.deleteSession(other);
    const fork = await store.forkSession(sessionId, other);
    expectTrue(fork.revision > kept.revision + 1, "a fork over a deleted session goes on with its revisions");
    await store.deleteSession(sessionId);
    await expectReason(store.forkSession(sessionId, newId()), "SESSION_NOT_FOUND");
  }),

  storeCase("a fork can be given values in place of those that it copies", async (store) => {
    const [sessionId, newSessionId] = [newId(), newId("fork")];
    await store.saveSession({ sessionId, state: { a: 1, b: 2 } });
    const lease = await store.setState(sessionId, "lease", "old", { ttlMs: 3_600_000 });
    const values = { a: { x: 1 }, lease: "new", gone: 1 };
    const fork = await store.forkSession(sessionId, newSessionId, { values });
    expectEqual(fork.state, { a: { x: 1 }, b: 2, lease: "new" }, "the fork");
    expectEqual(await mustGet(store, newSessionId), fork, "the fork read back");
    const { expireTime } = expectDefined(await store.getEntry(newSessionId, "lease"), "the lease");
    expectEqual(expireTime, lease.expireTime, "its expiry");
    const [event] = (await allEvents(store, newSessionId)).map(summary);
    const told = Object.fromEntries(expectDefined(event, "the event").entries);
    expectEqual([event?.kind, told], ["FORKED", fork.state], "the event");
    expectEqual((await mustGet(store, sessionId)).state, { a: 1, b: 2, lease: "old" }, "the origin");
  }),

  storeCase("a restore can be given values in place of the old ones", async (store) => {
    const sessionId = newId();
    const then = await store.saveSession({ sessionId, state: { a: 1, b: 2 } });
    const other = await store.setState(sessionId, "a", "other");
    const same = await store.setState(sessionId, "b", 3);
    const values = { b: 3, gone: 1 };
    const restored = await store.restoreSession(sessionId, then.revision, { values });
    expectEqual(restored.state, { a: 1, b: 3 }, "the session");
    expectEqual(await mustGet(store, sessionId), restored, "the session read back");
    expectEqual((await store.getEntry(sessionId, "a"))?.revision, other.revision + 2, "what it changed");
    expectEqual(await store.getEntry(sessionId, "b"), same, "what it left as it was");
    const event = expectDefined((await allEvents(store, sessionId)).at(-1), "the event");
    expectEqual(summary(event).entries, [["a", 1]], "the event's entries");
  }),

  storeCase("a restore is a new revision with the old content", async (store, { clock }) => {
    const sessionId = newId();
    const content = { state: { a: 1, b: 2 }, workflowId: "w", userId: "u", labels: { l: "1" } };
    const then = await store.saveSession({ sessionId, ...content });
    await clock.advance(2);
    const now = await store.saveSession({ sessionId, state: { b: 2, c: 3 }, labels: { m: "2" } });
    await clock.advance(2);
    const restored = await store.restoreSession(sessionId, then.revision, { requestId: "r" });
    const { updateTime, ...rest } = restored;
    expectEqual(
      rest,
      { sessionId, ...content, createTime: then.createTime, revision: now.revision + 1 },
      "the session",
    );
    expectTrue(
      expectDefined(updateTime, "update_time") > expectDefined(now.updateTime, "it"),
      "update_time moves",
    );
    expectEqual(await store.getSession(sessionId), restored, "the session read back");
    const entry = expectDefined(await store.getEntry(sessionId, "a"), "the entry");
    expectEqual(entry.revision, restored.revision, "an entry that came back has a new revision");
    expectEqual(
      await store.getSession(sessionId, { atRevision: now.revision }),
      now,
      "what was undone is kept",
    );
    const event = expectDefined((await allEvents(store, sessionId)).at(-1), "the event");
    expectEqual(
      [event.kind, event.revision, event.requestId],
      ["RESTORED", restored.revision, "r"],
      "the event",
    );
    const told = new Map(event.entries.map(({ key, value }) => [key, value]));
    expectEqual([told.get("a"), told.has("c"), told.get("c")], [1, true, undefined], "its entries");
    const undone = await store.restoreSession(sessionId, now.revision);
    expectEqual(undone.state, now.state, "a restore can be undone");
    expectEqual([undone.workflowId, undone.labels], [undefined, { m: "2" }], "its metadata too");
  }),

  storeCase("a restore brings back a deleted session", async (store) => {
    const sessionId = newId();
    const then = await store.saveSession({ sessionId, state: { a: 1 }, userId: "u", labels: { l: "1" } });
    await store.deleteSession(sessionId);
    const restored = await store.restoreSession(sessionId, then.revision);
    expectEqual(restored.revision, then.revision + 2, "the revision");
    expectEqual(
      [restored.state, restored.userId, restored.labels],
      [{ a: 1 }, "u", { l: "1" }],
      "the content",
    );
    expectEqual(await store.getSession(sessionId), restored, "the session read back");
    expectEqual(await store.getState(sessionId, "a"), 1, "its value");
    expectTrue((await store.getAllSessionIds()).includes(sessionId), "it is listed");
  }),

  storeCase("a restore of what was not there fails", async (store) => {
    const sessionId = newId();
    const error = await expectReason(store.restoreSession(sessionId, 1), "SESSION_NOT_FOUND");
    expectEqual(error.code, "NOT_FOUND", "its code");
    const { revision } = await store.setState(sessionId, "a", 1);
    await store.deleteSession(sessionId);
    await expectReason(store.restoreSession(sessionId, revision + 1), "SESSION_NOT_FOUND");
    await store.setState(sessionId, "b", 1);
    await expectReason(store.restoreSession(sessionId, revision + 1), "SESSION_NOT_FOUND");
    expectEqual((await mustGet(store, sessionId)).state, { b: 1 }, "nothing was written");
  }),

  storeCase(
    "what expired is not brought back by a restore or a fork, also when the id is used again",
    async (store, { clock }) => {
      const sessionId = newId();
      const { revision } = await store.setState(sessionId, "a", 1);
      await store.commit(sessionId, { metadata: { ttlMs: 50 } });
      await clock.advance(60);
      await expectReason(store.restoreSession(sessionId, revision), "SESSION_NOT_FOUND");
      await expectReason(
        store.forkSession(sessionId, newId(), { atRevision: revision }),
        "SESSION_NOT_FOUND",
      );
      const again = await store.setState(sessionId, "b", 2);
      await expectReason(store.restoreSession(sessionId, revision), "SESSION_NOT_FOUND");
      await expectReason(
        store.forkSession(sessionId, newId(), { atRevision: revision }),
        "SESSION_NOT_FOUND",
      );
      expectEqual((await mustGet(store, sessionId)).state, { b: 2 }, "nothing came back");
      const restored = await store.restoreSession(sessionId, again.revision);
      expectEqual(restored.state, { b: 2 }, "its new life can be restored");
    },
  ),

  storeCase("a restore under if_revision writes only at that revision", async (store) => {
    const sessionId = newId();
    const first = await store.setState(sessionId, "a", 1);
    const second = await store.setState(sessionId, "a", 2);
    const stale = store.restoreSession(sessionId, first.revision, { ifRevision: first.revision });
    const { failedChecks } = await expectReason(stale, "REVISION_MISMATCH");
    expectEqual(
      failedChecks,
      [{ key: "", ifRevision: first.revision, actualRevision: second.revision }],
      "the failed check",
    );
    const restored = await store.restoreSession(sessionId, first.revision, { ifRevision: second.revision });
    expectEqual(restored.state, { a: 1 }, "the state");
  }),
];
