/** Which store a command works on, and how it is set up: of a config file, and of options and the environment over it. */
import { DEFAULT_LIMITS, type Limits } from "../store.ts";
import type { Keyring } from "../stores/keyring.ts";
import type { MemoryOptions } from "../stores/memory.ts";
import type { Retention, RetentionOptions } from "../stores/retention.ts";
import { type ConfigFile, checkNumbers } from "./config-file.ts";
import { parseDuration } from "./duration.ts";
import { readKeyring } from "./encryption-keys.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say of a store, as they say it. */
export interface StoreOptions {
  readonly store?: string;
  readonly encryptionKeys?: string;
  readonly history?: string;
  readonly historyAge?: string;
  readonly requestRetention?: string;
}

/** A store and how it is set up. */
export interface StoreSettings {
  /** Its URL. */
  readonly store: string;
  readonly limits: Partial<Limits>;
  /** What a store in memory keeps, and for how long. */
  readonly memory: MemorySettings;
  /** What any store keeps of the past, and for how long. */
  readonly retention: RetentionOptions;
  /** What values are encrypted with. */
  readonly encryption?: Keyring;
}

/** What a config file can say of a store in memory: the numbers of its options. */
type MemorySettings = Pick<MemoryOptions, "history" | "historyAgeMs" | "requestRetentionMs" | "maxBytes">;

const INT32 = 2 ** 31 - 1;
/** The largest that each limit may be; most have no other bound than what a message can say. */
const LARGEST_LIMITS: Limits = {
  ...(Object.fromEntries(Object.keys(DEFAULT_LIMITS).map((name) => [name, INT32])) as unknown as Limits),
  valueDepth: DEFAULT_LIMITS.valueDepth,
};
/** The largest that each setting of what is kept may be. */
const LARGEST_RETENTION: Retention = {
  history: INT32,
  historyAgeMs: Number.MAX_SAFE_INTEGER,
  requestRetentionMs: Number.MAX_SAFE_INTEGER,
};
const LARGEST_MEMORY: Required<MemorySettings> = { ...LARGEST_RETENTION, maxBytes: Number.MAX_SAFE_INTEGER };

/** Puts the settings of a store together; in memory, if none is named. Fails with a {@link UsageError}. */
export function storeSettingsOf(options: StoreOptions, file: ConfigFile): StoreSettings {
  const asked = askedRetention(options);
  const keys = options.encryptionKeys ?? file.encryptionKeys;
  return {
    store: options.store ?? file.store ?? "memory:",
    limits: checkNumbers("limit", file.limits ?? {}, LARGEST_LIMITS),
    // An option counts before the file, whichever of its sections says otherwise.
    memory: { ...checkNumbers("setting of memory", file.memory ?? {}, LARGEST_MEMORY), ...asked },
    retention: { ...checkNumbers("setting of retention", file.retention ?? {}, LARGEST_RETENTION), ...asked },
    ...(keys === undefined ? {} : { encryption: readKeyring(keys) }),
  };
}

function askedRetention({ history, historyAge, requestRetention }: StoreOptions): RetentionOptions {
  return {
    ...(history === undefined ? {} : { history: parseCount("--history", history) }),
    ...(historyAge === undefined ? {} : { historyAgeMs: parseAge("--history-age", historyAge) }),
    ...(requestRetention === undefined
      ? {}
      : { requestRetentionMs: parseAge("--request-retention", requestRetention) }),
  };
}

function parseCount(option: string, text: string): number {
  const count = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= INT32) return count;
  throw new UsageError(`${option} must be a whole number from 1 to ${INT32}`);
}

function parseAge(option: string, text: string): number {
  const ms = parseDuration(text);
  if (ms >= 1) return ms;
  throw new UsageError(`${option} must be longer than nothing`);
}
