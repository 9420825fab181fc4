import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import type { EncodedStore, WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { errorOf, reasonOf } from "../support/failures.ts";
import { methodsOf } from "../support/methods-of.ts";
import { openRemote, WIRES, type Wire } from "../support/wires.ts";

const LIMITS = { requestBytes: 64 << 10 };
const GRPC: Wire = { protocol: "grpc", codec: "binary", httpVersion: "2" };
/** More than one answer holds, though not more than one request each. */
const LARGE: Readonly<Record<string, string>> = Object.fromEntries(
  Array.from({ length: 150 }, (_, i) => [`key ${i}`, "x".repeat(1000)]),
);

let memory: MemoryStore;
let direct: WorkflowStateStore;
let server: RunningServer;
/** Called before each page of a state. */
let before: (() => Promise<unknown>) | undefined;
/** Whether a save is answered without its state, as a larger one would be. */
let trimming = false;

beforeEach(async () => {
  before = undefined;
  trimming = false;
  memory = memoryStore({ limits: LIMITS });
  direct = jsonStore(memory);
  const store: EncodedStore = {
    ...methodsOf(memory),
    async listState(request, context) {
      await before?.();
      return memory.listState(request, context);
    },
    async saveSession(request, context) {
      const saved = await memory.saveSession(request, context);
      return trimming ? { ...saved, state: new Map() } : saved;
    },
  };
  server = await startServer({ store, limits: LIMITS, listen: { port: 0 } });
  for (const [key, value] of Object.entries(LARGE)) await direct.setState("large", key, value);
});

afterEach(async () => {
  await server.close({ now: true });
  await memory.close();
});

describe.each(WIRES)("a session that is too large for one answer, over %j", (wire) => {
  test("is forked and restored with its state", async () => {
    await using store = await openRemote(server.url, wire);
    const copy = await store.forkSession("large", "copy");
    expect(copy.state).toEqual(LARGE);
    expect(copy).toMatchObject({ sessionId: "copy", forkedFrom: { sessionId: "large" } });
    await direct.setState("copy", "key 0", "changed");
    const restored = await store.restoreSession("copy", copy.revision);
    expect(restored.state).toEqual(LARGE);
    expect(restored.revision).toBe(copy.revision + 2);
  });

  test("is given back as it was saved", async () => {
    await using store = await openRemote(server.url, wire);
    trimming = true;
    const state = { a: "ä", b: [1, null] };
    const saved = await store.saveSession({ sessionId: "s", state, workflowId: "w" });
    expect(saved).toMatchObject({ state, workflowId: "w", revision: 1 });
  });
});

test("the state is the one that the write left, whoever writes meanwhile", async () => {
  await using store = await openRemote(server.url, GRPC);
  before = () => direct.setState("copy", "key 149", "changed");
  expect((await store.forkSession("large", "copy")).state).toEqual(LARGE);
});

test("an empty session has an empty state", async () => {
  await using store = await openRemote(server.url, GRPC);
  await store.saveSession({ sessionId: "empty", state: {} });
  expect((await store.forkSession("empty", "copy")).state).toEqual({});
});

test("a state that is not kept any more is not given as another", async () => {
  await using store = await openRemote(server.url, GRPC);
  before = async () => {
    before = undefined;
    for (let i = 0; i < 300; i++) await direct.setState("copy", "k", i);
  };
  expect(await reasonOf(store.forkSession("large", "copy"))).toBe("HISTORY_COMPACTED");
});

test("a write whose state can't be read is known to be no failure", async () => {
  await using store = await openRemote(server.url, GRPC, {
    retry: { attempts: 1 },
  });
  before = () => server.close({ now: true });
  const error = await errorOf(store.forkSession("large", "copy", { requestId: "r" }));
  expect([error.reason, (await direct.getSession("copy")) !== undefined]).toEqual(["OUTCOME_UNKNOWN", true]);
});

test.each(["RATE_LIMITED", "UNAUTHENTICATED", "PERMISSION_DENIED"] as const)(
  "a write that was made is none that failed, though its state may not be read: %s",
  async (reason) => {
    await using store = await openRemote(server.url, GRPC);
    before = async () => {
      throw new WorkflowStateError(reason, "not now");
    };
    const fork = () => store.forkSession("large", "copy", { requestId: "r" });
    const restore = () => store.restoreSession("large", 150, { requestId: "r" });
    const unknown = { reason: "OUTCOME_UNKNOWN", cause: { reason } };
    expect(await errorOf(fork())).toMatchObject(unknown);
    expect(await errorOf(restore())).toMatchObject(unknown);
    before = undefined;
    expect(await fork()).toMatchObject({ revision: 1, state: LARGE });
    expect(await restore()).toMatchObject({ revision: 151, state: LARGE });
  },
);
