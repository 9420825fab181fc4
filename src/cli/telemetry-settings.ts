/** What `serve` measures and where it sends that: the option for Prometheus, and OpenTelemetry's own environment for OTLP. */
import { UsageError } from "./usage-error.ts";

/** The variables of a process; one that is empty counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** How OTLP is spoken. Endpoints, headers, timeouts, compression and certificates the exporters read themselves. */
export type OtlpProtocol = "http/protobuf" | "http/json";

/** Which traces are recorded that no caller decides on, and whether callers decide. */
export interface Sampling {
  /** The share of traces, 0 to 1. */
  readonly ratio: number;
  /** Whether a caller's own decision counts first. */
  readonly parentBased: boolean;
}

/** What to measure; absent members: not that. */
export interface TelemetrySettings {
  /** Where Prometheus scrapes. */
  readonly metricsListen?: { readonly host: string; readonly port: number } | undefined;
  /** Figures sent by OTLP. Times in milliseconds. */
  readonly otlpMetrics?: {
    readonly protocol: OtlpProtocol;
    readonly intervalMs: number;
    readonly timeoutMs: number;
  };
  /** Spans sent by OTLP. Times in milliseconds. */
  readonly otlpTraces?: {
    readonly protocol: OtlpProtocol;
    readonly sampling: Sampling;
    readonly delayMs: number;
    readonly timeoutMs: number;
    readonly queue: number;
    readonly batch: number;
  };
  /** Whether spans tell the ids of sessions. */
  readonly sessionIds: boolean;
}

/** What is asked for; `undefined`: nothing, and nothing of it is loaded. Fails with a {@link UsageError}. */
export function telemetrySettingsOf(
  asked: Pick<TelemetrySettings, "metricsListen" | "sessionIds">,
  environment: Environment,
): TelemetrySettings | undefined {
  const env: Environment = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value?.trim() || undefined]),
  );
  // It turns off what the environment asks for; the option is somebody's own word.
  const disabled = env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true";
  const traces = !disabled && isSent(env, "TRACES");
  const metrics = !disabled && isSent(env, "METRICS");
  if (!traces && !metrics && asked.metricsListen === undefined) return undefined;
  return {
    ...asked,
    ...(metrics ? { otlpMetrics: metricsOf(env) } : {}),
    ...(traces ? { otlpTraces: tracesOf(env) } : {}),
  };
}

type Signal = "TRACES" | "METRICS";

/** Whether a signal is sent: if it is said to be, or if there is an endpoint and nothing else is said. */
function isSent(env: Environment, signal: Signal): boolean {
  const name = `OTEL_${signal}_EXPORTER`;
  const endpoint = env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`];
  const exporter = env[name] ?? (endpoint === undefined ? "none" : "otlp");
  if (exporter !== "otlp" && exporter !== "none") {
    throw new UsageError(
      `the variable ${name} must be otlp or none${signal === "METRICS" ? "; Prometheus is served by --metrics" : ""}`,
    );
  }
  return exporter === "otlp";
}

function protocolOf(env: Environment, signal: Signal): OtlpProtocol {
  const protocol = env[`OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`] ?? env["OTEL_EXPORTER_OTLP_PROTOCOL"];
  if (protocol === undefined || protocol === "http/protobuf") return "http/protobuf";
  if (protocol === "http/json") return protocol;
  throw new UsageError(
    "the variable OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json: collectors take them on port 4318",
  );
}

function metricsOf(env: Environment): NonNullable<TelemetrySettings["otlpMetrics"]> {
  const intervalMs = numberOf(env, "OTEL_METRIC_EXPORT_INTERVAL", 60_000);
  const timeoutMs = Math.min(numberOf(env, "OTEL_METRIC_EXPORT_TIMEOUT", 30_000), intervalMs);
  return { protocol: protocolOf(env, "METRICS"), intervalMs, timeoutMs };
}

function tracesOf(env: Environment): NonNullable<TelemetrySettings["otlpTraces"]> {
  const queue = numberOf(env, "OTEL_BSP_MAX_QUEUE_SIZE", 2_048);
  return {
    protocol: protocolOf(env, "TRACES"),
    sampling: samplingOf(env),
    delayMs: numberOf(env, "OTEL_BSP_SCHEDULE_DELAY", 5_000),
    timeoutMs: numberOf(env, "OTEL_BSP_EXPORT_TIMEOUT", 30_000),
    queue,
    batch: Math.min(numberOf(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), queue),
  };
}

function samplingOf(env: Environment): Sampling {
  const name = env["OTEL_TRACES_SAMPLER"] ?? "parentbased_always_on";
  const [, based, kind] = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(name) ?? [];
  const parentBased = based !== undefined;
  switch (kind) {
    case "always_on":
      return { ratio: 1, parentBased };
    case "always_off":
      return { ratio: 0, parentBased };
    case "traceidratio": {
      const ratio = Number(env["OTEL_TRACES_SAMPLER_ARG"] ?? 1);
      if (ratio >= 0 && ratio <= 1) return { ratio, parentBased };
      throw new UsageError("the variable OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1");
    }
    default:
      throw new UsageError(
        "the variable OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of these after parentbased_",
      );
  }
}

function numberOf(env: Environment, name: string, otherwise: number): number {
  const text = env[name];
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new UsageError(`the variable ${name} must be a whole number from 1 to 999999999`);
  return value;
}
