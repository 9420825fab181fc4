/** What errors of PostgreSQL mean: whether the write was rolled back, and what its caller can do. */
import { expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { isLasting } from "../../src/stores/lasting.ts";
import {
  givenUp,
  lostRace,
  NO_FREE_CONNECTION,
  spoils,
  standby,
  storeClosed,
  translated,
} from "../../src/stores/postgres-errors.ts";

const MESSAGE = "kanarienvogel";

/** An error as the driver passes it on from the server. */
function said(code: string, severity = "ERROR"): Error {
  return Object.assign(new Error(MESSAGE), { code, severity, detail: MESSAGE });
}

test.each([
  ["53100", "STORAGE_FULL", /no room/],
  ["54000", "STORAGE_FULL", /no room/],
  ["58030", "STORAGE_FULL", /no room/],
  ["25006", "STORE_UNAVAILABLE", /standby/],
  ["55P03", "STORE_UNAVAILABLE", /held by others/],
  ["40001", "STORE_UNAVAILABLE", /held by others/],
  ["40P01", "STORE_UNAVAILABLE", /held by others/],
  ["25000", "STORE_UNAVAILABLE", /read committed/],
  ["42501", "STORE_UNAVAILABLE", /lacks a privilege/],
  ["3F000", "STORE_UNAVAILABLE", /schema is missing/],
  ["42P01", "STORE_UNAVAILABLE", /schema is missing/],
  ["42883", "STORE_UNAVAILABLE", /schema is missing/],
  ["22P02", "STORE_UNAVAILABLE", /SQLSTATE 22P02/],
])("an ERROR %s rolled the write back: %s", (code, reason, message) => {
  const error = translated(said(code), "writing");
  expect(error).toMatchObject({ reason, message: expect.stringMatching(message) });
  expect(`${error.message} ${String(error.cause)}`).not.toContain(MESSAGE);
});

test.each([
  ["57P01", "FATAL"],
  ["57P01", "ERREUR FATALE"],
  ["08006", "ERROR"],
  ["XX000", "PANIC"],
])("%s %s ends the connection: a write may be made, a read was not answered", (code, severity) => {
  expect(translated(said(code, severity), "writing").reason).toBe("OUTCOME_UNKNOWN");
  expect(translated(said(code, severity), "reading").reason).toBe("STORE_UNAVAILABLE");
  expect(translated(said(code, severity), "before").reason).toBe("STORE_UNAVAILABLE");
  expect(spoils(said(code, severity))).toBe(true);
});

test.each([
  ["28P01", /user or the password/, true],
  ["28000", /user or the password/, true],
  ["3D000", /no such database/, true],
  ["53300", /no more connections/, false],
  ["57P03", /starting, stopping/, false],
  ["57P02", /starting, stopping/, false],
  ["57P01", /starting, stopping/, false],
])("to be refused with %s says why, and whether waiting helps", (code, message, stays) => {
  const error = translated(said(code, "FATAL"), "before");
  expect(error).toMatchObject({ reason: "STORE_UNAVAILABLE", message: expect.stringMatching(message) });
  expect(isLasting(error)).toBe(stays);
});

test("what is not the server's is an answer that did not come", () => {
  expect(translated(givenUp(NO_FREE_CONNECTION), "before").message).toMatch(/All connections/);
  const causes = [new Error("Connection terminated unexpectedly"), new Error(MESSAGE), MESSAGE, null].map(
    (thrown) => String(translated(thrown, "writing").cause),
  );
  expect(causes).toEqual([
    "Error: PostgreSQL: connection lost",
    "Error: PostgreSQL: no answer",
    "Error: PostgreSQL: no answer",
    "Error: PostgreSQL: no answer",
  ]);
  const untrusted = Object.assign(new Error(MESSAGE), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
  expect(isLasting(translated(untrusted, "before"))).toBe(true);
});

test("an error of ours stays what it is", () => {
  const error = new WorkflowStateError("RATE_LIMITED", "Slower.");
  expect(translated(error, "writing")).toBe(error);
  expect(standby().reason).toBe("STORE_UNAVAILABLE");
  expect(storeClosed().reason).toBe("STORE_UNAVAILABLE");
});

test("a lost race is run again, and a connection to a standby is not used again", () => {
  expect(["40001", "40P01", "55P03"].map((code) => lostRace(said(code)))).toEqual([true, true, false]);
  expect(["25006", "40001"].map((code) => spoils(said(code)))).toEqual([true, false]);
});
