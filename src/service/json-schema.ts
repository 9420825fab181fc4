/**
 * Messages of the public schema, which JSON callers meet, to and from the encoded ones. The two schemas differ only in that a
 * `google.protobuf.Value` is bytes and a map a list of entries, so one walk over the descriptors serves all messages.
 */
import { type DescField, type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import { restoredKey } from "../wire/json-keys.ts";
import { fromStrings, toStrings } from "../wire/nouns.ts";

/** Turns messages of one type, either way: to encoded ones from what was read through `jsonText`, whose keys it restores. */
export interface Converter {
  toEncoded(message: object): object;
  toPublic(message: object): object;
}

type Fields = Record<string, unknown>;
type Turn = (value: unknown) => unknown;

interface FieldConverter {
  readonly name: string;
  readonly oneof: string | undefined;
  readonly toEncoded: Turn;
  readonly toPublic: Turn;
}

const converters = new Map<DescMessage, Converter>();

/** The converter of a message type, which both schemas have under one name. */
export function converterOf(publicType: DescMessage, encodedType: DescMessage): Converter {
  const known = converters.get(publicType);
  if (known !== undefined) {
    return known;
  }
  const fields: FieldConverter[] = [];
  const converter: Converter = {
    toEncoded: (message) => converted(message, fields, "toEncoded"),
    toPublic: (message) => converted(message, fields, "toPublic"),
  };
  // Known before its fields are: a type may contain itself.
  converters.set(publicType, converter);
  for (const field of publicType.fields) {
    const twin = encodedType.field[field.localName];
    if (twin === undefined) {
      throw new Error(`The encoded schema lacks ${field}: run npm run generate.`);
    }
    fields.push({
      name: field.localName,
      oneof: field.oneof?.localName,
      ...turns(field, twin),
    });
  }
  return converter;
}

function converted(
  message: object,
  fields: readonly FieldConverter[],
  direction: "toEncoded" | "toPublic",
): object {
  const from = message as Fields;
  const to: Fields = { $typeName: from["$typeName"] };
  for (const field of fields) {
    if (field.oneof === undefined) {
      const value = from[field.name];
      to[field.name] = value === undefined ? undefined : field[direction](value);
      continue;
    }
    const chosen = from[field.oneof] as { case?: string; value?: unknown };
    to[field.oneof] ??= { case: undefined };
    if (chosen.case === field.name) {
      to[field.oneof] = { case: field.name, value: field[direction](chosen.value) };
    }
  }
  return to;
}

/** How the values of a field are turned. */
function turns(field: DescField, twin: DescField): { toEncoded: Turn; toPublic: Turn } {
  if (field.fieldKind === "map") {
    return field.mapKind === "message"
      ? {
          toEncoded: (record) =>
            Object.entries(record as Record<string, Value>).map(([key, value]) => ({
              $typeName: "agenterra.state.v1.EncodedEntry",
              key: restoredKey(key),
              value: encodeMessage(value),
            })),
          toPublic: (entries) => decodeState(entries as readonly { key: string; value: Uint8Array }[]),
        }
      : {
          toEncoded: (record) =>
            toStrings(record as Record<string, string>).map((entry) => ({
              ...entry,
              key: restoredKey(entry.key),
            })),
          toPublic: (entries) => fromStrings(entries as Parameters<typeof fromStrings>[0]),
        };
  }
  const one = messageTurns(field, twin);
  return field.fieldKind === "list"
    ? {
        toEncoded: (list) => (list as unknown[]).map(one.toEncoded),
        toPublic: (list) => (list as unknown[]).map(one.toPublic),
      }
    : one;
}

function messageTurns(field: DescField, twin: DescField): { toEncoded: Turn; toPublic: Turn } {
  if (field.message === undefined || field.message === twin.message) {
    return { toEncoded: same, toPublic: same };
  }
  if (twin.message === undefined) {
    return {
      toEncoded: (value) => encodeMessage(value as Value),
      toPublic: (bytes) => fromBinary(ValueSchema, bytes as Uint8Array),
    };
  }
  const converter = converterOf(field.message, twin.message);
  return {
    toEncoded: (message) => converter.toEncoded(message as object),
    toPublic: (message) => converter.toPublic(message as object),
  };
}

function same(value: unknown): unknown {
  return value;
}

function decodeState(entries: readonly { key: string; value: Uint8Array }[]): Record<string, Value> {
  const state: Record<string, Value> = {};
  for (const { key, value } of entries) {
    // Not assigned: a key may be `__proto__`.
    Object.defineProperty(state, key, { value: fromBinary(ValueSchema, value), enumerable: true });
  }
  return state;
}

/**
 * The bytes of a value message as they are, good or not: the validator judges them, operation by operation. So no `toBinary`,
 * which would repair a lone surrogate in silence.
 */
function encodeMessage(value: Value): Uint8Array {
  const writer = new BinaryWriter();
  writeValue(writer, value);
  return writer.finish();
}

function writeValue(writer: BinaryWriter, { kind }: Value): void {
  switch (kind.case) {
    case "nullValue":
      writer.tag(1, WireType.Varint).int32(0);
      break;
    case "numberValue":
      writer.tag(2, WireType.Bit64).double(kind.value);
      break;
    case "stringValue":
      writeText(writer.tag(3, WireType.LengthDelimited), kind.value);
      break;
    case "boolValue":
      writer.tag(4, WireType.Varint).bool(kind.value);
      break;
    case "structValue":
      writer.tag(5, WireType.LengthDelimited).fork();
      for (const [key, member] of Object.entries(kind.value.fields)) {
        writer.tag(1, WireType.LengthDelimited).fork();
        writeText(writer.tag(1, WireType.LengthDelimited), restoredKey(key));
        writeMember(writer, 2, member);
        writer.join();
      }
      writer.join();
      break;
    case "listValue":
      writer.tag(6, WireType.LengthDelimited).fork();
      for (const item of kind.value.values) {
        writeMember(writer, 1, item);
      }
      writer.join();
      break;
  }
}

function writeMember(writer: BinaryWriter, field: number, value: Value): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  writeValue(writer, value);
  writer.join();
}

/** A byte that no UTF-8 has: in place of an ill-formed text it makes the validator refuse the value, and say where. */
const NO_TEXT = Uint8Array.of(0xff);

function writeText(writer: BinaryWriter, text: string): void {
  if (text.isWellFormed()) {
    writer.string(text);
  } else {
    writer.bytes(NO_TEXT);
  }
}
