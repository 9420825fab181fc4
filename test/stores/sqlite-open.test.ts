import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openDatabase } from "../../src/stores/sqlite-database.ts";
import { APPLICATION_ID, MIGRATIONS } from "../../src/stores/sqlite-migrations.ts";
import { runNode } from "../support/run-node.ts";
import {
  apply,
  inconsistencies,
  look,
  newPath,
  open,
  openFile,
  query,
  set,
  temporaryFolder,
  value,
} from "../support/sqlite-file.ts";

const CHILD = join(import.meta.dirname, "../support/sqlite-child.ts");
const NEWEST = MIGRATIONS.at(-1)?.version ?? 0;

test("migrations are numbered from 1 without a gap", () => {
  expect(MIGRATIONS.map(({ version }) => version)).toEqual(MIGRATIONS.map((_, i) => i + 1));
});

test("a new file is ours, of the newest layout, in WAL mode, and only its owner's", async () => {
  const path = newPath();
  const backend = await open(path);
  await apply(backend, set("s", { k: value("v") }));
  expect(query(path, "PRAGMA application_id")).toEqual([[APPLICATION_ID]]);
  expect(query(path, "PRAGMA user_version")).toEqual([[NEWEST]]);
  expect(query(path, "PRAGMA journal_mode")).toEqual([["wal"]]);
  for (const file of [path, `${path}-wal`, `${path}-shm`]) expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("processes that start at once on a new file make one layout, and all write", async () => {
  const path = newPath();
  const count = 6;
  const ended = await Promise.all(
    Array.from({ length: count }, () => runNode(CHILD, "open", path, String(count))),
  );
  expect(ended.map(({ stdout, stderr }) => stdout + stderr)).toEqual(new Array(count).fill('"done"\n'));
  expect(query(path, "SELECT count(*) FROM head")).toEqual([[count]]);
  expect(query(path, "PRAGMA user_version")).toEqual([[NEWEST]]);
  expect(inconsistencies(path)).toEqual([]);
});

test("a file that was opened before keeps what it had", async () => {
  const path = newPath();
  const first = await openFile(path);
  await apply(first, set("s", { k: value("v") }));
  await first.close();
  const second = await open(path);
  expect((await look(second, "s")).entries).toMatchObject([{ key: "k", value: value("v"), revision: 1 }]);
});

test("a layout newer than the program knows is refused, and left as it is", async () => {
  const path = newPath();
  await (await openFile(path)).close();
  const database = openDatabase(path, { busyTimeoutMs: 1_000 });
  database.exec(`PRAGMA user_version = ${NEWEST + 1}`);
  database.close();
  const error = await openFile(path).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ reason: "INVALID_REQUEST" });
  expect(String(error)).toContain("upgrade the program");
  expect(query(path, "PRAGMA user_version")).toEqual([[NEWEST + 1]]);
});

test("another program's SQLite file is refused, and left as it is", async () => {
  const path = newPath();
  const database = openDatabase(path, { busyTimeoutMs: 1_000 });
  database.exec("CREATE TABLE theirs (x)");
  database.close();
  await expect(openFile(path)).rejects.toMatchObject({ reason: "INVALID_REQUEST" });
  expect(query(path, "SELECT name FROM sqlite_schema")).toEqual([["theirs"]]);
  expect(query(path, "PRAGMA journal_mode")).toEqual([["delete"]]);
  const other = newPath();
  const marked = openDatabase(other, { busyTimeoutMs: 1_000 });
  marked.exec("PRAGMA application_id = 1; VACUUM");
  marked.close();
  await expect(openFile(other)).rejects.toMatchObject({ reason: "INVALID_REQUEST" });
});

test("a file that is no SQLite file is refused, and left as it is", async () => {
  const path = newPath();
  writeFileSync(path, "This is a letter, and no database.".repeat(100));
  const size = statSync(path).size;
  await expect(openFile(path)).rejects.toMatchObject({ reason: "INVALID_REQUEST" });
  expect(statSync(path).size).toBe(size);
});

test("a path where no file can be says what is wrong with it", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "folder"));
  writeFileSync(join(folder, "file"), "");
  const message = async (path: string): Promise<string> => {
    const error = await openFile(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ reason: "INVALID_REQUEST" });
    return String(error);
  };
  expect(await message(join(folder, "none/state.db"))).toContain("does not exist");
  expect(await message(join(folder, "file/state.db"))).toContain("does not exist");
  expect(await message(join(folder, "folder"))).toContain("is a folder");
  for (const path of ["", ":memory:", "a\0b"])
    expect(await message(path)).toContain("needs the path of a file");
});

test("an empty file becomes a store", async () => {
  const path = newPath();
  writeFileSync(path, "");
  chmodSync(path, 0o600);
  const backend = await open(path);
  expect(await apply(backend, set("s", { k: value("v") }))).toMatchObject({ kind: "done" });
});

test("a layout that fails half-way leaves the file without one", async () => {
  const path = newPath();
  // Room for a part of the tables only.
  await expect(openFile(path, { maxBytes: 4_096 * 5 })).rejects.toMatchObject({ reason: "STORAGE_FULL" });
  expect(query(path, "SELECT count(*) FROM sqlite_schema")).toEqual([[0]]);
  expect(query(path, "PRAGMA user_version")).toEqual([[0]]);
  const backend = await open(path);
  expect(await apply(backend, set("s", { k: value("v") }))).toMatchObject({ kind: "done" });
});
