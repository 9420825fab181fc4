/** `workflow-state new-key`: a preshared key, and what the config file knows it by. */
import { createHash, randomBytes } from "node:crypto";

/** Prints a new key of 256 random bits, which is shown this once, and its hash. */
export function newKey(): void {
  const key = `wsk_${randomBytes(32).toString("base64url")}`;
  console.log(`key:    ${key}`);
  console.log(`sha256: ${createHash("sha256").update(key).digest("hex")}`);
}
