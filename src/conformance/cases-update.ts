/** Cases: changing a session's state as an object. */
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
import { allEvents, mustGet, summary } from "./reading.ts";

interface Cart {
  items: string[];
  total?: number;
  note?: { text: string };
}

/** What every store must do with updates. */
export const updateCases: readonly ConformanceCase[] = [
  storeCase("an update commits just what it changed, at once", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({
      sessionId,
      state: { items: ["tea"], note: { text: "x" }, same: 1 },
    });
    const answer = await store.update(sessionId, (cart: Cart) => {
      cart.items.push("milk");
      cart.total = 2;
      delete cart.note;
      return cart.items.length;
    });
    expectEqual(answer, 2, "what the change returned");
    expectEqual(
      (await mustGet(store, sessionId)).state,
      { items: ["tea", "milk"], total: 2, same: 1 },
      "the state",
    );
    const [event, ...more] = await allEvents(store, sessionId, { afterRevision: saved.revision });
    expectEqual(
      event && summary(event),
      {
        kind: "COMMITTED",
        revision: saved.revision + 1,
        entries: [
          ["items", ["tea", "milk"]],
          ["note", undefined],
          ["total", 2],
        ],
      },
      "the event",
    );
    expectEqual(more, [], "one commit");
  }),

  storeCase("an update of a missing session begins with an empty draft", async (store) => {
    const sessionId = newId();
    const draft = await store.update(sessionId, (state) => {
      expectEqual(Object.keys(state), [], "the keys of the draft");
      state["a"] = { b: [1] };
      return state;
    });
    expectEqual(draft, { a: { b: [1] } }, "the draft as it was returned");
    expectEqual((await mustGet(store, sessionId)).state, { a: { b: [1] } }, "the state");
  }),

  storeCase("an update that changes nothing, or throws, writes nothing", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({ sessionId, state: { a: { b: 1 } } });
    expectEqual(await store.update(sessionId, (state) => state["a"]), { b: 1 }, "what was read");
    await store.update(sessionId, () => undefined);
    const thrown = new Error("changed my mind");
    const change = store.update(sessionId, (state) => {
      state["a"] = 2;
      throw thrown;
    });
    await expectThrown(change, thrown, "an update whose change throws");
    const wrong = store.update(sessionId, (state: { a: unknown; c?: unknown }) => {
      state.a = 2;
      state.c = Number.NaN;
    });
    await expectReason(wrong, "INVALID_VALUE");
    const signal = AbortSignal.abort(thrown);
    await expectThrown(
      store.update(sessionId, () => 1, { signal }),
      thrown,
      "an aborted update",
    );
    expectEqual(await store.getSession(sessionId), saved, "the session");
    const missing = newId();
    await store.update(missing, () => undefined);
    expectEqual(await store.getSession(missing), undefined, "a missing session");
  }),

  storeCase("an update is done again when what it looked at was changed meanwhile", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { n: 1, other: 1 } });
    let runs = 0;
    await store.update(sessionId, async (state: { n: number }) => {
      runs += 1;
      const before = state.n;
      if (runs === 1) {
        await store.setState(sessionId, "n", 10);
      }
      state.n = before + 1;
    });
    expectEqual([runs, await store.getState(sessionId, "n")], [2, 11], "the runs and the result");
    runs = 0;
    await store.update(sessionId, async (state: { n: number }) => {
      runs += 1;
      state.n += 1;
      await store.setState(sessionId, "other", runs);
    });
    expectEqual([runs, await store.getState(sessionId, "n")], [1, 12], "a key that it did not look at");
    runs = 0;
    await store.update(sessionId, async (state) => {
      runs += 1;
      const count = Object.keys(state).length;
      if (runs === 1) {
        await store.setState(sessionId, "more", 1);
      }
      state["count"] = count;
    });
    expectEqual(
      [runs, await store.getState(sessionId, "count")],
      [2, 3],
      "a key beside all that it enumerated",
    );
  }),

  storeCase("an update gives up after its attempts", async (store) => {
    const sessionId = newId();
    await store.setState(sessionId, "n", 0);
    let runs = 0;
    const change = store.update(
      sessionId,
      async (state: { n: number }) => {
        runs += 1;
        state.n += 1;
        await store.setState(sessionId, "n", 100 * runs);
      },
      { attempts: 3 },
    );
    const error = await expectReason(change, "REVISION_MISMATCH");
    expectTrue(error.failedChecks.length > 0, "it tells what was in the way");
    expectEqual([runs, await store.getState(sessionId, "n")], [3, 300], "the runs and the value");
  }),

  storeCase("concurrent updates lose nothing", async (store) => {
    const [one, two] = [newId(), newId()];
    const add = (sessionId: string): Promise<unknown> =>
      store.update(sessionId, (state: { n?: number }) => {
        state.n = (state.n ?? 0) + 1;
      });
    const increment = (sessionId: string): Promise<unknown> =>
      store.commit(sessionId, { changes: [{ kind: "increment", key: "n", delta: 1 }] });
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => (i % 4 === 3 ? increment : add)(i % 2 === 0 ? one : two)),
    );
    expectEqual([await store.getState(one, "n"), await store.getState(two, "n")], [20, 20], "the counts");
  }),

  storeCase("an update clears the deadline of what it changed and of nothing else", async (store) => {
    const sessionId = newId();
    await store.setState(sessionId, "a", 1, { ttlMs: 3_600_000 });
    const other = await store.setState(sessionId, "b", 1, { ttlMs: 3_600_000 });
    await store.update(sessionId, (state: { a: number; b: number }) => {
      state.a += state.b;
    });
    const changed = expectDefined(await store.getEntry(sessionId, "a"), "the entry");
    expectEqual([changed.value, changed.expireTime], [2, undefined], "what was changed");
    expectEqual(await store.getEntry(sessionId, "b"), other, "what was only read");
  }),
];
