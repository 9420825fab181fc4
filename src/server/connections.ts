/** The connections of a server: how long each may last, and how it is ended without a call that is lost. */
import { WorkflowStateError } from "../errors.ts";
import { Share } from "./buffers.ts";

/** How long connections may last, in milliseconds. */
export interface ConnectionAges {
  /** How old one may get; each up to a tenth less or more, so that not all end at once. Infinity: no limit. */
  readonly maxAgeMs: number;
  /** How long calls may go on when it is too old; then its streams end with SHUTTING_DOWN. */
  readonly ageGraceMs: number;
  /** How long it may be without a call. Infinity: no limit. */
  readonly maxIdleMs: number;
  /** How long unary calls may take beyond that grace; then it is dropped. */
  readonly lastMs: number;
}

/** How a connection is ended. */
export interface Endings {
  /** Lets no more calls begin; those under way go on, and it closes with the last. */
  retire(): void;
  /** Closes it at once. */
  destroy(): void;
}

/** One connection. */
export class Connection {
  /** What is held in memory for its callers. */
  readonly share: Share = new Share();
  /** Whether it takes no more calls. */
  retired = false;
  readonly endings: Endings;
  readonly retireAt: number;
  #calls = 0;
  #idleSince: number = performance.now();
  #ending: AbortController | undefined;
  #reason: unknown;

  constructor(endings: Endings, retireAt: number) {
    this.endings = endings;
    this.retireAt = retireAt;
  }

  /** Aborts when the streams on the connection have to end; the reason is what they end with. */
  get ending(): AbortSignal {
    if (this.#ending === undefined) {
      this.#ending = new AbortController();
      if (this.#reason !== undefined) this.#ending.abort(this.#reason);
    }
    return this.#ending.signal;
  }

  /** Whether it has no call. */
  get isIdle(): boolean {
    return this.#calls === 0;
  }

  /** Since when it has no call, as `performance.now` counts; Infinity: it has one. */
  get idleSince(): number {
    return this.isIdle ? this.#idleSince : Number.POSITIVE_INFINITY;
  }

  /** A call begins. */
  enter(): void {
    this.#calls++;
  }

  /** A call has ended. */
  leave(): void {
    this.#calls--;
    if (this.#calls === 0) this.#idleSince = performance.now();
  }

  /** Lets no more calls begin. */
  retire(): void {
    if (this.retired) return;
    this.retired = true;
    this.endings.retire();
  }

  /** Ends its streams, those under way and those to come. */
  end(reason: unknown): void {
    this.#reason ??= reason;
    this.#ending?.abort(reason);
  }
}

/** How often connections are looked after at most and at least, in milliseconds. */
const SHORTEST_ROUND_MS = 10;
const LONGEST_ROUND_MS = 1_000;

/** All connections that are open. */
export class Connections {
  readonly #ages: ConnectionAges;
  readonly #open: Map<object, Connection> = new Map();
  readonly #stopping: AbortSignal;
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  /** @param stopping aborts when the streams of all connections have to end, with what they end with */
  constructor(ages: ConnectionAges, stopping: AbortSignal) {
    this.#ages = ages;
    this.#stopping = stopping;
    stopping.addEventListener("abort", () => {
      for (const connection of this.#open.values()) connection.end(stopping.reason);
    });
    const shortest = Math.min(ages.maxAgeMs, ages.maxIdleMs);
    if (shortest !== Number.POSITIVE_INFINITY) {
      const roundMs = Math.max(SHORTEST_ROUND_MS, Math.min(LONGEST_ROUND_MS, shortest / 10));
      this.#timer = setInterval(() => this.#round(), roundMs).unref();
    }
  }

  /** How many are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Counts a connection in, known by an HTTP/2 session or an HTTP/1.1 socket. */
  add(key: object, endings: Endings): Connection {
    const { maxAgeMs } = this.#ages;
    const connection = new Connection(endings, performance.now() + maxAgeMs * (0.9 + 0.2 * Math.random()));
    if (this.#stopping.aborted) connection.end(this.#stopping.reason);
    this.#open.set(key, connection);
    return connection;
  }

  /** The connection that is known by something; `undefined`: it is closed. */
  of(key: object | undefined): Connection | undefined {
    return key === undefined ? undefined : this.#open.get(key);
  }

  /** Forgets a connection that is closed. */
  remove(key: object): void {
    this.#open.delete(key);
  }

  /** Stops looking after ages: whoever stops the server ends them all. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #round(): void {
    const now = performance.now();
    const { ageGraceMs, maxIdleMs, lastMs } = this.#ages;
    for (const connection of this.#open.values()) {
      const over = now - connection.retireAt;
      if (over >= 0 || now - connection.idleSince >= maxIdleMs) connection.retire();
      if (over < ageGraceMs) continue;
      connection.end(tooOld());
      if (connection.isIdle || over >= ageGraceMs + lastMs) connection.endings.destroy();
    }
  }
}

function tooOld(): WorkflowStateError {
  return new WorkflowStateError(
    "SHUTTING_DOWN",
    "The connection is as old as the server lets one get: call again, on a new connection.",
  );
}
