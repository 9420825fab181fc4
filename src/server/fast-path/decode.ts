/**
 * The hot requests straight from their bytes to what a store takes, without message objects in between.
 *
 * Only what encoders send is understood: each field once, minimal, known. Anything else (an unknown field, a repeated one, a
 * duration that is not whole, metadata of a commit) gives `undefined`, and the general decoder has its say. So the rules of
 * protobuf stand in one place, and a test holds that both agree wherever this one answers.
 */
import type { Buffer } from "node:buffer";
import type {
  Change,
  Check,
  CommitRequest,
  EncodedForm,
  GetStateRequest,
  Operation,
  SetStateRequest,
  WatchSessionRequest,
} from "../../store.ts";
import { MAX_PARTS } from "../message-parts.ts";

// Tags: the field's number and its wire type (0 varint, 1 eight bytes, 2 length and bytes).
const FIELD_1 = 0x0a;
const FIELD_2 = 0x12;
const FIELD_3 = 0x1a;
const FIELD_4 = 0x22;
const FIELD_5 = 0x2a;
const FIELD_6 = 0x32;
const FIELD_7 = 0x3a;
const NUMBER_1 = 0x08;
const NUMBER_2 = 0x10;
const NUMBER_3 = 0x18;
const NUMBER_4 = 0x20;
const DOUBLE_2 = 0x11;

/** The state of decoding one message and those within it. `odd` is set when the general decoder must do it. */
class Reader {
  readonly bytes: Buffer;
  at = 0;
  end: number;
  odd = false;
  /** Fields of the message that were seen, as bits. Fields may come in any order, each once. */
  seen = 0;
  /** All fields so far, with those of the messages within. */
  fields = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.end = bytes.length;
  }

  /** The next field's tag; 0: the message is over, or odd. */
  tag(): number {
    if (this.odd || this.at >= this.end) return 0;
    const tag = this.bytes[this.at++] as number;
    const bit = 1 << (tag >> 3);
    // A second time the last one counts, or both are merged; there is no field 0; beyond field 15 the tag has two bytes.
    if ((this.seen & bit) !== 0 || tag < 8 || tag >= 0x80 || ++this.fields > MAX_PARTS) return this.refuse();
    this.seen |= bit;
    return tag;
  }

  refuse(): 0 {
    this.odd = true;
    return 0;
  }

  /** A number of at most 53 bits. */
  number(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 7; i++) {
      if (this.at >= this.end) return this.refuse();
      const byte = this.bytes[this.at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return this.refuse();
  }

  /** `true`: a flag that is not set is not sent. */
  flag(): true {
    if (this.number() !== 1) this.refuse();
    return true;
  }

  double(): number {
    if (this.at + 8 > this.end) return this.refuse();
    this.at += 8;
    return this.bytes.readDoubleLE(this.at - 8);
  }

  /** The length of what follows, which lies within the message. */
  length(): number {
    const length = this.number();
    return this.at + length > this.end ? this.refuse() : length;
  }

  bytesField(): Uint8Array {
    const length = this.length();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** ASCII text; other text is rare enough for the general decoder, which also knows what is ill-formed. */
  string(): string {
    const length = this.length();
    const start = this.at;
    const end = start + length;
    const { bytes } = this;
    for (let i = start; i < end; i++) {
      if ((bytes[i] as number) >= 0x80) {
        this.odd = true;
        return "";
      }
    }
    this.at = end;
    return bytes.toString("latin1", start, end);
  }

  /** Runs `read` on the message that follows. */
  message<T>(read: (reader: Reader) => T): T {
    const length = this.length();
    const { end, seen } = this;
    this.end = this.at + length;
    this.seen = 0;
    const result = read(this);
    if (this.at !== this.end) this.odd = true;
    this.end = end;
    this.seen = seen;
    return result;
  }

  /** Allows the field just read to come again: it is a repeated one. */
  again(tag: number): void {
    this.seen &= ~(1 << (tag >> 3));
  }
}

/** Decodes a request that is one message; `undefined`: the general decoder must do it. */
function decoder<T>(read: (reader: Reader) => T): (bytes: Buffer) => T | undefined {
  return (bytes) => {
    const reader = new Reader(bytes);
    const result = read(reader);
    return reader.odd || reader.at !== reader.end ? undefined : result;
  };
}

/** A duration of whole milliseconds, which is what clients with millisecond clocks send. */
function readDuration(reader: Reader): number {
  let seconds = 0;
  let nanos = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === NUMBER_1) seconds = reader.number();
    else if (tag === NUMBER_2) nanos = reader.number();
    else reader.refuse();
  }
  if (nanos > 999_999_999 || nanos % 1e6 !== 0) reader.refuse();
  return seconds * 1000 + nanos / 1e6;
}

