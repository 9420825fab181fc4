/** What the commands share that move what a store keeps: their settings, their databases, and how they are interrupted. */
import { existsSync } from "node:fs";
import { openBackend } from "../open.ts";
import { DEFAULT_LIMITS, type Limits } from "../store.ts";
import type { Backend, SessionKey } from "../stores/backend.ts";
import type { Keyring } from "../stores/keyring.ts";
import { countSessions, type Moved } from "../stores/moving.ts";
import type { RetentionOptions } from "../stores/retention.ts";
import { sqlitePath } from "../stores/sqlite-url.ts";
import { readConfig } from "./config-file.ts";
import { opened } from "./opened.ts";
import { counted, type Progress, type Step } from "./progress.ts";
import { storeSettingsOf } from "./store-settings.ts";
import { Failure, UsageError } from "./usage-error.ts";

/** What options and the environment say, as they say it. */
export interface MovingOptions {
  readonly config?: string;
  readonly store?: string;
  readonly encryptionKeys?: string;
  readonly overwrite?: boolean;
}

/** The settings of such a command. */
export interface MovingSettings {
  /** The URL of the store; `undefined`: none is named. */
  readonly store: string | undefined;
  readonly limits: Limits;
  /** How long the store's servers keep things. Of revisions none is too many here: dropping them is the servers' business. */
  readonly retention: RetentionOptions;
  readonly encryption: Keyring | undefined;
}

/** What a command does with the keys that a config file names. */
interface FileKeys {
  /** Whether it encrypts with them. Without, only keys that the caller gives count, and the file's are not even read. */
  readonly fileKeys: boolean;
}

/** Puts the settings together. Fails with a {@link UsageError}. */
export function movingSettingsOf(
  { config, ...options }: MovingOptions,
  { fileKeys }: FileKeys,
): MovingSettings {
  const { encryptionKeys, ...file } = config === undefined ? {} : readConfig(config);
  const keys = fileKeys && encryptionKeys !== undefined ? { encryptionKeys } : {};
  const { limits, retention, encryption } = storeSettingsOf(options, { ...file, ...keys });
  return {
    store: options.store ?? file.store,
    limits: { ...DEFAULT_LIMITS, ...limits },
    retention: { ...retention, history: 2 ** 31 - 1 },
    encryption,
  };
}

/**
 * Opens the database of a store that there is, runs a task on it, and closes it. `what` names it in errors: `the store`.
 * A file that is missing would be made, and found empty.
 */
export async function withSource<Result>(
  url: string | undefined,
  what: string,
  settings: MovingSettings,
  task: (backend: Backend) => Promise<Result>,
): Promise<Result> {
  if (url !== undefined && /^sqlite:/i.test(url)) {
    const path = fileOf(url);
    if (path !== undefined && !existsSync(path))
      throw new UsageError(`can't open ${what}: there is no file ${path}`);
  }
  return withBackend(url, what, settings, task);
}

/** The file in a URL; `undefined`: it is wrong, as whoever opens it will say. */
function fileOf(url: string): string | undefined {
  try {
    return sqlitePath(url);
  } catch {
    return undefined;
  }
}

/** Opens the database of a store, runs a task on it, and closes it. `what` names it in errors: `the store`. */
export async function withBackend<Result>(
  url: string | undefined,
  what: string,
  { limits, retention }: MovingSettings,
  task: (backend: Backend) => Promise<Result>,
): Promise<Result> {
  if (url === undefined) throw new UsageError("name the store with --store URL");
  const backend = await opened(openBackend(url, { limits, retention }), what);
  try {
    return await task(backend);
  } finally {
    await backend.close();
  }
}

/** Runs a task with a signal that SIGINT or SIGTERM aborts; a second one ends the process at once. */
export async function interruptible<Result>(task: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  try {
    return await task(controller.signal);
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
  }
}

/** Counts a backend's sessions for what is shown of a task, while the task runs. */
export async function whileCounting<Result>(
  backend: Backend,
  signal: AbortSignal,
  progress: Progress,
  task: () => Promise<Result>,
): Promise<Result> {
  const ended = new AbortController();
  // Only to be shown: what fails it fails the task too.
  const counting = countSessions(backend, AbortSignal.any([signal, ended.signal])).then(
    (of) => progress.update({ of }),
    () => {},
  );
  try {
    return await task();
  } finally {
    ended.abort();
    await counting;
    progress.end();
  }
}

/** What a move came to, in words that follow what was done: `12, 3 were there already`. */
export function summaryOf({ moved, unchanged, conflicts }: Moved): string {
  return [`${counted(moved)} sessions`, ...notes(unchanged, conflicts)].join(", ");
}

/** How far a move is. */
export function stepOf({ moved, unchanged, conflicts }: Moved): Partial<Step> {
  return { sessions: moved + unchanged + conflicts, note: notes(unchanged, conflicts).join(", ") };
}

function notes(unchanged: number, conflicts: number): string[] {
  return [
    ...(unchanged === 0 ? [] : [`${counted(unchanged)} were there already`]),
    ...(conflicts === 0 ? [] : [`${counted(conflicts)} left out`]),
  ];
}

/** The end of a command that was interrupted. @param said what it had done */
export function interrupted(said: string): Failure {
  return new Failure(`interrupted; ${said}. Run the same command again to go on`, { exitCode: 130 });
}

/** Conflicts that are named; of more only the number is. */
const NAMED = 20;

/** The sessions that a command left out, told as they come. */
export class Conflicts {
  #count = 0;

  /** Tells of one, the first few by name. */
  add({ namespace, sessionId }: SessionKey): void {
    this.#count++;
    if (this.#count > NAMED) return;
    const where = namespace === "" ? "" : ` of namespace ${JSON.stringify(namespace)}`;
    const clear = process.stderr.isTTY ? "\r\x1b[K" : "";
    console.error(`${clear}left out: the target has another session ${JSON.stringify(sessionId)}${where}`);
  }

  /** Fails if there were any. */
  end(): void {
    if (this.#count === 0) return;
    throw new Failure(
      `${counted(this.#count)} sessions were left out: the target has others under their ids; --overwrite puts these in their place`,
    );
  }
}
