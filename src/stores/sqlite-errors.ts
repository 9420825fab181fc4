/** What SQLite's failures mean to callers: the one place that knows its result codes. */
import { type ErrorReason, WorkflowStateError } from "../errors.ts";
import { sqliteCode } from "./sqlite-database.ts";

/** Primary result codes, the low byte of an extended one. */
const BUSY = 5;
const LOCKED = 6;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const PROTOCOL = 15;
const NOTADB = 26;
/** Extended ones: a write that failed, and a file of shared memory that could not grow. */
const IOERR_WRITE = IOERR | (3 << 8);
const IOERR_SHMSIZE = IOERR | (19 << 8);

const SENTENCES: ReadonlyMap<number, readonly [ErrorReason, string]> = new Map([
  [BUSY, ["STORE_UNAVAILABLE", "Another process held the SQLite file for too long: try again."]],
  [LOCKED, ["STORE_UNAVAILABLE", "Another process held the SQLite file for too long: try again."]],
  [PROTOCOL, ["STORE_UNAVAILABLE", "Another process held the SQLite file for too long: try again."]],
  [READONLY, ["STORE_UNAVAILABLE", "The SQLite file can't be written: give its process the right to."]],
  [
    IOERR,
    ["STORE_UNAVAILABLE", "Reading or writing the SQLite file failed: look at its disk, then try again."],
  ],
  [
    CORRUPT,
    ["STORE_UNAVAILABLE", "The SQLite file is damaged: restore a backup, or recover it with sqlite3."],
  ],
  [NOTADB, ["STORE_UNAVAILABLE", "The file is no SQLite file any more: restore a backup."]],
  [CANTOPEN, ["STORE_UNAVAILABLE", "The SQLite file can't be opened: look at its path and permissions."]],
  [
    FULL,
    [
      "STORAGE_FULL",
      "There is no room left to write: free some on the SQLite file's disk, or raise its limit; reads go on.",
    ],
  ],
]);

/** Whether a failure says that another process holds a lock: worth another try soon. */
export function isBusy(error: unknown): boolean {
  const code = primary(error);
  return code === BUSY || code === LOCKED || code === PROTOCOL;
}

/** Whether a failure says that there was no room. */
export function isFull(error: unknown): boolean {
  return primary(error) === FULL;
}

/** Whether a failure may be for want of room where SQLite can't tell: over a quota, or over the limit of a file's size. */
export function mayBeFull(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === IOERR_WRITE || code === IOERR_SHMSIZE;
}

/** Whether the file is no SQLite file. */
export function isForeign(error: unknown): boolean {
  return primary(error) === NOTADB;
}

/**
 * Whether a COMMIT that failed so may still be found made after a crash: its last page was written, and only the sync or what
 * comes after it failed. A failed write leaves a last page that its checksum disowns.
 */
export function mayBeCommitted(error: unknown): boolean {
  return primary(error) === IOERR && sqliteCode(error) !== IOERR_WRITE;
}

/** Whether a failure is the file's, so that the next try would meet it too. */
export function isOfFile(error: unknown): boolean {
  const code = primary(error);
  return code !== undefined && code !== FULL && SENTENCES.has(code);
}

/** The typed error for a failure; what is not SQLite's stays what it is. */
export function translated(error: unknown): unknown {
  const code = primary(error);
  if (code === undefined) return error;
  const [reason, sentence] = SENTENCES.get(code) ?? [
    "STORE_UNAVAILABLE",
    `SQLite failed with its code ${String(sqliteCode(error))}: try again.`,
  ];
  return new WorkflowStateError(reason, sentence, { cause: error });
}

/** The error of a commit that may have been made. */
export function outcomeUnknown(cause: unknown): WorkflowStateError {
  return new WorkflowStateError(
    "OUTCOME_UNKNOWN",
    "The disk failed while the write was being made durable: whether it was made is not known, retry it with its request_id.",
    { cause },
  );
}

/** The error of a commit for which there was no room. */
export function storageFull(cause: unknown): WorkflowStateError {
  const [reason, sentence] = SENTENCES.get(FULL) as readonly [ErrorReason, string];
  return new WorkflowStateError(reason, sentence, { cause });
}

/** The error of a call that waited too long for another process. */
export function lockedTooLong(cause: unknown): WorkflowStateError {
  const [reason, sentence] = SENTENCES.get(BUSY) as readonly [ErrorReason, string];
  return new WorkflowStateError(reason, sentence, { cause });
}

/** The error of calls to a backend that was closed. */
export function backendClosed(): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", "The store is closed: open it again.");
}

function primary(error: unknown): number | undefined {
  const code = sqliteCode(error);
  return code === undefined ? undefined : code & 0xff;
}
