/** The program as its users start it: a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { ROOT } from "./markdown.ts";

/** A run of the program. */
export interface CliRun {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly errors: () => string;
  /** Settles with the exit code, or the signal that killed it. */
  readonly ended: Promise<unknown>;
}

/** How a run ended. */
export interface CliEnd {
  readonly code: unknown;
  readonly output: string;
  readonly errors: string;
}

/** The program's file. */
export const CLI: string = join(ROOT, "src/cli.ts");

/** Starts the program with nothing of this process's settings; the test's end kills it. */
export function startCli(args: readonly string[], env: Record<string, string> = {}): CliRun {
  const clean = Object.entries(process.env).filter(
    ([name]) => !/^(?:WORKFLOW_STATE_|NODE_OPTIONS|VITEST)/.test(name),
  );
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...Object.fromEntries(clean), ...env } });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const ended = once(child, "close").then(([code, signal]) => code ?? signal);
  return { child, output: () => output, errors: () => errors, ended };
}

/** Runs the program to its end. `input`: what it reads. */
export async function runCli(
  args: readonly string[],
  { env = {}, input = "" }: { readonly env?: Record<string, string>; readonly input?: string } = {},
): Promise<CliEnd> {
  const { child, output, errors, ended } = startCli(args, env);
  // It may end before it has read all.
  child.stdin?.on("error", () => {}).end(input);
  return { code: await ended, output: output(), errors: errors() };
}
