import { expect, test } from "vitest";
import type { EncodedForm, SessionFilter } from "../../src/store.ts";
import type { Backend, MetadataWrite, PlanStep, SessionQuery } from "../../src/stores/backend.ts";
import { compareUtf8 } from "../../src/stores/order.ts";
import { openDatabase } from "../../src/stores/sqlite-database.ts";
import { type Indexed, walkSql } from "../../src/stores/sqlite-listing.ts";
import { sessionKeysSql } from "../../src/stores/sqlite-moving.ts";
import { Random, seedOfRun } from "../support/random.ts";
import { apply, end, inconsistencies, newPath, open, openFile, set, value } from "../support/sqlite-file.ts";

type Filter = SessionFilter<EncodedForm>;
type Order = SessionQuery["order"];

const ORDERS: readonly Order[] = ["ID", "UPDATE_TIME_DESC"];

/** A session as a test knows it. */
interface Known {
  readonly id: string;
  updateTime: number;
  readonly workflowId: string | undefined;
  readonly userId: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

function metadataOf({ workflowId, userId, labels }: Omit<Known, "id" | "updateTime">): MetadataWrite {
  return {
    ...{ createTime: undefined, workflowId, userId, labels },
    ...{ forkedFrom: undefined, expireTime: undefined, idleTtlMs: undefined },
  };
}

/** All that a listing gives, page by page. */
async function listed(backend: Backend, filter: Filter, order: Order, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let after: SessionQuery["after"]; ; ) {
    const page = await backend.sessions({ namespace: "", filter, order, after, count });
    ids.push(...page.map(({ sessionId }) => sessionId));
    const last = page.at(-1);
    if (last === undefined || page.length < count) return ids;
    after = { sessionId: last.sessionId, updateTime: last.head.updateTime };
  }
}

function expected(sessions: readonly Known[], filter: Filter, order: Order): string[] {
  const { workflowId, userId, sessionIdPrefix = "", labels = {}, updatedAfter, updatedBefore } = filter;
  return sessions
    .filter(
      (known) =>
        (!workflowId || known.workflowId === workflowId) &&
        (!userId || known.userId === userId) &&
        known.id.startsWith(sessionIdPrefix) &&
        Object.entries(labels).every(([name, text]) => known.labels[name] === text) &&
        known.updateTime > (updatedAfter ?? -1) &&
        known.updateTime < (updatedBefore ?? Number.MAX_SAFE_INTEGER),
    )
    .sort((a, b) => (order === "ID" ? 0 : b.updateTime - a.updateTime) || compareUtf8(a.id, b.id))
    .map(({ id }) => id);
}

