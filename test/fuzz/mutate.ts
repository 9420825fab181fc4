/** Changes to valid inputs: of bytes, of the fields of a protobuf message, and of JSON. All by the numbers of a {@link Random}. */
import type { Random } from "../support/random.ts";

/** Bytes at which readers of lengths, tags and text go wrong. */
const ODD_BYTES = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x1a, 0x22, 0x7b, 0xc3, 0xed];
const ODD_VARINTS = [
  "00",
  "7f",
  "8000",
  "ffffffff0f",
  "ffffffffffffffff7f",
  "ffffffffffffffffff01",
  "8080808080808080808000",
];
/** Protobuf-like messages are looked into so deep. */
const DEEPEST = 8;

/** The bytes with one to four changes. */
export function mutatedBytes(random: Random, bytes: Uint8Array): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let n = random.between(1, 4); n > 0; n--) result = changedBytes(random, result);
  return result;
}

function changedBytes(random: Random, bytes: Buffer): Buffer {
  const at = random.between(0, Math.max(0, bytes.length - 1));
  const end = Math.min(bytes.length, at + random.between(1, 16));
  const piece = bytes.subarray(at, end);
  switch (random.between(0, 6)) {
    case 0:
      return replaced(bytes, at, at + 1, Buffer.from([(bytes[at] ?? 0) ^ (1 << random.between(0, 7))]));
    case 1:
      return replaced(bytes, at, at + 1, Buffer.from([random.one(ODD_BYTES)]));
    case 2:
      return replaced(bytes, at, end, Buffer.alloc(0));
    case 3:
      return replaced(bytes, at, at, piece);
    case 4:
      return bytes.subarray(0, at);
    case 5:
      return replaced(bytes, at, at + 1, Buffer.from(random.one(ODD_VARINTS), "hex"));
    default:
      return replaced(
        bytes,
        at,
        at,
        Buffer.from(Array.from({ length: random.between(1, 8) }, () => random.between(0, 255))),
      );
  }
}

function replaced(bytes: Buffer, from: number, to: number, by: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(to)]);
}

interface Field {
  readonly number: number;
  readonly wireType: number;
  readonly content: Buffer;
}

/** A message with one to three of its fields, or of those within it, changed, moved, doubled or left out; its lengths are right. */
export function mutatedMessage(random: Random, message: Uint8Array): Buffer {
  let result: Buffer = Buffer.from(message);
  for (let n = random.between(1, 3); n > 0; n--) result = changedMessage(random, result, 0);
  return result;
}

function changedMessage(random: Random, message: Buffer, depth: number): Buffer {
  const fields = fieldsOf(message);
  if (fields === undefined || fields.length === 0) return changedBytes(random, message);
  const at = random.between(0, fields.length - 1);
  const field = fields[at] as Field;
  const others = (...instead: readonly Field[]): Buffer =>
    Buffer.concat([...fields.slice(0, at), ...instead, ...fields.slice(at + 1)].map(bytesOf));
  if (field.wireType === 2 && depth < DEEPEST && random.chance(0.6)) {
    return others({ ...field, content: changedMessage(random, field.content, depth + 1) });
  }
  switch (random.between(0, 7)) {
    case 0:
      return others();
    case 1:
      return others(field, field);
    case 2:
      return others({ ...field, number: random.one([0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 2 ** 29 - 1]) });
    case 3:
      return others({ ...field, wireType: random.between(0, 7) });
    case 4:
      return others({ ...field, content: Buffer.from(random.one(ODD_VARINTS), "hex") });
    case 5:
      return others({ ...field, content: changedBytes(random, field.content) });
    case 6:
      return Buffer.concat([...fields].sort(() => random.next() - 0.5).map(bytesOf));
    default:
      return others(field, random.one(fields));
  }
}

/** The fields of a message; `undefined`: these bytes are none. */
function fieldsOf(bytes: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = varint(bytes, at);
    if (tag === undefined || tag.value < 8) return undefined;
    const wireType = tag.value % 8;
    const start = tag.end;
    const length = wireType === 2 ? varint(bytes, start) : undefined;
    const from = length?.end ?? start;
    const end =
      wireType === 0
        ? varint(bytes, start)?.end
        : wireType === 1
          ? start + 8
          : wireType === 5
            ? start + 4
            : length && from + length.value;
    if (end === undefined || end > bytes.length) return undefined;
    fields.push({ number: Math.floor(tag.value / 8), wireType, content: bytes.subarray(from, end) });
    at = end;
  }
  return fields;
}

function varint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let i = 0; i < 7; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) return { value, end: start + i + 1 };
  }
  return undefined;
}

function bytesOf({ number, wireType, content }: Field): Buffer {
  const tag = writtenVarint(number * 8 + wireType);
  return Buffer.concat(wireType === 2 ? [tag, writtenVarint(content.length), content] : [tag, content]);
}

function writtenVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** JSON values that readers of fields trip over. */
const ODD_JSON: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  "",
  "0",
  "-1",
  "9223372036854775808",
  "NaN",
  "Infinity",
  "1e3",
  "0.0000000001s",
  "-1s",
  "1970-01-01T00:00:00Z",
  "9999-99-99",
  "ff",
  "__proto__",
  "\ud800",
  "\u0000",
  [],
  [[]],
  {},
  { __proto__x: 1 },
  { "": {} },
];

/** A JSON value with one to three of its parts changed, as text. */
export function mutatedJson(random: Random, json: unknown): string {
  let result = json;
  for (let n = random.between(1, 3); n > 0; n--) result = changedJson(random, result, 0);
  const text = JSON.stringify(result) ?? "null";
  // Now and then no JSON any more, or JSON that JSON.stringify doesn't write.
  if (random.chance(0.2)) return mutatedBytes(random, Buffer.from(text)).toString("latin1");
  if (random.chance(0.1)) return text.replace("{", '{"sessionId":"first",');
  return random.chance(0.1) ? text.replace(/"([a-z])/, '"\\u00$1') : text;
}

function changedJson(random: Random, json: unknown, depth: number): unknown {
  if (typeof json !== "object" || json === null || random.chance(0.15)) return random.one(ODD_JSON);
  const members = Object.entries(json);
  if (members.length === 0 || depth > DEEPEST) return random.one(ODD_JSON);
  const at = random.between(0, members.length - 1);
  const [name, value] = members[at] as [string, unknown];
  const by = random.between(0, 5);
  if (by === 0) members.splice(at, 1);
  else if (by === 1)
    members.push([random.one(["", "__proto__", "value", "kind", name.toUpperCase(), `${name}_`]), value]);
  else members[at] = [name, changedJson(random, value, depth + 1)];
  return Array.isArray(json) ? members.map(([, each]) => each) : Object.fromEntries(members);
}
