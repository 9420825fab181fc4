/** Figures: what is counted, by what it is told apart, and that nobody can make more series than there are. */
import { createHash } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import type { Histogram } from "@opentelemetry/sdk-metrics";
import { expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { framed, http2Request, http2Session, pathOf } from "../support/serving.ts";
import { type Figures, type Measured, measuring } from "../support/telemetry.ts";
import { until } from "../support/until.ts";
import { transportTo, WIRES, type Wire } from "../support/wires.ts";

const RPC = "agenterra.state.v1.WorkflowStateService";
const value = { kind: { case: "numberValue" as const, value: 1 } };
const grpc: Wire = { protocol: "grpc", codec: "binary", httpVersion: "2" };
const clientOf = ({ server }: Measured, wire: Wire = grpc) =>
  createClient(WorkflowStateService, transportTo(server.url, wire).transport);

/** The value of the one series that has these attributes. */
async function figure(figures: Figures, name: string, attributes: object): Promise<number | undefined> {
  const series = await figures.of(name);
  const found = series.filter((each) =>
    Object.entries(attributes).every(([key, text]) => each.attributes[key] === text),
  );
  expect(found.length, JSON.stringify(series)).toBeLessThanOrEqual(1);
  return found[0]?.value;
}

/** Waits until a figure is as large. */
async function reached(figures: Figures, name: string, attributes: object, count: number): Promise<void> {
  while ((await figure(figures, name, attributes)) !== count)
    await new Promise((resolve) => setTimeout(resolve, 2));
}

test.for(WIRES)(
  "calls are counted by method, code and reason: $protocol $codec $httpVersion",
  async (wire) => {
    const measured = await measuring();
    const client = clientOf(measured, wire);
    for (let i = 0; i < 3; i++) await client.setState({ sessionId: "s", key: "k", value });
    for (let i = 0; i < 2; i++) {
      await expect(client.setState({ sessionId: "s", key: "k", value, ifRevision: 99n })).rejects.toThrow();
    }
    await expect(client.setState({ sessionId: "", key: "k", value })).rejects.toThrow();
    const isConnect = wire.protocol === "connect";
    const name = "rpc.server.call.duration";
    const method = { "rpc.method": `${RPC}/SetState`, "rpc.system.name": isConnect ? "connectrpc" : "grpc" };
    const good = isConnect ? {} : { "rpc.response.status_code": "OK" };
    await reached(measured.figures, name, { ...method, ...good, "error.type": undefined }, 3);
    await reached(measured.figures, name, { ...method, "error.type": "REVISION_MISMATCH" }, 2);
    await reached(measured.figures, name, { ...method, "error.type": "INVALID_SESSION_ID" }, 1);
    await reached(measured.figures, "workflow_state.rpc.open", { "rpc.method": `${RPC}/SetState` }, 0);
  },
);

test("calls of the store are timed by operation, of a pipeline each batch", async () => {
  const measured = await measuring();
  const client = clientOf(measured);
  await client.setState({ sessionId: "s", key: "k", value });
  async function* batches() {
    yield { operations: [] };
    yield { operations: [] };
  }
  for await (const _ of client.pipeline(batches()));
  const name = "db.client.operation.duration";
  expect(await figure(measured.figures, name, { "db.operation.name": "setState" })).toBe(1);
  expect(await figure(measured.figures, name, { "db.operation.name": "pipeline" })).toBe(2);
  const [series] = await measured.figures.histograms(name);
  const { sum, buckets } = (series as { value: Histogram }).value;
  expect(sum).toBeGreaterThan(0);
  expect(buckets.boundaries[0]).toBe(0.0001);
});

test("open watches are counted, and how late events reach them", async () => {
  const measured = await measuring();
  const client = clientOf(measured);
  await client.setState({ sessionId: "s", key: "k", value });
  const leave = new AbortController();
  const watches = Array.from({ length: 3 }, () =>
    client
      .watchSession({ sessionId: "s", afterRevision: 0n }, { signal: leave.signal })
      [Symbol.asyncIterator](),
  );
  // What was there before is no lag.
  for (const watch of watches) await watch.next();
  const method = { "rpc.method": `${RPC}/WatchSession` };
  expect(await figure(measured.figures, "workflow_state.watch.open", method)).toBe(3);
  expect(await measured.figures.of("workflow_state.watch.lag")).toEqual([]);
  await client.setState({ sessionId: "s", key: "k", value });
  for (const watch of watches) await watch.next();
  expect(await measured.figures.of("workflow_state.watch.lag")).toEqual([{ attributes: {}, value: 3 }]);
  leave.abort();
  await reached(measured.figures, "workflow_state.watch.open", method, 0);
});

test("what the store in memory holds is told, and how the process is", async () => {
  const measured = await measuring();
  const client = clientOf(measured);
  await client.saveSession({ session: { sessionId: "s", state: { a: value, b: value } } });
  const { figures } = measured;
  expect(await figure(figures, "workflow_state.store.sessions", {})).toBe(1);
  expect(await figure(figures, "workflow_state.store.entries", {})).toBe(2);
  expect(await figure(figures, "workflow_state.store.bytes", {})).toBeGreaterThan(100);
  expect(await figure(figures, "process.memory.usage", {})).toBeGreaterThan(1e7);
  expect(await figure(figures, "v8js.memory.heap.used", {})).toBeGreaterThan(1e6);
  await new Promise((resolve) => setTimeout(resolve, 40));
  const end = performance.now() + 100;
  while (performance.now() < end);
  await new Promise((resolve) => setTimeout(resolve, 60));
  // From one collection: each tells of the time since the one before.
  const collected = await figures.metrics();
  const delay = (kind: string): unknown =>
    collected.find(({ descriptor }) => descriptor.name === `nodejs.eventloop.delay.${kind}`)?.dataPoints[0]
      ?.value;
  for (const kind of ["mean", "p50", "p99"]) expect(delay(kind), kind).toBeGreaterThanOrEqual(0);
  expect(delay("max")).toBeGreaterThanOrEqual(0.02);
});

test("whatever callers send, there are no more series than methods, codes and reasons", async () => {
  const keys = Array.from({ length: 20 }, (_, i) => ({
    sha256: createHash("sha256").update(`key${i}`).digest("hex"),
    principal: `principal-${i}`,
    namespaces: [`namespace-${i}`],
  }));
  const grants = [{ principal: "*", action: "write" as const, namespace: "*" }];
  const { server, figures } = await measuring({ auth: { keys, grants } });
  const session = http2Session(server);
  const ask = (path: string, authorization: string, more: object = {}) =>
    http2Request(
      session,
      { "content-type": "application/grpc", ":path": path, authorization, ...more },
      framed(Buffer.from([10, 1, 0x73, 18, 1, 0x6b])),
    );
  for (let i = 0; i < 20; i++) {
    await ask(pathOf("GetState"), `Bearer key${i}`);
    await ask(pathOf(`Method${i}`), `Bearer key${i}`);
    await ask(`/agenterra.state.v1.Service${i}/GetState`, `Bearer key${i}`);
    await ask(pathOf("GetState"), `Bearer wrong${i}`);
    await ask(pathOf("GetState"), `Bearer key${i}`, {
      "x-workflow-state-namespace": `other-${i}`,
      "content-type": `application/grpc+odd${i}`,
      "user-agent": `agent-${i}`,
      ":authority": `host-${i}`,
      traceparent: `00-${String(i).padStart(32, "a")}-${"b".repeat(16)}-01`,
    });
  }
  // An answer may be there before its end is seen.
  const series = await until(async () => {
    const seen = await figures.of("rpc.server.call.duration");
    return seen.reduce((sum, { value: count }) => sum + count, 0) === 60 ? seen : undefined;
  });
  expect(series.map(({ value: count }) => count).sort((a, b) => a - b)).toEqual([20, 20, 20]);
  const text = JSON.stringify(await figures.metrics());
  for (const free of ["principal-", "namespace-", "other-", "agent-", "host-", "Method", "Service1", "odd"]) {
    expect(text).not.toContain(free);
  }
});
