/** Figures that OpenTelemetry's SDK has collected, as the text that Prometheus scrapes (version 0.0.4 of its format). */
import type { Attributes } from "@opentelemetry/api";
import {
  DataPointType,
  type Histogram,
  type MetricData,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";

/** What the text says that it is. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Units of OpenTelemetry as Prometheus writes them into names; those in braces are none. */
const UNITS: Readonly<Record<string, string>> = {
  s: "seconds",
  ms: "milliseconds",
  By: "bytes",
  "1": "ratio",
};

/** The whole text, with a line for each series. */
export function prometheusText({ resource, scopeMetrics }: ResourceMetrics): string {
  const lines = [
    "# HELP target_info The process that the other figures are of.",
    "# TYPE target_info gauge",
    `target_info${labels(resource.attributes)} 1`,
  ];
  for (const { metrics } of scopeMetrics) for (const metric of metrics) lines.push(...family(metric));
  return `${lines.join("\n")}\n`;
}

/** The name that Prometheus has for an instrument: `rpc.server.call.duration` in `s` is `rpc_server_call_duration_seconds`. */
function prometheusName({ descriptor: { name, unit }, ...metric }: MetricData): string {
  const suffix = UNITS[unit];
  const base = name.replace(/[^\w:]/g, "_");
  const withUnit = suffix === undefined || base.endsWith(`_${suffix}`) ? base : `${base}_${suffix}`;
  return metric.dataPointType === DataPointType.SUM && metric.isMonotonic ? `${withUnit}_total` : withUnit;
}

function family(metric: MetricData): string[] {
  const name = prometheusName(metric);
  const head = (type: string): string[] => [
    `# HELP ${name} ${metric.descriptor.description.replace(/[\\\n]/g, (char) => (char === "\n" ? "\\n" : "\\\\"))}`,
    `# TYPE ${name} ${type}`,
  ];
  switch (metric.dataPointType) {
    case DataPointType.SUM:
    case DataPointType.GAUGE: {
      const monotonic = metric.dataPointType === DataPointType.SUM && metric.isMonotonic;
      const series = metric.dataPoints.map(
        ({ attributes, value }) => `${name}${labels(attributes)} ${number(value)}`,
      );
      return [...head(monotonic ? "counter" : "gauge"), ...series];
    }
    case DataPointType.HISTOGRAM: {
      const series = metric.dataPoints.flatMap(({ attributes, value }) => histogram(name, attributes, value));
      return [...head("histogram"), ...series];
    }
    default:
      // No instrument here makes another.
      return [];
  }
}

function histogram(name: string, attributes: Attributes, { buckets, count, sum = 0 }: Histogram): string[] {
  let below = 0;
  const lines = buckets.boundaries.map((bound, index) => {
    below += buckets.counts[index] ?? 0;
    return `${name}_bucket${labels({ ...attributes, le: number(bound) })} ${below}`;
  });
  return [
    ...lines,
    `${name}_bucket${labels({ ...attributes, le: "+Inf" })} ${count}`,
    `${name}_sum${labels(attributes)} ${number(sum)}`,
    `${name}_count${labels(attributes)} ${count}`,
  ];
}

function labels(attributes: Attributes): string {
  const all = Object.entries(attributes).map(
    ([name, value]) => `${name.replace(/\W/g, "_")}="${escaped(String(value))}"`,
  );
  return all.length === 0 ? "" : `{${all.join(",")}}`;
}

function escaped(text: string): string {
  return text.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`));
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
