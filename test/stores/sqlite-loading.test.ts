/** Loads that go wrong on their way or meet each other, and what those who watch see of one. */
import { expect, test } from "vitest";
import type { Backend, FeedChange, StoredRecord } from "../../src/stores/backend.ts";
import { copySessions } from "../../src/stores/moving.ts";
import {
  apply,
  end,
  inconsistencies,
  look,
  newPath,
  open,
  query,
  session,
  set,
  value,
} from "../support/sqlite-file.ts";
import { until } from "../support/until.ts";

const METADATA = {
  ...{ createTime: 1, workflowId: undefined, userId: undefined, labels: {}, forkedFrom: undefined },
  ...{ expireTime: undefined, idleTtlMs: undefined },
};
const HEAD: StoredRecord = {
  ...{ kind: "head", revision: 1, born: 0, oldest: 2, expiredRevision: 0, metadataRevision: 1 },
  ...{ metadata: METADATA, updateTime: 1, activeTime: 1, entries: 0, bytes: 0 },
};

/** A version that is loaded as soon as it comes, being so large. */
function large(key: string): StoredRecord {
  return { kind: "version", key, value: value(1 << 20), revision: 1, updateTime: 1 };
}

/** The sessions that are being loaded. */
function staged(path: string): unknown {
  return query(path, "SELECT session FROM head WHERE namespace < 0")[0]?.[0];
}

test("a load that was given up does not go on in the place of another", async () => {
  const path = newPath();
  let time = Date.UTC(2026, 0, 1);
  const backend = await open(path, { now: () => time });
  const load = (name: string): { readonly go: () => void; readonly loaded: Promise<unknown> } => {
    const gate = Promise.withResolvers<void>();
    async function* records(): AsyncGenerator<StoredRecord> {
      yield* [HEAD, large(`${name}1`)];
      await gate.promise;
      yield* [large(`${name}2`), large(`${name}3`)];
    }
    const loaded = backend.load({ namespace: name, sessionId: "s" }, records()).then(
      () => "loaded",
      (error: unknown) => error,
    );
    return { go: gate.resolve, loaded };
  };
  const a = load("a");
  await until(() => staged(path));
  time += 3_700_000;
  while ((await backend.sweep()).more);
  const b = load("b");
  // It has the number that the other had.
  await until(() => staged(path));
  a.go();
  expect(await a.loaded).toMatchObject({ reason: "STORE_UNAVAILABLE" });
  b.go();
  expect(await b.loaded).toBe("loaded");
  const keys = async (namespace: string): Promise<unknown> =>
    (await look(backend, "s", { session: { namespace, sessionId: "s" } })).entries.map(({ key }) => key);
  expect(await keys("a")).toEqual([]);
  expect(await keys("b")).toEqual(["b1", "b2", "b3"]);
  expect(inconsistencies(path)).toEqual([]);
});

test("a load for whose end there is no room leaves nothing behind", async () => {
  const path = newPath();
  const backend = await open(path, { maxBytes: 1_000_000 });
  const keys = Array.from({ length: 500 }, (_, i) => ({ key: `${i}`.padEnd(100), removed: false }));
  const records: StoredRecord[] = [
    { ...HEAD, kind: "head", revision: 40, oldest: 1 } as StoredRecord,
    { kind: "version", key: "k", value: value(100_000), revision: 1, updateTime: 1 },
    ...Array.from({ length: 40 }, (_, i): StoredRecord => {
      const moment = { metadata: METADATA, time: 1, expireTime: undefined };
      const common = { event: "COMMITTED", requestId: undefined, keys, moment, metadata: METADATA } as const;
      return { kind: "event", revision: i + 1, ...common };
    }),
  ];
  async function* each(): AsyncGenerator<StoredRecord> {
    yield* records;
  }
  await expect(backend.load(session("s"), each())).rejects.toMatchObject({ reason: "STORAGE_FULL" });
  expect(query(path, "SELECT count(*) FROM head")).toEqual([[0]]);
  expect(inconsistencies(path)).toEqual([]);
});

/** The revisions that the feed tells of after a cursor. */
async function told(backend: Backend, cursor: string): Promise<readonly string[]> {
  const changes: FeedChange[] = [];
  for (let at = cursor, more = true; more; ) {
    const part = await backend.feed(at, 2);
    expect(part.lost).toBe(false);
    changes.push(...part.changes);
    ({ cursor: at, more } = part);
  }
  return changes.map(({ session: { sessionId }, revision, kind }) => `${sessionId} ${revision} ${kind}`);
}

test("of a session that is loaded the feed tells its last commit, once, however often it is loaded", async () => {
  const path = newPath();
  const source = await open(newPath());
  const target = await open(path);
  const write = (backend: Backend, sessionId: string): Promise<unknown> =>
    apply(backend, set(sessionId, { k: value("v") }));
  await write(target, "own");
  for (let i = 0; i < 3; i++) await write(source, "s");
  let cursor = await target.feedEnd();
  const news = async (): Promise<readonly string[]> => {
    const found = await told(target, cursor);
    cursor = await target.feedEnd();
    return found;
  };
  await copySessions(source, target);
  expect(await news()).toEqual(["s 3 COMMITTED"]);
  await target.load(session("s"), source.dump(session("s")));
  expect(await news()).toEqual([]);
  await write(source, "s");
  await copySessions(source, target);
  await write(target, "own");
  await write(target, "s");
  expect(await news()).toEqual(["s 4 COMMITTED", "own 2 COMMITTED", "s 5 COMMITTED"]);
  await write(source, "s");
  await apply(source, end("s"));
  await copySessions(source, target, { overwrite: true });
  expect(await news()).toEqual(["s 6 DELETED"]);
  expect(inconsistencies(path)).toEqual([]);
});

test("the past that a session was loaded with is dropped as any other's", async () => {
  const path = newPath();
  const source = await open(newPath());
  const target = await open(path, { history: 2 });
  for (let i = 0; i < 100; i++) await apply(source, set("s", { k: value(`${i}`) }));
  await copySessions(source, target);
  for (let i = 0; i < 40; i++) await apply(target, set("s", { k: value(`${i}`) }));
  expect(query(path, "SELECT count(*) FROM event WHERE session = 1 AND revision < 100")).toEqual([[0]]);
  expect(inconsistencies(path)).toEqual([]);
});
