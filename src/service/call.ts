/** One call: who makes it, how long it may take, and how it ends early. */
import { Code, ConnectError } from "@connectrpc/connect";
import { WorkflowStateError } from "../errors.ts";
import type { Access, Identity } from "./access.ts";
import type { Observation } from "./observer.ts";

/** Room in the server's memory for what a call makes. */
export interface Room {
  /**
   * Sets so many bytes aside, in the place of those before; the promise is there if they have to be waited for. It rejects
   * with RATE_LIMITED if that takes too long. Whoever takes the answer gives back what it doesn't need.
   */
  reserve(bytes: number): Promise<void> | undefined;
}

/** What the service knows of a call beside its request. */
export interface Call {
  /** Who makes it, and what it may do. */
  readonly access: Access;
  /** Aborts when the caller goes away or its deadline passes; the reason is what the call fails with. */
  readonly signal: AbortSignal;
  /** How long the caller will wait, in milliseconds; absent: it didn't say. The signal is what ends the call. */
  readonly timeoutMs?: number;
  /** Aborts when the streams on the call's connection have to end, with what they end with; absent: when the server's do. */
  readonly ending?: AbortSignal | undefined;
  /** Where its answer will lie until it is taken; absent: nobody counts that. */
  readonly room?: Room | undefined;
  /** Sees the call; absent: nobody does. */
  readonly observation?: Observation | undefined;
}

/** What Node.js says of writing to somebody who has gone. */
const GONE = new Set([
  "ECANCELED",
  "ECONNRESET",
  "EPIPE",
  "ERR_HTTP2_INVALID_STREAM",
  // It has reset the stream, with a code of its choice.
  "ERR_HTTP2_STREAM_ERROR",
  // It has reset the stream, with a code of its choice.
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
]);

/** Whether an answer failed because there is nobody to take it any more: nothing to tell of. */
export function saysCallerGone(error: unknown): boolean {
  if (error instanceof ConnectError) return error.code === Code.Aborted || saysCallerGone(error.cause);
  return error instanceof Error && "code" in error && GONE.has(String(error.code));
}

/** The longest that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** How long a timer is to wait, in milliseconds: one that is told to wait longer than it can doesn't wait at all. */
export function timerMs(ms: number): number {
  return Math.min(ms, MAX_TIMER_MS);
}

/** A signal that aborts with the first of others, or by {@link abort}. */
export class LinkedSignal {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #unlinked: (() => void) | undefined;
  readonly #onAbort = (event: Event): void => {
    this.abort((event.target as AbortSignal).reason);
  };

  constructor(...sources: readonly AbortSignal[]) {
    this.#sources = sources;
    for (const source of sources) {
      if (source.aborted) {
        this.abort(source.reason);
        return;
      }
      source.addEventListener("abort", this.#onAbort);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
    this.unlink();
  }

  /** Aborts at a time, in epoch milliseconds, unless it is unlinked before. */
  abortAt(time: number, reason: () => unknown): void {
    const left = time - Date.now();
    if (left <= 0) this.abort(reason());
    else this.#timer = setTimeout(() => this.abortAt(time, reason), Math.min(left, MAX_TIMER_MS));
  }

  /** Calls this too when the others are forgotten. */
  onUnlink(unlinked: () => void): void {
    this.#unlinked = unlinked;
  }

  /** Forgets the others: a server's signal outlives its calls. */
  unlink(): void {
    clearTimeout(this.#timer);
    this.#unlinked?.();
    for (const source of this.#sources) {
      source.removeEventListener("abort", this.#onAbort);
    }
  }
}

/**
 * Settles as the work does, or fails with the signal's reason if that comes first: a handler that doesn't look at its
 * signal must not hold its caller.
 */
export function raced<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) {
      onAbort();
    }
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/**
 * What ends a stream: the call, the stop of the server or of its connection, and the end of the caller's credentials. Unlink it
 * when it is over.
 */
export function streamEnd({ access, signal }: Call, stopping: AbortSignal): LinkedSignal {
  const { expireTime, onRevoked } = access.identity;
  const end = new LinkedSignal(signal, stopping);
  if (expireTime !== undefined) end.abortAt(expireTime, credentialsExpired);
  if (onRevoked !== undefined) end.onUnlink(onRevoked((reason) => end.abort(reason)));
  return end;
}

/** Fails with UNAUTHENTICATED where credentials are no longer good: a call's message may come long after its headers. */
export function checkCredentials({ expireTime, check }: Identity): void {
  if (expireTime !== undefined && expireTime <= Date.now()) throw credentialsExpired();
  check?.();
}

/** A call with credentials whose time is over. */
function credentialsExpired(): WorkflowStateError {
  return new WorkflowStateError(
    "UNAUTHENTICATED",
    "The credentials have expired: get new ones, and call again.",
  );
}

/** Runs something when it has been waited for long enough, unless the signal aborts before. */
export async function after<T>(
  waiting: Promise<void>,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  await waiting;
  signal.throwIfAborted();
  return run(signal);
}

/** Runs a unary call: not at all if it is over already, and no longer than the caller waits and `maxTimeoutMs` allows. */
export async function bounded<T>(
  call: Call,
  maxTimeoutMs: number,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  call.signal.throwIfAborted();
  if (call.timeoutMs !== undefined && call.timeoutMs <= maxTimeoutMs) {
    return raced(run(call.signal), call.signal);
  }
  const limit = new LinkedSignal(call.signal);
  const timer = setTimeout(() => limit.abort(new DOMException("", "TimeoutError")), maxTimeoutMs);
  try {
    return await raced(run(limit.signal), limit.signal);
  } finally {
    clearTimeout(timer);
    limit.unlink();
  }
}

/**
 * What a stream gives, until the signal aborts: then it fails with the signal's reason, also while a source that doesn't
 * look at its signal is stuck.
 */
export async function* until<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      signal.throwIfAborted();
      const step = await raced(iterator.next(), signal);
      if (step.done === true) {
        return;
      }
      yield step.value;
    }
  } finally {
    // Not waited for: it may be stuck. What it still throws has nobody to go to.
    iterator.return?.().catch(() => {});
  }
}

/** What a stream gives, until the signal aborts: then it ends, well, although the source may go on. */
export async function* endingWith<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  try {
    yield* until(source, signal);
  } catch (error) {
    if (error !== signal.reason) {
      throw error;
    }
  }
}
