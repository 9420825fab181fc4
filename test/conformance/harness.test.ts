/** The assertions that the conformance cases are written in: each fails when it must, and says what differs. */
import { describe, expect, test } from "vitest";
import {
  ConformanceFailure,
  expectDefined,
  expectEqual,
  expectReason,
  expectThrown,
  expectTrue,
} from "../../src/conformance/harness.ts";
import { WorkflowStateError } from "../../src/errors.ts";

describe("expectEqual", () => {
  test.each<readonly [unknown, unknown]>([
    [1, 1],
    [{ a: [new Date(1)], b: undefined }, { a: [new Date(1)] }],
    [JSON.parse('{"__proto__":1}'), JSON.parse('{"__proto__":1}')],
  ])("takes %j for %j", (a, b) => {
    expectEqual(a, b, "they");
  });

  test.each<readonly [unknown, unknown, string]>([
    [0, -0, "they: expected"],
    [{ a: 1 }, null, "they: expected null"],
    [null, { a: 1 }, "they: expected"],
    [{ a: { b: 1 } }, { a: { b: 2 } }, "they.a.b: expected"],
    [{ a: 1 }, {}, "they.a: expected"],
    [{}, { a: 1 }, "they.a: expected"],
    [[1, 2], [1], "they: expected"],
    [[1], { 0: 1 }, "they: expected"],
    [new Date(1), new Date(2), "they: expected"],
    [new Date(1), {}, "they: expected"],
    [undefined, "x".repeat(600), "…"],
  ])("tells %j from %j", (a, b, said) => {
    expect(() => expectEqual(a, b, "they")).toThrow(said);
  });
});

test("expectTrue and expectDefined fail with what must be", () => {
  expectTrue(true, "so");
  expect(() => expectTrue(false, "so")).toThrow(new ConformanceFailure("must hold: so"));
  expect(expectDefined(0, "it")).toBe(0);
  expect(() => expectDefined(undefined, "it")).toThrow(new ConformanceFailure("must be there: it"));
});

test("expectReason fails unless the promise rejects with that reason", async () => {
  const error = new WorkflowStateError("INVALID_KEY", "no key");
  expect(await expectReason(Promise.reject(error), "INVALID_KEY")).toBe(error);
  await expect(expectReason(Promise.reject(error), "INVALID_VALUE")).rejects.toThrow(
    "failed with INVALID_KEY",
  );
  await expect(expectReason(Promise.reject(new Error("x")), "INVALID_KEY")).rejects.toThrow("Error: x");
  await expect(expectReason(Promise.resolve(1), "INVALID_KEY")).rejects.toThrow("answered 1");
});

test("expectThrown fails unless the promise rejects with that object", async () => {
  const thrown = new Error("this");
  await expectThrown(Promise.reject(thrown), thrown, "it");
  await expect(expectThrown(Promise.reject(new Error("other")), thrown, "it")).rejects.toThrow(
    "Error: other",
  );
  await expect(expectThrown(Promise.resolve(2), thrown, "it")).rejects.toThrow("answered 2");
});
