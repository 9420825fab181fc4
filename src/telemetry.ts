/**
 * Metrics and traces by OpenTelemetry: its API alone, so that whoever starts the server chooses the SDK, and where it all goes.
 *
 * @example
 * const { store, observer } = telemetry(inner, { system: "sqlite", tracerProvider: trace.getTracerProvider() });
 * const server = await startServer({ store, observer });
 */
import type { Meter, MeterProvider, TracerProvider } from "@opentelemetry/api";
import { type Observer, observers } from "./service/observer.ts";
import type { EncodedStore } from "./store.ts";
import { SCOPE } from "./telemetry/conventions.ts";
import { observedStore } from "./telemetry/observed-store.ts";
import { measureProcess } from "./telemetry/process-metrics.ts";
import { RpcMetrics } from "./telemetry/rpc-metrics.ts";
import { RpcTraces } from "./telemetry/rpc-traces.ts";

/** What is measured, and by what. */
export interface TelemetryOptions {
  /** What keeps the state, as the semantic conventions name it: `postgresql`, `sqlite`, `redis`; `memory`. */
  readonly system: string;
  /** Takes spans; absent: there are none. */
  readonly tracerProvider?: TracerProvider | undefined;
  /** Takes figures; absent: nothing is measured. */
  readonly meterProvider?: MeterProvider | undefined;
  /** Whether spans tell the ids of sessions. Default: false. */
  readonly sessionIds?: boolean | undefined;
}

/** What a server is started with to be measured. */
export interface Telemetry {
  /** The store to serve: the given one, observed. */
  readonly store: EncodedStore;
  /** For `ServerOptions.observer`; absent: there is neither provider. */
  readonly observer: Observer | undefined;
  /** Ends the measuring of the process. Providers are their owners'. */
  stop(): void;
}

/** Sets up the telemetry of a server over a store. */
export function telemetry(store: EncodedStore, options: TelemetryOptions): Telemetry {
  const { system, tracerProvider, meterProvider, sessionIds } = options;
  const tracer = tracerProvider?.getTracer(SCOPE);
  const meter = meterProvider?.getMeter(SCOPE);
  if (tracer === undefined && meter === undefined) return { store, observer: undefined, stop() {} };
  if (meter !== undefined) measureContents(meter, store);
  return {
    store: observedStore(store, { system, tracer, meter, sessionIds }),
    observer: observers(tracer && new RpcTraces(tracer), meter && new RpcMetrics(meter)),
    stop: meter === undefined ? () => {} : measureProcess(meter),
  };
}

/** A store that knows what it holds: the one in memory. A database would have to count. */
interface Counted {
  usage(): { readonly sessions: number; readonly entries: number; readonly bytes: number };
}

function measureContents(meter: Meter, store: EncodedStore): void {
  if (!isCounted(store)) return;
  const create = (name: string, unit: string, description: string) =>
    meter.createObservableUpDownCounter(`workflow_state.store.${name}`, { unit, description });
  const sessions = create("sessions", "{session}", "Sessions that live in the store.");
  const entries = create("entries", "{entry}", "Entries of the sessions that live in the store.");
  const bytes = create("bytes", "By", "Bytes that the store holds: state, history and remembered answers.");
  meter.addBatchObservableCallback(
    (result) => {
      const usage = store.usage();
      result.observe(sessions, usage.sessions);
      result.observe(entries, usage.entries);
      result.observe(bytes, usage.bytes);
    },
    [sessions, entries, bytes],
  );
}

function isCounted(store: EncodedStore): store is EncodedStore & Counted {
  return "usage" in store && typeof store.usage === "function";
}
