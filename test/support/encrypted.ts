/** Encrypted stores in memory, and what lies below them. */
import { DEFAULT_LIMITS, type EncodedStore, type Limits, type WorkflowStateStore } from "../../src/store.ts";
import { type EncryptionKey, encrypted, innerLimits, Keyring } from "../../src/stores/encrypted.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { type MemoryOptions, memoryStore } from "../../src/stores/memory.ts";

export const one: EncryptionKey = { id: "one", key: new Uint8Array(32).fill(1) };
export const two: EncryptionKey = { id: "two", key: new Uint8Array(32).fill(2) };
export const ring: Keyring = new Keyring([one]);

/** An encrypted store. */
export interface Opened {
  readonly store: WorkflowStateStore;
  /** What it keeps its values in, to look at from below. */
  readonly inner: WorkflowStateStore;
}

/** An encrypted store in memory. */
export function open(options: MemoryOptions = {}): Opened {
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const memory = memoryStore({ ...options, limits: innerLimits(limits) });
  return { store: over(memory, ring, limits), inner: jsonStore(memory, { limits: innerLimits(limits) }) };
}

/** An encrypted store over another. */
export function over(
  inner: EncodedStore,
  keyring: Keyring,
  limits: Partial<Limits> = {},
): WorkflowStateStore {
  return jsonStore(encrypted(inner, keyring, { limits }), { limits });
}
