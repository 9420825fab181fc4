/**
 * The keys that values are encrypted with at rest, and what an encrypted value looks like.
 *
 * An encrypted value ("sealed") is a `google.protobuf.Value` of kind string, so that any store keeps it: the text `wse1:` and, in
 * base64url without padding,
 *
 *     length of the key id (1 byte) | key id | nonce (12) | ciphertext | tag (16)
 *
 * where ciphertext and tag are AES-256-GCM of the value's own encoding, under a random nonce. The associated data is made of
 * `wse1:`, the key id, the namespace, the session id and the key, each in UTF-8 after its length as four bytes, the highest
 * first: so a sealed value can be opened nowhere else than where it was sealed for, and no two places have the same data.
 */
import type { KeyObject } from "node:crypto";
import { WorkflowStateError } from "../errors.ts";
import { utf8Length } from "../validate.ts";
import type { SessionKey } from "./backend.ts";

/** One key of a {@link Keyring}. */
export interface EncryptionKey {
  /** 1 to 32 of `A-Z a-z 0-9 . _ -`: it stands, readable, in what is sealed. Absent: derived from the key. */
  readonly id?: string | undefined;
  /** 32 random bytes. */
  readonly key: Uint8Array;
}

/** Where a value belongs: what it is bound to. */
export interface Place extends SessionKey {
  readonly key: string;
}

/** The largest that a sealed value of so many bytes can be, whatever the id of its key. */
export function sealedBytes(valueBytes: number): number {
  return (
    VALUE_HEADER_BYTES + PREFIX.length + Math.ceil(((1 + MAX_ID_BYTES + valueBytes + SEAL_BYTES) * 4) / 3)
  );
}

const PREFIX = "wse1:";
/** What any version of the format begins with. */
const ANY_PREFIX = /^wse\d+:/;
const ID = /^[\w.-]{1,32}$/;
const MAX_ID_BYTES = 32;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEAL_BYTES = NONCE_BYTES + TAG_BYTES;
/** Of a `google.protobuf.Value`: the tag of a string and its length. */
const STRING_TAG = 0x1a;
const VALUE_HEADER_BYTES = 6;
const CIPHER = "aes-256-gcm";

interface RingKey {
  readonly id: string;
  /** What text begins with that this key sealed: the length of its id and the id. */
  readonly head: Buffer;
  readonly secret: KeyObject;
  /** The key of {@link Keyring.masks}, derived, as the secret itself is for values only. */
  readonly maskKey: Buffer;
}

/**
 * Keys to encrypt values with: the first seals, all open.
 *
 * To change keys, give the new one to every program as the second first, then as the first; seal what is there anew (command
 * `rotate-keys`), and take the old one away when the answers of writes are forgotten, too (10 minutes). As nonces are
 * random, no key should seal more than 2^32 values.
 *
 * @example
 * const keyring = new Keyring([{ id: "2027", key: newKey }, { id: "2026", key: oldKey }]);
 */
export class Keyring {
  readonly #keys: readonly RingKey[];
  readonly #first: RingKey;
  readonly #byId: ReadonlyMap<string, RingKey>;
  readonly #crypto: typeof import("node:crypto");

