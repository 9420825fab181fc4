/** The schema of a PostgreSQL store by version, and how a database gets to the newest. */
import { WorkflowStateError } from "../errors.ts";
import type { Connection } from "./postgres-connections.ts";
import { standby } from "./postgres-errors.ts";
import { writeFunctions } from "./postgres-functions.ts";
import { listingFunctions } from "./postgres-listing.ts";
import { movingFunctions } from "./postgres-moving-functions.ts";
import { readFunctions } from "./postgres-reads.ts";
import { tables } from "./postgres-schema.ts";
import { sweepFunction } from "./postgres-sweep.ts";

/** One step of the schema. */
export interface Migration {
  readonly version: number;
  /** Its statements, in a schema that is given quoted. Never changed once it was published: what comes later is another step. */
  readonly sql: (schema: string) => string;
}

/** All steps, oldest first. */
export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: (schema) =>
      [tables, writeFunctions, sweepFunction, readFunctions, listingFunctions, movingFunctions]
        .map((statements) => statements(schema))
        .join(""),
  },
];

/** The number of the advisory lock under which schemas are changed: "wfst" in ASCII. */
const LOCK = 0x77667374;

/**
 * Brings the schema to the newest version, making it if need be. Safe when several programs start at once: one does it and the
 * others wait. A role that may not create anything can open a store whose schema is up to date.
 * Fails with INVALID_REQUEST if the schema is newer than this program, with STORE_UNAVAILABLE on a standby.
 */
export async function migrate(
  connection: Connection,
  schema: string,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<void> {
  const newest = migrations.at(-1)?.version ?? 0;
  if ((await versionOf(connection, schema, newest)) === newest) return;
  await connection.query("BEGIN ISOLATION LEVEL READ COMMITTED");
  try {
    await connection.query(`SELECT pg_advisory_xact_lock(${LOCK})`);
    const version = await versionOf(connection, schema, newest);
    if (version === undefined) {
      await connection.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
      await connection.query(`CREATE TABLE ${schema}.migration
        (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())`);
    }
    for (const migration of migrations) {
      if (migration.version <= (version ?? 0)) continue;
      await connection.query(migration.sql(schema));
      await connection.query(`INSERT INTO ${schema}.migration (version) VALUES (${migration.version})`);
    }
    await connection.query("COMMIT");
  } catch (error) {
    await connection.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** The version of the schema; `undefined`: there is none. */
async function versionOf(
  connection: Connection,
  schema: string,
  newest: number,
): Promise<number | undefined> {
  // From the catalog, which is read as it is now: to_regclass may answer from what this connection saw before it had the lock.
  const [[found, recovering] = []] = await connection.query(
    `SELECT (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relname = 'migration' AND quote_ident(n.nspname) = quote_ident(trim('"' FROM $1))), pg_is_in_recovery()`,
    [schema],
  );
  if (recovering === "t") throw standby();
  if (found === null || found === undefined) return undefined;
  const [[version] = []] = await connection.query(`SELECT max(version) FROM ${schema}.migration`);
  if (Number(version) > newest) {
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      `The database's schema has version ${version}, and this program knows ${newest}: use the newer program, and nothing older beside it.`,
      { metadata: { limit: String(newest), actual: String(version) } },
    );
  }
  return Number(version ?? 0);
}

/**
 * Makes a log readable that came with a copy of the database (`pg_dump`) from another server: its transactions have numbers that
 * are still to come here, and would show up in the feed one day as if they were new.
 */
export async function adoptLog(connection: Connection, schema: string): Promise<void> {
  const future = "pg_snapshot_xmax(pg_current_snapshot())";
  const [[foreign] = []] = await connection.query(
    `SELECT EXISTS (SELECT FROM ${schema}.event WHERE xid > ${future}) OR EXISTS (SELECT FROM ${schema}.trimmed WHERE xid > ${future})`,
  );
  if (foreign !== "t") return;
  await connection.query(`UPDATE ${schema}.event SET xid = NULL WHERE xid > ${future}`);
  await connection.query(`DELETE FROM ${schema}.trimmed WHERE xid > ${future}`);
}
