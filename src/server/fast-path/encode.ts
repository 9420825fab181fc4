/**
 * The hot answers straight from what a store gives to their bytes, the same bytes that the general encoder makes.
 *
 * A message is written from its end to its beginning: then the length that stands before a part is known when it is its turn.
 */
import { Buffer } from "node:buffer";
import type {
  CommitResponse,
  DeleteStateResponse,
  EncodedForm,
  Entry,
  Event,
  Result,
  Session,
  WatchMessage,
} from "../../store.ts";
import { errorBytes, eventKindNumber } from "./general.ts";

/** A gRPC message begins with a byte that says whether it is compressed, and four of its length. */
const FRAME_BYTES = 5;

/** Writes backwards into a buffer that grows at its front. */
class BackWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(64 << 10);
  #at: number = this.#buffer.length;

  /** How many bytes are written. */
  get size(): number {
    return this.#buffer.length - this.#at;
  }

  /** What was written, as a copy with a gRPC frame's header before it; the writer is empty then. */
  takeFrame(): Buffer {
    const size = this.size;
    const frame = Buffer.allocUnsafe(FRAME_BYTES + size);
    frame[0] = 0;
    frame.writeUInt32BE(size, 1);
    this.#buffer.copy(frame, FRAME_BYTES, this.#at);
    this.reset();
    return frame;
  }

  reset(): void {
    // A great answer is rare: its room is not kept for the small ones.
    if (this.#buffer.length > 1 << 20) this.#buffer = Buffer.allocUnsafeSlow(64 << 10);
    this.#at = this.#buffer.length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[--this.#at] = value;
  }

  /** A whole number of at most 53 bits as a varint. */
  varint(value: number): void {
    if (value < 0x80) {
      this.byte(value);
      return;
    }
    // Low 28 bits, then the rest: shifts are for 32 bits only, and division is slow.
    const low = value % 0x10000000;
    const high = (value - low) / 0x10000000;
    this.#reserve(10);
    if (high > 0) this.#bits(high, false);
    this.#bits(low, high > 0);
  }

  /** Up to 28 bits of a varint in front of what is written; all four bytes if more of the number follows them. */
  #bits(value: number, more: boolean): void {
    const length = more || value >= 0x200000 ? 4 : value >= 0x4000 ? 3 : value >= 0x80 ? 2 : 1;
    let rest = value;
    this.#at -= length;
    for (let i = 0; i < length; i++, rest >>>= 7) {
      this.#buffer[this.#at + i] = (rest & 0x7f) | (more || i < length - 1 ? 0x80 : 0);
    }
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#at -= value.length;
    this.#buffer.set(value, this.#at);
  }

  string(value: string): void {
    const { length } = value;
    // Keys and ids are short and mostly ASCII: cheaper to write here than to ask for.
    if (length <= 32) {
      this.#reserve(length);
      let at = this.#at;
      let i = length - 1;
      for (; i >= 0; i--) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        this.#buffer[--at] = code;
      }
      if (i < 0) {
        this.#at = at;
        return;
      }
    }
    const size = Buffer.byteLength(value);
    this.#reserve(size);
    this.#at -= size;
    this.#buffer.write(value, this.#at, "utf8");
  }

  /** Puts the length of what was written since `before` and the tag of its field in front of it. */
  close(tag: number, before: number): void {
    this.varint(this.size - before);
    this.byte(tag);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#at) return;
    const { size } = this;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.#buffer.length, size + bytes));
    this.#buffer.copy(grown, grown.length - size, this.#at);
    this.#at = grown.length - size;
    this.#buffer = grown;
  }
}

const writer = new BackWriter();

function writeTime(tag: number, ms: number | undefined): void {
  if (ms === undefined) return;
  const before = writer.size;
  const seconds = Math.floor(ms / 1000);
  writeNumber(0x10, (ms - seconds * 1000) * 1e6);
  writeNumber(0x08, seconds);
  writer.close(tag, before);
}

/** A number field; 0 is left out. */
function writeNumber(tag: number, value: number): void {
  if (value === 0) return;
  writer.varint(value);
  writer.byte(tag);
}

/** A text field; an empty one is left out unless it says something. */
function writeString(tag: number, value: string | undefined, empty = false): void {
  if (value === undefined || (value === "" && !empty)) return;
  const before = writer.size;
  writer.string(value);
  writer.close(tag, before);
}

function writeBytes(tag: number, value: Uint8Array | undefined): void {
  if (value === undefined) return;
  writer.bytes(value);
  writer.varint(value.length);
  writer.byte(tag);
}

