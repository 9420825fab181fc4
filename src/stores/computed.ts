/**
 * What the computed changes do to an encoded value: increment, append, merge. Pure functions that every store shares.
 * Each takes the stored bytes (`undefined`: the key is absent) and returns the bytes to store.
 */
import { WorkflowStateError } from "../errors.ts";
import type { Change, EncodedForm, JsonValue, Limits } from "../store.ts";
import { ownValue } from "../validate.ts";
import { decodeValue, encodeValue } from "../value.ts";

/** The changes whose result depends on what is stored. */
export type ComputedChange = Extract<Change<EncodedForm>, { kind: "increment" | "append" | "merge" }>;

// The first byte of a `google.protobuf.Value`: the tag of its kind. A validated value has one kind and nothing else.
const NUMBER = 0x11;
const STRUCT = 0x2a;
const LIST = 0x32;
const TYPE_BY_TAG: Readonly<Record<number, string>> = {
  8: "null",
  [NUMBER]: "a number",
  26: "a string",
  32: "a boolean",
  [STRUCT]: "an object",
  [LIST]: "a list",
};

/**
 * The value after a computed change.
 * Fails with VALUE_TYPE_MISMATCH, NUMBER_OUT_OF_RANGE, INVALID_VALUE and VALUE_TOO_LARGE (of the result).
 */
export function compute(change: ComputedChange, stored: Uint8Array | undefined, limits: Limits): Uint8Array {
  switch (change.kind) {
    case "increment":
      return increment(change.key, stored, change.delta);
    case "append":
      return append(change.key, stored, change.values, change.maxItems ?? 0, limits);
    case "merge":
      return merge(change.key, stored, ownValue(change.value, limits), limits);
  }
}

function increment(key: string, stored: Uint8Array | undefined, delta: number): Uint8Array {
  const before = stored === undefined ? 0 : view(typed(key, stored, NUMBER, "increment")).getFloat64(1, true);
  const after = before + delta;
  // Beyond 2^53 a double no longer takes every step, and counts would be lost. This also refuses what is not finite.
  if (!(Math.abs(after) <= Number.MAX_SAFE_INTEGER)) {
    throw new WorkflowStateError(
      "NUMBER_OUT_OF_RANGE",
      `The increment of key ${JSON.stringify(key)} has a result that can't be kept exactly: it may be 2^53 - 1 at most.`,
      { metadata: { key } },
    );
  }
  const result = new Uint8Array(9);
  result[0] = NUMBER;
  view(result).setFloat64(1, after === 0 ? 0 : after, true);
  return result;
}

/** Works on the encoded list: a list's items are `0A length bytes` one after the other, so adding is copying. */
function append(
  key: string,
  stored: Uint8Array | undefined,
  values: readonly Uint8Array[],
  maxItems: number,
  limits: Limits,
): Uint8Array {
  const old = stored === undefined ? undefined : typed(key, stored, LIST, "append");
  const oldStart = old === undefined ? 0 : 1 + varintLength(readVarint(old, 1));
  const kept: Uint8Array[] = values.map((value) => ownValue(value, limits));
  let drop = 0;
  if (maxItems > 0) {
    if (kept.length > maxItems) kept.splice(0, kept.length - maxItems);
    drop = Math.max(0, countItems(old, oldStart) + kept.length - maxItems);
  }
  let from = oldStart;
  for (; drop > 0; drop--) from = nextItem(old as Uint8Array, from);

  let size = old === undefined ? 0 : old.length - from;
  const tail = old === undefined ? undefined : old.subarray(from);
  for (const value of kept) size += 1 + varintLength(value.length) + value.length;
  const result = new Uint8Array(1 + varintLength(size) + size);
  result[0] = LIST;
  let at = writeVarint(result, 1, size);
  if (tail !== undefined) {
    result.set(tail, at);
    at += tail.length;
  }
  for (const value of kept) {
    result[at] = 0x0a;
    at = writeVarint(result, at + 1, value.length);
    result.set(value, at);
    at += value.length;
  }
  return ownValue(result, limits);
}

function merge(key: string, stored: Uint8Array | undefined, patch: Uint8Array, limits: Limits): Uint8Array {
  const target = stored === undefined ? {} : decodeValue(typed(key, stored, STRUCT, "merge"));
  return encodeValue(mergePatch(target, decodeValue(patch)), limits);
}

/** JSON Merge Patch, RFC 7396 section 2. Both sides are fresh from the decoder, so the target is changed in place. */
function mergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isObject(patch)) return patch;
  const result: Record<string, JsonValue> = isObject(target) ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) {
      delete result[name];
      continue;
    }
    const before = Object.hasOwn(result, name) ? result[name] : undefined;
    // Defined, not assigned: `__proto__` is a name like any other.
    Object.defineProperty(result, name, {
      value: mergePatch(before, value),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return result;
}

function isObject(value: JsonValue | undefined): value is Record<string, JsonValue> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typed(key: string, stored: Uint8Array, tag: number, change: string): Uint8Array {
  const actual = stored[0] as number;
  if (actual === tag) return stored;
  throw new WorkflowStateError(
    "VALUE_TYPE_MISMATCH",
    `The ${change} of key ${JSON.stringify(key)} needs ${TYPE_BY_TAG[tag]}, and there is ${TYPE_BY_TAG[actual]}: set the key first, or use another.`,
    { metadata: { key } },
  );
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function countItems(list: Uint8Array | undefined, start: number): number {
  let count = 0;
  if (list !== undefined) for (let at = start; at < list.length; at = nextItem(list, at)) count++;
  return count;
}

function nextItem(list: Uint8Array, at: number): number {
  const length = readVarint(list, at + 1);
  return at + 1 + varintLength(length) + length;
}

function readVarint(bytes: Uint8Array, at: number): number {
  let result = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++] as number;
    result |= (byte & 0x7f) << shift;
    if (byte < 0x80) return result;
  }
}

function varintLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at++] = rest;
  return at;
}
