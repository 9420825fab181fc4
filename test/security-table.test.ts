/** The table of docs/security.md: made of what the attacks' tests recorded, and compared with it. */
import { describe, expect, test } from "vitest";
import {
  attackDifferences,
  readAttacks,
  securityTable,
  withSecurityTable,
} from "../scripts/security-table.ts";
import { pageText } from "./support/markdown.ts";

const line = (attack: string, growthMib: number, slowestMs: number, layer = "HTTP/2"): string =>
  JSON.stringify({ check: "attack", layer, attack, growthBytes: growthMib * 2 ** 20, slowestMs, calls: 9 });
const RUN = [
  line("gzip bomb: 200 MiB in 200 KiB", 3, 1_200, "gRPC"),
  JSON.stringify({ store: "SQLite", check: "power loss" }),
  line("PING", 12, 40),
  line("PING", 31, 7),
  "",
].join("\n");
const TABLE = [
  "| by | attack | memory | slowest call of a bystander |",
  "| --- | --- | --- | --- |",
  "| HTTP/2 | PING | < 40 MiB | < 40 ms |",
  "| gRPC | gzip bomb: 200 MiB in 200 KiB | < 10 MiB | < 2 s |",
].join("\n");

describe("the table", () => {
  test("has a row for each attack, with the worst that was seen of it", () => {
    expect(securityTable(readAttacks(RUN))).toBe(TABLE);
  });

  test("stands between its marks", () => {
    const docs = "before\n<!-- attacks table -->\nold\n<!-- attacks table -->\nafter";
    expect(withSecurityTable(docs, "new")).toBe(
      "before\n<!-- attacks table -->\nnew\n<!-- attacks table -->\nafter",
    );
    expect(() => withSecurityTable("no marks", "new")).toThrow(/twice/);
  });

  test("differs from the docs where attacks came or went, not where figures did", () => {
    const docs = withSecurityTable("<!-- attacks table --><!-- attacks table -->", TABLE);
    const other = TABLE.replace("< 40 MiB", "< 90 MiB").replace("200 KiB", "201 KiB");
    expect(attackDifferences(docs, other)).toEqual([]);
    expect(attackDifferences(docs, TABLE.replace("PING", "PONG"))).toEqual([
      "The docs lack: | HTTP/2 | PONG",
      "Nothing was run of: | HTTP/2 | PING",
    ]);
  });

  test("is in the docs, with attacks of every kind", () => {
    const table = pageText("docs/security.md").split("<!-- attacks table -->")[1] ?? "";
    for (const layer of ["HTTP/2", "HTTP/1.1", "gRPC", "answers not read", "slow callers"]) {
      expect(table).toContain(`\n| ${layer} |`);
    }
  });
});
