import { isDeepStrictEqual } from "node:util";
import { createContext, runInContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { DEFAULT_LIMITS, type JsonValue, type Limits } from "../src/store.ts";
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
  protobufBytes,
  protobufJson,
  stored,
  textBytes,
  trueBytes,
} from "./support/values.ts";

function failure(run: () => unknown): WorkflowStateError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(WorkflowStateError);
    return error as WorkflowStateError;
  }
  throw new Error("nothing was refused");
}

function nested(levels: number, wrap: (inner: JsonValue) => JsonValue): JsonValue {
  let value: JsonValue = 1;
  for (let i = 1; i < levels; i++) value = wrap(value);
  return value;
}

const manyValues: Limits = { ...DEFAULT_LIMITS, valueNodes: 1_000_000 };

describe("any plain JSON", () => {
  test("reads back as it was, members in order", () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        const decoded = decodeValue(encodeValue(value));
        expect(isDeepStrictEqual(decoded, stored(value))).toBe(true);
        expect(JSON.stringify(decoded)).toBe(JSON.stringify(value));
      }),
      { numRuns: 500 },
    );
  });

  test("has the bytes that protobuf-es writes, and protobuf-es reads them alike", () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        const encoded = encodeValue(value);
        expect(encoded).toStrictEqual(new Uint8Array(protobufBytes(stored(value))));
        expect(JSON.stringify(protobufJson(encoded))).toBe(JSON.stringify(value));
      }),
      { numRuns: 500 },
    );
  });

  test("each kind has its bytes", () => {
    expect(encodeValue(null)).toEqual(nullBytes);
    expect(encodeValue(true)).toEqual(trueBytes);
    expect(encodeValue(1.5)).toEqual(numberBytes(1.5));
    expect(encodeValue("é")).toEqual(textBytes("é"));
    expect(encodeValue([])).toEqual(listBytes());
    expect(encodeValue([null])).toEqual(listBytes(nullBytes));
    expect(encodeValue({})).toEqual(objectBytes());
    expect(encodeValue({ a: null })).toEqual(objectBytes(member("a", nullBytes)));
  });

  test("-0 becomes 0", () => {
    expect(encodeValue(-0)).toEqual(numberBytes(0));
    expect(decodeValue(numberBytes(-0))).toBe(0);
  });

  test("text of every length around the bounds of the codec", () => {
    for (const unit of ["a", "é", "€", "🛒"]) {
      for (const count of [
        0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 5000, 16_383, 16_384,
      ]) {
        const text = unit.repeat(count);
        expect(encodeValue(text)).toEqual(textBytes(text));
        expect(decodeValue(encodeValue(text))).toBe(text);
        expect(decodeValue(encodeValue({ [text]: [text] }))).toEqual({ [text]: [text] });
      }
    }
  });

  test("keys that look alike are told apart", () => {
    // Of the same length, with the same first, middle and last bytes: what the cache of keys looks at first.
    const keys = Array.from({ length: 26 }, (_, i) => `key${String.fromCharCode(97 + i)}-------end`);
    const value = Object.fromEntries(keys.map((key, i) => [key, i]));
    const encoded = encodeValue(value);
    expect(decodeValue(encoded)).toEqual(value);
    expect(decodeValue(encoded)).toEqual(value);
    expect(decodeValue(encodeValue({ é: 1, e: 2 }))).toEqual({ é: 1, e: 2 });
  });

  test("names of Object.prototype are names like any other", () => {
    const text = '{"__proto__":{"polluted":true},"toString":1,"constructor":null,"hasOwnProperty":[2]}';
    const decoded = decodeValue(encodeValue(JSON.parse(text))) as object;
    expect(JSON.stringify(decoded)).toBe(text);
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
    expect(Object.hasOwn(decoded, "__proto__")).toBe(true);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("objects without a prototype and of another realm are plain", () => {
    expect(encodeValue(Object.assign(Object.create(null), { a: 1 }))).toEqual(encodeValue({ a: 1 }));
    const foreign = runInContext('({ list: [1, { a: "x" }], none: null })', createContext());
    expect(Object.getPrototypeOf(foreign)).not.toBe(Object.prototype);
    expect(decodeValue(encodeValue(foreign))).toEqual({ list: [1, { a: "x" }], none: null });
  });

  test("what JSON leaves out is left out: members that are not enumerable", () => {
    const object = Object.defineProperty({ a: 1 }, "hidden", { value: 2 });
    Object.defineProperty(object, Symbol("hidden"), { value: 2 });
    expect(encodeValue(object)).toEqual(encodeValue({ a: 1 }));
  });

  test("the same object twice is no cycle", () => {
    const shared = { a: [1] };
    expect(decodeValue(encodeValue([shared, shared]))).toEqual([shared, shared]);
  });

  test("bytes and values are the caller's own", () => {
    const value = { list: [1, 2], object: { a: "x" } };
    const first = encodeValue(value);
    const second = encodeValue(value);
    expect(first.buffer).not.toBe(second.buffer);
    expect(first.buffer.byteLength).toBe(first.length);
    const [one, two] = [decodeValue(first), decodeValue(first)] as (typeof value)[];
    one?.list.push(3);
    expect(two).toEqual(value);
    expect(decodeValue(first)).toEqual(value);
  });

  test("bytes that begin within a larger buffer are read where they are", () => {
    const padded = bytes(0xff, encodeValue({ a: [1, "x"] }), 0xff);
    expect(decodeValue(padded.subarray(1, -1))).toEqual({ a: [1, "x"] });
  });
});

