import { closeSync, openSync, statSync, writeFileSync, writeSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { type Database, openDatabase } from "../../src/stores/sqlite-database.ts";
import * as errors from "../../src/stores/sqlite-errors.ts";
import { isDiskFull } from "../../src/stores/sqlite-open.ts";
import { apply, look, newPath, open, openFile, set, value } from "../support/sqlite-file.ts";

function connect(path: string, readOnly = false): Database {
  const database = openDatabase(path, { busyTimeoutMs: 0, readOnly });
  onTestFinished(() => database.close());
  return database;
}

/** What a call throws. */
function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error("It did not fail.");
}

test("each failure of SQLite has its reason, a sentence, and its cause", () => {
  const path = newPath();
  const database = connect(path);
  database.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
  const full = thrownBy(() => {
    database.exec("PRAGMA max_page_count = 2; INSERT INTO t VALUES (zeroblob(100000))");
  });
  expect(errors.isFull(full)).toBe(true);
  expect(errors.translated(full)).toMatchObject({ reason: "STORAGE_FULL", cause: full });

  const readOnly = thrownBy(() => connect(path, true).exec("DELETE FROM t"));
  expect(errors.isOfFile(readOnly)).toBe(true);
  expect(errors.translated(readOnly)).toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect(String(errors.translated(readOnly))).toContain("can't be written");

  database.exec("BEGIN IMMEDIATE");
  const busy = thrownBy(() => connect(path).exec("DELETE FROM t"));
  expect(errors.isBusy(busy)).toBe(true);
  expect(errors.translated(busy)).toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect(errors.lockedTooLong(busy)).toMatchObject({ reason: "STORE_UNAVAILABLE", cause: busy });

  const none = newPath();
  writeFileSync(none, "no database".repeat(1_000));
  const foreign = thrownBy(() => connect(none).exec("SELECT * FROM t"));
  expect(errors.isForeign(foreign)).toBe(true);
  expect(errors.translated(foreign)).toMatchObject({ reason: "STORE_UNAVAILABLE" });

  const odd = thrownBy(() => database.exec("SELECT nothing"));
  expect(errors.translated(odd)).toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect([errors.isBusy(odd), errors.isFull(odd), errors.isOfFile(odd), errors.mayBeFull(odd)]).toEqual([
    ...[false, false, false, false],
  ]);

  const other = new Error("not SQLite's");
  expect(errors.translated(other)).toBe(other);
  expect(errors.mayBeCommitted(other)).toBe(false);
});

test("a damaged file is STORE_UNAVAILABLE, and never an empty answer", async () => {
  const path = newPath();
  const backend = await openFile(path);
  for (let i = 0; i < 50; i++) await apply(backend, set(`s${i}`, { k: value(500), l: value(5_000) }));
  await backend.close();
  const file = openSync(path, "r+");
  // All but the first pages, which hold the layout.
  for (let at = 4_096 * 40; at < statSync(path).size; at += 4_096)
    writeSync(file, Buffer.alloc(4_096, 0xa5), 0, 4_096, at);
  closeSync(file);
  const damaged = await open(path);
  let refused = 0;
  for (let i = 0; i < 50; i++) {
    const seen = await look(damaged, `s${i}`).catch((error: unknown) => error);
    if (seen instanceof Error) {
      expect(seen).toMatchObject({ reason: "STORE_UNAVAILABLE" });
      refused++;
    } else {
      // SQLite can't tell of a value that was damaged within.
      expect(seen).toMatchObject({ head: { entries: 2 }, entries: [{ key: "k" }, { key: "l" }] });
    }
  }
  expect(refused).toBeGreaterThan(0);
});

test("a disk with room is not full, and nothing is left of finding out", () => {
  const path = newPath();
  expect(isDiskFull(path)).toBe(false);
  expect(() => statSync(`${path}-room-${process.pid}`)).toThrow("ENOENT");
  expect(isDiskFull(`${path}/none/state.db`)).toBe(false);
});
