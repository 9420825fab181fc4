/** A store that is observed keeps the contract of stores. */
import { afterEach, describe, test } from "vitest";
import { type ConformanceHarness, conformanceCases } from "../../src/conformance.ts";
import { DEFAULT_LIMITS, type EncodedStore, type Limits } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { telemetry } from "../../src/telemetry.ts";
import { TestClock } from "../support/stores.ts";
import { Figures, Spans } from "../support/telemetry.ts";

const HISTORY = 8;

/** Those that take long to reach are smaller. */
const LIMITS: Limits = {
  ...DEFAULT_LIMITS,
  entries: 300,
  sessionBytes: 6 << 20,
  pageSize: 50,
  operations: 64,
  checks: 100,
};

describe("a store that is measured and traced", () => {
  const closing: (() => Promise<void> | void)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  function harness(): ConformanceHarness {
    const clock = new TestClock();
    const open = async () => {
      const inner = memoryStore({ history: HISTORY, limits: LIMITS, now: () => clock.now() });
      const { store, stop } = telemetry(inner, {
        system: "memory",
        tracerProvider: new Spans().provider,
        meterProvider: new Figures().provider,
      });
      const outer: EncodedStore = store;
      closing.push(() => inner.close(), stop);
      return jsonStore(outer, { limits: LIMITS });
    };
    return { open, clock, history: HISTORY, limits: LIMITS };
  }

  test.each(conformanceCases.map((each) => [each.name, each] as const))("%s", async (_name, each) => {
    await each.run(harness());
  });
});
