/**
 * The connections of a PostgreSQL store: a pool of the driver's clients in which every use has a deadline. What does not answer in
 * time is cut, as nobody knows what becomes of it; the next use opens another, so the store recovers by itself.
 */
import pg from "pg";
import { givenUp, NO_FREE_CONNECTION, spoils, storeClosed } from "./postgres-errors.ts";

/** How many connections there are, and how long things may take, in milliseconds. */
export interface ConnectionOptions {
  readonly most: number;
  readonly connectTimeoutMs: number;
  readonly timeoutMs: number;
}

/** A parameter: what is no Buffer goes as text. */
export type Parameter = Buffer | string | number | null;

/** Rows as the server writes them. */
export type TextRows = (string | null)[][];

/** An error that came before anything was sent. */
export class NotSent extends Error {
  constructor(cause: unknown) {
    super("nothing was sent", { cause });
  }
}

/** Connections that nobody uses are closed after this. */
const IDLE_MS = 60_000;
/** How long a connection that is closed in good order may take for it. */
const GOODBYE_MS = 500;

const asText = {
  getTypeParser:
    () =>
    <Value>(value: Value): Value =>
      value,
};

/** One connection, while it is used. Statements are sent at once, one behind the other, and answered in that order. */
export class Connection {
  /** Whether it can be used on. */
  usable = true;
  /** What each statement may take at most, in milliseconds; 0: whoever uses the connection sees to that. */
  limitMs = 0;
  readonly client: pg.Client;

  constructor(config: pg.ClientConfig) {
    this.client = new pg.Client(config);
    // Whatever ends a connection is told to the statements that wait; to nobody else if none does.
    this.client.on("error", () => this.cut());
    this.client.on("end", () => {
      this.usable = false;
    });
  }

  /** Sends a statement in autocommit, or in the transaction that runs. */
  query(statement: string, parameters: readonly Parameter[] = []): Promise<TextRows> {
    if (!this.usable) return Promise.reject(new NotSent(givenUp("connection lost")));
    return new Promise((resolve, reject) => {
      const values = [...parameters];
      const query: pg.QueryArrayConfig = { text: statement, values, rowMode: "array", types: asText };
      const timer = this.limitMs === 0 ? undefined : setTimeout(() => this.cut(), this.limitMs);
      void this.client.query(query, (error: unknown, result) => {
        clearTimeout(timer);
        if (error === null || error === undefined) return resolve(result.rows as TextRows);
        if (spoils(error)) this.usable = false;
        reject(error);
      });
    });
  }

  /** Ends it at once: statements that wait fail. */
  cut(): void {
    this.usable = false;
    this.client.connection.stream.destroy();
  }

  /** Ends it in good order, if that works. */
  async end(): Promise<void> {
    this.usable = false;
    const timer = setTimeout(() => this.cut(), GOODBYE_MS);
    await this.client.end().catch(() => {});
    clearTimeout(timer);
  }
}

/** The pool. */
export class Connections {
  readonly #config: pg.ClientConfig;
  readonly #options: ConnectionOptions;
  readonly #idle: { readonly connection: Connection; readonly since: number }[] = [];
  /** Who waits for a connection is given it, or nothing if there is room for another. */
  readonly #waiting: Set<(connection: Connection | undefined) => void> = new Set();
  readonly #running: Set<Promise<unknown>> = new Set();
  readonly #held: Set<Connection> = new Set();
  #open = 0;
  #closed = false;
  #reaper: NodeJS.Timeout | undefined;

