/** What options, the environment and a config file say of connections, and what is wrong with it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { settingsOf } from "../../src/cli/config.ts";
import { runMain } from "../support/run-main.ts";

const folder = mkdtempSync(join(tmpdir(), "workflow-state-connections-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: object): string {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

describe("settings of connections", () => {
  test("come from options", () => {
    const settings = settingsOf({
      maxConnections: "7",
      maxConnectionAge: "30m",
      maxConnectionAgeGrace: "1m",
      maxConnectionIdle: "off",
      writeTimeout: "5s",
      maxBufferedBytes: "64MiB",
      corsOrigin: "https://a.example, http://localhost:5173",
      startTimeout: "2m",
    });
    expect(settings).toMatchObject({
      connections: {
        maxConnections: 7,
        maxAgeMs: 1_800_000,
        ageGraceMs: 60_000,
        maxIdleMs: Number.POSITIVE_INFINITY,
        writeTimeoutMs: 5_000,
        maxBufferedBytes: 67_108_864,
      },
      cors: { origins: ["https://a.example", "http://localhost:5173"] },
      startTimeoutMs: 120_000,
    });
  });

  test("come from a file, and an option counts more", () => {
    const config = file("all", {
      maxConnections: 9,
      maxConnectionAge: "1h",
      maxBufferedBytes: "1MiB",
      cors: { origins: ["https://a.example"] },
      startTimeout: "0s",
    });
    expect(settingsOf({ config })).toMatchObject({
      connections: { maxConnections: 9, maxAgeMs: 3_600_000, maxBufferedBytes: 1_048_576 },
      cors: { origins: ["https://a.example"] },
      startTimeoutMs: 0,
    });
    const bytes = file("bytes", { maxBufferedBytes: 1_000_000 });
    expect(settingsOf({ config: bytes })).toMatchObject({ connections: { maxBufferedBytes: 1_000_000 } });
    expect(settingsOf({ config, maxConnections: "3", corsOrigin: "https://b.example" })).toMatchObject({
      connections: { maxConnections: 3, maxAgeMs: 3_600_000 },
      cors: { origins: ["https://b.example"] },
    });
  });

  test.each<[Parameters<typeof settingsOf>[0], RegExp]>([
    [{ maxConnections: "0" }, /--max-connections must be a whole number from 1/],
    [{ maxConnections: "1e3" }, /--max-connections must be a whole number from 1/],
    [{ maxConnectionAge: "0s" }, /--max-connection-age must be longer than nothing/],
    [{ maxConnectionIdle: "25d" }, /--max-connection-idle must be longer than nothing, and no longer/],
    [{ writeTimeout: "off" }, /"off" is no duration/],
    [{ maxBufferedBytes: "1.5GiB" }, /--max-buffered-bytes must be a number of bytes/],
    [{ maxBufferedBytes: "0" }, /--max-buffered-bytes must be a number of bytes/],
    [{ corsOrigin: "*" }, /every origin that may call must be named/],
    [{ corsOrigin: "https://a.example/" }, /is no origin: expected one as browsers write it/],
    [{ corsOrigin: "" }, /"" is no origin/],
    [{ config: file("bytes of half", { maxBufferedBytes: "1.5GiB" }) }, /--max-buffered-bytes must be/],
    [
      { config: file("many", { maxBufferedBytes: ["1"] }) },
      /"maxBufferedBytes" must be a number or a string/,
    ],
    [{ drainTimeout: "25d" }, /--drain-timeout must be no longer than 24 days/],
    [{ config: file("drain", { drainTimeout: "600h" }) }, /--drain-timeout must be no longer than 24 days/],
    [{ config: file("half", { maxConnections: 1.5 }) }, /--max-connections must be a whole number/],
    [{ config: file("text", { maxConnections: "9" }) }, /"maxConnections" must be a number/],
    [{ config: file("other", { cors: { origins: [], headers: [] } }) }, /no setting of cors "headers"/],
    [{ config: file("list", { cors: { origins: "https://a.example" } }) }, /must be a list of texts/],
  ])("%o is refused", (options, message) => {
    expect(() => settingsOf(options)).toThrow(message);
  });
});

test("calls get no time at the end, or as much as a timer can wait", () => {
  expect(settingsOf({ drainTimeout: "0s" }).drainTimeoutMs).toBe(0);
  expect(settingsOf({ drainTimeout: "24d" }).drainTimeoutMs).toBe(24 * 86_400_000);
});

test("an origin can be named again and again, and a wrong one ends the program", async () => {
  const args = ["serve", "--cors-origin", "https://a.example", "--cors-origin", "bogus"];
  const { code, errors } = await runMain(args);
  expect(code).toBe(2);
  expect(errors).toBe(
    'workflow-state: "bogus" is no origin: expected one as browsers write it, such as https://app.example.org\n',
  );
  const named = await runMain(["serve"], { env: { WORKFLOW_STATE_CORS_ORIGIN: "https://a.example,*" } });
  expect(named.code).toBe(2);
  expect(named.errors).toContain("every origin that may call must be named");
});
