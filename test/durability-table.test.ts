/** The table of docs/stores.md says what the tests found, and no more. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { differences, durabilityTable, readResults, withTable } from "../scripts/durability-table.ts";
import type { DurabilityResult, StoreName } from "./support/durability-results.ts";
import { ROOT } from "./support/markdown.ts";

const crash = (
  store: StoreName,
  check: Extract<DurabilityResult, { lost: number }>["check"],
  facts: { readonly times?: number; readonly lost?: number; readonly doubled?: number } = {},
): DurabilityResult => ({ store, check, times: 8, acknowledged: 1_234, lost: 0, doubled: 0, ...facts });

const cost = (store: StoreName, bytesOf10: number): DurabilityResult => ({
  store,
  check: "write cost",
  bytesOf10,
  bytesOf10000: bytesOf10 + 12.5,
});

const SQLITE = [crash("SQLite", "service killed"), crash("SQLite", "power loss"), cost("SQLite", 29_667)];
const REDIS = [crash("Redis", "service killed"), crash("Redis", "database killed"), cost("Redis", 800)];

const table = durabilityTable([...SQLITE, ...REDIS]);
const docs = withTable("# Stores\n<!-- durability table -->\n<!-- durability table -->\nMore.\n", table);

test("it has a row for each store that ran, with what was found and what was not tried", () => {
  const [head, rule, sqlite, redis, ...more] = table.split("\n");
  expect(more).toEqual([]);
  expect(head).toMatch(/^\| store \| kill -9 of the server/);
  expect(rule).toBe("| --- | --- | --- | --- | --- | --- |");
  expect(sqlite).toBe(
    "| SQLite | **survives**: 8 times, of 1,234 acknowledged writes 0 lost, 0 done twice | has no process | has none | **survives**: 8 points, of 1,234 acknowledged writes 0 lost, 0 done twice | 29,667 / 29,680 |",
  );
  expect(redis).toContain("| not tried: rests on `appendfsync always`");
});

test("results of several runs of a check count together", () => {
  const twice = durabilityTable([...SQLITE, crash("SQLite", "service killed", { lost: 1 })]);
  expect(twice).toContain(
    "**does not survive**: 16 times, of 2,468 acknowledged writes 1 lost, 0 done twice",
  );
});

test("a store of which a check did not run has no row by halves", () => {
  expect(() => durabilityTable(SQLITE.slice(1))).toThrow("no result of SQLite, service killed");
  expect(() => durabilityTable(SQLITE.slice(0, 2))).toThrow("no result of SQLite, write cost");
});

describe("the docs", () => {
  test("are in order when only figures differ", () => {
    const other = durabilityTable([
      ...[crash("SQLite", "service killed", { times: 80 }), crash("SQLite", "power loss"), cost("SQLite", 1)],
      ...REDIS,
    ]);
    expect(differences(docs, other, true)).toEqual([]);
  });

  test("are not when a write is lost or done twice, or something is not tried any more", () => {
    for (const results of [
      [crash("SQLite", "service killed", { lost: 3 }), ...SQLITE.slice(1), ...REDIS],
      [crash("SQLite", "service killed", { doubled: 3 }), ...SQLITE.slice(1), ...REDIS],
      [crash("SQLite", "service killed", { times: 0 }), ...SQLITE.slice(1), ...REDIS],
    ]) {
      expect(differences(docs, durabilityTable(results), true)).toHaveLength(1);
    }
  });

  test("are not when they lack a row, or have one of which nothing ran", () => {
    const said = vi.spyOn(console, "log").mockImplementation(() => {});
    const sqliteOnly = durabilityTable(SQLITE);
    expect(differences(docs, sqliteOnly, true)).toEqual([
      "The docs have a row of Redis, of which nothing was run.",
    ]);
    expect(differences(docs, sqliteOnly, false)).toEqual([]);
    expect(said.mock.calls).toEqual([["Not checked, as nothing of it was run: Redis."]]);
    said.mockRestore();
    expect(differences(withTable(docs, sqliteOnly), table, false)).toHaveLength(1);
  });

  test("have two marks", () => {
    expect(() => withTable("nothing", table)).toThrow(/twice/);
    expect(withTable(docs, sqliteRow())).toContain("# Stores\n<!-- durability table -->\n| store");
  });
});

test("the committed table has every store, and says of none what it does not keep", () => {
  const committed =
    readFileSync(join(ROOT, "docs/stores.md"), "utf8").split("<!-- durability table -->")[1] ?? "";
  const rows = committed.split("\n").filter((line) => /^\| [A-Z]/.test(line));
  const stores = rows.map((row) => row.split(" | ")[0]?.slice(2));
  expect(stores).toEqual(["SQLite", "PostgreSQL", "Redis", "Redis Cluster"]);
  expect(committed).not.toContain("does not survive");
  expect(committed.match(/survives\*\*/g)).toHaveLength(8);
  expect(committed.match(/ 0 lost, 0 done twice/g)).toHaveLength(8);
});

test("results are read line by line", () => {
  const text = SQLITE.map((result) => `${JSON.stringify(result)}\n`).join("");
  expect(readResults(text)).toEqual(SQLITE);
});

function sqliteRow(): string {
  return durabilityTable(SQLITE);
}
