import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { Keyring, type Place, parseKeyring, reseal, sealedBytes } from "../../src/stores/keyring.ts";
import { decodeValue, encodeValue } from "../../src/value.ts";

const place: Place = { namespace: "tenant", sessionId: "session-1", key: "cart" };
const value = encodeValue({ items: ["tea"], note: "é🛒" });
const key = (byte: number): Uint8Array => new Uint8Array(32).map((_, i) => (i * 7 + byte) % 256);
const ring = new Keyring([
  { id: "new", key: key(1) },
  { id: "old", key: key(2) },
]);

// The format as it is documented, written a second time.

function associatedData(id: string, { namespace, sessionId, key: name }: Place): Buffer {
  return Buffer.concat(
    ["wse1:", id, namespace, sessionId, name].flatMap((part) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(part));
      return [length, Buffer.from(part)];
    }),
  );
}

function sealedByHand(
  plain: Uint8Array,
  { id = "new", secret = key(1), nonce = randomBytes(12), at = place, tagBytes = 16 } = {},
): Uint8Array {
  const cipher = createCipheriv("aes-256-gcm", secret, nonce, { authTagLength: tagBytes });
  cipher.setAAD(associatedData(id, at));
  const sealed = [cipher.update(plain), cipher.final(), cipher.getAuthTag()];
  const body = Buffer.concat([Buffer.from([id.length]), Buffer.from(id), nonce, ...sealed]);
  return encodeValue(`wse1:${body.toString("base64url")}`);
}

/** The parts of what was sealed. */
function partsOf(sealed: Uint8Array): { id: string; nonce: Buffer; ciphertext: Buffer; tag: Buffer } {
  const text = decodeValue(sealed);
  if (typeof text !== "string" || !text.startsWith("wse1:")) throw new Error("not sealed");
  const body = Buffer.from(text.slice(5), "base64url");
  const idEnd = 1 + (body[0] ?? 0);
  return {
    id: body.toString("latin1", 1, idEnd),
    nonce: body.subarray(idEnd, idEnd + 12),
    ciphertext: body.subarray(idEnd + 12, -16),
    tag: body.subarray(-16),
  };
}

/** A sealed value with its base64 part replaced. */
function retold(sealed: Uint8Array, change: (body: Buffer) => Buffer): Uint8Array {
  const text = decodeValue(sealed) as string;
  return encodeValue(`wse1:${change(Buffer.from(text.slice(5), "base64url")).toString("base64url")}`);
}

function unreadable(open: () => unknown): WorkflowStateError {
  try {
    open();
  } catch (error) {
    if (WorkflowStateError.is(error, "VALUE_UNREADABLE")) return error;
    throw error;
  }
  throw new Error("it was opened");
}

