import { expect, test } from "vitest";
import { callersSpan } from "../../src/telemetry/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

test("a caller's span is read, with whether it is recorded and what its vendors say", () => {
  expect(callersSpan(`00-${TRACE}-${SPAN}-01`, undefined)).toEqual({
    traceId: TRACE,
    spanId: SPAN,
    traceFlags: 1,
    isRemote: true,
  });
  expect(callersSpan(`00-${TRACE}-${SPAN}-02`, "a=1,b=2")?.traceFlags).toBe(0);
  expect(callersSpan(`00-${TRACE}-${SPAN}-01`, "a=1,b=2")?.traceState?.serialize()).toBe("a=1,b=2");
});

test("a version to come may say more", () => {
  expect(callersSpan(`01-${TRACE}-${SPAN}-01-more`, undefined)?.traceId).toBe(TRACE);
});

test.each([
  undefined,
  "",
  `00-${TRACE}-${SPAN}`,
  `00-${TRACE}-${SPAN}-01-more`,
  `ff-${TRACE}-${SPAN}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
  `00-${"0".repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${"0".repeat(16)}-01`,
  `00-${TRACE}-${SPAN}-1`,
  `00-${TRACE.slice(1)}-${SPAN}-01`,
])("%s is no span", (traceparent) => {
  expect(callersSpan(traceparent, "a=1")).toBeUndefined();
});
