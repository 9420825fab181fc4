/** `workflow-state copy`: every session of one store to another. */
import { copySessions } from "../stores/moving.ts";
import {
  Conflicts,
  interrupted,
  interruptible,
  type MovingOptions,
  movingSettingsOf,
  stepOf,
  summaryOf,
  whileCounting,
  withBackend,
  withSource,
} from "./moving-command.ts";
import { Progress } from "./progress.ts";
import { UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it. */
export interface CopyCommandOptions extends MovingOptions {
  readonly from?: string;
  readonly to?: string;
}

/** Copies, and says what came of it. Fails with a usage error, or with a failure if sessions were left out. */
export async function copy({ from, to, ...options }: CopyCommandOptions): Promise<void> {
  if (from === undefined)
    throw new UsageError("name the store to copy from with --from URL or WORKFLOW_STATE_FROM");
  if (to === undefined) throw new UsageError("name the store to copy to with --to URL or WORKFLOW_STATE_TO");
  const settings = movingSettingsOf(options, { fileKeys: false });
  const overwrite = options.overwrite === true;
  await withSource(from, "the store to copy from", settings, (source) =>
    withBackend(to, "the store to copy to", settings, (target) =>
      interruptible(async (signal) => {
        const progress = new Progress("copying");
        const conflicts = new Conflicts();
        const done = await whileCounting(source, signal, progress, () =>
          copySessions(source, target, {
            signal,
            overwrite,
            onConflict: (session) => conflicts.add(session),
            onProgress: (soFar) => progress.update(stepOf(soFar)),
          }),
        );
        if (!done.complete) throw interrupted(`copied ${summaryOf(done)}`);
        console.log(`copied ${summaryOf(done)}`);
        conflicts.end();
      }),
    ),
  );
}
