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

/** What options and the environment say, as they say it. */
export interface CopyCommandOptions extends MovingOptions {
  readonly from: string;
  readonly to: string;
}

/** Copies, and says what came of it. Fails with a usage error, or with a failure if sessions were left out. */
export async function copy({ from, to, ...options }: CopyCommandOptions): Promise<void> {
  const settings = movingSettingsOf(options);
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
