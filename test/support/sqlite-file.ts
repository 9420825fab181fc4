/** Backends on SQLite files, for tests, and what lies in those files. */
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type {
  Applied,
  Backend,
  BackendOptions,
  Look,
  LookStep,
  PlanStep,
  SessionKey,
} from "../../src/stores/backend.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { openSqlite, type SqliteOptions } from "../../src/stores/sqlite.ts";
import { type Cell, openDatabase, type Row } from "../../src/stores/sqlite-database.ts";

/** Options of a backend, of which a test names those that matter to it. */
export type FileOptions = Partial<BackendOptions> & SqliteOptions;

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-sqlite-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The path of a file that is not there yet, in a folder that is gone after the test. */
export function newPath(): string {
  return join(temporaryFolder(), "state.db");
}

/** Opens a file; closed after the test. */
export async function open(path: string, options: FileOptions = {}): Promise<Backend> {
  const backend = await openFile(path, options);
  onTestFinished(() => backend.close());
  return backend;
}

/** Opens a file, to be closed by the caller. */
export function openFile(path: string, options: FileOptions = {}): Promise<Backend> {
  return openSqlite(path, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION, ...options });
}

/** A session of the default namespace. */
export function session(sessionId: string): SessionKey {
  return { namespace: "", sessionId };
}

/** A value of so many bytes, or of a text. */
export function value(content: number | string): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : new Uint8Array(content).fill(120);
}

/** A plan that writes values. */
export function set(
  sessionId: string,
  values: Readonly<Record<string, Uint8Array | undefined>>,
  rest: Partial<PlanStep> = {},
): PlanStep {
  const writes = Object.entries(values).map(([key, written]) => ({ key, value: written }));
  return { kind: "plan", session: session(sessionId), event: "COMMITTED", writes, ...rest };
}

/** A plan that ends a session. */
export function end(sessionId: string): PlanStep {
  return { kind: "plan", session: session(sessionId), event: "DELETED", writes: [], metadata: "end" };
}

/** Does one plan; fails with the error that it gives. */
export async function apply(backend: Backend, plan: PlanStep): Promise<Applied> {
  const [result] = await backend.run([plan]);
  if (result?.kind === "error") throw result.error;
  if (result === undefined || result.kind === "look") throw new Error("A plan gives what became of it.");
  return result;
}

/** Looks at one session; fails with the error that it gives. */
export async function look(backend: Backend, sessionId: string, rest: Partial<LookStep> = {}): Promise<Look> {
  const [result] = await backend.run([
    { kind: "look", session: session(sessionId), entries: { prefix: "" }, ...rest },
  ]);
  if (result?.kind === "error") throw result.error;
  if (result?.kind !== "look") throw new Error("A look gives what it sees.");
  return result;
}

/** Asks a file directly, beside who has it open. */
export function query(path: string, sql: string, ...parameters: Cell[]): Row[] {
  const database = openDatabase(path, { busyTimeoutMs: 1_000, readOnly: true });
  try {
    return database.prepare(sql).all(...parameters);
  } finally {
    database.close();
  }
}

/** What an integrity check says of a file, and what its tables say of each other: nothing, if all is well. */
export function inconsistencies(path: string): string[] {
  const database = openDatabase(path, { busyTimeoutMs: 1_000, readOnly: true });
  const found = database
    .prepare("PRAGMA integrity_check")
    .all()
    .map(([message]) => String(message));
  const check = (what: string, sql: string): void => {
    for (const row of database.prepare(sql).all()) found.push(`${what}: ${row.join(" ")}`);
  };
  const of = (table: string): string => `FROM ${table} WHERE ${table}.session = head.session`;
  check(
    "entries and bytes of a session",
    `SELECT session, entries, bytes FROM head
     WHERE entries <> (SELECT count(*) ${of("entry")}) OR bytes <> (SELECT coalesce(sum(size), 0) ${of("entry")})`,
  );
  check(
    "events of a session",
    `SELECT session FROM head WHERE namespace > 0 AND oldest <= revision
       AND revision - oldest + 1 <> (SELECT count(*) ${of("event")} AND revision >= head.oldest)`,
  );
  check(
    "an entry newer than its session",
    `SELECT session FROM head WHERE revision < (SELECT max(revision) ${of("entry")})`,
  );
  for (const table of ["entry", "past", "event", "request", "label"])
    check(
      `rows of no session in ${table}`,
      `SELECT session FROM ${table} WHERE session NOT IN (SELECT session FROM head)`,
    );
  check(
    "large values of no version",
    `SELECT id FROM large WHERE id NOT IN (SELECT value FROM entry WHERE typeof(value) = 'integer')
       AND id NOT IN (SELECT value FROM past WHERE typeof(value) = 'integer')`,
  );
  check(
    "versions without their large value",
    `SELECT session FROM (SELECT session, value FROM entry UNION ALL SELECT session, value FROM past)
     WHERE typeof(value) = 'integer' AND value NOT IN (SELECT id FROM large)`,
  );
  check(
    "labels of a session",
    `SELECT session FROM head WHERE namespace > 0 AND labels <> (SELECT count(*) ${of("label")})`,
  );
  database.close();
  return found.filter((message) => message !== "ok");
}

/** The bytes of a file's log. */
export function logBytes(path: string): number {
  return statSync(`${path}-wal`).size;
}

/** How many transactions lie in a file's log: each ends with a frame that says how large the file is then. */
export function logTransactions(path: string): number {
  const log = readFileSync(`${path}-wal`);
  const pageSize = log.readUInt32BE(8);
  const salts = log.readBigUInt64BE(16);
  let transactions = 0;
  for (let at = 32; at + 24 + pageSize <= log.length; at += 24 + pageSize) {
    if (log.readBigUInt64BE(at + 8) !== salts) break;
    if (log.readUInt32BE(at + 4) > 0) transactions++;
  }
  return transactions;
}