describe("limits", () => {
  test.each([
    ["lists", (inner: JsonValue) => [inner]],
    ["objects", (inner: JsonValue) => ({ a: inner })],
  ])("%s 32 levels deep are kept, 33 are not", (_, wrap) => {
    const deepest = nested(32, wrap);
    expect(decodeValue(encodeValue(deepest))).toEqual(deepest);
    expect(protobufJson(encodeValue(deepest))).toEqual(deepest);
    const error = failure(() => encodeValue(nested(33, wrap)));
    expect(error).toMatchObject({
      reason: "INVALID_VALUE",
      metadata: { path: `$${(Array.isArray(wrap(1)) ? "[0]" : ".a").repeat(32)}` },
    });
  });

  test("an empty container is as deep as a scalar", () => {
    const limits = { ...DEFAULT_LIMITS, valueDepth: 2 };
    expect(decodeValue(encodeValue([[], {}, 1], limits))).toEqual([[], {}, 1]);
    expect(failure(() => encodeValue([[[]]], limits)).metadata).toEqual({ path: "$[0][0]" });
    expect(failure(() => encodeValue({ a: [{}] }, limits)).metadata).toEqual({ path: "$.a[0]" });
  });

  test("no limit lets a value be deeper than parsers follow", () => {
    const limits = { ...DEFAULT_LIMITS, valueDepth: 1_000 };
    const deepest = nested(100, (inner) => [inner]);
    expect(decodeValue(encodeValue(deepest, limits))).toEqual(deepest);
    expect(failure(() => encodeValue([deepest], limits)).reason).toBe("INVALID_VALUE");
  });

  test("10,000 values are kept, 10,001 are not", () => {
    const list = new Array(9_999).fill(null);
    expect(decodeValue(encodeValue(list))).toEqual(list);
    const object = Object.fromEntries(list.map((_, i) => [`k${i}`, i]));
    expect(decodeValue(encodeValue(object))).toEqual(object);
    const mixed = [...list.slice(0, 9_997), [1]];
    expect(decodeValue(encodeValue(mixed))).toEqual(mixed);
    for (const tooMany of [[...list, 1], { ...object, more: 1 }, [...list.slice(1), [1]], [...list, []]]) {
      const error = failure(() => encodeValue(tooMany));
      expect(error).toMatchObject({ reason: "INVALID_VALUE", metadata: { path: "$", limit: "10000" } });
    }
  });

  test("a scalar is a value too", () => {
    expect(failure(() => encodeValue(1, { ...DEFAULT_LIMITS, valueNodes: 0 })).reason).toBe("INVALID_VALUE");
  });

  test("a list that only says it is long costs nothing", () => {
    expect(failure(() => encodeValue(new Array(2 ** 32 - 1))).reason).toBe("INVALID_VALUE");
  });

  test.each<[string, (size: number) => JsonValue]>([
    ["text", (size) => "x".repeat(size - 4)],
    ["wide text", (size) => "é".repeat((size - 4) / 2)],
    // Each item takes six bytes beside its text, and the list four.
    ["a list", (size) => ["x".repeat(1014), ...new Array(1023).fill("x".repeat(size / 1024 - 6))]],
    ["an object", (size) => ({ key: { key: "x".repeat(size - 54), n: 1 } })],
  ])("%s of exactly 1 MiB is kept, one byte more is not", (_, make) => {
    const limit = 1 << 20;
    const value = make(limit);
    const encoded = encodeValue(value);
    expect(encoded.length).toBe(limit);
    expect(encoded).toEqual(new Uint8Array(protobufBytes(value)));
    expect(decodeValue(encoded)).toEqual(value);
    const error = failure(() => encodeValue(value, { ...DEFAULT_LIMITS, valueBytes: limit - 1 }));
    expect(error).toMatchObject({
      reason: "VALUE_TOO_LARGE",
      metadata: { limit: String(limit - 1), actual: String(limit) },
    });
  });

  test("a value far over the limit is refused before it is written", () => {
    const text = "x".repeat(3 << 20);
    const actual = (run: () => unknown): number => {
      const error = failure(run);
      expect(error.reason).toBe("VALUE_TOO_LARGE");
      return Number(error.metadata["actual"]);
    };
    expect(actual(() => encodeValue(text))).toBe(3 << 20);
    expect(actual(() => encodeValue(new Array(5_000).fill("x".repeat(1 << 20))))).toBeLessThan(8 << 20);
    expect(actual(() => encodeValue(new Array(5_000).fill("x".repeat(1 << 10))))).toBeGreaterThan(1 << 20);
    // What was refused leaves nothing behind.
    expect(decodeValue(encodeValue({ a: 1 }))).toEqual({ a: 1 });
  });

  test("no limit lets a value have lengths of five bytes", () => {
    const limits = { ...DEFAULT_LIMITS, valueBytes: Number.POSITIVE_INFINITY };
    const error = failure(() => encodeValue(["x".repeat(2 ** 28)], limits));
    expect(error).toMatchObject({ reason: "VALUE_TOO_LARGE", metadata: { limit: String(2 ** 28 - 1) } });
  });

  test("a large value and the small ones after it", () => {
    const large = { list: new Array(900).fill("é".repeat(500)), name: "x".repeat(100_000) };
    const limits = { ...DEFAULT_LIMITS, valueBytes: 16 << 20 };
    const huge = "€".repeat(4 << 20);
    expect(decodeValue(encodeValue(large))).toEqual(large);
    expect(decodeValue(encodeValue(huge, limits))).toBe(huge);
    expect(decodeValue(encodeValue([1]))).toEqual([1]);
  });

  test("the buffer grows wherever it ends", () => {
    // An encoding within another has a buffer of its own, of the first size (16 KiB). Around that size each kind of byte
    // is once the one that does not fit.
    const encodeAfresh = (value: JsonValue): Uint8Array => {
      let encoded = new Uint8Array();
      const ownKeys = (): string[] => {
        encoded = encodeValue(value);
        return [];
      };
      encodeValue(new Proxy({}, { ownKeys }));
      return encoded;
    };
    const [most, wide] = ["x".repeat(64), "€".repeat(64)];
    for (let size = 14_000; size < 16_400; size += 3) {
      const rest = [{ [wide]: wide }, [most, [[]], {}], 1, { "": true, [most]: { "": null } }, wide];
      const value = {
        "": rest,
        a: [most, wide, [wide, most]],
        z: [...new Array(size >> 6).fill(most), "x".repeat(size & 63)],
      };
      const text = JSON.stringify(value);
      const encoded = encodeAfresh(value);
      if (size % 60 === 2) expect(encoded).toEqual(new Uint8Array(protobufBytes(value)));
      expect(JSON.stringify(decodeValue(encoded))).toBe(text);
    }
    const many = Object.fromEntries(
      Array.from({ length: 3_000 }, (_, i) => [`é${i}`.repeat(9), { a: [true, null, i] }]),
    );
    expect(encodeValue(many, manyValues)).toEqual(new Uint8Array(protobufBytes(many)));
  });
});

