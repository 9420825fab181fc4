/**
 * A hash of 128 bits for fingerprints: words, numbers, text, maps and encoded values one after the other, of which maps
 * and objects count in any order. It is not cryptographic, and its results are kept on disk: it must never change.
 */
import {
  DEEPEST,
  lengthAt,
  TAG_LIST,
  TAG_MEMBER,
  TAG_MEMBER_VALUE,
  TAG_NUMBER,
  TAG_OBJECT,
} from "../scan.ts";

// What the hash of a part begins with, so that parts of different kinds differ. Never reused for another kind.
const ABSENT = 1;
const PRESENT = 2;
const TEXT = 3;
const BYTES = 4;
const MEMBER = 5;
const LIST = 6;
const OBJECT = 7;
const MAP = 8;
const MALFORMED = 9;
const NUMBER = 10;

// The hash under way: four lanes of 32 bits, each with its own multiplier and shift.
let a = 0;
let b = 0;
let c = 0;
let d = 0;

const START_A = 0x243f6a88;
const START_B = 0x13198a2e;
const START_C = 0x03707344;
const START_D = 0x299f31d0;

const float = new DataView(new ArrayBuffer(8));

/** Begins a hash; there is one at a time. `tag`: a word that says what it is of. */
export function beginHash(tag: number): void {
  a = mixA(START_A, tag);
  b = mixB(START_B, tag);
  c = mixC(START_C, tag);
  d = mixD(START_D, tag);
}

/** Ends the hash: 24 characters of `A-Z a-z 0-9 - _`. */
export function endHash(): string {
  finish();
  return print(a) + print(b) + print(c) + print(d);
}

/** Adds 32 bits. */
export function addWord(word: number): void {
  a = mixA(a, word);
  b = mixB(b, word);
  c = mixC(c, word);
  d = mixD(d, word);
}

/** Adds a number; -0 as 0. An absent one differs from all others. */
export function addNumber(number: number | undefined): void {
  addWord(number === undefined ? ABSENT : PRESENT);
  if (number === undefined) return;
  float.setFloat64(0, number + 0);
  addWord(float.getInt32(0));
  addWord(float.getInt32(4));
}

/** Adds text. An absent one differs from all others. */
export function addText(text: string | undefined): void {
  addWord(text === undefined ? ABSENT : TEXT);
  if (text === undefined) return;
  const length = text.length;
  addWord(length);
  let i = 0;
  for (; i + 1 < length; i += 2) addWord(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16));
  if (i < length) addWord(text.charCodeAt(i));
}

/** Adds a map of `size` entries whose order does not count. `addContent` adds what belongs to a key. */
export function addMap(size: number, keys: Iterable<string>, addContent: (key: string) => void): void {
  const [wasA, wasB, wasC, wasD] = [a, b, c, d];
  let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
  for (const key of keys) {
    beginHash(MEMBER);
    addText(key);
    addContent(key);
    finish();
    sumA = (sumA + a) | 0;
    sumB = (sumB + b) | 0;
    sumC = (sumC + c) | 0;
    sumD = (sumD + d) | 0;
  }
  [a, b, c, d] = [wasA, wasB, wasC, wasD];
  addWord(MAP);
  addWord(size);
  addLanes(sumA, sumB, sumC, sumD);
}

/** Adds a map that may be absent, which differs from an empty one. */
export function addLabels(labels: Readonly<Record<string, string>> | undefined): void {
  if (labels === undefined) {
    addWord(ABSENT);
    return;
  }
  const names = Object.keys(labels);
  addMap(names.length, names, (name) => addText(labels[name]));
}

/**
 * Adds an encoded value by what it means: objects in any order, -0 as 0. What is not a value is added as its bytes, and where
 * there is none, that: whoever checks the request refuses both.
 */
export function addValue(bytes: Uint8Array | undefined): void {
  if (bytes === undefined) {
    addWord(ABSENT);
    return;
  }
  const [wasA, wasB, wasC, wasD] = [a, b, c, d];
  membersTop = 0;
  if (!hashValue(bytes, 0, bytes.length, 0)) hashBytes(MALFORMED, bytes, 0, bytes.length);
  const [ofA, ofB, ofC, ofD] = [a, b, c, d];
  [a, b, c, d] = [wasA, wasB, wasC, wasD];
  addLanes(ofA, ofB, ofC, ofD);
}

// Each step turns the lane before it takes the word: without that, x after y could be y after x.