describe("what is sealed", () => {
  test("is a string value in the documented format, that who has the key can open by hand", () => {
    const sealed = ring.seal(value, place);
    const { id, nonce, ciphertext, tag } = partsOf(sealed);
    expect([id, nonce.length, ciphertext.length, tag.length]).toEqual(["new", 12, value.length, 16]);
    const decipher = createDecipheriv("aes-256-gcm", key(1), nonce, { authTagLength: 16 });
    decipher.setAAD(associatedData(id, place));
    decipher.setAuthTag(tag);
    const plain = Buffer.concat([decipher.update(ciphertext), decipher.final()]);
    expect(decodeValue(plain)).toEqual({ items: ["tea"], note: "é🛒" });
  });

  test("can be sealed by hand, and opened", () => {
    expect(ring.open(sealedByHand(value), place)).toEqual(value);
    const old = sealedByHand(value, { id: "old", secret: key(2) });
    expect(ring.open(old, place)).toEqual(value);
  });

  test("keeps its format for ever: stores have it on disk", () => {
    const nonce = Buffer.from("000102030405060708090a0b", "hex");
    const golden = encodeValue("wse1:A25ldwABAgMEBQYHCAkKC6Tc1fyTKif1_tfh1ALkRSrIdcI");
    expect(decodeValue(sealedByHand(encodeValue("x"), { nonce }))).toBe(decodeValue(golden));
    expect(ring.open(golden, place)).toEqual(encodeValue("x"));
  });

  test("opens to what it was, whatever its size", () => {
    for (const length of [0, 1, 2, 3, 100, 127, 128, 16_383, 16_384, 1_000_000]) {
      const plain = encodeValue("x".repeat(length));
      const sealed = ring.seal(plain, place);
      const opened = ring.open(sealed, place);
      expect(Buffer.from(plain).equals(opened)).toBe(true);
      // No Buffers, of which a slice is no copy.
      for (const bytes of [sealed, opened]) expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
      expect(sealed.length).toBeLessThanOrEqual(sealedBytes(plain.length));
      expect(sealedBytes(plain.length)).toBeLessThan(sealed.length + 60);
    }
    const longest = new Keyring([{ id: "i".repeat(32), key: key(1) }]);
    expect(longest.seal(value, place).length).toBeLessThanOrEqual(sealedBytes(value.length));
  });

  test("never has a nonce twice, and is never the same twice", () => {
    const nonces = new Set<string>();
    for (let i = 0; i < 20_000; i++) nonces.add(partsOf(ring.seal(value, place)).nonce.toString("hex"));
    expect(nonces.size).toBe(20_000);
    // Random, not counted: every bit of it changes about every other time.
    const [first = "", second = ""] = nonces;
    expect(first.slice(0, 16)).not.toBe(second.slice(0, 16));
  });

  test("opens nowhere but in its place", () => {
    const sealed = ring.seal(value, place);
    const others: Place[] = [
      { ...place, key: "cart2" },
      { ...place, sessionId: "session-2" },
      { ...place, namespace: "" },
      { ...place, namespace: "tenant2" },
      // The same letters, parted otherwise.
      { ...place, sessionId: "session-1c", key: "art" },
      { ...place, namespace: "tenants", sessionId: "ession-1" },
      { ...place, namespace: "tenantsession-1", sessionId: "" },
    ];
    for (const other of others) {
      const error = unreadable(() => ring.open(sealed, other));
      expect(error.code).toBe("FAILED_PRECONDITION");
      expect(error.metadata).toEqual({ key: other.key, key_id: "new" });
    }
  });

  test("is refused if any bit of it is changed", () => {
    const sealed = ring.seal(encodeValue("ab"), place);
    const bytes = partsOf(sealed);
    const length = 1 + bytes.id.length + 12 + bytes.ciphertext.length + 16;
    for (let at = 0; at < length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = retold(sealed, (body) => {
          body[at] = (body[at] ?? 0) ^ (1 << bit);
          return body;
        });
        unreadable(() => ring.open(changed, place));
      }
    }
    // And as it is stored, in base64 and before it.
    for (let at = 0; at < sealed.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = sealed.slice();
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        unreadable(() => ring.open(changed, place));
      }
    }
  });

  test("is refused if it is shorter or longer than it was", () => {
    const sealed = ring.seal(encodeValue("ab"), place);
    const { length } = Buffer.from((decodeValue(sealed) as string).slice(5), "base64url");
    for (let end = 0; end < length; end++)
      unreadable(() =>
        ring.open(
          retold(sealed, (body) => body.subarray(0, end)),
          place,
        ),
      );
    for (const more of [[0], [0, 0, 0], [1, 2]])
      unreadable(() =>
        ring.open(
          retold(sealed, (body) => Buffer.concat([body, Buffer.from(more)])),
          place,
        ),
      );
    const text = decodeValue(sealed) as string;
    for (const other of [`${text}=`, `${text}\n`, `${text}A`, ` ${text}`, text.replace("wse1:", "wse1: ")])
      unreadable(() => ring.open(encodeValue(other), place));
  });

  test("has a tag of 16 bytes: a shorter one is refused, although it is right", () => {
    for (const tagBytes of [4, 8, 12, 13, 14, 15])
      unreadable(() => ring.open(sealedByHand(value, { tagBytes }), place));
  });

  test("in base64 of another alphabet is refused: there is one way to say it", () => {
    for (let i = 0; ; i++) {
      const text = decodeValue(ring.seal(value, place)) as string;
      const other = text.replaceAll("-", "+").replaceAll("_", "/");
      if (other === text) continue;
      unreadable(() => ring.open(encodeValue(other), place));
      expect(i).toBeLessThan(100);
      return;
    }
  });

  test("under a key that is missing, or another one of its id, is refused", () => {
    const other = new Keyring([{ id: "new", key: key(3) }]);
    const error = unreadable(() => other.open(ring.seal(value, place), place));
    expect(error.metadata).toEqual({ key: "cart", key_id: "new" });
    const missing = unreadable(() => other.open(sealedByHand(value, { id: "old", secret: key(2) }), place));
    expect(missing.message).toContain("not in the keyring");
    expect(missing.metadata).toEqual({ key: "cart", key_id: "old" });
    // A key's id is bound, too: the same secret under another id does not open it.
    const renamed = new Keyring([{ id: "renamed", key: key(1) }]);
    unreadable(() =>
      renamed.open(
        retold(ring.seal(value, place), (body) => body),
        place,
      ),
    );
  });

  test("is expected: what is not encrypted is refused, and not shown", () => {
    const canary = "canary-7d1f";
    for (const plain of [
      canary,
      `wse1:${canary}`,
      `wse2:${canary}`,
      "",
      "wse1:",
      null,
      1,
      [canary],
      { a: canary },
    ]) {
      const error = unreadable(() => ring.open(encodeValue(plain), place));
      expect(inspect(error)).not.toContain(canary);
    }
    expect(unreadable(() => ring.open(encodeValue("wse2:AAAA"), place)).message).toContain("format");
    for (const nothing of [new Uint8Array(0), new Uint8Array([0x1a]), new Uint8Array([0x1a, 0x80])])
      unreadable(() => ring.open(nothing, place));
  });

  test("is bound to a namespace that has no lone surrogate", () => {
    for (const namespace of ["\ud800", "a\udc00"]) {
      const error = (() => {
        try {
          return ring.seal(value, { ...place, namespace });
        } catch (thrown) {
          return thrown;
        }
      })();
      expect(error).toMatchObject({ reason: "INVALID_REQUEST", metadata: { field: "namespace" } });
    }
  });
});

