import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import type { Draft, JsonValue, WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";

/** Names that mean something to the language. */
const PROTO = "__proto__";
const THEN = "then";

let store: WorkflowStateStore;

beforeEach(() => {
  store = jsonStore(memoryStore());
});

afterEach(() => store.close());

describe("the draft as an object", () => {
  /** What a function makes of a draft of `{ a: 1, b: { c: 2 } }`. */
  async function on<R>(change: (draft: Draft) => R): Promise<R> {
    await store.saveSession({ sessionId: "s", state: { a: 1, b: { c: 2 } } });
    return store.update("s", change);
  }

  test("reads like one", async () => {
    expect(await on((draft) => ({ ...draft }))).toEqual({ a: 1, b: { c: 2 } });
    expect(await on((draft) => JSON.stringify(draft))).toBe('{"a":1,"b":{"c":2}}');
    expect(await on((draft) => ["a" in draft, "x" in draft, Symbol.iterator in draft])).toEqual([
      true,
      false,
      false,
    ]);
    expect(await on((draft) => Object.getOwnPropertyDescriptor(draft, "x"))).toBeUndefined();
    expect(await on((draft) => draft["toString"])).toBeUndefined();
    expect(await on((draft) => draft[""])).toBeUndefined();
    expect(await on((draft) => Object.getPrototypeOf(draft))).toBeNull();
    expect(await on((draft) => Object.getOwnPropertyDescriptor(draft, Symbol.iterator))).toBeUndefined();
  });

  test("prints as its state", async () => {
    expect(await on((draft) => inspect(draft))).toBe("{ a: 1, b: { c: 2 } }");
  });

  test("shows what was written before it is committed", async () => {
    const seen = await on((draft) => {
      draft["a"] = 5;
      draft["z"] = 1;
      delete draft["b"];
      draft["y"] = 1;
      delete draft["y"];
      return [draft["a"], draft["b"], Object.keys(draft), "b" in draft, "z" in draft, { ...draft }];
    });
    expect(seen).toEqual([5, undefined, ["a", "z"], false, true, { a: 5, z: 1 }]);
    expect((await store.getSession("s"))?.state).toEqual({ a: 5, z: 1 });
  });

  test("takes keys of any name", async () => {
    await on((draft) => {
      draft[PROTO] = { polluted: true };
      draft["constructor"] = 1;
      draft[THEN] = "a word";
      Object.defineProperty(draft, "hasOwnProperty", { value: 2, configurable: true });
    });
    const state = (await store.getSession("s"))?.state as Record<string, JsonValue>;
    expect(Object.keys(state).sort()).toEqual([
      "__proto__",
      "a",
      "b",
      "constructor",
      "hasOwnProperty",
      "then",
    ]);
    expect(Object.getOwnPropertyDescriptor(state, "__proto__")?.value).toEqual({ polluted: true });
    expect(await store.update("s", (draft) => draft[THEN])).toBe("a word");
    const copy = await store.update("s", (draft) => [draft, Object.keys(draft).length]);
    expect(copy[1]).toBe(6);
  });

  test("refuses what a state can't be", async () => {
    await on((draft) => {
      expect(() => Object.freeze(draft)).toThrow(TypeError);
      expect(() => Object.setPrototypeOf(draft, Array.prototype)).toThrow(TypeError);
      expect(() => Object.defineProperty(draft, "x", { get: () => 1, configurable: true })).toThrow(
        TypeError,
      );
      expect(() => Object.defineProperty(draft, "x", { value: 1, configurable: false })).toThrow(TypeError);
      expect(() => Object.assign(draft, { [Symbol.iterator]: 1 })).toThrow(TypeError);
    });
    expect((await store.getSession("s"))?.revision).toBe(1);
  });

  test("refuses what comes too late to be written", async () => {
    let kept: Draft = {};
    await on((draft) => {
      kept = draft;
    });
    expect(() => {
      kept["a"] = 2;
    }).toThrow(WorkflowStateError);
    expect(kept["a"]).toBe(1);
  });
});
