/** What the tests of values share: JSON to try, and bytes written by hand. */
import { fromBinary, fromJson, type JsonValue as ProtobufJson, toBinary, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import type { JsonValue } from "../../src/store.ts";

const trickyNames = [
  "__proto__",
  "constructor",
  "toString",
  "",
  "0",
  "12",
  "\ufeffx",
  "ключ",
  "🛒",
  "a b",
  "\u0000",
];

/** Keys that have an escape in JSON, which V8 14.6 misreads, and such as our own escape is taken for. */
export const MISREAD_KEYS: readonly string[] = [
  "\\",
  "\n",
  "\u0000",
  '"',
  "\\x",
  "\\u",
  "a\nb",
  "\u001f",
  "\ufdd0",
  "\ufdd0000a",
  "\ufdd0fdd0000a",
  "\ufdd0\n",
];

/** Well-formed text of all kinds, now and then longer than what the codec handles by hand. */
export const texts: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.string({ unit: "binary", minLength: 60, maxLength: 200 }),
  fc.constantFrom(...trickyNames, "\ufeff", "x".repeat(64), "x".repeat(65), "é".repeat(64), "🛒".repeat(33)),
);

/** Any plain JSON value, -0 included. */
export const jsonValues: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "medium", withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(-0)),
    texts,
    fc.array(tie("value")),
    fc
      .array(fc.tuple(fc.oneof(texts, fc.constantFrom(...trickyNames)), tie("value")))
      .map((members) => Object.fromEntries(members)),
  ),
})).value;

/**
 * The value with every -0 turned to 0, as it is stored. Not by way of JSON.parse: V8 14 reads the key in
 * `{"a":1,"\u0000":2}` as a backslash if it has read `{"a":1,"\\":2}` before.
 */
export function stored(value: JsonValue): JsonValue {
  if (typeof value === "number") return value + 0;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item: JsonValue) => stored(item));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, stored(item)]));
}

/** What protobuf-es writes for a value. */
export function protobufBytes(value: JsonValue): Uint8Array {
  return toBinary(ValueSchema, fromJson(ValueSchema, value as ProtobufJson));
}

/** What protobuf-es reads from bytes; it throws where it can't. */
export function protobufJson(bytes: Uint8Array): JsonValue {
  return toJson(ValueSchema, fromBinary(ValueSchema, bytes)) as JsonValue;
}

const encoder = new TextEncoder();

/** Bytes one after the other: numbers are bytes, text is UTF-8. */
export function bytes(...parts: (number | string | Uint8Array)[]): Uint8Array {
  const chunks = parts.map((part) => {
    if (typeof part === "number") return Uint8Array.of(part);
    return typeof part === "string" ? encoder.encode(part) : part;
  });
  const result = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    result.set(chunk, at);
    at += chunk.length;
  }
  return result;
}

/** A field of wire type 2: tag, length, content. */
export function field(tag: number, ...parts: (number | string | Uint8Array)[]): Uint8Array {
  const content = bytes(...parts);
  const length: number[] = [];
  let rest = content.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return bytes(tag, ...length, rest, content);
}

/** Encoded values, written by hand. */
export const nullBytes: Uint8Array = bytes(0x08, 0);
export const trueBytes: Uint8Array = bytes(0x20, 1);
export function textBytes(...content: (number | string)[]): Uint8Array {
  return field(0x1a, ...content);
}
export function numberBytes(number: number): Uint8Array {
  const result = new Uint8Array(9);
  result[0] = 0x11;
  new DataView(result.buffer).setFloat64(1, number, true);
  return result;
}
export function listBytes(...items: Uint8Array[]): Uint8Array {
  return field(0x32, ...items.map((item) => field(0x0a, item)));
}
export function objectBytes(...members: Uint8Array[]): Uint8Array {
  return field(0x2a, ...members.map((member) => field(0x0a, member)));
}
/** A member of an object, as written by everyone. */
export function member(key: string, value: Uint8Array): Uint8Array {
  return bytes(field(0x0a, key), field(0x12, value));
}
