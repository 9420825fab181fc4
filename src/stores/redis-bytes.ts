/** Bytes, numbers and text as commands and scripts of Redis take and give them. */

/** An argument of a command. */
export type Argument = string | Buffer;

/** Numbers as scripts take and give them: doubles, the most significant byte first. */
export function doubles(...numbers: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(8 * numbers.length);
  for (let i = 0; i < numbers.length; i++) bytes.writeDoubleBE(numbers[i] as number, 8 * i);
  return bytes;
}

/** Text with its length before it. */
export function sized(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** The time at a place; `undefined`: none. */
export function timeAt(bytes: Buffer, at: number): number | undefined {
  const time = bytes.readDoubleBE(at);
  return time < 0 ? undefined : time;
}

/** Bytes as the client takes them; not copied. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The bytes from a place on, as the caller's own. */
export function own(buffer: Buffer, from: number): Uint8Array {
  return new Uint8Array(buffer.subarray(from));
}

/** A part of an answer that is a list. */
export function list(reply: unknown): readonly unknown[] {
  if (Array.isArray(reply)) return reply;
  throw new Error("a script answered something else than a list");
}

/** A part of an answer that is bytes. */
export function bytes(reply: unknown): Buffer {
  if (Buffer.isBuffer(reply)) return reply;
  throw new Error("a script answered something else than bytes");
}

/** A part of an answer that is bytes, or nothing. */
export function optionalBytes(reply: unknown): Buffer | null {
  return reply === null || reply === undefined ? null : bytes(reply);
}

/** A part of an answer that is text. */
export function text(reply: unknown): string {
  return typeof reply === "string" ? reply : bytes(reply).toString("utf8");
}

/** A part of an answer that is a number. */
export function number(reply: unknown): number {
  return typeof reply === "number" ? reply : Number(text(reply));
}
