/**
 * The scanner of encoded values: says whether bytes are exactly one well-formed `google.protobuf.Value` within limits.
 * It passes over the bytes once and stops at the first fault; it neither recurses nor allocates.
 *
 * Accepted is what every protobuf parser reads alike: a value has one kind and nothing else; an object member has one
 * value and at most one key (none: the key is `""`), in either order; a varint has no more bytes than it needs.
 */

/** First bytes of the fields of `Value`: number and wire type. */
export const TAG_NULL = 0x08;
export const TAG_NUMBER = 0x11;
export const TAG_STRING = 0x1a;
export const TAG_BOOL = 0x20;
export const TAG_OBJECT = 0x2a;
export const TAG_LIST = 0x32;
/** First byte of a member: of a list, or of an object, and of the key within the latter. */
export const TAG_MEMBER = 0x0a;
/** First byte of the value within a member of an object. */
export const TAG_MEMBER_VALUE = 0x12;

/** The deepest that any value may be, whatever the limits say: beyond it no parser of another language would follow. */
export const DEEPEST = 100;

/** The most bytes that anything in a value may have, whatever the limits say: 256 MiB less one, a length of four bytes. */
export const LONGEST = 0x0fff_ffff;

const FAULTS = [
  "",
  "has no kind; a null is stored as null_value",
  "has more than one kind, or bytes after it",
  "has a field that is unknown or of the wrong wire type",
  "is cut short, or has a length that is wrong",
  "has a null_value other than 0",
  "has a bool_value other than 0 and 1",
  "is not a finite number",
  "is not well-formed UTF-8",
  "has a member without a value, or with more than one key or value",
  "has a member whose name is not well-formed UTF-8",
  "is too deep",
  "has too many values",
] as const;
const NO_KIND = 1;
const MORE_THAN_ONE_KIND = 2;
const UNKNOWN_FIELD = 3;
const WRONG_LENGTH = 4;
const WRONG_NULL = 5;
const WRONG_BOOL = 6;
const NOT_FINITE = 7;
const ILL_FORMED_TEXT = 8;
const WRONG_MEMBER = 9;
const ILL_FORMED_NAME = 10;
const TOO_DEEP = 11;
const TOO_MANY_VALUES = 12;

/** Three words for each open container that is not the innermost: its tag, its end, and where its next member begins. */
const open = new Int32Array(3 * DEEPEST);

/**
 * Scans the whole of `bytes`. Returns 0, or the first fault: something to give to {@link describeFault}.
 * A number that is -0 becomes 0 in place if `normalise` is true; nothing else is changed.
 */
