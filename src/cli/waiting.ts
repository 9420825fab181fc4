/** Waits for a store that can't be reached yet: what a server needs often starts beside it. */
import { setTimeout as pause } from "node:timers/promises";
import { WorkflowStateError } from "../errors.ts";
import { isLasting } from "../stores/lasting.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Opens a store, again and again while it can't be reached and there is time. What will not pass by itself is thrown at
 * once: a URL, a password or a right that is wrong, a schema of a newer version.
 * @param timeoutMs how long it may take; 0: one attempt
 * @param say told of the first failure, and of each that is another
 * @param signal aborts the wait for the next attempt: then it fails with an AbortError
 */
export async function openReachable<Store>(
  open: () => Promise<Store>,
  timeoutMs: number,
  say: (message: string) => void,
  signal?: AbortSignal,
): Promise<Store> {
  const deadline = performance.now() + timeoutMs;
  let said: string | undefined;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await open();
    } catch (error) {
      const left = deadline - performance.now();
      if (!WorkflowStateError.is(error, "STORE_UNAVAILABLE") || isLasting(error) || left <= 0) throw error;
      if (said !== error.message) {
        said = error.message;
        say(`the store is waited for, up to ${Math.ceil(left / 1_000)} s: ${said}`);
      }
      await pause(Math.min(pauseMs * (0.75 + Math.random() / 2), left), undefined, { signal });
    }
  }
}
