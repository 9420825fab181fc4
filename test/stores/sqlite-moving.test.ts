import { expect, test } from "vitest";
import type { Backend, SessionKey, StoredRecord } from "../../src/stores/backend.ts";
import { gathered } from "../support/gathered.ts";
import {
  apply,
  end,
  inconsistencies,
  logBytes,
  look,
  newPath,
  open,
  query,
  session,
  set,
  value,
} from "../support/sqlite-file.ts";

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** A session with something of everything that is kept. */
async function fill(backend: Backend, sessionId: string): Promise<void> {
  const metadata = {
    ...{ createTime: undefined, workflowId: "w", userId: "u", labels: { color: "red" } },
    ...{ forkedFrom: { sessionId: "other\0", revision: 7 }, expireTime: undefined, idleTtlMs: 60_000_000 },
  };
  const request = { id: "r\0", fingerprint: "f".repeat(24), kept: value("kept") };
  await apply(backend, set(sessionId, { a: value("1"), "b\0": value(5_000) }, { metadata, request }));
  await apply(backend, set(sessionId, { a: value("2"), c: value(3_000) }));
  await apply(backend, end(sessionId));
  await apply(backend, set(sessionId, { a: value("3") }, { metadata: { ...metadata, labels: {} } }));
  const writes = [
    { key: "a", value: undefined },
    { key: "lease", value: value(2_000), ttlMs: 50_000_000 },
    { key: "d", value: value("d") },
  ];
  await apply(backend, { ...set(sessionId, {}), writes });
}

test("a dump that is loaded elsewhere is the same dump there, and the session works on", async () => {
  const path = newPath();
  const source = await open(newPath());
  const target = await open(path);
  await fill(source, "s");
  await apply(target, set("s", { theirs: value(9_000) }));
  await apply(target, end("s"));
  const key: SessionKey = { namespace: "elsewhere", sessionId: "s" };
  const records = await gathered(source.dump(session("s")));
  expect(records.map(({ kind }) => kind)).toEqual([
    ...["head", "version", "version", "version", "version", "version", "version", "version"],
    ...["event", "event", "event", "event", "event", "request"],
  ]);
  for (const to of [key, session("s")]) {
    await target.load(to, each(records));
    expect(await gathered(target.dump(to))).toEqual(records);
  }
  const seen = await look(target, "s", { requestId: "r\0", atRevision: 2 });
  expect(seen.remembered).toMatchObject({ fingerprint: "f".repeat(24), revision: 1 });
  expect(seen.entries.map(({ key: name }) => name)).toEqual(["a", "b\0", "c"]);
  expect(await apply(target, set("s", { d: value("e") }))).toMatchObject({ kind: "done", revision: 6 });
  const byLabel = await target.sessions({
    namespace: "elsewhere",
    filter: { workflowId: "w" },
    order: "ID",
    count: 9,
  });
  expect(byLabel.map(({ sessionId }) => sessionId)).toEqual(["s"]);
  expect(inconsistencies(path)).toEqual([]);
});

test("a session that has ended is moved with its past, and what is not there is nothing", async () => {
  const source = await open(newPath());
  const target = await open(newPath());
  await fill(source, "s");
  await apply(source, end("s"));
  const records = await gathered(source.dump(session("s")));
  await target.load(session("s"), each(records));
  expect(await gathered(target.dump(session("s")))).toEqual(records);
  expect(await gathered(source.dump(session("none")))).toEqual([]);
  await target.load(session("s"), each([]));
  expect((await look(target, "s")).head).toBeUndefined();
});

/** Versions of 100 kB; about ten are loaded at once. */
function* big(count: number): Generator<StoredRecord> {
  for (let i = 0; i < count; i++)
    yield { kind: "version", key: `k${i}`, value: value(100_000), revision: 1, updateTime: 1 };
}

test("a load that fails on its way leaves what was there, and nothing else", async () => {
  const path = newPath();
  const backend = await open(path);
  await fill(backend, "s");
  const before = await gathered(backend.dump(session("s")));
  async function* broken(): AsyncGenerator<StoredRecord> {
    yield* [...before.slice(0, 1), ...big(40)];
    throw new Error("The source is gone.");
  }
  await expect(backend.load(session("s"), broken())).rejects.toThrow("The source is gone.");
  expect(await gathered(backend.dump(session("s")))).toEqual(before);
  expect(query(path, "SELECT count(*) FROM head")).toEqual([[1]]);
  expect(inconsistencies(path)).toEqual([]);
});

