/** `workflow-state rotate-keys`: everything that is under older keys goes under the first. */
import { rotateKeys } from "../stores/rotating.ts";
import {
  interrupted,
  interruptible,
  type MovingOptions,
  movingSettingsOf,
  whileCounting,
  withSource,
} from "./moving-command.ts";
import { counted, Progress } from "./progress.ts";
import { resealer } from "./sealing.ts";
import { UsageError } from "./usage-error.ts";

/** What to do when something was rewritten: a rotation makes no revision, by which a save or restore could tell. */
const AGAIN =
  "Run it again until it encrypts 0 values: a save or restore that read a session before may have put a value back under an older key.";
const REMOVE =
  "Remembered answers to request ids stay under older keys until the request retention is over: remove those keys then.";

/** Re-encrypts, and says what came of it. Fails with a usage error, or as the keyring does that lacks a key. */
export async function rotate(options: MovingOptions): Promise<void> {
  const settings = movingSettingsOf(options, { fileKeys: true });
  const { encryption } = settings;
  if (encryption === undefined)
    throw new UsageError("name the keys with --encryption-keys FILE, the new one first");
  await withSource(settings.store, "the store", settings, (backend) =>
    interruptible(async (signal) => {
      const progress = new Progress("checking");
      const done = await whileCounting(backend, signal, progress, () =>
        rotateKeys(backend, resealer(encryption), {
          signal,
          onProgress: ({ pass, sessions, values }) =>
            progress.update(
              pass === "check"
                ? { sessions, note: `${counted(values)} values to encrypt again` }
                : { verb: "encrypting", sessions, note: `${counted(values)} values done` },
            ),
        }),
      );
      const rewrote = done.pass === "rewrite";
      const said = `encrypted ${counted(rewrote ? done.values : 0)} values again`;
      if (!done.complete) throw interrupted(said);
      console.log(`${said}, looked through ${counted(done.sessions)} sessions`);
      console.log(rewrote ? AGAIN : REMOVE);
    }),
  );
}