  /** Fails with INVALID_REQUEST unless there are keys of 32 bytes, each once, with good ids. */
  constructor(keys: readonly EncryptionKey[]) {
    // Not imported: a program that encrypts nothing need not load it, and this file may be bundled for where it is missing.
    this.#crypto = process.getBuiltinModule("node:crypto");
    if (!Array.isArray(keys) || keys.length === 0) throw refused("A keyring needs a key.");
    this.#keys = keys.map((key: EncryptionKey) => this.#ringKey(key));
    this.#first = this.#keys[0] as RingKey;
    this.#byId = new Map(this.#keys.map((key) => [key.id, key]));
    if (this.#byId.size < keys.length) throw refused("Two keys of the keyring have the same id.");
    if (this.#keys.some((key, i) => this.#keys.slice(0, i).some(({ secret }) => secret.equals(key.secret))))
      throw refused("Two keys of the keyring are the same.");
  }

  /** The ids of the keys; the first is that of the key that seals. */
  get ids(): readonly string[] {
    return this.#keys.map(({ id }) => id);
  }

  /** Seals the encoding of a value for its place, under the first key. */
  seal(value: Uint8Array, place: Place): Uint8Array {
    const { head, secret, id } = this.#first;
    const nonce = this.#crypto.randomBytes(NONCE_BYTES);
    const cipher = this.#crypto.createCipheriv(CIPHER, secret, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(associatedData(id, place));
    const body = Buffer.allocUnsafe(head.length + value.length + SEAL_BYTES);
    body.set(head, 0);
    body.set(nonce, head.length);
    const start = head.length + NONCE_BYTES;
    body.set(cipher.update(value), start);
    cipher.final();
    body.set(cipher.getAuthTag(), start + value.length);
    return textValue(body);
  }

  /**
   * Opens what was sealed for this place, under any of the keys; returns the encoding of the value.
   * Fails with VALUE_UNREADABLE for anything else.
   */
  open(sealed: Uint8Array, place: Place): Uint8Array {
    const body = bodyOf(sealed, place);
    const idEnd = 1 + (body[0] as number);
    const id = body.toString("latin1", 1, idEnd);
    const key = this.#byId.get(id);
    if (key === undefined) {
      const known = ID.test(id) ? { key_id: id } : {};
      throw unreadable(place, "it is encrypted under a key that is not in the keyring: add the key.", known);
    }
    const start = idEnd + NONCE_BYTES;
    const end = body.length - TAG_BYTES;
    const decipher = this.#crypto.createDecipheriv(CIPHER, key.secret, body.subarray(idEnd, start), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(associatedData(id, place));
    decipher.setAuthTag(body.subarray(end));
    const value = decipher.update(body.subarray(start, end));
    try {
      decipher.final();
    } catch (cause) {
      const problem =
        "it was changed, or encrypted for another key, session or namespace, or under another key of this id.";
      throw unreadable(place, problem, { key_id: id }, cause);
    }
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }

  /** Whether a value looks sealed, by whatever key: whether it can be opened is not said. */
  isSealed(value: Uint8Array): boolean {
    return sealedText(value) !== undefined;
  }

  /** Whether a value looks sealed under the first key: by the id that it carries. */
  isCurrent(value: Uint8Array): boolean {
    const text = sealedText(value);
    if (text === undefined) return false;
    const { head } = this.#first;
    // As many characters as the head surely needs.
    return Buffer.from(text.slice(0, Math.ceil((head.length * 4) / 3)), "base64url").equals(head);
  }

  /**
   * What a text becomes for whoever has not the keys, under each of them in turn, 43 characters: the same for the same text, and
   * saying nothing of it.
   */
  *masks(text: string): Generator<string> {
    for (const { maskKey } of this.#keys) {
      yield this.#crypto.createHmac("sha256", maskKey).update(text).digest("base64url");
    }
  }

  #ringKey({ id, key }: EncryptionKey): RingKey {
    if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) {
      throw refused("A key of the keyring must be 32 bytes.");
    }
    if (id !== undefined && (typeof id !== "string" || !ID.test(id))) {
      throw refused("The id of a key must be 1 to 32 of the characters A-Z a-z 0-9 . _ and -.");
    }
    const derived = (what: string): Buffer =>
      this.#crypto.createHmac("sha256", key).update(`workflow-state ${what}`).digest();
    const ownId = id ?? derived("key id").toString("base64url", 0, 9);
    return {
      id: ownId,
      head: Buffer.from([ownId.length, ...Buffer.from(ownId, "latin1")]),
      secret: this.#crypto.createSecretKey(key),
      maskKey: derived("request fingerprint"),
    };
  }
}

/**
 * The keys in a text: a line `id:key` each, the key as base64 of 32 bytes, the first seals. Empty lines and those that begin
 * with `#` don't count. Fails with INVALID_REQUEST, naming the line and nothing that is in it.
 */
