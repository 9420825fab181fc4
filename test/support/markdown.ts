/** The fenced blocks of our Markdown files: what the documentation's own tests run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The checkout. */
export const ROOT: string = join(import.meta.dirname, "../..");

/** Every page that is ours to keep true. */
export const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "SECURITY.md",
  "deploy/README.md",
  "samples/README.md",
  "docs/api.md",
  "docs/authentication.md",
  "docs/clients.md",
  "docs/concepts.md",
  "docs/encryption.md",
  "docs/errors.md",
  "docs/limits.md",
  "docs/observability.md",
  "docs/operations.md",
  "docs/security.md",
  "docs/stores.md",
  "docs/typescript.md",
];

/** One fenced block. */
export interface Block {
  /** Where it begins, to name it in a failure: `docs/api.md:12`. */
  readonly at: string;
  /** What stands behind the opening fence: `json`, `sh`, … */
  readonly info: string;
  readonly text: string;
}

/** The text of a page. */
export function pageText(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

/** The blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const text = pageText(page);
  return [...text.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)].map((match) => ({
    at: `${page}:${text.slice(0, match.index).split("\n").length}`,
    info: match[1] ?? "",
    text: match[2] ?? "",
  }));
}

/** The rows of a page's tables, each as its cells; headings and rules are left out. */
export function tableRows(page: string): string[][] {
  const rows = pageText(page)
    .split("\n")
    .map((line) => (/^\| (.*) \|$/.exec(line)?.[1] ?? "").split(" | "));
  return rows.filter((cells, i) => cells.length > 1 && !isRule(cells) && !isRule(rows[i + 1] ?? []));
}

function isRule(cells: readonly string[]): boolean {
  return cells.length > 0 && cells.every((cell) => /^-+$/.test(cell));
}
