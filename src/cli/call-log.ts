/** Lines about calls: one for each at debug, and an audit of the writes if that is asked for. */
import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import type { Failure, Observation, Observer, RpcStart, Write } from "../service/observer.ts";
import { callersSpan } from "../telemetry/trace-context.ts";
import type { Logger } from "./logger.ts";

/** Sees calls for the log; `undefined`: nothing is to be said of them. */
export function callLog(logger: Logger, { audit }: { readonly audit: boolean }): Observer | undefined {
  const calls = logger.isLevelEnabled("debug") ? logger : undefined;
  // Whatever else is left out: an audit was asked for.
  const writes = audit ? logger.child({ audit: true }, { level: "info" }) : undefined;
  return calls === undefined && writes === undefined
    ? undefined
    : { begin: (rpc, traceId) => new LoggedCall(rpc, traceId, calls, writes) };
}

class LoggedCall implements Observation {
  readonly #rpc: RpcStart;
  readonly #traceId: string | undefined;
  readonly #calls: Logger | undefined;
  readonly #start = performance.now();
  readonly wrote?: (write: Write) => void;
  #ids: { readonly requestId: string; readonly traceId?: string } | undefined;
  #principal: string | undefined;
  #namespace: string | undefined;
  #messages = 0;

  /** @param calls where the call is told of, and `writes` where its writes are; absent: nowhere */
  constructor(
    rpc: RpcStart,
    traceId: string | undefined,
    calls: Logger | undefined,
    writes: Logger | undefined,
  ) {
    this.#rpc = rpc;
    this.#traceId = traceId;
    this.#calls = calls;
    if (writes !== undefined) this.wrote = (write) => writes.info(this.#shown(write), "write");
  }

  who(principal: string, namespace: string | undefined): void {
    this.#principal = principal;
    this.#namespace = namespace;
  }

  sent(): void {
    this.#messages++;
  }

  end(failure: Failure | undefined): void {
    if (this.#calls === undefined) return;
    const { service, method, kind, protocol } = this.#rpc;
    this.#calls.debug(
      {
        ...this.#caller(),
        rpc: `${service}/${method}`,
        protocol,
        peer: this.#rpc.peer()?.address,
        ...outcomeOf(failure),
        ...(kind === "streaming" ? { messages: this.#messages } : {}),
        durationMs: Math.round((performance.now() - this.#start) * 1000) / 1000,
      },
      "call",
    );
  }

  #shown({ operation, sessionId, keys, requestId, revision, failure }: Write): object {
    const written = {
      operation,
      session: cut(sessionId),
      keys: keys?.slice(0, MOST_KEYS).map(cut),
      writeId: requestId && cut(requestId),
      revision,
    };
    return { ...this.#caller(), ...written, ...outcomeOf(failure) };
  }

  #caller(): object {
    this.#ids ??= idsOf(this.#rpc, this.#traceId);
    return { ...this.#ids, principal: this.#principal, namespace: this.#namespace };
  }
}

/** As many keys as a commit may have, and as long a text as a key may be: what is refused for more is told of in part. */
const MOST_KEYS = 128;
const MOST_TEXT = 512;

function cut(text: string): string {
  return text.slice(0, MOST_TEXT);
}

function outcomeOf(failure: Failure | undefined): object {
  return failure === undefined
    ? { outcome: "OK" }
    : { outcome: nameOf(failure.code), reason: failure.reason };
}

/** A code as gRPC writes it: FAILED_PRECONDITION. */
function nameOf(code: Code): string {
  return code === Code.Canceled ? "CANCELLED" : Code[code].replace(/\B[A-Z]/g, "_$&").toUpperCase();
}

/** By which the lines of one call are found, and the call in what its caller logs. */
function idsOf(
  rpc: RpcStart,
  made: string | undefined,
): { readonly requestId: string; readonly traceId?: string } {
  const given = rpc.header("x-request-id");
  const requestId = given !== undefined && /^[\w.:/+=-]{1,128}$/.test(given) ? given : randomUUID();
  const traceId = made ?? callersSpan(rpc.header("traceparent"), undefined)?.traceId;
  return traceId === undefined ? { requestId } : { requestId, traceId };
}
