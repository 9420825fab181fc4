/**
 * `npm run buf:breaking`: compares proto/ with the last release (the newest v* tag), and before the first release
 * with the first commit that has a schema. Where there is neither (a source archive), it says so and passes.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const root = join(import.meta.dirname, "..");
const base =
  git("describe", "--tags", "--abbrev=0", "--match", "v*") ??
  git("log", "--reverse", "--format=%H", "--diff-filter=A", "--", "buf.yaml", "proto")
    ?.split("\n")
    .find((commit) => has(commit, "proto") && has(commit, "buf.yaml"));

if (base === undefined) {
  console.log("No release and no commit with a schema yet: nothing to compare with.");
} else {
  const scratch = mkdtempSync(join(tmpdir(), "workflow-state-breaking-"));
  try {
    const archive = join(scratch, "base.tar");
    if (git("archive", "--format=tar", "-o", archive, base, "buf.yaml", "proto") === undefined) {
      throw new Error(`git archive ${base} failed`);
    }
    const bin = join(root, "node_modules", ".bin");
    const env = { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}` };
    const windows = process.platform === "win32";
    const args = ["breaking", "--against", archive];
    const { status, error } = spawnSync("buf", args, { cwd: root, env, stdio: "inherit", shell: windows });
    if (error !== undefined) {
      throw error;
    }
    console.log(status === 0 ? `No breaking change since ${base}.` : `Breaking changes since ${base}.`);
    process.exitCode = status ?? 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What git prints, or undefined where it fails or there is no git. */
function git(...args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

function has(commit: string, path: string): boolean {
  return git("cat-file", "-e", `${commit}:${path}`) !== undefined;
}
