/** Cases: a write repeated with its request id. */
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
import { allEvents, mustGet, summary } from "./reading.ts";

/** A write that can be sent again, and one with the same request id and other content. */
interface Repeatable {
  readonly what: string;
  write(store: WorkflowStateStore, sessionId: string, requestId: string): Promise<unknown>;
  /** The same content, said in another way. */
  same?(store: WorkflowStateStore, sessionId: string, requestId: string): Promise<unknown>;
  readonly others: readonly ((
    store: WorkflowStateStore,
    sessionId: string,
    requestId: string,
  ) => Promise<unknown>)[];
}

/** A fork's source: every case makes one beside its session. */
const source = (sessionId: string): string => `${sessionId}-source`;

const WRITES: readonly Repeatable[] = [
  {
    what: "set",
    write: (store, id, requestId) =>
      store.setState(id, "n", { a: 1, b: { c: [1, 2], d: null } }, { requestId, ttlMs: 60_000 }),
    same: (store, id, requestId) =>
      store.setState(id, "n", { b: { d: null, c: [1, 2] }, a: 1 }, { requestId, ttlMs: 60_000 }),
    others: [
      (store, id, requestId) =>
        store.setState(id, "n", { a: 1, b: { c: [2, 1], d: null } }, { requestId, ttlMs: 60_000 }),
      (store, id, requestId) =>
        store.setState(id, "m", { a: 1, b: { c: [1, 2], d: null } }, { requestId, ttlMs: 60_000 }),
      (store, id, requestId) => store.setState(id, "n", { a: 1, b: { c: [1, 2], d: null } }, { requestId }),
      (store, id, requestId) =>
        store.setState(
          id,
          "n",
          { a: 1, b: { c: [1, 2], d: null } },
          { requestId, ttlMs: 60_000, ifRevision: 1 },
        ),
      (store, id, requestId) => store.deleteState(id, "n", { requestId }),
      (store, id, requestId) => store.deleteSession(id, { requestId }),
    ],
  },
  {
    what: "delete of a key",
    write: (store, id, requestId) => store.deleteState(id, "a", { requestId }),
    others: [
      (store, id, requestId) => store.deleteState(id, "b", { requestId }),
      (store, id, requestId) => store.deleteState(id, "a", { requestId, ifRevision: 0 }),
      (store, id, requestId) => store.setState(id, "a", null, { requestId }),
    ],
  },
  {
    what: "delete of a missing key",
    write: (store, id, requestId) => store.deleteState(id, "n", { requestId }),
    others: [(store, id, requestId) => store.deleteState(id, "a", { requestId })],
  },
  {
    what: "commit",
    write: (store, id, requestId) =>
      store.commit(id, {
        requestId,
        checks: [{ key: "n", ifRevision: 0 }],
        changes: [
          { kind: "increment", key: "n", delta: 1 },
          { kind: "append", key: "list", values: [{ x: 1, y: 2 }] },
          { kind: "merge", key: "o", value: { p: 1, q: { r: 1, s: 2 } } },
          { kind: "delete", key: "a" },
        ],
        metadata: { labels: { l: "1", m: "2" } },
      }),
    same: (store, id, requestId) =>
      store.commit(id, {
        requestId,
        checks: [{ key: "n", ifRevision: 0 }],
        changes: [
          { kind: "increment", key: "n", delta: 1 },
          { kind: "append", key: "list", values: [{ y: 2, x: 1 }] },
          { kind: "merge", key: "o", value: { q: { s: 2, r: 1 }, p: 1 } },
          { kind: "delete", key: "a" },
        ],
        metadata: { labels: { m: "2", l: "1" } },
      }),
    others: [
      (store, id, requestId) => store.commit(id, { requestId, changes: [{ kind: "delete", key: "a" }] }),
      (store, id, requestId) =>
        store.commit(id, {
          requestId,
          checks: [{ key: "n", ifRevision: 0 }],
          changes: [
            { kind: "increment", key: "n", delta: 2 },
            { kind: "append", key: "list", values: [{ x: 1, y: 2 }] },
            { kind: "merge", key: "o", value: { p: 1, q: { r: 1, s: 2 } } },
            { kind: "delete", key: "a" },
          ],
          metadata: { labels: { l: "1", m: "2" } },
        }),
    ],
  },
  {
    what: "commit of nothing",
    write: (store, id, requestId) => store.commit(id, { requestId, changes: [{ kind: "delete", key: "n" }] }),
    others: [
      (store, id, requestId) => store.commit(id, { requestId }),
      (store, id, requestId) => store.commit(id, { requestId, metadata: { userId: "u" } }),
    ],
  },
  {
    what: "save",
    write: (store, id, requestId) =>
      store.saveSession(
        { sessionId: id, state: { n: 1, o: { x: 1, y: 2 } }, labels: { l: "1", m: "2" } },
        { requestId },
      ),
    same: (store, id, requestId) =>
      store.saveSession(
        { sessionId: id, labels: { m: "2", l: "1" }, state: { o: { y: 2, x: 1 }, n: 1 } },
        { requestId },
      ),
    others: [
      (store, id, requestId) =>
        store.saveSession({ sessionId: id, state: { n: 2, o: { x: 1, y: 2 } } }, { requestId }),
      (store, id, requestId) =>
        store.saveSession(
          { sessionId: id, state: { n: 1, o: { x: 1, y: 2 } }, labels: { l: "1", m: "2" } },
          { requestId, ttlMs: 0 },
        ),
    ],
  },
  {
    what: "delete of a session",
    write: (store, id, requestId) => store.deleteSession(id, { requestId }),
    others: [
      (store, id, requestId) => store.deleteSession(id, { requestId, ifRevision: 0 }),
      (store, id, requestId) => store.deleteState(id, "a", { requestId }),
    ],
  },
  {
    what: "fork",
    write: (store, id, requestId) => store.forkSession(source(id), id, { requestId }),
    others: [
      (store, id, requestId) => store.forkSession(source(id), id, { requestId, atRevision: 1 }),
      (store, id, requestId) => store.setState(id, "a", 1, { requestId }),
    ],
  },
  {
    what: "restore",
    write: async (store, id, requestId) => store.restoreSession(id, 1, { requestId }),
    others: [
      (store, id, requestId) => store.restoreSession(id, 2, { requestId }),
      (store, id, requestId) => store.restoreSession(id, 1, { requestId, ifRevision: 2 }),
    ],
  },
];

