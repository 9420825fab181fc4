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
