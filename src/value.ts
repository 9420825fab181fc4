/**
 * The codec of values: plain JSON straight to the bytes of a `google.protobuf.Value` and back, without a message tree.
 * The bytes are the ones that protobuf-es writes for the same value, members in the order of `Object.keys`.
 */
import { WorkflowStateError } from "./errors.ts";
import {
  DEEPEST,
  describeFault,
  joinPath,
  LONGEST,
  lengthAt,
  scanValue,
  TAG_BOOL,
  TAG_LIST,
  TAG_MEMBER,
  TAG_MEMBER_VALUE,
  TAG_NULL,
  TAG_NUMBER,
  TAG_OBJECT,
  TAG_STRING,
} from "./scan.ts";
import { DEFAULT_LIMITS, type JsonValue, type Limits } from "./store.ts";

/** Text of up to so many UTF-16 units is encoded by hand; beyond it the platform's encoder is faster. */
const SHORT_TEXT = 64;
/** Bytes that suffice for a value or a key with all that stands before it, long text and containers' content apart. */
const ROOM = 256;
const SMALL_SCRATCH = 16 * 1024;
const LARGE_SCRATCH = 4 * 1024 * 1024;

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// One value is written at a time, from its end to its start: a length is then known before it is written, and nothing is
// measured or moved. The writers take the position of what is written so far and return the one after their part.
let scratch = new Uint8Array(SMALL_SCRATCH);
let view = new DataView(scratch.buffer);
let nodes = 0;
let bounds = DEFAULT_LIMITS;
let mostBytes = 0;
let deepest = 0;
let writing = false;
/** The step that leads to the value under way at each level. */
const steps: (string | number)[] = new Array(DEEPEST).fill(0);

/**
 * The bytes of a plain JSON value: null, booleans, finite numbers, well-formed strings, dense arrays, and objects whose
 * prototype is `Object.prototype` or null. -0 becomes 0; a member that is not enumerable is left out, as JSON does.
 * Each part is read once; `toJSON` is not run, nor an accessor of an object.
 *
 * Fails with INVALID_VALUE and the `path` of what is not plain JSON, is too deep (a cycle is), or makes too many values;
 * with VALUE_TOO_LARGE, `limit` and `actual` (as far as it was measured) over `limits.valueBytes`.
 */
export function encodeValue(value: unknown, limits: Limits = DEFAULT_LIMITS): Uint8Array<ArrayBuffer> {
  // A Proxy in a value runs code, and that code may encode another value.
  if (writing) return encodeAside(value, limits);
  writing = true;
  nodes = 0;
  bounds = limits;
  mostBytes = Math.min(limits.valueBytes, LONGEST);
  deepest = Math.min(limits.valueDepth, DEEPEST);
  try {
    const at = writeValue(value, 0, scratch.length);
    if (scratch.length - at > mostBytes) throw tooLarge(scratch.length - at);
    return scratch.slice(at);
  } catch (error) {
    // Only a Proxy throws something else.
    throw WorkflowStateError.is(error) ? error : refused("$", "can't be read", error);
  } finally {
    writing = false;
    if (scratch.length > LARGE_SCRATCH) useScratch(new Uint8Array(SMALL_SCRATCH));
  }
}

function encodeAside(value: unknown, limits: Limits): Uint8Array<ArrayBuffer> {
  const outer = { scratch, nodes, bounds, mostBytes, deepest, steps: steps.slice() };
  writing = false;
  useScratch(new Uint8Array(SMALL_SCRATCH));
  try {
    return encodeValue(value, limits);
  } finally {
    writing = true;
    useScratch(outer.scratch);
    ({ nodes, bounds, mostBytes, deepest } = outer);
    outer.steps.forEach((step, level) => {
      steps[level] = step;
    });
  }
}

function useScratch(buffer: Uint8Array<ArrayBuffer>): void {
  scratch = buffer;
  view = new DataView(buffer.buffer);
}

/** Makes room for `size` more bytes before `at`; returns the new position of what stands there. */
function grow(at: number, size: number): number {
  const written = scratch.length - at;
  if (written > mostBytes) throw tooLarge(written);
  const grown = new Uint8Array(Math.max(2 * scratch.length, written + size));
  grown.set(scratch.subarray(at), grown.length - written);
  useScratch(grown);
  return grown.length - written;
}