/** A write whose values may be others when it is sent again: what tells it from another is the fingerprint that it brings. */
interface Fingerprinted {
  readonly what: string;
  write(store: WorkflowStateStore, sessionId: string, once: Once, value: JsonValue): Promise<unknown>;
}

type Once = { readonly requestId?: string; readonly requestFingerprint: string };

const FINGERPRINTED: readonly Fingerprinted[] = [
  { what: "set", write: (store, id, once, value) => store.setState(id, "a", value, once) },
  {
    what: "commit",
    write: (store, id, once, value) =>
      store.commit(id, {
        ...once,
        changes: [
          { kind: "set", key: "a", value },
          { kind: "increment", key: "n", delta: 1 },
          { kind: "append", key: "list", values: [value] },
          { kind: "set", key: "gone", value },
          { kind: "delete", key: "gone" },
        ],
      }),
  },
  {
    what: "save",
    write: (store, id, once, value) => store.saveSession({ sessionId: id, state: { a: value, b: 1 } }, once),
  },
  {
    what: "fork",
    write: (store, id, once, value) => store.forkSession(source(id), id, { ...once, values: { a: value } }),
  },
  {
    what: "restore",
    write: (store, id, once, value) => store.restoreSession(id, 1, { ...once, values: { a: value } }),
  },
  { what: "delete of a key", write: (store, id, once) => store.deleteState(id, "a", once) },
  { what: "delete of a session", write: (store, id, once) => store.deleteSession(id, once) },
];

