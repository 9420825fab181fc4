/** The watches of a durable store: each reads the log of its session, a page at a time. */
import { WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  EncodedForm,
  SessionChange,
  SessionFilter,
  WatchMessage,
  WatchSessionRequest,
} from "../store.ts";
import type { StoredEvent } from "./backend.ts";
import type { Engine } from "./durable-engine.ts";
import { PATIENCE_MS } from "./durable-feed.ts";
import { eventOf, pastOf, seen, sessionIn } from "./durable-steps.ts";
import { absentRevision, compacted, cursorAfter, type Kept } from "./history.ts";
import { NOBODY, sessionOf } from "./metadata.ts";
import { pause } from "./pause.ts";
import { eventWithPrefix } from "./session-filter.ts";
import { Watch } from "./watch.ts";

/** A log in which nothing is said to be new is read again after so long. */
const READ_AGAIN_MS = 60_000;
/** A reader who asks again within this time cannot have missed that a session came, went and was forgotten. */
const PROMPT_MS = 3 * READ_AGAIN_MS;

/** Follows a session. Nothing is held for a reader but the page that it reads. */
export function watchSession(
  engine: Engine,
  request: WatchSessionRequest,
  context: CallContext | undefined,
  progressMs: number,
): AsyncIterable<WatchMessage<EncodedForm>> {
  const reader = new Reader(engine, engine.begin(context), request);
  return new Watch(reader, context?.signal, progressMs, () => engine.closed);
}

/** Follows all sessions that match, from now on. */
export function watchSessions(
  engine: Engine,
  filter: SessionFilter<EncodedForm>,
  context: CallContext | undefined,
): AsyncIterable<SessionChange<EncodedForm>> {
  const { changes, left } = engine.feed.changes(engine.begin(context));
  const source = changes.watch(filter, left);
  return new Watch(source, context?.signal, Number.POSITIVE_INFINITY, () => engine.closed);
}

/** What a watch on a session reads. */
class Reader {
  readonly waiting: Set<() => void>;
  readonly #engine: Engine;
  readonly #request: WatchSessionRequest;
  readonly #watched: ReturnType<Engine["feed"]["watch"]>;
  /** The last revision that was read; `undefined`: nothing was. */
  #cursor: number | undefined;
  /** The revision before the session's first, when the log was read last. */
  #born: number | undefined;
  /** The page that is read, and the place in it. */
  #page: readonly StoredEvent[] = [];
  #at = 0;
  /** When the log was read last. */
  #readAt = 0;
  /** How often the session had been woken when the log was read to its end; -1: it was not. */
  #wakes = -1;
  #over = false;

  constructor(engine: Engine, namespace: string, request: WatchSessionRequest) {
    this.#engine = engine;
    this.#request = request;
    this.#watched = engine.feed.watch({ namespace, sessionId: request.sessionId });
    this.waiting = this.#watched.waiting;
  }

  read(): WatchMessage<EncodedForm> | undefined | Promise<WatchMessage<EncodedForm> | undefined> {
    const { failure, wakes } = this.#watched;
    if (failure !== undefined) throw failure.error;
    const message = this.#next();
    if (message !== undefined) return message;
    // It costs nothing to wait for a session in which nothing happens.
    if (wakes === this.#wakes && performance.now() - this.#readAt < READ_AGAIN_MS) return undefined;
    return this.#engine.call(() => this.#readOn());
  }

  progress(): WatchMessage<EncodedForm> {
    // Where the id begins is said as 0: the number that it begins above is other sessions', and may be another one soon.
    const revision = this.#cursor === this.#born ? 0 : (this.#cursor ?? 0);
    return { kind: "progress", revision };
  }

  ended(): void {
    this.#over = true;
    this.#page = [];
    this.#engine.feed.leave(this.#watched);
  }

  /** The next message of the page. */
  #next(): WatchMessage<EncodedForm> | undefined {
    while (this.#at < this.#page.length) {
      const stored = this.#page[this.#at++] as StoredEvent;
      this.#cursor = stored.revision;
      if (this.#at === this.#page.length) this.#page = [];
      const event = eventWithPrefix(eventOf(stored), stored.ended, this.#request.keyPrefix ?? "");
      if (event !== undefined) return { kind: "event", event };
    }
    return undefined;
  }

  async #readOn(): Promise<WatchMessage<EncodedForm> | undefined> {
    if (this.#cursor === undefined && this.#request.afterRevision === undefined) return this.#snapshot();
    for (;;) {
      const after = this.#cursor ?? (this.#request.afterRevision as number);
      const from = Math.min(after + 1, Number.MAX_SAFE_INTEGER);
      const { wakes } = this.#watched;
      const { head, floor, events } = await this.#patiently(() => this.#watched.events(from));
      if (this.#over) return undefined;
      const past = pastOf({ head, floor });
      const cursor = this.#cursor === undefined ? cursorAfter(past, after) : this.#goOn(past, after);
      this.#cursor = cursor;
      this.#born = past.born;
      this.#readAt = performance.now();
      this.#page = events.filter(({ revision }) => revision > cursor);
      this.#at = 0;
      const end = (events.at(-1)?.revision ?? cursor) >= past.revision;
      if (end) this.#wakes = wakes;
      const message = this.#next();
      // A page without a message for this watch need not be the end of the log.
      if (message !== undefined || end || events.length === 0) return message;
    }
  }

  async #snapshot(): Promise<WatchMessage<EncodedForm> | undefined> {
    const { session, wakes } = this.#watched;
    const { sessionId, keyPrefix: prefix = "" } = this.#request;
    const [result] = await this.#patiently(() =>
      this.#engine.backend.run([{ kind: "look", session, entries: { prefix } }]),
    );
    const look = seen(result);
    const past = pastOf(look);
    this.#cursor = past.revision;
    this.#born = past.born;
    this.#readAt = performance.now();
    this.#wakes = wakes;
    const none = (): ReturnType<typeof sessionOf> =>
      sessionOf(sessionId, NOBODY, absentRevision(past), new Map());
    return { kind: "snapshot", snapshot: sessionIn(sessionId, look) ?? none() };
  }

  /** Where to go on after a revision that was read. Fails with HISTORY_COMPACTED where there may be a gap. */
  #goOn(past: Kept, cursor: number): number {
    if (cursor >= past.oldest - 1) return cursorAfter(past, cursor);
    // There was no session when the log was read last, and one that began since begins above what others had.
    const prompt = performance.now() - this.#readAt < PROMPT_MS;
    if (past.oldest - 1 === past.born && prompt) return past.born;
    throw compacted(past, cursor + 1);
  }

  /** Reads, and tries again for a while if the backend can't answer. */
  async #patiently<T>(read: () => Promise<T>): Promise<T> {
    const since = performance.now();
    for (let waitMs = 50; ; waitMs = Math.min(2 * waitMs, 1_000)) {
      try {
        return await read();
      } catch (error) {
        const late = performance.now() - since >= PATIENCE_MS;
        const over = this.#over || this.#engine.closed;
        if (late || over || !WorkflowStateError.is(error, "STORE_UNAVAILABLE")) throw error;
      }
      await pause(waitMs * (0.5 + Math.random() / 2), undefined);
    }
  }
}
