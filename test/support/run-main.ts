/** The program in this process: faster than one of its own, and seen by the coverage. */
import { Readable } from "node:stream";
import { vi } from "vitest";
import { main } from "../../src/cli/program.ts";
import type { CliEnd } from "./run-cli.ts";

/** How to run the program here. */
export interface RunMainOptions {
  readonly env?: Record<string, string>;
  /** What it reads. */
  readonly input?: string;
  /** How many SIGINT it gets, from when it listens for them. */
  readonly interrupts?: number;
  /** What it must have said before. */
  readonly after?: string;
}

/** Runs the program to its end, and takes what it says. One at a time. */
export async function runMain(args: readonly string[], options: RunMainOptions = {}): Promise<CliEnd> {
  const { env = {}, input = "", interrupts = 0, after = "" } = options;
  const listening = process.listenerCount("SIGINT");
  let output = "";
  let errors = "";
  const bytes = Readable.from([Buffer.from(input)]);
  const spies = [
    vi.spyOn(console, "log").mockImplementation((text) => {
      output += `${text}\n`;
    }),
    vi.spyOn(console, "error").mockImplementation((text) => {
      errors += `${text}\n`;
    }),
    vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
      output += String(chunk);
      // As a pipe does that is full: whoever writes lets others run.
      setImmediate(() => process.stdout.emit("drain"));
      return false;
    }),
    vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      errors += String(chunk);
      return true;
    }),
    vi.spyOn(process, "stdin", "get").mockReturnValue(bytes as typeof process.stdin),
  ];
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    const ending = main(args);
    if (interrupts > 0)
      await vi.waitUntil(() => process.listenerCount("SIGINT") > listening, { timeout: 20_000, interval: 1 });
    if (interrupts > 0) await vi.waitUntil(() => output.includes(after), { timeout: 20_000, interval: 1 });
    for (let i = 0; i < interrupts; i++) process.emit("SIGINT");
    const code = await ending;
    return { code, output, errors };
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
  }
}
