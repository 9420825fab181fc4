import { afterAll, describe, expect, test } from "vitest";
import { identical, type Json, jsonOf, made, parseJson, readData, readVectors } from "../../interop/data.ts";
import { nearMiss, nearMisses } from "../../interop/near-misses.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";

const vectors = readVectors();
const memory = memoryStore();
const store = jsonStore(memory);

afterAll(() => memory.close());

describe("the vectors", () => {
  test("have a name and a key each that no other has", () => {
    expect(new Set(vectors.map(({ name }) => name)).size).toBe(vectors.length);
    expect(new Set(vectors.map(({ key }) => key)).size).toBe(vectors.length);
  });

  test("are all accepted and read back, also as one session in one answer", async () => {
    for (const { key, value } of vectors) await store.setState("all", key, value);
    for (const { name, key, value } of vectors) {
      expect(identical(await store.getState("all", key), value), name).toBe(true);
    }
    expect(jsonOf(vectors).length).toBeLessThan(4 << 20);
  });

  test("go up to the limits: more of the same is refused", async () => {
    const one = (name: string): { key: string; value: Json } => {
      const found = vectors.find((vector) => vector.name === name);
      if (found === undefined) throw new Error(`There is no vector ${name}.`);
      return found;
    };
    const set = (key: string, value: unknown) => store.setState("more", key, value as Json);
    await expect(set("k", `${one("1 MiB of ASCII").value}a`)).rejects.toMatchObject({
      reason: "VALUE_TOO_LARGE",
    });
    await expect(set("k", `${one("1 MiB of emoji").value}a`)).rejects.toMatchObject({
      reason: "VALUE_TOO_LARGE",
    });
    for (const name of ["10,000 values in a list", "10,000 empty lists", "10,000 nulls"]) {
      await expect(set("k", [...(one(name).value as Json[]), 0])).rejects.toMatchObject({
        reason: "INVALID_VALUE",
      });
    }
    const object = one("10,000 values in an object").value as { [key: string]: Json };
    await expect(set("k", { ...object, more: 0 })).rejects.toMatchObject({ reason: "INVALID_VALUE" });
    for (const { value } of vectors.filter(({ name }) => name.startsWith("32 levels"))) {
      await expect(set("k", [value])).rejects.toMatchObject({ reason: "INVALID_VALUE" });
    }
    for (const { key } of vectors.filter(({ name }) => name.startsWith("a key of 512 bytes"))) {
      expect(Buffer.byteLength(key)).toBe(512);
      await expect(set(`${key}k`, 1)).rejects.toMatchObject({ reason: "INVALID_KEY" });
    }
  });

  test("are told from what is nearly the same", () => {
    const missed = nearMisses(vectors);
    expect(missed).toHaveLength(vectors.length + 1);
    for (const [at, { name, value }] of vectors.entries()) {
      expect(identical(missed[at]?.value, value), name).toBe(false);
      expect(identical(value, missed[at]?.value), name).toBe(false);
    }
  });

  test.each([
    [true, 1],
    [0, false],
    [1, 1.0000000000000002],
    [Number.MAX_VALUE, 1.7976931348623155e308],
    ["é", "e\u0301"],
    ["e\u0301", "é"],
    ["", "\u200b"],
    ["\u{10ffff}", "\u{10fffe}"],
    [[], {}],
    [{}, []],
    [
      [1, null],
      [1, false],
    ],
    [{ a: [""] }, { a: ["\u200b"] }],
  ] as [Json, Json][])("nearly %j is %j", (value, near) => {
    expect(nearMiss(value)).toEqual(near);
  });
});

describe("what is made", () => {
  test.each([
    [{ repeat: "ab", times: 3 }, '"ababab"'],
    [{ text: ["$", ["[0]", 2], "!"] }, '"$[0][0]!"'],
    [{ codePoints: [0xd7ff, 0xe001, 1] }, '"\ud7ff\ue000\ue001"'],
    [{ codePoints: [97, 102, 2] }, '"ace"'],
    [{ list: 2, of: { a: [] } }, '[{"a":[]},{"a":[]}]'],
    [{ object: 2 }, '{"k0":0,"k1":1}'],
    [{ object: 1, name: { $make: { repeat: "n", times: 2 } } }, '{"nn0":0}'],
    [{ nest: 3, in: "list", of: 1 }, "[[1]]"],
    [{ nest: 3, in: "object", of: [] }, '{"a":{"a":[]}}'],
    [{ nest: 4, in: "both", of: 1 }, '{"a":[{"a":1}]}'],
    [{ json: "1.0" }, "1.0"],
    [{ given: "url" }, '"http://here"'],
  ] as [Json, string][])("by %j is %s", (recipe, text) => {
    expect(jsonOf(made([{ $make: recipe }], { url: "http://here" }))).toBe(`[${text}]`);
  });

  test("leaves everything else as it is", () => {
    const text = '{"a":[{"$make":{"json":"1"},"b":2}],"__proto__":{"$make":3,"c":null}}';
    expect(jsonOf(made(parseJson(Buffer.from(text)), {}))).toBe(text);
  });

  test("fails for what is not given", () => {
    expect(() => readData("behaviour.json")).toThrow("Nothing is given");
  });
});

test("numbers are written so that nobody takes them for what they are not", () => {
  expect(jsonOf([-0, 0, 1, 2 ** 53, 2 ** 53 + 2, -(2 ** 64), 1e21, 0.1])).toBe(
    "[-0.0,0,1,9007199254740992,9007199254740994.0,-18446744073709552000.0,1e+21,0.1]",
  );
});

test("a key with an escape is read as it is, whatever was read before", () => {
  expect(parseJson(Buffer.from('[{"first":1,"\\\\":2},{"first":1,"\\n":2}]'))).toEqual([
    { first: 1, "\\": 2 },
    { first: 1, "\n": 2 },
  ]);
});

test.each([
  [0, -0, true],
  [1, 1.0000000000000002, false],
  [1, true, false],
  [null, undefined, false],
  [[], {}, false],
  [{ a: 1, b: 2 }, { b: 2, a: 1 }, true],
  [{ a: 1 }, { a: 1, b: undefined }, false],
  [{ ["__proto__"]: 1 }, {}, false],
  [[1, 2], [2, 1], false],
  ["é", "e\u0301", false],
])("%j and %j are identical: %j", (a, b, same) => {
  expect(identical(a, b)).toBe(same);
});
