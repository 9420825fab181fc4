/** How much of a session's past a store keeps: the same words and defaults for every kind of local store. */

/** What a store keeps beside the state, and for how long; all durations are in milliseconds. */
export interface RetentionOptions {
  /** How many commits of a session are kept, 1 or more. Default: 256. */
  readonly history?: number | undefined;
  /** How long a commit is kept at most, and everything of a deleted session. Default: one day. */
  readonly historyAgeMs?: number | undefined;
  /** How long the answer to a request id is kept. Default: 10 minutes. */
  readonly requestRetentionMs?: number | undefined;
}

/** How much is kept, with nothing left open. */
export interface Retention {
  readonly history: number;
  readonly historyAgeMs: number;
  readonly requestRetentionMs: number;
}

/** What is kept unless configured otherwise. */
export const DEFAULT_RETENTION: Retention = Object.freeze({
  history: 256,
  historyAgeMs: 86_400_000,
  requestRetentionMs: 600_000,
});

/** The retention that options ask for; of several options the first that says something counts. */
export function retentionOf(...options: readonly (RetentionOptions | undefined)[]): Retention {
  const said = (name: keyof Retention): number =>
    options.find((given) => given?.[name] !== undefined)?.[name] ?? DEFAULT_RETENTION[name];
  return {
    history: said("history"),
    historyAgeMs: said("historyAgeMs"),
    requestRetentionMs: said("requestRetentionMs"),
  };
}
