/** Cases: what expires, and when. */
import type { Entry, JsonValue } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, allEvents, allSessions, expectUntil, mustGet, summary } from "./reading.ts";

/** A time to live that is over within one `clock.advance`. */
const SOON_MS = 40;

/** One that no case lives to see the end of. */
const LATE_MS = 3_600_000;

/** What every store must do with times to live. */
export const expiryCases: readonly ConformanceCase[] = [
  storeCase("a ttl becomes a deadline by the store's clock", async (store, { clock }) => {
    const sessionId = newId();
    const within = async (write: () => Promise<Date | undefined>, what: string): Promise<void> => {
      const before = clock.now();
      const expireTime = expectDefined(await write(), what).getTime();
      expectTrue(expireTime >= before + LATE_MS && expireTime <= clock.now() + LATE_MS, what);
    };
    const ttlMs = LATE_MS;
    await within(async () => (await store.setState(sessionId, "a", 1, { ttlMs })).expireTime, "a set's");
    await within(async () => {
      const change = { kind: "set", key: "b", value: 1, ttlMs } as const;
      return (await store.commit(sessionId, { changes: [change] })).entries[0]?.expireTime;
    }, "a commit's");
    await within(async () => {
      await store.commit(sessionId, { metadata: { ttlMs } });
      return (await mustGet(store, sessionId)).expireTime;
    }, "a session's");
    await within(
      async () => (await store.saveSession({ sessionId: newId(), state: {} }, { ttlMs })).expireTime,
      "a saved session's",
    );
    await within(
      async () =>
        (await store.saveSession({ sessionId: newId(), state: {} }, { idleTtlMs: ttlMs })).expireTime,
      "an idle session's",
    );
    const { expireTime } = expectDefined(await store.getEntry(sessionId, "a"), "the entry");
    expectTrue(expireTime !== undefined, "an entry tells its deadline when it is read");
    const most = await store.setState(sessionId, "c", 1, { ttlMs: 36_500 * 86_400_000 });
    expectTrue(most.expireTime !== undefined, "the longest there is");
  }),

  storeCase("a key is there until its deadline, and hidden from then on", async (store, harness) => {
    const sessionId = newId();
    await store.setState(sessionId, "stays", 1);
    const entry = await store.setState(sessionId, "goes", null, { ttlMs: SOON_MS });
    const expireTime = expectDefined(entry.expireTime, "the deadline");
    const reads: (() => Promise<unknown>)[] = [
      () => store.getState(sessionId, "goes"),
      () => store.getEntry(sessionId, "goes"),
      async () => ((await mustGet(store, sessionId)).state["goes"] === null ? true : undefined),
      async () => (await allEntries(store, sessionId)).find(({ key }) => key === "goes"),
      async () => {
        const [listed] = (await store.listSessions({ sessionIdPrefix: sessionId, view: "FULL" })).sessions;
        return listed !== undefined && "goes" in listed.state ? true : undefined;
      },
      async () => {
        const [got] = await store.batch([{ kind: "getState", sessionId, key: "goes" }]);
        return got?.kind === "getState" ? got.entry : undefined;
      },
    ];
    for (const pause of [0, SOON_MS - 1, 1, 1]) {
      await harness.clock.advance(pause);
      for (const [i, read] of reads.entries()) {
        await expectUntil(harness, expireTime, read, `the key by read ${i}, ${pause} ms on,`);
      }
    }
    expectEqual(await store.getState(sessionId, "goes"), undefined, "the key at last");
    expectEqual((await mustGet(store, sessionId)).state, { stays: 1 }, "what stays");
    expectEqual((await store.deleteState(sessionId, "goes")).deleted, false, "a delete of what expired");
  }),

  storeCase("an expired key is absent to checks and to computed changes", async (store, { clock }) => {
    const sessionId = newId();
    const values: Record<string, JsonValue> = { n: 5, l: [1], o: { a: 1 }, s: "x", t: "other" };
    const { revision } = await store.commit(sessionId, {
      changes: Object.entries(values).map(([key, value]) => ({ kind: "set", key, value, ttlMs: SOON_MS })),
    });
    await clock.advance(SOON_MS);
    const error = await expectReason(
      store.setState(sessionId, "s", 1, { ifRevision: revision }),
      "REVISION_MISMATCH",
    );
    expectEqual(error.failedChecks[0]?.actualRevision, 0, "its revision");
    const { entries } = await store.commit(sessionId, {
      checks: [{ key: "s", ifRevision: 0 }],
      changes: [
        { kind: "increment", key: "n", delta: 1 },
        { kind: "append", key: "l", values: [2] },
        { kind: "merge", key: "o", value: { b: 2 } },
        { kind: "increment", key: "t", delta: 1 },
      ],
    });
    expectEqual(
      entries.map(({ value }) => value),
      [1, [2], { b: 2 }, 1],
      "the values",
    );
    expectTrue(
      entries.every((entry) => entry.expireTime === undefined),
      "the new ones have no deadline",
    );
  }),

  storeCase(
    "a set without a ttl clears the key's, and a computed change keeps it",
    async (store, { clock }) => {
      const sessionId = newId();
      const ttlMs = LATE_MS;
      const first = await store.setState(sessionId, "a", 1, { ttlMs });
      await clock.advance(2);
      const { entries } = await store.commit(sessionId, {
        changes: [
          { kind: "increment", key: "a", delta: 1 },
          { kind: "set", key: "l", value: [], ttlMs },
          { kind: "append", key: "l", values: [1] },
          { kind: "set", key: "o", value: {}, ttlMs },
          { kind: "merge", key: "o", value: { a: 1 } },
          { kind: "set", key: "x", value: 1, ttlMs },
          { kind: "set", key: "x", value: 1, ttlMs: 0 },
        ],
      });
      expectEqual(entries[0]?.expireTime, first.expireTime, "the deadline after an increment");
      expectTrue(entries[1]?.expireTime !== undefined, "after an append");
      expectTrue(entries[2]?.expireTime !== undefined, "after a merge");
      expectEqual(entries[3]?.expireTime, undefined, "after a set with a ttl of 0");
      expectEqual((await store.setState(sessionId, "a", 9)).expireTime, undefined, "after a set without one");
      expectEqual((await store.getEntry(sessionId, "a"))?.expireTime, undefined, "read back");
      const renewed = await store.setState(sessionId, "a", 9, { ttlMs });
      expectTrue(renewed.expireTime !== undefined, "after a set with one");
    },
  ),

  storeCase("a save keeps the deadline of entries that stay the same", async (store, { clock }) => {
    const sessionId = newId();
    const a = await store.setState(sessionId, "a", 1, { ttlMs: LATE_MS });
    await store.setState(sessionId, "b", 1, { ttlMs: LATE_MS });
    await clock.advance(2);
    await store.saveSession({ sessionId, state: { a: 1, b: 2 } });
    expectEqual(await store.getEntry(sessionId, "a"), a, "the one that stayed the same");
    expectEqual((await store.getEntry(sessionId, "b"))?.expireTime, undefined, "the one that changed");
  }),

  storeCase("a set can leave a deadline as it is", async (store) => {
    const sessionId = newId();
    const { expireTime } = await store.setState(sessionId, "a", 1, { ttlMs: LATE_MS });
    await store.setState(sessionId, "b", 1);
    const { entries } = await store.commit(sessionId, {
      changes: [
        { kind: "set", key: "a", value: 2, keepExpiry: true },
        { kind: "set", key: "b", value: 2, keepExpiry: true },
        { kind: "set", key: "new", value: 2, ttlMs: 0, keepExpiry: true },
      ],
    });
    expectEqual(
      entries.map((entry) => [entry.value, entry.expireTime]),
      [
        [2, expireTime],
        [2, undefined],
        [2, undefined],
      ],
      "the entries",
    );
    expectEqual((await store.getEntry(sessionId, "a"))?.expireTime, expireTime, "the deadline read back");
    const again = await store.commit(sessionId, {
      changes: [
        { kind: "set", key: "c", value: 1, ttlMs: LATE_MS },
        { kind: "set", key: "c", value: 2, keepExpiry: true },
        { kind: "delete", key: "a" },
        { kind: "set", key: "a", value: 3, keepExpiry: true },
      ],
    });
    const [c, a] = again.entries;
    expectTrue(c?.value === 2 && c.expireTime !== undefined, "the deadline of a change before");
    expectEqual([a?.value, a?.expireTime], [3, undefined], "a deadline that a change took away before");
    const wrong = { kind: "set", key: "a", value: 4, ttlMs: 1, keepExpiry: true } as const;
    const error = await expectReason(store.commit(sessionId, { changes: [wrong] }), "INVALID_REQUEST");
    expectEqual(error.metadata["field"], "changes[0].set.keep_expiry", "its field");
    await store.commit(sessionId, { changes: [{ kind: "set", key: "c", value: 3, keepExpiry: false }] });
    expectEqual((await store.getEntry(sessionId, "c"))?.expireTime, undefined, "a set that says false");
  }),

  storeCase("the expiry of a key is an event before the session's next commit", async (store, { clock }) => {
    const sessionId = newId();
    await store.setState(sessionId, "stays", 1);
    const { revision } = await store.commit(sessionId, {
      changes: [{ kind: "set", key: "goes", value: 1, ttlMs: SOON_MS }],
    });
    await clock.advance(SOON_MS);
    const next = await store.setState(sessionId, "goes", 2);
    expectEqual(next.revision, revision + 2, "the expiry has a revision");
    expectEqual(
      (await allEvents(store, sessionId)).slice(-2).map(summary),
      [
        { kind: "EXPIRED", revision: revision + 1, entries: [["goes", undefined]] },
        { kind: "COMMITTED", revision: revision + 2, entries: [["goes", 2]] },
      ],
      "the events",
    );
    expectEqual(
      (await store.getSession(sessionId, { atRevision: revision + 1 }))?.state,
      { stays: 1 },
      "the state at the expiry",
    );
  }),

  storeCase("a session is there until its deadline, and hidden from then on", async (store, harness) => {
    const prefix = newId();
    const sessionId = `${prefix}a`;
    const stays = await store.saveSession({ sessionId: `${prefix}b`, state: {} });
    const saved = await store.saveSession({ sessionId, state: { a: 1 }, userId: prefix }, { ttlMs: SOON_MS });
    const expireTime = expectDefined(saved.expireTime, "the deadline");
    const listed = async (filter: Parameters<typeof store.listSessions>[0]): Promise<unknown> =>
      (await allSessions(store, filter)).find((session) => session.sessionId === sessionId);
    const reads: (() => Promise<unknown>)[] = [
      () => store.getSession(sessionId),
      () => store.getState(sessionId, "a"),
      async () => (await allEntries(store, sessionId))[0],
      () => listed({ sessionIdPrefix: prefix }),
      () => listed({ userId: prefix, order: "UPDATE_TIME_DESC", view: "IDS" }),
      async () => (await store.getAllSessionIds()).find((id) => id === sessionId),
    ];
    for (const pause of [0, SOON_MS - 1, 1, 1]) {
      await harness.clock.advance(pause);
      for (const [i, read] of reads.entries()) {
        await expectUntil(harness, expireTime, read, `the session by read ${i}, ${pause} ms on,`);
      }
    }
    expectEqual(await store.getSession(sessionId), undefined, "the session at last");
    expectEqual(await store.deleteSession(sessionId), false, "a delete of what expired");
    expectEqual(await store.getSession(stays.sessionId), stays, "another session");
  }),

  storeCase(
    "a write after a session's expiry begins a new one and never revives the old",
    async (store, { clock }) => {
      const writes: ((sessionId: string) => Promise<unknown>)[] = [
        (sessionId) => store.setState(sessionId, "b", 2),
        (sessionId) =>
          store.commit(sessionId, { ifRevision: 0, changes: [{ kind: "set", key: "b", value: 2 }] }),
        (sessionId) => store.saveSession({ sessionId, state: { b: 2 } }, { ifRevision: 0 }),
      ];
      for (const write of writes) {
        const sessionId = newId();
        const content = { state: { a: 1 }, workflowId: "w", userId: "u", labels: { l: "1" } };
        const old = await store.saveSession(
          { sessionId, ...content },
          { ttlMs: SOON_MS, idleTtlMs: LATE_MS },
        );
        await clock.advance(SOON_MS);
        await write(sessionId);
        const { createTime, updateTime, ...rest } = await mustGet(store, sessionId);
        const revision = old.revision + 2;
        expectEqual(rest, { sessionId, state: { b: 2 }, labels: {}, revision }, "the new session");
        expectTrue(
          expectDefined(createTime, "create_time") > expectDefined(old.createTime, "it"),
          "it is new",
        );
        expectEqual(updateTime, createTime, "its times");
        const [expired] = await allEvents(store, sessionId, { afterRevision: old.revision });
        const event = { kind: "EXPIRED", revision: old.revision + 1, entries: [] };
        expectEqual(expired && summary(expired), event, "the event of the expiry");
      }
    },
  ),

  storeCase("an expired session is missing to forks and restores", async (store, { clock }) => {
    const sessionId = newId();
    const { revision } = await store.saveSession({ sessionId, state: { a: 1 } }, { ttlMs: SOON_MS });
    await clock.advance(SOON_MS);
    await expectReason(store.forkSession(sessionId, newId()), "SESSION_NOT_FOUND");
    await expectReason(store.restoreSession(sessionId, revision), "SESSION_NOT_FOUND");
    expectEqual(await store.getSession(sessionId), undefined, "the session");
    const live = newId();
    await store.setState(live, "b", 1);
    const fork = await store.forkSession(live, sessionId);
    expectEqual(fork.state, { b: 1 }, "a fork over an expired session");
    expectTrue(fork.revision > revision + 1, "its revisions go on");
  }),

  storeCase("an idle ttl ends a session so long after its last write", async (store, { clock }) => {
    const sessionId = newId();
    const first = await store.saveSession({ sessionId, state: { a: 1 } }, { idleTtlMs: LATE_MS });
    let deadline = expectDefined(first.expireTime, "the deadline").getTime();
    const writes: (() => Promise<unknown>)[] = [
      () => store.setState(sessionId, "a", 2),
      () => store.deleteState(sessionId, "a"),
      () => store.commit(sessionId, { metadata: { userId: "u" } }),
      () => store.saveSession({ sessionId, state: { b: 1 } }),
    ];
    for (const [i, write] of writes.entries()) {
      await clock.advance(5);
      const before = deadline;
      await write();
      const { expireTime, updateTime } = await mustGet(store, sessionId);
      deadline = expectDefined(expireTime, "the deadline").getTime();
      expectTrue(deadline > before, `write ${i} moves the deadline`);
      expectEqual(
        deadline,
        expectDefined(updateTime, "update_time").getTime() + LATE_MS,
        "so long after the write",
      );
    }
    await clock.advance(5);
    await store.getSession(sessionId);
    await store.getState(sessionId, "b");
    await store.commit(sessionId, {});
    expectEqual((await mustGet(store, sessionId)).expireTime?.getTime(), deadline, "reads don't move it");
    const idle = newId();
    await store.saveSession({ sessionId: idle, state: { a: 1 } }, { idleTtlMs: SOON_MS });
    await clock.advance(SOON_MS);
    expectEqual(await store.getSession(idle), undefined, "a session that was idle so long");
  }),

  storeCase("the expiry of a key does not keep an idle session", async (store, { clock }) => {
    const sessionId = newId();
    await store.commit(sessionId, {
      changes: [{ kind: "set", key: "goes", value: 1, ttlMs: SOON_MS }],
      metadata: { idleTtlMs: LATE_MS },
    });
    const { expireTime, revision } = await mustGet(store, sessionId);
    await clock.advance(SOON_MS);
    expectEqual(await store.getState(sessionId, "goes"), undefined, "the key");
    expectEqual((await mustGet(store, sessionId)).expireTime, expireTime, "the session's deadline");
    await store.commit(sessionId, { changes: [{ kind: "delete", key: "none" }] });
    expectEqual((await mustGet(store, sessionId)).expireTime, expireTime, "after a commit of nothing");
    const then = await store.getSession(sessionId, { atRevision: revision });
    expectEqual(then?.expireTime, expireTime, "as it was before the expiry");
    await store.setState(sessionId, "a", 1);
    const after = await store.getSession(sessionId, { atRevision: revision + 1 });
    expectEqual(after?.expireTime, expireTime, "as it was at the expiry");
  }),

  storeCase("the earlier of ttl and idle ttl counts, and zero takes one away", async (store) => {
    const sessionId = newId();
    const expiry = async (): Promise<number | undefined> => {
      const { expireTime, updateTime } = await mustGet(store, sessionId);
      return expireTime && expireTime.getTime() - expectDefined(updateTime, "update_time").getTime();
    };
    await store.commit(sessionId, { metadata: { ttlMs: 2 * LATE_MS, idleTtlMs: LATE_MS } });
    expectEqual(await expiry(), LATE_MS, "the idle ttl is earlier");
    await store.commit(sessionId, { metadata: { idleTtlMs: 3 * LATE_MS, ttlMs: 2 * LATE_MS } });
    expectEqual(await expiry(), 2 * LATE_MS, "the ttl is earlier");
    await store.commit(sessionId, { metadata: { ttlMs: 0 } });
    expectEqual(await expiry(), 3 * LATE_MS, "the idle ttl is left");
    await store.saveSession({ sessionId, state: {} });
    expectEqual(await expiry(), 3 * LATE_MS, "a save that doesn't name them leaves them");
    await store.saveSession({ sessionId, state: {} }, { idleTtlMs: 0 });
    expectEqual(await expiry(), undefined, "nothing is left");
    await store.saveSession({ sessionId, state: {} }, { ttlMs: LATE_MS });
    expectEqual(await expiry(), LATE_MS, "a save's ttl");
    await store.commit(sessionId, { metadata: { userId: "u" } });
    expectTrue(((await expiry()) ?? 0) <= LATE_MS, "other metadata leaves it");
    await store.saveSession({ sessionId, state: {} }, { ttlMs: 0 });
    expectEqual(await expiry(), undefined, "taken away by a save");
  }),

  storeCase(
    "a lease is a key with a ttl whose revision fences those that lost it",
    async (store, { clock }) => {
      const sessionId = newId();
      const take = (owner: string): Promise<{ readonly revision: number }> =>
        store.setState(sessionId, "lease", owner, { ifRevision: 0, ttlMs: SOON_MS });
      const first = await take("first");
      const write = (token: number, value: string): Promise<unknown> =>
        store.commit(sessionId, {
          checks: [{ key: "lease", ifRevision: token }],
          changes: [{ kind: "set", key: "work", value }],
        });
      await clock.advance(SOON_MS);
      await expectReason(write(first.revision, "first, too late"), "REVISION_MISMATCH");
      const second = await store.setState(sessionId, "lease", "second", { ifRevision: 0, ttlMs: LATE_MS });
      expectTrue(second.revision > first.revision, "the token grows");
      await expectReason(take("third"), "REVISION_MISMATCH");
      await write(second.revision, "second");
      await expectReason(write(first.revision, "first, much too late"), "REVISION_MISMATCH");
      expectEqual(await store.getState(sessionId, "work"), "second", "the work");
      await store.deleteState(sessionId, "lease", { ifRevision: second.revision });
      const third = await take("third");
      expectTrue(third.revision > second.revision, "the token grows after a release too");
    },
  ),

  storeCase("a replayed write does not renew a deadline", async (store, { clock }) => {
    const sessionId = newId();
    const set = (): Promise<Entry> => store.setState(sessionId, "a", 1, { ttlMs: LATE_MS, requestId: "r" });
    const first = await set();
    await clock.advance(5);
    expectEqual(await set(), first, "the answer");
    expectEqual((await store.getEntry(sessionId, "a"))?.expireTime, first.expireTime, "the deadline");
  }),
];
