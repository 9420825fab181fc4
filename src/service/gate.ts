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
  /** Operations that may come at once after a pause: no fewer than the largest batch holds. Default: as many as in a second, or as that holds. */
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

/** The limits, complete. */
interface AllLimits {
  readonly calls: number;
  readonly streams: number;
  /** Operations a second; Infinity: no limit. */
  readonly rate: number;
  readonly burst: number;
}

/** How many principals may be idle before the full buckets of those are forgotten. */
const IDLE_PRINCIPALS = 10_000;

/** Counts what principals take. */
export class Gate {
  readonly #largestBatch: number;
  #limits: AllLimits;
  readonly #taken: Map<string, Taken> = new Map();

  /**
   * Fails with INVALID_REQUEST if `burst` is less than a batch may hold.
   * @param largestBatch operations of a batch: a bucket must be able to hold them
   */
  constructor(limits: PrincipalLimits, largestBatch: number) {
    this.#largestBatch = largestBatch;
    this.#limits = allOf(limits, largestBatch);
  }

  /** From now on other limits hold; what is under way goes on, and counts. Fails as the constructor does, and then changes nothing. */
  reload(limits: PrincipalLimits): void {
    this.#limits = allOf(limits, this.#largestBatch);
  }

  /** Lets a call or a stream in; call what is returned when it is over. Fails with RATE_LIMITED. */
  enter(principal: string, kind: "calls" | "streams"): () => void {
    const taken = this.#of(principal);
    const most = this.#limits[kind];
    if (taken[kind] >= most) throw tooMany(kind, most);
    taken[kind]++;
    return () => {
      taken[kind]--;
    };
  }

  /** Takes operations from the bucket. Fails with RATE_LIMITED, and says when to come again. */
  take(principal: string, operations: number): void {
    const { rate, burst } = this.#limits;
    if (rate === Number.POSITIVE_INFINITY) return;
    const taken = this.#of(principal);
    const now = performance.now();
    taken.tokens = Math.min(burst, taken.tokens + ((now - taken.time) / 1_000) * rate);
    taken.time = now;
    if (taken.tokens < operations) throw tooFast(rate, (operations - taken.tokens) / rate);
    taken.tokens -= operations;
  }

  #of(principal: string): Taken {
    let taken = this.#taken.get(principal);
    if (taken === undefined) {
      if (this.#taken.size >= IDLE_PRINCIPALS) this.#forgetIdle();
      taken = { calls: 0, streams: 0, tokens: this.#limits.burst, time: performance.now() };
      this.#taken.set(principal, taken);
    }
    return taken;
  }

  #forgetIdle(): void {
    const { rate, burst } = this.#limits;
    const full = performance.now() - (burst / rate) * 1_000;
    for (const [principal, { calls, streams, time }] of this.#taken)
      if (calls === 0 && streams === 0 && (rate === Number.POSITIVE_INFINITY || time < full))
        this.#taken.delete(principal);
  }
}

function allOf(limits: PrincipalLimits, largestBatch: number): AllLimits {
  const { calls = 2_000, streams = 20_000, operationsPerSecond: rate = Number.POSITIVE_INFINITY } = limits;
  const { burst = Math.max(rate, largestBatch) } = limits;
  if (burst >= largestBatch) return { calls, streams, rate, burst };
  throw new WorkflowStateError(
    "INVALID_REQUEST",
    `perPrincipal.burst must be at least ${largestBatch}: as many operations as a batch may hold.`,
    { metadata: { field: "perPrincipal.burst" } },
  );
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