function mixA(lane: number, word: number): number {
  const h = Math.imul(((lane << 5) | (lane >>> 27)) ^ word, 0x85ebca6b);
  return h ^ (h >>> 15);
}

function mixB(lane: number, word: number): number {
  const h = Math.imul(((lane << 7) | (lane >>> 25)) ^ word, 0xc2b2ae35);
  return h ^ (h >>> 13);
}

function mixC(lane: number, word: number): number {
  const h = Math.imul(((lane << 11) | (lane >>> 21)) ^ word, 0x27d4eb2f);
  return h ^ (h >>> 16);
}

function mixD(lane: number, word: number): number {
  const h = Math.imul(((lane << 13) | (lane >>> 19)) ^ word, 0x9e3779b1);
  return h ^ (h >>> 14);
}

/** Adds a hash: to each lane its own. */
function addLanes(ofA: number, ofB: number, ofC: number, ofD: number): void {
  a = mixA(a, ofA);
  b = mixB(b, ofB);
  c = mixC(c, ofC);
  d = mixD(d, ofD);
}

/** Mixes the lanes with one another, so that hashes can be summed up and each bit hangs on all that was added. */
function finish(): void {
  const sum = (a + b + c + d) | 0;
  a = scramble(sum);
  b = scramble((b + sum) | 0);
  c = scramble((c ^ sum) | 0);
  d = scramble((d - sum) | 0);
}

