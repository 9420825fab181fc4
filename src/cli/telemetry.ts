/** OpenTelemetry's SDK for `serve`: what Prometheus scrapes, and what is sent by OTLP. Loaded only where one of them is asked for. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { DiagLogLevel, diag } from "@opentelemetry/api";
import { OTLPMetricExporter as JsonMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPTraceExporter as JsonTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from "@opentelemetry/resources";
import { MeterProvider, MetricReader, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { EncodedStore } from "../store.ts";
import { type Telemetry, telemetry } from "../telemetry.ts";
import { PROMETHEUS_TYPE, prometheusText } from "./prometheus-text.ts";
import type { Sampling, TelemetrySettings } from "./telemetry-settings.ts";

/** Where it is set up. */
export interface TelemetrySurroundings {
  /** The version of the program. */
  readonly version: string;
  /** What keeps the state, as the semantic conventions name it. */
  readonly system: string;
  /** Told of what goes wrong, seldom; the text holds no header and no URL. */
  readonly warn: (message: string) => void;
}

/** Telemetry that goes somewhere. */
export interface OpenTelemetry extends Telemetry {
  /** Where Prometheus scrapes: `http://127.0.0.1:9464/metrics`. */
  readonly metricsUrl: string | undefined;
  /** Sends what is left, for no longer than so many milliseconds, and ends all. Never fails. */
  close(withinMs: number): Promise<void>;
}

/** How long a process that has not reached its collector takes to end after all. */
const LAST_MS = 250;

/** Sets up what is asked for. Fails with the error of the operating system if it can't listen. */
export async function openTelemetry(
  store: EncodedStore,
  settings: TelemetrySettings,
  { version, system, warn }: TelemetrySurroundings,
): Promise<OpenTelemetry> {
  const { metricsListen, sessionIds } = settings;
  diag.setLogger(seldom(warn), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const resource = resourceOf(version);
  const scraped = metricsListen === undefined ? undefined : new ScrapedReader();
  const meterProvider = meterProviderOf(settings, resource, scraped);
  const tracerProvider = tracerProviderOf(settings, resource);
  const measured = telemetry(store, { system, sessionIds, meterProvider, tracerProvider });
  const listener =
    scraped && metricsListen && (await listening(scraped, metricsListen.host, metricsListen.port));
  return {
    ...measured,
    metricsUrl: listener && urlOf(listener, metricsListen?.host ?? ""),
    async close(withinMs) {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, withinMs);
      const sent = Promise.allSettled([tracerProvider?.shutdown(), meterProvider?.shutdown()]);
      const inTime = await Promise.race([sent.then(() => true), late.then(() => false)]);
      clearTimeout(timer);
      // What still tries to reach a collector must not keep a process that is done; one that has ended is not there to exit.
      if (!inTime) setTimeout(() => process.exit(), LAST_MS).unref();
      measured.stop();
      diag.disable();
      listener?.close();
      listener?.closeAllConnections();
    },
  };
}

/** What all figures and spans say of the process; the environment has the last word. */
function resourceOf(version: string): Resource {
  const own = resourceFromAttributes({ "service.name": "workflow-state", "service.version": version });
  return defaultResource()
    .merge(own)
    .merge(detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }));
}

function meterProviderOf(
  { otlpMetrics }: TelemetrySettings,
  resource: Resource,
  scraped: MetricReader | undefined,
): MeterProvider | undefined {
  const readers: MetricReader[] = scraped === undefined ? [] : [scraped];
  if (otlpMetrics !== undefined) {
    const { protocol, intervalMs, timeoutMs } = otlpMetrics;
    const exporter = protocol === "http/json" ? new JsonMetricExporter() : new OTLPMetricExporter();
    readers.push(
      new PeriodicExportingMetricReader({
        exporter,
        exportIntervalMillis: intervalMs,
        exportTimeoutMillis: timeoutMs,
      }),
    );
  }
  return readers.length === 0 ? undefined : new MeterProvider({ resource, readers });
}

function tracerProviderOf({ otlpTraces }: TelemetrySettings, resource: Resource): TracerProvider | undefined {
  if (otlpTraces === undefined) return undefined;
  const { protocol, sampling, delayMs, timeoutMs, queue, batch } = otlpTraces;
  const processor = new BatchSpanProcessor({
    exporter: protocol === "http/json" ? new JsonTraceExporter() : new OTLPTraceExporter(),
    scheduledDelayMillis: delayMs,
    exportTimeoutMillis: timeoutMs,
    maxQueueSize: queue,
    maxExportBatchSize: batch,
  });
  return new TracerProvider({ resource, sampler: samplerOf(sampling), spanProcessors: [processor] });
}

function samplerOf({ ratio, parentBased }: Sampling): Sampler {
  const root =
    ratio === 1
      ? new AlwaysOnSampler()
      : ratio === 0
        ? new AlwaysOffSampler()
        : new TraceIdRatioBasedSampler(ratio);
  return parentBased ? new ParentBasedSampler({ root }) : root;
}

/** Gives the figures as they are when somebody asks. */
class ScrapedReader extends MetricReader {
  #collecting: Promise<string> | undefined;

  /** The text for Prometheus. Those who ask at once share one. */
  text(): Promise<string> {
    this.#collecting ??= this.collect()
      .then(({ resourceMetrics }) => prometheusText(resourceMetrics))
      .finally(() => {
        this.#collecting = undefined;
      });
    return this.#collecting;
  }

  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

/** Serves /metrics, and nothing else. */
async function listening(reader: ScrapedReader, host: string, port: number): Promise<Server> {
  const server = createServer(
    { headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 16_384 },
    (request, response) => {
      const isScrape = request.method === "GET" || request.method === "HEAD";
      if (!isScrape || request.url?.split("?", 1)[0] !== "/metrics") {
        response.writeHead(404, { connection: "close" }).end();
        return;
      }
      reader.text().then(
        (text) => response.writeHead(200, { "content-type": PROMETHEUS_TYPE }).end(text),
        () => response.writeHead(500).end(),
      );
    },
  );
  // A peer of another protocol is told so by Node.js; beyond that there is nobody to tell.
  server.on("clientError", (_, socket) => socket.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host, port }, resolve);
  await promise;
  server.off("error", reject);
  server.on("error", () => {});
  return server;
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}/metrics`;
}

/** How long nothing more is said of what goes wrong, in milliseconds. */
const QUIET_MS = 60_000;

/** Tells what the SDK says, once a minute at most: a collector that is away would be told of at every batch. */
function seldom(warn: (message: string) => void): Parameters<typeof diag.setLogger>[0] {
  let quietUntil = 0;
  const say = (said: string): void => {
    const now = performance.now();
    if (now < quietUntil) return;
    quietUntil = now + QUIET_MS;
    warn(`telemetry is not all sent: ${shortOf(said)}`);
  };
  const nothing = (): void => {};
  return { error: say, warn: say, info: nothing, debug: nothing, verbose: nothing };
}

/** What went wrong, without stacks, URLs and what a collector answered: those may hold credentials. */
function shortOf(said: string): string {
  return (
    /\b(?:ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH)\b/.exec(said)?.[0] ??
    /"code":"?(\d{3})\b/.exec(said)?.[1] ??
    said
      .replace(/https?:\/\/\S+/g, "the endpoint")
      .replace(/\s+/g, " ")
      .slice(0, 120)
  );
}
