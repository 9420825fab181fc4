import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describeFault, scanValue } from "../src/scan.ts";
import { DEFAULT_LIMITS } from "../src/store.ts";
import { decodeValue, encodeValue } from "../src/value.ts";
import {
  bytes,
  field,
  jsonValues,
  listBytes,
  member,
  nullBytes,
  numberBytes,
  objectBytes,
  protobufJson,
  stored,
  textBytes,
  trueBytes,
} from "./support/values.ts";

const { valueDepth, valueNodes } = DEFAULT_LIMITS;

/** The path of the first fault and what it is, or `undefined`. */
function scan(
  encoded: Uint8Array,
  depth = valueDepth,
  nodes = valueNodes,
): { path: string; what: string } | undefined {
  const found = scanValue(encoded, depth, nodes, false);
  return found === 0 ? undefined : describeFault(encoded, found);
}

/** How many bytes the scanner looks at, and what it finds. */
function countReads(encoded: Uint8Array): { reads: number; found: number } {
  let reads = 0;
  const counted = new Proxy(encoded, {
    get(target, key) {
      if (key === "length") return target.length;
      reads++;
      return Reflect.get(target, key);
    },
  });
  return { found: scanValue(counted, valueDepth, valueNodes, false), reads };
}

function lists(levels: number, innermost: Uint8Array): Uint8Array {
  let encoded = innermost;
  for (let i = 0; i < levels; i++) encoded = listBytes(encoded);
  return encoded;
}

function repeat(part: Uint8Array, count: number): Uint8Array {
  const result = new Uint8Array(part.length * Math.floor(count));
  for (let i = 0; i < Math.floor(count); i++) result.set(part, i * part.length);
  return result;
}

describe("what is accepted", () => {
  test("all that the codec writes", () => {
    fc.assert(fc.property(jsonValues, (value) => scan(encodeValue(value)) === undefined));
  });

  test("each kind, alone and as a member", () => {
    const scalars = [
      nullBytes,
      trueBytes,
      bytes(0x20, 0),
      numberBytes(1.5),
      numberBytes(-0),
      textBytes("é€🛒"),
      textBytes(),
    ];
    const containers = [
      listBytes(),
      objectBytes(),
      listBytes(...scalars),
      objectBytes(...scalars.map((s, i) => member(`k${i}`, s))),
    ];
    for (const encoded of [...scalars, ...containers]) {
      expect(scan(encoded)).toBeUndefined();
      expect(scan(listBytes(encoded, encoded))).toBeUndefined();
      expect(scan(objectBytes(member("a", encoded), member("b", encoded)))).toBeUndefined();
    }
  });

  test("members without a key, with the key last, and with the same key", () => {
    for (const encoded of [
      objectBytes(field(0x12, nullBytes)),
      objectBytes(bytes(field(0x12, listBytes(nullBytes)), field(0x0a, "a")), member("b", nullBytes)),
      objectBytes(bytes(field(0x12, nullBytes), field(0x0a))),
      objectBytes(member("a", nullBytes), member("a", trueBytes)),
    ]) {
      expect(scan(encoded)).toBeUndefined();
      expect(decodeValue(encoded)).toEqual(protobufJson(encoded));
    }
  });

  test("lengths of every width", () => {
    for (const size of [0, 127, 128, 16_383, 16_384, (1 << 21) - 1, 1 << 21]) {
      expect(scan(textBytes("x".repeat(size)))).toBeUndefined();
      expect(scan(listBytes(textBytes("x".repeat(size)), nullBytes))).toBeUndefined();
    }
  });

  test("the largest and smallest numbers", () => {
    for (const number of [Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, 2 ** 1023, 1]) {
      expect(scan(numberBytes(number))).toBeUndefined();
    }
  });

  test("the bounds of UTF-8", () => {
    for (const text of [
      "\u007f",
      "\u0080",
      "\u07ff",
      "\u0800",
      "\ud7ff",
      "\ue000",
      "\uffff",
      "\u{10000}",
      "\u{10ffff}",
      "\ufeff",
    ]) {
      expect(scan(textBytes(text))).toBeUndefined();
      expect(scan(textBytes("abc", text, "abcdefg", text))).toBeUndefined();
      expect(scan(objectBytes(member(text, nullBytes)))).toBeUndefined();
    }
  });
});

