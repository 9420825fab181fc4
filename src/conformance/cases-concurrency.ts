/** Cases: many writers at once. */
import { WorkflowStateError } from "../errors.ts";
import type { WorkflowStateStore } from "../store.ts";
import { type ConformanceCase, expectDefined, expectEqual, expectTrue, newId, storeCase } from "./harness.ts";
import { allEntries, mustGet } from "./reading.ts";

const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

/** Runs an attempt until it is not refused by its checks. */
async function untilItHolds<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!WorkflowStateError.is(error, "REVISION_MISMATCH")) {
        throw error;
      }
    }
  }
}

/** How much there is of two accounts. */
async function balance(store: WorkflowStateStore, sessionId: string): Promise<number> {
  const { state } = await mustGet(store, sessionId);
  return Number(state["from"]) + Number(state["to"]);
}

/** What every store must do for many writers at once. */
export const concurrencyCases: readonly ConformanceCase[] = [
  storeCase("100 concurrent sets on one session all land", async (store) => {
    const sessionId = newId();
    const entries = await Promise.all(times(100, (i) => store.setState(sessionId, `k${i}`, i)));
    const revisions = entries.map(({ revision }) => revision).sort((a, b) => a - b);
    const first = expectDefined(revisions[0], "the first revision");
    expectEqual(
      revisions,
      times(100, (i) => first + i),
      "each has its own revision, and none is left out",
    );
    const session = await mustGet(store, sessionId);
    expectEqual(session.state, Object.fromEntries(times(100, (i) => [`k${i}`, i])), "the state");
    expectEqual(session.revision, first + 99, "the revision");
    const read = await allEntries(store, sessionId);
    expectEqual(new Map(read.map((entry) => [entry.key, entry.revision])).size, 100, "the entries");
  }),

  storeCase("100 concurrent sets of one key leave the last one", async (store) => {
    const sessionId = newId();
    const entries = await Promise.all(times(100, (i) => store.setState(sessionId, "k", i)));
    const last = entries.reduce((a, b) => (a.revision > b.revision ? a : b));
    expectEqual(await store.getEntry(sessionId, "k"), last, "the entry of the last revision");
  }),

  storeCase("100 concurrent increments are all counted", async (store) => {
    const sessionId = newId();
    const answers = await Promise.all(
      times(100, (i) =>
        store.commit(sessionId, { changes: [{ kind: "increment", key: "n", delta: i % 3 }] }),
      ),
    );
    expectEqual(await store.getState(sessionId, "n"), 99, "the sum");
    expectEqual(new Set(answers.map(({ revision }) => revision)).size, 100, "the revisions");
  }),

  storeCase("100 concurrent appends all land, each once, as their answers say", async (store) => {
    const sessionId = newId();
    const answers = await Promise.all(
      times(100, (i) => store.commit(sessionId, { changes: [{ kind: "append", key: "l", values: [i] }] })),
    );
    const list = expectDefined(await store.getState<number[]>(sessionId, "l"), "the list");
    expectEqual(
      [...list].sort((a, b) => a - b),
      times(100, (i) => i),
      "each item once",
    );
    const ordered = [...answers].sort((a, b) => a.revision - b.revision);
    for (const [i, answer] of ordered.entries()) {
      expectEqual(answer.entries[0]?.value, list.slice(0, i + 1), "the list as a commit left it");
    }
  }),

  storeCase("concurrent merges of different members all land", async (store) => {
    const sessionId = newId();
    await Promise.all(
      times(40, (i) =>
        store.commit(sessionId, { changes: [{ kind: "merge", key: "o", value: { [`m${i}`]: i } }] }),
      ),
    );
    const merged = Object.fromEntries(times(40, (i) => [`m${i}`, i]));
    expectEqual(await store.getState(sessionId, "o"), merged, "the object");
  }),

  storeCase("of many who take a key under a check of 0, one gets it", async (store) => {
    const sessionId = newId();
    const taken = await Promise.allSettled(
      times(30, (i) => store.setState(sessionId, "k", i, { ifRevision: 0 })),
    );
    const won = taken.flatMap((result, i) =>
      result.status === "fulfilled" ? [{ i, entry: result.value }] : [],
    );
    expectEqual(won.length, 1, "the winners");
    expectEqual(won[0]?.entry.value, won[0]?.i, "its answer");
    expectEqual(await store.getEntry(sessionId, "k"), won[0]?.entry, "the entry");
    for (const result of taken) {
      expectTrue(
        result.status === "fulfilled" || WorkflowStateError.is(result.reason, "REVISION_MISMATCH"),
        "the others are told why",
      );
    }
  }),

  storeCase("of many who create a session, one does", async (store) => {
    const [sessionId, origin] = [newId(), newId()];
    await store.setState(origin, "a", "origin");
    const settled = await Promise.allSettled([
      ...times(10, (i) => store.saveSession({ sessionId, state: { a: i } }, { ifRevision: 0 })),
      ...times(10, () => store.forkSession(origin, sessionId)),
    ]);
    expectEqual(settled.filter(({ status }) => status === "fulfilled").length, 1, "the winners");
  }),

  storeCase("read, change and write under a check loses no update", async (store) => {
    const sessionId = newId();
    await store.setState(sessionId, "n", 0);
    await Promise.all(
      times(20, () =>
        untilItHolds(async () => {
          const entry = expectDefined(await store.getEntry(sessionId, "n"), "the entry");
          await store.setState(sessionId, "n", Number(entry.value) + 1, { ifRevision: entry.revision });
        }),
      ),
    );
    expectEqual(await store.getState(sessionId, "n"), 20, "the count");
  }),

  storeCase("a read sees a commit whole or not at all", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { from: 100, to: 0 } });
    const transfer = (): Promise<unknown> =>
      store.commit(sessionId, {
        changes: [
          { kind: "increment", key: "from", delta: -1 },
          { kind: "increment", key: "to", delta: 1 },
        ],
      });
    await Promise.all(
      times(60, async (i) => {
        if (i % 2 === 0) {
          await transfer();
        }
        expectEqual(await balance(store, sessionId), 100, "the sum, whenever it is read");
      }),
    );
    expectEqual((await mustGet(store, sessionId)).state, { from: 70, to: 30 }, "the accounts");
  }),

  storeCase("a read after an acknowledged write sees it", async (store) => {
    const sessionId = newId();
    await Promise.all(
      times(20, async (worker) => {
        for (let i = 1; i <= 5; i += 1) {
          const entry = await store.setState(sessionId, `w${worker}`, i);
          const session = await mustGet(store, sessionId);
          expectTrue(session.revision >= entry.revision, "the revision does not go back");
          expectEqual(session.state[`w${worker}`], i, "the session has what was written");
          expectEqual(await store.getState(sessionId, `w${worker}`), i, "and so has the entry");
        }
      }),
    );
    expectEqual(Object.keys((await mustGet(store, sessionId)).state).length, 20, "the entries");
  }),

  storeCase("deletions and creations in a race never give a revision twice", async (store) => {
    const sessionId = newId();
    const revisions: number[] = [];
    await Promise.all(
      times(10, async (worker) => {
        for (let i = 0; i < 5; i += 1) {
          if ((worker + i) % 3 === 0) {
            await store.deleteSession(sessionId);
          } else {
            revisions.push((await store.setState(sessionId, "k", worker)).revision);
          }
        }
      }),
    );
    expectEqual(new Set(revisions).size, revisions.length, "each write has its own revision");
  }),
];
