/** Cases: single entries, and listing the entries of a session. */
import type { JsonValue } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, mustGet } from "./reading.ts";

/** Keys in the order of their UTF-8 bytes; by UTF-16 the last two would come the other way round. */
const ORDERED_KEYS = [
  "\u0000",
  " ",
  "B",
  "a",
  "a\u0000",
  "a0",
  "aa",
  "b",
  "\u00e9",
  "\u4e2d",
  "\uff5e",
  "😀",
];

/** What every store must do with single entries. */
export const stateCases: readonly ConformanceCase[] = [
  storeCase("get returns the typed value", async (store) => {
    interface Cart {
      items: string[];
      total: number;
      open: boolean;
    }
    const sessionId = newId();
    await store.setState<Cart>(sessionId, "cart", { items: ["tea", "milk"], total: 4.25, open: true });
    const cart = expectDefined(await store.getState<Cart>(sessionId, "cart"), "the cart");
    expectEqual(cart.items.length, 2, "its items");
    expectEqual(cart.total + 1, 5.25, "its total");
    expectEqual(cart, { items: ["tea", "milk"], total: 4.25, open: true }, "the cart");
  }),

  storeCase("a missing key gives nothing", async (store) => {
    const sessionId = newId();
    expectEqual(await store.getState(sessionId, "a"), undefined, "a key of a missing session");
    expectEqual(await store.getEntry(sessionId, "a"), undefined, "an entry of a missing session");
    await store.setState(sessionId, "b", 1);
    expectEqual(await store.getState(sessionId, "a"), undefined, "a missing key");
    expectEqual(await store.getEntry(sessionId, "a"), undefined, "a missing entry");
    for (const key of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      expectEqual(await store.getState(sessionId, key), undefined, `the missing key ${key}`);
    }
  }),

  storeCase("a stored null is null, not missing", async (store) => {
    const sessionId = newId();
    const entry = await store.setState(sessionId, "a", null);
    expectEqual(entry.value, null, "the value as written");
    expectEqual(await store.getState(sessionId, "a"), null, "the value");
    expectEqual(await store.getEntry(sessionId, "a"), entry, "the entry");
    expectEqual((await mustGet(store, sessionId)).state, { a: null }, "the state");
  }),

  storeCase("set creates the session", async (store) => {
    const sessionId = newId();
    const entry = await store.setState(sessionId, "a", 1);
    const { createTime, updateTime, ...rest } = await mustGet(store, sessionId);
    expectEqual(rest, { sessionId, state: { a: 1 }, labels: {}, revision: entry.revision }, "the session");
    expectEqual(createTime, entry.updateTime, "its creation");
    expectEqual(updateTime, entry.updateTime, "its last write");
  }),

  storeCase("set updates", async (store, { clock }) => {
    const sessionId = newId();
    const first = await store.setState(sessionId, "a", { n: 1 });
    expectEqual(first.key, "a", "the key");
    await clock.advance(2);
    const second = await store.setState(sessionId, "a", { n: 2 });
    expectEqual(await store.getState(sessionId, "a"), { n: 2 }, "the value");
    expectEqual(second.revision, first.revision + 1, "the revision");
    expectTrue(second.updateTime > first.updateTime, "the entry's time moves");
    expectEqual(await store.getEntry(sessionId, "a"), second, "the entry read back");
  }),

  storeCase(
    "an entry keeps the revision and time of the commit that last wrote it",
    async (store, { clock }) => {
      const sessionId = newId();
      const first = await store.setState(sessionId, "a", 1);
      await clock.advance(2);
      await store.setState(sessionId, "b", 1);
      await store.deleteState(sessionId, "b");
      expectEqual(await store.getEntry(sessionId, "a"), first, "the entry after writes to another");
    },
  ),

  storeCase("what was read before is unchanged after", async (store) => {
    const sessionId = newId();
    await store.saveSession({ sessionId, state: { a: { n: [1] } }, labels: { l: "1" } });
    const session = await mustGet(store, sessionId);
    const value = await store.getState(sessionId, "a");
    const listed = await store.listState(sessionId);
    await store.setState(sessionId, "a", { n: [2] });
    await store.saveSession({ sessionId, state: { a: 3 }, labels: { l: "2" } });
    await store.deleteSession(sessionId);
    expectEqual(session.state, { a: { n: [1] } }, "the session read before");
    expectEqual(session.labels, { l: "1" }, "its labels");
    expectEqual(value, { n: [1] }, "the value read before");
    expectEqual(listed.entries[0]?.value, { n: [1] }, "the entry listed before");
  }),

  storeCase("what is returned is the caller's own", async (store) => {
    const sessionId = newId();
    const saved = await store.saveSession({ sessionId, state: { a: { n: [1] } }, labels: { l: "1" } });
    const reads: (() => Promise<unknown>)[] = [
      async () => saved,
      () => store.getSession(sessionId),
      () => store.getState(sessionId, "a"),
      () => store.getEntry(sessionId, "a"),
      () => store.listState(sessionId),
      () => store.listSessions({ view: "FULL", sessionIdPrefix: sessionId }),
      () => store.listEvents(sessionId),
      () => store.batch([{ kind: "getSession", sessionId }]),
    ];
    for (const read of reads) {
      spoil(await read());
    }
    expectEqual(await store.getState(sessionId, "a"), { n: [1] }, "the value");
    const after = await mustGet(store, sessionId);
    expectEqual(after.state, { a: { n: [1] } }, "the state");
    expectEqual(after.labels, { l: "1" }, "the labels");
    expectTrue(expectDefined(after.updateTime, "update_time").getTime() > 0, "the time");
    const { events } = await store.listEvents(sessionId);
    expectEqual(events[0]?.entries[0]?.value, { n: [1] }, "the history");
  }),

  storeCase("what was given is not kept by reference", async (store) => {
    const sessionId = newId();
    const value = { n: [1] };
    const state: Record<string, JsonValue> = { b: value };
    const labels: Record<string, string> = { l: "1" };
    const changes = [{ kind: "set" as const, key: "c", value: value as JsonValue }];
    await store.saveSession({ sessionId, state, labels });
    await store.setState(sessionId, "a", value);
    await store.commit(sessionId, { changes });
    value.n.push(2);
    state["more"] = 1;
    labels["l"] = "2";
    changes.length = 0;
    const after = await mustGet(store, sessionId);
    expectEqual(after.state, { a: { n: [1] }, b: { n: [1] }, c: { n: [1] } }, "the state");
    expectEqual(after.labels, { l: "1" }, "the labels");
  }),

  storeCase("a value is taken as it is at the call", async (store) => {
    const sessionId = newId();
    const value = { n: 1 };
    const writes = [
      store.setState(sessionId, "a", value),
      store.commit(sessionId, { changes: [{ kind: "set", key: "b", value }] }),
      store.batch([{ kind: "setState", sessionId, key: "c", value }]),
    ];
    value.n = 2;
    await Promise.all(writes);
    expectEqual(
      (await mustGet(store, sessionId)).state,
      { a: { n: 1 }, b: { n: 1 }, c: { n: 1 } },
      "the state",
    );
  }),

  storeCase("delete of a key says whether it was there", async (store) => {
    const sessionId = newId();
    expectEqual(await store.deleteState(sessionId, "a"), { deleted: false, revision: 0 }, "no session");
    expectEqual(await store.getSession(sessionId), undefined, "a delete creates no session");
    const { revision } = await store.setState(sessionId, "a", 1);
    const deleted = await store.deleteState(sessionId, "a");
    expectEqual(deleted, { deleted: true, revision: revision + 1 }, "the delete");
    expectEqual(await store.getState(sessionId, "a"), undefined, "the value");
    const again = await store.deleteState(sessionId, "a");
    expectEqual(again, { deleted: false, revision: revision + 1 }, "a second delete");
    expectEqual((await mustGet(store, sessionId)).state, {}, "the session stays, empty");
  }),

  storeCase("set under if_revision writes only at that revision of the entry", async (store) => {
    const sessionId = newId();
    const none = await expectReason(
      store.setState(sessionId, "a", 1, { ifRevision: 7 }),
      "REVISION_MISMATCH",
    );
    expectEqual(none.failedChecks, [{ key: "a", ifRevision: 7, actualRevision: 0 }], "the failed check");
    expectEqual(none.code, "ABORTED", "its code");
    expectEqual(await store.getSession(sessionId), undefined, "a refused set creates nothing");
    const first = await store.setState(sessionId, "a", 1, { ifRevision: 0 });
    await expectReason(store.setState(sessionId, "a", 2, { ifRevision: 0 }), "REVISION_MISMATCH");
    await store.setState(sessionId, "b", 1);
    const second = await store.setState(sessionId, "a", 3, { ifRevision: first.revision });
    const stale = await expectReason(
      store.setState(sessionId, "a", 4, { ifRevision: first.revision }),
      "REVISION_MISMATCH",
    );
    const failed = { key: "a", ifRevision: first.revision, actualRevision: second.revision };
    expectEqual(stale.failedChecks, [failed], "the failed check");
    expectEqual(await store.getState(sessionId, "a"), 3, "the value");
  }),

  storeCase("delete of a key under if_revision deletes only at that revision", async (store) => {
    const sessionId = newId();
    await expectReason(store.deleteState(sessionId, "a", { ifRevision: 1 }), "REVISION_MISMATCH");
    expectEqual(
      await store.deleteState(sessionId, "a", { ifRevision: 0 }),
      { deleted: false, revision: 0 },
      "a delete of what is not there",
    );
    const entry = await store.setState(sessionId, "a", 1);
    const error = await expectReason(
      store.deleteState(sessionId, "a", { ifRevision: 0 }),
      "REVISION_MISMATCH",
    );
    expectEqual(
      error.failedChecks,
      [{ key: "a", ifRevision: 0, actualRevision: entry.revision }],
      "the failed check",
    );
    expectEqual(await store.getState(sessionId, "a"), 1, "the value");
    const deleted = await store.deleteState(sessionId, "a", { ifRevision: entry.revision });
    expectEqual(deleted.deleted, true, "the delete at the revision");
    const gone = await expectReason(
      store.deleteState(sessionId, "a", { ifRevision: entry.revision }),
      "REVISION_MISMATCH",
    );
    expectEqual(gone.failedChecks[0]?.actualRevision, 0, "the revision of a deleted key");
  }),

  storeCase("a key made again after its deletion never has an old revision", async (store) => {
    const sessionId = newId();
    const first = await store.setState(sessionId, "a", 1);
    await store.deleteState(sessionId, "a");
    const second = await store.setState(sessionId, "a", 1);
    expectTrue(second.revision > first.revision + 1, "the new revision");
    await expectReason(
      store.setState(sessionId, "a", 2, { ifRevision: first.revision }),
      "REVISION_MISMATCH",
    );
  }),

  storeCase("entries are listed in the order of their keys' bytes", async (store) => {
    const sessionId = newId();
    const backwards = [...ORDERED_KEYS].reverse();
    const saved = await store.saveSession({
      sessionId,
      state: Object.fromEntries(backwards.map((key, i) => [key, i])),
    });
    const keys = async (options?: Parameters<typeof store.listState>[1]): Promise<string[]> =>
      (await allEntries(store, sessionId, options)).map(({ key }) => key);
    expectEqual(await keys(), ORDERED_KEYS, "the keys");
    expectEqual(await keys({ reverse: true }), backwards, "the keys, reversed");
    expectEqual(await keys({ keyPrefix: "a" }), ["a", "a\u0000", "a0", "aa"], "the keys with a prefix");
    expectEqual(await keys({ keyPrefix: "\uff5e" }), ["\uff5e"], "the keys with a prefix of three bytes");
    expectEqual(await keys({ startAfter: "a0" }), ORDERED_KEYS.slice(6), "the keys after one");
    expectEqual(
      await keys({ startAfter: "a1" }),
      ORDERED_KEYS.slice(6),
      "the keys after one that is not there",
    );
    expectEqual(await keys({ startAfter: "\uff5e" }), ["😀"], "the keys after one of three bytes");
    expectEqual(await keys({ startAfter: "😀" }), [], "the keys after the last");
    expectEqual(
      await keys({ startAfter: "aa", reverse: true }),
      backwards.slice(6),
      "the keys before one, reversed",
    );
    expectEqual(
      await keys({ keyPrefix: "a", startAfter: "aa", reverse: true }),
      ["a0", "a\u0000", "a"],
      "prefix, start and direction together",
    );
    expectEqual(await keys({ keyPrefix: "b", startAfter: "a" }), ["b"], "a start before the prefix");
    expectEqual(await keys({ keyPrefix: "a", startAfter: "b" }), [], "a start behind the prefix");
    const { entries } = await store.listState(sessionId, { pageSize: 1 });
    const key = ORDERED_KEYS[0] ?? "";
    expectEqual(entries, [await store.getEntry(sessionId, key)], "a listed entry is whole");
    expectEqual(entries[0]?.revision, saved.revision, "its revision");
  }),

  storeCase("a listing of entries comes in pages", async (store, { limits }) => {
    const sessionId = newId();
    expectEqual(await store.listState(sessionId), { entries: [], nextPageToken: "" }, "a missing session");
    const total = Math.min(limits.pageSize, limits.entries - 1, 200) + 1;
    const keys = Array.from({ length: total }, (_, i) => `k${String(i).padStart(4, "0")}`);
    await store.saveSession({ sessionId, state: Object.fromEntries(keys.map((key, i) => [key, i])) });
    for (const pageSize of [1, 7, limits.pageSize + 10]) {
      for (const reverse of [false, true]) {
        const seen: string[] = [];
        let pageToken = "";
        do {
          const page = await store.listState(sessionId, { pageSize, reverse, pageToken });
          expectTrue(page.entries.length <= Math.min(pageSize, limits.pageSize), "a page keeps its size");
          expectTrue(page.entries.length > 0 || page.nextPageToken === "", "a page goes on");
          seen.push(...page.entries.map(({ key }) => key));
          pageToken = page.nextPageToken;
        } while (pageToken !== "");
        expectEqual(seen, reverse ? [...keys].reverse() : keys, `pages of ${pageSize}`);
      }
    }
    const first = await store.listState(sessionId, { pageSize: 0 });
    expectTrue(first.entries.length <= 100, "a page without a size is of 100 at most");
  }),

  storeCase(
    "a listing of entries gives each key that stays just once while others come and go",
    async (store) => {
      const sessionId = newId();
      const stay = Array.from({ length: 9 }, (_, i) => `k${i}0`);
      await store.saveSession({ sessionId, state: Object.fromEntries(stay.map((key) => [key, 1])) });
      const seen: string[] = [];
      let pageToken = "";
      for (let round = 0; round === 0 || pageToken !== ""; round += 1) {
        const page = await store.listState(sessionId, { pageSize: 2, pageToken });
        seen.push(...page.entries.map(({ key }) => key));
        pageToken = page.nextPageToken;
        await store.setState(sessionId, `k${round}5`, 1);
        await store.setState(sessionId, `k0${round}`, 1);
        await store.deleteState(sessionId, seen.at(-1) ?? "");
        expectTrue(round < 100, "the listing ends");
      }
      expectEqual(new Set(seen).size, seen.length, "no key comes twice");
      expectEqual(
        seen.filter((key) => stay.includes(key)),
        stay,
        "the keys that stayed until they were listed",
      );
    },
  ),

  storeCase("a page token is good for its own listing only", async (store) => {
    const [sessionId, other] = [newId(), newId()];
    for (const id of [sessionId, other]) {
      await store.saveSession({ sessionId: id, state: { a: 1, b: 2, c: 3 } });
    }
    const { nextPageToken: pageToken } = await store.listState(sessionId, { pageSize: 1 });
    expectTrue(pageToken !== "", "there is another page");
    const next = await store.listState(sessionId, { pageSize: 2, pageToken });
    expectEqual(next.entries[0]?.key, "b", "the next page, of another size");
    const wrong: (() => Promise<unknown>)[] = [
      () => store.listState(sessionId, { pageToken: "no token" }),
      () => store.listState(sessionId, { pageToken: `${pageToken}x` }),
      () => store.listState(sessionId, { pageToken: "\ud800" }),
      () => store.listState(other, { pageToken }),
      () => store.listState(sessionId, { pageToken, reverse: true }),
      () => store.listState(sessionId, { pageToken, keyPrefix: "a" }),
      () => store.listState(sessionId, { pageToken, startAfter: "a" }),
      () => store.listState(sessionId, { pageToken, atRevision: 1 }),
      () => store.listSessions({ pageToken }),
      () => store.listEvents(sessionId, { pageToken }),
    ];
    for (const call of wrong) {
      await expectReason(call(), "INVALID_PAGE_TOKEN");
    }
  }),
];

/** Changes everything in an answer that can be changed. */
function spoil(value: unknown): void {
  if (value instanceof Date) {
    value.setTime(0);
  } else if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const [name, member] of Object.entries(value)) {
      spoil(member);
      Reflect.set(value, name, "spoilt");
    }
  }
}
