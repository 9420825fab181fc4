/** `serve` with OpenTelemetry's environment, against a collector that takes what is sent. */
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { type Collector, collecting } from "../support/otlp.ts";
import { type CliRun, runCli, startCli } from "../support/run-cli.ts";
import { until } from "../support/until.ts";
import { transportTo } from "../support/wires.ts";

const CANARY = "a value that nobody may see";
const value = { kind: { case: "stringValue" as const, value: CANARY } };

/** Starts the program; gives it with a client. */
async function served(env: Record<string, string>, ...options: readonly string[]) {
  const run = startCli(["serve", "--listen", "127.0.0.1:0", "--log-level", "debug", ...options], env);
  const [, url = ""] = await until(() => /^listening on (\S+)$/m.exec(run.output()));
  const { transport, disconnect } = transportTo(url, { protocol: "grpc", codec: "binary", httpVersion: "2" });
  return { run, client: createClient(WorkflowStateService, transport), disconnect };
}

async function stopped({ child, ended }: CliRun): Promise<unknown> {
  child.kill("SIGTERM");
  return ended;
}

const sent = ({ requests }: Collector): string[] => requests.map(({ path }) => path).sort();

describe.for([
  { protocol: "http/protobuf", type: "application/x-protobuf" },
  { protocol: "http/json", type: "application/json" },
])("$protocol", ({ protocol, type }) => {
  test("spans of one trace and figures are sent, at the latest when the server stops", async () => {
    const collector = await collecting();
    const { run, client, disconnect } = await served({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=blue",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
      OTEL_SERVICE_NAME: "state-of-carts",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    });
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const spanId = "b7ad6b7169203331";
    const headers = { traceparent: `00-${traceId}-${spanId}-01` };
    await client.setState({ sessionId: "the-session", key: "k", value }, { headers });
    await disconnect();
    expect(await stopped(run)).toBe(0);
    expect(sent(collector)).toEqual(["/v1/metrics", "/v1/traces"]);
    for (const { headers: own } of collector.requests) {
      expect(own).toMatchObject({ "content-type": type, "x-tenant": "blue", "content-encoding": "gzip" });
    }
    const rpc = collector.spans().find(({ name }) => name.endsWith("WorkflowStateService/SetState"));
    expect(rpc).toMatchObject({ traceId, parentSpanId: spanId });
    const store = collector.spans().find(({ name }) => name === "setState memory");
    expect(store).toMatchObject({ traceId, parentSpanId: rpc?.spanId });
    const bodies = collector.requests.map(({ body }) => body.toString("latin1")).join();
    for (const word of ["state-of-carts", "deployment.environment.name", "rpc.server.call.duration"]) {
      expect(bodies).toContain(word);
    }
    for (const word of [CANARY, "the-session"]) expect(bodies).not.toContain(word);
    // The log finds the call by the same trace.
    expect(run.errors()).toContain(`"traceId":"${traceId}"`);
  });
});

test("a trace that begins here is in the log, too, and sessions are named if that is asked for", async () => {
  const collector = await collecting();
  const { run, client, disconnect } = await served(
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces` },
    "--trace-session-ids",
  );
  await client.setState({ sessionId: "the-session", key: "k", value });
  await disconnect();
  expect(await stopped(run)).toBe(0);
  expect(sent(collector)).toEqual(["/v1/traces"]);
  const [span] = collector.spans();
  expect(run.errors()).toContain(`"traceId":"${span?.traceId}"`);
  expect(collector.requests[0]?.body.toString("latin1")).toContain("the-session");
});

test("what the environment turns off is not sent", async () => {
  const collector = await collecting();
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  for (const env of [
    { OTEL_SDK_DISABLED: "true" },
    { OTEL_TRACES_EXPORTER: "none", OTEL_METRICS_EXPORTER: "none" },
  ]) {
    const { run, client, disconnect } = await served({ ...endpoint, ...env });
    await client.setState({ sessionId: "s", key: "k", value });
    await disconnect();
    expect(await stopped(run)).toBe(0);
  }
  expect(sent(collector)).toEqual([]);
});

test("only so many traces are recorded as the sampler says, but a caller's decision counts", async () => {
  const collector = await collecting();
  const { run, client, disconnect } = await served({
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
    OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
    OTEL_TRACES_SAMPLER_ARG: "0",
  });
  await client.getState({ sessionId: "s", key: "k" });
  const headers = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
  await client.getState({ sessionId: "s", key: "k" }, { headers });
  await disconnect();
  expect(await stopped(run)).toBe(0);
  expect(new Set(collector.spans().map(({ traceId }) => traceId))).toEqual(new Set(["a".repeat(32)]));
});

test("a collector that is away costs a warning that holds no secret", async () => {
  const { run, client, disconnect } = await served({
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://user:secret@127.0.0.1:9",
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=secret",
    OTEL_BSP_SCHEDULE_DELAY: "50",
    OTEL_EXPORTER_OTLP_TIMEOUT: "100",
  });
  await client.setState({ sessionId: "s", key: "k", value });
  await until(() => /"level":"warn".*"telemetry is not all sent: .*"/.exec(run.errors()));
  await disconnect();
  expect(await stopped(run)).toBe(0);
  expect(run.errors()).not.toContain("secret");
});

test("a collector that never answers holds the end up no longer than calls may", async () => {
  const collector = await collecting({ answers: false });
  const { run, client, disconnect } = await served(
    // It would be waited for until long after this test has given up.
    { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_TIMEOUT: "600000" },
    "--drain-timeout",
    "1s",
  );
  await client.setState({ sessionId: "s", key: "k", value });
  await disconnect();
  expect(await stopped(run)).toBe(0);
  expect(sent(collector)).toContain("/v1/traces");
});

test("a port for metrics that is taken, and variables that make no sense, are said and end it with 2", async () => {
  const { url } = await collecting();
  const { host } = new URL(url);
  const bad: readonly [Record<string, string>, readonly string[], string][] = [
    [{}, ["--metrics", host], `can't serve metrics on 127.0.0.1, port ${host.split(":")[1]}: EADDRINUSE`],
    [{}, ["--metrics", "nonsense"], `can't listen on "nonsense"`],
    [{ OTEL_TRACES_EXPORTER: "zipkin" }, [], "the variable OTEL_TRACES_EXPORTER must be otlp or none"],
    [{ OTEL_METRICS_EXPORTER: "prometheus" }, [], "Prometheus is served by --metrics"],
    [
      { OTEL_TRACES_EXPORTER: "otlp", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      [],
      "must be http/protobuf or http/json",
    ],
  ];
  for (const [env, options, message] of bad) {
    const { code, errors } = await runCli(["serve", "--listen", "127.0.0.1:0", ...options], { env });
    expect(errors).toContain(message);
    expect(code).toBe(2);
  }
});
