/** Opening a SQLite file: is it ours, is it new, is its layout one that this program knows. */
import { closeSync, constants, fsyncSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { dirname, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { WorkflowStateError } from "../errors.ts";
import { type Database, openDatabase } from "./sqlite-database.ts";
import * as errors from "./sqlite-errors.ts";
import { APPLICATION_ID, MIGRATIONS } from "./sqlite-migrations.ts";

/** How long one try for a lock stops the process; between tries it does something else. */
const BUSY_MS = 5;
/** Pages that SQLite keeps in memory, in KiB. */
const CACHE_KIB = 32 << 10;
/** More pages no file can have. */
const MOST_PAGES = 0xfffffffe;
/** After a checkpoint the log is cut to so many bytes. */
const LOG_BYTES = 64 << 20;

/** How to open. */
export interface OpenFileOptions {
  /** How long to wait for locks that other processes hold. */
  readonly lockTimeoutMs: number;
  /** The most that the file may take, in bytes. */
  readonly maxBytes: number | undefined;
  /**
   * After so many pages in the log they are put into the file, between two commits: fewer make more syncs, more a longer pause.
   * From about 4,000 on, 16 MiB, writing is no faster.
   */
  readonly checkpointPages: number;
}

/** The absolute path of a file, wherever this process goes. Fails with INVALID_REQUEST if there can be none. */
export function checkedPath(path: string): string {
  if (path === "" || path.includes("\0") || path.startsWith(":memory:")) {
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      "A SQLite store needs the path of a file; a store in memory is memory:.",
    );
  }
  return resolve(path);
}

/**
 * Opens or makes a file, and brings its layout up to date. Fails with INVALID_REQUEST if it can't be opened ever: its folder is
 * missing, it is no file of this project, or of a newer version of it. @param file as {@link checkedPath} gives it
 */
export async function openFile(file: string, options: OpenFileOptions): Promise<Database> {
  makeFile(file);
  const deadline = performance.now() + options.lockTimeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
    try {
      return tryOpen(file, options);
    } catch (error) {
      if (errors.isForeign(error)) throw foreign(file);
      if (!errors.isBusy(error)) throw errors.translated(error);
      if (performance.now() > deadline) throw errors.lockedTooLong(error);
      await pause(pauseMs * (0.5 + Math.random()));
    }
  }
}

/** Whether a little file can't be written beside another for want of room: over a quota, or on a full disk. */
export function isDiskFull(path: string): boolean {
  const probe = `${path}-room-${process.pid}`;
  try {
    const file = openSync(probe, "w", 0o600);
    try {
      const bytes = new Uint8Array(64 << 10);
      return writeSync(file, bytes) < bytes.length;
    } finally {
      closeSync(file);
      rmSync(probe, { force: true });
    }
  } catch (error) {
    return isWantOfRoom(error);
  }
}

/** Not by the error's name: Node.js has none for a quota that is used up. */
function isWantOfRoom(error: unknown): boolean {
  const number = error instanceof Error && "errno" in error ? Math.abs(Number(error.errno)) : 0;
  const { ENOSPC, EDQUOT, EFBIG } = osConstants.errno;
  return number > 0 && [ENOSPC, EDQUOT, EFBIG].includes(number);
}

/** Runs a transaction that is undone; it may use more pages than the file may have. */
export function withoutLimit<Result>(database: Database, run: () => Result): Result {
  const limit = pragma(database, "max_page_count");
  database.exec(`PRAGMA max_page_count = ${MOST_PAGES}`);
  try {
    return run();
  } finally {
    database.exec(`PRAGMA max_page_count = ${limit}`);
  }
}

/** Makes an empty file that only its owner may read, if there is none; SQLite's other files take that over. */
function makeFile(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
    syncFolder(dirname(path));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST") return;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new WorkflowStateError(
        "INVALID_REQUEST",
        `The folder of ${path} does not exist: make it, or name another file.`,
        { cause: error },
      );
    }
    if (isWantOfRoom(error)) throw errors.storageFull(error);
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      `The file ${path} can't be made (${String(code)}): give this process the right to, or name another.`,
      { cause: error },
    );
  }
}

/** Makes a new file's name outlive a power loss, where the system can. */
function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const folder = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function tryOpen(path: string, { maxBytes, checkpointPages }: OpenFileOptions): Database {
  if (statSync(path).isDirectory()) {
    throw new WorkflowStateError("INVALID_REQUEST", `${path} is a folder: name a file.`);
  }
  const database = openDatabase(path, { busyTimeoutMs: BUSY_MS });
  try {
    // Before anything is written: the file may be another program's. At one moment: another process may be making its tables.
    database.exec("BEGIN");
    check(database, path);
    database.exec("COMMIT");
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;
      PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY;
      PRAGMA wal_autocheckpoint = ${checkpointPages};
      PRAGMA journal_size_limit = ${LOG_BYTES}`);
    if (maxBytes !== undefined) {
      const pageSize = pragma(database, "page_size");
      database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(maxBytes / pageSize))}`);
    }
    migrate(database, path);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function migrate(database: Database, path: string): void {
  const newest = (MIGRATIONS.at(-1) as (typeof MIGRATIONS)[number]).version;
  if (pragma(database, "user_version") === newest) return;
  database.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have done it while this one waited for the lock.
    const version = check(database, path);
    for (const step of MIGRATIONS) if (step.version > version) database.exec(step.sql);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${newest}; COMMIT`);
  } catch (error) {
    if (database.inTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

/** The version of the file's layout; 0: it is new. */
function check(database: Database, path: string): number {
  const application = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  const tables = database.prepare("SELECT count(*) FROM sqlite_schema").get()?.[0];
  if (application !== APPLICATION_ID && (application !== 0 || tables !== 0)) throw foreign(path);
  const newest = (MIGRATIONS.at(-1) as (typeof MIGRATIONS)[number]).version;
  if (version > newest) {
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      `The file ${path} was written by a newer version of this program (layout ${version}, this one knows ${newest}): upgrade the program.`,
      { metadata: { field: "url", limit: String(newest), actual: String(version) } },
    );
  }
  return version;
}

function foreign(path: string): WorkflowStateError {
  return new WorkflowStateError(
    "INVALID_REQUEST",
    `The file ${path} is not one of this program's: name another file.`,
  );
}

function pragma(database: Database, name: string): number {
  return database.prepare(`PRAGMA ${name}`).get()?.[0] as number;
}
