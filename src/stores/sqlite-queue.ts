/**
 * Group commit: what is to be written by this process, in transactions that many writers share. All that was asked for by
 * the time a transaction begins is in it, and is acknowledged when its one sync is through.
 */
import type { BackendOptions, SessionKey } from "./backend.ts";
import type { Database, Statement } from "./sqlite-database.ts";
import * as errors from "./sqlite-errors.ts";
import { type Tables, Unit } from "./sqlite-unit.ts";

/** After so long a transaction takes in no more, so that those who wait for something else get their turn. */
const GROUP_MS = 20;
/** The longest pause between two tries for a lock that another process holds. */
const PAUSE_MS = 20;

/**
 * What a job is to its caller: a write, of which it must be told whether it was made; a look, that shares the transaction
 * because something is due or because it comes after a write; or something that no one is told of.
 */
export type JobKind = "write" | "look" | "housekeeping";

/** One caller's part of a transaction. */
interface Job {
  /** Done again from its beginning if the transaction has to be. */
  readonly work: (unit: Unit) => unknown;
  readonly kind: JobKind;
  readonly done: (result: unknown) => void;
  readonly failed: (error: unknown) => void;
  /** When it was asked for, by `performance.now`. */
  readonly since: number;
}

/** Jobs of one transaction. */
interface Group {
  readonly jobs: readonly Job[];
  /** What made the transaction before fail, of which this is a part. */
  readonly after: "nothing" | "full" | "failure";
}

/** What the queue needs to know. */
export interface QueueOptions extends BackendOptions {
  /** How long to wait for a lock that another process holds. */
  readonly lockTimeoutMs: number;
  /** Whether there really is no room where SQLite can't tell. */
  readonly isFull: () => boolean;
  /** Tries to make room in what the files take already. */
  readonly makeRoom: () => void;
  /** Runs a transaction that is undone, without a limit of the file's size. */
  readonly withoutLimit: <Result>(run: () => Result) => Result;
  /** Told after each transaction whose sessions have new commits. */
  readonly committed: (sessions: Iterable<SessionKey>) => void;
}

/** The only writer of a connection. */
export class Queue {
  readonly #database: Database;
  readonly #tables: Tables;
  readonly #options: QueueOptions;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #rollback: Statement;
  #waiting: Job[] = [];
  /** Parts of transactions that failed, to be done before what waits. */
  readonly #again: Group[] = [];
  #pauseMs = 0;
  #scheduled = false;
  #closed = false;

  constructor(database: Database, tables: Tables, options: QueueOptions) {
    this.#database = database;
    this.#tables = tables;
    this.#options = options;
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
    this.#rollback = database.prepare("ROLLBACK");
  }