export function parseKeyring(text: string): Keyring {
  const keys: EncryptionKey[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const content = line.trim();
    if (content === "" || content.startsWith("#")) continue;
    const [, id, encoded = ""] = /^([\w.-]{1,32}):([\w+/-]{43}=?)$/.exec(content) ?? [];
    const key = Buffer.from(encoded, "base64");
    if (id === undefined || key.length !== KEY_BYTES) {
      throw refused(`Line ${i + 1} of the keyring is not an id, a colon and base64 of 32 bytes.`);
    }
    keys.push({ id, key });
  }
  return new Keyring(keys);
}

/**
 * A stored value sealed anew under the first key; `undefined`: it is already. For `Backend.rewriteValues`.
 * Fails with VALUE_UNREADABLE where it can't be opened.
 */
export function reseal(
  keyring: Keyring,
  { namespace, sessionId }: SessionKey,
  key: string,
  value: Uint8Array,
): Uint8Array | undefined {
  if (keyring.isCurrent(value)) return undefined;
  const place = { namespace, sessionId, key };
  return keyring.seal(keyring.open(value, place), place);
}

function associatedData(keyId: string, { namespace, sessionId, key }: Place): Buffer {
  // Ill-formed text would become the same bytes as other text.
  if (utf8Length(namespace) < 0) {
    throw new WorkflowStateError("INVALID_REQUEST", "The namespace has a lone surrogate.", {
      metadata: { field: "namespace" },
    });
  }
  const parts = [PREFIX, keyId, namespace, sessionId, key];
  // Three bytes at most for a unit of UTF-16.
  const data = Buffer.allocUnsafe(parts.reduce((sum, part) => sum + 4 + 3 * part.length, 0));
  let at = 0;
  for (const part of parts) {
    const length = data.write(part, at + 4);
    at = data.writeUInt32BE(length, at) + length;
  }
  return data.subarray(0, at);
}

/** A `google.protobuf.Value` with the text of what is sealed. */
function textValue(body: Buffer): Uint8Array {
  const header = textHeader(PREFIX.length + Math.ceil((body.length * 4) / 3));
  const text = `${PREFIX}${body.toString("base64url")}`;
  // Not a Buffer, of which a slice is no copy.
  const value = new Uint8Array(header.length + text.length);
  value.set(header);
  bufferOf(value).write(text, header.length, "latin1");
  return value;
}

/** What stands before text of so many bytes. */
function textHeader(length: number): readonly number[] {
  const header: number[] = [STRING_TAG];
  let rest = length;
  for (; rest >= 0x80; rest >>>= 7) header.push((rest & 0x7f) | 0x80);
  header.push(rest);
  return header;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The base64 in a sealed value; `undefined`: it doesn't look like one. */
function sealedText(value: Uint8Array): string | undefined {
  const text = textOf(value);
  return text?.startsWith(PREFIX) ? text.slice(PREFIX.length) : undefined;
}

/** The text of a `google.protobuf.Value` of kind string, if it is ASCII. */
function textOf(value: Uint8Array): string | undefined {
  let at = 1;
  while (((value[at] ?? 0) & 0x80) !== 0) at++;
  const text = bufferOf(value).toString("latin1", at + 1);
  return textHeader(text.length).every((byte, i) => value[i] === byte) ? text : undefined;
}

function bodyOf(sealed: Uint8Array, place: Place): Buffer {
  const text = sealedText(sealed);
  if (text === undefined) {
    const newer = ANY_PREFIX.test(textOf(sealed) ?? "");
    throw unreadable(place, newer ? "it is encrypted in a format unknown here." : "it is not encrypted.");
  }
  const body = Buffer.from(text, "base64url");
  const ends = 1 + (body[0] ?? 0) + SEAL_BYTES;
  // The decoder passes over what is no base64url, and takes base64 for it. What it took must be all that is there.
  if (body.length < ends || body.toString("base64url") !== text) throw unreadable(place, "it was damaged.");
  return body;
}

function unreadable(
  { key }: Place,
  problem: string,
  facts: Readonly<Record<string, string>> = {},
  cause?: unknown,
): WorkflowStateError {
  return new WorkflowStateError(
    "VALUE_UNREADABLE",
    `The value of key ${JSON.stringify(key)} can't be decrypted: ${problem}`,
    { metadata: { key, ...facts }, cause },
  );
}

function refused(message: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", message, { metadata: { field: "encryption" } });
}
