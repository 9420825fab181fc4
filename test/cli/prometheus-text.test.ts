import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import { expect, test } from "vitest";
import { prometheusText } from "../../src/cli/prometheus-text.ts";
import { parsePrometheus } from "../support/prometheus.ts";

class Reader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

async function shown(fill: (meter: ReturnType<MeterProvider["getMeter"]>) => void): Promise<string> {
  const reader = new Reader();
  const resource = resourceFromAttributes({ "service.name": 'a "quoted"\\\nname' });
  const provider = new MeterProvider({ resource: defaultResource().merge(resource), readers: [reader] });
  fill(provider.getMeter("test"));
  const { resourceMetrics } = await reader.collect();
  return prometheusText(resourceMetrics);
}

test("instruments of each kind are shown by Prometheus' names, with their units", async () => {
  const text = await shown((meter) => {
    meter.createCounter("jobs.done", { description: "Done." }).add(2, { "a.b": "c" });
    meter.createUpDownCounter("jobs.held", { unit: "By", description: "Held." }).add(-3);
    meter
      .createObservableGauge("load", { unit: "1", description: "Load." })
      .addCallback((result) => result.observe(0.5));
    const waits = meter.createHistogram("wait", {
      description: "Waits.",
      unit: "s",
      advice: { explicitBucketBoundaries: [1, 2] },
    });
    for (const wait of [0.5, 1, 1.5, 9]) waits.record(wait, { q: "1" });
  });
  const families = parsePrometheus(text);
  expect([...families].map(([name, { type }]) => [name, type])).toEqual([
    ["target_info", "gauge"],
    ["jobs_done_total", "counter"],
    ["jobs_held_bytes", "gauge"],
    ["load_ratio", "gauge"],
    ["wait_seconds", "histogram"],
  ]);
  expect(families.get("jobs_done_total")?.samples).toEqual([
    { name: "jobs_done_total", labels: { a_b: "c" }, value: 2 },
  ]);
  expect(families.get("jobs_held_bytes")?.samples[0]?.value).toBe(-3);
  expect(families.get("wait_seconds")?.samples.map(({ labels, value }) => [labels["le"], value])).toEqual([
    ["1", 2],
    ["2", 3],
    ["+Inf", 4],
    [undefined, 12],
    [undefined, 4],
  ]);
});

test("quotes, backslashes and ends of lines in labels and help can't break out", async () => {
  const text = await shown((meter) => {
    meter
      .createCounter("odd", { description: "One\ntwo\\." })
      .add(1, { label: 'x"} 1\nodd_total{label="\\' });
  });
  const families = parsePrometheus(text);
  expect(families.get("target_info")?.samples[0]?.labels["service_name"]).toBe('a "quoted"\\\nname');
  expect(families.get("odd_total")).toMatchObject({
    help: "One\\ntwo\\\\.",
    samples: [{ labels: { label: 'x"} 1\nodd_total{label="\\' }, value: 1 }],
  });
});
