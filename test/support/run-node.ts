/** Programs that tests run as processes of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import { ROOT } from "./markdown.ts";

/** How a program ended, and what it said. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a TypeScript or JavaScript file by the Node.js of this test, in the checkout, to its end. */
export function runNode(...args: readonly string[]): Promise<Ended> {
  return ended(start(process.execPath, args));
}

/** Starts a program in the checkout; those that packages bring come first, as in npm's scripts. */
export function start(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const PATH = `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env["PATH"] ?? ""}`;
  return spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, PATH, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Waits for a program's end. */
export async function ended(child: ChildProcess): Promise<Ended> {
  const said = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    said.stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said.stderr += text;
  });
  const [status] = (await once(child, "close")) as [number | null];
  return { status, ...said };
}