describe("a keyring", () => {
  test("seals under its first key, and knows what is", () => {
    const older = new Keyring([{ id: "old", key: key(2) }]);
    const sealed = older.seal(value, place);
    expect([ring.isSealed(sealed), ring.isCurrent(sealed)]).toEqual([true, false]);
    expect(ring.isCurrent(ring.seal(value, place))).toBe(true);
    for (const plain of [encodeValue("wse"), encodeValue(["wse1:"]), encodeValue(null), new Uint8Array(0)])
      expect([ring.isSealed(plain), ring.isCurrent(plain)]).toEqual([false, false]);
    // Ids of which one begins with the other are told apart.
    const longer = new Keyring([{ id: "newer", key: key(1) }]);
    expect(ring.isCurrent(longer.seal(value, place))).toBe(false);
    expect(longer.isCurrent(ring.seal(value, place))).toBe(false);
    for (const length of [1, 2, 3, 4, 31, 32]) {
      const other = new Keyring([{ id: "k".repeat(length), key: key(1) }]);
      expect(other.isCurrent(other.seal(encodeValue(1), place))).toBe(true);
    }
  });

  test("seals anew what is under an older key", () => {
    const session = { namespace: place.namespace, sessionId: place.sessionId };
    const older = new Keyring([{ id: "old", key: key(2) }]);
    const fresh = reseal(ring, session, place.key, older.seal(value, place));
    expect(fresh).toBeDefined();
    expect(new Keyring([{ id: "new", key: key(1) }]).open(fresh as Uint8Array, place)).toEqual(value);
    expect(reseal(ring, session, place.key, ring.seal(value, place))).toBeUndefined();
    unreadable(() => reseal(ring, session, "other", older.seal(value, place)));
    unreadable(() => reseal(ring, session, place.key, encodeValue("plain")));
  });

  test("gives a key without an id one that is the same every time, and tells nothing of the key", () => {
    const [derived = ""] = new Keyring([{ key: key(1) }]).ids;
    expect(derived).toMatch(/^[\w-]{12}$/);
    const print = createHmac("sha256", key(1)).update("workflow-state key id").digest("base64url");
    expect(derived).toBe(print.slice(0, 12));
    expect(new Keyring([{ key: key(2) }]).ids).not.toEqual([derived]);
  });

  test("takes keys of 32 bytes only, each once, with ids of plain letters", () => {
    const wrong: unknown[] = [
      undefined,
      [],
      [{}],
      [{ key: "x".repeat(32) }],
      [{ key: key(1).subarray(1) }],
      [{ key: new Uint8Array(33) }],
      [{ key: new Uint8Array(16) }],
      ...["", "a b", "é", "i".repeat(33), "a:b", 7, null].map((id) => [{ id, key: key(1) }]),
      [
        { id: "a", key: key(1) },
        { id: "a", key: key(2) },
      ],
      [
        { id: "a", key: key(1) },
        { id: "b", key: key(1) },
      ],
    ];
    for (const keys of wrong) {
      let thrown: unknown;
      try {
        new Keyring(keys as never);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ reason: "INVALID_REQUEST", metadata: { field: "encryption" } });
    }
  });

  test("does not hold on to the bytes that it was given, and shows no key", () => {
    const given = key(9);
    const own = new Keyring([{ id: "a", key: given }]);
    const sealed = own.seal(value, place);
    given.fill(0);
    expect(own.open(sealed, place)).toEqual(value);
    const shown = [inspect(own, { depth: 9, showHidden: true }), JSON.stringify(own), String(own)].join();
    for (const form of ["hex", "base64", "base64url"] as const)
      expect(shown).not.toContain(Buffer.from(key(9)).toString(form));
  });

  test("masks text so that only those who have the key can make it again", () => {
    const masks = [...ring.masks("print")];
    expect(masks).toHaveLength(2);
    for (const mask of masks) expect(mask).toMatch(/^[\w-]{43}$/);
    expect([...ring.masks("print")]).toEqual(masks);
    expect([...ring.masks("other")]).not.toEqual(masks);
    expect([...new Keyring([{ id: "x", key: key(2) }]).masks("print")]).toEqual([masks[1]]);
  });
});

