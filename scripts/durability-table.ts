/**
 * The table of docs/stores.md that says what survives what, made from what the tests ran:
 *
 *     WORKFLOW_STATE_TEST_RESULTS=results.jsonl npm test
 *     node scripts/durability-table.ts results.jsonl            writes the table
 *     npm run durability:check -- results.jsonl                 fails if the docs say anything else
 *
 * Rows and claims must be the same; how often something was tried, and how many bytes it took, may differ from run to run.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DurabilityResult, StoreName } from "../test/support/durability-results.ts";

const STORES: readonly StoreName[] = ["SQLite", "PostgreSQL", "Redis", "Redis Cluster"];
const MARK = "<!-- durability table -->";

const COLUMNS = [
  "store",
  "kill -9 of the server, under load",
  "kill -9 of the database, under load",
  "failover",
  "power loss",
  "bytes written to change a key of 100 bytes, in a session of 10 keys / of 10,000",
] as const;

type Crash = Exclude<DurabilityResult, { check: "write cost" }>;

/** What is said where nothing was run: what the store relies on, or why there is nothing to try. */
const UNTRIED: Readonly<Record<Crash["check"], Partial<Record<StoreName, string>>>> = {
  "service killed": {},
  "database killed": { SQLite: "has no process", "Redis Cluster": "see failover" },
  "primary killed": {
    SQLite: "has none",
    PostgreSQL: "not tried: is for its standbys to say",
    Redis: "has none",
  },
  "power loss": {
    PostgreSQL: "not tried: rests on `fsync` and `synchronous_commit`, both on by default",
    Redis: "not tried: rests on `appendfsync always`, which is not the default",
    "Redis Cluster": "not tried: rests on `appendfsync always`, which is not the default",
  },
};

/** The results in a file of JSON lines. */
export function readResults(text: string): DurabilityResult[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as DurabilityResult);
}

/** The table in Markdown. Fails with what is missing, unless that is all of a store: then its row is left out. */
export function durabilityTable(results: readonly DurabilityResult[]): string {
  const rows = STORES.flatMap((store) => {
    const own = results.filter((result) => result.store === store);
    return own.length === 0 ? [] : [row(store, own)];
  });
  const lines = [COLUMNS, COLUMNS.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return lines.join("\n");
}

function row(store: StoreName, results: readonly DurabilityResult[]): string[] {
  const cells = (["service killed", "database killed", "primary killed", "power loss"] as const).map(
    (check) => {
      const found = results.filter((result): result is Crash => result.check === check);
      if (found.length > 0) return crashCell(store, check, found);
      const untried = UNTRIED[check][store];
      if (untried === undefined) throw new Error(`There is no result of ${store}, ${check}.`);
      return untried;
    },
  );
  const costs = results.filter((result) => result.check === "write cost");
  const cost = costs.at(-1);
  if (cost === undefined) throw new Error(`There is no result of ${store}, write cost.`);
  return [store, ...cells, `${figure(cost.bytesOf10)} / ${figure(cost.bytesOf10000)}`];
}

/** How Redis was set up in these tests, as that decides what it keeps. */
const SETUP: Readonly<Record<Crash["check"], Partial<Record<StoreName, string>>>> = {
  "service killed": {},
  "database killed": { Redis: " (`appendfsync always`)" },
  "primary killed": { "Redis Cluster": " (`?wait=1`)" },
  "power loss": {},
};

function crashCell(store: StoreName, check: Crash["check"], results: readonly Crash[]): string {
  const sum = (name: "times" | "acknowledged" | "lost" | "doubled"): number =>
    results.reduce((total, result) => total + result[name], 0);
  const lost = sum("lost");
  const doubled = sum("doubled");
  const word = lost === 0 && doubled === 0 ? "**survives**" : "**does not survive**";
  const times = check === "power loss" ? "points" : "times";
  const setup = SETUP[check][store] ?? "";
  return `${word}${setup}: ${figure(sum("times"))} ${times}, of ${figure(sum("acknowledged"))} acknowledged writes ${figure(lost)} lost, ${figure(doubled)} done twice`;
}

function figure(number: number): string {
  return Math.round(number).toLocaleString("en-US");
}

/** The docs with the table in its place, between its two marks. */
export function withTable(docs: string, table: string): string {
  const parts = docs.split(MARK);
  if (parts.length !== 3)
    throw new Error(`docs/stores.md must have ${MARK} twice: before and after the table.`);
  return [parts[0], `\n${table}\n`, parts[2]].join(MARK);
}

/** What of the docs' table is not as the results say; rows of stores that did not run are not looked at unless `all`. */
export function differences(docs: string, table: string, all: boolean): string[] {
  const committed = claims(docs.split(MARK)[1] ?? "");
  const found = claims(table);
  const problems = [...found]
    .filter(([name, claim]) => committed.get(name) !== claim)
    .map(([name, claim]) => `The docs say of ${name}:\n  ${committed.get(name)}\nThe tests say:\n  ${claim}`);
  for (const name of committed.keys()) {
    if (found.has(name)) continue;
    if (all) problems.push(`The docs have a row of ${name}, of which nothing was run.`);
    else console.log(`Not checked, as nothing of it was run: ${name}.`);
  }
  return problems;
}

/** The rows by their first cells, without figures: what is not nought counts as the same. */
function claims(table: string): Map<string, string> {
  const rows = table.split("\n").filter((line) => line.startsWith("|") && !line.startsWith("| ---"));
  return new Map(
    rows.map((line) => [line.split("|")[1]?.trim() ?? "", line.replace(/\b[1-9][\d,]*(?!\w)/g, "N")]),
  );
}

function main(args: readonly string[]): void {
  const [path] = args.filter((arg) => !arg.startsWith("--"));
  if (path === undefined) throw new Error("Which file has the results?");
  const docsPath = join(import.meta.dirname, "../docs/stores.md");
  const docs = readFileSync(docsPath, "utf8");
  const table = durabilityTable(readResults(readFileSync(path, "utf8")));
  if (!args.includes("--check")) {
    writeFileSync(docsPath, withTable(docs, table));
    return;
  }
  const problems = differences(docs, table, args.includes("--all"));
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

if (import.meta.main) main(process.argv.slice(2));
