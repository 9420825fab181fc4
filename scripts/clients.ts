/**
 * `npm run clients`: builds every client in `clients/` that this machine's toolchains allow, and says which are left out and
 * why. `npm run clients -- --check` has each pass its own checks instead; `-- --only go,rust` takes these only.
 *
 * A client is left out if a tool that it needs is not there, or if its script ends with 3 and says why on stderr.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";

const CLIENTS = join(import.meta.dirname, "../clients");
/** How a script says that it can't be run on this machine. */
const LEFT_OUT = 3;

/** What each client needs, and what it is made into. */
const KNOWN: Readonly<Record<string, { readonly tools: readonly string[]; readonly what: string }>> = {
  python: { tools: ["python3"], what: "package, installed" },
  go: { tools: ["go"], what: "module" },
  java: { tools: ["javac", "mvn"], what: "jar" },
  rust: { tools: ["cargo"], what: "crate" },
  cpp: { tools: ["cmake", "c++"], what: "library" },
  csharp: { tools: ["dotnet"], what: "package" },
};

/** What came of a client. */
export type Built =
  | { readonly state: "done"; readonly seconds: number }
  | { readonly state: "left out"; readonly why: string }
  | { readonly state: "failed"; readonly seconds: number; readonly output: string };

/** The clients that have a folder with that script. */
export function clientsWith(script: "build.sh" | "check.sh"): string[] {
  const names = readdirSync(CLIENTS).filter((name) => existsSync(join(CLIENTS, name, script)));
  const order = Object.keys(KNOWN);
  const place = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  return names.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

/** How {@link buildClient} builds. */
export interface BuildOptions {
  /** What is run; absent: `build.sh`. */
  readonly script?: "build.sh" | "check.sh";
  /** Hears what the script says meanwhile. */
  readonly tell?: (text: string) => void;
  /** Where the clients' folders are; absent: `clients/`. */
  readonly folder?: string;
}

/** Builds a client, or has it pass its checks. */
export async function buildClient(
  name: string,
  { script = "build.sh", tell = () => {}, folder = CLIENTS }: BuildOptions = {},
): Promise<Built> {
  const missing = (KNOWN[name]?.tools ?? []).filter((tool) => !isThere(tool));
  if (missing.length > 0) return { state: "left out", why: `${missing.join(" and ")} is not here.` };
  const began = performance.now();
  const child = spawn(join(folder, name, script), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    tell(text);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    errors += text;
    tell(text);
  });
  const [status] = (await once(child, "close")) as [number | null];
  const seconds = (performance.now() - began) / 1000;
  if (status === 0) return { state: "done", seconds };
  if (status === LEFT_OUT) return { state: "left out", why: reasonIn(errors) };
  return { state: "failed", seconds, output };
}

/** What a script says last is why it can't be run. */
function reasonIn(errors: string): string {
  return (errors.trim().split("\n").at(-1) ?? "").replace(/^left out: /, "");
}

function isThere(tool: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function main(args: readonly string[]): Promise<void> {
  const options = { check: { type: "boolean", default: false }, only: { type: "string" } } as const;
  const { check, only } = parseArgs({ args: [...args], options }).values;
  const script = check ? "check.sh" : "build.sh";
  const names = clientsWith(script).filter((name) => only === undefined || only.split(",").includes(name));
  const rows = [["client", check ? "checks" : "what", "seconds"]];
  for (const name of names) {
    // What a check says is a report; a build is quiet unless it fails.
    if (check) console.log(`\n== ${name}`);
    const built = await buildClient(name, { script, tell: (text) => check && process.stdout.write(text) });
    const what = check ? "passed" : (KNOWN[name]?.what ?? "built");
    if (built.state === "left out") rows.push([name, `left out: ${built.why}`, ""]);
    else rows.push([name, built.state === "done" ? what : "FAILED", built.seconds.toFixed(1)]);
    if (built.state !== "failed") continue;
    process.exitCode = 1;
    if (!check) console.error(built.output);
  }
  const wanted = only?.split(",") ?? Object.keys(KNOWN);
  const absent = wanted.filter((name) => !names.includes(name));
  for (const name of absent) rows.push([name, `left out: clients/${name} has no ${script}.`, ""]);
  const widths = [0, 1, 2].map((at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  console.log();
  for (const row of rows)
    console.log(
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

if (import.meta.main) await main(process.argv.slice(2));