describe("keys as text", () => {
  const line = (id: string, secret: Uint8Array): string => `${id}:${Buffer.from(secret).toString("base64")}`;

  test("are a line each, the first seals; empty lines and comments don't count", () => {
    const text = `# made in 2027\n\n  ${line("new", key(1))}  \r\n#\n${line("old", key(2))}\n`;
    const read = parseKeyring(text);
    expect(read.ids).toEqual(["new", "old"]);
    expect(read.open(ring.seal(value, place), place)).toEqual(value);
    const loose = Buffer.from(key(1)).toString("base64url");
    expect(parseKeyring(`a.b-c_1:${loose}`).ids).toEqual(["a.b-c_1"]);
  });

  test("are refused with the line's number, and nothing of what is in it", () => {
    const good = line("new", key(1));
    const secret = Buffer.from(key(3)).toString("base64");
    const wrong = [
      secret,
      `:${secret}`,
      `a b:${secret}`,
      `${"i".repeat(33)}:${secret}`,
      `k:${secret.slice(1)}`,
      `k:${secret}A`,
      `k:${secret}==`,
      `k: ${secret}`,
      `k:${Buffer.from(new Uint8Array(31)).toString("base64")}`,
      `k:${Buffer.from(key(3)).toString("hex")}`,
      `k=${secret}`,
      "k:",
    ];
    for (const text of wrong) {
      let message = "";
      try {
        parseKeyring(`${good}\n\n${text}`);
      } catch (error) {
        message = String(error);
        expect(error).toMatchObject({ reason: "INVALID_REQUEST" });
      }
      expect(message).toContain("Line 3");
      expect(message).not.toContain(text.slice(2, 12) || "none");
    }
    for (const nothing of ["", "# only a comment\n"])
      expect(() => parseKeyring(nothing)).toThrow("needs a key");
    expect(() => parseKeyring(`${good}\n${good}`)).toThrow("same id");
  });
});
