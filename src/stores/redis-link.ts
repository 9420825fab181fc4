/** The connections of the Redis store: to one server, or to the primaries of a cluster. They come back by themselves. */
import {
  createClient,
  createCluster,
  RESP_TYPES,
  type RedisClientOptions,
  type RedisClientType,
  type RedisClusterType,
} from "@redis/client";
import type { WorkflowStateError } from "../errors.ts";
import type { Argument } from "./redis-bytes.ts";
import { codeOf, connectFailure, failureOf, unavailable } from "./redis-errors.ts";
import type { RedisOptions, RedisTarget } from "./redis-url.ts";

/** A client of the library. */
export type Client = RedisClientType;
type Cluster = RedisClusterType;

/** Text comes as the bytes that it is; time limits are the caller's, not one of each command. */
const SENDING = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer }, timeout: 0 };

/** How long a call waits for a connection that is being made. */
const READY_MS = 1_000;

/** Sends a command. Rejects as the library does. */
export function send(client: Client, command: readonly Argument[]): Promise<unknown> {
  return client.sendCommand(command, SENDING);
}

/** Where commands go. */
export interface Link {
  /** Whether there are several primaries, each with some of the slots. */
  readonly cluster: boolean;
  /** The connection to the primary that has a key, ready to be used. Fails with STORE_UNAVAILABLE within about a second. */
  clientOf(key: string): Promise<Client>;
  /** The same if it is at hand. */
  readyClientOf(key: string): Client | undefined;
  /** Asks the servers who has a key: one of them said that it is another. */
  refresh(key: string): Promise<void>;
  /** Connections to all primaries that can be reached. Fails with STORE_UNAVAILABLE if there is none. */
  primaries(): Promise<Client[]>;
  /** Makes new connections in the place of one that no longer answers, or of those that can't be made. */
  renew(dead?: Client): void;
  /** Breaks all connections. */
  close(): void;
}

/** Connects. Fails with STORE_UNAVAILABLE. */
export async function openLink(target: RedisTarget, options: RedisOptions): Promise<Link> {
  const link = target.cluster ? new ClusterLink(target, options) : new SingleLink(target, options);
  try {
    await link.opened();
    return link;
  } catch (error) {
    link.close();
    throw error;
  }
}

function newCluster(target: RedisTarget, options: RedisOptions): Cluster {
  return createCluster({
    rootNodes: target.nodes.map((socket) => ({ socket })),
    defaults: clientOptions(target, options),
    // Connections are made when they are wanted: one server that hangs must not keep the others from being found.
    minimizeConnections: true,
    topologyRefreshOnReconnectionAttemptStrategy: 200,
    maxCommandRedirections: 8,
  });
}

/** How every connection is made. */
function clientOptions(target: RedisTarget, options: RedisOptions): RedisClientOptions {
  const { timeoutMs = 10_000, tls } = options;
  const socket = {
    connectTimeout: Math.min(timeoutMs, 5_000),
    // Nothing heard for so long: the connection is dead. A ping is on its way long before.
    socketTimeout: timeoutMs,
    reconnectStrategy: (retries: number): number =>
      Math.min(10 * 2 ** Math.min(retries, 6), 500) * (0.75 + Math.random() / 2),
  };
  return {
    // What can't be sent now fails now, and is not sent later behind the caller's back.
    disableOfflineQueue: true,
    pingInterval: Math.max(50, timeoutMs / 3),
    maintNotifications: "disabled",
    disableClientInfo: true,
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(target.password === undefined ? {} : { password: target.password }),
    socket: target.tls ? { ...socket, ...tls, tls: true } : socket,
  };
}

/** One server, which must be a primary. */
class SingleLink implements Link {
  readonly cluster = false;
  readonly #target: RedisTarget;
  readonly #options: RedisOptions;
  #client: Client;
  /** The connection of the client that was found to be one to a primary. */
  #primaryEpoch = -1;
  /** Why there is no connection now. */
  #failure: WorkflowStateError | undefined;
  #closed = false;
  /** Told when there is something new. */
  readonly #waiting: Set<() => void> = new Set();

  constructor(target: RedisTarget, options: RedisOptions) {
    this.#target = target;
    this.#options = options;
    this.#client = this.#connect();
  }