export function scanValue(bytes: Uint8Array, maxDepth: number, maxNodes: number, normalise: boolean): number {
  const deepest = Math.min(maxDepth, DEEPEST);
  let at = 0;
  let end = bytes.length;
  // The innermost open container. To begin with none: its only member, the value itself, is under way.
  let depth = 0;
  let tag = 0;
  let bodyEnd = end;
  let next = end;
  let nodes = 0;
  for (;;) {
    // One value, which must fill the bytes from `at` to `end`.
    const from = at;
    // An empty value has no byte of its own: the one before it, the end of its length, stands for it.
    if (at === end) return fault(NO_KIND, from - 1);
    if (++nodes > maxNodes) return fault(TOO_MANY_VALUES, from);
    if (depth >= deepest) return fault(TOO_DEEP, from);
    const kind = bytes[at++] as number;
    if (kind === TAG_STRING || kind === TAG_OBJECT || kind === TAG_LIST) {
      const head = lengthAt(bytes, at, end);
      if (head < 0) return fault(WRONG_LENGTH, from);
      at += head & 7;
      if (at + (head >> 3) !== end) return fault(MORE_THAN_ONE_KIND, from);
      if (kind === TAG_STRING) {
        if (!isUtf8(bytes, at, end)) return fault(ILL_FORMED_TEXT, from);
      } else {
        const top = 3 * depth++;
        open[top] = tag;
        open[top + 1] = bodyEnd;
        open[top + 2] = next;
        tag = kind;
        bodyEnd = end;
        next = at;
      }
    } else if (kind === TAG_NUMBER) {
      if (end - at !== 8) return fault(end - at < 8 ? WRONG_LENGTH : MORE_THAN_ONE_KIND, from);
      const high = bytes[at + 7] as number;
      if ((high & 0x7f) === 0x7f && (bytes[at + 6] as number) >= 0xf0) return fault(NOT_FINITE, from);
      if (normalise && high === 0x80 && isZero(bytes, at, at + 7)) bytes[at + 7] = 0;
    } else if (kind === TAG_NULL || kind === TAG_BOOL) {
      if (at === end) return fault(WRONG_LENGTH, from);
      const content = bytes[at++] as number;
      if (kind === TAG_NULL && content !== 0) return fault(WRONG_NULL, from);
      if (content > 1) return fault(WRONG_BOOL, from);
      if (at !== end) return fault(MORE_THAN_ONE_KIND, from);
    } else {
      return fault(UNKNOWN_FIELD, from);
    }

    // What comes next is a member of the innermost container that has one left.
    while (next === bodyEnd) {
      if (depth === 0) return 0;
      const top = 3 * --depth;
      tag = open[top] as number;
      bodyEnd = open[top + 1] as number;
      next = open[top + 2] as number;
    }
    const member = next;
    if (bytes[member] !== TAG_MEMBER) return fault(UNKNOWN_FIELD, member);
    const head = lengthAt(bytes, member + 1, bodyEnd);
    if (head < 0) return fault(WRONG_LENGTH, member);
    at = member + 1 + (head & 7);
    end = at + (head >> 3);
    next = end;
    if (tag === TAG_LIST) continue;

    // A member of an object: key and value, or value and key, or a value alone.
    if (at === end) return fault(WRONG_MEMBER, member);
    let field = bytes[at] as number;
    let keyHead = 0;
    if (field === TAG_MEMBER) {
      keyHead = lengthAt(bytes, at + 1, end);
      if (keyHead < 0) return fault(WRONG_LENGTH, member);
      at += 1 + (keyHead & 7);
      const keyEnd = at + (keyHead >> 3);
      if (!isUtf8(bytes, at, keyEnd)) return fault(ILL_FORMED_NAME, member);
      at = keyEnd;
      if (at === end) return fault(WRONG_MEMBER, member);
      field = bytes[at] as number;
    }
    if (field !== TAG_MEMBER_VALUE) {
      return fault(field === TAG_MEMBER ? WRONG_MEMBER : UNKNOWN_FIELD, member);
    }
    const valueHead = lengthAt(bytes, at + 1, end);
    if (valueHead < 0) return fault(WRONG_LENGTH, member);
    at += 1 + (valueHead & 7);
    const valueEnd = at + (valueHead >> 3);
    if (valueEnd !== end) {
      const after = bytes[valueEnd] as number;
      if (keyHead !== 0 || after === TAG_MEMBER_VALUE) {
        return fault(
          after === TAG_MEMBER || after === TAG_MEMBER_VALUE ? WRONG_MEMBER : UNKNOWN_FIELD,
          member,
        );
      }
      if (after !== TAG_MEMBER) return fault(UNKNOWN_FIELD, member);
      keyHead = lengthAt(bytes, valueEnd + 1, end);
      if (keyHead < 0) return fault(WRONG_LENGTH, member);
      const key = valueEnd + 1 + (keyHead & 7);
      const keyEnd = key + (keyHead >> 3);
      if (keyEnd !== end) return fault(WRONG_MEMBER, member);
      if (!isUtf8(bytes, key, keyEnd)) return fault(ILL_FORMED_NAME, member);
      end = valueEnd;
    }
  }
}

/**
 * The length prefix at `at` of something that must end by `end`: eight times the length, plus the bytes of the prefix
 * itself (1 to 4, so up to {@link LONGEST}). -1 if it is cut short, longer than it need be, or reaches beyond `end`.
 */
export function lengthAt(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end) return -1;
  const first = bytes[at] as number;
  if (first > 0x7f) return longLengthAt(bytes, at, end);
  return at + 1 + first <= end ? (first << 3) | 1 : -1;
}

function longLengthAt(bytes: Uint8Array, at: number, end: number): number {
  let length = (bytes[at] as number) & 0x7f;
  for (let width = 2, shift = 7; width <= 4 && at + width <= end; width++, shift += 7) {
    const byte = bytes[at + width - 1] as number;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) return byte !== 0 && at + width + length <= end ? (length << 3) | width : -1;
  }
  return -1;
}

