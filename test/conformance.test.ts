import { afterEach, describe, expect, test } from "vitest";
import { type ConformanceHarness, conformanceCases } from "../src/conformance.ts";
import { DEFAULT_LIMITS, type Limits, type WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { STORE_KINDS, TestClock } from "./support/stores.ts";
import { nameOf, openRemote, serve, WIRES } from "./support/wires.ts";

const HISTORY = 8;

/** Those that take long to reach are smaller; those of a value are the real ones. */
const LIMITS: Limits = {
  ...DEFAULT_LIMITS,
  entries: 300,
  sessionBytes: 6 << 20,
  pageSize: 50,
  operations: 64,
  checks: 100,
};

/** What makes a store under test; what must be undone is added to a list. */
type Open = (clock: TestClock, closing: (() => Promise<void>)[]) => Promise<WorkflowStateStore>;

const STORES: Record<string, Open> = {};

for (const kind of STORE_KINDS) {
  STORES[kind.name] = async (clock, closing) => {
    const { store, namespace, close } = await kind.open({ clock, history: HISTORY, limits: LIMITS });
    closing.push(close);
    return jsonStore(store, { limits: LIMITS, namespace });
  };
}

for (const wire of WIRES) {
  STORES[`remote over ${nameOf(wire)}`] = async (clock, closing) => {
    const store = memoryStore({ now: () => clock.now(), history: HISTORY, limits: LIMITS });
    const server = await serve(store, LIMITS);
    closing.push(() => store.close(), server.close);
    return openRemote(server.url, wire, { limits: LIMITS });
  };
}

test("the cases have names of their own", () => {
  const names = conformanceCases.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

describe.each(Object.entries(STORES))("%s", (_, open) => {
  const closing: (() => Promise<void>)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  function harness(): ConformanceHarness {
    const clock = new TestClock();
    return {
      open: () => open(clock, closing),
      clock,
      history: HISTORY,
      limits: LIMITS,
    };
  }

  test.each(conformanceCases.map((each) => [each.name, each] as const))("%s", async (_name, each) => {
    await each.run(harness());
  });
});
