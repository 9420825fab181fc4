/** A commit that fails at its very end leaves nothing behind, on any store. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../src/open.ts";
import type { Change, CommitRequest, WorkflowStateStore } from "../src/store.ts";
import { nameSkipped, type RunningStore, STORES } from "./support/durable-stores.ts";

const LIMITS = { entries: 300, sessionBytes: 100_000 };
const CHANGES = 128;

nameSkipped("Rollback");

/** What these tests need of a store: also one in memory has it. */
interface Kind {
  readonly name: string;
  start(): Promise<Pick<RunningStore, "fresh" | "stop">>;
}

const memory: Kind = {
  name: "memory",
  start: async () => ({ fresh: () => "memory:", stop: async () => {} }),
};

/** Changes that would all do, all but the last of a commit. */
function goodChanges(count: number): Change[] {
  return Array.from({ length: count }, (_, i): Change => {
    const key = `new/${i}`;
    switch (i % 5) {
      case 0:
        return { kind: "set", key, value: i };
      case 1:
        return { kind: "delete", key: `old/${i}` };
      case 2:
        return { kind: "increment", key: `old/${i}`, delta: 1 };
      case 3:
        return { kind: "append", key, values: [i] };
      default:
        return { kind: "set", key: `old/${i}`, value: "changed", ttlMs: 3_600_000 };
    }
  });
}

/** New labels, workflow and user: what indexes would tell of. */
const METADATA = { workflowId: "after", userId: "after", labels: { state: "after" }, ttlMs: 3_600_000 };

const FAILURES: readonly [string, string, Omit<CommitRequest, "sessionId">][] = [
  [
    "VALUE_TYPE_MISMATCH",
    "of a last change that adds to what is no number",
    { changes: [...goodChanges(CHANGES - 1), { kind: "increment", key: "text", delta: 1 }] },
  ],
  [
    "VALUE_TYPE_MISMATCH",
    "of a last change that appends to what this commit has made a number",
    { changes: [...goodChanges(CHANGES - 1), { kind: "append", key: "new/0", values: [1] }] },
  ],
  [
    "NUMBER_OUT_OF_RANGE",
    "of a last change that makes a number too large",
    { changes: [...goodChanges(CHANGES - 1), { kind: "increment", key: "huge", delta: Number.MAX_VALUE }] },
  ],
  [
    "REVISION_MISMATCH",
    "of a last check that does not hold",
    {
      checks: [
        { key: "none", ifRevision: 0 },
        { key: "text", ifRevision: 999 },
      ],
      changes: goodChanges(CHANGES),
    },
  ],
  ["REVISION_MISMATCH", "of the session's own check", { ifRevision: 999, changes: goodChanges(CHANGES) }],
  [
    "SESSION_TOO_LARGE",
    "of a last value that is one too many bytes",
    {
      changes: [
        ...goodChanges(CHANGES - 1),
        { kind: "set", key: "large", value: "x".repeat(LIMITS.sessionBytes) },
      ],
    },
  ],
];

