/** A short run of the fuzzer: a longer one is `npm run fuzz -- --seconds 3600`. */
import { expect, test } from "vitest";
import { seedOfRun } from "../support/random.ts";
import { runFuzz } from "./run.ts";

/** CI runs it longer. */
const SECONDS = Number(process.env["WORKFLOW_STATE_FUZZ_SECONDS"] ?? 15);

test("bad input of every kind is refused, and nothing else comes of it", {
  timeout: SECONDS * 1_000 + 90_000,
}, async () => {
  const seed = seedOfRun();
  console.log(`fuzz: seed ${seed}`);
  const { inputs, findings } = await runFuzz({ seed, seconds: SECONDS });
  expect(findings, `again with: npm run fuzz -- --seed ${seed}`).toEqual([]);
  expect(Object.keys(inputs).sort()).toEqual(["files", "frames", "json", "requests", "tokens", "values"]);
});