/** Whether the bytes from `at` to `end` are well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF. */
function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const first = bytes[at++] as number;
    if (first < 0x80) {
      while (at + 4 <= end && isAscii4(bytes, at)) at += 4;
      continue;
    }
    if (first < 0xc2 || first > 0xf4 || at === end) return false;
    const second = bytes[at++] as number;
    if ((second & 0xc0) !== 0x80) return false;
    if (first < 0xe0) continue;
    if (first === 0xe0 && second < 0xa0) return false;
    if (first === 0xed && second > 0x9f) return false;
    if (first === 0xf0 && second < 0x90) return false;
    if (first === 0xf4 && second > 0x8f) return false;
    if (at === end || ((bytes[at++] as number) & 0xc0) !== 0x80) return false;
    if (first < 0xf0) continue;
    if (at === end || ((bytes[at++] as number) & 0xc0) !== 0x80) return false;
  }
  return true;
}

function isAscii4(bytes: Uint8Array, at: number): boolean {
  const low = (bytes[at] as number) | (bytes[at + 1] as number);
  return (low | (bytes[at + 2] as number) | (bytes[at + 3] as number)) < 0x80;
}

function isZero(bytes: Uint8Array, at: number, end: number): boolean {
  for (; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** A fault and the offset it belongs to, in one number: nothing is allocated before it is known that something is wrong. */
function fault(code: number, offset: number): number {
  return (offset + 1) * 16 + code;
}

/** What a fault is, for a message, and where: a path like `$.items[3]["odd name"]`. Names are shortened, values are never shown. */
export function describeFault(
  bytes: Uint8Array,
  found: number,
): { readonly what: string; readonly path: string } {
  const code = found % 16;
  // The number of values is a fact about the whole.
  const path = code === TOO_MANY_VALUES ? "$" : pathAt(bytes, Math.floor(found / 16) - 1);
  return { what: FAULTS[code] as string, path };
}

/** The path of the value that the byte at `offset` belongs to. Passes over each byte at most once. */
function pathAt(bytes: Uint8Array, offset: number): string {
  let path = "$";
  let at = 0;
  let end = bytes.length;
  for (;;) {
    const tag = bytes[at];
    if (offset <= at || (tag !== TAG_OBJECT && tag !== TAG_LIST)) return path;
    const head = lengthAt(bytes, at + 1, end);
    let next = at + 1 + (head & 7);
    let index = -1;
    // The scanner has passed the members before the one at fault, so they are well formed.
    do {
      at = next;
      const memberHead = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
      if (memberHead < 0) return path;
      at += 1 + (memberHead & 7);
      next = at + (memberHead >> 3);
      index++;
    } while (next <= offset);
    end = next;
    if (tag === TAG_LIST) {
      path = joinPath(path, index);
      continue;
    }
    const key = keyOf(bytes, at, end);
    if (key === undefined) return path;
    path = joinPath(path, key);
    if (offset < at) return path;
    // The fault is within the value, so the scanner has found key and value well framed.
    if (bytes[at] === TAG_MEMBER) at = endOf(bytes, at + 1, end);
    end = endOf(bytes, at + 1, end);
    at += 1 + (lengthAt(bytes, at + 1, end) & 7);
  }
}

/** The end of what the length prefix at `at` is for. */
function endOf(bytes: Uint8Array, at: number, end: number): number {
  const head = lengthAt(bytes, at, end);
  return at + (head & 7) + (head >> 3);
}

/** The key of the member between `at` and `end`, if it can be told. */
function keyOf(bytes: Uint8Array, at: number, end: number): string | undefined {
  if (bytes[at] === TAG_MEMBER_VALUE) {
    const head = lengthAt(bytes, at + 1, end);
    if (head < 0) return undefined;
    at = endOf(bytes, at + 1, end);
    if (at === end) return "";
  }
  const head = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
  if (head < 0) return undefined;
  at += 1 + (head & 7);
  end = at + (head >> 3);
  return isUtf8(bytes, at, end)
    ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(at, end))
    : undefined;
}

const LONGEST_NAME = 64;
const LONGEST_PATH = 1_000;

/** A path with one more step: a list index or a member's name. Long names and paths are cut, so that an error fits a header. */
export function joinPath(path: string, step: string | number): string {
  if (path.length > LONGEST_PATH) return path.endsWith("…") ? path : `${path}…`;
  if (typeof step === "number") return `${path}[${step}]`;
  if (step.length > LONGEST_NAME) return `${path}[${JSON.stringify(`${step.slice(0, LONGEST_NAME)}…`)}]`;
  return /^[A-Za-z_$][\w$]*$/.test(step) ? `${path}.${step}` : `${path}[${JSON.stringify(step)}]`;
}
