/** Listings of many sessions: each way to a page gives what looking at all of them would, and none looks at all of them. */
import type { Client } from "pg";
import { beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_LIMITS, type EncodedForm, type SessionFilter } from "../../src/store.ts";
import type { Backend, ListedSession, SessionQuery } from "../../src/stores/backend.ts";
import { durableStore } from "../../src/stores/durable.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { listing } from "../../src/stores/postgres-listing.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import { openBackendAt, POSTGRES, run, sessionOf, setting, until } from "../support/postgres-backend.ts";

/** Enough that some filters match more than are sorted for a page. */
const MANY = 24_000;
const FEW = 1_500;
const START = 1_700_000_000_000;
const PAGE = 100;

type Filter = SessionFilter<EncodedForm>;

/** Filters, each with more matches than a page, and with fewer. */
const FILTERS: readonly (readonly [string, Filter])[] = [
  ["nothing", {}],
  ["a common workflow", { workflowId: "flow1" }],
  ["a workflow of nobody", { workflowId: "none" }],
  ["a user", { userId: "user7" }],
  ["a common label", { labels: { tier: "t1" } }],
  ["a rare label", { labels: { rare: "r5" } }],
  ["a long prefix", { sessionIdPrefix: "s-abc" }],
  ["a short prefix", { sessionIdPrefix: "s-" }],
  ["lately", { updatedAfter: START + MANY * 10 - 3_000 }],
  ["not long ago", { updatedAfter: START + MANY * 5 }],
  ["in between", { updatedAfter: START + 1_000, updatedBefore: START + 4_000 }],
  ["long ago", { updatedBefore: START + MANY * 9 }],
  ["a workflow and a label", { workflowId: "flow1", labels: { tier: "t1" } }],
  ["a workflow lately", { workflowId: "flow1", updatedAfter: START + MANY * 10 - 9_000 }],
  ["a workflow and a prefix", { workflowId: "flow2", sessionIdPrefix: "s-a" }],
  [
    "everything",
    {
      ...{ workflowId: "flow1", userId: "user7", labels: { tier: "t1" } },
      sessionIdPrefix: "s-",
      updatedAfter: START + 5,
    },
  ],
];
const ORDERS = ["ID", "UPDATE_TIME_DESC"] as const;
const QUERIES = ORDERS.flatMap((order) => FILTERS.map(([name, filter]) => [name, order, filter] as const));

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;
  let few: Filled;
  let many: Filled;
  let client: Client;

  beforeAll(async () => {
    server = await share();
    [few, many] = [await fill(server, FEW), await fill(server, MANY)];
    client = await server.connect();
    return async () => {
      await client.end();
      await Promise.all([few.backend.close(), many.backend.close()]);
    };
  }, 120_000);

  test.each(QUERIES)("%s by %s: page by page the same as all that match", async (_, order, filter) => {
    const expected = await matching(server, many.schema, filter, order);
    const found: string[] = [];
    let after: SessionQuery["after"];
    for (;;) {
      // Far pages are like near ones: a few from the beginning, then one from the middle on.
      const page: ListedSession[] = await many.backend.sessions({
        namespace: "n",
        filter,
        order,
        after,
        count: PAGE,
      });
      found.push(...page.map(({ sessionId }) => sessionId));
      const last = page.at(-1);
      if (page.length < PAGE || last === undefined || found.length >= 5 * PAGE) break;
      after = { sessionId: last.sessionId, updateTime: last.head.updateTime };
    }
    expect(found).toEqual(expected.slice(0, found.length).map(({ id }) => id));
    if (found.length < 5 * PAGE) expect(found).toHaveLength(expected.length);
    const middle = expected[Math.floor(expected.length / 2)];
    if (middle === undefined) return;
    const place = { sessionId: middle.id, updateTime: middle.time };
    const rest = await many.backend.sessions({ namespace: "n", filter, order, after: place, count: PAGE });
    const next = Math.floor(expected.length / 2) + 1;
    expect(rest.map(({ sessionId }) => sessionId)).toEqual(
      expected.slice(next, next + PAGE).map(({ id }) => id),
    );
  });

  test.each(QUERIES)(
    "%s by %s: a page reads as much of many sessions as of few",
    async (name, order, filter) => {
      const after = { sessionId: "s-8", updateTime: START + 7_500 };
      for (const place of [undefined, after]) {
        const query = { namespace: "n", filter, order, after: place, count: PAGE };
        const [ofFew, ofMany] = [await blocksOf(client, few, query), await blocksOf(client, many, query)];
        // A filter that is not the order's is followed up to a bound, which the few don't reach.
        const bound =
          Object.keys(filter).length > 1 || /prefix|ago|lately|between/.test(name) ? 40_000 : 2_000;
        expect(Math.max(ofFew, ofMany)).toBeLessThan(bound);
        if (bound === 2_000) expect(ofMany).toBeLessThan(3 * ofFew + 600);
      }
    },
  );

  test("what is due is done before it is listed", async () => {
    const clock = { now: 1_000 };
    const backend = await openBackendAt(server.fresh(), { now: () => clock.now });
    const metadata = {
      ...{ createTime: undefined, workflowId: "w", userId: undefined, labels: {}, forkedFrom: undefined },
      ...{ expireTime: undefined, idleTtlMs: undefined },
    };
    for (let i = 0; i < 6; i++) {
      const plan = { ...setting(`s${i}`, "k", "1"), metadata: { ...metadata, ttlMs: i < 2 ? 50 : 9_000 } };
      // In two of those that live on a key expires.
      await run(
        backend,
        i > 3 ? { ...plan, writes: [{ key: "k", value: new Uint8Array(1), ttlMs: 60 }] } : plan,
      );
    }
    clock.now += 100;
    for (const order of ORDERS) {
      const listed = await backend.sessions({ namespace: "n", filter: { workflowId: "w" }, order, count: 9 });
      expect(listed.map(({ sessionId, head }) => [sessionId, head.revision, head.entries]).sort()).toEqual([
        ["s2", 1, 1],
        ["s3", 1, 1],
        ["s4", 2, 0],
        ["s5", 2, 0],
      ]);
    }
    const { events } = await backend.events({
      session: sessionOf("s0"),
      from: 1,
      to: 9,
      reverse: false,
      count: 9,
      bytes: 1e6,
    });
    expect(events.map(({ kind, ended }) => [kind, ended])).toEqual([
      ["COMMITTED", false],
      ["EXPIRED", true],
    ]);
  });

  test("those that live on are listed to the end behind many that have expired", async () => {
    const clock = { now: 1_000 };
    const backend = await openBackendAt(server.fresh(), { now: () => clock.now });
    const metadata = {
      ...{ createTime: undefined, workflowId: undefined, userId: undefined, labels: {} },
      ...{ forkedFrom: undefined, expireTime: undefined, idleTtlMs: undefined, ttlMs: 1 },
    };
    const due = Array.from({ length: 500 }, (_, i) => setting(`a${i}`, "k", "1", { metadata }));
    const alive = ["z0", "z1", "z2"];
    await backend.run([...due, ...alive.map((sessionId) => setting(sessionId, "k", "1"))]);
    clock.now += 100;
    // Nobody sweeps.
    const store = durableStore(backend, { sweepIntervalMs: 3_600_000 });
    const found: string[] = [];
    let pageToken = "";
    do {
      const page = await store.listSessions({ pageSize: 20, pageToken }, { namespace: "n" });
      found.push(...page.sessions.map(({ sessionId }) => sessionId));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(found).toEqual(alive);
  });

  test("a listing that finds more to expire than there is time for fails, and what it did stays done", async () => {
    const clock = { now: 1_000 };
    const url = server.fresh();
    const writer = await openBackendAt(url, { now: () => clock.now });
    const metadata = {
      ...{ createTime: undefined, workflowId: undefined, userId: undefined, labels: {} },
      ...{ forkedFrom: undefined, expireTime: undefined, idleTtlMs: undefined, ttlMs: 1 },
    };
    for (let i = 0; i < 1_500; i += 100) {
      const ids = Array.from({ length: 100 }, (_, at) => `a${i + at}`);
      await writer.run(ids.map((sessionId) => setting(sessionId, "k", "1", { metadata })));
    }
    clock.now += 100;
    const hasty = await openBackendAt(url, { now: () => clock.now, timeoutMs: 300 });
    const list = () => hasty.sessions({ namespace: "n", filter: {}, order: "ID", count: 1 });
    await expect(list()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await until(async () => {
      const found = await list().catch((error) => void expect(error.reason).toBe("STORE_UNAVAILABLE"));
      expect(found ?? []).toEqual([]);
      return found !== undefined;
    }, 60_000);
  }, 90_000);
});

