/** What is special to the PostgreSQL backend; what all stores must do, the suites of all stores try on it. */
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { Backend, Look, PlanStep } from "../../src/stores/backend.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { bigintArray } from "../../src/stores/postgres-codec.ts";
import { Statements } from "../../src/stores/postgres-steps.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import {
  bytesOf,
  dumped,
  ending,
  looking,
  openBackendAt,
  POSTGRES,
  run,
  sessionOf,
  setting,
  stateOf,
} from "../support/postgres-backend.ts";
import { PASSWORD } from "../support/postgres-server.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

const METADATA = {
  createTime: undefined,
  workflowId: "flow\0a",
  userId: "user",
  labels: { __proto__x: "1", "né\0": "" },
  forkedFrom: { sessionId: "from", revision: 3 },
  expireTime: undefined,
  idleTtlMs: 3_600_000,
};

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  describe("a plan", () => {
    test("is one round trip, and so are many steps together", async () => {
      const proxy = await TcpProxy.start(server.port);
      const backend = await openBackendAt(server.fresh(proxy.port));
      await run(backend, setting("s", "k", "1"));
      // Once in a while a connection is just asking who listens, and another is opened: not three times in a row.
      const roundTrips: number[] = [];
      for (let i = 0; i < 3; i++)
        roundTrips.push(await countReplies(proxy, () => run(backend, setting("s", "k", "2"))));
      expect(Math.min(...roundTrips)).toBe(1);
      // A line that is slow to and fro: forty steps one after the other would take 20 s.
      proxy.delayMs = 250;
      const began = performance.now();
      const steps = Array.from({ length: 20 }, (_, i) => [
        setting("s", `k${i}`, "x"),
        looking(`t${i}`),
      ]).flat();
      const results = await backend.run(steps);
      expect(results.every(({ kind }) => kind === "done" || kind === "look")).toBe(true);
      expect(performance.now() - began).toBeLessThan(5_000);
      await proxy.refuse();
    });

    test("sees the steps before it in the same run, and a look none that comes after", async () => {
      const clock = { now: 1_000 };
      const backend = await openBackendAt(server.fresh(), { now: () => clock.now });
      await run(backend, {
        ...setting("s", "old", "1"),
        writes: [{ key: "old", value: bytesOf("1"), ttlMs: 10 }],
      });
      clock.now = 2_000;
      const [before, made, after] = await backend.run([looking("s"), setting("s", "new", "2"), looking("s")]);
      // The key's expiry is revision 2, done by the first look although it is sent together with the plan.
      expect(before).toMatchObject({ kind: "look", head: { revision: 2, entries: 0 }, entries: [] });
      expect(made).toMatchObject({ kind: "done", revision: 3 });
      expect(after).toMatchObject({ head: { revision: 3 }, entries: [{ key: "new" }] });
    });

    test("that fails leaves no head behind", async () => {
      const backend = await openBackendAt(server.fresh());
      expect(await run(backend, setting("s", "k", "1", { ifRevision: 4 }))).toEqual({
        kind: "failed",
        failedChecks: [{ key: "", ifRevision: 4, actualRevision: 0 }],
      });
      expect(await run(backend, setting("s", "k", "1", { guards: { revision: 2 } }))).toEqual({
        kind: "stale",
      });
      expect((await run(backend, looking("s"))).head).toBeUndefined();
      expect(await backend.sessionKeys(undefined, 10)).toEqual([]);
    });

    test("that writes nothing is not waited for until it is synced, and one that writes is", async () => {
      const backend = await openBackendAt(server.fresh());
      await run(backend, setting("s", "k", "1"));
      const statements = new Statements(await schemaOf(backend, server));
      const client = await server.connect();
      onTestFinished(() => client.end());
      await client.query("SET synchronous_commit = on");
      const modeAfter = async (plan: PlanStep): Promise<unknown> => {
        const { sql, parameters } = statements.plan(plan, bigintArray([256, 1e9, 1e9, 1e4, 1e8]));
        await client.query("BEGIN");
        await client.query(sql, [...parameters]);
        const { rows } = await client.query("SHOW synchronous_commit");
        await client.query("ROLLBACK");
        return rows[0];
      };
      expect(await modeAfter(setting("s", "k", "2"))).toEqual({ synchronous_commit: "on" });
      expect(await modeAfter(setting("s", "k", "2", { ifRevision: 9 }))).toEqual({
        synchronous_commit: "off",
      });
      expect(await modeAfter({ ...setting("s", "", ""), writes: [] })).toEqual({ synchronous_commit: "off" });
      expect(await modeAfter(ending("s"))).toEqual({ synchronous_commit: "on" });
    });

    test("adds about as many bytes to the log whether its session has 10 keys or 10,000", async () => {
      const backend = await openBackendAt(server.fresh());
      const statements = new Statements(await schemaOf(backend, server));
      const client = await server.connect();
      onTestFinished(() => client.end());
      const cost = async (sessionId: string, keys: number): Promise<number> => {
        const writes = Array.from({ length: keys }, (_, i) => ({
          key: `key/${i}`,
          value: bytesOf("x".repeat(100)),
        }));
        await run(backend, { ...setting(sessionId, "", ""), writes });
        const costs: number[] = [];
        for (let i = 0; i < 41; i++) {
          const plan = setting(sessionId, `key/${(i * 7_919) % keys}`, "y".repeat(100));
          const { sql, parameters } = statements.plan(plan, bigintArray([256, 1e9, 1e9, 1e5, 1e8]));
          // What this statement adds, and not what others do at the same time.
          const { rows } = await client.query(`EXPLAIN (ANALYZE, WAL, FORMAT JSON) ${sql}`, [...parameters]);
          costs.push((rows as Explained[])[0]?.["QUERY PLAN"][0].Plan["WAL Bytes"] ?? Number.NaN);
        }
        return costs.sort((a, b) => a - b)[20] as number;
      };
      const small = await cost("small", 10);
      const large = await cost("large", 10_000);
      expect(large).toBeGreaterThan(200);
      expect(large).toBeLessThan(3_000);
      expect(large).toBeLessThan(2 * small);
    });

    test("copies no long value that it replaces", async () => {
      const backend = await openBackendAt(server.fresh());
      const long = "x".repeat(500_000);
      for (const value of ["a", "b", "c"]) await run(backend, setting("s", "k", value + long));
      const schema = await schemaOf(backend, server);
      const large = await server.query(`SELECT id FROM ${schema}.large`);
      expect(large).toHaveLength(3);
      const { entries } = await run(backend, looking("s", { atRevision: 2 }));
      expect(new TextDecoder().decode(entries[0]?.value?.slice(0, 2))).toBe("bx");
    });

    test("of a hot key touches no index of the head", async () => {
      const backend = await openBackendAt(server.fresh());
      const metadata = { ...METADATA, ttlMs: undefined };
      await run(backend, { ...setting("s", "k", "0"), metadata });
      for (let i = 0; i < 200; i++) await run(backend, setting("s", "k", String(i)));
      const schema = await schemaOf(backend, server);
      const [size] = await server.query<{ head: string; entry: string }>(
        `SELECT pg_relation_size('${schema}.head') AS head, pg_relation_size('${schema}.entry') AS entry`,
      );
      // Each update could put its new version on the one page that the table has, as no index had to know of it.
      expect(size).toEqual({ head: "8192", entry: "8192" });
    });
  });

  describe("history", () => {
    test("keeps the values of the last revisions, drops what only older ones had, and never tells of more", async () => {
      const backend = await openBackendAt(server.fresh(), { history: 4 });
      for (let i = 1; i <= 40; i++)
        await run(backend, setting("s", i % 2 === 0 ? "even" : "odd", `${i}-${"x".repeat(3_000)}`));
      const seen = await run(backend, looking("s", { atRevision: 37 }));
      expect(seen.head).toMatchObject({ revision: 40, oldest: 37, entries: 2 });
      expect(seen.entries.map(({ key, revision }) => [key, revision])).toEqual([
        ["even", 36],
        ["odd", 37],
      ]);
      expect((await run(backend, looking("s", { atRevision: 36 }))).entries).toEqual([]);
      const { events } = await backend.events({
        session: sessionOf("s"),
        from: 1,
        to: 99,
        reverse: false,
        count: 99,
        bytes: 1e9,
      });
      expect(events.map(({ revision }) => revision)).toEqual([37, 38, 39, 40]);
      const schema = await schemaOf(backend, server);
      const [rows] = await server.query<Record<string, string>>(
        `SELECT (SELECT count(*) FROM ${schema}.past) AS past, (SELECT count(*) FROM ${schema}.large) AS large,
           (SELECT count(*) FROM ${schema}.event) AS events`,
      );
      // Dropped in pieces: never twice as much as is kept, and a few more.
      expect(Number(rows?.["events"])).toBeLessThan(16);
      expect(Number(rows?.["past"])).toBeLessThan(16);
      expect(Number(rows?.["large"])).toBe(Number(rows?.["past"]) + 2);
    });

    test("of metadata is kept as it stood", async () => {
      const backend = await openBackendAt(server.fresh());
      await run(backend, setting("s", "k", "1"));
      await run(backend, { ...setting("s", "k", "2"), metadata: { ...METADATA, ttlMs: 60_000 } });
      await run(backend, setting("s", "k", "3"));
      await run(backend, ending("s"));
      await run(backend, setting("s", "k", "5"));
      const at = async (atRevision: number) => (await run(backend, looking("s", { atRevision }))).moment;
      expect((await at(1))?.metadata).toMatchObject({ workflowId: undefined, labels: {} });
      expect((await at(3))?.metadata).toMatchObject({
        ...METADATA,
        createTime: expect.any(Number),
        expireTime: expect.any(Number),
      });
      expect((await at(4))?.metadata).toBeUndefined();
      expect((await at(5))?.metadata).toMatchObject({ workflowId: undefined, labels: {} });
    });
  });

  describe("what nothing is left of", () => {
    test("is forgotten, and no revision of it is given again", async () => {
      const clock = { now: 1_000_000 };
      const options = { now: () => clock.now, historyAgeMs: 1_000, requestRetentionMs: 10_000 };
      const backend = await openBackendAt(server.fresh(), options);
      for (let i = 0; i < 5; i++) await run(backend, setting("s", "k", "x"));
      const request = { id: "r", fingerprint: "f".repeat(24), kept: undefined };
      await run(backend, { ...ending("s"), request });
      clock.now += 2_000;
      await backend.sweep();
      // The answer is still remembered: the head stays for it.
      expect((await run(backend, looking("s"))).head).toMatchObject({
        revision: 6,
        oldest: 7,
        metadata: undefined,
      });
      clock.now += 10_000;
      expect((await backend.sweep()).nextDue).toBeUndefined();
      expect(await run(backend, looking("s"))).toMatchObject({ head: undefined, floor: 6 });
      expect(await backend.sessionKeys(undefined, 10)).toEqual([]);
      expect(await run(backend, setting("s", "k", "x"))).toMatchObject({ revision: 7 });
      expect((await run(backend, looking("s"))).head).toMatchObject({ born: 6, oldest: 7 });
    });

    test("is forgotten by many sweepers at once while others make it again, and no revision is given twice", async () => {
      const url = server.fresh();
      const clock = { now: 1_000_000 };
      const options = { now: () => clock.now, historyAgeMs: 1, requestRetentionMs: 1, history: 2 };
      const [a, b] = await Promise.all([openBackendAt(url, options), openBackendAt(url, options)]);
      const given = new Map<string, number[]>();
      let forgotten = 0;
      const writer = async (backend: Backend, sessionId: string): Promise<void> => {
        for (let i = 0; i < 40; i++) {
          const made = await run(backend, setting(sessionId, "k", "x"));
          if (made.kind === "done") given.set(sessionId, [...(given.get(sessionId) ?? []), made.revision]);
          await run(backend, ending(sessionId));
          clock.now += 5;
        }
      };
      let writing = true;
      const sweeper = async (backend: Backend): Promise<void> => {
        while (writing) {
          await backend.sweep();
          if ((await run(backend, looking("s0"))).head === undefined) forgotten++;
        }
      };
      const sweepers = [sweeper(a), sweeper(b), sweeper(a)];
      await Promise.all([0, 1, 2].flatMap((i) => [writer(a, `s${i}`), writer(b, `s${i}`)]));
      writing = false;
      await Promise.all(sweepers);
      expect(forgotten).toBeGreaterThan(0);
      for (const revisions of given.values()) expect(new Set(revisions).size).toBe(revisions.length);
    });
  });

  describe("two stores on one database", () => {
    test("see each other's writes and replay each other's request ids", async () => {
      const url = server.fresh();
      const [a, b] = await Promise.all([openBackendAt(url), openBackendAt(url)]);
      const request = { id: "r\0é", fingerprint: "f".repeat(24), kept: bytesOf("kept\0") };
      const done = await run(a, setting("s", "k", "1", { request }));
      expect(await stateOf(b, "s")).toEqual({ k: "1" });
      expect(await run(b, setting("s", "k", "2", { request }))).toEqual({
        ...done,
        kind: "replayed",
        kept: bytesOf("kept\0"),
      });
      const other = { ...request, fingerprint: "g".repeat(24) };
      expect(await run(b, setting("s", "k", "2", { request: other }))).toEqual({ kind: "reused" });
      expect((await run(b, looking("s", { requestId: request.id }))).remembered).toEqual({
        ...{ revision: 1, updateTime: expect.any(Number), wrote: true },
        ...{ fingerprint: request.fingerprint, kept: request.kept },
      });
    });

    test("that write one key under a check at once: one gets it each time", async () => {
      const url = server.fresh();
      const [a, b] = await Promise.all([openBackendAt(url), openBackendAt(url)]);
      for (let revision = 0; revision < 30; revision++) {
        const plan = setting("s", "k", "x", { checks: [{ key: "k", ifRevision: revision }] });
        const results = await Promise.all([a, b, a, b].map((backend) => run(backend, plan)));
        expect(results.map(({ kind }) => kind).sort()).toEqual(["done", "failed", "failed", "failed"]);
      }
    });
  });

  test("the server's clock is the time, whatever this machine's says", async () => {
    const backend = await openBackendAt(server.fresh());
    const { now } = await run(backend, looking("s"));
    const [row] = await server.query<{ now: string }>(
      "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now",
    );
    expect(Math.abs(Number(row?.now) - now)).toBeLessThan(5_000);
  });

  test("a session moves to another schema and back as it is, with its history and its answers", async () => {
    const from = await openBackendAt(server.fresh(), { history: 8 });
    const to = await openBackendAt(server.fresh(), { history: 8 });
    const request = { id: "r", fingerprint: "f".repeat(24), kept: bytesOf("kept") };
    await run(from, setting("s", "gone\0", "x"));
    await run(from, {
      ...setting("s", "k", "long".repeat(2_000)),
      metadata: { ...METADATA, ttlMs: 900_000 },
      request,
    });
    await run(from, {
      ...setting("s", "", ""),
      writes: [
        { key: "gone\0", value: undefined },
        { key: "k", value: bytesOf("2"), ttlMs: 60_000 },
      ],
    });
    await run(from, { ...setting("s", "", ""), writes: [{ key: "never", value: undefined, always: true }] });
    await run(from, ending("s"));
    await run(from, setting("s", "k", "again"));
    const records = await dumped(from, sessionOf("s"));
    expect(records.filter(({ kind }) => kind === "event")).toHaveLength(6);
    // What was there before goes.
    await run(to, setting("s", "other", "x".repeat(5_000)));
    await to.load(sessionOf("s"), from.dump(sessionOf("s")));
    expect(await dumped(to, sessionOf("s"))).toEqual(records);
    for (let atRevision = 1; atRevision <= 6; atRevision++) {
      const look = async (backend: Backend): Promise<Look> => ({
        ...(await run(backend, looking("s", { atRevision }))),
        now: 0,
      });
      expect(await look(to)).toEqual(await look(from));
    }
    const range = { session: sessionOf("s"), from: 1, to: 99, reverse: true, count: 99, bytes: 1e9 };
    expect(await to.events(range)).toEqual(await from.events(range));
    expect(await run(to, setting("s", "k", "2", { request }))).toMatchObject({
      kind: "replayed",
      revision: 2,
    });
    expect(
      (await to.sessions({ namespace: "n", filter: {}, order: "UPDATE_TIME_DESC", count: 9 })).length,
    ).toBe(1);
    expect(await run(to, setting("s", "k", "next"))).toMatchObject({ revision: 7 });
    const schema = await schemaOf(to, server);
    expect(await server.query(`SELECT id FROM ${schema}.large`)).toHaveLength(1);
  });

  test("a load that breaks leaves what was there", async () => {
    const backend = await openBackendAt(server.fresh());
    await run(backend, setting("s", "k", "1"));
    const records = await dumped(backend, sessionOf("s"));
    async function* broken() {
      yield* records;
      throw new WorkflowStateError("STORE_UNAVAILABLE", "The source is gone: try again.");
    }
    await expect(backend.load(sessionOf("t"), broken())).rejects.toThrow("The source is gone");
    await expect(backend.load(sessionOf("s"), broken())).rejects.toThrow("The source is gone");
    expect(await dumped(backend, sessionOf("s"))).toEqual(records);
    expect(await backend.sessionKeys(undefined, 10)).toEqual([sessionOf("s")]);
    // Nothing is left of it under a number that nobody knows either.
    const schema = await schemaOf(backend, server);
    const [row] = await server.query<{ count: string }>(`SELECT count(*) FROM ${schema}.entry`);
    expect(row?.count).toBe("1");
  });

  test("a dump is of one moment, whatever is written while it is read", async () => {
    const backend = await openBackendAt(server.fresh());
    const writes = Array.from({ length: 400 }, (_, i) => ({
      key: `k${i}`,
      value: new Uint8Array(8_000).fill(1),
    }));
    await run(backend, { ...setting("s", "", ""), writes });
    let versions = 0;
    for await (const record of backend.dump(sessionOf("s"))) {
      if (record.kind === "version" && versions++ % 50 === 0)
        await run(backend, setting("s", `k${399 - versions}`, "new"));
      if (record.kind === "version") expect(record).toMatchObject({ revision: 1, ended: undefined });
      if (record.kind === "event") expect(record.revision).toBe(1);
    }
    expect(versions).toBe(400);
  });

  test("values get new bytes, in the past too, but for those that were replaced meanwhile", async () => {
    const backend = await openBackendAt(server.fresh());
    const long = "x".repeat(10_000);
    for (const value of ["1", long, "3"]) await run(backend, setting("s", "k", value));
    await run(backend, setting("s", "raced", "old"));
    await run(backend, setting("s", "kept", "as it is"));
    const before = await run(backend, looking("s"));
    let raced: Promise<unknown> | undefined;
    const seen: string[] = [];
    const count = await backend.rewriteValues(sessionOf("s"), (key, value) => {
      seen.push(key);
      raced ??= run(backend, setting("s", "raced", "new"));
      if (key === "kept") return undefined;
      return value.length > 100
        ? bytesOf("was long")
        : bytesOf(`${"y".repeat(5_000)}${new TextDecoder().decode(value)}`);
    });
    await raced;
    // The new version of the key may come up, too.
    expect(seen.sort().slice(0, 5)).toEqual(["k", "k", "k", "kept", "raced"]);
    expect(count).toBeGreaterThanOrEqual(3);
    const state = await stateOf(backend, "s");
    expect(state).toMatchObject({ k: `${"y".repeat(5_000)}3`, kept: "as it is" });
    expect(state["raced"]).toMatch(/^y*new$/);
    const past = await run(backend, looking("s", { atRevision: 2, entries: { keys: ["k"] } }));
    expect(new TextDecoder().decode(past.entries[0]?.value)).toBe("was long");
    const after = await run(backend, looking("s"));
    const counted = after.entries.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
    expect(after.head).toMatchObject({ revision: (before.head?.revision ?? 0) + 1, bytes: counted });
  });

  test("what is not about the session is in no error, the password least of all", async () => {
    const bad = server.fresh().replace("tester:", "nobody:");
    const errors = await Promise.all(
      [
        bad,
        bad.replace("/postgres?", "/nowhere?"),
        server.fresh(1),
        "postgres://u:p%zz@h/d",
        "postgres://[/",
      ].map((url) =>
        openPostgres(url, {
          limits: DEFAULT_LIMITS,
          history: 1,
          historyAgeMs: 1,
          requestRetentionMs: 1,
        }).then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(WorkflowStateError);
      const said = `${String(error)} ${String((error as Error).cause)} ${JSON.stringify(error)}`;
      expect(said).not.toContain(PASSWORD);
      expect(said).not.toContain(encodeURIComponent(PASSWORD));
      expect(said).not.toContain("127.0.0.1");
    }
  });
});

/** What EXPLAIN says. */
interface Explained {
  readonly "QUERY PLAN": readonly [{ readonly Plan: Readonly<Record<string, number>> }];
}

/** How often a reply came through a proxy to a connection that waited for it. */
async function countReplies(proxy: TcpProxy, during: () => Promise<unknown>): Promise<number> {
  const DELAY_MS = 40;
  proxy.delayMs = DELAY_MS;
  const began = performance.now();
  await during();
  const tookMs = performance.now() - began;
  proxy.delayMs = 0;
  return Math.round(tookMs / (2 * DELAY_MS));
}

/** The schema that a backend made last. */
async function schemaOf(backend: Backend, server: SharedPostgres): Promise<string> {
  await backend.sessionKeys(undefined, 1);
  const [row] = await server.query<{ schema: string }>(
    "SELECT nspname AS schema FROM pg_namespace WHERE nspname LIKE $1 ORDER BY oid DESC LIMIT 1",
    [`t${process.pid}\\_%`],
  );
  return row?.schema ?? "";
}