describe("what is not plain JSON is refused with its path", () => {
  class Point {
    x = 1;
  }
  class Numbers extends Array<number> {}
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const sparse = [1, 2, 3];
  delete sparse[1];
  const secret = "sEcReT";
  const cases: [string, unknown, string][] = [
    ["undefined", undefined, "$"],
    ["an undefined member", { a: undefined }, "$.a"],
    ["undefined in a list", [1, undefined], "$[1]"],
    ["a hole in a list", { list: sparse }, "$.list[1]"],
    ["a list with a member that has a name", { list: Object.assign([1], { total: 1 }) }, "$.list"],
    ["a bigint", [{ n: 1n }], "$[0].n"],
    ["a symbol", { s: Symbol(secret) }, "$.s"],
    ["a function", { f: () => secret }, "$.f"],
    ["a member named by a symbol", { a: { [Symbol(secret)]: 1 } }, "$.a"],
    ["NaN", { "odd key": Number.NaN }, '$["odd key"]'],
    ["Infinity", [Number.POSITIVE_INFINITY], "$[0]"],
    ["-Infinity", Number.NEGATIVE_INFINITY, "$"],
    ["a Date", { when: new Date(0) }, "$.when"],
    ["a Map", { map: new Map([[secret, secret]]) }, "$.map"],
    ["a Set", { set: new Set([secret]) }, "$.set"],
    ["a RegExp", { re: /sEcReT/ }, "$.re"],
    ["an Error", { e: new Error(secret) }, "$.e"],
    ["a Promise", { p: Promise.resolve(secret) }, "$.p"],
    ["a typed array", { bytes: new Uint8Array(1) }, "$.bytes"],
    ["an ArrayBuffer", new ArrayBuffer(1), "$"],
    ["a boxed number", { n: Object(1) }, "$.n"],
    ["a boxed string", { s: Object(secret) }, "$.s"],
    ["an instance of a class", { point: new Point() }, "$.point"],
    ["an instance of a class that extends Array", { list: Numbers.of(1) }, "$.list"],
    ["an object that inherits members", { child: Object.create({ inherited: secret }) }, "$.child"],
    ["an object whose prototype only lacks a prototype", { o: Object.create(Object.create(null)) }, "$.o"],
    ["a cycle", { a: cycle }, `$.a${".self".repeat(31)}`],
    ["a lone surrogate", { text: `${secret}\ud800` }, "$.text"],
    ["a low surrogate first", { text: "\udc00x" }, "$.text"],
    ["a high surrogate before another letter", { text: "\ud800x" }, "$.text"],
    ["two high surrogates", { text: "\ud800\ud800" }, "$.text"],
    ["surrogates the wrong way round", { text: "\udc00\ud800" }, "$.text"],
    ["a lone surrogate in long text", { text: `${secret.repeat(20)}\ud800` }, "$.text"],
    ["a lone surrogate in a name", { a: { "\ud800": secret } }, "$.a"],
    ["a lone surrogate in a long name", [{ [`\udc00${"x".repeat(99)}`]: secret }], "$[0]"],
    ["an accessor", { a: Object.defineProperty({}, "b", { get: () => secret, enumerable: true }) }, "$.a.b"],
    ["a document that has toJSON", { toJSON: () => secret }, "$.toJSON"],
  ];

  test.each(cases)("%s", (_, value, path) => {
    const error = failure(() => encodeValue(value));
    expect(error.reason).toBe("INVALID_VALUE");
    expect(error.metadata).toEqual({ path });
    expect(error.message).toContain(path);
    expect(`${error.message}${JSON.stringify(error.metadata)}`).not.toContain(secret);
  });

  test.each([
    [{ a: [{ "": 1n }] }, '$.a[0][""]'],
    [{ "0": 1n }, '$["0"]'],
    [{ $_a1: 1n }, "$.$_a1"],
    [{ 'q"uote\n': 1n }, '$["q\\"uote\\n"]'],
    [{ ключ: 1n }, '$["ключ"]'],
    [Object.fromEntries([["__proto__", 1n]]), "$.__proto__"],
    [{ ["x".repeat(65)]: 1n }, `$["${"x".repeat(64)}…"]`],
  ])("the path quotes and shortens names: %#", (value, path) => {
    expect(failure(() => encodeValue(value)).metadata).toEqual({ path });
  });

  test("a path is never long", () => {
    let value: unknown = 1n;
    for (let i = 0; i < 31; i++) value = { ["long name ".repeat(9)]: value };
    const path = failure(() => encodeValue(value)).metadata["path"] ?? "";
    expect(path.length).toBeLessThan(1_200);
    expect(path.endsWith("…")).toBe(true);
  });
});

