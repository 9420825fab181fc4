/**
 * The store's database in a SQLite file: an entry a row, in WAL mode with every commit synced, many commits to a sync. Several
 * processes may have the file open; each sees the others' commits.
 */

import { WorkflowStateError } from "../errors.ts";
import type {
  Backend,
  BackendOptions,
  EventRange,
  Events,
  FeedPart,
  ListedSession,
  LookStep,
  SessionKey,
  SessionQuery,
  Step,
  StepResult,
  StoredRecord,
  Swept,
} from "./backend.ts";
import { manyExpiring } from "./failures.ts";
import { type Database, Moments, type Statement } from "./sqlite-database.ts";
import * as errors from "./sqlite-errors.ts";
import { Listing } from "./sqlite-listing.ts";
import { isDue, look, readEvents, readFeed } from "./sqlite-looks.ts";
import { Dumper, load, rewriteValues, sessionKeysSql } from "./sqlite-moving.ts";
import { checkedPath, isDiskFull, openFile, withoutLimit } from "./sqlite-open.ts";
import { Queue } from "./sqlite-queue.ts";
import { Sweeper } from "./sqlite-sweep.ts";
import { bytesOf, textOf } from "./sqlite-text.ts";
import { type Tables, tablesOf, type Unit } from "./sqlite-unit.ts";

/** What is special to a SQLite file. */
export interface SqliteOptions {
  /** How long a call waits for another process that writes, or lets sessions expire before it lists the others, in milliseconds. Default: 10,000. */
  readonly lockTimeoutMs?: number | undefined;
  /** The most that the file may take, in bytes, beside its log; then writes fail with STORAGE_FULL. Default: no limit. */
  readonly maxBytes?: number | undefined;
  /** After so many pages of 4 KiB in its log they are put into the file itself. Default: 4,000. */
  readonly checkpointPages?: number | undefined;
  /** How often to look for commits of other processes while someone watches, in milliseconds. Default: 25. */
  readonly foreignPollMs?: number | undefined;
}

/**
 * Opens a SQLite file, and makes it if there is none: its folder must exist, and no one else may read what is made.
 * Fails with INVALID_REQUEST if it can't be opened ever: a missing folder, a file of another program, a layout newer than this
 * program knows.
 */
export async function openSqlite(path: string, options: BackendOptions & SqliteOptions): Promise<Backend> {
  const { lockTimeoutMs = 10_000, maxBytes, checkpointPages = 4_000, foreignPollMs = 25 } = options;
  const file = checkedPath(path);
  const database = await openFile(file, { lockTimeoutMs, maxBytes, checkpointPages });
  return new SqliteBackend(database, file, { ...options, lockTimeoutMs, foreignPollMs });
}

/** No version that SQLite gives. */
const UNSEEN = -1;

type Options = BackendOptions & { readonly lockTimeoutMs: number; readonly foreignPollMs: number };
type Listener = (session: SessionKey | undefined) => void;