/** A request as an operation: what a batch is made of serves a call of its own as well. */
type OperationOf<Kind> = Extract<Operation<EncodedForm>, { kind: Kind }>;

function readGetState(reader: Reader): OperationOf<"getState"> {
  let sessionId = "";
  let key = "";
  let atRevision: number | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) sessionId = reader.string();
    else if (tag === FIELD_2) key = reader.string();
    else if (tag === NUMBER_3) atRevision = reader.number();
    else reader.refuse();
  }
  return { kind: "getState", sessionId, key, atRevision };
}

function readSetState(reader: Reader): OperationOf<"setState"> {
  let sessionId = "";
  let key = "";
  let value: Uint8Array | undefined;
  let ifRevision: number | undefined;
  let ttlMs: number | undefined;
  let requestId: string | undefined;
  let requestFingerprint: string | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) sessionId = reader.string();
    else if (tag === FIELD_2) key = reader.string();
    else if (tag === FIELD_3) value = reader.bytesField();
    else if (tag === NUMBER_4) ifRevision = reader.number();
    else if (tag === FIELD_5) ttlMs = reader.message(readDuration);
    else if (tag === FIELD_6) requestId = reader.string();
    else if (tag === FIELD_7) requestFingerprint = reader.string();
    else reader.refuse();
  }
  // A missing value is the validator's to refuse, in words of its own.
  if (value === undefined) reader.refuse();
  return {
    kind: "setState",
    sessionId,
    key,
    value: value as Uint8Array,
    ifRevision,
    ttlMs,
    requestId,
    requestFingerprint,
  };
}

function readDeleteState(reader: Reader): OperationOf<"deleteState"> {
  let sessionId = "";
  let key = "";
  let ifRevision: number | undefined;
  let requestId: string | undefined;
  let requestFingerprint: string | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) sessionId = reader.string();
    else if (tag === FIELD_2) key = reader.string();
    else if (tag === NUMBER_3) ifRevision = reader.number();
    else if (tag === FIELD_4) requestId = reader.string();
    else if (tag === FIELD_5) requestFingerprint = reader.string();
    else reader.refuse();
  }
  return { kind: "deleteState", sessionId, key, ifRevision, requestId, requestFingerprint };
}

function readCheck(reader: Reader): Check {
  let key = "";
  let ifRevision = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) key = reader.string();
    else if (tag === NUMBER_2) ifRevision = reader.number();
    else reader.refuse();
  }
  return { key, ifRevision };
}

/** The fields of all kinds of changes: they differ in which of them they have. */
interface ChangeFields {
  key: string;
  values: Uint8Array[];
  ttlMs: number | undefined;
  number: number;
  flag: boolean | undefined;
}

function readChangeFields(reader: Reader, kind: number): ChangeFields {
  const fields: ChangeFields = { key: "", values: [], ttlMs: undefined, number: 0, flag: undefined };
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) fields.key = reader.string();
    else if (tag === FIELD_2 && kind !== FIELD_2 && kind !== FIELD_3) {
      fields.values.push(reader.bytesField());
      if (kind === FIELD_4) reader.again(tag);
    } else if (tag === FIELD_3 && kind === FIELD_1) fields.ttlMs = reader.message(readDuration);
    else if (tag === NUMBER_4 && kind === FIELD_1) fields.flag = reader.flag();
    else if (tag === NUMBER_3 && kind === FIELD_4) {
      fields.number = reader.number();
      // Not an int32: the general decoder knows what that means.
      if (fields.number > 0x7fff_ffff) reader.refuse();
    } else if (tag === DOUBLE_2 && kind === FIELD_3) fields.number = reader.double();
    else reader.refuse();
  }
  return fields;
}

