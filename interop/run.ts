/**
 * `npm run interop`: builds the clients, has their programs write, read and behave, and writes the tables of docs/clients.md
 * from what they say. Fails if anything is not as it should be.
 *
 *     npm run interop -- --no-build            with what is built
 *     npm run interop -- --only go,python      these only; writes no tables
 *     npm run interop -- --check               compares with the tables instead of writing them
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildClient } from "../scripts/clients.ts";
import { faultsOf, nameOf, type Results, runMatrix } from "./matrix.ts";
import { hasProgram, LANGUAGES, type Language } from "./programs.ts";
import { startServices } from "./services.ts";
import { tables, unproven, withTables } from "./tables.ts";

const DOCS = join(import.meta.dirname, "../docs/clients.md");

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    "no-build": { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    quiet: { type: "boolean", default: false },
  },
});

const chosen = choose(options.only);
const languages: Language[] = [];
for (const language of chosen) {
  const missing = await lacks(language);
  if (missing === undefined) languages.push(language);
  else console.log(`${language.title} is left out: ${missing}`);
}
console.log(`Running ${languages.map(({ title }) => title).join(", ")}.`);
await using services = await startServices();
const results = await runMatrix(languages, services, (text) => options.quiet || console.log(`  ${text}`));
summarize(results);

const faults = faultsOf(results);
for (const fault of faults) console.error(fault);
const text = tables(results);
if (faults.length > 0) {
  console.error("Not everything is as it should be; the tables are left as they are.");
  process.exitCode = 1;
} else if (options.check) {
  const problems = unproven(readFileSync(DOCS, "utf8"), text);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else console.log("The tables of docs/clients.md are so.");
} else if (options.only === undefined) {
  writeFileSync(DOCS, withTables(readFileSync(DOCS, "utf8"), text));
  console.log("The tables are in docs/clients.md.");
}

function choose(only: string | undefined): readonly Language[] {
  if (only === undefined) return LANGUAGES;
  return only.split(",").map((name) => {
    const language = LANGUAGES.find((one) => one.name === name);
    if (language === undefined)
      throw new Error(`There is ${LANGUAGES.map((one) => one.name).join(", ")}, and no ${name}.`);
    return language;
  });
}

/** Why a language can't take part; `undefined`: it can. */
async function lacks(language: Language): Promise<string | undefined> {
  if (!hasProgram(language)) return "it has no interop.sh.";
  if (options["no-build"] || language.name === "typescript") return undefined;
  const built = await buildClient(language.name);
  if (built.state === "failed") throw new Error(`${language.title} could not be built:\n${built.output}`);
  return built.state === "left out" ? built.why : undefined;
}

function summarize({ cells, behaviours, refusals, together }: Results): void {
  const sides = behaviours.map(({ side }) => side);
  const widths = sides.map((side) => nameOf(side).length);
  const width = Math.max(...widths);
  const row = (head: string, texts: readonly string[]): void =>
    console.log([head.padEnd(width), ...texts.map((text, at) => text.padEnd(widths[at] ?? 0))].join("  "));
  console.log("\nwritten by (down), read by (across):");
  row("", sides.map(nameOf));
  for (const writer of sides) {
    row(
      nameOf(writer),
      sides.map((reader) => {
        const cell = cells.find((one) => one.writer === writer && one.reader === reader);
        const { right = 0, of = 0 } = cell?.outcome ?? {};
        return right === of ? "identical" : `${right}/${of}`;
      }),
    );
  }
  row(
    "behaviour",
    behaviours.map(({ outcome }) => `${outcome.right}/${outcome.of}`),
  );
  row(
    "refusals",
    refusals.map(({ outcome }) => `${outcome.right}/${outcome.of}`),
  );
  console.log(`updates at once: ${together.right} of ${together.of} counted\n`);
}
