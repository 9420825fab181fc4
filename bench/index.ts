/**
 * Benchmarks: in process, over the wire against a server in a process of its own, and on databases of few and many sessions,
 * which takes minutes to make. Prints operations a second. Nothing is asserted. `--short` runs each for a moment only, to see that it works.
 */
import { benchAtScale } from "./at-scale.ts";
import { benchIdleWatches } from "./idle-watches.ts";
import { benchInProcess } from "./in-process.ts";
import { benchWatch } from "./watch.ts";
import { benchWire } from "./wire.ts";

const short = process.argv.includes("--short");
const ms = short ? 50 : 1_000;

console.log(
  `Node ${process.version}, one store in memory, values of about 150 bytes; ops/s, higher is better\n`,
);
await benchInProcess(ms);
await benchWire(ms);
await benchAtScale(ms, short ? 2_000 : 1_000_000);
await benchIdleWatches(short ? 400 : 10_000, short ? 1 : 20);
await benchWatch(short ? { watchers: 10, commits: 20 } : { watchers: 100, commits: 1_000 });
