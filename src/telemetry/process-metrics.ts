/** Figures about the process: how long its event loop keeps things waiting, and its memory. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Meter } from "@opentelemetry/api";

/** How often the event loop is looked at, in milliseconds. */
const RESOLUTION_MS = 20;
const NS_PER_S = 1e9;

/** Measures the process until what is returned is called. Delays are those since the last collection, whoever collected. */
export function measureProcess(meter: Meter): () => void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const gauge = (name: string, description: string) =>
    meter.createObservableGauge(`nodejs.eventloop.delay.${name}`, { description, unit: "s" });
  const gauges = {
    mean: gauge("mean", "How late the event loop was, on average."),
    max: gauge("max", "How late the event loop was at worst."),
    p50: gauge("p50", "How late the event loop was: half of the time less."),
    p99: gauge("p99", "How late the event loop was: 99% of the time less."),
  };
  const memory = meter.createObservableUpDownCounter("process.memory.usage", {
    description: "Physical memory of the process.",
    unit: "By",
  });
  const heap = meter.createObservableUpDownCounter("v8js.memory.heap.used", {
    description: "Memory that objects of JavaScript take.",
    unit: "By",
  });
  const observables = [...Object.values(gauges), memory, heap];
  const seconds = (delayNs: number): number => {
    // The histogram holds whole intervals; the part beyond the interval is what was waited. Empty, it says NaN.
    const late = delayNs - RESOLUTION_MS * 1e6;
    return late > 0 ? late / NS_PER_S : 0;
  };
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    result.observe(gauges.mean, seconds(delay.mean));
    result.observe(gauges.max, seconds(delay.max));
    result.observe(gauges.p50, seconds(delay.percentile(50)));
    result.observe(gauges.p99, seconds(delay.percentile(99)));
    delay.reset();
    const { rss, heapUsed } = process.memoryUsage();
    result.observe(memory, rss);
    result.observe(heap, heapUsed);
  };
  meter.addBatchObservableCallback(observe, observables);
  return () => {
    meter.removeBatchObservableCallback(observe, observables);
    delay.disable();
  };
}
