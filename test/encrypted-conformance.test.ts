import { afterEach, describe, test } from "vitest";
import { type ConformanceHarness, conformanceCases } from "../src/conformance.ts";
import { openStore } from "../src/open.ts";
import { DEFAULT_LIMITS, type Limits, type WorkflowStateStore } from "../src/store.ts";
import { encrypted, innerLimits } from "../src/stores/encrypted.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { ENCRYPTED_KINDS, KEYRING, TestClock } from "./support/stores.ts";
import { serve } from "./support/wires.ts";

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

/** Anywhere: how large a value is when sealed does not depend on its place. */
const PLACE = { namespace: "", sessionId: "s", key: "k" };

/** What makes a store under test; what must be undone is added to a list. */
type Open = (clock: TestClock, closing: (() => Promise<void>)[]) => Promise<WorkflowStateStore>;

const STORES: Record<string, Open> = {};

for (const kind of ENCRYPTED_KINDS) {
  STORES[kind.name] = async (clock, closing) => {
    const { store, namespace, close } = await kind.open({ clock, history: HISTORY, limits: LIMITS });
    closing.push(close);
    return jsonStore(store, { limits: LIMITS, namespace });
  };
}

STORES["encrypted at a service"] = async (clock, closing) => {
  const inner = innerLimits(LIMITS);
  const memory = memoryStore({ history: HISTORY, limits: inner, now: () => clock.now() });
  const server = await serve(memory, inner);
  closing.push(() => memory.close(), server.close);
  return openStore(server.url, { limits: LIMITS, encryption: KEYRING });
};

STORES["behind a service that encrypts"] = async (clock, closing) => {
  const memory = memoryStore({ history: HISTORY, limits: innerLimits(LIMITS), now: () => clock.now() });
  const server = await serve(encrypted(memory, KEYRING, { limits: LIMITS }), LIMITS);
  closing.push(() => memory.close(), server.close);
  return openStore(server.url, { limits: LIMITS, protocol: "connect", codec: "json" });
};

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
      limits: { ...LIMITS, sessionBytes: innerLimits(LIMITS).sessionBytes },
      storedBytes: (bytes) => KEYRING.seal(new Uint8Array(bytes), PLACE).length,
    };
  }

  test.each(conformanceCases.map((each) => [each.name, each] as const))("%s", async (_name, each) => {
    await each.run(harness());
  });
});
