/** A server whose spans and figures a test keeps. */
import type { Attributes } from "@opentelemetry/api";
import { type Histogram, MeterProvider, type MetricData, MetricReader } from "@opentelemetry/sdk-metrics";
import {
  InMemorySpanExporter,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { onTestFinished } from "vitest";
import { type RunningServer, type ServerOptions, startServer } from "../../src/server.ts";
import type { EncodedStore } from "../../src/store.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type TelemetryOptions, telemetry } from "../../src/telemetry.ts";

/** Keeps spans. */
export class Spans {
  readonly #exporter = new InMemorySpanExporter();
  readonly provider: TracerProvider;

  constructor(sampler?: Sampler) {
    const spanProcessors = [new SimpleSpanProcessor({ exporter: this.#exporter })];
    this.provider = new TracerProvider({ spanProcessors, ...(sampler === undefined ? {} : { sampler }) });
  }

  /** Those that have ended. */
  all(): ReadableSpan[] {
    return this.#exporter.getFinishedSpans();
  }

  /** The one span of a name, once it has ended. */
  async ended(name: string): Promise<ReadableSpan> {
    for (;;) {
      const found = this.all().filter((span) => span.name === name);
      if (found.length > 1) throw new Error(`There are ${found.length} spans ${name}.`);
      if (found[0] !== undefined) return found[0];
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** Keeps figures. */
export class Figures extends MetricReader {
  readonly provider: MeterProvider = new MeterProvider({ readers: [this] });

  /** Every series of an instrument: its attributes and what it shows, of a histogram the count. */
  async of(name: string): Promise<{ readonly attributes: Attributes; readonly value: number }[]> {
    return (await this.histograms(name)).map(({ attributes, value }) => ({
      attributes,
      value: typeof value === "number" ? value : value.count,
    }));
  }

  /** Every series of an instrument as it is. */
  async histograms(
    name: string,
  ): Promise<{ readonly attributes: Attributes; readonly value: number | Histogram }[]> {
    const metric = (await this.metrics()).find(({ descriptor }) => descriptor.name === name);
    return (metric?.dataPoints ?? []) as { attributes: Attributes; value: number | Histogram }[];
  }

  /** All that is measured. */
  async metrics(): Promise<MetricData[]> {
    const { resourceMetrics, errors } = await this.collect();
    if (errors.length > 0) throw new AggregateError(errors);
    return resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
  }

  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

/** What a test has of a server that is measured. */
export interface Measured {
  readonly server: RunningServer;
  readonly spans: Spans;
  readonly figures: Figures;
}

/** Starts a server with telemetry, for the test that runs; by default over a store in memory, with spans and figures. */
export async function measuring(
  options: Partial<ServerOptions> & {
    readonly telemetry?: Partial<TelemetryOptions>;
    readonly inner?: EncodedStore;
  } = {},
): Promise<Measured> {
  const spans = new Spans();
  const figures = new Figures();
  const inner = options.inner ?? memoryStore();
  const { store, observer, stop } = telemetry(inner, {
    system: "memory",
    tracerProvider: spans.provider,
    meterProvider: figures.provider,
    ...options.telemetry,
  });
  const { telemetry: _, inner: __, ...own } = options;
  const server = await startServer({ listen: { port: 0 }, ...own, store, observer });
  onTestFinished(async () => {
    await server.close({ now: true });
    stop();
    await store.close();
  });
  return { server, spans, figures };
}