interface Filled {
  readonly backend: Backend;
  readonly schema: string;
}

/** A store with so many sessions, put in by the rows that they are; nobody has analysed the tables. */
async function fill(server: SharedPostgres, count: number): Promise<Filled> {
  const url = server.fresh();
  const backend = await openPostgres(url, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION });
  const schema = new URL(url).searchParams.get("schema") ?? "";
  const text = (sql: string): string => `convert_to(${sql}, 'UTF8')`;
  const facet = (kind: number, name: string, value: string): string =>
    `${schema}.facet_of(${kind}, 'n', '${name}', ${text(value)})`;
  await server.query(`
    INSERT INTO ${schema}.head (namespace, session_id, live, revision, born, oldest, expired_revision, metadata_revision, update_time,
      active_time, entries, bytes, create_time, workflow_id, user_id, label_names, label_values, facets)
    SELECT 'n', ${text("'s-' || md5(i::text)")}, i % 50 <> 0, 1, 0, 1, 0, 1, t, t, 1, 100, t, ${text("'flow' || i % 4")},
      ${text("'user' || i % 150")}, ARRAY['tier'::bytea, 'rare'], ARRAY[${text("'t' || i % 3")}, ${text("'r' || i % 1000")}],
      ARRAY[${facet(0, "", "''")}, ${facet(1, "", "'flow' || i % 4")}, ${facet(2, "", "'user' || i % 150")},
        ${facet(3, "tier", "'t' || i % 3")}, ${facet(3, "rare", "'r' || i % 1000")}]
    -- Ten of each time, scattered over the ids.
    FROM generate_series(1, ${count}) i, LATERAL (SELECT ${START} + i / 10 * 100 AS t) x`);
  await server.query(`INSERT INTO ${schema}.activity (facet, session, update_time, session_id)
    SELECT f, id, update_time, session_id FROM ${schema}.head, unnest(facets) f WHERE live`);
  await server.query(`INSERT INTO ${schema}.facet (facet, session, session_id)
    SELECT f, id, session_id FROM ${schema}.head, unnest(facets) f WHERE live AND f <> facets[1]`);
  return { backend, schema };
}

