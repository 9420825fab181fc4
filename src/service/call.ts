/** One call: who makes it, how long it may take, and how it ends early. */
import { Code, ConnectError } from "@connectrpc/connect";
import { WorkflowStateError } from "../errors.ts";

/** What the service knows of a call beside its request. */
export interface Call {
  /** The caller's namespace, from {@link namespaceOf}. */
  readonly namespace: string;
  /** Aborts when the caller goes away or its deadline passes; the reason is what the call fails with. */
  readonly signal: AbortSignal;
  /** How long the caller will wait, in milliseconds; absent: it didn't say. The signal is what ends the call. */
  readonly timeoutMs?: number;
}

/**
 * The namespace that a caller works in, from the headers of its call: here identities will be read. Until there are any,
 * all callers share the default namespace, and one who asks for another gets PERMISSION_DENIED.
 */
export function namespaceOf(header: (name: string) => string | null | undefined): string {
  if (header("x-workflow-state-namespace")) {
    throw new WorkflowStateError("PERMISSION_DENIED", "This server has no namespaces but the default one.");
  }
  return "";
}

/** What Node.js says of writing to somebody who has gone. */
const GONE = new Set([
  "ECANCELED",
  "ECONNRESET",
  "EPIPE",
  "ERR_HTTP2_INVALID_STREAM",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
]);

/** Whether an answer failed because there is nobody to take it any more: nothing to tell of. */
export function saysCallerGone(error: unknown): boolean {
  if (error instanceof ConnectError) return error.code === Code.Aborted || saysCallerGone(error.cause);
  return error instanceof Error && "code" in error && GONE.has(String(error.code));
}

/** A signal that aborts with the first of others, or by {@link abort}. */
export class LinkedSignal {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
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

  /** Forgets the others: a server's signal outlives its calls. */
  unlink(): void {
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
