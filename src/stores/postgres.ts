/**
 * The store's database in PostgreSQL: an entry a row, a commit one call of a function in the database, which is one round trip. Any
 * number of programs may share a database; each session's row orders its commits.
 */
import { WorkflowStateError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type {
  Backend,
  BackendOptions,
  EventRange,
  Events,
  FeedPart,
  ListedSession,
  Look,
  LookStep,
  PlanStep,
  SessionKey,
  SessionQuery,
  Step,
  StepResult,
  StoredRecord,
  Swept,
} from "./backend.ts";
import { manyExpiring } from "./failures.ts";
import { bigintArray, headOf, type Row, text, textOf } from "./postgres-codec.ts";
import { type Connection, Connections, NotSent, type TextRows } from "./postgres-connections.ts";
import { lostRace, standby, translated } from "./postgres-errors.ts";
import { FEED_END, feedPart, feedStatement } from "./postgres-feed.ts";
import { Hints } from "./postgres-hints.ts";
import { listing } from "./postgres-listing.ts";
import { adoptLog, migrate } from "./postgres-migrations.ts";
import { Moving } from "./postgres-moving.ts";
import { eventsOf, lookOf, outcomeOf, type Statement, Statements } from "./postgres-steps.ts";
import { readUrl } from "./postgres-url.ts";

/** What is special to PostgreSQL. Durations are in milliseconds. */
export interface PostgresOptions {
  /** Most connections for calls; a watch takes one more. Default: 10. */
  readonly maxConnections?: number | undefined;
  /** The longest that any call may take. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  /** The longest that connecting may take. Default: 5,000. */
  readonly connectTimeoutMs?: number | undefined;
}

/** How often a statement is run that lost against another and was rolled back. */
const ATTEMPTS = 3;
/** How many heads one sweep looks at. */
const SWEEP_SLICE = 100;
/** The most bytes that a key or a session id may have: more do not fit in an index beside what else is in it. */
const MOST_NAME_BYTES = 2_000;
/** Setting the schema up may have to wait for another program that does. */
const MIGRATION_TIMEOUT_MS = 60_000;

/**
 * Opens a database by its URL, `postgres://user:password@host:5432/database?schema=name`, and sets its schema up if it is new.
 * Fails with INVALID_REQUEST for a URL that makes no sense, for limits of keys and session ids above 2,000 bytes, and for a schema
 * newer than this program; with STORE_UNAVAILABLE if the server can't be reached, is a standby, or refuses.
 */
export async function openPostgres(url: string, options: BackendOptions & PostgresOptions): Promise<Backend> {
  const { config, schema } = readUrl(url);
  checkLimits(options.limits);
  const { maxConnections = 10, timeoutMs = 10_000, connectTimeoutMs = 5_000 } = options;
  const connections = new Connections(config, { most: maxConnections, timeoutMs, connectTimeoutMs });
  try {
    await connections.use(async (connection) => {
      await migrate(connection, schema);
      await adoptLog(connection, schema);
    }, MIGRATION_TIMEOUT_MS);
  } catch (error) {
    await connections.close();
    throw failure(error, "reading");
  }
  return new PostgresBackend(connections, schema, options, timeoutMs);
}

function checkLimits(limits: Limits): void {
  for (const name of ["keyBytes", "sessionIdBytes"] as const) {
    const { [name]: actual } = limits;
    if (actual <= MOST_NAME_BYTES) continue;
    const field = `limits.${name}`;
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      `${field} must be at most ${MOST_NAME_BYTES} in a PostgreSQL store: lower it, or use another store.`,
      { metadata: { field, limit: String(MOST_NAME_BYTES), actual: String(actual) } },
    );
  }
}

class PostgresBackend implements Backend {
  readonly #connections: Connections;
  readonly #schema: string;
  readonly #options: BackendOptions;
  readonly #statements: Statements;
  readonly #hints: Hints;
  readonly #moving: Moving;
  readonly #settings: Buffer;
  readonly #timeoutMs: number;

