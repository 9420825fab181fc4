/** The program in this process: faster than one of its own, and seen by the coverage. */
import { Readable } from "node:stream";
import { vi } from "vitest";
import { main } from "../../src/cli/program.ts";
import type { CliEnd } from "./run-cli.ts";

/** Runs the program to its end, and takes what it says. `input`: what it reads. One at a time. */
export async function runMain(
  args: readonly string[],
  { env = {}, input = "" }: { readonly env?: Record<string, string>; readonly input?: string } = {},
): Promise<CliEnd> {
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
      return true;
    }),
    vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      errors += String(chunk);
      return true;
    }),
    vi.spyOn(process, "stdin", "get").mockReturnValue(bytes as typeof process.stdin),
  ];
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    const code = await main(args);
    return { code, output, errors };
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
  }
}
