/**
 * What wakes the watches of a durable store: while anyone watches, one loop reads the backend's feed of commits, when a hint or a
 * commit of this store says that there is something, and now and then in case nothing did.
 *
 * It only wakes those who watch a session: they read that session's log themselves, so a late or doubled call costs time and
 * never an event. Those who watch all sessions get the changes from here.
 */
import { WorkflowStateError } from "../errors.ts";
import type { Backend, Events, FeedPart, SessionKey } from "./backend.ts";
import { Changes } from "./changes.ts";
import { nameOf } from "./durable-steps.ts";
import { tooFarBehind } from "./failures.ts";
import { sessionOf } from "./metadata.ts";
import { wake } from "./watch.ts";

/** How many changes are read at once. */
const PART = 1_000;
/** What a reader of a session's log holds of it at most, about. */
const LOG_PAGE = { count: 32, bytes: 64 << 10 } as const;
/** The shortest time between two readings, so that many commits share one: those who watch a session need not wait for it. */
const LEAST_MS = 5;
/** How long this store's commits wait for a feed to begin. */
const START_MS = 1_000;
/** How long a feed that can't be read is tried before the watches are told, and the waits between. */
export const PATIENCE_MS = 5_000;
const RETRY_MS = { first: 50, most: 1_000 } as const;

/** A session that is watched: who waits for it, and the readings of its log that these share. */
export class Watched {
  readonly session: SessionKey;
  /** Called once when there may be more to read. */
  readonly waiting: Set<() => void> = new Set();
  /** How many watch it. */
  users = 0;
  /** How often those who wait were woken: while this stays as it is, there is nothing to read. */
  wakes = 0;
  /** What ended all that watch it. */
  failure: { readonly error: unknown } | undefined;
  readonly #backend: Backend;
  readonly #reads: Map<number, Promise<Events>> = new Map();
  /** The revision up to which those who wait have been woken. */
  #told = 0;

  constructor(backend: Backend, session: SessionKey) {
    this.#backend = backend;
    this.session = session;
  }

