/**
 * Hints between the programs that share a PostgreSQL database. A connection of its own listens; whoever commits notifies, after the
 * commit and in a transaction that need not be synced: a commit that notifies itself would keep all others from being synced along
 * with it. So a hint can be late or lost, and whoever watches also reads now and then.
 */
import type { SessionKey } from "./backend.ts";
import type { Connection, Connections } from "./postgres-connections.ts";

/** How often to read without hints from others, in milliseconds: while they come, and while they don't. */
const POLL_MS = { listening: 1_000, deaf: 100 } as const;
/** How long a listener is known after it last said so, and how often it says it. */
const LEASE_MS = { until: 15_000, renew: 5_000 } as const;
/** How long what was asked about other listeners counts. */
const ASK_MS = 1_000;
/** How long a notification to oneself may take before one is taken for deaf, and when to try again then. */
const PROBE_MS = { wait: 2_000, again: 60_000 } as const;
/** Waits before listening again on a new connection. */
const RETRY_MS = { first: 50, most: 5_000 } as const;
/** PostgreSQL takes less than 8,000 bytes. */
const PAYLOAD_BYTES = 7_500;
/** So many sessions are named; beyond that a hint says "any". */
const MOST_NAMED = 500;

type Listener = (session: SessionKey | undefined) => void;

/** Gives hints to this program's listeners and to others'. */
export class Hints {
  readonly #connections: Connections;
  readonly #schema: string;
  readonly #channel: string;
  readonly #id: string = crypto.randomUUID();
  readonly #listeners: Set<Listener> = new Set();
  /** What to tell others; `undefined` as a member: any session. */
  #toTell: Set<string> = new Set();
  #telling = false;
  #others = { known: false, asked: Number.NEGATIVE_INFINITY };
  #connection: Connection | undefined;
  #heard = false;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  /** @param schema quoted */
  constructor(connections: Connections, schema: string) {
    this.#connections = connections;
    this.#schema = schema;
    // The channel's name is as long as a name may be; schemas are.
    this.#channel = schema.replaceAll('"', "");
  }

  /** How often the feed is to be read should no hint come. */
  get pollMs(): number {
    return this.#heard ? POLL_MS.listening : POLL_MS.deaf;
  }