describe("code in a value", () => {
  test("accessors and toJSON are not run", () => {
    let runs = 0;
    const run = (): string => `${++runs}`;
    const accessor = Object.defineProperty({}, "a", { get: run, enumerable: true });
    expect(failure(() => encodeValue(accessor)).metadata).toEqual({ path: "$.a" });
    const hidden = Object.defineProperty({ a: 1 }, "toJSON", { value: run });
    expect(decodeValue(encodeValue(hidden))).toEqual({ a: 1 });
    expect(runs).toBe(0);
    // In a list it is read, but once.
    expect(decodeValue(encodeValue(Object.defineProperty([0], 0, { get: run, enumerable: true })))).toEqual([
      "1",
    ]);
    expect(runs).toBe(1);
  });

  test("a Proxy is read once, so that what was looked at is what is kept", () => {
    let reads = 0;
    const fickle = new Proxy(
      { a: "x" },
      {
        get: () => expect.unreachable(),
        getOwnPropertyDescriptor: (target, key) => {
          const descriptor = Reflect.getOwnPropertyDescriptor(target, key);
          return descriptor === undefined ? undefined : { ...descriptor, value: ++reads };
        },
      },
    );
    // Object.keys asks whether a member is enumerable; the value is taken the second time only.
    expect(decodeValue(encodeValue(fickle))).toEqual({ a: 2 });
    expect(decodeValue(encodeValue(new Proxy([1, 2], {})))).toEqual([1, 2]);
  });

  test("a Proxy that hides what it listed, throws or is revoked is refused", () => {
    let calls = 0;
    const vanishing = new Proxy(
      { a: 1 },
      {
        getOwnPropertyDescriptor: (target, key) =>
          ++calls > 1 ? undefined : Reflect.getOwnPropertyDescriptor(target, key),
      },
    );
    expect(failure(() => encodeValue([vanishing])).metadata).toEqual({ path: "$[0].a" });
    const cause = new Error("sEcReT");
    const throwing = new Proxy(
      {},
      {
        ownKeys: () => {
          throw cause;
        },
      },
    );
    const error = failure(() => encodeValue({ a: throwing }));
    expect(error).toMatchObject({ reason: "INVALID_VALUE", metadata: { path: "$" }, cause });
    expect(error.message).not.toContain("sEcReT");
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(failure(() => encodeValue(proxy)).reason).toBe("INVALID_VALUE");
    expect(decodeValue(encodeValue([1]))).toEqual([1]);
  });

  test("a Proxy that shortens its list while it is read is refused", () => {
    const list = [1, 2, 3];
    const shrinking = new Proxy(list, {
      get: (target, key) => {
        if (key === "2") target.length = 1;
        return Reflect.get(target, key);
      },
    });
    expect(failure(() => encodeValue(shrinking)).metadata).toEqual({ path: "$[2]" });
  });

  test("a Proxy that encodes while it is being encoded disturbs neither", () => {
    const inner = { deep: [{ er: ["é".repeat(30_000)] }], n: new Array(100).fill(0) };
    const results: JsonValue[] = [];
    const meddler = (): object =>
      new Proxy(
        { b: "second" },
        {
          ownKeys: (target) => {
            results.push(decodeValue(encodeValue(inner)));
            expect(
              failure(() => encodeValue([[[1n]]], { ...DEFAULT_LIMITS, valueNodes: 5 })).metadata,
            ).toEqual({ path: "$[0][0][0]" });
            return Reflect.ownKeys(target);
          },
        },
      );
    const value = { a: [1, { first: meddler() }], z: meddler(), end: "x".repeat(70) };
    expect(decodeValue(encodeValue(value))).toEqual({
      a: [1, { first: { b: "second" } }],
      z: { b: "second" },
      end: "x".repeat(70),
    });
    expect(results.length).toBeGreaterThan(1);
    for (const result of results) expect(result).toStrictEqual(inner);
    // The path is still the outer value's.
    const wrong = { a: [0, Object.assign(meddler(), { c: 1n })] };
    expect(failure(() => encodeValue(wrong)).metadata).toEqual({ path: "$.a[1].c" });
  });
});

