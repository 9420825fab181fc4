import { afterAll, beforeAll, expect, test } from "vitest";
import { type Services, startServices } from "../../interop/services.ts";
import { openStore, WorkflowStateError } from "../../src/index.ts";

let services: Services;

beforeAll(async () => {
  services = await startServices();
});

afterAll(() => services[Symbol.asyncDispose]());

test("the way that breaks loses answers to what was done", async () => {
  await using store = await openStore(services.url);
  await using careless = await openStore(services.given["breaking url"] ?? "", { retry: { attempts: 1 } });
  let answered = 0;
  let unknown = 0;
  for (let n = 0; n < 40; n++) {
    try {
      await careless.commit("lost", { changes: [{ kind: "increment", key: "n", delta: 1 }] });
      answered += 1;
    } catch (error) {
      if (!WorkflowStateError.is(error, "OUTCOME_UNKNOWN")) throw error;
      unknown += 1;
    }
  }
  expect(answered).toBeGreaterThan(0);
  expect(unknown).toBeGreaterThan(1);
  // Done, but not answered.
  expect(await store.getState("lost", "n")).toBeGreaterThan(answered);
});

test("the silent service says nothing, and the absent one is not there", async () => {
  for (const name of ["silent url", "nobody url"]) {
    await using store = await openStore(services.given[name] ?? "", { timeoutMs: 300 });
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  }
});
