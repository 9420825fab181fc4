import { expect, test } from "vitest";
import { telemetrySettingsOf } from "../../src/cli/telemetry-settings.ts";

const of = (env: Record<string, string>) => telemetrySettingsOf({ sessionIds: false }, env);

test("nothing is measured unless something asks for it", () => {
  expect(of({})).toBeUndefined();
  expect(of({ OTEL_EXPORTER_OTLP_ENDPOINT: "  ", OTEL_TRACES_EXPORTER: "" })).toBeUndefined();
  expect(of({ OTEL_SERVICE_NAME: "carts", OTEL_TRACES_SAMPLER: "always_on" })).toBeUndefined();
  expect(of({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_SDK_DISABLED: "TRUE" })).toBeUndefined();
});

test("an endpoint turns both on, one of a signal that signal, and an exporter what it says", () => {
  const both = of({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" });
  expect(both).toMatchObject({
    otlpMetrics: { protocol: "http/protobuf", intervalMs: 60_000, timeoutMs: 30_000 },
    otlpTraces: { protocol: "http/protobuf", sampling: { ratio: 1, parentBased: true }, delayMs: 5_000 },
  });
  expect(Object.keys(of({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "http://c/m" }) ?? {})).not.toContain(
    "otlpTraces",
  );
  expect(Object.keys(of({ OTEL_TRACES_EXPORTER: "otlp" }) ?? {})).not.toContain("otlpMetrics");
  const one = of({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_METRICS_EXPORTER: "none" });
  expect(Object.keys(one ?? {})).toEqual(["sessionIds", "otlpTraces"]);
});

test("Prometheus is served although the environment turns the SDK off", () => {
  const metricsListen = { host: "127.0.0.1", port: 9464 };
  const asked = { metricsListen, sessionIds: true };
  expect(telemetrySettingsOf(asked, { OTEL_SDK_DISABLED: "true" })).toEqual(asked);
});

test.each([
  ["always_on", undefined, { ratio: 1, parentBased: false }],
  ["always_off", undefined, { ratio: 0, parentBased: false }],
  ["parentbased_always_off", undefined, { ratio: 0, parentBased: true }],
  ["traceidratio", "0.25", { ratio: 0.25, parentBased: false }],
  ["parentbased_traceidratio", undefined, { ratio: 1, parentBased: true }],
] as const)("the sampler %s with %s", (sampler, arg, sampling) => {
  const env = {
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_TRACES_SAMPLER: sampler,
    OTEL_TRACES_SAMPLER_ARG: arg ?? "",
  };
  expect(of(env)?.otlpTraces?.sampling).toEqual(sampling);
});

test.each([
  { OTEL_TRACES_SAMPLER: "sometimes" },
  { OTEL_TRACES_SAMPLER: "parentbased_" },
  { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" },
  { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "half" },
  { OTEL_BSP_SCHEDULE_DELAY: "0" },
  { OTEL_BSP_MAX_QUEUE_SIZE: "many" },
  { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "grpc" },
])("%j is refused by its name", (env) => {
  const [name] = Object.keys(env).slice(-1);
  expect(() => of({ OTEL_TRACES_EXPORTER: "otlp", ...env })).toThrow(
    name === "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" ? "OTEL_EXPORTER_OTLP_PROTOCOL" : name,
  );
});

test("times and sizes are taken as they are given, within what the SDK can do", () => {
  const env = {
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_METRICS_EXPORTER: "otlp",
    OTEL_METRIC_EXPORT_INTERVAL: "1000",
    OTEL_BSP_MAX_QUEUE_SIZE: "10",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/protobuf",
  };
  expect(of(env)).toMatchObject({
    otlpMetrics: { protocol: "http/protobuf", intervalMs: 1000, timeoutMs: 1000 },
    otlpTraces: { protocol: "http/json", queue: 10, batch: 10 },
  });
});
