/** Cases: following one session. */
import type { JsonValue, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectEqual,
  expectReason,
  expectThrown,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEvents, applyEvent, mustGet, summary, watching } from "./reading.ts";

/** Adds one to a key. */
function add(
  store: WorkflowStateStore,
  sessionId: string,
  key: string,
): Promise<{ readonly revision: number }> {
  return store.commit(sessionId, { changes: [{ kind: "increment", key, delta: 1 }] });
}

/** What every store must do for those who watch a session. */
export const watchCases: readonly ConformanceCase[] = [
  storeCase("a watch begins with a snapshot and goes on with every commit, in order", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({
      sessionId,
      state: { a: 1 },
      workflowId: "w",
      labels: { l: "1" },
    });
    await watching(store, sessionId, {}, async (watch) => {
      expectEqual(await watch.snapshot(), saved, "the snapshot");
      const entry = await store.setState(sessionId, "b", { c: [1] }, { requestId: "r" });
      const event = await watch.event();
      expectEqual(
        event,
        {
          sessionId,
          revision: entry.revision,
          time: entry.updateTime,
          kind: "COMMITTED",
          entries: [entry],
          requestId: "r",
        },
        "the event",
      );
      await store.deleteState(sessionId, "a");
      await store.saveSession({ sessionId, state: { b: { c: [1] }, d: 1 } });
      await store.restoreSession(sessionId, saved.revision);
      const events = await watch.events(3);
      expectEqual(
        events.map(({ kind }) => kind),
        ["COMMITTED", "SAVED", "RESTORED"],
        "the kinds",
      );
      expectEqual(
        events.map(({ revision }) => revision),
        [1, 2, 3].map((i) => entry.revision + i),
        "the revisions",
      );
      expectEqual(
        [event, ...events],
        await allEvents(store, sessionId, { afterRevision: saved.revision }),
        "all",
      );
    });
  }),

  storeCase("the snapshot of a missing session has revision 0 and no times", async (store) => {
    const sessionId = newId();
    await watching(store, sessionId, {}, async (watch) => {
      expectEqual(await watch.snapshot(), { sessionId, state: {}, labels: {}, revision: 0 }, "the snapshot");
      const entry = await store.setState(sessionId, "a", 1);
      const made = { kind: "COMMITTED", revision: entry.revision, entries: [["a", 1]] };
      expectEqual(summary(await watch.event()), made, "the session's first event");
    });
    expectTrue((await mustGet(store, sessionId)).revision >= 1, "the session is there");
  }),

  storeCase("a watch resumes after a revision without a gap", async (store) => {
    const sessionId = newId();
    const { revision: first } = await add(store, sessionId, "n");
    const seen: number[] = [];
    let afterRevision = first;
    for (let i = 0; i < 5; i += 1) {
      await add(store, sessionId, "n");
      await add(store, sessionId, "n");
      await watching(store, sessionId, { afterRevision }, async (watch) => {
        seen.push(...(await watch.events(2)).map(({ revision }) => revision));
      });
      afterRevision = seen.at(-1) ?? 0;
    }
    expectEqual(
      seen,
      Array.from({ length: 10 }, (_, i) => first + 1 + i),
      "each revision once",
    );
  }),

  storeCase("a watch after revision 0 begins with the session's first event", async (store) => {
    const sessionId = newId();
    const { revision } = await store.setState(sessionId, "a", 1);
    await watching(store, sessionId, { afterRevision: 0 }, async (watch) => {
      const event = await watch.event();
      expectEqual(summary(event), { kind: "COMMITTED", revision, entries: [["a", 1]] }, "the event");
    });
    const missing = newId();
    await watching(store, missing, { afterRevision: 0 }, async (watch) => {
      const next = watch.event();
      await store.setState(missing, "a", 1);
      expectEqual((await next).entries[0]?.key, "a", "the event of a session that was missing");
    });
  }),

  storeCase("a watch waits for what is to come", async (store) => {
    const sessionId = newId();
    const { revision } = await add(store, sessionId, "n");
    await watching(store, sessionId, { afterRevision: revision }, async (watch) => {
      for (let i = 1; i <= 3; i += 1) {
        const next = watch.event();
        await add(store, sessionId, "n");
        expectEqual((await next).revision, revision + i, "the event");
      }
    });
  }),

  storeCase("a watch sees a commit whole", async (store) => {
    const sessionId = newId();
    const { revision } = await add(store, sessionId, "n");
    await watching(store, sessionId, { afterRevision: revision }, async (watch) => {
      for (let i = 0; i < 3; i += 1) {
        await store.commit(sessionId, {
          changes: [
            { kind: "set", key: "x", value: i },
            { kind: "set", key: "y", value: -i },
            { kind: "delete", key: "n" },
            { kind: "set", key: "gone", value: 1 },
            { kind: "delete", key: "gone" },
          ],
        });
        const entries = new Map((await watch.event()).entries.map(({ key, value }) => [key, value]));
        expectEqual([entries.get("x"), entries.get("y")], [i, -i + 0], "both keys in one event");
        expectEqual(entries.get("gone"), undefined, "entries are as they are after the commit");
      }
    });
  }),

  storeCase("a watch with a prefix leaves the rest out", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { "a:1": 1, b: 2 } });
    await watching(store, sessionId, { keyPrefix: "a:" }, async (watch) => {
      expectEqual((await watch.snapshot()).state, { "a:1": 1 }, "the snapshot");
      await store.setState(sessionId, "b", 3);
      await store.commit(sessionId, { metadata: { userId: "u" } });
      const { revision } = await store.commit(sessionId, {
        changes: [
          { kind: "set", key: "b", value: 4 },
          { kind: "set", key: "a:2", value: 5 },
          { kind: "delete", key: "a:1" },
        ],
      });
      const mixed = {
        kind: "COMMITTED",
        revision,
        entries: [
          ["a:1", undefined],
          ["a:2", 5],
        ],
      };
      expectEqual(summary(await watch.event()), mixed, "only what has the prefix");
      await store.setState(sessionId, "b", 5);
      await store.deleteSession(sessionId);
      expectEqual((await watch.event()).kind, "DELETED", "a deletion is told to all");
      await store.setState(sessionId, "b", 6);
      await store.setState(sessionId, "a:", 7);
      expectEqual(summary(await watch.event()).entries, [["a:", 7]], "the next with the prefix");
    });
  }),

  storeCase("a watch outlives a deletion", async (store) => {
    const sessionId = newId();
    const { revision } = await store.saveSession({ sessionId, state: { a: 1 } });
    await watching(store, sessionId, {}, async (watch) => {
      await watch.snapshot();
      await store.deleteSession(sessionId);
      await store.setState(sessionId, "b", 1);
      await store.deleteSession(sessionId);
      expectEqual(
        (await watch.events(3)).map(summary),
        [
          { kind: "DELETED", revision: revision + 1, entries: [] },
          { kind: "COMMITTED", revision: revision + 2, entries: [["b", 1]] },
          { kind: "DELETED", revision: revision + 3, entries: [] },
        ],
        "the events",
      );
    });
    await watching(store, sessionId, {}, async (watch) => {
      const { createTime, updateTime, ...rest } = await watch.snapshot();
      expectEqual([createTime, updateTime, rest.state], [undefined, undefined, {}], "the snapshot after it");
      const next = watch.event();
      const entry = await store.setState(sessionId, "c", 1);
      expectEqual((await next).revision, entry.revision, "the event after it");
    });
  }),

  storeCase("expiries are events of a watch", async (store, { clock }) => {
    const sessionId = newId();
    const { revision } = await store.saveSession({ sessionId, state: { a: 1 } });
    await watching(store, sessionId, { afterRevision: revision }, async (watch) => {
      await store.setState(sessionId, "lease", 1, { ttlMs: 20 });
      await watch.event();
      await clock.advance(25);
      // Nobody writes: the store tells by itself.
      const key = { kind: "EXPIRED", revision: revision + 2, entries: [["lease", undefined]] };
      expectEqual(summary(await watch.event()), key, "the expiry of a key");
      await store.commit(sessionId, { metadata: { ttlMs: 20 } });
      await watch.event();
      await clock.advance(25);
      const whole = { kind: "EXPIRED", revision: revision + 4, entries: [] };
      expectEqual(summary(await watch.event()), whole, "the expiry of the session");
    });
  }),

  storeCase("a slow reader misses nothing", async (store, { history }) => {
    const sessionId = newId();
    const { revision } = await add(store, sessionId, "n");
    await watching(store, sessionId, {}, async (watch) => {
      await watch.snapshot();
      for (let i = 0; i < history - 1; i += 1) {
        await add(store, sessionId, "n");
      }
      expectEqual(
        (await watch.events(history - 1)).map((event) => [event.revision, event.entries[0]?.value]),
        Array.from({ length: history - 1 }, (_, i) => [revision + 1 + i, 2 + i]),
        "all events, each with its own value",
      );
    });
  }),

  storeCase(
    "a reader behind what is kept is told so, after a gap-free beginning",
    async (store, { history }) => {
      const sessionId = newId();
      const { revision } = await add(store, sessionId, "n");
      const more = 3 * history;
      await watching(store, sessionId, {}, async (watch) => {
        await watch.snapshot();
        for (let i = 0; i < more; i += 1) {
          await add(store, sessionId, "n");
        }
        // What a network holds on the way may reach the reader; but what does is without a gap, and a gap is an error.
        for (let i = 1; i <= more; i += 1) {
          const next = await watch.event().catch((error: unknown) => error);
          if (next instanceof Error) {
            await expectReason(Promise.reject(next), "HISTORY_COMPACTED");
            return;
          }
          expectEqual((next as { revision?: number }).revision, revision + i, "the events are without a gap");
        }
      });
    },
  ),

  storeCase("a watch from before what is kept fails", async (store, { history }) => {
    const sessionId = newId();
    let revision = 0;
    for (let i = 0; i < history + 3; i += 1) {
      ({ revision } = await add(store, sessionId, "n"));
    }
    await watching(store, sessionId, { afterRevision: revision - history - 1 }, async (watch) => {
      const error = await expectReason(watch.next(), "HISTORY_COMPACTED");
      expectEqual(
        error.metadata["oldest_revision"],
        String(revision - history + 1),
        "the oldest that is kept",
      );
    });
    await watching(store, sessionId, { afterRevision: revision - history }, async (watch) => {
      expectEqual((await watch.event()).revision, revision - history + 1, "the oldest that is kept");
    });
  }),

  storeCase("many watch one session, each at its own pace", async (store) => {
    const sessionId = newId();
    const { revision } = await add(store, sessionId, "n");
    const expected = [1, 2, 3].map((i) => revision + i);
    await watching(store, sessionId, {}, (slow) =>
      watching(store, sessionId, { afterRevision: revision }, (fast) =>
        watching(store, sessionId, { keyPrefix: "n" }, async (part) => {
          await part.snapshot();
          await slow.snapshot();
          for (const next of expected) {
            await add(store, sessionId, "n");
            expectEqual((await fast.event()).revision, next, "the fast reader");
          }
          expectEqual(
            (await slow.events(3)).map((event) => event.revision),
            expected,
            "the slow reader",
          );
          expectEqual(
            (await part.events(3)).map((event) => event.revision),
            expected,
            "the third reader",
          );
        }),
      ),
    );
  }),

  storeCase(
    "a snapshot and the events after it give the state while others write",
    async (store, { history }) => {
      const sessionId = newId();
      await store.saveSession({ sessionId, state: { n: 0 } });
      const rounds = Math.min(history - 1, 20);
      await watching(store, sessionId, {}, async (watch) => {
        const writes = Array.from({ length: rounds }, (_, i) =>
          store.commit(sessionId, {
            changes: [
              { kind: "increment", key: "n", delta: 1 },
              { kind: "set", key: `k${i % 3}`, value: i },
            ],
          }),
        );
        const snapshot = await watch.snapshot();
        const last = Math.max(...(await Promise.all(writes)).map(({ revision }) => revision));
        const state = new Map<string, JsonValue>(Object.entries(snapshot.state));
        for (let at = snapshot.revision; at < last; at += 1) {
          const event = await watch.event();
          expectEqual(event.revision, at + 1, "the events are without a gap");
          applyEvent(state, event);
        }
        expectEqual(Object.fromEntries(state), (await mustGet(store, sessionId)).state, "the state");
      });
    },
  ),

  storeCase("an abort ends a watch with the signal's reason", async (store) => {
    const sessionId = newId();
    await add(store, sessionId, "n");
    const reason = new Error("enough");
    const waiting = new AbortController();
    const messages = store.watchSession(sessionId, { signal: waiting.signal })[Symbol.asyncIterator]();
    const { value: first } = await messages.next();
    expectEqual(first?.kind, "snapshot", "the first message");
    const next = (async (): Promise<void> => {
      for (;;) {
        const { done } = await messages.next();
        expectTrue(done !== true, "an aborted watch throws");
      }
    })();
    waiting.abort(reason);
    await expectThrown(next, reason, "a watch that waits");
    const before = AbortSignal.abort(reason);
    const never = async (): Promise<unknown> =>
      store.watchSession(sessionId, { signal: before })[Symbol.asyncIterator]().next();
    await expectThrown(never(), reason, "a watch aborted before it began");
  }),

  storeCase("a watch that is left ends", async (store) => {
    const sessionId = newId();
    await add(store, sessionId, "n");
    for await (const message of store.watchSession(sessionId)) {
      expectEqual(message.kind, "snapshot", "the first message");
      break;
    }
    const messages = store.watchSession(sessionId)[Symbol.asyncIterator]();
    await messages.next();
    await messages.return?.();
    expectEqual((await messages.next()).done, true, "a watch that was left");
    await add(store, sessionId, "n");
  }),
];
