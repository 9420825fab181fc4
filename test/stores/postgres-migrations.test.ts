/** How a database gets its schema, and who may use it. */
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { Connections } from "../../src/stores/postgres-connections.ts";
import { MIGRATIONS, migrate } from "../../src/stores/postgres-migrations.ts";
import { readUrl } from "../../src/stores/postgres-url.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import { looking, openBackendAt, POSTGRES, run, setting, stateOf } from "../support/postgres-backend.ts";
import { PASSWORD } from "../support/postgres-server.ts";
import { runNode } from "../support/run-node.ts";

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  test("three programs that open a new database at once all can", async () => {
    const url = server.fresh();
    const programs = await Promise.all([1, 2, 3].map(() => runNode("test/support/opens-postgres.ts", url)));
    for (const { status, stderr } of programs) expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const versions = await server.query(`SELECT version FROM ${schemaOf(url)}.migration`);
    expect(versions).toEqual(MIGRATIONS.map(({ version }) => ({ version })));
    const backend = await openBackendAt(url);
    const keys = await backend.sessionKeys(undefined, 10);
    expect(keys).toHaveLength(3);
  });

  test("a schema newer than the program is refused", async () => {
    const url = server.fresh();
    await openBackendAt(url);
    await server.query(`INSERT INTO ${schemaOf(url)}.migration (version) VALUES (99)`);
    await expect(openBackendAt(url)).rejects.toMatchObject({
      reason: "INVALID_REQUEST",
      message: expect.stringMatching(/version 99.*knows 1.*newer program/),
    });
  });

  test("a later step is made once, and one that fails leaves nothing of it", async () => {
    const url = server.fresh();
    const backend = await openBackendAt(url);
    await run(backend, setting("s", "k", "1"));
    const { config, schema } = readUrl(url);
    const connections = new Connections(config, { most: 2, timeoutMs: 10_000, connectTimeoutMs: 5_000 });
    onTestFinished(() => connections.close());
    const broken = {
      version: 2,
      sql: (s: string) => `CREATE TABLE ${s}.later (x int); SELECT no_such_function()`,
    };
    await expect(
      connections.use((connection) => migrate(connection, schema, [...MIGRATIONS, broken])),
    ).rejects.toThrow();
    expect(await server.query(`SELECT to_regclass('${schemaOf(url)}.later') AS found`)).toEqual([
      { found: null },
    ]);
    const later = { version: 2, sql: (s: string) => `CREATE TABLE ${s}.later (x int)` };
    const both = [1, 2].map(() =>
      connections.use((connection) => migrate(connection, schema, [...MIGRATIONS, later])),
    );
    await Promise.all(both);
    expect(await stateOf(backend, "s")).toEqual({ k: "1" });
  });

  test("a role that may create nothing can use a schema that is there, with the grants that the documentation lists", async () => {
    const url = server.fresh();
    await openBackendAt(url);
    const role = `limited_${schemaOf(url)}`;
    await server.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    const limited = url.replace(`tester:${encodeURIComponent(PASSWORD)}`, `${role}:x`);
    await expect(openBackendAt(limited)).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
      message: expect.stringContaining("privilege"),
    });
    const schema = schemaOf(url);
    await server.query(`GRANT USAGE ON SCHEMA ${schema} TO ${role}`);
    await server.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${role}`);
    await server.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${schema} TO ${role}`);
    const backend = await openBackendAt(limited, { history: 2 });
    for (let i = 0; i < 20; i++) await run(backend, setting("s", "k", `${"x".repeat(3_000)}${i}`));
    await backend.load({ namespace: "n", sessionId: "t" }, backend.dump({ namespace: "n", sessionId: "s" }));
    await backend.sweep();
    expect((await run(backend, looking("t"))).head).toMatchObject({ revision: 20 });
  });

  test("a search path of somebody else's leads nowhere", async () => {
    const url = server.fresh();
    const evil = `evil_${schemaOf(url)}`;
    await server.query(`CREATE SCHEMA ${evil}`);
    // A function and an operator that would be found before the server's own by whoever goes by the search path.
    await server.query(
      `CREATE FUNCTION ${evil}.octet_length(bytea) RETURNS integer LANGUAGE sql AS 'SELECT 1000000'`,
    );
    await server.query(`CREATE TABLE ${evil}.head (id int)`);
    const backend = await openBackendAt(`${url}&options=${encodeURIComponent(`-c search_path=${evil}`)}`);
    await run(backend, setting("s", "key", "value"));
    expect((await run(backend, looking("s"))).head).toMatchObject({ entries: 1, bytes: 8 });
  });

  test("transactions that are isolated otherwise than the store needs are refused where that matters", async () => {
    const url = server.fresh();
    const strict = `${url}&options=${encodeURIComponent("-c default_transaction_isolation=serializable")}`;
    const backend = await openBackendAt(strict);
    await expect(run(backend, setting("s", "k", "1"))).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
      message: expect.stringContaining("read committed"),
    });
    expect((await run(backend, looking("s"))).head).toBeUndefined();
  });

  test("a copy of the log from another server tells the feed nothing that is not new", async () => {
    const url = server.fresh();
    const first = await openBackendAt(url);
    await run(first, setting("s", "k", "1"));
    // As pg_dump brings it to a server whose transactions have smaller numbers.
    await server.query(`UPDATE ${schemaOf(url)}.event SET xid = '4611686018427387904'`);
    const backend = await openBackendAt(url);
    const end = await backend.feedEnd();
    await run(backend, setting("s", "k", "2"));
    const { changes, lost } = await backend.feed(end, 10);
    expect(changes.map(({ revision }) => revision)).toEqual([2]);
    expect(lost).toBe(false);
  });
});

test.each([
  ["mysql://localhost/db", "must begin with postgres://"],
  ["postgres://localhost/db?schema=a%22b", "schema that is no name"],
  ["postgres://localhost/db?schema=", "schema that is no name"],
  ["postgres://localhost/db?shema=a", '"shema"'],
  ["postgres://localhost/db?sslmode=perhaps", "sslmode"],
  ["postgres://localhost/db?sslrootcert=/no/such/file", "certificate"],
  ["postgres://localhost:port/db", "not a URL"],
])("%s is refused: %s", async (url, message) => {
  const opening = openPostgres(url, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION });
  await expect(opening).rejects.toMatchObject({
    reason: "INVALID_REQUEST",
    message: expect.stringContaining(message),
  });
});

function schemaOf(url: string): string {
  return new URL(url).searchParams.get("schema") ?? "";
}
