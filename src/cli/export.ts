/** `workflow-state export`: everything that a store keeps, as JSON Lines. */
import { randomUUID } from "node:crypto";
import { createWriteStream, renameSync, rmSync, statSync } from "node:fs";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { exportLines } from "./export-lines.ts";
import {
  interrupted,
  interruptible,
  type MovingOptions,
  movingSettingsOf,
  whileCounting,
  withSource,
} from "./moving-command.ts";
import { counted, Progress } from "./progress.ts";
import { opener } from "./sealing.ts";
import { Failure, UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it. */
export interface ExportCommandOptions extends MovingOptions {
  readonly output?: string;
}

/** Exports to a file or to stdout. Fails with a usage error, or with a failure if it did not come to its end. */
export async function exportStore({ output, ...options }: ExportCommandOptions): Promise<void> {
  // A server's config file is given for its limits: that must not decrypt what it keeps.
  const settings = movingSettingsOf(options, { fileKeys: false });
  const sessions = await withSource(settings.store, "the store", settings, (backend) =>
    interruptible(async (signal) => {
      const progress = new Progress("exporting");
      let done = 0;
      const onProgress = (soFar: number): void => {
        done = soFar;
        progress.update({ sessions: soFar });
      };
      const lines = exportLines(backend, { open: opener(settings.encryption), signal, onProgress });
      await whileCounting(backend, signal, progress, () => write(gathered(lines), output, signal));
      return done;
    }),
  );
  // Not to stdout: the lines may be there.
  console.error(`exported ${counted(sessions)} sessions`);
}

/** Characters that are written at once. */
const CHUNK = 1 << 16;

/** Lines together, so that not each is a write of its own. */
async function* gathered(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let chunk = "";
  for await (const line of lines) {
    chunk += line;
    if (chunk.length < CHUNK) continue;
    yield chunk;
    chunk = "";
  }
  yield chunk;
}

/** Writes to stdout or to a file; to a file under another name first, so that one of its name is whole. */
async function write(
  text: AsyncIterable<string>,
  output: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (output === undefined) {
    await piped(text, process.stdout, "stdout");
    if (signal.aborted) throw interruptedExport();
    return;
  }
  const partial = isDevice(output) ? output : `${output}.${randomUUID()}.partial`;
  try {
    // For its owner only: it holds what the store holds.
    await piped(text, createWriteStream(partial, { mode: 0o600 }), output);
    if (signal.aborted) throw interruptedExport();
    if (partial !== output) renameSync(partial, output);
  } catch (error) {
    if (partial !== output) rmSync(partial, { force: true });
    throw error;
  }
}

async function piped(text: AsyncIterable<string>, stream: Writable, name: string): Promise<void> {
  try {
    await pipeline(text, stream, { end: stream !== process.stdout });
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === "open") throw new UsageError(`can't write to ${name}: ${code}`, { cause: error });
    if (syscall !== undefined) throw new Failure(`can't write to ${name}: ${code}`, { cause: error });
    throw error;
  }
}

function interruptedExport(): Failure {
  return interrupted("what was written is not whole, and can't be imported to its end");
}

/** Whether there is something of this name that is no file: /dev/stdout, a pipe. */
function isDevice(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && !found.isFile() && !found.isDirectory();
}
