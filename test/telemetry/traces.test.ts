/** Spans: the caller's, the RPC's and the store's are one trace, on each protocol. */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { AlwaysOffSampler } from "@opentelemetry/sdk-trace";
import { describe, expect, test } from "vitest";
import { PipelineRequestSchema, WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { telemetry } from "../../src/telemetry.ts";
import { framed, http2Request, http2Session, pathOf } from "../support/serving.ts";
import { type Measured, measuring, Spans } from "../support/telemetry.ts";
import { until } from "../support/until.ts";
import { transportTo, WIRES, type Wire } from "../support/wires.ts";

const RPC = "agenterra.state.v1.WorkflowStateService";
const CANARY = "a value that nobody may see";
const value = { kind: { case: "stringValue" as const, value: CANARY } };
const grpc: Wire = { protocol: "grpc", codec: "binary", httpVersion: "2" };
const clientOf = ({ server }: Measured, wire: Wire) =>
  createClient(WorkflowStateService, transportTo(server.url, wire).transport);

describe.for([...WIRES.map((wire) => ({ wire, fastPath: true })), { wire: grpc, fastPath: false }])(
  "$wire.protocol $wire.codec $wire.httpVersion, fast path $fastPath",
  ({ wire, fastPath }) => {
    test("a caller's span, the RPC's and the store's are one trace", async () => {
      const measured = await measuring({ fastPath });
      const caller = new Spans().provider.getTracer("caller").startSpan("caller");
      const { traceId, spanId } = caller.spanContext();
      const headers = { traceparent: `00-${traceId}-${spanId}-01`, tracestate: "vendor=1" };
      await clientOf(measured, wire).setState({ sessionId: "s", key: "k", value }, { headers });

      const rpc = await measured.spans.ended(`${RPC}/SetState`);
      const store = await measured.spans.ended("setState memory");
      expect(rpc.spanContext()).toMatchObject({ traceId });
      expect(rpc.parentSpanContext).toMatchObject({ traceId, spanId, isRemote: true });
      expect(rpc.spanContext().traceState?.get("vendor")).toBe("1");
      expect(store.spanContext().traceId).toBe(traceId);
      expect(store.parentSpanContext?.spanId).toBe(rpc.spanContext().spanId);
      expect([rpc.kind, store.kind]).toEqual([SpanKind.SERVER, SpanKind.INTERNAL]);
      const status = wire.protocol === "connect" ? {} : { "rpc.response.status_code": "OK" };
      expect(rpc.attributes).toEqual({
        "rpc.system.name": wire.protocol === "connect" ? "connectrpc" : "grpc",
        "rpc.method": `${RPC}/SetState`,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": expect.any(Number),
        "server.address": "127.0.0.1",
        "server.port": measured.server.port,
        ...status,
      });
      expect(store.attributes).toEqual({ "db.system.name": "memory", "db.operation.name": "setState" });
    });

    test("a failure is told of by its reason; only the server's own make the span an error", async () => {
      const inner = memoryStore();
      const measured = await measuring({ fastPath, inner });
      const client = clientOf(measured, wire);
      await expect(client.setState({ sessionId: "s", key: "k", value, ifRevision: 7n })).rejects.toThrow();
      const rpc = await measured.spans.ended(`${RPC}/SetState`);
      const code = wire.protocol === "connect" ? "aborted" : "ABORTED";
      expect(rpc.attributes).toMatchObject({
        "error.type": "REVISION_MISMATCH",
        "rpc.response.status_code": code,
      });
      expect(rpc.status.code).toBe(SpanStatusCode.UNSET);
      const store = await measured.spans.ended("setState memory");
      expect(store.attributes).toMatchObject({ "error.type": "REVISION_MISMATCH" });

      await inner.close();
      await expect(client.getState({ sessionId: "s", key: "k" })).rejects.toThrow();
      const failed = await measured.spans.ended(`${RPC}/GetState`);
      expect(failed.attributes).toMatchObject({ "error.type": "STORE_UNAVAILABLE" });
      expect(failed.status.code).toBe(SpanStatusCode.ERROR);
    });

    test("a stream is a span that ends when it does", async () => {
      const measured = await measuring({ fastPath });
      const client = clientOf(measured, wire);
      const leave = new AbortController();
      const watch = client.watchSession({ sessionId: "s" }, { signal: leave.signal })[Symbol.asyncIterator]();
      await watch.next();
      expect(measured.spans.all()).toEqual([]);
      leave.abort();
      await expect(watch.next()).rejects.toThrow();
      const rpc = await measured.spans.ended(`${RPC}/WatchSession`);
      expect(rpc.attributes).toMatchObject({ "agenterra.messages": 1, "error.type": "CANCELLED" });
      const store = await measured.spans.ended("watchSession memory");
      expect(store.parentSpanContext?.spanId).toBe(rpc.spanContext().spanId);
    });
  },
);

describe.for([true, false])("with the fast path: %s", (fastPath) => {
  test("a pipeline is one span of the store, whose batches come and go meanwhile", async () => {
    const measured = await measuring({ fastPath });
    const client = clientOf(measured, grpc);
    const get = { operation: { case: "getState" as const, value: { sessionId: "s", key: "k" } } };
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    async function* batches() {
      yield create(PipelineRequestSchema, { operations: [get] });
      // Not before the first is answered: nothing is held back.
      await answered;
      yield create(PipelineRequestSchema, { operations: [get, get] });
    }
    const results: number[] = [];
    for await (const { results: some } of client.pipeline(batches())) {
      results.push(some.length);
      resolve();
    }
    expect(results).toEqual([1, 2]);
    const rpc = await measured.spans.ended(`${RPC}/Pipeline`);
    expect(rpc.attributes).toMatchObject({ "agenterra.messages": 2, "rpc.response.status_code": "OK" });
    const store = await measured.spans.ended("pipeline memory");
    expect(store.parentSpanContext?.spanId).toBe(rpc.spanContext().spanId);
  });

  test("a caller whose trace is not recorded has none recorded here", async () => {
    const measured = await measuring({ fastPath });
    const headers = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-00` };
    await clientOf(measured, grpc).setState({ sessionId: "s", key: "k", value }, { headers });
    await measured.figures.of("rpc.server.call.duration");
    expect(measured.spans.all()).toEqual([]);
  });

  test("what nobody records is not passed on to the store either", async () => {
    const spans = new Spans(new AlwaysOffSampler());
    const measured = await measuring({ fastPath, telemetry: { tracerProvider: spans.provider } });
    await clientOf(measured, grpc).setState({ sessionId: "s", key: "k", value });
    expect(spans.all()).toEqual([]);
  });

  test("without a provider there are no spans and the store is as it was", async () => {
    const measured = await measuring({
      fastPath,
      telemetry: { tracerProvider: undefined, meterProvider: undefined },
    });
    await clientOf(measured, grpc).setState({ sessionId: "s", key: "k", value });
    expect(measured.spans.all()).toEqual([]);
    const store = memoryStore();
    expect(telemetry(store, { system: "memory" })).toMatchObject({ store, observer: undefined });
  });

  test("the ids of sessions are told only if that is asked for", async () => {
    for (const sessionIds of [false, true]) {
      const measured = await measuring({ fastPath, telemetry: { sessionIds } });
      await clientOf(measured, grpc).setState({ sessionId: "the-session", key: "k", value });
      const { attributes } = await measured.spans.ended("setState memory");
      expect(attributes["agenterra.session.id"]).toBe(sessionIds ? "the-session" : undefined);
    }
  });

  test("a malformed call is a span of its own, and so is one without credentials", async () => {
    const sha256 = createHash("sha256").update("key").digest("hex");
    const key = { sha256, principal: "p", namespaces: ["n"] };
    const measured = await measuring({ fastPath, auth: { keys: [key], grants: [] } });
    const session = http2Session(measured.server);
    const headers = { "content-type": "application/grpc" };
    const malformed = framed(Buffer.from([255]));
    const known = { ...headers, authorization: "Bearer key" };
    await http2Request(session, { ...known, ":path": pathOf("GetState") }, malformed);
    await http2Request(session, { ...headers, ":path": pathOf("SetState") }, framed(Buffer.alloc(0)));
    for (const [method, reason] of [
      ["GetState", "INVALID_REQUEST"],
      ["SetState", "UNAUTHENTICATED"],
    ]) {
      const { attributes, parentSpanContext } = await measured.spans.ended(`${RPC}/${method}`);
      expect([attributes["error.type"], parentSpanContext]).toEqual([reason, undefined]);
    }
  });
});

test("neither values nor keys are in any span or figure, whatever fails", async () => {
  const measured = await measuring();
  const client = clientOf(measured, grpc);
  await client.setState({ sessionId: "s", key: CANARY, value });
  await client.saveSession({
    session: { sessionId: "s", state: { [CANARY]: value }, labels: { [CANARY]: CANARY } },
  });
  const increment = { change: { case: "increment" as const, value: { key: CANARY, delta: 1 } } };
  await expect(client.commit({ sessionId: "s", changes: [increment] })).rejects.toThrow();
  await expect(client.setState({ sessionId: "s", key: CANARY.repeat(50), value })).rejects.toThrow();
  // Four RPCs, three of which came to the store. Their answers may be there before they are seen to end.
  await until(() => measured.spans.all().length >= 7 || undefined);
  const spans = measured.spans
    .all()
    .map(({ name, attributes, events, status }) => [name, attributes, events, status]);
  expect(JSON.stringify(spans)).not.toContain(CANARY);
  expect(JSON.stringify(await measured.figures.metrics())).not.toContain(CANARY);
});
