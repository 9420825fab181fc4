import type { StandardSchemaV1 } from "@standard-schema/spec";
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { WorkflowStateError } from "../src/errors.ts";
import { openSession, type TypedSession, type TypedWatchMessage, update } from "../src/session.ts";
import type { JsonValue, WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { errorOf, untyped } from "./support/failures.ts";

const schemas = {
  items: z.array(z.string()).max(3),
  total: z.number().nonnegative(),
  address: z.object({ city: z.string(), zip: z.string().optional() }),
  due: z.iso.datetime().transform((text) => new Date(text)),
  note: z.union([z.null(), z.string()]),
};

let store: WorkflowStateStore;
let cart: TypedSession<typeof schemas>;

beforeEach(() => {
  store = jsonStore(memoryStore());
  cart = openSession(store, "cart-1", schemas);
});

afterEach(() => store.close());

/** Expects INVALID_VALUE of a key at a path, without a word of the value. */
async function expectMisfit(promise: Promise<unknown>, key: string, path: string): Promise<void> {
  const error = await errorOf(promise);
  expect([error.reason, error.metadata]).toEqual(["INVALID_VALUE", { key, path }]);
  expect(error.message).not.toContain("secret");
}

const state = async (): Promise<Record<string, JsonValue> | undefined> =>
  (await store.getSession("cart-1"))?.state;

describe("one key", () => {
  test("is read and written as its schema says", async () => {
    expect(await cart.get("items")).toBeUndefined();
    const entry = await cart.set("items", ["tea"], { ifRevision: 0, ttlMs: 1e6 });
    expect(entry).toMatchObject({ key: "items", value: ["tea"], revision: 1, expireTime: expect.any(Date) });
    expect(await cart.get("items")).toEqual(["tea"]);
    await cart.set("note", null);
    expect(await cart.get("note")).toBeNull();
    expect(await cart.entry("note")).toMatchObject({ key: "note", value: null, revision: 2 });
    expect(await cart.entry("total")).toBeUndefined();
    expect(await cart.get("note", { atRevision: 1 })).toBeUndefined();
    expect(await cart.delete("note", { ifRevision: 2 })).toEqual({ deleted: true, revision: 3 });
    expectTypeOf(await cart.get("items")).toEqualTypeOf<string[] | undefined>();
  });

  test("is stored as it is given, and read as its schema makes it", async () => {
    const entry = await cart.set("due", "2026-11-22T00:00:00Z");
    expect(entry.value).toEqual(new Date("2026-11-22"));
    expect(await cart.get("due")).toEqual(new Date("2026-11-22"));
    expect(await store.getState("cart-1", "due")).toBe("2026-11-22T00:00:00Z");
    expectTypeOf(await cart.get("due")).toEqualTypeOf<Date | undefined>();
  });

  test("that doesn't fit is not written", async () => {
    await expectMisfit(cart.set("items", untyped(["a", "b", { secret: "secret" }])), "items", "$[2]");
    await expectMisfit(cart.set("address", untyped({ city: "secret", zip: 7 })), "address", "$.zip");
    await expectMisfit(cart.set("total", untyped("secret")), "total", "$");
    expect((await errorOf(cart.set("total", Number.NaN))).metadata).toEqual({ key: "total", path: "$" });
    expect(await state()).toBeUndefined();
  });

  test("that doesn't fit any more is not returned", async () => {
    await store.setState("cart-1", "items", ["secret", 3, 4]);
    await expectMisfit(cart.get("items"), "items", "$[1]");
    expect((await errorOf(cart.get("items"))).message).toContain("in 1 more respect");
    await expectMisfit(cart.entry("items"), "items", "$[1]");
    await expectMisfit(cart.state(), "items", "$[1]");
  });

  test("is written as it was checked, whatever the caller does meanwhile", async () => {
    const items = ["tea"];
    const set = cart.set("items", items);
    items.push(untyped(7));
    await set;
    expect(await cart.get("items")).toEqual(["tea"]);
  });

  test("without a schema is no key of the session", async () => {
    const other = untyped<"items">("other");
    for (const call of [
      cart.get(other),
      cart.set(other, []),
      cart.delete(other),
      cart.append(other, []),
      cart.get(untyped<"items">("constructor")),
      cart.commit({ changes: [{ kind: "delete", key: other }], requestId: "r" }),
    ]) {
      expect((await errorOf(call)).reason).toBe("INVALID_REQUEST");
    }
  });
});

describe("computed changes", () => {
  test("give what is there after them", async () => {
    expect(await cart.increment("total")).toBe(1);
    expect(await cart.increment("total", 2, { metadata: { userId: "u" } })).toBe(3);
    expect(await cart.append("items", ["a", "b"])).toEqual(["a", "b"]);
    expect(await cart.append("items", ["c", "d"], { maxItems: 3 })).toEqual(["b", "c", "d"]);
    expect(await cart.merge("address", { city: "Linz", zip: "4020" })).toEqual({ city: "Linz", zip: "4020" });
    expect(await cart.merge("address", { zip: null })).toEqual({ city: "Linz" });
    expect((await store.getSession("cart-1"))?.userId).toBe("u");
    expectTypeOf(cart.increment).parameter(0).toEqualTypeOf<"total">();
    expectTypeOf(cart.append).parameter(0).toEqualTypeOf<"items">();
    expectTypeOf(cart.merge).parameter(0).toEqualTypeOf<"address">();
  });

  test("whose result doesn't fit are not made", async () => {
    await cart.set("items", ["a", "b"]);
    await cart.set("total", 1);
    await expectMisfit(cart.append("items", ["c", "secret"]), "items", "$");
    await expectMisfit(cart.append("items", untyped([{ secret: 1 }])), "items", "$[2]");
    await expectMisfit(cart.increment("total", -2), "total", "$");
    await expectMisfit(cart.merge("address", { zip: "secret" }), "address", "$.city");
    expect((await errorOf(cart.increment("total", 2 ** 53))).reason).toBe("NUMBER_OUT_OF_RANGE");
    expect(await state()).toEqual({ items: ["a", "b"], total: 1 });
  });

  test("are never lost, whoever else makes them", async () => {
    await Promise.all(Array.from({ length: 50 }, () => cart.increment("total")));
    expect(await cart.get("total")).toBe(50);
  });

  test("with a request id are made once, and checked by themselves", async () => {
    const options = { requestId: "r" };
    await cart.set("items", ["a", "b"]);
    expect(await cart.append("items", ["c"], options)).toEqual(["a", "b", "c"]);
    expect(await cart.append("items", ["c"], options)).toEqual(["a", "b", "c"]);
    await expectMisfit(cart.append("items", untyped([7]), { requestId: "r2" }), "items", "$[0]");
    // What is there then is for the next reader to find: it can't be known here.
    await expectMisfit(cart.append("items", ["d"], { requestId: "r3" }), "items", "$");
    expect(await store.getState("cart-1", "items")).toHaveLength(4);
  });
});

describe("a commit", () => {
  test("makes all its changes, each checked", async () => {
    await cart.set("note", "x");
    const { revision, entries } = await cart.commit({
      checks: [{ key: "note", ifRevision: 1 }],
      changes: [
        { kind: "set", key: "total", value: 1 },
        { kind: "increment", key: "total", delta: 2 },
        { kind: "set", key: "items", value: ["a"], ttlMs: 1e6 },
        { kind: "append", key: "items", values: ["b"] },
        { kind: "merge", key: "address", value: { city: "Linz" } },
        { kind: "delete", key: "note" },
      ],
    });
    expect(revision).toBe(2);
    expect(entries.map(({ key, value }) => [key, value])).toEqual([
      ["total", 3],
      ["items", ["a", "b"]],
      ["address", { city: "Linz" }],
      ["note", undefined],
    ]);
    expect(
      await cart.commit({ requestId: "x", changes: [{ kind: "set", key: "total", value: 1 }] }),
    ).toMatchObject({ revision: 3 });
    expect(await cart.commit({})).toMatchObject({ revision: 3, entries: [] });
  });

  test("of which one change doesn't fit makes none", async () => {
    const changes = [
      { kind: "set", key: "note", value: "x" },
      { kind: "set", key: "total", value: -1 },
    ] as const;
    await expectMisfit(cart.commit({ changes }), "total", "$");
    await expectMisfit(cart.commit({ changes, requestId: "r" }), "total", "$");
    expect(await state()).toBeUndefined();
  });

  test("aborts by its signal", async () => {
    const signal = AbortSignal.abort("enough");
    const changes = [{ kind: "increment", key: "total", delta: 1 }] as const;
    await expect(cart.commit({ changes, signal })).rejects.toBe("enough");
    await expect(cart.get("total", { signal })).rejects.toBe("enough");
  });
});

describe("all keys", () => {
  test("are read at once, those with a schema", async () => {
    expect(await cart.state()).toEqual({});
    await store.saveSession({
      sessionId: "cart-1",
      state: { items: ["a"], due: "2026-01-01T00:00:00Z", other: "x" },
    });
    expect(await cart.state()).toEqual({ items: ["a"], due: new Date("2026-01-01") });
  });

  test("may have names of any kind", async () => {
    const named = openSession(store, "named", Object.fromEntries([["__proto__", z.number()]]));
    await named.set("__proto__", 1);
    expect(Object.entries(await named.state())).toEqual([["__proto__", 1]]);
    expect(await named.get("__proto__")).toBe(1);
  });

  test("are followed, decoded by their schemas", async () => {
    await store.saveSession({ sessionId: "cart-1", state: { due: "2026-01-01T00:00:00Z", other: 1 } });
    const messages: TypedWatchMessage<typeof schemas>[] = [];
    await store.commit("cart-1", {
      changes: [
        { kind: "set", key: "total", value: 1 },
        { kind: "set", key: "other", value: 2 },
        { kind: "delete", key: "due" },
      ],
    });
    for await (const message of cart.watch({ afterRevision: 0 })) {
      messages.push(message);
      if (messages.length === 2) break;
    }
    expect(messages).toMatchObject([
      { kind: "event", event: { revision: 1, entries: [{ key: "due", value: new Date("2026-01-01") }] } },
      { kind: "event", event: { revision: 2, entries: [{ key: "total", value: 1 }, { key: "due" }] } },
    ]);
    const watch = cart.watch()[Symbol.asyncIterator]();
    expect(await watch.next()).toMatchObject({
      value: { kind: "snapshot", revision: 2, state: { total: 1 } },
    });
    const next = watch.next();
    await store.setState("cart-1", "total", "secret");
    await expectMisfit(next, "total", "$");
  });

  test("of a session where nothing happens give progress", async () => {
    const quick = jsonStore(memoryStore({ progressIntervalMs: 1 }));
    const watch = openSession(quick, "s", schemas).watch({ afterRevision: 0 })[Symbol.asyncIterator]();
    expect(await watch.next()).toMatchObject({ value: { kind: "progress", revision: 0 } });
    await watch.return?.();
    await quick.close();
  });
});

describe("an update", () => {
  test("changes keys as an object, typed", async () => {
    const count = await cart.update((draft) => {
      draft.items = [...(draft.items ?? []), "tea"];
      draft.total = (draft.total ?? 0) + 1;
      draft.due = "2026-01-01T00:00:00Z";
      return draft.items.length;
    });
    expect(count).toBe(1);
    await cart.update(async (draft) => {
      draft.items?.push("milk");
      delete draft.total;
    });
    expect(await state()).toEqual({ items: ["tea", "milk"], due: "2026-01-01T00:00:00Z" });
    const typed = (draft: { items?: string[]; due?: string }): void => void draft;
    await cart.update(typed);
  });

  test("that leaves what doesn't fit writes nothing", async () => {
    await cart.set("items", ["a"]);
    const pushed = cart.update((draft) => void draft.items?.push("b", "c", "secret"));
    await expectMisfit(pushed, "items", "$");
    const assigned = cart.update((draft) => {
      draft.address = untyped({ city: 7 });
    });
    await expectMisfit(assigned, "address", "$.city");
    expect(await state()).toEqual({ items: ["a"] });
  });

  test("meets what doesn't fit where it looks at it, and may replace it", async () => {
    await store.saveSession({ sessionId: "cart-1", state: { total: "secret", items: ["a"] } });
    const looked = cart.update((draft) => (draft.total ?? 0) + 1);
    await expectMisfit(looked, "total", "$");
    await cart.update((draft) => {
      draft.total = 1;
    });
    await cart.update((draft) => {
      delete draft.items;
    });
    expect(await state()).toEqual({ total: 1 });
  });

  test("sees the keys that have a schema, and no others", async () => {
    await store.saveSession({ sessionId: "cart-1", state: { total: 1, items: ["a"], other: "x" } });
    const seen = await cart.update((draft) => {
      const others = draft as Record<string, unknown>;
      expect(() => {
        others["other"] = 1;
      }).toThrow(WorkflowStateError);
      expect(() => Object.freeze(draft)).toThrow(TypeError);
      expect(() => Object.setPrototypeOf(draft, null)).toThrow(TypeError);
      expect(() => Object.assign(draft, { [Symbol.iterator]: 1 })).toThrow(TypeError);
      Object.defineProperty(draft, "note", { value: "defined", configurable: true });
      expect(Object.getOwnPropertyDescriptor(draft, "other")).toBeUndefined();
      return [others["other"], "other" in draft, "total" in draft, Object.keys(draft), { ...draft }];
    });
    const whole = { items: ["a"], total: 1, note: "defined" };
    expect(seen).toEqual([undefined, false, true, ["items", "total", "note"], whole]);
    expect(await cart.update((draft) => draft)).toEqual(whole);
    expect(await cart.update(async (draft) => Object.assign(draft, { total: 2 }))).toEqual({
      ...whole,
      total: 2,
    });
    expect(await state()).toEqual({ ...whole, total: 2, other: "x" });
  });

  test("conflicts only about the keys that it touched", async () => {
    let attempts = 0;
    await cart.update(async (draft) => {
      attempts += 1;
      draft.total = (draft.total ?? 0) + 1;
      await store.setState("cart-1", "other", attempts);
    });
    expect([attempts, await cart.get("total")]).toEqual([1, 1]);
  });

  test("is there as a function, too", async () => {
    const returned = await update(store, "s", (draft: { n?: number }) => {
      draft.n = 1;
      return "done";
    });
    expect([returned, await store.getState("s", "n")]).toEqual(["done", 1]);
  });
});

describe("optional schemas", () => {
  test("are of the kind of their values", async () => {
    const session = openSession(store, "s", {
      n: z.number().optional(),
      m: z.number().default(0),
      list: z.array(z.string()).optional(),
      object: z.object({ city: z.string().optional() }).default({}),
      text: z.string().optional(),
    });
    expect(await session.increment("n", 2)).toBe(2);
    expect(await session.append("list", ["a"])).toEqual(["a"]);
    expect(await session.merge("object", { city: "Oslo" })).toEqual({ city: "Oslo" });
    const { entries } = await session.commit({
      changes: [
        { kind: "increment", key: "m", delta: 1 },
        { kind: "append", key: "list", values: ["b"] },
        { kind: "merge", key: "object", value: { city: null } },
      ],
    });
    expect(entries.map(({ value }) => value)).toEqual([1, ["a", "b"], {}]);
    expectTypeOf<Parameters<typeof session.increment>[0]>().toEqualTypeOf<"n" | "m">();
    expectTypeOf<Parameters<typeof session.append>[0]>().toEqualTypeOf<"list">();
    expectTypeOf<Parameters<typeof session.append>[1]>().toEqualTypeOf<string[]>();
    expectTypeOf<Parameters<typeof session.merge>[0]>().toEqualTypeOf<"object">();
  });
});

describe("asynchronous schemas", () => {
  /** Any number but 13, after a while. */
  const lucky: StandardSchemaV1<number, string> = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: async (value) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return value === 13
          ? { issues: [{ message: "13!", path: [{ key: "a" }, 0, Symbol("s")] }] }
          : { value: `n${value}` };
      },
    },
  };

  test("are waited for", async () => {
    const session = openSession(store, "s", { n: lucky });
    expect((await session.set("n", 1)).value).toBe("n1");
    expect(await session.get("n")).toBe("n1");
    expect(await session.increment("n", 11)).toBe("n12");
    await expectMisfit(session.set("n", 13), "n", '$.a[0]["Symbol(s)"]');
    await expectMisfit(session.increment("n"), "n", '$.a[0]["Symbol(s)"]');
    await session.update((draft) => {
      draft.n = (draft.n ?? 0) + 2;
    });
    const unlucky = session.update((draft) => {
      draft.n = (draft.n ?? 0) - 1;
    });
    await expectMisfit(unlucky, "n", '$.a[0]["Symbol(s)"]');
    expect(await session.get("n")).toBe("n14");
  });
});