  /**
   * Runs work in a transaction that others share; settles when that is durable. The work must be able to run again; it is
   * rejected with what it throws, and then nothing of it was written.
   */
  submit<Result>(work: (unit: Unit) => Result, kind: JobKind = "write"): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(errors.backendClosed());
        return;
      }
      const done = (result: unknown): void => resolve(result as Result);
      this.#waiting.push({ work, kind, done, failed: reject, since: performance.now() });
      this.#schedule();
    });
  }

  /** Lets what was asked for end, and takes no more. */
  async close(): Promise<void> {
    const last = this.submit(() => undefined);
    this.#closed = true;
    await last.catch(() => undefined);
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length + this.#again.length === 0) return;
    this.#scheduled = true;
    const flush = (): void => {
      this.#scheduled = false;
      this.#flush();
      this.#schedule();
    };
    // After what else is ready in this turn of the event loop, so that all of it shares the transaction.
    if (this.#pauseMs === 0) setImmediate(flush);
    else setTimeout(flush, this.#pauseMs * (0.5 + Math.random()));
  }

  #flush(): void {
    const end = performance.now() + GROUP_MS;
    do {
      const group = this.#again.shift() ?? { jobs: this.#waiting.splice(0), after: "nothing" };
      if (group.jobs.length > 0 && !this.#run(group, end)) return;
    } while (this.#again.length > 0 && performance.now() < end);
  }

  /** Runs a group in one transaction. Returns whether it got the lock. */
  #run({ jobs, after }: Group, end: number): boolean {
    try {
      if (this.#database.inTransaction) this.#rollback.run();
      this.#begin.run();
      this.#pauseMs = 0;
    } catch (error) {
      this.#notBegun({ jobs, after }, error);
      return !errors.isBusy(error);
    }
    const unit = new Unit(this.#tables, this.#options, this.now());
    const results: unknown[] = [];
    let committing = false;
    try {
      for (const job of jobs) {
        results.push(job.work(unit));
        if (performance.now() > end) break;
      }
      unit.finish();
      committing = true;
      this.#commit.run();
    } catch (error) {
      this.#undo();
      this.#fail({ jobs, after }, error, committing);
      return true;
    }
    this.#putBack({ jobs: jobs.slice(results.length), after });
    for (const [i, result] of results.entries()) jobs[i]?.done(result);
    if (unit.committed.size > 0) this.#options.committed(unit.committed.values());
    return true;
  }

  /** The backend's time. */
  now(): number {
    return Math.floor((this.#options.now ?? Date.now)());
  }

  /** Those that waited for too long are told so, the others wait on. */
  #notBegun(group: Group, error: unknown): void {
    if (!errors.isBusy(error)) {
      for (const job of group.jobs) job.failed(errors.translated(error));
      return;
    }
    this.#pauseMs = Math.min(PAUSE_MS, this.#pauseMs * 2 || 1);
    const earliest = performance.now() - this.#options.lockTimeoutMs;
    for (const job of group.jobs) if (job.since <= earliest) job.failed(errors.lockedTooLong(error));
    this.#putBack({ ...group, jobs: group.jobs.filter((job) => job.since > earliest) });
  }

  #putBack(group: Group): void {
    if (group.jobs.length === 0) return;
    if (group.after === "nothing") this.#waiting = [...group.jobs, ...this.#waiting];
    else this.#again.unshift(group);
  }

  /** Deals with a transaction that failed and is undone. */
  #fail({ jobs, after }: Group, error: unknown, committing: boolean): void {
    const full = errors.isFull(error) || (errors.mayBeFull(error) && this.#options.isFull());
    // Its last page was written: run again, it might end as something that is certain, and be found made all the same.
    const unknown = committing && errors.mayBeCommitted(error);
    // What lies in the log and is in the file too makes room for more.
    if (full && after !== "full") this.#options.makeRoom();
    if (full && after !== "full" && !unknown) {
      this.#again.unshift({ jobs, after: "full" });
    } else if (jobs.length > 1 && !unknown && (full || !errors.isOfFile(error))) {
      // One of them fails for itself, or all together are too many: the others stand.
      const half = jobs.length >> 1;
      this.#again.unshift(
        { jobs: jobs.slice(0, half), after: full ? "full" : "failure" },
        { jobs: jobs.slice(half), after: full ? "full" : "failure" },
      );
    } else {
      const failure = full ? errors.storageFull(error) : errors.translated(error);
      for (const job of jobs) {
        if (full && job.kind === "look") this.#lookInVain(job, failure);
        else job.failed(unknown && job.kind === "write" ? errors.outcomeUnknown(error) : failure);
      }
    }
  }

  /**
   * Looks where there is no room to write what is due: all is done as it should be, looked at, and undone. Nothing else comes
   * before it when there is room, so what was seen is what will be.
   */
  #lookInVain(job: Job, failure: unknown): void {
    try {
      const seen = this.#options.withoutLimit(() => {
        this.#begin.run();
        try {
          return job.work(new Unit(this.#tables, this.#options, this.now()));
        } finally {
          this.#undo();
        }
      });
      job.done(seen);
    } catch {
      job.failed(failure);
    }
  }

  #undo(): void {
    this.#tables.heads.rolledBack();
    try {
      // SQLite itself has ended the transaction after some failures.
      if (this.#database.inTransaction) this.#rollback.run();
    } catch {
      // A disk that fails this too is met again, and told of, by whatever comes next.
    }
  }
}