test("each walk of an index and each query by place reads a part of that index, and sorts nothing", async () => {
  const path = newPath();
  await (await openFile(path)).close();
  const database = openDatabase(path, { busyTimeoutMs: 1_000 });
  const plan = (sql: string): string =>
    database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map((row) => String(row[3]))
      .join("\n");
  const indexes: Record<Indexed, [byId: string, byTime: string]> = {
    all: ["head_live (namespace=? AND id>? AND id<?)", "head_recent (namespace=? AND (recency,id)>(?,?))"],
    workflow: [
      "head_workflow (namespace=? AND workflow_id=? AND id>? AND id<?)",
      "head_workflow_recent (namespace=? AND workflow_id=? AND (recency,id)>(?,?))",
    ],
    user: [
      "head_user (namespace=? AND user_id=? AND id>? AND id<?)",
      "head_user_recent (namespace=? AND user_id=? AND (recency,id)>(?,?))",
    ],
    label: [
      "PRIMARY KEY (namespace=? AND name=? AND value=? AND id>? AND id<?)",
      "label_recent (namespace=? AND name=? AND value=? AND (recency,id)>(?,?))",
    ],
  };
  for (const [index, names] of Object.entries(indexes)) {
    for (const [i, order] of ORDERS.entries()) {
      for (const what of ["heads", "places", "count", "end"] as const) {
        const said = plan(walkSql(index as Indexed, order, what));
        expect(said).toContain(names[i]?.replace(/ AND \(recency.*/, ""));
        expect(said).toContain(order === "ID" ? "id>? AND id<?" : "recency");
        expect(said).not.toMatch(/TEMP B-TREE|SCAN (head|label)/);
      }
    }
  }
  const keys = plan(sessionKeysSql());
  expect(keys).toContain("INDEX head_id");
  expect(keys).not.toMatch(/TEMP B-TREE|SCAN head\b(?! USING)/);
  database.close();
});

test("every combination of filters gives what matches, in either order, page by page", {
  timeout: 60_000,
}, async () => {
  const seed = seedOfRun();
  console.info(`listing: WORKFLOW_STATE_TEST_SEED=${seed}`);
  const random = new Random(seed);
  const path = newPath();
  let time = Date.UTC(2026, 0, 1);
  const backend = await open(path, { now: () => time });
  const plans: PlanStep[] = [];
  const some = <T>(items: readonly T[]): T | undefined =>
    random.chance(0.5) ? random.one(items) : undefined;
  const sessions: Known[] = [];
  for (let i = 0; i < 400; i++) {
    const id = `${random.one(["a/", "b/", "b", "\u{1f600}", "\uffff"])}${i}`;
    const labels = Object.fromEntries(
      ["color", "size"].flatMap((name) => (random.chance(0.6) ? [[name, random.one(["x", "y"])]] : [])),
    );
    const known = {
      id,
      updateTime: time,
      workflowId: some(["w1", "w2"]),
      userId: some(["u1", "u2"]),
      labels,
    };
    sessions.push(known);
    plans.push({ ...set(id, { k: value("v") }, { metadata: metadataOf(known) }), time });
    if (random.chance(0.7)) time += random.between(0, 3);
    if (random.chance(0.4)) {
      const again = random.one(sessions);
      plans.push({ ...set(again.id, { k: value("w") }), time });
      again.updateTime = time;
    }
    if (random.chance(0.1)) {
      const [gone] = sessions.splice(random.between(0, sessions.length - 1), 1);
      plans.push({ ...end(gone?.id ?? ""), time });
    }
  }
  await backend.run(plans);
  const begin = Date.UTC(2026, 0, 1);
  for (let i = 0; i < 200; i++) {
    const filter: Filter = {
      workflowId: some(["w1", "w2", "none"]),
      userId: some(["u1", "u2"]),
      sessionIdPrefix: some(["a", "a/", "b", "b/1", "\uffff", "\u{1f600}"]),
      labels: Object.fromEntries(
        ["color", "size"].flatMap((name) => (random.chance(0.3) ? [[name, random.one(["x", "y"])]] : [])),
      ),
      updatedAfter: random.chance(0.3) ? random.between(begin, time) : undefined,
      updatedBefore: random.chance(0.3) ? random.between(begin, time) : undefined,
    };
    const order = random.one(ORDERS);
    expect(
      await listed(backend, filter, order, random.one([1, 3, 50, 1_000])),
      JSON.stringify({ filter, order }),
    ).toEqual(expected(sessions, filter, order));
  }
  expect(inconsistencies(path)).toEqual([]);
});

test("where no filter leaves few, the listing walks one index and still finds all", {
  timeout: 60_000,
}, async () => {
  const path = newPath();
  let time = 1_000_000;
  const backend = await open(path, { now: () => time });
  const sessions: Known[] = [];
  const plans: PlanStep[] = [];
  for (let i = 0; i < 5_000; i++) {
    const known: Known = {
      ...{ id: `s${i}`, updateTime: time, workflowId: i % 2 ? "odd" : "even", userId: i % 3 ? "u" : "v" },
      labels: { third: String(i % 3) },
    };
    sessions.push(known);
    plans.push(set(known.id, { k: value("v") }, { metadata: metadataOf(known), time }));
    if (i % 10 === 0) time++;
  }
  for (let i = 0; i < plans.length; i += 500) await backend.run(plans.slice(i, i + 500));
  const last = sessions.map(({ updateTime }) => updateTime);
  const middle = last[2_500];
  const filters: Filter[] = [
    { workflowId: "odd", userId: "u" },
    { workflowId: "even", labels: { third: "1" } },
    { updatedAfter: last[1_000] },
    { updatedAfter: last[4_990] },
    { updatedBefore: middle, userId: "u" },
    { sessionIdPrefix: "s4" },
    { sessionIdPrefix: "s" },
    { sessionIdPrefix: "s", workflowId: "odd" },
  ];
  for (const filter of filters) {
    for (const order of ORDERS)
      expect(await listed(backend, filter, order, 700), JSON.stringify({ filter, order })).toEqual(
        expected(sessions, filter, order),
      );
  }
});

test("what a listing finds due is done first: no session in it has expired, or has keys that have", async () => {
  let time = Date.UTC(2026, 0, 1);
  const backend = await open(newPath(), { now: () => time });
  for (let i = 0; i < 10; i++) {
    const metadata = {
      ...metadataOf({ workflowId: "w", userId: undefined, labels: {} }),
      ...(i < 5 && { ttlMs: 1_000 }),
    };
    await apply(backend, set(`s${i}`, { k: value("v") }, { metadata }));
  }
  await apply(backend, { ...set("s9", {}), writes: [{ key: "lease", value: value("v"), ttlMs: 1_000 }] });
  time += 1_000;
  for (const filter of [{}, { workflowId: "w" }, { sessionIdPrefix: "s" }]) {
    const found = await backend.sessions({ namespace: "", filter, order: "UPDATE_TIME_DESC", count: 100 });
    expect(found.map(({ sessionId }) => sessionId)).toEqual(["s9", "s5", "s6", "s7", "s8"]);
    expect(found[0]?.head).toMatchObject({ revision: 3, entries: 1, updateTime: time });
  }
});

test("a namespace sees its own sessions only", async () => {
  const backend = await open(newPath());
  await apply(backend, set("s", { k: value("v") }));
  await apply(backend, { ...set("t", { k: value("v") }), session: { namespace: "other", sessionId: "t" } });
  const ids = async (namespace: string): Promise<string[]> =>
    (await backend.sessions({ namespace, filter: {}, order: "ID", count: 10 })).map(
      ({ sessionId }) => sessionId,
    );
  expect([await ids(""), await ids("other"), await ids("none")]).toEqual([["s"], ["t"], []]);
});

test("a listing that finds more to expire than there is time for fails, and what it did stays done", async () => {
  const clock = { now: 1_000 };
  const backend = await open(newPath(), { now: () => clock.now, lockTimeoutMs: 1 });
  const metadata = { ...metadataOf({ workflowId: undefined, userId: undefined, labels: {} }), ttlMs: 1 };
  for (let i = 0; i < 2_000; i += 100) {
    const ids = Array.from({ length: 100 }, (_, at) => `s${i + at}`);
    await backend.run(ids.map((id) => set(id, { k: value("v") }, { metadata })));
  }
  clock.now += 100;
  const list = () => backend.sessions({ namespace: "", filter: {}, order: "ID", count: 9 });
  await expect(list()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  for (let tries = 1; ; tries++) {
    const found = await list().catch((error) => void expect(error.reason).toBe("STORE_UNAVAILABLE"));
    if (found !== undefined) return expect(found).toEqual([]);
    expect(tries).toBeLessThan(100);
  }
});