function scramble(lane: number): number {
  let h = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Leaves the hash of the bytes from `at` to `end` in the lanes. */
function hashBytes(tag: number, bytes: Uint8Array, start: number, end: number): void {
  let word = tag | ((end - start) << 4);
  let inA = mixA(START_A, word);
  let inB = mixB(START_B, word);
  let inC = mixC(START_C, word);
  let inD = mixD(START_D, word);
  let at = start;
  for (; at + 4 <= end; at += 4) {
    word = wordAt(bytes, at);
    inA = mixA(inA, word);
    inB = mixB(inB, word);
    inC = mixC(inC, word);
    inD = mixD(inD, word);
  }
  if (at < end) {
    word = bytes[at] as number;
    if (at + 1 < end) word |= (bytes[at + 1] as number) << 8;
    if (at + 2 < end) word |= (bytes[at + 2] as number) << 16;
    inA = mixA(inA, word);
    inB = mixB(inB, word);
    inC = mixC(inC, word);
    inD = mixD(inD, word);
  }
  a = inA;
  b = inB;
  c = inC;
  d = inD;
}

/** Four bytes as one word. */
function wordAt(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  return low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
}

/** Leaves the hash of the value between `at` and `end` in the lanes; false if it is malformed. */
function hashValue(bytes: Uint8Array, at: number, end: number, depth: number): boolean {
  const tag = at < end ? (bytes[at] as number) : 0;
  if (tag === TAG_OBJECT || tag === TAG_LIST) {
    const head = depth < DEEPEST ? lengthAt(bytes, at + 1, end) : -1;
    const start = at + 1 + (head & 7);
    if (head < 0 || start + (head >> 3) !== end) return false;
    return tag === TAG_LIST ? hashList(bytes, start, end, depth) : hashObject(bytes, start, end, depth);
  }
  if (tag === TAG_NUMBER && end - at === 9) {
    const low = wordAt(bytes, at + 1);
    const high = wordAt(bytes, at + 5);
    beginHash(NUMBER);
    addWord(low);
    // -0 is kept as 0.
    addWord(low === 0 && high === -0x8000_0000 ? 0 : high);
  } else {
    hashBytes(BYTES, bytes, at, end);
  }
  return true;
}

function hashList(bytes: Uint8Array, start: number, end: number, depth: number): boolean {
  let inA = mixA(START_A, LIST);
  let inB = mixB(START_B, LIST);
  let inC = mixC(START_C, LIST);
  let inD = mixD(START_D, LIST);
  for (let at = start; at < end; ) {
    const head = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
    if (head < 0) return false;
    at += 1 + (head & 7);
    const itemEnd = at + (head >> 3);
    if (!hashValue(bytes, at, itemEnd, depth + 1)) return false;
    inA = mixA(inA, a);
    inB = mixB(inB, b);
    inC = mixC(inC, c);
    inD = mixD(inD, d);
    at = itemEnd;
  }
  a = inA;
  b = inB;
  c = inC;
  d = inD;
  finish();
  return true;
}

/** Members of the objects under way, eight words each: the hash of the key, and of key and value. */
let members = new Int32Array(8 * 256);
let membersTop = 0;

function hashObject(bytes: Uint8Array, start: number, end: number, depth: number): boolean {
  const base = membersTop;
  for (let at = start; at < end; ) {
    const head = bytes[at] === TAG_MEMBER ? lengthAt(bytes, at + 1, end) : -1;
    if (head < 0) return false;
    at += 1 + (head & 7);
    const memberEnd = at + (head >> 3);
    if (!hashMember(bytes, at, memberEnd, depth)) return false;
    at = memberEnd;
  }
  // Of members with one key the last stands, in whatever order they and others come.
  if (hasRepeatedKey(base)) dropRepeatedKeys(base);
  let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
  for (let i = base; i < membersTop; i += 8) {
    sumA = (sumA + (members[i + 4] as number)) | 0;
    sumB = (sumB + (members[i + 5] as number)) | 0;
    sumC = (sumC + (members[i + 6] as number)) | 0;
    sumD = (sumD + (members[i + 7] as number)) | 0;
  }
  beginHash(OBJECT);
  addWord(membersTop - base);
  addLanes(sumA, sumB, sumC, sumD);
  finish();
  membersTop = base;
  return true;
}

/** Puts one member of an object on top of `members`. */
function hashMember(bytes: Uint8Array, start: number, end: number, depth: number): boolean {
  let key = start;
  let keyEnd = start;
  let value = -1;
  let valueEnd = -1;
  for (let at = start; at < end; ) {
    const field = bytes[at] as number;
    const head = field === TAG_MEMBER || field === TAG_MEMBER_VALUE ? lengthAt(bytes, at + 1, end) : -1;
    if (head < 0) return false;
    at += 1 + (head & 7);
    if (field === TAG_MEMBER) {
      key = at;
      keyEnd = at + (head >> 3);
    } else {
      value = at;
      valueEnd = at + (head >> 3);
    }
    at += head >> 3;
  }
  if (value < 0) return false;
  hashBytes(MEMBER, bytes, key, keyEnd);
  const keyA = a;
  const keyB = b;
  const keyC = c;
  const keyD = d;
  if (!hashValue(bytes, value, valueEnd, depth + 1)) return false;
  addLanes(keyA, keyB, keyC, keyD);
  finish();
  if (membersTop === members.length) {
    const more = new Int32Array(2 * membersTop);
    more.set(members);
    members = more;
  }
  members[membersTop] = keyA;
  members[membersTop + 1] = keyB;
  members[membersTop + 2] = keyC;
  members[membersTop + 3] = keyD;
  members[membersTop + 4] = a;
  members[membersTop + 5] = b;
  members[membersTop + 6] = c;
  members[membersTop + 7] = d;
  membersTop += 8;
  return true;
}

/** Whether two members from `base` on may have the same key: a no is certain, a yes nearly. */
function hasRepeatedKey(base: number): boolean {
  const count = (membersTop - base) / 8;
  if (count <= 12) {
    for (let i = base + 8; i < membersTop; i += 8) {
      const key = members[i];
      for (let j = base; j < i; j += 8) if (members[j] === key) return true;
    }
    return false;
  }
  const sorted = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const at = base + 8 * i;
    sorted[i] = (members[at] as number) * 0x20_0000 + ((members[at + 1] as number) >>> 11);
  }
  sorted.sort();
  for (let i = 1; i < count; i++) if (sorted[i] === sorted[i - 1]) return true;
  return false;
}

/** Keeps the last of the members with one key, from `base` on. */
function dropRepeatedKeys(base: number): void {
  const last = new Map<string, Int32Array>();
  for (let i = base; i < membersTop; i += 8) {
    last.set(members.subarray(i, i + 4).join(), members.slice(i, i + 8));
  }
  membersTop = base;
  for (const member of last.values()) {
    members.set(member, membersTop);
    membersTop += 8;
  }
}

const DIGITS = Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", (digit) =>
  digit.charCodeAt(0),
);

/** A lane in six digits of six bits. */
function print(lane: number): string {
  return String.fromCharCode(
    DIGITS[lane >>> 30] as number,
    DIGITS[(lane >>> 24) & 63] as number,
    DIGITS[(lane >>> 18) & 63] as number,
    DIGITS[(lane >>> 12) & 63] as number,
    DIGITS[(lane >>> 6) & 63] as number,
    DIGITS[lane & 63] as number,
  );
}
