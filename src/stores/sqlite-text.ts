/** Ids and keys as SQLite keeps them: the bytes of their UTF-8, whose order is the contract's. */
import { Buffer } from "node:buffer";

/** The bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}

/** The text of bytes that a text gave. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}

/** The first bytes after those of a text, in their order. */
export function justAfter(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

/** Bytes after all that begin with those of a prefix, and before all else that comes after it: UTF-8 never has 0xFF. */
export function endOf(prefix: string): Uint8Array {
  const bytes = Buffer.allocUnsafe(Buffer.byteLength(prefix) + 1);
  bytes.write(prefix);
  bytes[bytes.length - 1] = 0xff;
  return bytes;
}

/** Compares in the order of bytes. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** That of two which comes later. */
export function greater(a: Uint8Array, b: Uint8Array): Uint8Array {
  return compareBytes(a, b) < 0 ? b : a;
}

/** That of two which comes first. */
export function lesser(a: Uint8Array, b: Uint8Array): Uint8Array {
  return compareBytes(a, b) < 0 ? a : b;
}