/** Writes a value that lies below `level` containers. */
function writeValue(value: unknown, level: number, end: number): number {
  if (level >= deepest) throw refused(pathTo(level), `is deeper than ${deepest} levels, or contains itself`);
  if (++nodes > bounds.valueNodes) throw tooMany();
  let at = end < ROOM ? grow(end, ROOM) : end;
  if (typeof value === "string") {
    at = writeText(value, at);
    if (at < 0) throw refused(pathTo(level), "is a string with a lone surrogate");
    scratch[--at] = TAG_STRING;
    return at;
  }
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw refused(pathTo(level), "is a number that is not finite");
    at -= 9;
    scratch[at] = TAG_NUMBER;
    // Adding 0 turns -0 into 0.
    view.setFloat64(at + 1, value + 0, true);
    return at;
  }
  if (typeof value === "object") {
    if (value !== null)
      return Array.isArray(value) ? writeList(value, level, at) : writeObject(value, level, at);
    scratch[--at] = 0;
    scratch[--at] = TAG_NULL;
    return at;
  }
  if (typeof value === "boolean") {
    scratch[--at] = value ? 1 : 0;
    scratch[--at] = TAG_BOOL;
    return at;
  }
  throw refused(
    pathTo(level),
    value === undefined ? "is undefined: leave it out, or say null" : `is a ${typeof value}`,
  );
}

function writeList(list: readonly unknown[], level: number, end: number): number {
  // The prototype of arrays is an array, in every realm; that of a class that extends Array is not.
  if (!Array.isArray(Object.getPrototypeOf(list))) throw refused(pathTo(level), "is an instance of a class");
  const length = list.length;
  if (nodes + length > bounds.valueNodes) throw tooMany();
  // More names than items: `list.total = 3`, which would be lost. Fewer: a hole, which is refused as undefined below.
  if (Object.keys(list).length > length)
    throw refused(pathTo(level), "is a list with a member that has a name");
  const start = scratch.length - end;
  let at = end;
  for (let i = length - 1; i >= 0; i--) {
    steps[level] = i;
    const before = scratch.length - at;
    // A hole reads as undefined and is refused as that.
    at = writeValue(list[i], level + 1, at);
    if (at < ROOM) at = grow(at, ROOM);
    at = writeLength(scratch.length - at - before, at);
    scratch[--at] = TAG_MEMBER;
  }
  at = writeLength(scratch.length - at - start, at);
  scratch[--at] = TAG_LIST;
  return at;
}

function writeObject(object: object, level: number, end: number): number {
  if (!isPlain(object)) throw refused(pathTo(level), "is an instance of a class");
  if (hasSymbols(object)) throw refused(pathTo(level), "has a member whose name is a symbol");
  const keys = Object.keys(object);
  if (nodes + keys.length > bounds.valueNodes) throw tooMany();
  const start = scratch.length - end;
  let at = end;
  for (let i = keys.length - 1; i >= 0; i--) {
    const key = keys[i] as string;
    steps[level] = key;
    const before = scratch.length - at;
    // Not `object[key]`, which would run an accessor: an accessor has no value and is refused as undefined.
    at = writeValue(Object.getOwnPropertyDescriptor(object, key)?.value, level + 1, at);
    if (at < ROOM) at = grow(at, ROOM);
    at = writeLength(scratch.length - at - before, at);
    scratch[--at] = TAG_MEMBER_VALUE;
    at = writeText(key, at);
    if (at < 0) throw refused(pathTo(level), "has a member whose name has a lone surrogate");
    scratch[--at] = TAG_MEMBER;
    at = writeLength(scratch.length - at - before, at);
    scratch[--at] = TAG_MEMBER;
  }
  at = writeLength(scratch.length - at - start, at);
  scratch[--at] = TAG_OBJECT;
  return at;
}

function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype === Object.prototype || prototype === null) return true;
  // The Object.prototype of another realm (a frame, a vm context).
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf");
}

function hasSymbols(object: object): boolean {
  const symbols = Object.getOwnPropertySymbols(object);
  return (
    symbols.length > 0 && symbols.some((symbol) => Object.prototype.propertyIsEnumerable.call(object, symbol))
  );
}

/** Writes text with its length before it; -1 if it has a lone surrogate. The caller has made room for short text. */
function writeText(text: string, end: number): number {
  if (text.length > SHORT_TEXT) return writeLongText(text, end);
  const buffer = scratch;
  let at = end;
  for (let i = text.length - 1; i >= 0; i--) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) {
      buffer[--at] = unit;
    } else if (unit < 0x800) {
      buffer[--at] = (unit & 0x3f) | 0x80;
      buffer[--at] = (unit >>> 6) | 0xc0;
    } else if (unit < 0xd800 || unit > 0xdfff) {
      buffer[--at] = (unit & 0x3f) | 0x80;
      buffer[--at] = ((unit >>> 6) & 0x3f) | 0x80;
      buffer[--at] = (unit >>> 12) | 0xe0;
    } else {
      const high = unit > 0xdbff && i > 0 ? text.charCodeAt(--i) : 0;
      if (high < 0xd800 || high > 0xdbff) return -1;
      const point = 0x1_0000 + ((high & 0x3ff) << 10) + (unit & 0x3ff);
      buffer[--at] = (point & 0x3f) | 0x80;
      buffer[--at] = ((point >>> 6) & 0x3f) | 0x80;
      buffer[--at] = ((point >>> 12) & 0x3f) | 0x80;
      buffer[--at] = (point >>> 18) | 0xf0;
    }
  }
  return writeLength(end - at, at);
}

