/** Figures about RPCs: how many, how they ended, how long they took, and which are open. */
import type { Attributes, Histogram, Meter } from "@opentelemetry/api";
import type { Failure, Observation, Observer, RpcStart } from "../service/observer.ts";
import { methodName, outcomeAttributes, systemName } from "./conventions.ts";

/** The bounds that the conventions ask for, in seconds, and finer ones below: a call to a store in memory takes 0.1 ms. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5,
  7.5, 10,
];

const WATCHES: ReadonlySet<string> = new Set(["WatchSession", "WatchSessions"]);

/**
 * Counts RPCs. What it tells them apart by are methods that are served, protocols, codes and reasons: never what a caller
 * chooses freely, so that there are no more than so many series.
 */
export class RpcMetrics implements Observer {
  readonly #duration: Histogram;
  /** How many are open, by method. */
  readonly #calls: Map<string, number> = new Map();
  readonly #watches: Map<string, number> = new Map();

  constructor(meter: Meter) {
    this.#duration = meter.createHistogram("rpc.server.call.duration", {
      description: "How long RPCs took, to the end of their answer.",
      unit: "s",
      advice: { explicitBucketBoundaries: [...LATENCY_BOUNDS] },
    });
    observeCounts(meter, this.#calls, {
      name: "workflow_state.rpc.open",
      description: "RPCs under way that are no watches.",
      unit: "{call}",
    });
    observeCounts(meter, this.#watches, {
      name: "workflow_state.watch.open",
      description: "Watches that are open.",
      unit: "{watch}",
    });
  }

  begin(rpc: RpcStart): Observation {
    const open = WATCHES.has(rpc.method) ? this.#watches : this.#calls;
    const method = methodName(rpc);
    open.set(method, (open.get(method) ?? 0) + 1);
    const start = performance.now();
    return {
      who() {},
      sent() {},
      end: (failure) => {
        open.set(method, (open.get(method) ?? 1) - 1);
        this.#duration.record((performance.now() - start) / 1_000, attributesOf(rpc, failure));
      },
    };
  }
}

/** Those of calls that ended well: nearly all, so they are made once for each method. */
const GOOD: Map<string, Attributes> = new Map();

function attributesOf(rpc: RpcStart, failure: Failure | undefined): Attributes {
  if (failure !== undefined) return made(rpc, failure);
  const key = `${rpc.protocol} ${methodName(rpc)}`;
  let attributes = GOOD.get(key);
  if (attributes === undefined) {
    attributes = made(rpc, undefined);
    GOOD.set(key, attributes);
  }
  return attributes;
}

function made(rpc: RpcStart, failure: Failure | undefined): Attributes {
  return {
    "rpc.system.name": systemName(rpc),
    "rpc.method": methodName(rpc),
    ...outcomeAttributes(rpc, failure),
  };
}

function observeCounts(
  meter: Meter,
  counts: ReadonlyMap<string, number>,
  { name, description, unit }: { readonly name: string; readonly description: string; readonly unit: string },
): void {
  const instrument = meter.createObservableUpDownCounter(name, { description, unit });
  instrument.addCallback((result) => {
    for (const [method, count] of counts) result.observe(count, { "rpc.method": method });
  });
}
