/**
 * `npm run fuzz -- --seed 1 --seconds 60 --only requests,values`: gives a server bad input of every kind, and fails if it does
 * anything but refuse it. Without a seed it takes another one each time, and says which.
 */
import { parseArgs } from "node:util";
import { seedOfRun } from "../support/random.ts";
import { runFuzz } from "./run.ts";

const { values } = parseArgs({
  options: { seed: { type: "string" }, seconds: { type: "string", default: "60" }, only: { type: "string" } },
});
const seed = values.seed === undefined ? seedOfRun() : Number(values.seed);
const seconds = Number(values.seconds);
if (!Number.isInteger(seed) || !(seconds > 0))
  throw new Error("Give --seed a whole number, --seconds a number above 0.");
console.log(`seed ${seed}, ${seconds} s`);
const { inputs, findings, heldMs } = await runFuzz({
  seed,
  seconds,
  only: values.only?.split(","),
  onFinding: ({ domain, number, message, input }) =>
    console.error(`\nFOUND by ${domain} ${number}: ${message}\ninput: ${input.slice(0, 4_000)}`),
});
for (const [domain, count] of Object.entries(inputs)) console.log(`${domain}: ${count} inputs`);
console.log(`${findings.length} findings; the event loop was held ${Math.round(heldMs)} ms at most`);
process.exit(findings.length === 0 ? 0 : 1);
