import { expect, test } from "vitest";
import type { StepResult } from "../../src/stores/backend.ts";
import {
  apply,
  end,
  inconsistencies,
  look,
  newPath,
  open,
  query,
  session,
  set,
  value,
} from "../support/sqlite-file.ts";

/** Room for the tables, and for about so many bytes more. */
const ROOM = { tables: 120_000, more: 400_000 };

function outcomes(results: readonly StepResult[]): string[] {
  return results.map((result) => (result.kind === "error" ? result.error.reason : result.kind));
}

test("without room writes are STORAGE_FULL and reads go on; with room they work again", async () => {
  const path = newPath();
  let time = Date.UTC(2026, 0, 1);
  const options = { maxBytes: ROOM.tables + ROOM.more, history: 1, historyAgeMs: 1_000, now: () => time };
  const backend = await open(path, options);
  let written = 0;
  let refused: unknown;
  while (refused === undefined) {
    await apply(backend, set(`s${written}`, { k: value(20_000) })).then(
      () => written++,
      (error: unknown) => {
        refused = error;
      },
    );
  }
  expect(written).toBeGreaterThan(10);
  expect(refused).toMatchObject({ reason: "STORAGE_FULL" });
  for (let i = 0; i < written; i++)
    expect((await look(backend, `s${i}`)).entries[0]?.value).toEqual(value(20_000));
  expect((await look(backend, `s${written}`)).head).toBeUndefined();
  const listed = await backend.sessions({
    namespace: "",
    filter: {},
    order: "UPDATE_TIME_DESC",
    count: 1_000,
  });
  expect(listed).toHaveLength(written);
  await expect(apply(backend, set("another", { k: value(20_000) }))).rejects.toMatchObject({
    reason: "STORAGE_FULL",
  });

  // What ends makes room as soon as its past goes.
  for (let i = 0; i < 3; i++) await apply(backend, end(`s${i}`));
  time += 2_000;
  while ((await backend.sweep()).more);
  expect(await apply(backend, set("another", { k: value(20_000) }))).toMatchObject({ kind: "done" });
  expect(inconsistencies(path)).toEqual([]);
});

test("a plan for whose last write there is no room leaves nothing behind", async () => {
  const path = newPath();
  const backend = await open(path, { maxBytes: ROOM.tables + ROOM.more });
  await apply(backend, set("s", { old: value(100), gone: value(5_000) }));
  const everything = (): unknown =>
    ["head", "entry", "past", "large", "event", "request", "label", "namespace"].map((table) =>
      query(path, `SELECT * FROM ${table}`),
    );
  const before = everything();
  const metadata = {
    ...{ createTime: undefined, workflowId: "w", userId: "u", labels: { a: "b" }, forkedFrom: undefined },
    ...{ expireTime: undefined, idleTtlMs: undefined },
  };
  const values = {
    ...{ old: value(3_000), gone: undefined },
    ...Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, value(100)])),
    last: value(1_000_000),
  };
  const request = { id: "r", fingerprint: "f".repeat(24), kept: undefined };
  for (const sessionId of ["s", "new"]) {
    const plan = set(sessionId, values, { metadata, request });
    await expect(apply(backend, plan)).rejects.toMatchObject({ reason: "STORAGE_FULL" });
    expect(everything()).toEqual(before);
  }
  expect((await look(backend, "s", { requestId: "r" })).remembered).toBeUndefined();
  expect(inconsistencies(path)).toEqual([]);
});

test("of writes that come together only those fail for which there is no room", async () => {
  const path = newPath();
  const backend = await open(path, { maxBytes: ROOM.tables + ROOM.more });
  const results = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      backend.run([set(`s${i}`, { k: i % 10 === 3 ? value(1_000_000) : value(i) })]),
    ),
  );
  expect(outcomes(results.flat())).toEqual(
    Array.from({ length: 40 }, (_, i) => (i % 10 === 3 ? "STORAGE_FULL" : "done")),
  );
  expect(await backend.sessions({ namespace: "", filter: {}, order: "ID", count: 100 })).toHaveLength(36);
  expect(inconsistencies(path)).toEqual([]);
});

