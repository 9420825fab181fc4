/** What PostgreSQL and the way to it can fail with, as the errors of this project: the one place that says so. */
import { WorkflowStateError } from "../errors.ts";
import { lasting, saysTlsRefused } from "./lasting.ts";

/** When a statement failed. */
export type Stage =
  /** It was certainly not sent. */
  | "before"
  /** It only read: there is nothing to know about its outcome. */
  | "reading"
  /** It was sent, and may have committed. */
  | "writing";

/** What is known of an error of the driver; the server's have a severity and a code of five characters. */
interface Facts {
  readonly code: string | undefined;
  /** The server said that the statement failed, and goes on. */
  readonly rolledBack: boolean;
}

/** What a server or a pooler says when it ends the connection, and what may be that or not. */
const ENDS_CONNECTION = /^(08|57P|58|XX|F0)/;

/**
 * The error that a caller gets. An ERROR of the server means that the statement was rolled back; when the server ends the connection
 * (FATAL), or it breaks, or nobody answers in time, nobody knows. The driver's message is not repeated: it may hold what is stored,
 * or where the database is.
 */
export function translated(error: unknown, stage: Stage): WorkflowStateError {
  if (error instanceof WorkflowStateError) return error;
  const { code, rolledBack } = factsOf(error);
  const cause = new Error(`PostgreSQL: ${code ?? wordOf(error)}`);
  if (rolledBack) {
    const failure = new WorkflowStateError(...refused(code as string), { cause });
    return LASTING.has(code as string) ? lasting(failure) : failure;
  }
  if (stage === "writing") {
    return new WorkflowStateError(
      "OUTCOME_UNKNOWN",
      "The connection to the database was lost before it answered, and the write may have been made: retry with the same request_id.",
      { cause },
    );
  }
  const failure = new WorkflowStateError("STORE_UNAVAILABLE", unreachable(code), { cause });
  return LASTING.has(code ?? "") || saysTlsRefused(code) ? lasting(failure) : failure;
}

/** A user, a password or a database that is none, a right that is missing, a setting that does not do. */
const LASTING: ReadonlySet<string> = new Set(["28P01", "28000", "3D000", "42501", "25000"]);

/** Whether a statement that failed so is to be run again at once: it lost against another, and was rolled back. */
export function lostRace(error: unknown): boolean {
  const { code } = factsOf(error);
  return code === "40001" || code === "40P01";
}

/** Whether a connection must not be used again after an error: it ends, or leads to a server that does not take writes. */
export function spoils(error: unknown): boolean {
  const { code, rolledBack } = factsOf(error);
  return !rolledBack || code === "25006";
}

/** What {@link givenUp} is told when there are more calls than connections. */
export const NO_FREE_CONNECTION = "no free connection";

/** An answer that did not come in time, or a connection that was given up. */
export function givenUp(why: string): Error {
  return Object.assign(new Error(why), { code: why });
}

/** A server that answered although it is a standby. */
export function standby(): WorkflowStateError {
  return new WorkflowStateError(...refused("25006"));
}

/** A call after the end. */
export function storeClosed(): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", "The store is closed: open it again.");
}

/** What the server says when it rolls back. */
function refused(code: string): [reason: WorkflowStateError["reason"], message: string] {
  // disk_full, and what a table, an index or a file system can't take any more.
  if (code === "53100" || code === "54000" || code === "58030") {
    return [
      "STORAGE_FULL",
      "The database has no room: nothing was written. Reads go on; writes do when there is room.",
    ];
  }
  if (code === "25006") {
    return [
      "STORE_UNAVAILABLE",
      "The database server is a standby or does not take writes: nothing was written. Try again when the address leads to the primary.",
    ];
  }
  if (code === "55P03" || code === "40001" || code === "40P01") {
    return [
      "STORE_UNAVAILABLE",
      "The session was held by others for too long: nothing was written. Try again.",
    ];
  }
  if (code === "25000") {
    return [
      "STORE_UNAVAILABLE",
      "The database isolates transactions otherwise than the store needs: set default_transaction_isolation to read committed for its role.",
    ];
  }
  if (code === "42501") {
    return [
      "STORE_UNAVAILABLE",
      "The database role lacks a privilege on the store's schema: grant it what the documentation lists.",
    ];
  }
  if (code === "3F000" || code === "42P01" || code === "42883") {
    return [
      "STORE_UNAVAILABLE",
      "The store's schema is missing in the database, or was changed: open the store again, by a role that may create it.",
    ];
  }
  return [
    "STORE_UNAVAILABLE",
    `The database refused a statement (SQLSTATE ${code}), and nothing was written: try again; its log says more.`,
  ];
}

/** Why there is no connection. */
function unreachable(code: string | undefined): string {
  const again = "try again when it can be.";
  switch (code) {
    case "28P01":
    case "28000":
      return "The database refused the user or the password: check both in the store's URL.";
    case "3D000":
      return "There is no such database: check its name in the store's URL, or create it.";
    case "53300":
      return "The database has no more connections to give: try again, or allow fewer to each store.";
    case "57P03":
    case "57P01":
    case "57P02":
      return `The database is starting, stopping, or was stopped: ${again}`;
    case NO_FREE_CONNECTION:
      return "All connections of the store to its database are in use: try again, or allow it more.";
    default:
      return `The database can't be reached, or did not answer in time: ${again}`;
  }
}

function factsOf(error: unknown): Facts {
  const { code, severity } = (typeof error === "object" && error !== null ? error : {}) as Record<
    string,
    unknown
  >;
  if (typeof code !== "string") return { code: undefined, rolledBack: false };
  if (typeof severity !== "string" || code.startsWith("08")) return { code, rolledBack: false };
  // The severity is in the server's language: what is neither of these is an error unless the code speaks against it.
  const fatal = severity === "FATAL" || severity === "PANIC";
  return { code, rolledBack: severity === "ERROR" || (!fatal && !ENDS_CONNECTION.test(code)) };
}

/** The driver's own errors have no code, and their messages say no more than this. */
function wordOf(error: unknown): string {
  return error instanceof Error && /^(Connection terminated|timeout)/.test(error.message)
    ? "connection lost"
    : "no answer";
}
