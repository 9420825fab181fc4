/** What a line of the log shows. */
import { expect, test, vi } from "vitest";
import { logSettingsOf } from "../../src/cli/logger.ts";
import { logFile } from "../support/log-file.ts";

test("of something thrown its name, message, code and causes are shown, not what hangs onto it", async () => {
  const { logger, lines, text } = await logFile();
  const cause = Object.assign(new TypeError("the cause"), { detail: "stored-value" });
  logger.error(
    { err: Object.assign(new Error("it failed", { cause }), { code: 23505, row: "stored-value" }) },
    "failed",
  );
  logger.error({ err: "stored-value" }, "failed");
  const [error, text0] = await lines("failed", 2);
  expect(error).toMatchObject({
    level: "error",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    err: {
      type: "Error",
      message: "it failed",
      code: "23505",
      cause: { type: "TypeError", message: "the cause" },
    },
  });
  expect(text0).toMatchObject({ err: { type: "string" } });
  expect(text()).not.toContain("stored-value");
});

test("what is less important than the level is left out", async () => {
  const { logger, lines, text } = await logFile({ level: "warn" });
  logger.info("less");
  logger.warn("enough");
  await lines("enough", 1);
  expect(text()).not.toContain("less");
});

test("lines for people have no braces", async () => {
  const { logger, text } = await logFile({ format: "pretty", level: "debug" });
  logger.debug({ rpc: "GetState" }, "call");
  await vi.waitUntil(() => text().includes("call"), { timeout: 10_000 });
  expect(text()).toMatch(/DEBUG: call\n {4}rpc: "GetState"\n/);
});

test("settings are what options say, or info, and JSON where nobody looks", () => {
  const terminal = vi
    .spyOn(process, "stderr", "get")
    .mockReturnValue({ isTTY: true } as typeof process.stderr);
  try {
    expect(logSettingsOf({})).toEqual({ level: "info", format: "pretty" });
  } finally {
    terminal.mockRestore();
  }
  expect(logSettingsOf({ logLevel: "debug", logFormat: "json" })).toEqual({ level: "debug", format: "json" });
  expect(() => logSettingsOf({ logLevel: "loud" })).toThrow(/--log-level.*debug, info, warn, error/);
  expect(() => logSettingsOf({ logFormat: "xml" })).toThrow(/--log-format.*json, pretty/);
});