test("of the steps of one run the others stand and are seen", async () => {
  const backend = await open(newPath(), { maxBytes: ROOM.tables + ROOM.more });
  const results = await backend.run([
    set("s", { a: value(1) }),
    set("s", { b: value(1_000_000) }),
    { kind: "look", session: session("s"), entries: { prefix: "" } },
    set("s", { c: value(1) }),
  ]);
  expect(outcomes(results)).toEqual(["done", "STORAGE_FULL", "look", "done"]);
  expect(results[2]).toMatchObject({ head: { revision: 1 }, entries: [{ key: "a" }] });
  expect((await look(backend, "s")).entries.map(({ key }) => key)).toEqual(["a", "c"]);
});

test("without room what expires is hidden as ever, and its event comes when there is room", async () => {
  const path = newPath();
  let time = Date.UTC(2026, 0, 1);
  const backend = await open(path, { maxBytes: ROOM.tables + ROOM.more, now: () => time });
  const metadata = {
    ...{ createTime: undefined, workflowId: undefined, userId: undefined, labels: {}, forkedFrom: undefined },
    ...{ expireTime: undefined, idleTtlMs: undefined },
  };
  // So much that its past needs pages before it leaves any.
  const many = Array.from({ length: 40 }, (_, i) => ({ key: `lease ${i}`, value: value(500) }));
  for (let i = 0; i < 6; i++) {
    const plan = set(
      `s${i}`,
      { k: value(500) },
      { metadata: { ...metadata, ...(i % 2 && { ttlMs: 1_000 }) } },
    );
    await apply(backend, { ...plan, writes: [...plan.writes, ...(i % 2 ? many : [])] });
  }
  const leases = many.map((write, i) => ({ ...write, ttlMs: 1_000 - ((i * 7) % 40) }));
  await apply(backend, { ...set("s0", {}), writes: leases });
  let keys = 0;
  // Down to the last page: then not even an event finds room.
  for (let size = 200_000; size > 1; size = Math.floor(size / 2)) {
    for (let refused = false; !refused; )
      await apply(backend, set("filler", { [`${size} ${keys++}`]: value(size) })).catch(() => {
        refused = true;
      });
  }
  const before = query(path, "SELECT seq, kind FROM event");
  time += 1_000;
  expect(await look(backend, "s1")).toMatchObject({
    head: { metadata: undefined, expiredRevision: 2 },
    entries: [],
  });
  expect(await look(backend, "s0")).toMatchObject({
    head: { revision: 3, entries: 1 },
    entries: [{ key: "k" }],
  });
  for (const order of ["ID", "UPDATE_TIME_DESC"] as const) {
    const filter = { sessionIdPrefix: "s" };
    const listed = await backend.sessions({ namespace: "", filter, order, count: 2 });
    expect(listed.map(({ sessionId }) => sessionId)).toEqual(["s0", "s2"]);
  }
  const range = { session: session("s0"), from: 1, to: 9, reverse: false, count: 9, bytes: 1 << 20 };
  expect((await backend.events(range)).events.map(({ kind }) => kind)).toEqual(["COMMITTED", "COMMITTED"]);
  await expect(backend.sweep()).rejects.toMatchObject({ reason: "STORAGE_FULL" });
  expect(query(path, "SELECT seq, kind FROM event")).toEqual(before);

  const roomy = await open(path, { now: () => time });
  expect((await roomy.events(range)).events.map(({ kind }) => kind)).toEqual([
    "COMMITTED",
    "COMMITTED",
    "EXPIRED",
  ]);
  expect(await look(backend, "s0")).toMatchObject({ head: { revision: 3, entries: 1 } });
  expect(inconsistencies(path)).toEqual([]);
});
