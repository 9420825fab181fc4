/** The log of a program, in a file instead of stderr. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import { type Logger, type LogSettings, openLogger } from "../../src/cli/logger.ts";

/** A log and what it holds. */
export interface LogFile {
  readonly logger: Logger;
  readonly text: () => string;
  /** The lines that say this, once there are so many. */
  lines(msg: string, count: number): Promise<Readonly<Record<string, unknown>>[]>;
}

/** Opens a log for the test that runs. */
export async function logFile(settings: Partial<LogSettings> = {}): Promise<LogFile> {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-log-"));
  const path = join(folder, "log");
  const fd = openSync(path, "a");
  onTestFinished(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  const logger = await openLogger({ level: "info", format: "json", ...settings }, fd);
  const text = (): string => readFileSync(path, "utf8");
  const linesOf = (msg: string): Readonly<Record<string, unknown>>[] =>
    text()
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      .filter((line) => line["msg"] === msg);
  return {
    logger,
    text,
    async lines(msg, count) {
      await vi.waitUntil(() => linesOf(msg).length >= count, { timeout: 10_000 });
      return linesOf(msg);
    },
  };
}
