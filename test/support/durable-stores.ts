/** The durable stores that the suites for crashes, replicas and faults run on, with their real databases. */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StoreName } from "./durability-results.ts";
import { HAS_REDIS } from "./has-redis.ts";
import { KillableCluster } from "./killable-cluster.ts";
import { KillablePostgres } from "./killable-postgres.ts";
import { KillableRedis } from "./killable-redis.ts";

/** How much longer the suites try than in a short run: 1, or what WORKFLOW_STATE_TEST_LONG says. */
export const LENGTH: number = Math.max(1, Number(process.env["WORKFLOW_STATE_TEST_LONG"] ?? 1));

/** A kind of store with a database that belongs to the test. */
export interface DurableStore {
  readonly name: StoreName;
  start(): Promise<RunningStore>;
}

/** A database that runs, and what can be done to it. */
export interface RunningStore {
  /** The URL of a store that nothing has used before; where there is a server, through this port instead of its own. */
  fresh(port?: number): string;
  /** The server process; `undefined`: there is none. */
  readonly server: DatabaseServer | undefined;
  /** Has one of several primaries killed and a replica take its place; `undefined`: there are none. */
  readonly failOver: ((which: number) => Promise<void>) | undefined;
  /** Whether a program has begun to use a store: its file is there, or its database is asked about it. */
  isBegun(url: string): Promise<boolean>;
  /** Bytes that writes to a store have added to its log so far; only growth says something. */
  logBytes(url: string): Promise<number>;
  /** Ends it and removes its files. */
  stop(): Promise<void>;
}

/** A database server that can be mistreated. */
export interface DatabaseServer {
  readonly port: number;
  /** kill -9, with all that belongs to it. */
  kill(): Promise<void>;
  /** Starts it after a kill. */
  restart(): Promise<void>;
  /** Ends it in order, and starts it again. */
  stopAndStart(): Promise<void>;
  /** Has the server end all connections. Gives how many. */
  dropConnections(): Promise<number>;
}

const sqlite: DurableStore = {
  name: "SQLite",
  async start() {
    const folder = mkdtempSync(join(tmpdir(), "workflow-state-sqlite-"));
    let files = 0;
    return {
      fresh: () => `sqlite:${join(folder, `${++files}.db`)}`,
      server: undefined,
      failOver: undefined,
      isBegun: async (url) => existsSync(url.slice("sqlite:".length)),
      logBytes: async (url) => {
        const path = url.slice("sqlite:".length);
        return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
      },
      stop: async () => rmSync(folder, { recursive: true, force: true }),
    };
  },
};

const postgres: DurableStore = {
  name: "PostgreSQL",
  async start() {
    const server = await KillablePostgres.start();
    return {
      fresh: (port) => server.fresh(port),
      server: {
        port: server.port,
        kill: () => server.kill(),
        restart: () => server.restart(),
        stopAndStart: () => server.stopAndStart(),
        dropConnections: () => server.terminateBackends(),
      },
      failOver: undefined,
      isBegun: (url) => server.isBegun(url),
      logBytes: () => server.logBytes(),
      stop: () => server.stop(),
    };
  },
};

const redis: DurableStore = {
  name: "Redis",
  async start() {
    const server = await KillableRedis.start();
    return {
      fresh: (port) => server.fresh(port),
      server: {
        port: server.port,
        kill: () => server.kill(),
        restart: () => server.restart(),
        stopAndStart: () => server.stopAndStart(),
        dropConnections: () => server.terminateClients(),
      },
      failOver: undefined,
      isBegun: (url) => server.isBegun(url),
      logBytes: () => server.logBytes(),
      stop: () => server.stop(),
    };
  },
};

const cluster: DurableStore = {
  name: "Redis Cluster",
  async start() {
    const nodes = await KillableCluster.start();
    return {
      // A write is acknowledged when the primary's replica has it: else a failover may lose it.
      fresh: () => nodes.fresh("&wait=1"),
      server: undefined,
      failOver: (which) => nodes.failOver(which),
      isBegun: (url) => nodes.isBegun(url),
      logBytes: () => nodes.logBytes(),
      stop: () => nodes.stop(),
    };
  },
};

/** Those that can run here. */
export const STORES: readonly DurableStore[] = HAS_REDIS
  ? [sqlite, postgres, redis, cluster]
  : [sqlite, postgres];

/** Those with one server, which a network can be in front of. */
export const SERVERS: readonly DurableStore[] = STORES.filter(
  ({ name }) => name === "PostgreSQL" || name === "Redis",
);

/** Those with several primaries. */
export const CLUSTERS: readonly DurableStore[] = STORES.filter(({ name }) => name === "Redis Cluster");

/** Names what does not run here, and why, in the output of the tests. */
export function nameSkipped(suite: string): void {
  if (!HAS_REDIS)
    console.log(`${suite}: skipped on Redis and Redis Cluster: there is no redis-server to start.`);
}