  /** Calls the listener at hints, until what is returned is called. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    this.#start();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#wake?.();
    };
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // Somebody came just as it ended.
      if (this.#listeners.size > 0 && !this.#closed) this.#start();
    });
  }

  /** Tells everyone of a commit. @param session `undefined`: any may have been written */
  committed(session: SessionKey | undefined): void {
    for (const listener of this.#listeners) listener(session);
    if (this.#toTell.size <= MOST_NAMED)
      this.#toTell.add(session === undefined ? "" : JSON.stringify([session.namespace, session.sessionId]));
    // Also what is left from a notification that failed.
    if (!this.#telling) void this.#tell();
  }

  /** Listens no more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#running;
  }

  /** Notifies others while there is something to tell and someone who listens: what comes meanwhile goes together. */
  async #tell(): Promise<void> {
    this.#telling = true;
    try {
      while (this.#toTell.size > 0 && !this.#closed) {
        const told = this.#toTell;
        this.#toTell = new Set();
        const now = performance.now();
        if (!this.#others.known && now - this.#others.asked < ASK_MS) continue;
        await this.#connections.use(async (connection) => {
          if (now - this.#others.asked >= ASK_MS) {
            const until = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            const [[known] = []] = await connection.query(
              `SELECT EXISTS (SELECT FROM ${this.#schema}.listener WHERE id <> $1 AND until > ${until})`,
              [this.#id],
            );
            this.#others = { known: known === "t", asked: now };
          }
          if (this.#others.known) await this.#notify(connection, payloads(told));
        });
      }
    } catch {
      // Whoever watches reads now and then.
    } finally {
      this.#telling = false;
    }
  }

  async #notify(connection: Connection, messages: readonly string[]): Promise<void> {
    await connection.query(
      "SELECT set_config('synchronous_commit', 'off', true), count(pg_notify($1, m)) FROM unnest($2::text[]) m",
      [this.#channel, textArray(messages)],
    );
  }

  /** Listens until nobody wants to hear, on one connection after the other. Never fails. */
  async #run(): Promise<void> {
    let wait: number = RETRY_MS.first;
    while (this.#listeners.size > 0 && !this.#closed) {
      const began = performance.now();
      const deaf = await this.#listenOnce().catch(() => false);
      this.#heard = false;
      this.#connection?.cut();
      this.#connection = undefined;
      // What was committed while nobody listened.
      for (const listener of this.#listeners) listener(undefined);
      if (performance.now() - began > RETRY_MS.most) wait = RETRY_MS.first;
      await this.#rest(deaf ? PROBE_MS.again : wait);
      wait = Math.min(2 * wait, RETRY_MS.most);
    }
  }

  /** Listens on one connection until it breaks or nobody wants to hear. Gives whether it hears nothing. */
  async #listenOnce(): Promise<boolean> {
    const connection = await this.#connections.connect();
    this.#connection = connection;
    const { client } = connection;
    const probe = `?${crypto.randomUUID()}`;
    const heard = Promise.withResolvers<boolean>();
    client.on("notification", ({ payload = "" }) => {
      if (payload === probe) heard.resolve(true);
      else this.#hear(payload);
    });
    client.on("end", () => {
      heard.resolve(false);
      this.#wake?.();
    });
    try {
      await this.#bounded(connection, connection.query(`LISTEN ${this.#schema}`));
      // From another connection: a pooler hands on what comes during a connection's own transaction.
      await this.#connections.use((other) => this.#notify(other, [probe]));
      const timer = setTimeout(() => heard.resolve(false), PROBE_MS.wait);
      const hears = await heard.promise;
      clearTimeout(timer);
      if (!hears) {
        // Through a pooler that gives each transaction another connection: nothing will come here.
        if (connection.usable) await this.#bounded(connection, connection.query(`UNLISTEN ${this.#schema}`));
        return connection.usable;
      }
      this.#heard = true;
      for (const listener of this.#listeners) listener(undefined);
      while (connection.usable && this.#listeners.size > 0 && !this.#closed) {
        // Says that it listens, and finds out whether the connection is dead without having ended.
        await this.#bounded(connection, this.#renew(connection));
        await this.#rest(LEASE_MS.renew);
      }
      if (connection.usable) {
        await this.#bounded(
          connection,
          connection.query(`DELETE FROM ${this.#schema}.listener WHERE id = $1`, [this.#id]),
        );
      }
      return false;
    } finally {
      await connection.end();
    }
  }

  async #renew(connection: Connection): Promise<void> {
    await connection.query(
      `INSERT INTO ${this.#schema}.listener (id, until)
       VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + ${LEASE_MS.until})
       ON CONFLICT (id) DO UPDATE SET until = excluded.until`,
      [this.#id],
    );
  }

  /** Cuts a connection that does not answer. */
  async #bounded<Result>(connection: Connection, answer: Promise<Result>): Promise<Result> {
    const timer = setTimeout(() => connection.cut(), LEASE_MS.renew);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  #hear(payload: string): void {
    for (const session of sessionsOf(payload)) for (const listener of this.#listeners) listener(session);
  }

  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#wake = end;
      if (this.#listeners.size === 0 || this.#closed) end();
    });
  }
}

/** The messages that name these sessions: lists in JSON, each short enough; `[]` means any. */
function payloads(told: ReadonlySet<string>): string[] {
  if (told.has("") || told.size > MOST_NAMED) return ["[]"];
  const messages: string[] = [];
  let list = "";
  for (const name of told) {
    if (list !== "" && Buffer.byteLength(list) + Buffer.byteLength(name) > PAYLOAD_BYTES) {
      messages.push(`[${list}]`);
      list = "";
    }
    list += list === "" ? name : `,${name}`;
  }
  // A session of which the name alone is too long.
  const last = Buffer.byteLength(list) > PAYLOAD_BYTES ? "[]" : `[${list}]`;
  return [...messages, last];
}

/** The sessions that a message names. What anyone else sends on the channel is as good as "any". */
function sessionsOf(payload: string): (SessionKey | undefined)[] {
  let names: unknown;
  try {
    names = JSON.parse(payload);
  } catch {
    return [undefined];
  }
  if (!Array.isArray(names) || names.length === 0) return [undefined];
  return names.map((name: unknown) => {
    const [namespace, sessionId] = Array.isArray(name) ? (name as unknown[]) : [];
    return typeof namespace === "string" && typeof sessionId === "string"
      ? { namespace, sessionId }
      : undefined;
  });
}

function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`).join(",")}}`;
}
