/** Cases: reading the past of a session, and its events. */
import type { JsonValue, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, allEvents, applyEvent, mustGet, summary } from "./reading.ts";

/** Counts `n` up until the session has so many more revisions; returns the last. */
async function age(store: WorkflowStateStore, sessionId: string, revisions: number): Promise<number> {
  let revision = 0;
  for (let i = 0; i < revisions; i += 1) {
    ({ revision } = await store.commit(sessionId, { changes: [{ kind: "increment", key: "n", delta: 1 }] }));
  }
  return revision;
}

/** What every store must keep of the past. */
export const historyCases: readonly ConformanceCase[] = [
  storeCase("a session reads as it was at each kept revision", async (store, { clock }) => {
    const sessionId = newId();
    const first = await store.saveSession({ sessionId, state: { a: 1, b: { x: [1] } }, workflowId: "w" });
    await clock.advance(2);
    const second = await store.saveSession({ sessionId, state: { a: 1, c: 3 }, labels: { l: "1" } });
    await clock.advance(2);
    await store.deleteState(sessionId, "a");
    const third = await mustGet(store, sessionId);
    await clock.advance(2);
    await store.commit(sessionId, { changes: [{ kind: "increment", key: "c", delta: 1 }] });
    const fourth = await mustGet(store, sessionId);
    for (const session of [first, second, third, fourth]) {
      const { revision: atRevision } = session;
      expectEqual(await store.getSession(sessionId, { atRevision }), session, `revision ${atRevision}`);
      expectEqual(
        Object.fromEntries((await allEntries(store, sessionId, { atRevision })).map((e) => [e.key, e.value])),
        session.state,
        `the list at revision ${atRevision}`,
      );
    }
    expectEqual(
      await store.getSession(sessionId, { atRevision: first.revision, keyPrefix: "b" }),
      { ...first, state: { b: { x: [1] } } },
      "a prefix of the past",
    );
  }),

  storeCase("an entry reads as it was at each kept revision", async (store, { clock }) => {
    const sessionId = newId();
    const first = await store.setState(sessionId, "a", [1]);
    await clock.advance(2);
    const { revision: other } = await store.setState(sessionId, "b", 1);
    await clock.advance(2);
    const second = await store.setState(sessionId, "a", [2]);
    const { revision: deleted } = await store.deleteState(sessionId, "a");
    const at = (atRevision: number): Promise<unknown> => store.getEntry(sessionId, "a", { atRevision });
    expectEqual(await at(first.revision), first, "at its first revision");
    expectEqual(await at(other), first, "at a revision that did not touch it");
    expectEqual(await at(second.revision), second, "at its second revision");
    expectEqual(await at(deleted), undefined, "at its deletion");
    expectEqual(await store.getState(sessionId, "a", { atRevision: other }), [1], "its value alone");
    expectEqual(
      await store.getState(sessionId, "b", { atRevision: first.revision }),
      undefined,
      "not yet there",
    );
    const listed = await allEntries(store, sessionId, { atRevision: second.revision, pageSize: 1 });
    expectEqual(
      listed.map(({ key }) => key),
      ["a", "b"],
      "a deleted key is in the list of the past",
    );
    expectEqual(listed[0], second, "the listed entry");
    const reversed = await allEntries(store, sessionId, {
      atRevision: other,
      reverse: true,
      keyPrefix: "",
      startAfter: "b",
    });
    expectEqual(reversed, [first], "the list of the past takes every option");
  }),

  storeCase("the past is read in pages of one moment, also while keys are written", async (store) => {
    const sessionId = newId();
    const { revision: atRevision } = await store.saveSession({ sessionId, state: { a: 1, b: 2, c: 3 } });
    const one = await store.listState(sessionId, { atRevision, pageSize: 1 });
    await store.commit(sessionId, {
      changes: [
        { kind: "delete", key: "b" },
        { kind: "set", key: "c", value: "new" },
        { kind: "set", key: "bb", value: "new" },
      ],
    });
    const rest = await store.listState(sessionId, { atRevision, pageToken: one.nextPageToken });
    expectEqual(
      rest.entries.map(({ key, value }) => [key, value]),
      [
        ["b", 2],
        ["c", 3],
      ],
      "the second page",
    );
  }),

  storeCase("just the last revisions are kept, as many as configured", async (store, { history }) => {
    const sessionId = newId();
    await store.setState(sessionId, "old", "as it was");
    const current = await age(store, sessionId, history + 3);
    const oldest = current - history + 1;
    const reads: ((atRevision: number) => Promise<unknown>)[] = [
      (atRevision) => store.getSession(sessionId, { atRevision }),
      (atRevision) => store.getEntry(sessionId, "old", { atRevision }),
      (atRevision) => store.getState(sessionId, "n", { atRevision }),
      (atRevision) => store.listState(sessionId, { atRevision }),
      (atRevision) => store.restoreSession(sessionId, atRevision),
      (atRevision) => store.forkSession(sessionId, newId(), { atRevision }),
    ];
    for (const read of reads) {
      const error = await expectReason(read(oldest - 1), "HISTORY_COMPACTED");
      expectEqual(error.metadata["oldest_revision"], String(oldest), "the oldest that is kept");
      expectEqual(error.code, "OUT_OF_RANGE", "its code");
      await expectReason(read(1), "HISTORY_COMPACTED");
    }
    for (let revision = oldest; revision <= current; revision += 1) {
      const session = expectDefined(await store.getSession(sessionId, { atRevision: revision }), "the past");
      const n = history + 3 - (current - revision);
      expectEqual(session.state, { old: "as it was", n }, `the state at ${revision}`);
      expectEqual(session.revision, revision, "its revision");
    }
    expectEqual(
      (await mustGet(store, sessionId)).state["old"],
      "as it was",
      "what is current is never compacted",
    );
    expectEqual((await allEvents(store, sessionId)).map((e) => e.revision)[0], oldest, "the oldest event");
  }),

  storeCase("what is not made yet says so", async (store) => {
    const sessionId = newId();
    const { revision } = await store.setState(sessionId, "a", 1);
    const reads: ((atRevision: number) => Promise<unknown>)[] = [
      (atRevision) => store.getSession(sessionId, { atRevision }),
      (atRevision) => store.getEntry(sessionId, "a", { atRevision }),
      (atRevision) => store.listState(sessionId, { atRevision }),
      (atRevision) => store.restoreSession(sessionId, atRevision),
      (atRevision) => store.forkSession(sessionId, newId(), { atRevision }),
      (afterRevision) => store.listEvents(sessionId, { afterRevision }),
      async (afterRevision) => {
        for await (const _ of store.watchSession(sessionId, { afterRevision })) {
          break;
        }
      },
    ];
    for (const [i, read] of reads.entries()) {
      const error = await expectReason(read(revision + 1), "FUTURE_REVISION");
      expectEqual(error.metadata["current_revision"], String(revision), `read ${i}: the current one`);
      expectEqual(error.code, "OUT_OF_RANGE", "its code");
      await expectReason(read(Number.MAX_SAFE_INTEGER), "FUTURE_REVISION");
    }
  }),

  storeCase("the past outlives a deletion", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({ sessionId, state: { a: 1 }, userId: "u" });
    await store.deleteSession(sessionId);
    const deleted = saved.revision + 1;
    expectEqual(await store.getSession(sessionId, { atRevision: saved.revision }), saved, "before it");
    expectEqual(await store.getState(sessionId, "a", { atRevision: saved.revision }), 1, "a key before it");
    expectEqual(await store.getSession(sessionId, { atRevision: deleted }), undefined, "at it");
    expectEqual(await store.getEntry(sessionId, "a", { atRevision: deleted }), undefined, "a key at it");
    expectEqual((await store.listState(sessionId, { atRevision: deleted })).entries, [], "the list at it");
    const again = await store.setState(sessionId, "b", 2);
    expectEqual(again.revision, deleted + 1, "the revisions go on");
    expectEqual(
      await store.getSession(sessionId, { atRevision: saved.revision }),
      saved,
      "after a new beginning",
    );
    expectEqual(await store.getSession(sessionId, { atRevision: deleted }), undefined, "between the two");
    expectEqual(
      await store.getState(sessionId, "a", { atRevision: again.revision }),
      undefined,
      "the new one",
    );
  }),

  storeCase("events tell what each commit did", async (store) => {
    const sessionId = newId();
    expectEqual(await store.listEvents(sessionId), { events: [], nextPageToken: "" }, "a missing session");
    const { revision: first } = await store.saveSession({ sessionId, state: { a: 1, b: 2, c: 3 } });
    const set = await store.setState(sessionId, "a", 10);
    await store.deleteState(sessionId, "b");
    await store.saveSession({ sessionId, state: { a: 10, c: 4, d: 5 } });
    const events = await allEvents(store, sessionId);
    expectEqual(
      events.map(summary),
      [
        {
          kind: "SAVED",
          revision: first,
          entries: [
            ["a", 1],
            ["b", 2],
            ["c", 3],
          ],
        },
        { kind: "COMMITTED", revision: first + 1, entries: [["a", 10]] },
        { kind: "COMMITTED", revision: first + 2, entries: [["b", undefined]] },
        {
          kind: "SAVED",
          revision: first + 3,
          entries: [
            ["c", 4],
            ["d", 5],
          ],
        },
      ],
      "the events",
    );
    expectEqual(events[1]?.entries, [set], "an event's entry is the one that was written");
    expectEqual(events[1]?.time, set.updateTime, "an event's time");
    expectTrue(
      events.every((event) => event.sessionId === sessionId),
      "an event names its session",
    );
    await store.deleteSession(sessionId);
    const last = (await allEvents(store, sessionId)).at(-1);
    const deleted = { kind: "DELETED", revision: first + 4, entries: [] };
    expectEqual(last && summary(last), deleted, "the event of a deletion");
  }),

  storeCase("events applied one by one give the state of each revision", async (store) => {
    const sessionId = newId();
    const writes: (() => Promise<unknown>)[] = [
      () => store.saveSession({ sessionId, state: { a: 1, b: 2 } }),
      () =>
        store.commit(sessionId, {
          changes: [
            { kind: "delete", key: "a" },
            { kind: "set", key: "c", value: 1 },
          ],
        }),
      () => store.deleteSession(sessionId),
      () => store.setState(sessionId, "d", { e: 1 }),
    ];
    const more: (() => Promise<unknown>)[] = [
      () => store.setState(sessionId, "f", 1),
      async () => store.restoreSession(sessionId, (await mustGet(store, sessionId)).revision - 1),
      () => store.saveSession({ sessionId, state: { d: 2 } }),
    ];
    const state = new Map<string, JsonValue>();
    let afterRevision = 0;
    for (const round of [writes, more]) {
      for (const write of round) {
        await write();
      }
      for (const event of await allEvents(store, sessionId, { afterRevision })) {
        applyEvent(state, event);
        const { revision: atRevision } = event;
        const then = await store.getSession(sessionId, { atRevision });
        expectEqual(Object.fromEntries(state), then?.state ?? {}, `after ${event.kind} ${atRevision}`);
        afterRevision = atRevision;
      }
    }
    expectEqual(Object.fromEntries(state), (await mustGet(store, sessionId)).state, "the state now");
  }),

  storeCase("events are listed in pages, both ways", async (store, { history }) => {
    const sessionId = newId();
    const current = await age(store, sessionId, history + 2);
    const kept = Array.from({ length: history }, (_, i) => current - history + 1 + i);
    const revisions = async (options: Parameters<typeof store.listEvents>[1]): Promise<number[]> =>
      (await allEvents(store, sessionId, options)).map(({ revision }) => revision);
    for (const pageSize of [1, 3, 1_000_000]) {
      expectEqual(await revisions({ pageSize }), kept, "from the oldest that is kept");
      expectEqual(await revisions({ pageSize, reverse: true }), [...kept].reverse(), "the newest first");
      const afterRevision = current - 2;
      expectEqual(await revisions({ pageSize, afterRevision }), kept.slice(-2), "after a revision");
      expectEqual(
        await revisions({ pageSize, afterRevision, reverse: true }),
        [current, current - 1],
        "after a revision, the newest first",
      );
    }
    expectEqual(await revisions({ afterRevision: current }), [], "after the last");
    expectEqual(
      await revisions({ afterRevision: current - history }),
      kept,
      "after the last that is not kept",
    );
    const error = await expectReason(
      revisions({ afterRevision: current - history - 1 }),
      "HISTORY_COMPACTED",
    );
    expectEqual(error.metadata["oldest_revision"], String(kept[0]), "the oldest that is kept");
    const { events } = await store.listEvents(sessionId, { pageSize: 2 });
    expectTrue(events.length <= 2, "a page keeps its size");
  }),

  storeCase("a listing of events goes on where it was while commits are made", async (store) => {
    const sessionId = newId();
    const first = (await age(store, sessionId, 3)) - 2;
    const forth = await store.listEvents(sessionId, { pageSize: 1 });
    const back = await store.listEvents(sessionId, { pageSize: 1, reverse: true });
    await age(store, sessionId, 1);
    const { nextPageToken: pageToken } = forth;
    const next = await store.listEvents(sessionId, { pageToken });
    expectEqual(
      next.events.map((e) => e.revision),
      [first + 1, first + 2, first + 3],
      "on to the newest",
    );
    const rest = await store.listEvents(sessionId, { reverse: true, pageToken: back.nextPageToken });
    expectEqual(
      rest.events.map((e) => e.revision),
      [first + 1, first],
      "back to the oldest",
    );
    await expectReason(store.listEvents(sessionId, { pageToken, reverse: true }), "INVALID_PAGE_TOKEN");
    await expectReason(
      store.listEvents(sessionId, { pageToken, afterRevision: first }),
      "INVALID_PAGE_TOKEN",
    );
    await expectReason(store.listEvents(newId(), { pageToken }), "INVALID_PAGE_TOKEN");
    await expectReason(store.listEvents(sessionId, { pageToken: "?" }), "INVALID_PAGE_TOKEN");
  }),
];
