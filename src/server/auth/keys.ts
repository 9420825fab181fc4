/** Preshared keys. Only their hashes are known here. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Caller } from "./caller.ts";

/** A preshared key and whom it stands for. */
export interface KeyOptions {
  /** The SHA-256 of the key, as 64 hexadecimal digits. A key is 256 random bits, so that no slower hash is needed. */
  readonly sha256: string;
  readonly principal: string;
  readonly namespaces: readonly string[];
}

/** What finds a key's caller. All keys are compared, each in constant time. */
export function keyCallers(keys: readonly KeyOptions[]): (key: string) => Caller | undefined {
  const known = keys.map((key) => ({
    digest: Buffer.from(key.sha256, "hex"),
    caller: { principal: key.principal, namespaces: key.namespaces, knownBy: key },
  }));
  return (key) => {
    if (known.length === 0) return undefined;
    const shown = createHash("sha256").update(key).digest();
    let found: Caller | undefined;
    for (const { digest, caller } of known) if (timingSafeEqual(digest, shown)) found = caller;
    return found;
  };
}
