/** Re-encrypting what a backend keeps, so that old keys can be given up. */
import type { Backend, SessionKey } from "./backend.ts";
import { inParallel } from "./in-parallel.ts";
import { retried, sessionPages } from "./moving.ts";

/** How to re-encrypt. */
export interface RotateOptions {
  /** Takes no further session once it is aborted; those under way are finished. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each session, of both passes. */
  readonly onProgress?: ((done: Rotated) => void) | undefined;
  /** How many sessions are worked on at once. Default: 4. */
  readonly concurrency?: number | undefined;
}

/** How far it is. */
export interface Rotated {
  /** In the first pass every value is read and nothing changed, in the second those under other keys are rewritten. */
  readonly pass: "check" | "rewrite";
  /** Sessions done in this pass. */
  readonly sessions: number;
  /**
   * Values that were found to be under other keys than the first, or that were rewritten; of a session that had to be tried
   * again, those of the last try.
   */
  readonly values: number;
  /** Whether it came to the end; the signal ends it before. */
  readonly complete: boolean;
}

/**
 * Gives every kept version of every value to `reseal` and stores what it returns, unless the value was replaced meanwhile. Before
 * that it reads all of them, so that a keyring that lacks a key fails before anything is changed. Can be interrupted and run
 * again, also while the store is in use. Fails as `reseal` and the backend do.
 * @param reseal the value under the first key; `undefined`: it is under that already. Throws for a value that it can't read
 */
export async function rotateKeys(
  backend: Backend,
  reseal: (session: SessionKey, key: string, value: Uint8Array) => Uint8Array | undefined,
  options: RotateOptions = {},
): Promise<Rotated> {
  const checked = await eachSession(backend, "check", options, async (session) => {
    let values = 0;
    await backend.rewriteValues(session, (key, value) => {
      if (reseal(session, key, value) !== undefined) values++;
      return undefined;
    });
    return values;
  });
  if (!checked.complete || checked.values === 0) return checked;
  return eachSession(backend, "rewrite", options, (session) =>
    backend.rewriteValues(session, (key, value) => reseal(session, key, value)),
  );
}

/** Runs a task on every session, and adds up the values that it tells of. */
async function eachSession(
  backend: Backend,
  pass: Rotated["pass"],
  { signal, onProgress, concurrency = 4 }: RotateOptions,
  task: (session: SessionKey) => Promise<number>,
): Promise<Rotated> {
  const done = { pass, sessions: 0, values: 0, complete: false };
  for await (const page of sessionPages(backend, signal)) {
    await inParallel(page, concurrency, async (session) => {
      if (signal?.aborted) return;
      // Not in one expression: that would add to what was there before the wait, and drop what others added meanwhile.
      const values = await retried(() => task(session));
      done.values += values;
      done.sessions++;
      onProgress?.({ ...done });
    });
  }
  return { ...done, complete: !signal?.aborted };
}
