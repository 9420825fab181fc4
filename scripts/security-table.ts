/**
 * The table of docs/security.md that says what attacks cost, made from what the tests ran:
 *
 *     WORKFLOW_STATE_TEST_RESULTS=results.jsonl npm test -- test/attacks
 *     node scripts/security-table.ts results.jsonl            writes the table
 *     node scripts/security-table.ts --check results.jsonl    fails if the docs list other attacks
 *
 * Figures differ from run to run; which attacks there are must be the same.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AttackResult } from "../test/support/attack-target.ts";

const MARK = "<!-- attacks table -->";
const COLUMNS = ["by", "attack", "memory", "slowest call of a bystander"] as const;
const ORDER = ["HTTP/2", "HTTP/1.1", "gRPC", "answers not read", "slow callers"];

/** The attacks among the lines of JSON of a run. */
export function readAttacks(text: string): AttackResult[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as AttackResult)
    .filter(({ check }) => check === "attack");
}

/** The table in Markdown: one row an attack, the worst of what was seen of it. */
export function securityTable(results: readonly AttackResult[]): string {
  const worst = new Map<string, AttackResult>();
  for (const result of results) {
    const name = `${result.layer}: ${result.attack}`;
    const before = worst.get(name) ?? result;
    const growthBytes = Math.max(before.growthBytes, result.growthBytes);
    worst.set(name, { ...result, growthBytes, slowestMs: Math.max(before.slowestMs, result.slowestMs) });
  }
  const rows = [...worst.values()]
    .sort((a, b) => ORDER.indexOf(a.layer) - ORDER.indexOf(b.layer))
    .map(({ layer, attack, growthBytes, slowestMs }) => [
      layer,
      attack,
      memory(growthBytes),
      time(slowestMs),
    ]);
  return [COLUMNS, COLUMNS.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Rounded up: to 10 MiB, as what V8 lets lie differs from run to run. */
function memory(bytes: number): string {
  return `< ${10 * Math.max(1, Math.ceil(bytes / 2 ** 20 / 10))} MiB`;
}

function time(ms: number): string {
  const step = ms < 100 ? 10 : ms < 1_000 ? 100 : 1_000;
  const most = step * Math.max(1, Math.ceil(ms / step));
  return most < 1_000 ? `< ${most} ms` : `< ${most / 1_000} s`;
}

/** The docs with the table in its place, between its two marks. */
export function withSecurityTable(docs: string, table: string): string {
  const parts = docs.split(MARK);
  if (parts.length !== 3)
    throw new Error(`docs/security.md must have ${MARK} twice: before and after the table.`);
  return [parts[0], `\n${table}\n`, parts[2]].join(MARK);
}

/** The attacks that only one of two tables has. */
export function attackDifferences(docs: string, table: string): string[] {
  const said = attacksOf(docs.split(MARK)[1] ?? "");
  const found = attacksOf(table);
  return [
    ...[...found].filter((name) => !said.has(name)).map((name) => `The docs lack: ${name}`),
    ...[...said].filter((name) => !found.has(name)).map((name) => `Nothing was run of: ${name}`),
  ];
}

/** Compressed sizes may differ by a KiB between versions of zlib. */
function attacksOf(table: string): Set<string> {
  const rows = table.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| ---"));
  return new Set(
    rows.map((line) =>
      line
        .split(" | ")
        .slice(0, 2)
        .join(" | ")
        .replaceAll(/\d+ KiB/g, "N KiB"),
    ),
  );
}

function main(args: readonly string[]): void {
  const [path] = args.filter((arg) => !arg.startsWith("--"));
  if (path === undefined) throw new Error("Which file has the results?");
  const docsPath = join(import.meta.dirname, "../docs/security.md");
  const docs = readFileSync(docsPath, "utf8");
  const table = securityTable(readAttacks(readFileSync(path, "utf8")));
  if (!args.includes("--check")) {
    writeFileSync(docsPath, withSecurityTable(docs, table));
    return;
  }
  const problems = attackDifferences(docs, table);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

if (import.meta.main) main(process.argv.slice(2));
