/** Hints about a file that others write while it can't be read for a moment. */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../src/stores/sqlite-database.ts";
import { apply, newPath, open, set, value } from "../support/sqlite-file.ts";
import { until } from "../support/until.ts";

test("hints can begin while the file can't be read, and come when it can", async () => {
  const path = newPath();
  const backend = await open(path);
  await apply(backend, set("s", { k: value("v") }));
  const other = openDatabase(path, { busyTimeoutMs: 1_000 });
  onTestFinished(() => other.close());
  other.exec("UPDATE head SET bytes = bytes + 1; PRAGMA wal_checkpoint(TRUNCATE)");
  const file = openSync(path, "r+");
  onTestFinished(() => closeSync(file));
  const header = new Uint8Array(100);
  readSync(file, header, 0, 100, 0);
  writeSync(file, new Uint8Array(100).fill(0xa5), 0, 100, 0);
  let heard = 0;
  const leave = backend.hints((key) => {
    expect(key).toBeUndefined();
    heard++;
  });
  onTestFinished(leave);
  writeSync(file, header, 0, 100, 0);
  other.exec("UPDATE head SET bytes = bytes + 1");
  await until(() => heard > 0 || undefined);
});