/** All that match, found by looking at each. */
async function matching(
  server: SharedPostgres,
  schema: string,
  {
    workflowId,
    userId,
    labels,
    sessionIdPrefix = "",
    updatedAfter = 0,
    updatedBefore = Number.MAX_SAFE_INTEGER,
  }: Filter,
  order: SessionQuery["order"],
): Promise<{ readonly id: string; readonly time: number }[]> {
  const rows = await server.query<Record<"id" | "time" | "flow" | "user" | "tier" | "rare", string>>(
    `SELECT convert_from(session_id, 'UTF8') AS id, update_time AS time, convert_from(workflow_id, 'UTF8') AS flow,
       convert_from(user_id, 'UTF8') AS user, convert_from(label_values[1], 'UTF8') AS tier, convert_from(label_values[2], 'UTF8') AS rare
     FROM ${schema}.head WHERE live`,
  );
  const { tier, rare } = labels ?? {};
  return rows
    .filter((row) => workflowId === undefined || row.flow === workflowId)
    .filter((row) => userId === undefined || row.user === userId)
    .filter((row) => (tier === undefined || row.tier === tier) && (rare === undefined || row.rare === rare))
    .map(({ id, time }) => ({ id, time: Number(time) }))
    .filter(({ id, time }) => id.startsWith(sessionIdPrefix) && time > updatedAfter && time < updatedBefore)
    .sort((a, b) => (order === "ID" ? 0 : b.time - a.time) || (a.id < b.id ? -1 : 1));
}

/** How many blocks of the database a page reads, once its functions have their plans. */
async function blocksOf(client: Client, { schema }: Filled, query: SessionQuery): Promise<number> {
  const { sql, parameters } = listing(schema, query, Buffer.alloc(0));
  const values = ["{256,604800000,86400000,10000,67108864}", ...parameters.slice(1)];
  for (let i = 0; i < 2; i++) await client.query(sql, values);
  const { rows } = await client.query(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${sql}`, values);
  const { Plan } = (rows as [{ "QUERY PLAN": [{ Plan: Record<string, number> }] }])[0]["QUERY PLAN"][0];
  return (Plan["Shared Hit Blocks"] ?? 0) + (Plan["Shared Read Blocks"] ?? 0);
}
