/** What errors of Redis and of its client mean: whether a write may have been made, and whether waiting helps. */
import { ErrorReply } from "@redis/client";
import { expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { isLasting } from "../../src/stores/lasting.ts";
import { codeOf, connectFailure, failureOf, timedOut } from "../../src/stores/redis-errors.ts";

const said = (message: string): ErrorReply => new ErrorReply(message);

test.each([
  ["OOM command not allowed", "STORAGE_FULL"],
  ["MISCONF Errors writing to the AOF file", "STORAGE_FULL"],
  ["READONLY You can't write against a read only replica", "STORE_UNAVAILABLE"],
  ["CLUSTERDOWN The cluster is down", "STORE_UNAVAILABLE"],
  ["NOPERM no permissions to run", "STORE_UNAVAILABLE"],
])("%s refuses a write before it begins: %s", (message, reason) => {
  expect(failureOf(said(message), true)).toMatchObject({ mayHaveRun: false, error: { reason } });
});

test.each([
  ["an answer in the middle of a script", said("ERR user_script:1: failed"), "OUTCOME_UNKNOWN"],
  ["a connection that broke", new Error("Socket closed unexpectedly"), "OUTCOME_UNKNOWN"],
  ["what is no error", "broken", "OUTCOME_UNKNOWN"],
])("%s leaves open whether a write was made, and a read undone", (_, thrown, reason) => {
  expect(failureOf(thrown, true)).toMatchObject({ mayHaveRun: true, error: { reason } });
  expect(failureOf(thrown, false)).toMatchObject({
    mayHaveRun: false,
    error: { reason: "STORE_UNAVAILABLE" },
  });
});

test("what was never sent was not done, and an error of ours stays what it is", () => {
  class ClientOfflineError extends Error {}
  expect(failureOf(new ClientOfflineError(), true)).toMatchObject({ mayHaveRun: false });
  const error = new WorkflowStateError("SESSION_TOO_LARGE", "Too large.");
  expect(failureOf(error, true)).toEqual({ mayHaveRun: false, error });
  expect(timedOut(true, true)).toMatchObject({ mayHaveRun: true, error: { reason: "OUTCOME_UNKNOWN" } });
  for (const [writes, sent] of [
    [true, false],
    [false, true],
  ] as const) {
    expect(timedOut(writes, sent)).toMatchObject({
      mayHaveRun: false,
      error: { reason: "STORE_UNAVAILABLE" },
    });
  }
});

test.each<[string, unknown, RegExp, boolean]>([
  ["a wrong password", said("WRONGPASS invalid username-password pair secret"), /user or the password/, true],
  ["no password", said("NOAUTH Authentication required."), /wants a user/, true],
  ["a server that loads", said("LOADING Redis is loading the dataset in memory"), /loading/, false],
  ["another refusal", said("ERR secret"), /refused the connection/, false],
  [
    "a server that is away",
    Object.assign(new Error("secret"), { code: "ECONNREFUSED" }),
    /can't be reached/,
    false,
  ],
  [
    "a certificate of nobody's",
    Object.assign(new Error("x"), { code: "SELF_SIGNED_CERT_IN_CHAIN" }),
    /reached/,
    true,
  ],
  ["what is no error", "secret", /can't be reached/, false],
])("%s is said in words of ours, and whether waiting helps", (_, thrown, message, stays) => {
  const error = connectFailure(thrown);
  expect(error).toMatchObject({ reason: "STORE_UNAVAILABLE", message: expect.stringMatching(message) });
  expect(error.message).not.toContain("secret");
  expect(isLasting(error)).toBe(stays);
});

test("only answers have a code", () => {
  expect([codeOf(said("OOM x")), codeOf(said("not one")), codeOf(new Error("OOM x"))]).toEqual([
    "OOM",
    "",
    "",
  ]);
});
