/** The TypeScript of our pages as programs: written to a folder of their own, where the package's name leads to `src/`. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, parse, relative, sep } from "node:path";
import { type Block, blocksOf, ROOT } from "./markdown.ts";

/** One program of a page: the blocks from one that imports to the next that does. */
export interface DocProgram {
  readonly at: string;
  readonly file: string;
  /** The lines that the page says it prints. */
  readonly prints: readonly string[];
}

/** A folder of programs. */
export interface DocPrograms {
  readonly folder: string;
  readonly programs: readonly DocProgram[];
  remove(): void;
}

/** What stands for a service in the pages. */
export const DOC_URL = "http://127.0.0.1:7410";

/** What stands in the pages for a service that asks who is calling, and for the certificate by which it is known. */
export const DOC_SECURE_URL = "https://state.example.org";
export const DOC_CA = "ca.pem";

/** Writes the programs of pages. @param real what takes the place of which text of the pages: the URL of a service */
export function writePrograms(pages: readonly string[], real: Readonly<Record<string, string>>): DocPrograms {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
  const sources = sourcesByName(folder);
  const programs: DocProgram[] = [];
  for (const blocks of pages.flatMap(programsOf)) {
    const file = join(folder, `program-${programs.length + 1}.ts`);
    const text = blocks.map((block) => block.text).join("\n");
    const code = Object.entries(real)
      .reduce((written, [shown, its]) => written.replaceAll(shown, its), text)
      .replace(/(?<=from ")@agenterra\/[\w/-]+(?=")/g, (name) => sources.get(name) ?? name);
    writeFileSync(file, code);
    programs.push({ at: blocks[0]?.at ?? "", file, prints: text.split("\n").flatMap(printed) });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"), "junction");
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const compilerOptions = { rootDir: parse(folder).root, typeRoots: [join(ROOT, "node_modules/@types")] };
  const files = programs.map(({ file }) => file);
  const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions, files, include: [] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  return { folder, programs, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function programsOf(page: string): Block[][] {
  const programs: Block[][] = [];
  for (const block of blocksOf(page)) {
    if (block.info !== "ts") continue;
    if (block.text.startsWith("import ")) programs.push([]);
    programs.at(-1)?.push(block);
  }
  return programs;
}

/** The line that a line of code says it prints: behind it, or on a line of its own. */
function printed(line: string): string[] {
  const [, said] = /(?:^|console\.log\(.*\); )\/\/ (.*)$/.exec(line) ?? [];
  return said === undefined ? [] : [said];
}

/** The source of each of the package's exports, as seen from a folder. */
function sourcesByName(folder: string): ReadonlyMap<string, string> {
  const { name, exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    readonly name: string;
    readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  };
  const sources = new Map<string, string>();
  for (const [path, target] of Object.entries(exports)) {
    if (typeof target === "string") continue;
    const source = join(ROOT, target.default.replace("./dist/", "").replace(/\.js$/, ".ts"));
    sources.set(name + path.slice(1), relative(folder, source).split(sep).join("/"));
  }
  return sources;
}
