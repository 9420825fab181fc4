/** What the package exports: to open a store and use it first, to build on stores after. */

export {
  type ErrorCode,
  type ErrorFacts,
  type ErrorReason,
  type FailedCheck,
  WorkflowStateError,
} from "./errors.ts";
export { type OpenOptions, openEncodedStore, openStore } from "./open.ts";
export { openSession, TypedSession, update } from "./session.ts";
export type * from "./session-types.ts";
export type * from "./store.ts";
export { DEFAULT_LIMITS } from "./store.ts";
export { type EncryptedOptions, encrypted, innerLimits } from "./stores/encrypted.ts";
export { type JsonStoreOptions, jsonStore } from "./stores/json.ts";
export { type EncryptionKey, Keyring, parseKeyring } from "./stores/keyring.ts";
export { type MemoryOptions, MemoryStore, memoryStore } from "./stores/memory.ts";
export { type HeadersOption, type RemoteOptions, type RetryOptions, remoteStore } from "./stores/remote.ts";
export type { RetentionOptions } from "./stores/retention.ts";
export { decodeValue, encodeValue } from "./value.ts";
