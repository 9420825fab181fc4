/** Cases: listing sessions, and following all of them. */
import type { SessionChange, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  type ConformanceHarness,
  expectDefined,
  expectEqual,
  expectReason,
  expectThrown,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allSessions, mustGet, watchingSessions } from "./reading.ts";

/** Makes the sessions `PREFIX0` … in turn, each at a later time than the one before. */
async function makeInTurn(
  store: WorkflowStateStore,
  { clock }: ConformanceHarness,
  prefix: string,
  count: number,
): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const sessionId = `${prefix}${i}`;
    await store.setState(sessionId, "n", i);
    ids.push(sessionId);
    await clock.advance(2);
  }
  return ids;
}

/** What every store must do when it lists or follows sessions. */
export const sessionListCases: readonly ConformanceCase[] = [
  storeCase("sessions are listed as much as the view asks for", async (store) => {
    const prefix = newId();
    expectEqual(
      await store.listSessions({ sessionIdPrefix: prefix }),
      { sessions: [], nextPageToken: "" },
      "none",
    );
    const content = { state: { a: { b: [1] } }, workflowId: "w", userId: "u", labels: { l: "1" } };
    const full = await store.saveSession({ sessionId: `${prefix}1`, ...content }, { ttlMs: 60_000 });
    const metadata = { ...full, state: {} };
    const list = async (view?: "IDS" | "METADATA" | "FULL") =>
      (await store.listSessions({ sessionIdPrefix: prefix, ...(view === undefined ? {} : { view }) }))
        .sessions;
    expectEqual(await list("FULL"), [full], "all of it");
    expectEqual(await list("METADATA"), [metadata], "all but the state");
    expectEqual(await list(), [metadata], "unless told: all but the state");
    const { sessionId } = full;
    expectEqual(await list("IDS"), [{ sessionId, state: {}, labels: {}, revision: 0 }], "the id only");
  }),

  storeCase("sessions are listed by every filter, and by all that are given", async (store, harness) => {
    const prefix = newId();
    const make = (name: string, workflowId: string, userId: string, labels: Record<string, string>) =>
      store.saveSession({ sessionId: `${prefix}${name}`, state: {}, workflowId, userId, labels });
    const a = await make("a", "w1", "u1", { x: "1", y: "1" });
    await harness.clock.advance(2);
    const b = await make("b", "w1", "u2", { x: "1" });
    await harness.clock.advance(2);
    const c = await make("c", "w2", "u1", { x: "2", y: "1" });
    await harness.clock.advance(2);
    await make("d", "", "", {});
    const names = async (filter: Parameters<typeof store.listSessions>[0]): Promise<string> =>
      (await allSessions(store, { sessionIdPrefix: prefix, ...filter }))
        .map(({ sessionId }) => sessionId.slice(prefix.length))
        .join("");
    const time = ({ updateTime }: typeof a): Date => expectDefined(updateTime, "update_time");
    expectEqual(await names({}), "abcd", "no filter");
    expectEqual(await names({ workflowId: "w1" }), "ab", "a workflow");
    expectEqual(await names({ userId: "u1" }), "ac", "a user");
    expectEqual(await names({ workflowId: "w1", userId: "u1" }), "a", "a workflow and a user");
    expectEqual(await names({ labels: { x: "1" } }), "ab", "a label");
    expectEqual(await names({ labels: { x: "1", y: "1" } }), "a", "two labels");
    expectEqual(await names({ labels: { y: "" } }), "", "a label with another text");
    expectEqual(await names({ labels: { constructor: "x" } }), "", "a label that no session has");
    expectEqual(await names({ workflowId: "none" }), "", "a workflow without sessions");
    expectEqual(await names({ sessionIdPrefix: `${prefix}b` }), "b", "a prefix");
    expectEqual(await names({ updatedAfter: time(a) }), "bcd", "after a time, exclusive");
    expectEqual(await names({ updatedBefore: time(c) }), "ab", "before a time, exclusive");
    expectEqual(await names({ updatedAfter: time(a), updatedBefore: time(c) }), "b", "between two times");
    expectEqual(await names({ workflowId: "", userId: "", labels: {} }), "abcd", "empty filters are none");
    await store.commit(b.sessionId, { metadata: { workflowId: "w2", labels: { x: "2" } } });
    await store.deleteSession(c.sessionId);
    expectEqual(await names({ workflowId: "w1" }), "a", "a workflow that another left");
    expectEqual(await names({ workflowId: "w2" }), "b", "a workflow that another came to");
    expectEqual(await names({ labels: { x: "2" } }), "b", "a label that another came to");
  }),

  storeCase("sessions are listed in the order asked for", async (store, harness) => {
    const prefix = newId();
    for (const name of ["b", "\u00e9", "a", "😀", "\uff5e", "B"]) {
      await store.setState(`${prefix}${name}`, "n", 1);
      await harness.clock.advance(2);
    }
    const names = async (order?: "ID" | "UPDATE_TIME_DESC"): Promise<string[]> =>
      (
        await allSessions(store, {
          sessionIdPrefix: prefix,
          pageSize: 2,
          view: "IDS",
          ...(order === undefined ? {} : { order }),
        })
      ).map(({ sessionId }) => sessionId.slice(prefix.length));
    const byId = ["B", "a", "b", "\u00e9", "\uff5e", "😀"];
    expectEqual(await names("ID"), byId, "by the bytes of the id");
    expectEqual(await names(), byId, "unless told: by id");
    expectEqual(
      await names("UPDATE_TIME_DESC"),
      ["B", "\uff5e", "😀", "a", "\u00e9", "b"],
      "the last written first",
    );
    await store.setState(`${prefix}a`, "n", 2);
    expectEqual((await names("UPDATE_TIME_DESC"))[0], "a", "a write moves a session to the front");
  }),

  storeCase(
    "a listing of sessions comes in pages, without the lost and the doubled",
    async (store, harness) => {
      const prefix = newId();
      const ids = await makeInTurn(store, harness, prefix, 9);
      for (const order of ["ID", "UPDATE_TIME_DESC"] as const) {
        const seen: string[] = [];
        let pageToken = "";
        let round = 0;
        do {
          const page = await store.listSessions({ sessionIdPrefix: prefix, order, pageSize: 2, pageToken });
          expectTrue(page.sessions.length <= 2, "a page keeps its size");
          seen.push(...page.sessions.map(({ sessionId }) => sessionId));
          pageToken = page.nextPageToken;
          // While it is read: new sessions on both sides, writes to ones that were listed, and the deletion of a new one.
          await harness.clock.advance(2);
          await store.setState(`${prefix}0${order}${round}`, "n", 1);
          await store.setState(`${prefix}9${order}${round}`, "n", 1);
          await store.setState(seen[0] ?? "", "n", round);
          await store.setState(seen.at(-1) ?? "", "n", round);
          await store.deleteSession(`${prefix}0${order}${round}`);
          round += 1;
        } while (pageToken !== "" && round < 100);
        expectEqual(new Set(seen).size, seen.length, `no session comes twice by ${order}`);
        expectEqual(
          seen.filter((id) => ids.includes(id)).sort(),
          ids,
          `every session that was there comes by ${order}`,
        );
      }
      const { sessions } = await store.listSessions({ pageSize: harness.limits.pageSize + 1_000 });
      expectTrue(sessions.length <= harness.limits.pageSize, "a size beyond the limit counts as the limit");
    },
  ),

  storeCase("sessions of one update_time are all listed", async (store, { limits }) => {
    const prefix = newId();
    const count = Math.min(limits.operations, 30);
    // In one batch: where the clock stands still or is coarse, these have one time.
    const ids = Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(3, "0")}`);
    await store.batch(ids.map((sessionId) => ({ kind: "setState", sessionId, key: "n", value: 1 })));
    const listed = await allSessions(store, {
      sessionIdPrefix: prefix,
      order: "UPDATE_TIME_DESC",
      pageSize: 7,
    });
    expectEqual(listed.map(({ sessionId }) => sessionId).sort(), ids, "each once");
  }),

  storeCase("a page token of another listing of sessions is refused", async (store, harness) => {
    const prefix = newId();
    await makeInTurn(store, harness, prefix, 4);
    const filter = { sessionIdPrefix: prefix } as const;
    const { nextPageToken: pageToken } = await store.listSessions({ ...filter, pageSize: 2 });
    expectTrue(pageToken !== "", "there is another page");
    const wrong: Parameters<typeof store.listSessions>[0][] = [
      { pageToken },
      { ...filter, pageToken, order: "UPDATE_TIME_DESC" },
      { ...filter, pageToken, workflowId: "w" },
      { ...filter, pageToken, userId: "w" },
      { ...filter, pageToken, labels: { l: "1" } },
      { ...filter, pageToken, updatedAfter: new Date(1) },
      { ...filter, pageToken, updatedBefore: new Date(1) },
      { ...filter, pageToken: "no token" },
      { ...filter, pageToken: pageToken.slice(1) },
      { ...filter, pageToken: "x".repeat(10_000) },
    ];
    for (const request of wrong) {
      const error = await expectReason(store.listSessions(request), "INVALID_PAGE_TOKEN");
      expectEqual(error.code, "INVALID_ARGUMENT", "its code");
    }
    expectEqual((await store.listSessions({ ...filter, pageToken })).sessions.length, 2, "its own listing");
  }),

  storeCase(
    "a watch on sessions tells each commit with its kind, and the session without its state",
    async (store) => {
      const prefix = newId();
      const sessionId = `${prefix}1`;
      const poke = { prefix: `${prefix}poke`, make: (id: string) => store.setState(id, "n", 1) };
      await watchingSessions(store, { sessionIdPrefix: prefix }, poke, async (next) => {
        const saved = await store.saveSession({
          sessionId,
          state: { a: 1 },
          workflowId: "w",
          labels: { l: "1" },
        });
        expectEqual(await next(), { session: { ...saved, state: {} }, kind: "SAVED" }, "a save");
        await store.setState(sessionId, "a", 2);
        const session = { ...(await mustGet(store, sessionId)), state: {} };
        expectEqual(await next(), { session, kind: "COMMITTED" }, "a set");
        await store.restoreSession(sessionId, saved.revision);
        expectEqual((await next()).kind, "RESTORED", "a restore");
        await store.deleteSession(sessionId);
        const deleted = await next();
        expectEqual([deleted.kind, deleted.session.sessionId], ["DELETED", sessionId], "a delete");
        expectEqual(deleted.session.workflowId, "w", "a deleted session as it was last");
        await store.setState(sessionId, "a", 3);
        expectEqual((await next()).kind, "COMMITTED", "a new beginning");
        await store.forkSession(sessionId, `${prefix}2`);
        const fork = await next();
        expectEqual([fork.kind, fork.session.sessionId], ["FORKED", `${prefix}2`], "a fork");
        await store.batch([
          { kind: "deleteState", sessionId, key: "nothing" },
          { kind: "setState", sessionId: newId("other"), key: "a", value: 1 },
          { kind: "setState", sessionId: `${prefix}3`, key: "a", value: 1 },
        ]);
        expectEqual(
          (await next()).session.sessionId,
          `${prefix}3`,
          "only what was written, and what matches",
        );
      });
    },
  ),

  storeCase("a watch on sessions takes the filters of a listing", async (store) => {
    const prefix = newId();
    const make = (sessionId: string, workflowId = "w", userId = "u", l = "1") =>
      store.saveSession({ sessionId, state: {}, workflowId, userId, labels: { l, m: "2" } });
    const poke = { prefix: `${prefix}poke`, make };
    const filter = { workflowId: "w", userId: "u", labels: { l: "1" }, sessionIdPrefix: prefix };
    await watchingSessions(store, filter, poke, async (next) => {
      await make(newId("other"));
      await make(`${prefix}1`, "w2");
      await make(`${prefix}2`, "w", "u2");
      await make(`${prefix}3`, "w", "u", "2");
      await make(`${prefix}4`);
      expectEqual((await next()).session.sessionId, `${prefix}4`, "the one that matches all filters");
      await make(`${prefix}1`);
      expectEqual((await next()).session.sessionId, `${prefix}1`, "one that matches now");
    });
  }),

  storeCase("a watch on sessions tells expiries", async (store, { clock }) => {
    const prefix = newId();
    const sessionId = `${prefix}1`;
    const poke = { prefix: `${prefix}poke`, make: (id: string) => store.setState(id, "n", 1) };
    await watchingSessions(store, { sessionIdPrefix: prefix }, poke, async (next) => {
      await store.setState(sessionId, "a", 1, { ttlMs: 20 });
      await next();
      await clock.advance(25);
      const key = await next();
      expectEqual([key.kind, key.session.sessionId], ["EXPIRED", sessionId], "the expiry of a key");
      await store.commit(sessionId, { metadata: { idleTtlMs: 20 } });
      await next();
      await clock.advance(25);
      const whole: SessionChange = await next();
      expectEqual([whole.kind, whole.session.sessionId], ["EXPIRED", sessionId], "the expiry of a session");
    });
    expectEqual(await store.getSession(sessionId), undefined, "the session");
  }),

  storeCase("an abort ends a watch on sessions with the signal's reason", async (store) => {
    const reason = new Error("enough");
    const ended = new AbortController();
    const changes = store.watchSessions({ signal: ended.signal })[Symbol.asyncIterator]();
    const next = changes.next();
    ended.abort(reason);
    await expectThrown(next, reason, "a watch that waits");
    const never = async (): Promise<unknown> =>
      store
        .watchSessions({ signal: AbortSignal.abort(reason) })
        [Symbol.asyncIterator]()
        .next();
    await expectThrown(never(), reason, "a watch aborted before it began");
  }),
];
