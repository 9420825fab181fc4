/** What callers are told of a transaction whose COMMIT fails after the last of it was written. */
import { expect, onTestFinished, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { type Database, openDatabase, type Statement } from "../../src/stores/sqlite-database.ts";
import { openFile } from "../../src/stores/sqlite-open.ts";
import { Queue } from "../../src/stores/sqlite-queue.ts";
import { tablesOf } from "../../src/stores/sqlite-unit.ts";
import { newPath } from "../support/sqlite-file.ts";

const IOERR_SHMSIZE = 4_874;

/** A file in which nothing can be committed: SQLite fails with this code. */
async function failing(errcode: number): Promise<Database> {
  const path = newPath();
  (await openFile(path, { lockTimeoutMs: 1_000, maxBytes: undefined, checkpointPages: 1_000 })).close();
  const database = openDatabase(path, { busyTimeoutMs: 0 });
  onTestFinished(() => database.close());
  return {
    prepare(sql): Statement {
      const statement = database.prepare(sql);
      if (sql !== "COMMIT") return statement;
      return {
        get: (...cells) => statement.get(...cells),
        all: (...cells) => statement.all(...cells),
        iterate: (...cells) => statement.iterate(...cells),
        run(): number {
          throw Object.assign(new Error("disk I/O error"), { errcode });
        },
      };
    },
    exec: (sql) => database.exec(sql),
    get inTransaction(): boolean {
      return database.inTransaction;
    },
    close: () => database.close(),
  };
}

test("a write is not told that there was no room if it may be found made: its outcome is unknown", async () => {
  const database = await failing(IOERR_SHMSIZE);
  let madeRoom = 0;
  const queue = new Queue(database, tablesOf(database), {
    ...{ limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION, lockTimeoutMs: 1_000 },
    isFull: () => true,
    makeRoom: () => madeRoom++,
    withoutLimit: (run) => run(),
    committed: () => {},
  });
  let runs = 0;
  const kinds = ["write", "write", "look", "housekeeping"] as const;
  const results = await Promise.allSettled(kinds.map((kind) => queue.submit(() => ++runs, kind)));
  const unknown = { status: "rejected", reason: { reason: "OUTCOME_UNKNOWN" } };
  const full = { status: "rejected", reason: { reason: "STORAGE_FULL" } };
  expect(results).toMatchObject([unknown, unknown, { status: "fulfilled" }, full]);
  // So that the next does find room; these are not tried again, and the look is made in vain.
  expect([madeRoom, runs]).toEqual([1, 5]);
});
