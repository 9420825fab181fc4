import { once } from "node:events";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../src/stores/sqlite-database.ts";
import { ended, runNode, start } from "../support/run-node.ts";
import { apply, inconsistencies, look, newPath, open, session, set, value } from "../support/sqlite-file.ts";

const CHILD = join(import.meta.dirname, "../support/sqlite-child.ts");

test("two processes that read, add and write under a check lose nothing", { timeout: 60_000 }, async () => {
  const path = newPath();
  const all = await Promise.all([1, 2].map(() => runNode(CHILD, "increment", path, "300")));
  expect(all.map(({ stderr }) => stderr)).toEqual(["", ""]);
  const sum = (what: "done" | "conflicts"): number =>
    all.reduce(
      (total, { stdout }) => total + Number((JSON.parse(stdout) as Record<string, number>)[what]),
      0,
    );
  // They did meet: else this would say nothing.
  expect(sum("conflicts")).toBeGreaterThan(0);
  expect(sum("done")).toBeGreaterThanOrEqual(600);
  const backend = await open(path);
  const { head, entries } = await look(backend, "counter");
  expect(entries[0]?.value).toEqual(value(String(sum("done"))));
  expect(head?.revision).toBe(sum("done"));
  expect(inconsistencies(path)).toEqual([]);
});

test("a feed in one process gets each commit of another, soon and in order", async () => {
  const path = newPath();
  const backend = await open(path);
  let cursor = await backend.feedEnd();
  const revisions: number[] = [];
  const delays: number[] = [];
  let hinted = false;
  let wake: () => void = () => {};
  const leave = backend.hints(() => {
    hinted = true;
    wake();
  });
  onTestFinished(leave);
  const other = start(process.execPath, [CHILD, "write", path, "50"]);
  while (revisions.length < 50) {
    // One that comes while the feed is read counts for the next time.
    if (!hinted) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    hinted = false;
    const part = await backend.feed(cursor, 100);
    cursor = part.cursor;
    for (const { revision, time } of part.changes) {
      revisions.push(revision);
      delays.push(Date.now() - time);
    }
  }
  expect(revisions).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  expect(delays.sort((a, b) => a - b)[25]).toBeLessThan(500);
  expect((await ended(other)).status ?? (await once(other, "close"))[0]).toBe(0);
});

test("a lock that another holds for too long is STORE_UNAVAILABLE in time; meanwhile all else goes on", async () => {
  const path = newPath();
  const backend = await open(path, { lockTimeoutMs: 5_000 });
  await apply(backend, set("s", { k: value("1") }));
  const other = openDatabase(path, { busyTimeoutMs: 0 });
  onTestFinished(() => other.close());
  other.exec("BEGIN IMMEDIATE");
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const began = Date.now();
  const write = apply(backend, set("s", { k: value("2") })).catch((error: unknown) => error);
  const read = await look(backend, "s");
  expect(read.entries[0]?.value).toEqual(value("1"));
  expect(Date.now() - began).toBeLessThan(2_500);
  expect(await write).toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect(Date.now() - began).toBeGreaterThanOrEqual(5_000);
  delay.disable();
  // Half of the time it does something else, rather than wait.
  expect(delay.percentile(50) / 1e6).toBeLessThan(50);

  const patient = apply(backend, set("s", { k: value("3") }));
  setTimeout(() => other.exec("ROLLBACK"), 100);
  expect(await patient).toMatchObject({ kind: "done", revision: 2 });
});

test("a look sees one moment, also while another process writes", async () => {
  const path = newPath();
  const backend = await open(path);
  const other = start(process.execPath, [CHILD, "write", path, "100"]);
  let last = 0;
  while (last < 100) {
    const { head, entries } = await look(backend, "written");
    if (head === undefined) continue;
    // The one key is written by each commit.
    expect(entries[0]?.revision).toBe(head.revision);
    expect(head.revision).toBeGreaterThanOrEqual(last);
    last = head.revision;
    const { events } = await backend.events({
      ...{ session: session("written"), from: 1, to: 1_000, reverse: true, count: 1, bytes: 1_000 },
    });
    expect(events[0]?.entries[0]?.value).toBeDefined();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await ended(other);
});