  /** Reads a part of the log; those who read the same at once share one reading, which nobody must change. */
  events(from: number): Promise<Events> {
    const known = this.#reads.get(from);
    if (known !== undefined) return known;
    const to = Number.MAX_SAFE_INTEGER;
    const read = this.#backend.events({ session: this.session, from, to, reverse: false, ...LOG_PAGE });
    this.#reads.set(from, read);
    const forget = (): void => {
      if (this.#reads.get(from) === read) this.#reads.delete(from);
    };
    read.then(forget, forget);
    return read;
  }

  /** Wakes those who wait, unless that was done for this revision. @param revision absent or 0: it is not known */
  wake(revision = 0): void {
    if (revision > 0 && revision <= this.#told) return;
    this.#told = Math.max(this.#told, revision);
    this.wakes++;
    // A reading that has begun may not have seen what there is now.
    this.#reads.clear();
    wake(this.waiting);
  }

  fail(error: unknown): void {
    this.failure = { error };
    this.wake();
  }
}

/** The feed of a backend, and who is woken by it. */
export class Feed {
  readonly #backend: Backend;
  readonly #sessions: Map<string, Watched> = new Map();
  readonly #namespaces: Map<string, Changes> = new Map();
  #loop: Promise<void> | undefined;
  #starting: Promise<void> | undefined;
  /** Ends `#starting`. */
  #started: (() => void) | undefined;
  /** Where the feed is read on; `undefined`: it has not begun. */
  #cursor: string | undefined;
  #closed = false;
  /** Whether there may be something to read since it was read last. */
  #hinted = false;
  /** Ends the loop's rest. */
  #rouse: (() => void) | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Settles, never failing, when a feed that is about to begin has begun: a commit made after that is in it. */
  get starting(): Promise<void> | undefined {
    return this.#starting;
  }

  /** A session to watch, until `leave`. */
  watch(session: SessionKey): Watched {
    const name = nameOf(session);
    let watched = this.#sessions.get(name);
    if (watched === undefined) {
      watched = new Watched(this.#backend, session);
      this.#sessions.set(name, watched);
    }
    watched.users++;
    this.#begin();
    return watched;
  }

  leave(watched: Watched): void {
    const name = nameOf(watched.session);
    watched.users--;
    if (watched.users === 0 && this.#sessions.get(name) === watched) this.#sessions.delete(name);
    this.#endIfUnwatched();
  }

  /** The changes of a namespace, to be watched at once; `left` is to be called when a watch ends. */
  changes(namespace: string): { readonly changes: Changes; left(): void } {
    const changes = this.#namespaces.get(namespace) ?? new Changes();
    this.#namespaces.set(namespace, changes);
    this.#begin();
    this.#beginAgain();
    const left = (): void => {
      if (changes.watches === 0 && this.#namespaces.get(namespace) === changes)
        this.#namespaces.delete(namespace);
      this.#endIfUnwatched();
    };
    return { changes, left };
  }

  /** This store has made a commit, or may have. @param revision 0: it is not known, or the session ended */
  committed(session: SessionKey, revision: number): void {
    if (this.#loop === undefined) return;
    this.#sessions.get(nameOf(session))?.wake(revision);
    this.hint();
  }

  /** There may be something to read. */
  hint(): void {
    this.#hinted = true;
    this.#rouse?.();
  }

  /** Wakes all who wait, for the last time, and waits for what is read. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const watched of this.#sessions.values()) watched.wake();
    for (const { waiting } of this.#namespaces.values()) wake(waiting);
    this.hint();
    await this.#loop;
  }

  get #unwatched(): boolean {
    return this.#closed || (this.#sessions.size === 0 && this.#namespaces.size === 0);
  }

  #begin(): void {
    this.#loop ??= this.#run();
  }

  /** Lets commits wait for a feed that failed to begin when it is tried again, which is now. */
  #beginAgain(): void {
    if (this.#cursor !== undefined || this.#starting !== undefined) return;
    this.#start();
    this.#rouse?.();
  }

  #endIfUnwatched(): void {
    if (this.#unwatched) this.hint();
  }

  /** Never fails. */
  async #run(): Promise<void> {
    this.#start();
    const stopHints = this.#backend.hints((session) => {
      if (session !== undefined) this.#sessions.get(nameOf(session))?.wake();
      this.hint();
    });
    let failing: { readonly since: number; waitMs: number } | undefined;
    while (!this.#unwatched) {
      try {
        if (this.#cursor === undefined) {
          this.#hinted = false;
          this.#cursor = await this.#backend.feedEnd();
          // What was committed until now is not in the feed, and some may have read their log too early to see it.
          for (const watched of this.#sessions.values()) watched.wake();
        } else {
          this.#hinted = false;
          const part = await this.#backend.feed(this.#cursor, PART);
          this.#cursor = part.cursor;
          this.#take(part);
          if (part.more) this.#hinted = true;
        }
        failing = undefined;
      } catch (error) {
        // Without its beginning, nothing can be said of the changes that were to be seen from the call on.
        if (this.#cursor === undefined) this.#failChanges(error);
        failing ??= { since: performance.now(), waitMs: RETRY_MS.first };
        if (performance.now() - failing.since >= PATIENCE_MS) this.#failAll(error);
      } finally {
        this.#started?.();
      }
      if (failing !== undefined) {
        await this.#rest(failing.waitMs, () => this.#unwatched || this.#starting !== undefined);
        failing.waitMs = Math.min(2 * failing.waitMs, RETRY_MS.most);
      } else {
        await this.#rest(LEAST_MS, () => this.#unwatched);
        await this.#rest(this.#backend.pollMs, () => this.#hinted);
      }
    }
    stopHints();
    // Who began it again may have left before it was tried.
    this.#started?.();
    this.#cursor = undefined;
    this.#loop = undefined;
  }

  /** Lets commits wait until `#started` is called, which is soon. */
  #start(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      started();
      this.#failChanges(
        new WorkflowStateError(
          "STORE_UNAVAILABLE",
          "The feed of the database is slow to begin: watch again.",
        ),
      );
    }, START_MS);
    const started = (): void => {
      clearTimeout(timer);
      if (this.#starting === promise) this.#starting = undefined;
      resolve();
    };
    this.#starting = promise;
    this.#started = started;
  }

  #take({ changes, lost }: FeedPart): void {
    if (lost) {
      for (const watched of this.#sessions.values()) watched.wake();
      this.#failChanges(tooFarBehind());
    }
    for (const { session, revision, kind, metadata, time, expireTime } of changes) {
      this.#sessions.get(nameOf(session))?.wake(revision);
      this.#namespaces.get(session.namespace)?.add({
        session: sessionOf(session.sessionId, { metadata, time, expireTime }, revision, new Map()),
        kind,
      });
    }
  }

  #failChanges(error: unknown): void {
    const failed = [...this.#namespaces.values()];
    this.#namespaces.clear();
    for (const changes of failed) changes.fail(error);
  }

  #failAll(error: unknown): void {
    const failed = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const watched of failed) watched.fail(error);
    this.#failChanges(error);
  }

  /** Waits so long, or until it is roused and `enough` holds. */
  #rest(ms: number, enough: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#rouse = undefined;
        resolve();
      };
      const timer = setTimeout(end, ms);
      // A reader who waits has a timer of its own; one who doesn't must not keep a program alive that is done.
      if (typeof timer === "object") timer.unref();
      this.#rouse = () => {
        if (enough()) end();
      };
      this.#rouse();
    });
  }
}
