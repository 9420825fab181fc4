import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openStore } from "../../src/open.ts";
import { Gate } from "../../src/service/gate.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { serving } from "../support/serving.ts";

const LIMITED = expect.objectContaining({ reason: "RATE_LIMITED" });

async function limited(perPrincipal: ConstructorParameters<typeof Gate>[0]): Promise<WorkflowStateStore> {
  const keys = [{ sha256: KEY_HASH, principal: "worker", namespaces: ["team"] }];
  const grants = [{ principal: "*", action: "write", namespace: "*" }] as const;
  const server = await serving({ perPrincipal, auth: { keys, grants } });
  const store = await openStore(server.url, {
    headers: { authorization: "Bearer first" },
    retry: { attempts: 1 },
  });
  onTestFinished(() => store.close());
  return store;
}
// SHA-256 of "first".
const KEY_HASH = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";

describe("a principal", () => {
  test("may have so many streams, and another when one has ended", async () => {
    const store = await limited({ streams: 2 });
    const open = async (): Promise<AsyncIterator<unknown>> => {
      const watch = store.watchSession("s")[Symbol.asyncIterator]();
      await watch.next();
      return watch;
    };
    const first = await open();
    await open();
    await expect(open()).rejects.toEqual(LIMITED);
    expect(await store.getState("s", "k")).toBeUndefined();
    await first.return?.();
    await vi.waitFor(open, 20_000);
  });

  test("may do so many operations a second, each of a batch among them", async () => {
    const store = await limited({ operationsPerSecond: 20 });
    const get = { kind: "getState", sessionId: "s", key: "k" } as const;
    await store.batch(Array(256).fill(get));
    await expect(store.batch(Array(256).fill(get))).rejects.toEqual(LIMITED);
    await vi.waitFor(() => store.getState("s", "k"), 20_000);
  });

  test("is told when to come again, and does not hold up others", () => {
    const gate = new Gate({ calls: 1, operationsPerSecond: 10, burst: 1 }, 1);
    gate.take("a", 1);
    expect(() => gate.take("a", 1)).toThrow(
      expect.objectContaining({ metadata: { limit: "10", retry_after_ms: expect.stringMatching(/^\d+$/) } }),
    );
    gate.take("b", 1);
    const leave = gate.enter("a", "calls");
    expect(() => gate.enter("a", "calls")).toThrow(LIMITED);
    gate.enter("b", "calls");
    leave();
    gate.enter("a", "calls");
  });
});

describe("a burst that is less than the largest batch", () => {
  // Such a batch would never be let in.
  const refused = expect.objectContaining({
    reason: "INVALID_REQUEST",
    message: expect.stringContaining("burst must be at least 256"),
  });

  test("is refused at the start", async () => {
    await expect(serving({ perPrincipal: { operationsPerSecond: 20, burst: 255 } })).rejects.toEqual(refused);
    await serving({ perPrincipal: { operationsPerSecond: 20, burst: 256 } });
  });

  test("is refused by a reload, and what held before goes on to hold", () => {
    const gate = new Gate({ calls: 1 }, 256);
    expect(() => gate.reload({ calls: 2, burst: 1 })).toThrow(refused);
    gate.enter("a", "calls");
    expect(() => gate.enter("a", "calls")).toThrow(LIMITED);
  });
});

describe("limits that change", () => {
  test("hold from the next call on, with what is under way counted", () => {
    const gate = new Gate({ calls: 1 }, 1);
    gate.enter("a", "calls");
    gate.reload({ calls: 2 });
    const leave = gate.enter("a", "calls");
    gate.reload({ calls: 1 });
    leave();
    expect(() => gate.enter("a", "calls")).toThrow(LIMITED);
  });

  test("can be of operations where there were none, and of none where there were some", () => {
    const gate = new Gate({}, 1);
    for (let n = 0; n < 100; n++) gate.take("a", 1);
    gate.reload({ operationsPerSecond: 0.01, burst: 2 });
    gate.take("a", 1);
    gate.take("a", 1);
    expect(() => gate.take("a", 1)).toThrow(LIMITED);
    gate.reload({});
    for (let n = 0; n < 100; n++) gate.take("a", 1);
  });
});

test("principals that came and went are forgotten, those with calls under way are not", () => {
  const gate = new Gate({ calls: 1 }, 1);
  gate.enter("busy", "calls");
  for (let n = 0; n < 20_001; n++) gate.enter(`p${n}`, "calls")();
  expect(() => gate.enter("busy", "calls")).toThrow(LIMITED);
});
