/** The trace that a caller is in, as W3C's Trace Context says it in the headers of a request. */
import { createTraceState, isSpanContextValid, type SpanContext } from "@opentelemetry/api";

const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;

/** The span that a request was sent by; `undefined`: it was sent by none, or the header is not well-formed. */
export function callersSpan(
  traceparent: string | undefined,
  tracestate: string | undefined,
): SpanContext | undefined {
  const [, version, traceId = "", spanId = "", flags = "", more] = TRACEPARENT.exec(traceparent ?? "") ?? [];
  // Versions to come may say more; this one does not.
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  const span: SpanContext = {
    traceId,
    spanId,
    // Only the first is known: whether the caller's span is recorded.
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
    ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
  };
  return isSpanContextValid(span) ? span : undefined;
}
