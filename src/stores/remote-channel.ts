/** Calls to a service over a transport: headers, deadlines, retries, and the end of all of them when the channel closes. */
import {
  type DescMessage,
  type DescMethod,
  type DescMethodStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { WorkflowStateService as PublicService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import { fromConnectError, reasonOf } from "../wire.ts";
import { pause, unlessAborted } from "./pause.ts";

/** Headers to send with a call, or a function that gives them for each attempt: for tokens that run out. */
export type HeadersOption = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** How a call that failed with UNAVAILABLE is tried again. */
export interface RetryOptions {
  /** How often a call is tried in all, 1 or more; absent: 5. */
  readonly attempts?: number | undefined;
  /** The longest pause before the second attempt; it doubles with each. Absent: 50. */
  readonly baseMs?: number | undefined;
  /** The longest pause; absent: 2,000. */
  readonly maxMs?: number | undefined;
}

/** Options of a {@link Channel}. */
export interface ChannelOptions {
  readonly codec: "binary" | "json";
  readonly headers: HeadersOption | undefined;
  readonly timeoutMs: number;
  readonly retry: RetryOptions;
}

/** What a call needs beside its message. */
export interface Call {
  /** Whether it writes: if so, what can't be told is OUTCOME_UNKNOWN. */
  readonly write: boolean;
  readonly namespace: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** When its time runs out, as {@link Channel.deadline} gave it; absent: it begins now. */
  readonly deadline?: number | undefined;
  /** Whether the write may have been made already, by another call. */
  readonly inDoubt?: boolean | undefined;
}

/** The header that names the tenant. */
const NAMESPACE_HEADER = "x-workflow-state-namespace";

/** Failures that are decided before the service looks at a request id. */
const BEFORE_THE_STORE: ReadonlySet<string> = new Set([
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "RATE_LIMITED",
]);
/** Codes that a proxy gives too, for its own statuses: without a reason they are not the store's word. */
const OF_PROXIES: ReadonlySet<Code> = new Set([Code.Unimplemented, Code.NotFound, Code.ResourceExhausted]);

/** A service behind a transport. */
export class Channel {
  readonly #transport: Transport;
  readonly #options: ChannelOptions;
  /** What is under way, to abort when the channel closes. */
  readonly #open: Set<Attempt> = new Set();
  #closed = false;

  constructor(transport: Transport, options: ChannelOptions) {
    this.#transport = transport;
    this.#options = options;
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** When the time runs out of what is asked for now, whichever calls that takes. */
  deadline(): number {
    return performance.now() + this.#options.timeoutMs;
  }

  /** Aborts what is under way. Later calls fail with STORE_UNAVAILABLE. */
  close(): void {
    this.#closed = true;
    for (const attempt of this.#open) attempt.abort();
  }

  /**
   * Makes a call, and again while it fails with UNAVAILABLE and there is time; gives what `read` makes of the answer. What
   * can't be known in the end is OUTCOME_UNKNOWN for a write. A caller's abort is thrown as it is.
   * @param read is told whether a write may have been made already, whatever this answer says of it
   */
  async unary<I extends DescMessage, O extends DescMessage, T>(
    method: DescMethodUnary<I, O>,
    message: MessageShape<I>,
    read: (answer: MessageShape<O>, inDoubt: boolean) => T,
    call: Call,
  ): Promise<T> {
    const { attempts = 5 } = this.#options.retry;
    const wire = wireOf(method, this.#options.codec);
    const input = wire.input(message);
    const { deadline = this.deadline() } = call;
    let unknown = call.inDoubt ?? false;
    for (let count = 1; ; count++) {
      const attempt = this.#begin(call, unknown);
      let sent = false;
      let failure: WorkflowStateError;
      try {
        const header = await this.#header(call.namespace, attempt.signal, deadline);
        const timeoutMs = Math.ceil(deadline - performance.now());
        if (timeoutMs <= 0) throw overdue();
        sent = true;
        const answer = await this.#transport.unary(wire.method, attempt.signal, timeoutMs, header, input);
        return read(wire.output(answer.message), unknown);
      } catch (error) {
        call.signal?.throwIfAborted();
        failure = this.#closed
          ? closedError({ write: call.write && sent }, error)
          : fromConnectError(error, call);
      } finally {
        attempt.end();
      }
      unknown ||= failure.reason === "OUTCOME_UNKNOWN";
      const pauseMs = backoffMs(count, this.#options.retry);
      const over = this.#closed || count >= attempts || performance.now() + pauseMs >= deadline;
      if (failure.code !== "UNAVAILABLE" || over) throw unknown ? stillUnknown(failure, sent) : failure;
      await this.#pause(pauseMs, call, (error) => closedError({ write: unknown }, error));
    }
  }

  /**
   * Opens a stream and gives what `read` makes of its messages. It ends with the service's end, by the signal, or when its
   * reader returns; what goes wrong is thrown as a store's error. It has no deadline and no second attempt.
   */
  async *stream<I extends DescMessage, O extends DescMessage, T>(
    method: DescMethodStreaming<I, O>,
    messages: AsyncIterable<MessageShape<I>>,
    read: (message: MessageShape<O>) => T,
    call: Call,
  ): AsyncGenerator<T, void, undefined> {
    const wire = wireOf(method, this.#options.codec);
    const attempt = this.#begin(call);
    try {
      const header = await this.#header(call.namespace, attempt.signal);
      const input = mapAsync(messages, wire.input);
      const answer = await this.#transport.stream(wire.method, attempt.signal, 0, header, input);
      for await (const message of answer.message) yield read(wire.output(message));
    } catch (error) {
      call.signal?.throwIfAborted();
      throw this.#closed ? shuttingDown(error) : fromConnectError(error, call);
    } finally {
      // Also where the reader returned early: nothing else tells the transport.
      attempt.abort();
      attempt.end();
    }
  }

  /** Waits before a stream goes on. */
  async rest(ms: number, call: Call): Promise<void> {
    await this.#pause(ms, call, shuttingDown);
  }

  /** What the promise gives, unless the call is aborted or the channel closes before: for waits of a stream. */
  async unlessEnded<T>(promise: Promise<T>, call: Call): Promise<T> {
    // It may fail when nobody waits any more.
    promise.catch(() => undefined);
    const attempt = this.#begin(call);
    try {
      return await new Promise<T>((resolve, reject) => {
        attempt.signal.addEventListener("abort", () => reject(shuttingDown()));
        promise.then(resolve, reject);
      });
    } catch (error) {
      call.signal?.throwIfAborted();
      throw error;
    } finally {
      attempt.end();
    }
  }

  async #pause(ms: number, call: Call, whenClosed: (error: unknown) => WorkflowStateError): Promise<void> {
    const attempt = this.#begin(call);
    try {
      await pause(ms, attempt.signal);
    } catch (error) {
      call.signal?.throwIfAborted();
      throw whenClosed(error);
    } finally {
      attempt.end();
    }
  }

  #begin(call: Call, unknown = false): Attempt {
    call.signal?.throwIfAborted();
    if (this.#closed) throw closedError({ write: unknown });
    return new Attempt(call.signal, this.#open);
  }

  async #header(namespace: string | undefined, signal: AbortSignal, deadline?: number): Promise<Headers> {
    const { headers } = this.#options;
    let header: Headers;
    try {
      header = new Headers(typeof headers === "function" ? await inTime(headers, signal, deadline) : headers);
    } catch (error) {
      if (WorkflowStateError.is(error)) throw error;
      throw new WorkflowStateError("STORE_UNAVAILABLE", "The headers of the call could not be made.", {
        cause: error,
      });
    }
    if (namespace !== undefined && namespace !== "") {
      // What a header can carry as it is.
      if (!/^[\x21-\x7e]+$/.test(namespace)) {
        throw new WorkflowStateError("INVALID_REQUEST", "A namespace is visible ASCII, without spaces.", {
          metadata: { field: "namespace" },
        });
      }
      header.set(NAMESPACE_HEADER, namespace);
    }
    return header;
  }
}

/** Something under way: it ends by its caller's signal, or with all others. Listens to the signal no longer than it lives. */
class Attempt {
  readonly #controller: AbortController = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #open: Set<Attempt>;
  readonly abort = (): void => this.#controller.abort();

  constructor(outer: AbortSignal | undefined, open: Set<Attempt>) {
    this.#outer = outer;
    this.#open = open;
    outer?.addEventListener("abort", this.abort, { once: true });
    open.add(this);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(): void {
    this.#outer?.removeEventListener("abort", this.abort);
    this.#open.delete(this);
  }
}

/** What the function gives, unless the signal aborts or the time runs out before: it may hang. */
async function inTime<T>(give: () => T | Promise<T>, signal: AbortSignal, deadline?: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer =
    deadline && setTimeout(() => late.reject(overdue()), Math.max(0, deadline - performance.now()));
  try {
    return await unlessAborted(Promise.race([late.promise, give()]), signal);
  } finally {
    clearTimeout(timer);
  }
}

/** How long to wait before another attempt: exponential, with a random half. */
export function backoffMs(count: number, { baseMs = 50, maxMs = 2000 }: RetryOptions): number {
  return Math.min(maxMs, baseMs * 2 ** (count - 1)) * (0.5 + Math.random() / 2);
}

const CLOSED = "This client was closed.";

function closedError({ write }: { readonly write: boolean }, cause?: unknown): WorkflowStateError {
  return new WorkflowStateError(write ? "OUTCOME_UNKNOWN" : "STORE_UNAVAILABLE", CLOSED, { cause });
}

function overdue(): WorkflowStateError {
  return new WorkflowStateError("STORE_UNAVAILABLE", "The call's time ran out before it could be sent.");
}

function shuttingDown(cause?: unknown): WorkflowStateError {
  return new WorkflowStateError("SHUTTING_DOWN", CLOSED, { cause });
}

/** Whether a failure is not the store's word: then it doesn't say how earlier attempts at a write ended. */
export function isBeforeTheStore({ code, reason, cause }: WorkflowStateError): boolean {
  if (code === "UNAVAILABLE" || BEFORE_THE_STORE.has(reason)) return true;
  return cause instanceof ConnectError && OF_PROXIES.has(cause.code) && reasonOf(cause) === undefined;
}

/** The failure of a write of which an earlier attempt may have been done, by the last one, which was `sent` or not. */
export function stillUnknown(failure: WorkflowStateError, sent = true): WorkflowStateError {
  if ((sent && !isBeforeTheStore(failure)) || failure.reason === "OUTCOME_UNKNOWN") return failure;
  return new WorkflowStateError(
    "OUTCOME_UNKNOWN",
    "The write may or may not have happened; retry it with the same request id.",
    { cause: failure },
  );
}

/** A method as the transport is to call it, and its messages on the way there and back. */
interface WireMethod<M, I extends DescMessage, O extends DescMessage> {
  readonly method: M;
  input(message: MessageShape<I>): MessageShape<I>;
  output(message: MessageShape<O>): MessageShape<O>;
}

/**
 * Binary calls speak the encoded schema. JSON can't, as its values would be base64: they speak the public one, and the
 * messages of the two turn into each other through their common bytes. So for JSON the types here name the other schema.
 */
function wireOf<M extends DescMethod, I extends M["input"], O extends M["output"]>(
  method: M,
  codec: "binary" | "json",
): WireMethod<M, I, O> {
  if (codec === "binary") return { method, input: (message) => message, output: (message) => message };
  const methods: Readonly<Record<string, DescMethod>> = PublicService.method;
  const json = methods[method.localName] as M;
  return {
    method: json,
    input: (message) => fromBinary(json.input, toBinary(method.input, message)) as MessageShape<I>,
    output: (message) => fromBinary(method.output, toBinary(json.output, message)) as MessageShape<O>,
  };
}

async function* mapAsync<A, B>(
  items: AsyncIterable<A>,
  map: (item: A) => B,
): AsyncGenerator<B, void, undefined> {
  for await (const item of items) yield map(item);
}
