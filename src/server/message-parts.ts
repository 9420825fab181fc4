/**
 * How many parts a message may have, counted before it is decoded: an object is made of each, so a few MiB of empty ones would
 * hold the server for a second.
 */
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { WorkflowStateError } from "../errors.ts";

/**
 * How many fields a binary message may have, with those of the messages within it; or values a JSON one, where a list or an
 * object counts twice, and a name with an escape twice more. A full batch of full commits has 200,000 fields.
 */
export const MAX_PARTS: number = 2 ** 18;

/** Checks a binary message. Fails with REQUEST_TOO_LARGE, or INVALID_REQUEST where it is no message. */
export function checkBinaryParts(type: DescMessage, message: Uint8Array): void {
  // The smallest field takes two bytes.
  if (message.length <= 2 * MAX_PARTS) return;
  let count: number;
  try {
    count = countFields(type, new BinaryReader(message), message.length, 0);
  } catch {
    throw new WorkflowStateError("INVALID_REQUEST", "The request is malformed.");
  }
  if (count > MAX_PARTS) throw tooMany("fields");
}

/** Checks a JSON message. Fails with REQUEST_TOO_LARGE; what is no JSON may pass. */
export function checkJsonParts(json: Uint8Array): void {
  if (json.length <= MAX_PARTS) return;
  let count = 0;
  for (let at = 0; at < json.length && count <= MAX_PARTS; at++) {
    const byte = json[at];
    if (byte === QUOTE) {
      const start = at + 1;
      at = closingQuote(json, start);
      // Such a name is read by itself (see wire/json-keys.ts), which takes as long as two values.
      if (isName(json, at + 1) && json.subarray(start, at).includes(BACKSLASH)) count += 2;
    } else if (byte === COMMA || byte === BRACE || byte === BRACKET) count++;
  }
  if (count > MAX_PARTS) throw tooMany("values");
}

/** The count after the next `length` bytes, or one beyond the limit. Reads as the decoder does: by the field, not by the tag. */
function countFields(type: DescMessage, reader: BinaryReader, length: number, before: number): number {
  const end = reader.pos + length;
  let count = before;
  while (reader.pos < end && count <= MAX_PARTS) {
    const [number, wireType] = reader.tag();
    count++;
    const field = type.fields.find((one) => one.number === number);
    if (field?.message !== undefined) count = countFields(field.message, reader, reader.uint32(), count);
    else reader.skip(field === undefined ? wireType : wireTypeOf(field), number, 0);
  }
  return count;
}

function wireTypeOf({ scalar }: DescField): WireType {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return WireType.LengthDelimited;
    case ScalarType.DOUBLE:
      return WireType.Bit64;
    default:
      return WireType.Varint;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;
const COLON = 0x3a;
const WHITE_SPACE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);

/** Where the string ends, or the message. */
function closingQuote(json: Uint8Array, start: number): number {
  let at = start;
  while (at < json.length && json[at] !== QUOTE) at += json[at] === BACKSLASH ? 2 : 1;
  return at;
}

/** Whether the string that ends before `end` names a member. */
function isName(json: Uint8Array, end: number): boolean {
  let at = end;
  while (WHITE_SPACE.has(json[at] as number)) at++;
  return json[at] === COLON;
}

function tooMany(parts: string): WorkflowStateError {
  return new WorkflowStateError("REQUEST_TOO_LARGE", `A request may have ${MAX_PARTS} ${parts}.`, {
    metadata: { limit: `${MAX_PARTS}` },
  });
}
