/** The stores that the suites run on: each kind that keeps sessions, and those that keep them encrypted. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_LIMITS, type EncodedStore, type Limits } from "../../src/store.ts";
import type { Backend, BackendOptions } from "../../src/stores/backend.ts";
import { durableStore } from "../../src/stores/durable.ts";
import { encrypted, innerLimits, Keyring } from "../../src/stores/encrypted.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { openRedis } from "../../src/stores/redis.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { openSqlite } from "../../src/stores/sqlite.ts";
import { HAS_REDIS } from "./has-redis.ts";
import { debianPostgres, nameSkippedPostgres, type SharedPostgres, sharedPostgres } from "./postgres.ts";
import { DEBIAN_BIN } from "./postgres-server.ts";
import { nameSkippedRedis, type SharedRedis, sharedCluster, sharedRedis } from "./redis.ts";

/** A clock that stands still until it is moved. Sweepers go by the real one, so reads come first. */
export class TestClock {
  #time = Date.UTC(2026, 0, 1);

  now(): number {
    return this.#time;
  }

  async advance(ms: number): Promise<void> {
    this.#time += ms;
  }
}

/** How a store under test is set up. */
export interface TestStoreOptions {
  readonly clock: TestClock;
  readonly history: number;
  readonly limits?: Limits | undefined;
}

/** A store under test, and the namespace of it in which there are no sessions yet. */
export interface TestStore {
  readonly store: EncodedStore;
  readonly namespace: string;
  /** Another store over the same database, as another process would have it; of one in memory there is only the one. */
  another(): Promise<EncodedStore>;
  /** Ends the stores, and removes what would be left of them. */
  close(): Promise<void>;
}

/** A kind of store that the suites run on. */
export interface StoreKind {
  readonly name: string;
  /** Opens one. Where many share a server, a fresh namespace is as good as a fresh store. */
  open(options: TestStoreOptions): Promise<TestStore>;
}

const memory: StoreKind = {
  name: "memory",
  async open({ clock, ...options }) {
    const store = memoryStore({ ...options, now: () => clock.now() });
    return { store, namespace: "", another: async () => store, close: () => store.close() };
  },
};

/** Stores over one database. @param remove is called when they are closed */
async function overDatabase(
  options: TestStoreOptions,
  open: (options: BackendOptions) => Promise<Backend>,
  remove?: () => Promise<void>,
): Promise<TestStore> {
  const stores: EncodedStore[] = [];
  const another = async (): Promise<EncodedStore> => {
    const store = durableStore(await open(backendOptions(options)), { limits: options.limits });
    stores.push(store);
    return store;
  };
  const store = await another();
  const close = async (): Promise<void> => {
    await Promise.all(stores.map((each) => each.close()));
    await remove?.();
  };
  return { store, namespace: "", another, close };
}

const sqlite: StoreKind = {
  name: "SQLite",
  async open(options) {
    const directory = await mkdtemp(join(tmpdir(), "workflow-state-"));
    const open = (given: BackendOptions): Promise<Backend> => openSqlite(join(directory, "state.db"), given);
    return overDatabase(options, open, () => rm(directory, { recursive: true }));
  },
};

const redis: StoreKind = redisKind("Redis", sharedRedis);
const redisCluster: StoreKind = redisKind("Redis Cluster", sharedCluster);

function redisKind(name: string, share: () => Promise<SharedRedis>): StoreKind {
  return {
    name,
    async open(options) {
      const url = (await share()).fresh();
      return overDatabase(options, (given) => openRedis(url, given));
    },
  };
}

const postgres: StoreKind = postgresKind("PostgreSQL", sharedPostgres);
const olderPostgres: StoreKind = postgresKind("Debian's PostgreSQL", debianPostgres);

/** All stores of a test file share a schema, as making one takes long; each has a namespace of its own. */
function postgresKind(name: string, share: () => Promise<SharedPostgres>): StoreKind {
  let url: Promise<string> | undefined;
  let namespaces = 0;
  return {
    name,
    async open(options) {
      url ??= share().then((server) => server.fresh());
      const at = await url;
      const opened = await overDatabase(options, (given) => openPostgres(at, given));
      return { ...opened, namespace: `n${++namespaces}` };
    },
  };
}

nameSkippedRedis("Suites of all stores");
nameSkippedPostgres("Suites of all stores");

/** The stores that keep sessions themselves. */
export const STORE_KINDS: readonly StoreKind[] = [
  memory,
  sqlite,
  postgres,
  ...(DEBIAN_BIN === undefined ? [] : [olderPostgres]),
  ...(HAS_REDIS ? [redis, redisCluster] : []),
];

/** The keys of encrypted stores under test. */
export const KEYRING: Keyring = new Keyring([{ key: randomBytes(32) }, { key: randomBytes(32) }]);

/** Stores that keep what they keep encrypted. */
export const ENCRYPTED_KINDS: readonly StoreKind[] = [memory, sqlite].map((kind) => ({
  name: `encrypted ${kind.name}`,
  async open({ limits = DEFAULT_LIMITS, ...options }) {
    const { store, namespace, another, close } = await kind.open({
      ...options,
      limits: innerLimits(limits),
    });
    return {
      store: encrypted(store, KEYRING, { limits }),
      namespace,
      another: async () => encrypted(await another(), KEYRING, { limits }),
      close,
    };
  },
}));

/** What a backend under test is set up with. */
export function backendOptions({
  clock,
  history,
  limits = DEFAULT_LIMITS,
}: TestStoreOptions): BackendOptions {
  return { ...DEFAULT_RETENTION, history, limits, now: () => clock.now() };
}
