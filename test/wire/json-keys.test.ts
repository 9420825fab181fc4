import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/store.ts";
import { jsonText, restoredKey, restoreKeys } from "../../src/wire/json-keys.ts";
import { jsonValues, MISREAD_KEYS, stored } from "../support/values.ts";

const encoder = new TextEncoder();

function decoded(text: string): string {
  return jsonText.decode(encoder.encode(text));
}

/** What a JSON document says, as the service reads it. */
function read(text: string): JsonValue {
  const document = { value: JSON.parse(decoded(text)) as JsonValue };
  restoreKeys(document);
  return document.value;
}

/** Any character of a JSON text, as any writer may put it. */
const written = (text: string, ways: readonly number[]): string =>
  `"${[...text].map((character, n) => (ways[n % ways.length] === 0 ? [...units(character)].join("") : JSON.stringify(character).slice(1, -1))).join("")}"`;

function* units(character: string): Generator<string> {
  for (let n = 0; n < character.length; n++) {
    yield `\\u${character.charCodeAt(n).toString(16).padStart(4, "0")}`;
  }
}

/** A document as JSON, its strings with more or fewer escapes and its tokens with spaces. */
function json(value: JsonValue, ways: readonly number[]): string {
  const space = [" ", "", "\n\t", "\r"][ways[0] ?? 0] ?? "";
  if (typeof value === "string") return written(value, ways);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) {
    return `[${value.map((item: JsonValue) => json(item, ways)).join(`${space},${space}`)}]`;
  }
  const members = Object.entries(value).map(
    ([key, item]) => `${written(key, ways)}${space}:${space}${json(item, ways)}`,
  );
  return `{${members.join(`,${space}`)}${space}}`;
}

/** Objects that V8 would take for those that are read; kept, so that it doesn't forget them. */
const shapes = ["\\", "\\u", "\\n", "\\u0", 'a"'].map((key) =>
  JSON.parse(`{"first":1,${JSON.stringify(key)}:2}`),
);

const keys = fc.oneof(
  fc.constantFrom(...MISREAD_KEYS, "__proto__", "first"),
  fc
    .array(fc.constantFrom('"', "\\", "\n", "\u0000", "\u001f", "\u007f", "\ufdd0", "000a", "u", "é", "🛒"), {
      maxLength: 4,
    })
    .map((parts) => parts.join("")),
);
const documents = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "medium" },
    jsonValues,
    keys,
    fc.array(fc.tuple(keys, tie("value"))).map((members) => Object.fromEntries([["first", 1], ...members])),
  ),
})).value;

describe("a JSON document", () => {
  test("reads as it was written, whatever its keys and however they are escaped", () => {
    expect(shapes).toHaveLength(5);
    fc.assert(
      fc.property(documents, fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }), (document, ways) => {
        const text = json(document, ways);
        expect(isDeepStrictEqual(read(text), stored(document))).toBe(true);
        const keysOf = decoded(text).match(/"(?:[^"\\]|\\.)*"(?=\s*:)/gs) ?? [];
        expect(keysOf.filter((key) => key.includes("\\"))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  test.each(MISREAD_KEYS)("keeps the key %j, beside all others", (key) => {
    const members = Object.fromEntries([
      ["first", 1],
      ...MISREAD_KEYS.map((name) => [name, 2]),
      [key, [key]],
    ]);
    expect(isDeepStrictEqual(read(JSON.stringify(members)), members)).toBe(true);
  });

  test.each([
    ["no escape", '{"a":"b"}'],
    ["escapes in texts only", '{"a":"\\n\\"\\\\","b":["\\\\",":","\\""],"c":"\\u005f"}'],
    ["the mark in a text only", '{"a":"\ufdd0"}'],
    ["a backslash after the last string", '{"a":1}\\'],
    ["a string without an end", '{"\\u005f":1,"\\"}'],
    ["an escape that is none", '{"a\\x":1}'],
    ["a raw control character", '{"\\u005f\n":1}'],
    ["a string at the end", '"\\n"'],
    ["a string and a space at the end", '"\\n" '],
  ])("with %s stays as it is", (_, text) => {
    expect(decoded(text)).toBe(text);
  });

  test("has escapes in keys taken out, and the others kept", () => {
    expect(decoded('{"session\\u005fid" : "\\n","\\n":{"x\\"\\\\\\u001f":1},"\ufdd0\\ufdd0":2}')).toBe(
      '{"session_id" : "\\n","\ufdd0000a":{"x\ufdd00022\ufdd0005c\ufdd0001f":1},"\ufdd0fdd0\ufdd0fdd0":2}',
    );
  });

  test("keeps a lone surrogate, for the validator to refuse", () => {
    expect(Object.keys(read('{"\\ud800":1,"\\n\\udc00":2}') as object)).toEqual(["\ud800", "\n\udc00"]);
  });

  test("that is no UTF-8 is refused", () => {
    expect(() => jsonText.decode(Uint8Array.of(0x22, 0xc3, 0x28, 0x22))).toThrow(TypeError);
  });

  test("of many escapes takes no longer for each", () => {
    const text = `{${'"\\\\\\"":"\\\\",'.repeat(200_000)}"a":"${"\\\\".repeat(500_000)}"}`;
    const begun = performance.now();
    decoded(text);
    expect(performance.now() - begun).toBeLessThan(5_000);
  });
});

test("a key of a foreign hand with the mark stays as it is", () => {
  expect(["\ufdd0", "\ufdd0000", "\ufdd000XX", "a\ufdd0"].map(restoredKey)).toEqual([
    "\ufdd0",
    "\ufdd0000",
    "\ufdd000XX",
    "a\ufdd0",
  ]);
});

test("bytes in a message are left alone", () => {
  const message = { bytes: Uint8Array.of(1), none: undefined, nil: null, list: [{ "\ufdd0000a": 1 }] };
  restoreKeys(message);
  expect(message).toEqual({ bytes: Uint8Array.of(1), none: undefined, nil: null, list: [{ "\n": 1 }] });
});