class SqliteBackend implements Backend {
  readonly pollMs = 1_000;
  readonly #database: Database;
  readonly #options: Options;
  readonly #tables: Tables;
  readonly #queue: Queue;
  readonly #listing: Listing;
  readonly #sweeper: Sweeper;
  readonly #dumper: Dumper;
  readonly #moments: Moments;
  readonly #sessionKeys: Statement;
  readonly #dataVersion: Statement;
  readonly #listeners: Set<Listener> = new Set();
  #seenVersion = 0;
  #poll: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(database: Database, path: string, options: Options) {
    this.#database = database;
    this.#options = options;
    this.#tables = tablesOf(database);
    this.#queue = new Queue(database, this.#tables, {
      ...options,
      isFull: () => isDiskFull(path),
      makeRoom: () => this.#checkpoint("PASSIVE"),
      withoutLimit: (run) => withoutLimit(database, run),
      committed: (sessions) => this.#hint(sessions),
    });
    this.#listing = new Listing(database, this.#tables, options.history);
    this.#sweeper = new Sweeper(database, options);
    this.#dumper = new Dumper(path, options);
    this.#moments = new Moments(database);
    this.#sessionKeys = database.prepare(sessionKeysSql());
    this.#dataVersion = database.prepare("PRAGMA data_version");
  }

  async run(steps: readonly Step[]): Promise<StepResult[]> {
    if (steps.every((step) => step.kind === "look")) {
      const seen = await this.#read(() => this.#looks(steps));
      if (seen !== undefined) return seen;
    }
    const results = steps.map(async (step): Promise<StepResult> => {
      try {
        const kind = step.kind === "plan" ? "write" : "look";
        return await this.#queue.submit((unit) => this.#step(unit, step), kind);
      } catch (error) {
        if (!WorkflowStateError.is(error)) throw error;
        return { kind: "error", error };
      }
    });
    return Promise.all(results);
  }

  async events(range: EventRange): Promise<Events> {
    const seen = await this.#read((now) => {
      const head = this.#tables.heads.find(range.session);
      if (isDue(this.#tables, head, now)) return undefined;
      return readEvents(this.#tables, head, range, this.#options);
    });
    if (seen !== undefined) return seen;
    // Without room for it the event comes when there is some.
    await this.#doDue([range.session]);
    return this.#read(() => {
      return readEvents(this.#tables, this.#tables.heads.find(range.session), range, this.#options);
    });
  }

  async sessions(query: SessionQuery): Promise<ListedSession[]> {
    const deadline = performance.now() + this.#options.lockTimeoutMs;
    for (let room = true; ; ) {
      const hide = !room;
      const { sessions, due } = await this.#alone(() => this.#listing.find(query, this.#queue.now(), hide));
      if (due.length === 0) return sessions;
      room = await this.#doDue(due);
      if (room && performance.now() >= deadline) throw manyExpiring();
    }
  }

  feedEnd(): Promise<string> {
    return this.#read(() => String(this.#tables.log.end()));
  }

  feed(cursor: string, count: number): Promise<FeedPart> {
    return this.#read(() => readFeed(this.#tables, cursor, count));
  }

  hints(listener: Listener): () => void {
    // Each call has its own: the same function given twice is called until both have ended.
    const own: Listener = (session) => listener(session);
    this.#listeners.add(own);
    if (this.#poll === undefined && !this.#closed) {
      try {
        this.#seenVersion = this.#version();
      } catch {
        // Another process has it locked, or its disk fails: when it can be read, anything may have been committed.
        this.#seenVersion = UNSEEN;
      }
      this.#poll = setInterval(() => this.#lookForOthers(), this.#options.foreignPollMs);
      this.#poll.unref();
    }
    return () => {
      this.#listeners.delete(own);
      if (this.#listeners.size === 0) this.#stopPolling();
    };
  }

  sweep(): Promise<Swept> {
    return this.#queue.submit((unit) => this.#sweeper.sweep(unit), "housekeeping");
  }

  sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]> {
    return this.#read(() => {
      const { heads } = this.#tables;
      const from =
        after === undefined
          ? [0, new Uint8Array()]
          : [heads.namespaceId(after.namespace) ?? 0, bytesOf(after.sessionId)];
      return this.#sessionKeys.all(...from, count).map(([namespace, id]) => ({
        namespace: textOf(namespace as Uint8Array),
        sessionId: textOf(id as Uint8Array),
      }));
    });
  }

  async *dump(session: SessionKey): AsyncGenerator<StoredRecord> {
    this.#checkOpen();
    try {
      yield* this.#dumper.dump(session, this.#queue.now());
    } catch (error) {
      throw errors.translated(error);
    }
  }

  load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void> {
    return load(this.#queue, session, records);
  }

  rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    return rewriteValues(this.#queue, session, rewrite);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopPolling();
    this.#listeners.clear();
    await this.#queue.close();
    this.#dumper.close();
    this.#checkpoint("TRUNCATE");
    this.#database.close();
  }

  /** All looks at one moment; `undefined`: something is due. */
  #looks(steps: readonly LookStep[]): StepResult[] | undefined {
    const now = this.#queue.now();
    const results: StepResult[] = [];
    for (const step of steps) {
      const head = this.#tables.heads.find(step.session);
      if (isDue(this.#tables, head, now)) return undefined;
      results.push(look(this.#tables, head, step, now, this.#options));
    }
    return results;
  }

  #step(unit: Unit, step: Step): StepResult {
    if (step.kind === "plan") return unit.apply(step);
    return look(this.#tables, unit.head(step.session), step, unit.now, this.#options);
  }

  /** Does what is due of sessions. Returns whether there was room for it. */
  async #doDue(sessions: readonly SessionKey[]): Promise<boolean> {
    try {
      await this.#queue.submit((unit) => {
        for (const session of sessions) unit.head(session);
      }, "housekeeping");
      return true;
    } catch (error) {
      if (!WorkflowStateError.is(error, "STORAGE_FULL")) throw error;
      return false;
    }
  }

  /** Reads at one moment. */
  #read<Result>(read: (now: number) => Result): Promise<Result> {
    return this.#alone(() => this.#moments.at(() => read(this.#queue.now())));
  }

  /** Tries again while another process holds a lock that a reader meets: at its recovery, or its close. */
  async #alone<Result>(read: () => Result | Promise<Result>): Promise<Result> {
    const deadline = performance.now() + this.#options.lockTimeoutMs;
    for (let pauseMs = 1; ; pauseMs = Math.min(20, 2 * pauseMs)) {
      this.#checkOpen();
      try {
        return await read();
      } catch (error) {
        this.#checkOpen();
        if (!errors.isBusy(error)) throw errors.translated(error);
        if (performance.now() > deadline) throw errors.lockedTooLong(error);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw errors.backendClosed();
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    try {
      this.#database.exec(`PRAGMA wal_checkpoint(${mode})`);
    } catch {
      // What is in the log stays there, and is as durable: whoever opens the file next goes on from it.
    }
  }

  #hint(sessions: Iterable<SessionKey | undefined>): void {
    if (this.#listeners.size === 0) return;
    for (const session of sessions) for (const listener of this.#listeners) listener(session);
  }

  #version(): number {
    return this.#dataVersion.get()?.[0] as number;
  }

  /** Notices that another process has committed. */
  #lookForOthers(): void {
    let version: number;
    try {
      version = this.#version();
    } catch {
      // Locked for now: the next time tells.
      return;
    }
    if (version === this.#seenVersion) return;
    this.#seenVersion = version;
    this.#hint([undefined]);
  }

  #stopPolling(): void {
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}