describe.each<Kind>([memory, ...STORES])("$name", ({ start }) => {
  let running: Pick<RunningStore, "fresh" | "stop">;
  let store: WorkflowStateStore;
  let sessions = 0;
  beforeAll(async () => {
    running = await start();
    store = await openStore(running.fresh(), { limits: LIMITS });
  });
  afterAll(async () => {
    await store.close();
    await running.stop();
  });

  /** Everything that can be seen of a session, in every list that it may stand in. */
  async function all(id: string): Promise<unknown> {
    const listed = (filter: object) => store.listSessions({ ...filter, view: "METADATA" });
    return {
      session: await store.getSession(id),
      entries: await store.listState(id, { pageSize: 1_000 }),
      events: await store.listEvents(id, { pageSize: 1_000 }),
      byId: await listed({ sessionIdPrefix: id }),
      byUser: await listed({ userId: "before" }),
      byWorkflow: await listed({ workflowId: "before" }),
      byLabel: await listed({ labels: { state: "before" } }),
      byNewWorkflow: await listed({ workflowId: "after" }),
      byNewLabel: await listed({ labels: { state: "after" } }),
      byTime: await listed({ order: "UPDATE_TIME_DESC" }),
    };
  }

  /** A session with something of every kind; gives its id. */
  async function existing(): Promise<string> {
    const id = `session ${++sessions}`;
    const old = Array.from(
      { length: CHANGES },
      (_, i): Change => ({ kind: "set", key: `old/${i}`, value: i }),
    );
    await store.commit(id, {
      changes: old,
      metadata: { workflowId: "before", userId: "before", labels: { state: "before" } },
    });
    await store.commit(id, {
      changes: [
        { kind: "set", key: "text", value: "text" },
        { kind: "set", key: "huge", value: Number.MAX_VALUE },
        { kind: "set", key: "lease", value: 1, ttlMs: 3_600_000 },
      ],
    });
    return id;
  }

  test.each(FAILURES)("%s %s leaves a session as it was", async (reason, _, commit) => {
    const id = await existing();
    const before = await all(id);
    const requestId = `request of ${id}`;
    for (let i = 0; i < 2; i++) {
      await expect(store.commit(id, { metadata: METADATA, ...commit, requestId })).rejects.toMatchObject({
        reason,
      });
    }
    expect(await all(id)).toEqual(before);
    // Nor is the request remembered: its id is free for one that works.
    const { revision } = await store.commit(id, {
      changes: [{ kind: "set", key: "k", value: 1 }],
      requestId,
    });
    expect(revision).toBe(3);
  });

  test.each(FAILURES.filter(([, why]) => !/no number|too large/.test(why)))(
    "%s %s leaves no session where there was none",
    async (reason, _, commit) => {
      const id = `none ${++sessions}`;
      const before = await all(id);
      await expect(store.commit(id, { metadata: METADATA, ...commit })).rejects.toMatchObject({ reason });
      expect(await all(id)).toEqual(before);
      expect((await store.setState(id, "k", 1)).revision).toBe(1);
    },
  );

  test("TOO_MANY_ENTRIES of a last change that is one entry too many leaves a session as it was", async () => {
    const id = await existing();
    for (let i = 0; i < 2; i++) {
      const many = Array.from(
        { length: 84 },
        (_, j): Change => ({ kind: "set", key: `more/${i}/${j}`, value: j }),
      );
      await store.commit(id, { changes: many });
    }
    const before = await all(id);
    const two: Change[] = [
      { kind: "set", key: "text", value: "changed" },
      { kind: "set", key: "one", value: 1 },
      { kind: "set", key: "two", value: 2 },
    ];
    await expect(store.commit(id, { changes: two, metadata: METADATA })).rejects.toMatchObject({
      reason: "TOO_MANY_ENTRIES",
      metadata: { limit: String(LIMITS.entries), actual: String(LIMITS.entries + 1) },
    });
    expect(await all(id)).toEqual(before);
    await store.commit(id, { changes: two.slice(0, 2) });
    expect((await store.listState(id, { pageSize: 1_000 })).entries).toHaveLength(LIMITS.entries);
  });

  test("a save, a fork and a restore that fail leave nothing behind either", async () => {
    const id = await existing();
    const fork = `fork ${sessions}`;
    await store.setState(fork, "k", 1);
    const before = [await all(id), await all(fork)];
    const large = { sessionId: id, state: { small: 1, large: "x".repeat(LIMITS.sessionBytes) } };
    const many = Object.fromEntries(Array.from({ length: LIMITS.entries + 1 }, (_, i) => [`k${i}`, i]));
    for (const [write, reason] of [
      [() => store.saveSession(large), "SESSION_TOO_LARGE"],
      [() => store.saveSession({ sessionId: id, state: many }), "TOO_MANY_ENTRIES"],
      [() => store.saveSession({ sessionId: id, state: {} }, { ifRevision: 1 }), "REVISION_MISMATCH"],
      [() => store.deleteSession(id, { ifRevision: 1 }), "REVISION_MISMATCH"],
      [() => store.forkSession(id, fork), "SESSION_EXISTS"],
      [() => store.restoreSession(id, 1, { ifRevision: 1 }), "REVISION_MISMATCH"],
      [() => store.restoreSession(id, 99), "FUTURE_REVISION"],
    ] as const) {
      await expect(write()).rejects.toMatchObject({ reason });
    }
    expect([await all(id), await all(fork)]).toEqual(before);
  });
});
