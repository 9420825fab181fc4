/** Times beyond what a timer can wait: as long as one can, and not none at all. */
import { expect, onTestFinished, test, vi } from "vitest";
import { openStore } from "../../src/open.ts";
import type { ServerOptions } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { framed, http2Request, http2Session, pathOf, serving } from "../support/serving.ts";
import { stubStore } from "../support/stub-store.ts";

const GET = framed(Buffer.from("0a017312016b", "hex"));

test.each([2 ** 31, Number.POSITIVE_INFINITY])("a server waits %d ms for calls in flight", async (ms) => {
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
  const getState = vi.fn(async ({ sessionId }: { readonly sessionId: string }) => {
    if (sessionId === "s") await finished;
    return undefined;
  });
  const server = await serving({ store: stubStore({ getState }), drainTimeoutMs: ms });
  const headers = { ":path": pathOf("GetState"), "content-type": "application/grpc" };
  const call = http2Request(http2Session(server), headers, GET);
  await vi.waitUntil(() => getState.mock.calls.some(([{ sessionId }]) => sessionId === "s"), {
    timeout: 10_000,
  });
  const closed = server.close();
  // A timer that is told to wait too long is over after a millisecond.
  await new Promise((resolve) => setTimeout(resolve, 100));
  finish();
  expect((await call).trailers["grpc-status"]).toBe("0");
  await closed;
});

test.each<Partial<ServerOptions>>([
  { maxTimeoutMs: 2 ** 31 },
  { maxTimeoutMs: Number.POSITIVE_INFINITY },
  { pingIntervalMs: 2 ** 31 },
  { pingIntervalMs: Number.POSITIVE_INFINITY },
  { connections: { writeTimeoutMs: 2 ** 31 } },
  { connections: { writeTimeoutMs: Number.POSITIVE_INFINITY } },
  { connections: { maxIdleMs: Number.POSITIVE_INFINITY, maxAgeMs: Number.POSITIVE_INFINITY } },
])("calls and watches go on with %o", async (options) => {
  const warned = vi.fn();
  process.on("warning", warned);
  onTestFinished(() => void process.off("warning", warned));
  const memory = memoryStore();
  const slow = stubStore({
    getState: async (request, context) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return memory.getState(request, context);
    },
    setState: (request, context) => memory.setState(request, context),
    watchSession: (request, context) => memory.watchSession(request, context),
  });
  for (const fastPath of [true, false]) {
    const server = await serving({ store: slow, fastPath, ...options });
    const store = await openStore(server.url, { retry: { attempts: 1 } });
    onTestFinished(() => store.close());
    const watch = store.watchSession(`${fastPath}`)[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ kind: "snapshot" });
    const { revision } = await store.setState(`${fastPath}`, "k", "v".repeat(100_000));
    expect(await store.getState(`${fastPath}`, "k")).toHaveLength(100_000);
    expect((await watch.next()).value).toMatchObject({ event: { revision } });
    await watch.return?.();
    const json = await fetch(server.url + pathOf("GetState"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ sessionId: `${fastPath}`, key: "k" }),
    });
    expect(json.status).toBe(200);
    await json.arrayBuffer();
  }
  expect(warned).not.toHaveBeenCalled();
});
