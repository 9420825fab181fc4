/** What the parts of a durable store share: the backend, with all that surrounds its steps. */
import { WorkflowStateError } from "../errors.ts";
import type { CallContext, Limits } from "../store.ts";
import type { Backend, Look, LookStep, PlanStep, SessionKey, Step, StepResult } from "./backend.ts";
import { Feed } from "./durable-feed.ts";
import { applied, dueIn, nameOf, type Outcome, type Single, seen } from "./durable-steps.ts";
import { Sweeper } from "./durable-sweeper.ts";
import { storeIsClosed } from "./failures.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { pause, unlessAborted } from "./pause.ts";
import { wake } from "./watch.ts";

/** How often a write is tried that others get ahead of, and the longest pause between. With its pauses about half a minute. */
const TRIES = 1_000;
const PAUSE_MS = 64;
/** After so many tries the blind writes of this store to the session wait. */
const TRIES_BEFORE_HOLD = 3;

/** Runs steps, and tells those who must know of commits. */
export class Engine {
  readonly backend: Backend;
  readonly limits: Limits;
  readonly feed: Feed;
  readonly sweeper: Sweeper;
  /** Called once when the store closes. */
  readonly closing: Set<() => void> = new Set();
  /** Turns, by session, of writes that look first. */
  readonly #turns: KeyedMutex = new KeyedMutex();
  /** Sessions whose blind writes wait. */
  readonly #held: Map<string, Promise<void>> = new Map();
  #closed: Promise<void> | undefined;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(backend: Backend, limits: Limits, sweepIntervalMs: number) {
    this.backend = backend;
    this.limits = limits;
    this.feed = new Feed(backend);
    this.sweeper = new Sweeper(backend, sweepIntervalMs, () => this.feed.hint());
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** The door of every call: is the store open, is the call still wanted, whose sessions are meant. */
  begin(context: CallContext | undefined): string {
    if (this.closed) throw storeIsClosed();
    context?.signal?.throwIfAborted();
    return context?.namespace ?? "";
  }

  /** Runs a call; the backend stays open until it has settled. */
  async call<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    try {
      return await work();
    } finally {
      this.#running--;
      if (this.#running === 0) this.#idle?.();
    }
  }

  /** Runs calls that are one step each, in one go. Rejects with the signal's reason if that aborts before they are sent. */
  async runAll(singles: readonly Single<unknown>[], signal?: AbortSignal): Promise<StepResult[]> {
    const steps = singles.map(({ step }) => step);
    if (this.#held.size > 0) {
      for (const step of steps) if (step.kind === "plan") await this.#held.get(nameOf(step.session));
      signal?.throwIfAborted();
    }
    return this.#run(steps);
  }

  /** Runs a call that is one step. */
  async run<A>(single: Single<A>, signal?: AbortSignal): Promise<A> {
    const results = this.runAll([single], signal);
    // A read may be given up at any time, a write may not once it was sent.
    const [result] = await (single.step.kind === "look" ? unlessAborted(results, signal) : results);
    return single.answer(result);
  }

  /** Looks at sessions, all in one go. */
  async look(steps: readonly LookStep[], signal: AbortSignal | undefined): Promise<Look[]> {
    return (await unlessAborted(this.backend.run(steps), signal)).map(seen);
  }

  /** Applies a plan; `undefined`: it is stale. */
  async apply(plan: PlanStep): Promise<Outcome | undefined> {
    const [result] = await this.#run([plan]);
    return applied(result, this.limits);
  }

  /**
   * Makes a write that looks first: tries until what it looked at is as it was when the plan is applied.
   * @param attempt gives `undefined` if it was not
   */
  tryWrite<A extends object>(
    session: SessionKey,
    signal: AbortSignal | undefined,
    attempt: () => Promise<A | undefined>,
  ): Promise<A> {
    const name = nameOf(session);
    const work = async (): Promise<A> => {
      let release: (() => void) | undefined;
      try {
        for (let tries = 0; tries < TRIES; tries++) {
          if (this.closed) throw storeIsClosed();
          signal?.throwIfAborted();
          const answer = await attempt();
          if (answer !== undefined) return answer;
          if (tries >= TRIES_BEFORE_HOLD) release ??= this.#hold(name);
          await pause(Math.random() * Math.min(2 ** tries, PAUSE_MS), signal);
        }
      } finally {
        release?.();
      }
      throw new WorkflowStateError(
        "STORE_UNAVAILABLE",
        "Others write to this session all the time, and nothing was written: try again, or write less often.",
      );
    };
    return this.#turns.run(name, work, signal);
  }

  /** Ends all; the second call waits for the first. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    // Begun when `closed` is set: those who are woken look at that.
    await Promise.resolve();
    wake(this.closing);
    await Promise.all([this.feed.close(), this.sweeper.stop()]);
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await this.backend.close();
  }

  async #run(steps: readonly Step[]): Promise<StepResult[]> {
    const { starting } = this.feed;
    if (starting !== undefined && steps.some(({ kind }) => kind === "plan")) await starting;
    const results = await this.backend.run(steps);
    for (let i = 0; i < steps.length; i++) this.#note(steps[i] as Step, results[i]);
    return results;
  }

  /** Tells the watches and the sweeper what a step may have committed. */
  #note(step: Step, result: StepResult | undefined): void {
    if (step.kind !== "plan") return;
    const unknown = result?.kind === "error" && WorkflowStateError.is(result.error, "OUTCOME_UNKNOWN");
    if (!unknown && !(result?.kind === "done" && result.wrote)) return;
    this.feed.committed(step.session, result.kind === "done" ? result.revision : 0);
    this.sweeper.due(dueIn(step));
  }

  /** Makes the blind writes to a session wait; returns what ends that. */
  #hold(name: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.set(name, promise);
    return () => {
      this.#held.delete(name);
      resolve();
    };
  }
}
