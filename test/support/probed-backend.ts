/** A real backend that counts what is asked of it, and into which a test can put faults. */
import type {
  Backend,
  EventRange,
  Events,
  FeedPart,
  ListedSession,
  SessionKey,
  SessionQuery,
  Step,
  StepResult,
  StoredRecord,
  Swept,
} from "../../src/stores/backend.ts";

/** What happens before a call reaches the database; what it throws, the call fails with. */
type Before = (() => unknown) | undefined;

/** A backend around a backend. */
export class ProbedBackend implements Backend {
  readonly #backend: Backend;
  /** The steps of each run so far. */
  readonly runs: (readonly Step[])[] = [];
  /** The ranges of events that were read. */
  readonly ranges: EventRange[] = [];
  /** How often the feed was read. */
  feeds = 0;
  sweeps = 0;
  closes = 0;
  /** Who listens to hints. */
  listeners = 0;
  beforeRun: Before;
  afterRun: Before;
  beforeEvents: Before;
  beforeFeedEnd: Before;
  beforeFeed: Before;
  beforeSweep: Before;
  afterSessions: Before;
  beforeDump: Before;
  beforeLoad: Before;
  beforeRewrite: Before;
  /** Gives what a part of the feed is to be instead. */
  changeFeed: ((part: FeedPart) => FeedPart) | undefined;
  /** Gives what results of steps are to be instead. */
  changeResults: ((steps: readonly Step[], results: StepResult[]) => StepResult[]) | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  get pollMs(): number {
    return this.#backend.pollMs;
  }

  /** Runs so far that made a plan. */
  get plans(): number {
    return this.runs.filter((steps) => steps.some(({ kind }) => kind === "plan")).length;
  }

  async run(steps: readonly Step[]): Promise<StepResult[]> {
    this.runs.push(steps);
    await this.beforeRun?.();
    const results = await this.#backend.run(steps);
    await this.afterRun?.();
    return this.changeResults?.(steps, results) ?? results;
  }

  async events(range: EventRange): Promise<Events> {
    this.ranges.push(range);
    await this.beforeEvents?.();
    return this.#backend.events(range);
  }

  async sessions(query: SessionQuery): Promise<ListedSession[]> {
    const found = await this.#backend.sessions(query);
    await this.afterSessions?.();
    return found;
  }

  async feedEnd(): Promise<string> {
    await this.beforeFeedEnd?.();
    return this.#backend.feedEnd();
  }

  async feed(cursor: string, count: number): Promise<FeedPart> {
    this.feeds++;
    await this.beforeFeed?.();
    const part = await this.#backend.feed(cursor, count);
    return this.changeFeed?.(part) ?? part;
  }

  hints(listener: (session: SessionKey | undefined) => void): () => void {
    this.listeners++;
    const stop = this.#backend.hints(listener);
    return () => {
      this.listeners--;
      stop();
    };
  }

  async sweep(): Promise<Swept> {
    this.sweeps++;
    await this.beforeSweep?.();
    return this.#backend.sweep();
  }

  sessionKeys(after: SessionKey | undefined, count: number): Promise<SessionKey[]> {
    return this.#backend.sessionKeys(after, count);
  }

  async *dump(session: SessionKey): AsyncIterable<StoredRecord> {
    await this.beforeDump?.();
    yield* this.#backend.dump(session);
  }

  async load(session: SessionKey, records: AsyncIterable<StoredRecord>): Promise<void> {
    await this.beforeLoad?.();
    await this.#backend.load(session, records);
  }

  async rewriteValues(
    session: SessionKey,
    rewrite: (key: string, value: Uint8Array) => Uint8Array | undefined,
  ): Promise<number> {
    await this.beforeRewrite?.();
    return this.#backend.rewriteValues(session, rewrite);
  }

  async close(): Promise<void> {
    this.closes++;
    await this.#backend.close();
  }
}
