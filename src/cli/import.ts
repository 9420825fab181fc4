/** `workflow-state import`: the sessions of an export into a store. */
import { type FileHandle, open } from "node:fs/promises";
import { importLines } from "./import-lines.ts";
import {
  Conflicts,
  interrupted,
  interruptible,
  type MovingOptions,
  movingSettingsOf,
  stepOf,
  summaryOf,
  withBackend,
} from "./moving-command.ts";
import { Progress } from "./progress.ts";
import { answerKeeper, keeper, sealer } from "./sealing.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it. */
export interface ImportCommandOptions extends MovingOptions {
  readonly input?: string;
}

/** Imports from a file or from stdin. Fails with a usage error, or with a failure if sessions were left out. */
export async function importStore({ input, ...options }: ImportCommandOptions): Promise<void> {
  const settings = movingSettingsOf(options, { fileKeys: true });
  const { limits, encryption } = settings;
  const overwrite = options.overwrite === true;
  const file = input === undefined ? undefined : await openFile(input);
  await withBackend(settings.store, "the store", settings, (backend) =>
    interruptible(async (signal) => {
      const progress = new Progress("importing");
      const conflicts = new Conflicts();
      const bytes = file === undefined ? process.stdin : read(file, (part) => progress.update({ part }));
      const done = await importLines(bytes, backend, {
        limits,
        seal: sealer(encryption),
        keep: keeper(encryption),
        remember: answerKeeper(encryption),
        overwrite,
        signal,
        onConflict: (session) => conflicts.add(session),
        onProgress: (soFar) => progress.update(stepOf(soFar)),
      }).finally(() => progress.end());
      if (!done.complete) throw interrupted(`imported ${summaryOf(done)}`);
      console.log(`imported ${summaryOf(done)}`);
      conflicts.end();
    }),
  ).finally(() => file?.close());
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw new UsageError(`can't read ${path}: ${(error as NodeJS.ErrnoException).code}`, { cause: error });
  }
}

/** A file's bytes, with what part of it they are. */
async function* read(file: FileHandle, onPart: (part: number) => void): AsyncGenerator<Uint8Array> {
  const { size } = await file.stat();
  let bytes = 0;
  for await (const chunk of file.createReadStream({ autoClose: false })) {
    bytes += (chunk as Uint8Array).length;
    // Of a pipe the size is not known.
    if (size > 0) onPart(bytes / size);
    yield chunk as Uint8Array;
  }
}