function readChange(reader: Reader): Change<EncodedForm> {
  const kind = reader.tag();
  const { key, values, ttlMs, number, flag } = reader.message((inner) => readChangeFields(inner, kind));
  // A second kind, of which the last would count.
  if (reader.at !== reader.end) reader.refuse();
  if ((kind === FIELD_1 || kind === FIELD_5) && values.length === 0) reader.refuse();
  switch (kind) {
    case FIELD_1:
      return { kind: "set", key, value: values[0] as Uint8Array, ttlMs, keepExpiry: flag };
    case FIELD_3:
      return { kind: "increment", key, delta: number };
    case FIELD_4:
      return { kind: "append", key, values, maxItems: number === 0 ? undefined : number };
    case FIELD_5:
      return { kind: "merge", key, value: values[0] as Uint8Array };
    default:
      if (kind !== FIELD_2) reader.refuse();
      return { kind: "delete", key };
  }
}

function readCommit(reader: Reader): OperationOf<"commit"> {
  let sessionId = "";
  let checks: Check[] | undefined;
  const changes: Change<EncodedForm>[] = [];
  let ifRevision: number | undefined;
  let requestId: string | undefined;
  let requestFingerprint: string | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) sessionId = reader.string();
    else if (tag === FIELD_2) {
      checks ??= [];
      checks.push(reader.message(readCheck));
      reader.again(tag);
    } else if (tag === FIELD_3) {
      changes.push(reader.message(readChange));
      reader.again(tag);
    } else if (tag === NUMBER_4) ifRevision = reader.number();
    else if (tag === FIELD_6) requestId = reader.string();
    else if (tag === FIELD_7) requestFingerprint = reader.string();
    else reader.refuse();
  }
  return { kind: "commit", sessionId, checks, changes, ifRevision, requestId, requestFingerprint };
}

function readGetSession(reader: Reader): OperationOf<"getSession"> {
  let sessionId = "";
  let atRevision: number | undefined;
  let keyPrefix: string | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === FIELD_1) sessionId = reader.string();
    else if (tag === NUMBER_2) atRevision = reader.number();
    else if (tag === FIELD_3) keyPrefix = reader.string();
    else reader.refuse();
  }
  return { kind: "getSession", sessionId, atRevision, keyPrefix };
}

function readOperation(reader: Reader): Operation<EncodedForm> {
  const kind = reader.tag();
  const operation = reader.message((inner) => readOperationOf(inner, kind));
  if (reader.at !== reader.end) reader.refuse();
  return operation;
}

function readOperationOf(reader: Reader, kind: number): Operation<EncodedForm> {
  switch (kind) {
    case FIELD_1:
      return readGetState(reader);
    case FIELD_2:
      return readSetState(reader);
    case FIELD_3:
      return readDeleteState(reader);
    case FIELD_4:
      return readCommit(reader);
    default:
      if (kind !== FIELD_5) reader.refuse();
      return readGetSession(reader);
  }
}

function readBatch(reader: Reader): Operation<EncodedForm>[] {
  const operations: Operation<EncodedForm>[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag !== FIELD_1) reader.refuse();
    else {
      operations.push(reader.message(readOperation));
      reader.again(tag);
    }
  }
  return operations;
}

/** The hot requests out of the bytes of their messages; `undefined`: the general decoder must do it. */
export const decodeRequest: {
  readonly getState: (bytes: Buffer) => GetStateRequest | undefined;
  readonly setState: (bytes: Buffer) => SetStateRequest<EncodedForm> | undefined;
  readonly commit: (bytes: Buffer) => CommitRequest<EncodedForm> | undefined;
  readonly batch: (bytes: Buffer) => Operation<EncodedForm>[] | undefined;
  readonly watchSession: (bytes: Buffer) => WatchSessionRequest | undefined;
} = {
  getState: decoder(readGetState),
  setState: decoder(readSetState),
  commit: decoder(readCommit),
  /** Also of a message of Pipeline. */
  batch: decoder(readBatch),
  // The same fields, the second by another name.
  watchSession: decoder((reader) => {
    const { sessionId, atRevision, keyPrefix } = readGetSession(reader);
    return { sessionId, afterRevision: atRevision, keyPrefix };
  }),
};