test("of a load that was given up the sweeper clears up, in time", async () => {
  const path = newPath();
  let time = Date.UTC(2026, 0, 1);
  const backend = await open(path, { now: () => time });
  let stop: (error: Error) => void = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = reject;
  });
  async function* stuck(): AsyncGenerator<StoredRecord> {
    yield* big(11);
    await stopped;
  }
  const loading = backend.load(session("s"), stuck());
  const heads = (): unknown => query(path, "SELECT count(*) FROM head")[0]?.[0];
  while (heads() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await backend.sessionKeys(undefined, 10)).toEqual([]);
  expect(await backend.sessions({ namespace: "", filter: {}, order: "ID", count: 10 })).toEqual([]);
  while ((await backend.sweep()).more);
  expect(heads()).toBe(1);
  time += 3_700_000;
  while ((await backend.sweep()).more);
  expect(heads()).toBe(0);
  expect(inconsistencies(path)).toEqual([]);
  stop(new Error("It is over."));
  await expect(loading).rejects.toThrow("It is over.");
});

test("a dump is of one moment, while writers go on", async () => {
  const path = newPath();
  const backend = await open(path, { history: 10 });
  const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
  await apply(backend, set("s", Object.fromEntries(keys.map((key) => [key, value(100_000)]))));
  const records: StoredRecord[] = [];
  for await (const record of backend.dump(session("s"))) {
    records.push(record);
    if (record.kind === "version") await apply(backend, set("s", { [record.key]: value("new") }));
  }
  expect(records.filter(({ kind }) => kind === "version")).toHaveLength(30);
  expect(records.every((record) => record.kind !== "version" || record.value?.length === 100_000)).toBe(true);
  expect(records[0]).toMatchObject({ kind: "head", revision: 1 });
  expect((await look(backend, "s")).head?.revision).toBe(31);
});

test("all sessions of all namespaces are found, a page at a time", async () => {
  const backend = await open(newPath());
  const keys = ["b", "", "a"].flatMap((namespace) =>
    ["x", "x\0", "y"].map((sessionId) => ({ namespace, sessionId })),
  );
  for (const key of keys) await apply(backend, { ...set("", { k: value("v") }), session: key });
  await apply(backend, { ...end(""), session: { namespace: "a", sessionId: "y" } });
  const found: SessionKey[] = [];
  for (;;) {
    const page = await backend.sessionKeys(found.at(-1), 2);
    if (page.length === 0) break;
    found.push(...page);
  }
  const order = (all: readonly SessionKey[]): string[] => all.map((key) => JSON.stringify(key)).sort();
  expect(order(found)).toEqual(order(keys));
});

test("new bytes take the place of every version's value, without a revision", async () => {
  const path = newPath();
  const backend = await open(path);
  await fill(backend, "s");
  const before = await gathered(backend.dump(session("s")));
  const rewritten = await backend.rewriteValues(session("s"), (key, old) =>
    key === "d" ? undefined : value(old.length > 1_000 ? 10 : old.length + 4_000),
  );
  expect(rewritten).toBe(6);
  const after = await gathered(backend.dump(session("s")));
  const sizes = (records: readonly StoredRecord[]): unknown[] =>
    records.flatMap((record) =>
      record.kind === "version" ? [[record.key, record.revision, record.value?.length]] : [],
    );
  expect(sizes(after)).toEqual(
    sizes(before).map((row) => {
      const [key, revision, size] = row as [string, number, number];
      return [key, revision, key === "d" ? size : size > 1_000 ? 10 : size + 4_000];
    }),
  );
  const bare = (records: readonly StoredRecord[]): StoredRecord[] =>
    records.filter(({ kind }) => kind === "event" || kind === "request");
  expect(bare(after)).toEqual(bare(before));
  expect(inconsistencies(path)).toEqual([]);
  await expect(
    backend.rewriteValues(session("s"), () => {
      throw new Error("This can't be read.");
    }),
  ).rejects.toThrow("This can't be read.");
  expect(await gathered(backend.dump(session("s")))).toEqual(after);
  expect(await backend.rewriteValues(session("none"), () => value("x"))).toBe(0);
});

test("a large session is rewritten in pieces, and values that come meanwhile stay", async () => {
  const path = newPath();
  const backend = await open(path, { checkpointPages: 500 });
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
  for (const key of keys) await apply(backend, set("s", { [key]: value(100_000) }));
  let calls = 0;
  const rewriting = backend.rewriteValues(session("s"), (_, old) => {
    calls++;
    return old[0] === 120 ? new Uint8Array(old.length).fill(121) : undefined;
  });
  for (const key of keys) await apply(backend, set("s", { [key]: new Uint8Array(10).fill(122) }));
  expect(await rewriting).toBe(40);
  expect(calls).toBeGreaterThanOrEqual(40);
  const kept = await gathered(backend.dump(session("s")));
  const firsts = kept.flatMap((record) => (record.kind === "version" ? [record.value?.[0]] : []));
  expect(firsts.filter((first) => first === 121)).toHaveLength(40);
  expect(firsts.filter((first) => first === 122)).toHaveLength(40);
  expect(logBytes(path)).toBeLessThan(64 << 20);
  expect(inconsistencies(path)).toEqual([]);
});
