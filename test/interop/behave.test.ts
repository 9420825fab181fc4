/** The TypeScript program's cases: they pass, and each would fail if the service did something else. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BehaviourFile, behave } from "../../interop/behave.ts";
import { type Json, readData } from "../../interop/data.ts";
import { nearMiss } from "../../interop/near-misses.ts";
import { type Services, startServices } from "../../interop/services.ts";

let services: Services;
let file: BehaviourFile;

beforeAll(async () => {
  services = await startServices();
  file = readData("behaviour.json", services.given) as unknown as BehaviourFile;
});

afterAll(() => services[Symbol.asyncDispose]());

async function run(cases: BehaviourFile["cases"], prefix: string) {
  const lines = [];
  for await (const line of behave(
    { clients: file.clients, cases },
    { url: services.url, prefix, options: {} },
  )) {
    lines.push(line);
  }
  return lines;
}

/** The cases, with the last expectation of each nearly, but not quite, what it was. */
function spoilt(cases: BehaviourFile["cases"]): BehaviourFile["cases"] {
  return cases.map(({ name, steps }) => {
    const at = steps.findLastIndex(({ expect, error }) => expect !== undefined || error !== undefined);
    const step = steps[at];
    if (step === undefined) throw new Error(`Nothing is expected in ${name}.`);
    const of = step.expect === undefined ? "error" : "expect";
    const [[field, value] = ["", null]] = Object.entries(step[of] as Record<string, Json>).reverse();
    return { name, steps: steps.with(at, { ...step, [of]: { ...step[of], [field]: nearMiss(value) } }) };
  });
}

describe("the cases", () => {
  test("pass", async () => {
    const lines = await run(file.cases, "pass");
    expect(lines.filter(({ ok }) => !ok)).toEqual([]);
    expect(lines.map(({ name }) => name)).toEqual(file.cases.map(({ name }) => name));
  });

  test("fail if anything else is expected in their last step", async () => {
    const lines = await run(spoilt(file.cases), "spoilt");
    expect(lines.filter(({ ok }) => ok)).toEqual([]);
    for (const { message } of lines) expect(message).toMatch(/^step \d+: .* is .*, and should be /);
  });
});

describe("a step fails its case", () => {
  const set = { do: "set", session: "a", key: "k", value: 1 };

  test.each([
    ["that succeeds and should not", { ...set, error: { reason: "INVALID_KEY" } }, "it succeeded"],
    ["that fails and should not", { ...set, key: "" }, "The key is empty."],
    ["that is not over in time", { do: "sleep", ms: 5000, within_ms: 50 }, "it was not over"],
    ["that nobody knows", { do: "nothing" }, "there is nothing to do as nothing"],
    ["of a client that nobody knows", { ...set, client: "nobody at all" }, "there is no client"],
  ])("%s", async (_, step, message) => {
    const [line] = await run([{ name: "one", steps: [set, step] }], `fails-${message}`);
    expect(line).toMatchObject({ name: "one", ok: false });
    expect(line?.message).toContain(`step 1: ${message}`);
  });
});
