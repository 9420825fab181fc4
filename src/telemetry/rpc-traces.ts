/** A span for each RPC, as a child of its caller's. */
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { Failure, Observation, Observer, RpcStart } from "../service/observer.ts";
import { isServersFault, methodName, outcomeAttributes, systemName } from "./conventions.ts";
import { callersSpan } from "./trace-context.ts";

/** Makes a span of each RPC. */
export class RpcTraces implements Observer {
  readonly #tracer: Tracer;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  begin(rpc: RpcStart): Observation {
    const caller = callersSpan(rpc.header("traceparent"), rpc.header("tracestate"));
    const parent = caller === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, caller);
    const attributes = { "rpc.system.name": systemName(rpc), "rpc.method": methodName(rpc) };
    const span = this.#tracer.startSpan(methodName(rpc), { kind: SpanKind.SERVER, attributes }, parent);
    return new TracedRpc(rpc, span, parent);
  }
}

/** What the store's calls get to be part of an RPC's span. */
export class SpanTrace {
  readonly context: Context;

  constructor(context: Context) {
    this.context = context;
  }
}

class TracedRpc implements Observation {
  readonly traceId: string;
  readonly trace: SpanTrace | undefined;
  readonly #rpc: RpcStart;
  readonly #span: Span;
  #messages = 0;

  constructor(rpc: RpcStart, span: Span, parent: Context) {
    this.#rpc = rpc;
    this.#span = span;
    this.traceId = span.spanContext().traceId;
    // Of a call that nobody records nothing else is recorded.
    if (!span.isRecording()) return;
    this.trace = new SpanTrace(trace.setSpan(parent, span));
    const peer = rpc.peer();
    if (peer !== undefined) {
      span.setAttributes({ "network.peer.address": peer.address, "network.peer.port": peer.port });
    }
    const server = serverOf(rpc.header(":authority") ?? rpc.header("host") ?? "");
    if (server !== undefined) span.setAttributes(server);
  }

  who(_: string, namespace: string | undefined): void {
    if (namespace) this.#span.setAttribute("agenterra.namespace", namespace);
  }

  sent(): void {
    this.#messages++;
  }

  end(failure: Failure | undefined): void {
    const span = this.#span;
    if (span.isRecording()) {
      span.setAttributes(outcomeAttributes(this.#rpc, failure));
      if (this.#rpc.kind === "streaming") span.setAttribute("agenterra.messages", this.#messages);
      if (failure !== undefined && isServersFault(failure)) span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  }
}

/** The name and port by which a caller reaches the server, where the header that says so is well-formed. */
function serverOf(
  authority: string,
): { readonly "server.address": string; readonly "server.port"?: number } | undefined {
  const [, bracketed, plain, port] =
    /^(?:\[([\da-fA-F:]{2,45})\]|([\w.-]{1,253}))(?::(\d{1,5}))?$/.exec(authority) ?? [];
  const address = bracketed ?? plain;
  if (address === undefined) return undefined;
  return { "server.address": address, ...(port === undefined ? {} : { "server.port": Number(port) }) };
}