  constructor(connections: Connections, schema: string, options: BackendOptions, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#connections = connections;
    this.#schema = schema;
    this.#options = options;
    this.#statements = new Statements(schema);
    this.#hints = new Hints(connections, schema);
    this.#moving = new Moving(connections, schema);
    this.#settings = this.#settingsAt(undefined);
  }

  get pollMs(): number {
    return this.#hints.pollMs;
  }

  async run(steps: readonly Step[]): Promise<StepResult[]> {
    if (steps.length === 0) return [];
    const committed: SessionKey[] = [];
    try {
      return await this.#connections.use((connection) =>
        // All are sent before the first is waited for.
        Promise.all(steps.map((step, i) => this.#step(connection, step, steps.slice(i + 1), committed))),
      );
    } catch (error) {
      throw failure(error, "before");
    } finally {
      for (const session of committed) this.#hints.committed(session);
    }
  }

  async events(range: EventRange): Promise<Events> {
    const { sessionId } = range.session;
    return this.#read(async (connection) => {
      const read = async (due: boolean): Promise<Events | undefined> => {
        const statement = this.#statements.events(range, this.#settingsNow(), due);
        return eventsOf(await query(connection, statement), sessionId);
      };
      const events = await read(false);
      if (events !== undefined) return events;
      this.#hints.committed(range.session);
      for (;;) {
        const anew = await read(true);
        if (anew !== undefined) return anew;
      }
    });
  }

  async sessions(sessions: SessionQuery): Promise<ListedSession[]> {
    // As often as it takes: a page that is short says that there is no more. Each time does what it found, which stays done.
    for (const deadline = performance.now() + this.#timeoutMs; ; ) {
      const settings = this.#settingsNow();
      const { sql, parameters } = listing(this.#schema, sessions, settings);
      const found = await this.#read(async (connection) => {
        const rows = await connection.query(sql, parameters);
        const due = rows.filter(isDue).map((row) => textOf(row[2] as string));
        if (due.length === 0) return rows.map(listed);
        await this.#expire(connection, sessions.namespace, due, settings);
        return undefined;
      });
      if (found !== undefined) return found;
      if (performance.now() >= deadline) throw manyExpiring();
    }
  }

  async feedEnd(): Promise<string> {
    const [[end] = []] = await this.#read((connection) => connection.query(FEED_END));
    if (end === null || end === undefined) throw standby();
    return end;
  }

  async feed(cursor: string, count: number): Promise<FeedPart> {
    const statement = feedStatement(this.#schema, cursor, count);
    const rows = await this.#read((connection) => query(connection, statement));
    return feedPart(cursor, count, rows);
  }

  hints(listener: (session: SessionKey | undefined) => void): () => void {
    return this.#hints.listen(listener);
  }

  async sweep(): Promise<Swept> {
    const sql = `SELECT * FROM ${this.#schema}.sweep($1, $2)`;
    const [row] = await this.#read((connection) =>
      again(() => connection.query(sql, [this.#settingsNow(), SWEEP_SLICE])),
    );
    const [more, next, now, wrote] = row ?? [];
    if (wrote === "t") this.#hints.committed(undefined);
    return {
      more: more === "t",
      nextDue: typeof next === "string" ? Number(next) : undefined,
      now: Number(now),
    };
  }

  async sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]> {
    const place = after === undefined ? "" : "WHERE (namespace, session_id) > ($2, $3)";
    const page = `SELECT namespace, session_id FROM ${this.#schema}.head ${place} ORDER BY namespace, session_id LIMIT $1`;
    const sql = `SELECT NULL, NULL WHERE pg_is_in_recovery() UNION ALL (${page})`;
    const parameters = after === undefined ? [] : [text(after.namespace), text(after.sessionId)];
    const rows = await this.#read((connection) => connection.query(sql, [count, ...parameters]));
    return rows.map(([namespace, sessionId]) => {
      if (typeof namespace !== "string" || typeof sessionId !== "string") throw standby();
      return { namespace: textOf(namespace), sessionId: textOf(sessionId) };
    });
  }

  dump(session: SessionKey): AsyncIterable<StoredRecord> {
    return this.#moving.dump(session, this.#settingsNow());
  }

  async load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void> {
    await this.#moving.load(session, records, this.#settingsNow());
    this.#hints.committed(session);
  }

  rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    return this.#moving.rewriteValues(session, rewrite);
  }

  async close(): Promise<void> {
    await this.#hints.close();
    await this.#connections.close();
  }

  /** Never fails: an error is this step's result. */
  async #step(
    connection: Connection,
    step: Step,
    later: readonly Step[],
    committed: SessionKey[],
  ): Promise<StepResult> {
    const stage = step.kind === "plan" ? "writing" : "reading";
    try {
      return await (step.kind === "plan"
        ? this.#plan(connection, step, later, committed)
        : this.#look(connection, step, later, committed));
    } catch (error) {
      return { kind: "error", error: failure(error, stage) };
    }
  }

  async #plan(
    connection: Connection,
    step: PlanStep,
    later: readonly Step[],
    committed: SessionKey[],
  ): Promise<StepResult> {
    const statement = this.#statements.plan(step, this.#settingsNow());
    // Once later steps of the session were sent, it is too late for another attempt.
    const attempts = later.some((other) => sameSession(other, step)) ? 1 : ATTEMPTS;
    const rows = await again(() => query(connection, statement), attempts);
    const outcome = outcomeOf(step, rows);
    if (outcome.committed) committed.push(step.session);
    return outcome.applied;
  }

  async #look(
    connection: Connection,
    step: LookStep,
    later: readonly Step[],
    committed: SessionKey[],
  ): Promise<Look> {
    const look = async (due: boolean): Promise<Look | undefined> =>
      lookOf(await query(connection, this.#statements.look(step, this.#settingsNow(), due)));
    // A second attempt comes after all that is sent now: it would see what later steps wrote.
    let mayBeDue = later.some((other) => other.kind === "plan" && sameSession(other, step));
    for (;;) {
      const seen = await look(mayBeDue);
      if (seen !== undefined) return seen;
      mayBeDue = true;
      committed.push(step.session);
    }
  }

  async #expire(
    connection: Connection,
    namespace: string,
    ids: readonly string[],
    settings: Buffer,
  ): Promise<void> {
    const sql = `SELECT * FROM ${this.#schema}.expire($1, $2, $3)`;
    await Promise.all(ids.map((id) => connection.query(sql, [settings, text(namespace), text(id)])));
    for (const sessionId of ids) this.#hints.committed({ namespace, sessionId });
  }

  async #read<Result>(work: (connection: Connection) => Promise<Result>): Promise<Result> {
    try {
      return await this.#connections.use(work);
    } catch (error) {
      throw failure(error, "reading");
    }
  }

  #settingsNow(): Buffer {
    const { now } = this.#options;
    return now === undefined ? this.#settings : this.#settingsAt(Math.floor(now()));
  }

  /** What every function is given first. */
  #settingsAt(time: number | undefined): Buffer {
    const { history, historyAgeMs, requestRetentionMs, limits } = this.#options;
    const settings = [history, historyAgeMs, requestRetentionMs, limits.entries, limits.sessionBytes];
    return bigintArray(time === undefined ? settings : [...settings, time]);
  }
}

function query(connection: Connection, { sql, parameters }: Statement): Promise<TextRows> {
  return connection.query(sql, parameters);
}

/** Runs a statement again that lost against another. */
async function again<Result>(run: () => Promise<Result>, attempts: number = ATTEMPTS): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      if (attempt >= attempts || !lostRace(error)) throw error;
    }
  }
}

function failure(error: unknown, stage: "before" | "reading" | "writing"): WorkflowStateError {
  return error instanceof NotSent ? translated(error.cause, "before") : translated(error, stage);
}

function sameSession(a: Step, b: Step): boolean {
  return a.session.sessionId === b.session.sessionId && a.session.namespace === b.session.namespace;
}

/** Whether something is due for a session that a listing found. */
function isDue(row: readonly unknown[]): boolean {
  return row[3] !== null;
}

function listed(row: (string | null)[]): ListedSession {
  const [n, t, id] = row as unknown as Row;
  const head = headOf([n, t]);
  return { sessionId: textOf(id as string), head: head as ListedSession["head"] };
}