  async opened(): Promise<void> {
    const until = performance.now() + (this.#options.timeoutMs ?? 10_000);
    while (this.readyClientOf() === undefined) {
      // It would try on, but whoever opens a store wants to know at once that the address is wrong.
      if (this.#failure !== undefined) throw this.#failure;
      if (!(await this.#news(until))) throw unavailable("Redis does not answer", undefined);
    }
  }

  async clientOf(): Promise<Client> {
    const until = performance.now() + READY_MS;
    for (;;) {
      const client = this.readyClientOf();
      if (client !== undefined) return client;
      if (this.#closed || !(await this.#news(until)))
        throw this.#failure ?? unavailable("Redis can't be reached", undefined);
    }
  }

  readyClientOf(): Client | undefined {
    const client = this.#client;
    return client.isReady && client.socketEpoch === this.#primaryEpoch ? client : undefined;
  }

  async refresh(): Promise<void> {}

  async primaries(): Promise<Client[]> {
    return [await this.clientOf()];
  }

  renew(dead: Client = this.#client): void {
    if (this.#closed || dead !== this.#client) return;
    const old = this.#client;
    this.#primaryEpoch = -1;
    this.#client = this.#connect();
    old.destroy();
  }

  close(): void {
    this.#closed = true;
    this.#client.destroy();
    for (const tell of this.#waiting) tell();
  }

  #connect(): Client {
    const { nodes, database } = this.#target;
    const defaults = clientOptions(this.#target, this.#options);
    const client = createClient({ ...defaults, database, socket: { ...defaults.socket, ...nodes[0] } });
    client.on("error", (error) => {
      if (client !== this.#client) return;
      this.#failure = connectFailure(error);
      for (const tell of this.#waiting) tell();
    });
    client.on("ready", () => {
      // The library does not end a connection that is being made when its client is destroyed.
      if (this.#closed || client !== this.#client) client.destroy();
      else this.#checkRole(client);
    });
    // It tries until it is told to stop; what goes wrong meanwhile comes as an event.
    client.connect().catch(() => {});
    return client;
  }

  /** Where an address leads to may change at a failover: a replica must not be read. */
  #checkRole(client: Client): void {
    const epoch = client.socketEpoch;
    send(client, ["ROLE"]).then(
      (reply) => {
        if (String((reply as readonly unknown[])[0]) === "master") this.#isPrimary(client, epoch);
        else this.#isReplica(client);
      },
      (error) => {
        // Who may not ask has to trust the address.
        if (codeOf(error) === "NOPERM") this.#isPrimary(client, epoch);
        // A connection that broke is made again, and asked then.
        else if (codeOf(error) !== "") this.#isUnsure(client, epoch, error);
      },
    );
  }

  #isPrimary(client: Client, epoch: number): void {
    if (client !== this.#client) return;
    this.#primaryEpoch = epoch;
    this.#failure = undefined;
    for (const tell of this.#waiting) tell();
  }

  /** It could not say: a script of another program runs for long, or it reads its data. */
  #isUnsure(client: Client, epoch: number, error: unknown): void {
    if (client !== this.#client) return;
    this.#failure = connectFailure(error);
    for (const tell of this.#waiting) tell();
    setTimeout(() => {
      if (!this.#closed && client === this.#client && client.isReady && client.socketEpoch === epoch)
        this.#checkRole(client);
    }, 500).unref();
  }

  #isReplica(client: Client): void {
    this.#failure = unavailable("This Redis is a replica, and a store needs the primary", undefined);
    for (const tell of this.#waiting) tell();
    setTimeout(() => {
      if (client === this.#client) this.renew();
    }, 500).unref();
  }

  /** Waits for something new; false: nothing came in time. */
  #news(until: number): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (news: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(tell);
        resolve(news);
      };
      const tell = (): void => done(!this.#closed);
      const timer = setTimeout(() => done(false), Math.max(0, until - performance.now()));
      this.#waiting.add(tell);
    });
  }
}

/** The primaries of a cluster. */
class ClusterLink implements Link {
  readonly cluster = true;
  readonly #target: RedisTarget;
  readonly #options: RedisOptions;
  #cluster: Cluster;
  /** Given up, and kept for what is under way on servers that do answer. */
  readonly #old: Set<Cluster> = new Set();
  readonly #destroyed: WeakSet<Cluster> = new WeakSet();
  #renewing = false;
  #closed = false;
  #failure: unknown;

  constructor(target: RedisTarget, options: RedisOptions) {
    this.#target = target;
    this.#options = options;
    this.#cluster = this.#make(target);
  }

  async opened(): Promise<void> {
    try {
      await this.#connect(this.#cluster);
    } catch (error) {
      throw connectFailure(this.#failure ?? error);
    }
  }

  async clientOf(key: string): Promise<Client> {
    const until = performance.now() + READY_MS;
    for (;;) {
      const cluster = this.#cluster;
      try {
        const client = await before(until, this.#wanted(cluster, cluster.getNodeClientForKey(key)));
        if (client?.isReady) return client;
      } catch (error) {
        if (this.#closed) throw failureOf(error, false).error;
      }
      if (this.#closed || performance.now() >= until) {
        this.renew();
        throw unavailable("The Redis server that has these keys can't be reached", undefined);
      }
      await pause(20);
    }
  }

  readyClientOf(): Client | undefined {
    return undefined;
  }

  async refresh(key: string): Promise<void> {
    // The library follows what the server says, and notes it.
    const until = performance.now() + READY_MS;
    await before(
      until,
      this.#cluster.sendCommand(key, false, ["EXISTS", key]).then(
        () => undefined,
        () => undefined,
      ),
    );
  }

  async primaries(): Promise<Client[]> {
    const cluster = this.#cluster;
    const until = performance.now() + READY_MS;
    const nodes = cluster.masters.map((node) =>
      before(until, this.#wanted(cluster, cluster.nodeClient(node))),
    );
    const found = await Promise.allSettled(nodes);
    const clients = found.flatMap((each) => (each.status === "fulfilled" ? (each.value ?? []) : []));
    if (clients.length === 0) throw unavailable("No server of the Redis cluster can be reached", undefined);
    return clients;
  }

  renew(): void {
    void this.#renew();
  }

  close(): void {
    this.#closed = true;
    this.#destroy(this.#cluster);
    for (const old of this.#old) this.#destroy(old);
  }

  #destroy(cluster: Cluster): void {
    this.#old.delete(cluster);
    this.#destroyed.add(cluster);
    cluster.destroy();
  }

  /** The library does not end a connection that is being made when its cluster is destroyed: that is done here. */
  async #wanted(cluster: Cluster, connecting: Promise<Client>): Promise<Client> {
    const client = await connecting;
    if (this.#destroyed.has(cluster)) client.destroy();
    return client;
  }

  async #renew(): Promise<void> {
    if (this.#renewing || this.#closed) return;
    this.#renewing = true;
    const old = this.#cluster;
    const known = old.masters.map(({ host, port }) => ({ host, port }));
    const fresh = this.#make({ ...this.#target, nodes: [...known, ...this.#target.nodes] });
    try {
      await this.#connect(fresh);
      if (this.#closed) throw unavailable("The store was closed", undefined);
      this.#cluster = fresh;
      this.#old.add(old);
      setTimeout(() => this.#destroy(old), this.#options.timeoutMs ?? 10_000).unref();
    } catch {
      // Whoever calls next tries again.
      this.#destroy(fresh);
    }
    await pause(500);
    this.#renewing = false;
  }

  #make(target: RedisTarget): Cluster {
    const cluster = newCluster(target, this.#options);
    // Nobody else listens, and an error event without a listener ends the process.
    cluster.on("error", (error) => {
      this.#failure = error;
    });
    cluster.on("node-error", () => {});
    return cluster;
  }

  async #connect(cluster: Cluster): Promise<void> {
    const until = performance.now() + (this.#options.timeoutMs ?? 10_000);
    if ((await before(until, cluster.connect())) === undefined)
      throw unavailable("No server of the Redis cluster can be reached", undefined);
  }
}

/** What a promise gives if it does in time, else `undefined`; it is not left without a listener. */
async function before<T>(until: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, until - performance.now()));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