describe("what is refused, and where", () => {
  const noKind = "has no kind";
  const twoKinds = "more than one kind";
  const unknown = "unknown or of the wrong wire type";
  const length = "cut short";
  const wrongMember = "a member without a value, or with more than one";
  const name = "whose name is not well-formed";
  const utf8 = "is not well-formed UTF-8";
  const finite = "is not a finite number";
  const value = field(0x12, nullBytes);
  const key = field(0x0a, "k");

  test.each<[string, Uint8Array, string, string]>([
    ["nothing", bytes(), "$", noKind],
    ["an empty list item", listBytes(nullBytes, bytes(), nullBytes), "$[1]", noKind],
    ["an empty member", objectBytes(member("a", nullBytes), member("b", bytes())), "$.b", noKind],
    ["an empty member whose key comes last", objectBytes(bytes(0x12, 0, key)), "$.k", noKind],
    ["an empty member without a key", objectBytes(bytes(0x12, 0)), '$[""]', noKind],

    ["two nulls", bytes(nullBytes, nullBytes), "$", twoKinds],
    ["text and null", listBytes(bytes(textBytes("x"), nullBytes)), "$[0]", twoKinds],
    ["a list and a list", objectBytes(member("a", bytes(listBytes(), listBytes()))), "$.a", twoKinds],
    ["a number and a number", bytes(numberBytes(1), numberBytes(1)), "$", twoKinds],
    ["an object and another byte", bytes(objectBytes(), 0), "$", twoKinds],

    ["field 7", bytes(0x38, 0), "$", unknown],
    ["field 0", bytes(0x00), "$", unknown],
    ["a null of wire type 2", bytes(0x0a, 0), "$", unknown],
    ["a number of wire type 0", bytes(0x10, 0), "$", unknown],
    ["a number of wire type 5", bytes(0x15, 0, 0, 0, 0), "$", unknown],
    ["text as a group", bytes(0x1b, 0x1c), "$", unknown],
    ["a tag with more bytes than it needs", bytes(0x88, 0, 0), "$", unknown],
    ["field 2 of a list", field(0x32, 0x12, 0), "$", unknown],
    ["field 2 of an object", objectBytes(member("a", field(0x2a, 0x12, 0))), "$.a", unknown],
    ["field 3 of a member", objectBytes(bytes(0x1a, 0)), "$", unknown],
    ["field 3 after the key", objectBytes(bytes(key, 0x1a, 0)), "$.k", unknown],
    ["field 3 after the value", objectBytes(bytes(value, 0x1a, 0)), "$", unknown],
    ["field 3 after key and value", objectBytes(bytes(key, value, 0x1a, 0)), "$.k", unknown],

    ["a null cut short", bytes(0x08), "$", length],
    ["a boolean cut short", listBytes(bytes(0x20)), "$[0]", length],
    ["a number cut short", bytes(0x11, 0, 0, 0, 0, 0, 0, 0), "$", length],
    ["text without a length", bytes(0x1a), "$", length],
    ["text beyond the end", bytes(0x1a, 2, 0x61), "$", length],
    ["text beyond its list item", listBytes(bytes(0x1a, 2, 0x61), nullBytes), "$[0]", length],
    ["text whose length is cut short", bytes(0x1a, 0x80), "$", length],
    ["a length of two bytes where one is enough", bytes(0x1a, 0x81, 0, 0x61), "$", length],
    [
      "a length of three bytes where two are enough",
      field(0x32, bytes(0x0a, 0x80, 0x81, 0), textBytes("x".repeat(125))),
      "$",
      length,
    ],
    ["a length of five bytes", bytes(0x1a, 0x80, 0x80, 0x80, 0x80, 1), "$", length],
    [
      "a length of ten bytes",
      bytes(0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
      "$",
      length,
    ],
    ["a list beyond the end", bytes(0x32, 1), "$", length],
    ["a list item beyond its list", objectBytes(member("a", field(0x32, 0x0a, 1))), "$.a", length],
    ["a list item without a length", field(0x32, 0x0a), "$", length],
    ["a member beyond its object", field(0x2a, 0x0a, 1), "$", length],
    ["a key beyond its member", objectBytes(bytes(0x0a, 9)), "$", length],
    ["a value beyond its member", objectBytes(bytes(key, 0x12, 1)), "$.k", length],
    ["a value beyond its member, the key not read", objectBytes(bytes(0x12, 1)), "$", length],
    ["a key after the value beyond its member", objectBytes(bytes(value, 0x0a, 1)), "$", length],

    ["a null of 1", objectBytes(member("a", bytes(0x08, 1))), "$.a", "null_value other than 0"],
    ["a null with more bytes than it needs", bytes(0x08, 0x80, 0), "$", "null_value other than 0"],
    ["a boolean of 2", bytes(0x20, 2), "$", "bool_value other than 0 and 1"],
    ["a boolean with more bytes than it needs", bytes(0x20, 0x81, 0), "$", "bool_value other than 0 and 1"],

    ["NaN", numberBytes(Number.NaN), "$", finite],
    ["another NaN", bytes(0x11, 1, 0, 0, 0, 0, 0, 0xf0, 0x7f), "$", finite],
    [
      "Infinity",
      objectBytes(member("odd key", numberBytes(Number.POSITIVE_INFINITY))),
      '$["odd key"]',
      finite,
    ],
    ["-Infinity", listBytes(nullBytes, numberBytes(Number.NEGATIVE_INFINITY)), "$[1]", finite],

    ["a byte that begins nothing", textBytes(0x80), "$", utf8],
    ["0xff", textBytes("abcdef", 0xff), "$", utf8],
    ["0xf5", textBytes(0xf5, 0x80, 0x80, 0x80), "$", utf8],
    ["an overlong form of two bytes", textBytes(0xc1, 0xbf), "$", utf8],
    ["an overlong form of three bytes", textBytes(0xe0, 0x9f, 0xbf), "$", utf8],
    ["an overlong form of four bytes", textBytes(0xf0, 0x8f, 0xbf, 0xbf), "$", utf8],
    ["beyond U+10FFFF", textBytes(0xf4, 0x90, 0x80, 0x80), "$", utf8],
    ["a high surrogate", listBytes(textBytes(0xed, 0xa0, 0x80)), "$[0]", utf8],
    ["a low surrogate", listBytes(textBytes(0xed, 0xbf, 0xbf)), "$[0]", utf8],
    ["two bytes cut short", textBytes("x", 0xc3), "$", utf8],
    ["three bytes cut short after one", textBytes("x", 0xe2), "$", utf8],
    ["three bytes cut short after two", textBytes("x", 0xe2, 0x82), "$", utf8],
    ["four bytes cut short after three", textBytes("x", 0xf0, 0x9f, 0x9b), "$", utf8],
    ["a second byte that is none", textBytes(0xc3, 0x28), "$", utf8],
    ["a third byte that is none", textBytes(0xe2, 0x82, 0x28), "$", utf8],
    ["a fourth byte that is none", textBytes(0xf0, 0x9f, 0x9b, 0x28), "$", utf8],
    ["a fault after much that is well formed", textBytes("€uro".repeat(99), 0xc0), "$", utf8],

    [
      "a name that is ill-formed",
      objectBytes(member("a", objectBytes(bytes(field(0x0a, 0xff), value)))),
      "$.a",
      name,
    ],
    [
      "a name that is ill-formed and comes last",
      listBytes(objectBytes(bytes(value, field(0x0a, 0xff)))),
      "$[0]",
      name,
    ],

    ["a member that is empty", objectBytes(bytes()), "$", wrongMember],
    ["a member without a value", objectBytes(member("a", nullBytes), key), "$.k", wrongMember],
    ["a member with two keys", objectBytes(bytes(key, key, value)), "$.k", wrongMember],
    ["a member with two keys around its value", objectBytes(bytes(key, value, key)), "$.k", wrongMember],
    ["a member with two keys after its value", objectBytes(bytes(value, key, key)), "$.k", wrongMember],
    ["a member with a value after its value", objectBytes(bytes(value, value)), "$", wrongMember],
    ["a member with a value after key and value", objectBytes(bytes(key, value, value)), "$.k", wrongMember],

    [
      "a member of a member",
      objectBytes(member("a", listBytes(objectBytes(member("b c", bytes(0)))))),
      '$.a[0]["b c"]',
      unknown,
    ],
    [
      "the second of three",
      listBytes(listBytes(nullBytes), listBytes(nullBytes, bytes(0)), bytes(0)),
      "$[1][1]",
      unknown,
    ],
  ])("%s", (_, encoded, path, what) => {
    const found = scan(encoded);
    expect(found?.path).toBe(path);
    expect(found?.what).toContain(what);
    // What is refused alone is refused as a member, and there too with its path.
    expect(scan(listBytes(nullBytes, encoded))?.path).toBe(`$[1]${path.slice(1)}`);
    expect(scan(objectBytes(member("m", encoded)))?.path).toBe(`$.m${path.slice(1)}`);
  });

  test("names in a path are shortened", () => {
    expect(scan(objectBytes(member("x".repeat(100), bytes(0))))?.path).toBe(`$["${"x".repeat(64)}…"]`);
    let encoded = bytes(0);
    for (let i = 0; i < 30; i++) encoded = objectBytes(member("long name ".repeat(9), encoded));
    expect(scan(encoded)?.path.length).toBeLessThan(1_200);
  });
});

describe("limits", () => {
  test("depth: 32 levels, an empty container counting like a scalar", () => {
    expect(scan(lists(31, nullBytes))).toBeUndefined();
    expect(scan(lists(31, listBytes()))).toBeUndefined();
    for (const tooDeep of [lists(32, nullBytes), lists(32, listBytes())]) {
      expect(scan(tooDeep)).toEqual({ path: `$${"[0]".repeat(32)}`, what: "is too deep" });
    }
    let objects = nullBytes;
    for (let i = 0; i < 31; i++) objects = objectBytes(member("a", objects), member("b", nullBytes));
    expect(scan(objects)).toBeUndefined();
    expect(scan(objectBytes(member("a", objects)))?.path).toBe(`$${".a".repeat(32)}`);
    expect(scan(nullBytes, 0)?.what).toBe("is too deep");
  });

  test("depth: what is read after a deep member is not deep", () => {
    const wide = listBytes(...new Array(50).fill(lists(30, nullBytes)));
    expect(scan(wide)).toBeUndefined();
    expect(scan(objectBytes(member("a", wide)))?.path).toBe(`$.a[0]${"[0]".repeat(30)}`);
  });

  test("depth: no limit is beyond what parsers follow", () => {
    expect(scan(lists(99, nullBytes), 1_000)).toBeUndefined();
    expect(scan(lists(100, nullBytes), 1_000)?.what).toBe("is too deep");
  });

  test("values: 10,000, the containers and the whole among them", () => {
    const items = (count: number): Uint8Array => field(0x32, repeat(field(0x0a, nullBytes), count));
    expect(scan(items(9_999))).toBeUndefined();
    expect(scan(items(10_000))).toEqual({ path: "$", what: "has too many values" });
    expect(scan(listBytes(items(4_998), items(4_999)))).toBeUndefined();
    expect(scan(listBytes(items(4_999), items(4_999)))?.what).toBe("has too many values");
    expect(scan(field(0x2a, repeat(field(0x0a, member("k", nullBytes)), 10_000)))?.what).toBe(
      "has too many values",
    );
    expect(scan(nullBytes, valueDepth, 0)?.what).toBe("has too many values");
  });
});

describe("the time it takes", () => {
  const size = 1 << 20;

  test.each<[string, Uint8Array, number]>([
    ["empty list items stop it at the first", field(0x32, repeat(bytes(0x0a, 0), size / 2)), 20],
    ["empty members stop it at the first", field(0x2a, repeat(bytes(0x0a, 0), size / 2)), 20],
    [
      "members without a value stop it at the first",
      field(0x2a, repeat(bytes(0x0a, 3, 0x0a, 1, 0x61), size / 5)),
      20,
    ],
    ["small values stop it at the limit", field(0x32, repeat(field(0x0a, nullBytes), size / 4)), 10_001 * 8],
    ["empty lists stop it at the limit", field(0x32, repeat(field(0x0a, listBytes()), size / 4)), 10_001 * 8],
    ["depth stops it at the limit", lists(2_000, nullBytes), 33 * 20],
    ["text is read once", textBytes("x".repeat(size)), 2 * size],
    ["wide text is read once", textBytes("é".repeat(size / 2)), 2 * size],
    [
      "texts are read once",
      field(0x32, repeat(field(0x0a, textBytes("x".repeat(100))), 9_999)),
      1.5 * 104 * 9_999,
    ],
    ["long names are read once", objectBytes(member("x".repeat(size), listBytes(nullBytes))), 2 * size],
    [
      "long names that come last are read once",
      objectBytes(bytes(field(0x12, nullBytes), field(0x0a, "x".repeat(size)))),
      2 * size,
    ],
  ])("%s", (_, encoded, most) => {
    expect(countReads(encoded).reads).toBeLessThan(most);
  });

  test("is bounded by the bytes, whatever they are", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        jsonValues,
        fc.nat(),
        fc.nat(255),
        (random, value, at, byte) => {
          const mutated = encodeValue(value);
          mutated[at % mutated.length] = byte;
          for (const encoded of [
            random,
            mutated,
            listBytes(random),
            objectBytes(member("a", random), random),
          ]) {
            expect(countReads(encoded).reads).toBeLessThanOrEqual(6 * encoded.length + 6);
          }
        },
      ),
    );
  });
});

