import { afterEach, describe, expect, test } from "vitest";
import { type ConformanceHarness, conformanceCases } from "../src/conformance.ts";
import { DEFAULT_LIMITS, type EncodedStore, type Limits, type WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { ClockedMemory, nameOf, openRemote, serve, WIRES } from "./support/stores.ts";

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

/** What makes a store under test over a memory store, and adds what must be undone to a list. */
type Open = (memory: EncodedStore, closing: (() => Promise<void>)[]) => Promise<WorkflowStateStore>;

const STORES: Record<string, Open> = {
  memory: async (memory) => jsonStore(memory, { limits: LIMITS }),
};

for (const wire of WIRES) {
  STORES[`remote over ${nameOf(wire)}`] = async (memory, closing) => {
    const server = await serve(memory, LIMITS);
    closing.push(() => memory.close(), server.close);
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
    const clocked = new ClockedMemory({ history: HISTORY, limits: LIMITS });
    return {
      open: async () => open(clocked.store, closing),
      clock: clocked,
      history: HISTORY,
      limits: LIMITS,
    };
  }

  test.each(conformanceCases.map((each) => [each.name, each] as const))("%s", async (_name, each) => {
    await each.run(harness());
  });
});