  constructor(config: pg.ClientConfig, options: ConnectionOptions) {
    this.#config = {
      ...config,
      pipeline: true,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      connectionTimeoutMillis: options.connectTimeoutMs,
    };
    this.#options = options;
  }

  /**
   * Gives a connection to some work, and takes it back. When the time is over the connection is cut.
   * Fails with what the work fails with, or with {@link NotSent}.
   */
  async use<Result>(
    work: (connection: Connection) => Promise<Result>,
    timeoutMs: number = this.#options.timeoutMs,
  ): Promise<Result> {
    const running = this.#use(work, timeoutMs);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** A connection for something that takes longer, until `putBack`: each of its statements has the time that a call has. */
  async hold(): Promise<Connection> {
    const connection = await this.#take(performance.now() + this.#options.timeoutMs);
    connection.limitMs = this.#options.timeoutMs;
    this.#held.add(connection);
    return connection;
  }

  /** Takes a connection back. @param clean whether it is in no transaction: one that is in one is cut */
  putBack(connection: Connection, clean: boolean): void {
    if (!this.#held.delete(connection)) return;
    connection.limitMs = 0;
    if (!clean) connection.cut();
    this.#give(connection);
  }

  /** A connection of one's own, beside the pool. */
  async connect(): Promise<Connection> {
    if (this.#closed) throw new NotSent(storeClosed());
    const connection = new Connection(this.#config);
    try {
      await connection.client.connect();
    } catch (error) {
      connection.cut();
      throw new NotSent(error);
    }
    return connection;
  }

  /** Waits for what runs, then ends all connections; nothing can be begun any more. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#reaper);
    for (const take of this.#waiting) take(undefined);
    for (const connection of this.#held) connection.cut();
    await Promise.allSettled(this.#running);
    await Promise.all(this.#idle.splice(0).map(({ connection }) => connection.end()));
  }

  async #use<Result>(work: (connection: Connection) => Promise<Result>, timeoutMs: number): Promise<Result> {
    const deadline = performance.now() + timeoutMs;
    // A part of the time is for the work itself: what is sent just before the end would end with an unknown outcome.
    const begin = deadline - timeoutMs / 4;
    const connection = await this.#take(begin);
    if (performance.now() > begin) {
      this.#give(connection);
      throw new NotSent(givenUp("no connection in time"));
    }
    const timer = setTimeout(
      () => {
        connection.cut();
        // Connections that lead to the same server are likely to be as dead, and each would cost its user this time.
        for (const { connection: idle } of this.#idle.splice(0)) this.#drop(idle);
      },
      Math.max(1, deadline - performance.now()),
    );
    try {
      return await work(connection);
    } finally {
      clearTimeout(timer);
      this.#give(connection);
    }
  }

  async #take(deadline: number): Promise<Connection> {
    for (;;) {
      if (this.#closed) throw new NotSent(storeClosed());
      let connection = this.#idle.pop()?.connection;
      if (connection === undefined) {
        if (this.#open < this.#options.most) return await this.#connect();
        connection = await this.#turn(deadline);
      }
      if (connection?.usable) return connection;
      if (connection !== undefined) this.#drop(connection);
    }
  }

  /** Waits for a connection that becomes free, or for room for one. */
  #turn(deadline: number): Promise<Connection | undefined> {
    return new Promise((resolve, reject) => {
      const take = (connection: Connection | undefined): void => {
        clearTimeout(timer);
        this.#waiting.delete(take);
        resolve(connection);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(take);
        reject(new NotSent(givenUp(NO_FREE_CONNECTION)));
      }, deadline - performance.now());
      this.#waiting.add(take);
    });
  }

  async #connect(): Promise<Connection> {
    this.#open += 1;
    try {
      return await this.connect();
    } catch (error) {
      this.#open -= 1;
      this.#next(undefined);
      throw error;
    }
  }

  #give(connection: Connection): void {
    this.#reaper ??= setInterval(() => this.#reap(), IDLE_MS / 4).unref();
    if (!connection.usable) this.#drop(connection);
    else if (!this.#next(connection)) this.#idle.push({ connection, since: performance.now() });
  }

  #drop(connection: Connection): void {
    this.#open -= 1;
    connection.cut();
    this.#next(undefined);
  }

  /** Lets the next of those who wait go on, if there is one. */
  #next(connection: Connection | undefined): boolean {
    const [take] = this.#waiting;
    take?.(connection);
    return take !== undefined;
  }

  /** Ends what was not used for a while: the oldest stand first. */
  #reap(): void {
    const before = performance.now() - IDLE_MS;
    while ((this.#idle[0]?.since ?? Number.POSITIVE_INFINITY) < before) {
      const { connection } = this.#idle.shift() as { connection: Connection };
      this.#open -= 1;
      void connection.end();
    }
  }
}