function writeLongText(text: string, end: number): number {
  // Every unit is at least one byte: a text far over the limit is not looked at.
  if (text.length > mostBytes) throw tooLarge(scratch.length - end + text.length);
  // The encoder would put U+FFFD in place of a lone surrogate.
  if (!text.isWellFormed()) return -1;
  const most = 3 * text.length;
  const at = end < most + ROOM ? grow(end, most + ROOM) : end;
  const { written } = textEncoder.encodeInto(text, scratch.subarray(at - most, at));
  scratch.copyWithin(at - written, at - most, at - most + written);
  return writeLength(written, at - written);
}

/** Writes a varint. The caller has made room. */
function writeLength(length: number, end: number): number {
  let at = end;
  if (length < 0x80) {
    scratch[--at] = length;
    return at;
  }
  let shift = 7;
  while (length >>> (shift + 7) !== 0) shift += 7;
  scratch[--at] = length >>> shift;
  for (shift -= 7; shift >= 0; shift -= 7) scratch[--at] = ((length >>> shift) & 0x7f) | 0x80;
  return at;
}

function pathTo(level: number): string {
  let path = "$";
  for (let i = 0; i < level; i++) path = joinPath(path, steps[i] as string | number);
  return path;
}

function refused(path: string, what: string, cause?: unknown): WorkflowStateError {
  return new WorkflowStateError(
    "INVALID_VALUE",
    `The value at ${path} ${what}: only plain JSON can be kept.`,
    {
      metadata: { path },
      cause,
    },
  );
}

function tooMany(): WorkflowStateError {
  return new WorkflowStateError(
    "INVALID_VALUE",
    `The value at $ holds more than ${bounds.valueNodes} values: split it over several keys.`,
    { metadata: { path: "$", limit: String(bounds.valueNodes) } },
  );
}

function tooLarge(actual: number): WorkflowStateError {
  return new WorkflowStateError(
    "VALUE_TOO_LARGE",
    `The value is larger than ${mostBytes} bytes: split it over several keys.`,
    { metadata: { limit: String(mostBytes), actual: String(actual) } },
  );
}

const double = new Uint8Array(8);
const doubleView = new DataView(double.buffer);

/**
 * The plain JSON of an encoded value, fresh: the caller's own. Of members with the same name the last one stands.
 * Fails with INVALID_VALUE and the `path` if the bytes are not one well-formed value, whoever made them.
 */
export function decodeValue(bytes: Uint8Array): JsonValue {
  return readValue(bytes, 0, bytes.length, 0);
}

/** Says what the scanner finds wrong: what is refused here is what is refused there. */
function malformed(bytes: Uint8Array): WorkflowStateError {
  const { what, path } = describeFault(bytes, scanValue(bytes, DEEPEST, Number.MAX_SAFE_INTEGER, false));
  return new WorkflowStateError("INVALID_VALUE", `The encoded value at ${path} ${what}.`, {
    metadata: { path },
  });
}

/** Reads the value that fills the bytes from `at` to `end`, below `level` containers. */
function readValue(bytes: Uint8Array, at: number, end: number, level: number): JsonValue {
  if (at >= end || level >= DEEPEST) throw malformed(bytes);
  const tag = bytes[at] as number;
  if (tag === TAG_STRING || tag === TAG_OBJECT || tag === TAG_LIST) {
    const head = lengthAt(bytes, at + 1, end);
    const start = at + 1 + (head & 7);
    if (head < 0 || start + (head >> 3) !== end) throw malformed(bytes);
    if (tag === TAG_STRING) return readText(bytes, start, end);
    return tag === TAG_OBJECT
      ? readObject(bytes, start, end, level + 1)
      : readList(bytes, start, end, level + 1);
  }
  if (tag === TAG_NUMBER && end - at === 9) {
    for (let i = 0; i < 8; i++) double[i] = bytes[at + 1 + i] as number;
    const number = doubleView.getFloat64(0, true);
    // Adding 0 turns -0 into 0.
    if (Number.isFinite(number)) return number + 0;
  } else if (end - at === 2) {
    const content = bytes[at + 1] as number;
    if (tag === TAG_BOOL && content <= 1) return content === 1;
    if (tag === TAG_NULL && content === 0) return null;
  }
  throw malformed(bytes);
}

