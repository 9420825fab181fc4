/** What one principal may take of a server: calls and streams at once, and operations over time. */
import { WorkflowStateError } from "../errors.ts";

/** Limits of each principal. */
export interface PrincipalLimits {
  /** Unary calls under way at once. Default: 2,000. */
  readonly calls?: number | undefined;
  /** Watches and pipelines open at once. Default: 20,000. */
  readonly streams?: number | undefined;
  /** Operations a second: each call is one, but a batch is as many as it holds. Absent: no limit. */
  readonly operationsPerSecond?: number | undefined;
  /** Operations that may come at once after a pause. Default: as many as in a second, or as the largest batch holds. */
  readonly burst?: number | undefined;
}

/** What a principal takes now. */
interface Taken {
  calls: number;
  streams: number;
  /** Operations left in the bucket, at a time. */
  tokens: number;
  time: number;
}

/** How many principals may be idle before the full buckets of those are forgotten. */
const IDLE_PRINCIPALS = 10_000;

/** Counts what principals take. */
export class Gate {
  readonly #most: { readonly calls: number; readonly streams: number };
  readonly #rate: number;
  readonly #burst: number;
  readonly #taken: Map<string, Taken> = new Map();

  /** @param largestBatch operations of a batch: a bucket must be able to hold them */
  constructor(limits: PrincipalLimits, largestBatch: number) {
    const { calls = 2_000, streams = 20_000, operationsPerSecond = Number.POSITIVE_INFINITY } = limits;
    this.#most = { calls, streams };
    this.#rate = operationsPerSecond;
    this.#burst = Math.max(limits.burst ?? operationsPerSecond, largestBatch);
  }

  /** Lets a call or a stream in; call what is returned when it is over. Fails with RATE_LIMITED. */
  enter(principal: string, kind: "calls" | "streams"): () => void {
    const taken = this.#of(principal);
    if (taken[kind] >= this.#most[kind]) throw tooMany(kind, this.#most[kind]);
    taken[kind]++;
    return () => {
      taken[kind]--;
    };
  }

  /** Takes operations from the bucket. Fails with RATE_LIMITED, and says when to come again. */
  take(principal: string, operations: number): void {
    if (this.#rate === Number.POSITIVE_INFINITY) return;
    const taken = this.#of(principal);
    const now = performance.now();
    taken.tokens = Math.min(this.#burst, taken.tokens + ((now - taken.time) / 1_000) * this.#rate);
    taken.time = now;
    if (taken.tokens < operations) throw tooFast(this.#rate, (operations - taken.tokens) / this.#rate);
    taken.tokens -= operations;
  }

  #of(principal: string): Taken {
    let taken = this.#taken.get(principal);
    if (taken === undefined) {
      if (this.#taken.size >= IDLE_PRINCIPALS) this.#forgetIdle();
      taken = { calls: 0, streams: 0, tokens: this.#burst, time: performance.now() };
      this.#taken.set(principal, taken);
    }
    return taken;
  }

  #forgetIdle(): void {
    const full = performance.now() - (this.#burst / this.#rate) * 1_000;
    for (const [principal, { calls, streams, time }] of this.#taken)
      if (calls === 0 && streams === 0 && (this.#rate === Number.POSITIVE_INFINITY || time < full))
        this.#taken.delete(principal);
  }
}

function tooMany(kind: "calls" | "streams", limit: number): WorkflowStateError {
  return new WorkflowStateError(
    "RATE_LIMITED",
    `These credentials have ${limit} ${kind} open, and may have no more at once: wait for some to end.`,
    { metadata: { limit: String(limit) } },
  );
}

function tooFast(rate: number, seconds: number): WorkflowStateError {
  const retryMs = Math.ceil(seconds * 1_000);
  return new WorkflowStateError(
    "RATE_LIMITED",
    `These credentials may do ${rate} operations a second: try again in ${retryMs} ms.`,
    { metadata: { limit: String(rate), retry_after_ms: String(retryMs) } },
  );
}
