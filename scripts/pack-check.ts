/** `npm run pack:check`, after a build: the package holds what it promises, and nothing else. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

interface Manifest {
  readonly name: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}

const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
const packed = packedFiles();
const problems: string[] = [];

const allowed =
  /^(?:bin\/|dist\/(?:src|gen)\/|proto\/.*\.proto$|(?:README|CHANGELOG)\.md$|LICENSE$|package\.json$)/;
for (const file of packed.filter((path) => !allowed.test(path))) {
  problems.push(`${file} does not belong into the package`);
}
const targets = Object.values(manifest.exports).flatMap((target) =>
  typeof target === "string" ? [target] : Object.values(target),
);
for (const path of ["README.md", "LICENSE", "CHANGELOG.md", ...Object.values(manifest.bin), ...targets]) {
  if (!packed.includes(path.replace(/^\.\//, ""))) {
    problems.push(`${path} is missing from the package`);
  }
}
for (const [path, pattern] of [
  ["proto/", /\.proto$/],
  ["dist/gen/", /_pb\.js$/],
] as const) {
  if (!packed.some((file) => file.startsWith(path) && pattern.test(file))) {
    problems.push(`nothing of ${path} is in the package`);
  }
}
const { messages, pkg } = await publint({ pkgDir: root, level: "suggestion", strict: true, pack: false });
for (const message of messages) {
  problems.push(formatMessage(message, pkg, { color: false }) ?? message.code);
}

for (const problem of problems) {
  console.error(problem);
}
console.log(`${manifest.name}: ${packed.length} files, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

function packedFiles(): readonly string[] {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const windows = process.platform === "win32";
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd: root, encoding: "utf8", shell: windows });
  if (status !== 0) {
    throw new Error(`npm pack failed: ${stderr}`);
  }
  // npm 11 answers with a list, npm 12 with an object by package name.
  const answer = JSON.parse(stdout) as Readonly<
    Record<string, { readonly files: readonly { readonly path: string }[] }>
  >;
  return Object.values(answer).flatMap((entry) => entry.files.map((file) => file.path));
}