function readList(bytes: Uint8Array, start: number, end: number, level: number): JsonValue[] {
  const list: JsonValue[] = [];
  for (let at = start; at < end; ) {
    const head = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
    if (head < 0) throw malformed(bytes);
    at += 1 + (head & 7);
    const itemEnd = at + (head >> 3);
    list.push(readValue(bytes, at, itemEnd, level));
    at = itemEnd;
  }
  return list;
}

function readObject(bytes: Uint8Array, start: number, end: number, level: number): Record<string, JsonValue> {
  const object: Record<string, JsonValue> = {};
  for (let at = start; at < end; ) {
    const head = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
    if (head < 0) throw malformed(bytes);
    at += 1 + (head & 7);
    const memberEnd = at + (head >> 3);
    // Key and value in either order; the key may be missing.
    let keyAt = at;
    let keyEnd = -1;
    let valueAt = at;
    let valueEnd = -1;
    while (at < memberEnd) {
      const field = bytes[at] as number;
      const fieldHead = lengthAt(bytes, at + 1, memberEnd);
      if (fieldHead < 0) throw malformed(bytes);
      at += 1 + (fieldHead & 7);
      const fieldEnd = at + (fieldHead >> 3);
      if (field === TAG_MEMBER && keyEnd < 0) {
        keyAt = at;
        keyEnd = fieldEnd;
      } else if (field === TAG_MEMBER_VALUE && valueEnd < 0) {
        valueAt = at;
        valueEnd = fieldEnd;
      } else {
        throw malformed(bytes);
      }
      at = fieldEnd;
    }
    if (valueEnd < 0) throw malformed(bytes);
    const key = keyEnd < 0 ? "" : readKey(bytes, keyAt, keyEnd);
    const value = readValue(bytes, valueAt, valueEnd, level);
    // Assigning to `__proto__` would set the prototype, and to `toString` fails where Object.prototype is frozen.
    if (key in Object.prototype) {
      Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    } else {
      object[key] = value;
    }
  }
  return object;
}

/** ASCII keys that were read of late, by a hash of some of their bytes: the same few come again and again. */
const recentKeys: string[] = new Array(1024).fill("");

function readKey(bytes: Uint8Array, at: number, end: number): string {
  const length = end - at;
  if (length === 0 || length > SHORT_TEXT) return readText(bytes, at, end);
  const ends = ((bytes[at] as number) << 8) ^ (bytes[end - 1] as number);
  const middle = ((bytes[at + (length >> 1)] as number) << 4) ^ (bytes[at + (length >> 2)] as number);
  const slot = (Math.imul((ends << 8) ^ (middle << 1) ^ length, 0x9e3779b1) >>> 22) & 1023;
  const recent = recentKeys[slot] as string;
  if (recent.length === length) {
    let i = 0;
    while (i < length && recent.charCodeAt(i) === bytes[at + i]) i++;
    if (i === length) return recent;
  }
  const key = readText(bytes, at, end);
  if (key.length === length) recentKeys[slot] = key;
  return key;
}

function readText(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length > 16) return decodeText(bytes, start, end);
  let bits = 0;
  for (let i = start; i < end; i++) bits |= bytes[i] as number;
  if (bits > 0x7f) return decodeText(bytes, start, end);
  if (length <= 8) return shortText(bytes, start, length);
  return shortText(bytes, start, 8) + shortText(bytes, start + 8, length - 8);
}

function decodeText(bytes: Uint8Array, start: number, end: number): string {
  try {
    return textDecoder.decode(bytes.subarray(start, end));
  } catch {
    throw malformed(bytes);
  }
}

/** ASCII text of up to eight bytes: one call makes it, where adding up characters would make a string for each. */
function shortText(bytes: Uint8Array, at: number, length: number): string {
  // What lies beyond the text is read too, and not used.
  const a = bytes[at] ?? 0;
  const b = bytes[at + 1] ?? 0;
  const c = bytes[at + 2] ?? 0;
  const d = bytes[at + 3] ?? 0;
  const e = bytes[at + 4] ?? 0;
  const f = bytes[at + 5] ?? 0;
  const g = bytes[at + 6] ?? 0;
  switch (length) {
    case 0:
      return "";
    case 1:
      return String.fromCharCode(a);
    case 2:
      return String.fromCharCode(a, b);
    case 3:
      return String.fromCharCode(a, b, c);
    case 4:
      return String.fromCharCode(a, b, c, d);
    case 5:
      return String.fromCharCode(a, b, c, d, e);
    case 6:
      return String.fromCharCode(a, b, c, d, e, f);
    case 7:
      return String.fromCharCode(a, b, c, d, e, f, g);
    default:
      return String.fromCharCode(a, b, c, d, e, f, g, bytes[at + 7] as number);
  }
}