/** What every store must do with a write that is sent again. */
export const replayCases: readonly ConformanceCase[] = [
  ...WRITES.map(({ what, write, same = write, others }) =>
    storeCase(`a replayed ${what} returns the first answer and writes nothing`, async (store) => {
      const sessionId = newId();
      const requestId = newId("request");
      await store.saveSession({ sessionId: source(sessionId), state: { a: 1 } });
      if (what !== "fork") {
        await store.setState(sessionId, "a", 1);
      }
      const first = await write(store, sessionId, requestId);
      expectEqual(await write(store, sessionId, requestId), first, "the answer again");
      // Later writes must not matter, not even ones that undo what the first one did.
      await store.commit(sessionId, {
        changes: [
          { kind: "set", key: "a", value: "later" },
          { kind: "set", key: "n", value: "later" },
        ],
      });
      const before = await mustGet(store, sessionId);
      const events = await allEvents(store, sessionId);
      expectEqual(await write(store, sessionId, requestId), first, "the answer after later writes");
      expectEqual(await same(store, sessionId, requestId), first, "the answer to the same in another order");
      for (const [i, other] of others.entries()) {
        const error = await expectReason(other(store, sessionId, requestId), "REQUEST_ID_REUSED");
        expectEqual(error.code, "INVALID_ARGUMENT", `the code of other content ${i}`);
      }
      expectEqual(await mustGet(store, sessionId), before, "the session");
      expectEqual(await allEvents(store, sessionId), events, "its events");
      expectEqual(
        events.filter((event) => event.requestId === requestId).length,
        what === "delete of a missing key" || what === "commit of nothing" ? 0 : 1,
        "the events that carry the request id",
      );
    }),
  ),

  ...FINGERPRINTED.map(({ what, write }) =>
    storeCase(`a replayed ${what} with a fingerprint of its own gets the first values`, async (store) => {
      const sessionId = newId();
      const once = { requestId: newId("request"), requestFingerprint: "a".repeat(128) };
      await store.saveSession({ sessionId: source(sessionId), state: { a: 1 } });
      if (what !== "fork") {
        await store.setState(sessionId, "a", 1);
      }
      const first = await write(store, sessionId, once, { x: "first" });
      await store.setState(sessionId, "later", 1);
      const before = await store.getSession(sessionId);
      const events = await allEvents(store, sessionId);
      expectEqual(await write(store, sessionId, once, { x: "first" }), first, "the answer to the same");
      expectEqual(await write(store, sessionId, once, ["other"]), first, "the answer to other values");
      const { requestId } = once;
      for (const requestFingerprint of ["b", ""]) {
        const other = write(store, sessionId, { requestId, requestFingerprint }, { x: "first" });
        const error = await expectReason(other, "REQUEST_ID_REUSED");
        expectEqual(error.code, "INVALID_ARGUMENT", "the code of another fingerprint");
      }
      const alone = { requestFingerprint: "a" };
      for (const wrong of [alone, { ...alone, requestId: "" }]) {
        const error = await expectReason(write(store, sessionId, wrong, 1), "INVALID_REQUEST");
        expectEqual(error.metadata["field"], "request_fingerprint", "the field without a request id");
      }
      const long = { requestId: newId("request"), requestFingerprint: "a".repeat(129) };
      await expectReason(write(store, sessionId, long, 1), "INVALID_REQUEST");
      expectEqual(await store.getSession(sessionId), before, "the session");
      expectEqual(await allEvents(store, sessionId), events, "its events");
    }),
  ),

  storeCase("a fingerprint tells writes of one kind apart, and of one session", async (store) => {
    const [one, two] = [newId(), newId()];
    const once = { requestId: newId("request"), requestFingerprint: "f" };
    expectEqual((await store.setState(one, "a", 1, once)).value, 1, "the first");
    expectEqual((await store.setState(two, "a", 2, once)).value, 2, "the same for another session");
    await expectReason(store.deleteState(one, "a", once), "REQUEST_ID_REUSED");
    const [result] = await store.batch([{ kind: "setState", sessionId: one, key: "a", value: 3, ...once }]);
    expectTrue(result?.kind === "setState" && result.entry.value === 1, "the same in a batch");
    expectEqual((await mustGet(store, one)).state, { a: 1 }, "the session");
  }),

  storeCase("a write that failed is not remembered", async (store) => {
    const sessionId = newId();
    const requestId = newId("request");
    const set = (ifRevision: number): Promise<unknown> =>
      store.setState(sessionId, "a", 1, { requestId, ifRevision });
    await expectReason(set(1), "REVISION_MISMATCH");
    await expectReason(set(1), "REVISION_MISMATCH");
    await set(0);
    await expectReason(set(1), "REQUEST_ID_REUSED");
    const other = newId("request");
    const add = (): Promise<unknown> =>
      store.commit(sessionId, { requestId: other, changes: [{ kind: "increment", key: "s", delta: 1 }] });
    await store.setState(sessionId, "s", "text");
    await expectReason(add(), "VALUE_TYPE_MISMATCH");
    await store.setState(sessionId, "s", 1);
    await add();
    await add();
    expectEqual(await store.getState(sessionId, "s"), 2, "the count");
  }),

  storeCase("a replay answers whatever its checks would say now", async (store) => {
    const sessionId = newId();
    const requestId = newId("request");
    const take = (): Promise<unknown> => store.setState(sessionId, "a", 1, { requestId, ifRevision: 0 });
    const first = await take();
    expectEqual(await take(), first, "the answer");
    await store.deleteState(sessionId, "a");
    expectEqual(await take(), first, "the answer after the key was deleted");
    expectEqual(await store.getState(sessionId, "a"), undefined, "the key");
  }),

  storeCase("a replay after the session was deleted answers and revives nothing", async (store) => {
    const sessionId = newId();
    const requestId = newId("request");
    const first = await store.setState(sessionId, "a", 1, { requestId });
    await store.deleteSession(sessionId);
    expectEqual(await store.setState(sessionId, "a", 1, { requestId }), first, "the answer");
    expectEqual(await store.getSession(sessionId), undefined, "the session");
    await expectReason(store.setState(sessionId, "a", 2, { requestId }), "REQUEST_ID_REUSED");
  }),

  storeCase("a replayed delete that found nothing deletes nothing made later", async (store) => {
    const sessionId = newId();
    const [whole, key] = [newId("request"), newId("request")];
    expectEqual(await store.deleteSession(sessionId, { requestId: whole }), false, "no session");
    const nothing = await store.deleteState(sessionId, "a", { requestId: key });
    expectEqual(nothing, { deleted: false, revision: 0 }, "no key");
    await store.setState(sessionId, "a", 1);
    expectEqual(
      await store.deleteSession(sessionId, { requestId: whole }),
      false,
      "the session's delete again",
    );
    expectEqual(
      await store.deleteState(sessionId, "a", { requestId: key }),
      nothing,
      "the key's delete again",
    );
    expectEqual(await store.getState(sessionId, "a"), 1, "the value");
  }),

  storeCase(
    "a request id belongs to one session, and so many of them to one as there are writes",
    async (store) => {
      const [one, two] = [newId(), newId()];
      const requestId = "😀".repeat(32);
      const first = await store.setState(one, "a", 1, { requestId });
      const second = await store.setState(two, "a", 2, { requestId });
      expectEqual([first.value, second.value], [1, 2], "the same id for two sessions");
      const answers: unknown[] = [];
      const add = (i: number): Promise<unknown> =>
        store.commit(one, { requestId: `r${i}`, changes: [{ kind: "increment", key: "n", delta: 1 }] });
      for (let i = 0; i < 20; i += 1) {
        answers.push(await add(i));
      }
      for (let i = 0; i < 20; i += 1) {
        expectEqual(await add(i), answers[i], `the answer of ${i}`);
      }
      expectEqual(await store.getState(one, "n"), 20, "the count");
    },
  ),

  storeCase("the same request many times at once writes once", async (store) => {
    const sessionId = newId();
    const requestId = newId("request");
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        store.commit(sessionId, { requestId, changes: [{ kind: "increment", key: "n", delta: 1 }] }),
      ),
    );
    for (const answer of answers) {
      expectEqual(answer, answers[0], "one answer for all");
    }
    expectEqual(await store.getState(sessionId, "n"), 1, "the count");
  }),

  storeCase("an operation of a batch is replayed by itself", async (store) => {
    const sessionId = newId();
    const add = (requestId: string) =>
      ({
        kind: "commit",
        sessionId,
        requestId,
        changes: [{ kind: "increment", key: "n", delta: 1 }],
      }) as const;
    const first = await store.batch([add("a"), add("b"), add("a")]);
    expectEqual(first[2], first[0], "the same operation twice in a batch");
    const again = await store.batch([add("c"), add("b"), add("a")]);
    expectEqual(again.slice(1), [first[1], first[0]], "operations of a batch before");
    expectEqual(await store.getState(sessionId, "n"), 3, "the count");
    const [reused] = await store.batch([{ kind: "setState", sessionId, key: "n", value: 0, requestId: "a" }]);
    expectTrue(
      reused?.kind === "error" && reused.error.reason === "REQUEST_ID_REUSED",
      "other content is refused",
    );
  }),

  storeCase("an event tells the request id of its write", async (store) => {
    const sessionId = newId();
    await store.setState(sessionId, "a", 1, { requestId: "first ✓" });
    // A client may give each write an id of its own: nothing is said about this one's.
    await store.setState(sessionId, "a", 2);
    await store.deleteSession(sessionId, { requestId: "last" });
    const events = await allEvents(store, sessionId);
    expectEqual(
      events.filter((_, i) => i !== 1).map((event) => event.requestId),
      ["first ✓", "last"],
      "the request ids",
    );
    expectEqual(summary(expectDefined(events[0], "the event")).entries, [["a", 1]], "the entries");
  }),

  storeCase("an empty request id is none", async (store) => {
    const sessionId = newId();
    const set = (value: JsonValue): Promise<unknown> =>
      store.setState(sessionId, "a", value, { requestId: "" });
    await set(1);
    await set(2);
    expectEqual(await store.getState(sessionId, "a"), 2, "the value");
  }),
];
