/** The keys that values are encrypted with, from a file that only its owner may read, or from the environment. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { WorkflowStateError } from "../errors.ts";
import { type Keyring, parseKeyring } from "../stores/keyring.ts";
import { UsageError } from "./usage-error.ts";

const VARIABLE = "WORKFLOW_STATE_ENCRYPTION_KEYS";
/** What a line of a keyring begins with, and no name of a file. */
const KEYS = /^\s*(#.*\n\s*)*[\w.-]{1,32}:[\w+/-]{43}/;

/**
 * The keyring that an option, the environment or a config file names: a file, or, of the environment variable, also the keys
 * themselves. Lines are `id:key`, see `parseKeyring`. Fails with a {@link UsageError}, which never shows a key.
 */
export function readKeyring(source: string): Keyring {
  if (!KEYS.test(source)) return readKeyringFile(source);
  // On a command line anyone on the machine could read them.
  if (process.env[VARIABLE] !== source) {
    throw new UsageError(`--encryption-keys wants a file; the keys themselves may stand in ${VARIABLE}`);
  }
  return parsed(source, VARIABLE);
}

/** The keyring in a file. Fails with a {@link UsageError} if others than the file's owner can read it. */
export function readKeyringFile(path: string): Keyring {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    // Of the file that is open: the one at the path may be another by now. Windows has no such modes.
    const { mode } = fstatSync(file);
    if (process.platform !== "win32" && (mode & 0o077) !== 0) {
      throw new UsageError(
        `the keys in ${path} could be read by others than the file's owner: run chmod 600 on it`,
      );
    }
    return parsed(readFileSync(file, "utf8"), path);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const why = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    // The name is not repeated: it may be a key that stands in the wrong place.
    throw new UsageError(`the file of encryption keys can't be read${why}`);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function parsed(text: string, where: string): Keyring {
  try {
    return parseKeyring(text);
  } catch (error) {
    if (!WorkflowStateError.is(error)) throw error;
    throw new UsageError(`the encryption keys in ${where} are not right: ${error.message}`);
  }
}
