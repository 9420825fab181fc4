/** A short run of the fuzzer: a longer one is `npm run fuzz -- --seconds 3600`. */
import { expect, test } from "vitest";
import { runFuzz } from "./run.ts";

const SECONDS = 15;
/** The same inputs each time: what others find is to be found by a run by hand, not by whoever changes something else. */
const SEED = 1;

test("bad input of every kind is refused, and nothing else comes of it", {
  timeout: SECONDS * 1_000 + 90_000,
}, async () => {
  const { inputs, findings } = await runFuzz({ seed: SEED, seconds: SECONDS });
  expect(findings, `again with: npm run fuzz -- --seed ${SEED}`).toEqual([]);
  expect(Object.keys(inputs).sort()).toEqual(["files", "frames", "json", "requests", "tokens", "values"]);
});