describe("reading bytes that nobody has validated", () => {
  test("a key may be absent or come after the value, and the last of the same name stands", () => {
    expect(decodeValue(objectBytes(field(0x12, nullBytes)))).toEqual({ "": null });
    expect(decodeValue(objectBytes(bytes(field(0x12, nullBytes), field(0x0a, "a"))))).toEqual({ a: null });
    const repeated = objectBytes(member("a", nullBytes), member("b", trueBytes), member("a", listBytes()));
    expect(decodeValue(repeated)).toEqual({ a: [], b: true });
    expect(Object.keys(decodeValue(repeated) as object)).toEqual(["a", "b"]);
    const proto = objectBytes(member("__proto__", nullBytes), member("__proto__", trueBytes));
    expect(JSON.stringify(decodeValue(proto))).toBe('{"__proto__":true}');
  });

  test.each<[string, Uint8Array, string]>([
    ["nothing", bytes(), "$"],
    ["a value without a kind", objectBytes(member("a", bytes())), "$.a"],
    ["text with a wrong length", bytes(0x1a, 2, 0x61), "$"],
    ["ill-formed text", listBytes(textBytes(0xff)), "$[0]"],
    ["ill-formed long text", listBytes(textBytes("x".repeat(70), 0xed, 0xa0, 0x80)), "$[0]"],
    [
      "an ill-formed name",
      listBytes(objectBytes(bytes(field(0x0a, 0xc0, 0x80), field(0x12, nullBytes)))),
      "$[0]",
    ],
    ["NaN", listBytes(numberBytes(Number.NaN)), "$[0]"],
    ["a null that is not 0", bytes(0x08, 1), "$"],
    ["a boolean that is 2", bytes(0x20, 2), "$"],
    ["a number cut short", bytes(0x11, 0), "$"],
    ["two kinds", bytes(nullBytes, nullBytes), "$"],
    ["an unknown field", bytes(0x38, 0), "$"],
    ["an unknown field of a list", field(0x32, 0x10, 0), "$"],
    ["an unknown field of an object", field(0x2a, 0x12, 0), "$"],
    ["a member without a value", objectBytes(field(0x0a, "a")), "$.a"],
    [
      "a member with two keys",
      objectBytes(bytes(field(0x0a, "a"), field(0x0a, "b"), field(0x12, nullBytes))),
      "$.a",
    ],
    ["a member with two values", objectBytes(bytes(field(0x12, nullBytes), field(0x12, nullBytes))), "$"],
    ["a member with a field cut short", objectBytes(bytes(0x0a, 5)), "$"],
    ["a list item cut short", field(0x32, 0x0a, 5), "$"],
  ])("%s is refused", (_, encoded, path) => {
    expect(failure(() => decodeValue(encoded))).toMatchObject({
      reason: "INVALID_VALUE",
      metadata: { path },
    });
  });

  test("what is too deep to be read without harm is refused", () => {
    let encoded = nullBytes;
    for (let i = 1; i < 100; i++) encoded = listBytes(encoded);
    expect(JSON.stringify(decodeValue(encoded))).toBe(`${"[".repeat(99)}null${"]".repeat(99)}`);
    expect(failure(() => decodeValue(listBytes(encoded))).metadata).toEqual({
      path: `$${"[0]".repeat(100)}`,
    });
    for (let i = 0; i < 200; i++) encoded = listBytes(encoded);
    expect(failure(() => decodeValue(encoded)).reason).toBe("INVALID_VALUE");
  });
});
