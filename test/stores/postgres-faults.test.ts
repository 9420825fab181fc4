import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { Backend } from "../../src/stores/backend.ts";
import { type SharedPostgres, sharedPostgres } from "../support/postgres.ts";
import {
  bytesOf,
  looking,
  openBackendAt,
  POSTGRES,
  run,
  sessionOf,
  setting,
  stateOf,
  until,
} from "../support/postgres-backend.ts";
import { DEBIAN_BIN, PostgresServer } from "../support/postgres-server.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

const REQUEST = { id: "r", fingerprint: "f".repeat(24), kept: bytesOf("kept") };
/** Short, so that the tests are: everything settles within it, and a little. */
const QUICK = { timeoutMs: 1_000, connectTimeoutMs: 500 };

describe.each(POSTGRES)("between a store and $name", ({ share }) => {
  let server: SharedPostgres;
  let proxy: TcpProxy;
  let url: string;
  let backend: Backend;

  beforeAll(async () => {
    server = await share();
  });

  beforeEach(async () => {
    proxy = await TcpProxy.start(server.port);
    onTestFinished(() => proxy.refuse());
    url = server.fresh(proxy.port);
    const writer = await openBackendAt(url);
    await run(writer, setting("s", "k", "0"));
    // Who has committed asks who listens, on a connection that must not be the one that breaks: that one is gone by then.
    await writer.close();
    backend = await openBackendAt(url, QUICK);
  });

  test("a connection that is cut between the commit and its reply: the outcome is unknown, and the same request is replayed", async () => {
    proxy.breakNext("before the reply");
    await expect(run(backend, setting("s", "k", "1", { request: REQUEST }))).rejects.toMatchObject({
      reason: "OUTCOME_UNKNOWN",
    });
    expect(proxy.broken).toBe(1);
    expect(await run(backend, setting("s", "k", "1", { request: REQUEST }))).toMatchObject({
      kind: "replayed",
      revision: 2,
      kept: REQUEST.kept,
    });
    expect(await stateOf(backend, "s")).toEqual({ k: "1" });
  });

  test("a connection that is cut behind the request: the outcome is unknown, and a retry writes once", async () => {
    proxy.breakNext("after the request");
    await expect(run(backend, setting("s", "k", "1", { request: REQUEST }))).rejects.toMatchObject({
      reason: "OUTCOME_UNKNOWN",
    });
    const again = await run(backend, setting("s", "k", "1", { request: REQUEST }));
    expect(again).toMatchObject({ revision: 2, wrote: true });
    expect((await run(backend, looking("s"))).head).toMatchObject({ revision: 2 });
  });

  test("nobody who answers: calls fail in time, writes with an unknown outcome, and go on when somebody does", async () => {
    proxy.requests = "black hole";
    const began = performance.now();
    await expect(run(backend, setting("s", "k", "1"))).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await expect(run(backend, looking("s"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    expect(performance.now() - began).toBeLessThan(2 * QUICK.timeoutMs + 1_000);
    // Nothing was sent on a connection that could not be made.
    await expect(run(backend, setting("s", "k", "2"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await proxy.accept();
    expect(await stateOf(backend, "s")).toEqual({ k: "0" });
    expect(await run(backend, setting("s", "k", "3"))).toMatchObject({ revision: 2 });
  });

  test("replies that are lost: a write has an unknown outcome and was made", async () => {
    proxy.replies = "black hole";
    await expect(run(backend, setting("s", "k", "1", { request: REQUEST }))).rejects.toMatchObject({
      reason: "OUTCOME_UNKNOWN",
    });
    await proxy.accept();
    expect(await run(backend, setting("s", "k", "1", { request: REQUEST }))).toMatchObject({
      kind: "replayed",
    });
  });

  test.each(["client", "server"] as const)("a connection that is half closed to the %s", async (side) => {
    proxy.halfClose(side);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await until(
      async () => (await stateOf(backend, "s").catch(() => ({}) as Record<string, string>))["k"] === "0",
    );
    expect(await run(backend, setting("s", "k", "1"))).toMatchObject({ kind: "done", revision: 2 });
  });

  test("an address that refuses: nothing is written and everything says so, until it accepts again", async () => {
    await proxy.refuse();
    // A write that is sent before the end of its connection is noticed may have arrived; once a read has failed, it is.
    await expect(run(backend, looking("s"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    for (const call of [
      () => run(backend, setting("s", "k", "1")),
      () => run(backend, looking("s")),
      () => backend.events({ session: sessionOf("s"), from: 1, to: 9, reverse: false, count: 9, bytes: 1e6 }),
      () => backend.sessions({ namespace: "n", filter: {}, order: "ID", count: 9 }),
      () => backend.feedEnd(),
      () => backend.sweep(),
      () => backend.sessionKeys(undefined, 9),
      () => backend.dump(sessionOf("s"))[Symbol.asyncIterator]().next(),
      () => backend.load(sessionOf("t"), backend.dump(sessionOf("s"))),
      () => backend.rewriteValues(sessionOf("s"), () => undefined),
    ]) {
      const failing = Promise.resolve(call());
      await expect(failing).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
      const error: unknown = await failing.catch((caught: unknown) => caught);
      expect(`${String(error)} ${String((error as Error).cause)}`).not.toMatch(/127\.0\.0\.1|tester|secret/);
    }
    await expect(openBackendAt(url, QUICK)).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await proxy.accept();
    expect(await run(backend, setting("s", "k", "1"))).toMatchObject({ kind: "done", revision: 2 });
  });

  test("a batch that breaks midway: what was answered stands, and of the rest each step says what is known", async () => {
    const release = await holdSession(server, url, "held");
    const steps = [
      setting("s", "k", "1"),
      looking("s"),
      setting("held", "k", "2"),
      looking("s"),
      setting("s", "k", "3"),
    ];
    const running = backend.run(steps);
    await until(() => waitsForLock(server, url));
    proxy.cut();
    const results = await running;
    expect(results.map((result) => (result.kind === "error" ? result.error.reason : result.kind))).toEqual([
      "done",
      "look",
      "OUTCOME_UNKNOWN",
      "STORE_UNAVAILABLE",
      "OUTCOME_UNKNOWN",
    ]);
    await release();
  });

  test("connections that the server ends: who was waiting does not know, and who comes next does not notice", async () => {
    const release = await holdSession(server, url, "held");
    const waiting = run(backend, setting("held", "k", "1"));
    waiting.catch(() => {});
    await until(() => waitsForLock(server, url));
    await server.query(
      "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE $1",
      [`%${schemaOf(url)}%plan(%`],
    );
    await expect(waiting).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await release();
    expect(await stateOf(backend, "held")).toEqual({});
    expect(await run(backend, setting("held", "k", "2"))).toMatchObject({ revision: 1 });
  });

  test("a session that another transaction holds for long: nothing is written, and that is known", async () => {
    const patient = await openBackendAt(url);
    const release = await holdSession(server, url, "s");
    await expect(run(patient, setting("s", "k", "1"))).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
      message: expect.stringContaining("held"),
    });
    // Reads don't wait.
    expect(await stateOf(patient, "s")).toEqual({ k: "0" });
    await release();
    expect(await run(patient, setting("s", "k", "2"))).toMatchObject({ revision: 2 });
  });

  test("more calls than connections: they take turns, and who gets none in time has written nothing", async () => {
    const patient = await openBackendAt(url, { maxConnections: 1 });
    const calls = Array.from({ length: 50 }, (_, i) => run(patient, setting("s", `k${i}`, "x")));
    for (const result of await Promise.all(calls)) expect(result.kind).toBe("done");
    const narrow = await openBackendAt(url, { ...QUICK, maxConnections: 1 });
    const release = await holdSession(server, url, "held");
    const first = run(narrow, setting("held", "k", "1"));
    first.catch(() => {});
    // At once: it gives up a part of the time before the first one's connection is cut.
    const second = run(narrow, setting("s", "late", "x"));
    second.catch(() => {});
    await until(() => waitsForLock(server, url));
    await expect(second).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
      message: expect.stringContaining("in use"),
    });
    await expect(first).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await release();
    expect(await stateOf(patient, "s")).not.toHaveProperty("late");
  });

  test("a commit that fails at its last statement leaves nothing behind, and says that there is no room if that is why", async () => {
    const schema = schemaOf(url);
    // The head is written last: here the server itself fails there, as it would on a full disk.
    await server.query(`CREATE FUNCTION ${schema}.fails() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$`);
    await server.query(
      `CREATE TRIGGER fails BEFORE UPDATE ON ${schema}.head FOR EACH ROW EXECUTE FUNCTION ${schema}.fails()`,
    );
    const writes = [
      { key: "k", value: undefined },
      { key: "new", value: bytesOf("x".repeat(5_000)), ttlMs: 5 },
    ];
    const metadata = {
      ...{ createTime: undefined, workflowId: "w", userId: "u", labels: { a: "b" }, forkedFrom: undefined },
      ...{ expireTime: undefined, idleTtlMs: undefined },
    };
    const plan = { ...setting("s", "", ""), writes, metadata, request: REQUEST };
    await expect(run(backend, plan)).rejects.toMatchObject({ reason: "STORAGE_FULL" });
    expect(await stateOf(backend, "s")).toEqual({ k: "0" });
    const counts = await server.query(`SELECT
      (SELECT count(*) FROM ${schema}.past)::int AS past, (SELECT count(*) FROM ${schema}.large)::int AS large,
      (SELECT count(*) FROM ${schema}.earlier)::int AS earlier, (SELECT count(*) FROM ${schema}.facet)::int AS facets,
      (SELECT count(*) FROM ${schema}.event)::int AS events, (SELECT count(*) FROM ${schema}.request)::int AS requests`);
    expect(counts).toEqual([{ past: 0, large: 0, earlier: 0, facets: 0, events: 1, requests: 0 }]);
    await server.query(`DROP TRIGGER fails ON ${schema}.head`);
    expect(await run(backend, plan)).toMatchObject({ kind: "done", revision: 2 });
  });

  test("closing settles what runs, and what comes after fails", async () => {
    const closing = await openBackendAt(url, QUICK);
    proxy.replies = "black hole";
    const running = run(closing, setting("s", "k", "1"));
    running.catch(() => {});
    const began = performance.now();
    await closing.close();
    expect(performance.now() - began).toBeLessThan(QUICK.timeoutMs + 1_500);
    await expect(running).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await expect(run(closing, looking("s"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await proxy.accept();
  });
});

describe.each([
  { name: "PostgreSQL", bin: undefined },
  ...(DEBIAN_BIN === undefined ? [] : [{ name: "Debian's PostgreSQL", bin: DEBIAN_BIN }]),
])("a $name that is stopped", ({ bin }) => {
  test("and started again is used again; a standby in its place is neither written nor read", async () => {
    const server = await PostgresServer.start({ bin });
    onTestFinished(() => server.stop());
    const proxy = await TcpProxy.start(server.port);
    onTestFinished(() => proxy.refuse());
    const url = server.url("own", proxy.port);
    const backend = await openBackendAt(url, QUICK);
    const stopHints = backend.hints(() => {});
    await run(backend, setting("s", "k", "1"));
    const cursor = await backend.feedEnd();

    await server.halt();
    await expect(run(backend, setting("s", "k", "2"))).rejects.toMatchObject({
      reason: expect.stringMatching(/^(STORE_UNAVAILABLE|OUTCOME_UNKNOWN)$/),
    });
    await expect(run(backend, looking("s"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });

    const standby = await server.standby();
    onTestFinished(() => standby.stop());
    proxy.target = standby.port;
    const refused = { reason: "STORE_UNAVAILABLE", message: expect.stringContaining("standby") };
    await expect(run(backend, looking("s"))).rejects.toMatchObject(refused);
    await expect(run(backend, setting("s", "k", "2"))).rejects.toMatchObject(refused);
    const range = { session: sessionOf("s"), from: 1, to: 9, reverse: false, count: 9, bytes: 1e6 };
    await expect(backend.events(range)).rejects.toMatchObject(refused);
    await expect(
      backend.sessions({ namespace: "n", filter: {}, order: "ID", count: 9 }),
    ).rejects.toMatchObject(refused);
    await expect(backend.feed(cursor, 9)).rejects.toMatchObject(refused);
    await expect(backend.feedEnd()).rejects.toMatchObject(refused);
    await expect(backend.sessionKeys(undefined, 9)).rejects.toMatchObject(refused);
    await expect(backend.dump(sessionOf("s"))[Symbol.asyncIterator]().next()).rejects.toMatchObject(refused);
    await expect(openBackendAt(url, QUICK)).rejects.toMatchObject(refused);

    await server.resume();
    proxy.target = server.port;
    // No connection to the standby is used again.
    expect(await stateOf(backend, "s")).toEqual({ k: "1" });
    expect(await run(backend, setting("s", "k", "3"))).toMatchObject({ revision: 2 });
    expect((await backend.feed(cursor, 9)).changes.map(({ revision }) => revision)).toEqual([2]);
    stopHints();
  });
});

test("a server that ends every connection at once ends no program", async () => {
  const server = await sharedPostgres();
  const url = server.fresh();
  const backend = await openBackendAt(url);
  const stopHints = backend.hints(() => {});
  await Promise.all(Array.from({ length: 20 }, (_, i) => run(backend, setting(`s${i}`, "k", "x"))));
  // Waits for each to be gone: one that is still going would take a write with it, which is then in doubt.
  await server.query(
    "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE $1",
    [`%${schemaOf(url)}%`],
  );
  await until(
    async () => (await stateOf(backend, "s1").catch(() => ({}) as Record<string, string>))["k"] === "x",
  );
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, i) => run(backend, setting(`s${i}`, "k", "y"))),
  );
  expect(results.every(({ kind }) => kind === "done")).toBe(true);
  stopHints();
});

/** Locks a session's head, making it first, in a transaction of somebody else's. What is returned lets go of it. */
async function holdSession(
  server: SharedPostgres,
  url: string,
  sessionId: string,
): Promise<() => Promise<void>> {
  const schema = schemaOf(url);
  const client = await server.connect();
  await client.query("BEGIN");
  await client.query(
    `INSERT INTO ${schema}.head (namespace, session_id, live, revision, born, oldest, expired_revision, metadata_revision,
       update_time, active_time, entries, bytes, facets)
     VALUES ('n', $1, false, 0, 0, 1, 0, 0, 0, 0, 0, 0, '{}') ON CONFLICT DO NOTHING`,
    [Buffer.from(sessionId)],
  );
  await client.query(`SELECT FROM ${schema}.head WHERE session_id = $1 FOR UPDATE`, [Buffer.from(sessionId)]);
  return async () => {
    await client.query("ROLLBACK");
    await client.end();
  };
}

/** Whether a statement on a schema waits for a lock. */
async function waitsForLock(server: SharedPostgres, url: string): Promise<boolean> {
  const found = await server.query(
    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
    [`%${schemaOf(url)}%`],
  );
  return found.length > 0;
}

function schemaOf(url: string): string {
  return new URL(url).searchParams.get("schema") ?? "";
}