describe("bytes from anywhere", () => {
  /** Refused with a path by scanner and decoder alike, or read by the decoder as protobuf-es reads it. */
  function agrees(encoded: Uint8Array): void {
    const found = scan(encoded, 100, Number.MAX_SAFE_INTEGER);
    if (found === undefined) {
      const decoded = decodeValue(encoded);
      expect(JSON.stringify(decoded)).toBe(JSON.stringify(stored(protobufJson(encoded))));
      return;
    }
    expect(found.path).toMatch(/^\$/);
    expect(found.what).not.toBe("");
    expect(() => decodeValue(encoded)).toThrow(
      expect.objectContaining({ reason: "INVALID_VALUE", metadata: { path: found.path } }),
    );
  }

  test("random bytes are refused, or read as protobuf-es reads them", () => {
    const opcodes = fc.constantFrom(
      0,
      1,
      2,
      3,
      4,
      5,
      8,
      9,
      0x0a,
      0x11,
      0x12,
      0x1a,
      0x20,
      0x2a,
      0x32,
      0x61,
      0x80,
      0xc3,
      0xff,
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.array(opcodes, { maxLength: 24 }).map((all) => Uint8Array.from(all)),
        ),
        agrees,
      ),
      { numRuns: 5_000 },
    );
  });

  test("mutated values are refused, or read as protobuf-es reads them", () => {
    const mutations = fc.array(
      fc.tuple(fc.constantFrom("set", "flip", "cut", "add", "swap"), fc.nat(), fc.nat(255)),
      {
        minLength: 1,
        maxLength: 3,
      },
    );
    fc.assert(
      fc.property(jsonValues, mutations, (value, list) => {
        let encoded: Uint8Array = encodeValue(value);
        for (const [kind, where, byte] of list) {
          const at = where % (encoded.length + 1);
          if (kind === "set") encoded[at] = byte;
          else if (kind === "flip") encoded[at] = (encoded[at] ?? 0) ^ (1 << (byte % 8));
          else if (kind === "cut")
            encoded = bytes(encoded.subarray(0, at), encoded.subarray(at + 1 + (byte % 4)));
          else if (kind === "add") encoded = bytes(encoded.subarray(0, at), byte, encoded.subarray(at));
          else
            encoded = bytes(
              encoded.subarray(0, at),
              encoded.subarray(at + 2, at + 4),
              encoded.subarray(at, at + 2),
              encoded.subarray(at + 4),
            );
        }
        agrees(encoded);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a value cut off anywhere is refused", () => {
    const encoded = encodeValue({ a: [null, true, 1.5, "é"], "": { b: {}, c: [[]] }, long: "x".repeat(200) });
    for (let end = 0; end < encoded.length; end++) {
      expect(scan(encoded.subarray(0, end))).toBeDefined();
      agrees(encoded.subarray(0, end));
    }
    agrees(encoded);
  });

  test("every bit of a value flipped is refused, or read as protobuf-es reads it", () => {
    const encoded = encodeValue({ a: [null, true, 1.5, "é"], "": { b: {}, c: [[]] }, k: -1e300 });
    for (let bit = 0; bit < 8 * encoded.length; bit++) {
      const flipped = encoded.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      agrees(flipped);
    }
  });
});

describe("-0", () => {
  test("becomes 0 in place where that is asked for, and nothing else changes", () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        const negative = encodeValue(value);
        const marked = listBytes(
          numberBytes(-0),
          negative,
          numberBytes(-1),
          numberBytes(-Number.MIN_VALUE),
          textBytes(0, 0x40),
        );
        const copy = marked.slice();
        expect(scanValue(copy, valueDepth + 1, valueNodes + 5, true)).toBe(0);
        expect(copy).toEqual(
          listBytes(
            numberBytes(0),
            negative,
            numberBytes(-1),
            numberBytes(-Number.MIN_VALUE),
            textBytes(0, 0x40),
          ),
        );
      }),
    );
    const kept = numberBytes(-0);
    expect(scanValue(kept, valueDepth, valueNodes, false)).toBe(0);
    expect(kept).toEqual(numberBytes(-0));
  });
});
