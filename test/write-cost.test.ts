/** A write costs what it changes: bytes that reach the database, counted where the database counts them itself. */
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../src/open.ts";
import type { Change, WorkflowStateStore } from "../src/store.ts";
import { recordResult, type StoreName } from "./support/durability-results.ts";
import { nameSkipped, type RunningStore, STORES } from "./support/durable-stores.ts";

const VALUE = "x".repeat(100);
const WRITES = 100;

/**
 * What a write of one key may add to the log at most, whatever the session's size. SQLite logs whole pages of 4 KiB: of the
 * entry, its past, the event, the session and their indexes.
 */
const BOUNDS: Readonly<Record<StoreName, number>> = {
  SQLite: 80_000,
  PostgreSQL: 8_000,
  Redis: 8_000,
  "Redis Cluster": 8_000,
};

nameSkipped("Write cost");

describe.each(STORES)("$name", ({ name, start }) => {
  let running: RunningStore;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running.stop());

  /** Fills a session with so many keys of 100 bytes. */
  async function fill(store: WorkflowStateStore, session: string, keys: number): Promise<void> {
    for (let i = 0; i < keys; i += 128) {
      const changes = Array.from(
        { length: Math.min(128, keys - i) },
        (_, j): Change => ({ kind: "set", key: `key/${i + j}`, value: VALUE }),
      );
      await store.commit(session, { changes });
    }
  }

  /** Bytes that changing one key adds to the log, on average over many changes of keys all over the session. */
  async function cost(
    url: string,
    store: WorkflowStateStore,
    session: string,
    keys: number,
  ): Promise<number> {
    const write = (i: number) => store.setState(session, `key/${(i * 7919) % keys}`, `${VALUE}${i}`);
    // First those that PostgreSQL logs as whole pages after a checkpoint.
    for (let i = 0; i < WRITES; i++) await write(i);
    let bytes = 0;
    // A log of SQLite that is full is written from its beginning again, and does not grow: it is emptied before.
    const part = name === "SQLite" ? 10 : WRITES;
    for (let i = 0; i < WRITES; i += part) {
      if (name === "SQLite") emptyLog(url);
      const before = await running.logBytes(url);
      for (let j = i; j < i + part; j++) await write(j);
      bytes += (await running.logBytes(url)) - before;
    }
    return bytes / WRITES;
  }

  test("changing one key of 10,000 writes about as much as changing one of 10", {
    timeout: 180_000,
  }, async () => {
    const url = running.fresh();
    // So little history that what is dropped counts too.
    const store = await openStore(url, { retention: { history: 50 } });
    onTestFinished(() => store.close());
    await fill(store, "small", 10);
    await fill(store, "large", 10_000);
    expect(await sizeOf(store, "large")).toBeGreaterThan(2 ** 20);
    const bytesOf10 = await cost(url, store, "small", 10);
    const bytesOf10000 = await cost(url, store, "large", 10_000);
    console.log(
      `${name}: a changed key writes ${bytesOf10} bytes in a session of 10 keys, ${bytesOf10000} in one of 10,000`,
    );
    expect(bytesOf10).toBeGreaterThan(VALUE.length);
    expect(bytesOf10000).toBeLessThan(BOUNDS[name]);
    expect(bytesOf10000).toBeLessThan(bytesOf10 * 2);
    recordResult({ store: name, check: "write cost", bytesOf10, bytesOf10000 });
  });
});

/** Empties the log of a SQLite file. */
function emptyLog(url: string): void {
  const file = new DatabaseSync(url.slice("sqlite:".length), { timeout: 5_000 });
  file.exec("pragma wal_checkpoint(truncate)");
  file.close();
}

/** Bytes of keys and values that a session holds. */
async function sizeOf(store: WorkflowStateStore, session: string): Promise<number> {
  let bytes = 0;
  let pageToken = "";
  do {
    const page = await store.listState(session, { pageSize: 1_000, pageToken });
    for (const { key, value } of page.entries) bytes += key.length + String(value).length;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return bytes;
}