function writeEntry(tag: number, entry: Entry<EncodedForm>): void {
  const before = writer.size;
  writeTime(0x2a, entry.expireTime);
  writeTime(0x22, entry.updateTime);
  writeNumber(0x18, entry.revision);
  writeBytes(0x12, entry.value);
  writeString(0x0a, entry.key);
  writer.close(tag, before);
}

function writeEntries(tag: number, entries: readonly Entry<EncodedForm>[]): void {
  for (let i = entries.length - 1; i >= 0; i--) writeEntry(tag, entries[i] as Entry<EncodedForm>);
}

function writeSession(tag: number, session: Session<EncodedForm>): void {
  const before = writer.size;
  const { forkedFrom } = session;
  if (forkedFrom !== undefined) {
    const start = writer.size;
    writeNumber(0x10, forkedFrom.revision);
    writeString(0x0a, forkedFrom.sessionId);
    writer.close(0x52, start);
  }
  writeTime(0x4a, session.expireTime);
  writeNumber(0x40, session.revision);
  for (const [name, text] of Object.entries(session.labels).reverse()) {
    const start = writer.size;
    writeString(0x12, text);
    writeString(0x0a, name);
    writer.close(0x3a, start);
  }
  writeString(0x32, session.userId, true);
  writeString(0x2a, session.workflowId, true);
  writeTime(0x22, session.updateTime);
  writeTime(0x1a, session.createTime);
  for (const [key, value] of [...session.state].reverse()) {
    const start = writer.size;
    writeBytes(0x12, value);
    writeString(0x0a, key);
    writer.close(0x12, start);
  }
  writeString(0x0a, session.sessionId);
  writer.close(tag, before);
}

function writeCommit(answer: CommitResponse<EncodedForm>): void {
  writeEntries(0x1a, answer.entries);
  writeTime(0x12, answer.updateTime);
  writeNumber(0x08, answer.revision);
}

function writeDeleteState({ deleted, revision }: DeleteStateResponse): void {
  writeNumber(0x10, revision);
  writeNumber(0x08, deleted ? 1 : 0);
}

function writeResult(result: Result<EncodedForm>): void {
  const before = writer.size;
  switch (result.kind) {
    case "getState":
    case "setState":
      if (result.entry !== undefined) writeEntry(0x0a, result.entry);
      writer.close(result.kind === "getState" ? 0x0a : 0x12, before);
      break;
    case "deleteState":
      writeDeleteState(result);
      writer.close(0x1a, before);
      break;
    case "commit":
      writeCommit(result);
      writer.close(0x22, before);
      break;
    case "getSession":
      if (result.session !== undefined) writeSession(0x0a, result.session);
      writer.close(0x2a, before);
      break;
    case "error":
      writer.bytes(errorBytes(result.error));
      writer.close(0x32, before);
  }
  writer.close(0x0a, before);
}

function writeEvent(tag: number, event: Event<EncodedForm>): void {
  const before = writer.size;
  writeString(0x32, event.requestId);
  writeEntries(0x2a, event.entries);
  writeNumber(0x20, eventKindNumber(event.kind));
  writeTime(0x1a, event.time);
  writeNumber(0x10, event.revision);
  writeString(0x0a, event.sessionId);
  writer.close(tag, before);
}

/** Runs what writes a message, and takes the frame. What a failed one before left behind is dropped. */
function framed(write: () => void): Buffer {
  writer.reset();
  write();
  return writer.takeFrame();
}

/** The hot answers as gRPC frames: header and message. */
export const encodeFrame: {
  readonly entry: (entry: Entry<EncodedForm> | undefined) => Buffer;
  readonly commit: (answer: CommitResponse<EncodedForm>) => Buffer;
  readonly batch: (results: readonly Result<EncodedForm>[]) => Buffer;
  readonly watch: (message: WatchMessage<EncodedForm>) => Buffer;
} = {
  /** Of GetState and of SetState: both have just an entry. */
  entry: (entry) =>
    framed(() => {
      if (entry !== undefined) writeEntry(0x0a, entry);
    }),
  commit: (answer) => framed(() => writeCommit(answer)),
  /** Also of a message of Pipeline. */
  batch: (results) =>
    framed(() => {
      for (let i = results.length - 1; i >= 0; i--) writeResult(results[i] as Result<EncodedForm>);
    }),
  /** Of WatchSession. */
  watch: (message) =>
    framed(() => {
      if (message.kind === "snapshot") writeSession(0x0a, message.snapshot);
      else if (message.kind === "event") writeEvent(0x12, message.event);
      else {
        writeNumber(0x08, message.revision);
        writer.close(0x1a, 0);
      }
    }),
};
