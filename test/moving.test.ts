/** Moving sessions between real databases: what is read before is read after. */
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportLines } from "../src/cli/export-lines.ts";
import { importLines } from "../src/cli/import-lines.ts";
import { answerKeeper } from "../src/cli/sealing.ts";
import { type OpenOptions, openBackend, openEncodedStore } from "../src/open.ts";
import { DEFAULT_LIMITS, type EncodedStore } from "../src/store.ts";
import type { Backend, SessionKey } from "../src/stores/backend.ts";
import { Keyring, reseal } from "../src/stores/keyring.ts";
import { copySessions, countSessions, type Moved } from "../src/stores/moving.ts";
import { rotateKeys } from "../src/stores/rotating.ts";
import { encodeValue } from "../src/value.ts";
import { type Filled, fill, readAll } from "./support/all-reads.ts";
import { type DurableKind, freshFile, freshUrl, KINDS } from "./support/fresh-urls.ts";
import { gathered } from "./support/gathered.ts";
import { nameSkippedRedis } from "./support/redis.ts";
import { TcpProxy } from "./support/tcp-proxy.ts";
import { jsonValues, MISREAD_KEYS } from "./support/values.ts";

const SEED = 20_261_122;
const VALUES = [
  ...fc.sample(jsonValues, { numRuns: 60, seed: SEED }),
  ...MISREAD_KEYS.map((key) => ({ a: 1, [key]: 2 })),
];

beforeAll(() => nameSkippedRedis("moving"));

/** Runs a task on the store at a URL. */
async function withStore<T>(
  url: string,
  task: (store: EncodedStore) => Promise<T>,
  options?: OpenOptions,
): Promise<T> {
  const store = await openEncodedStore(url, options);
  try {
    return await task(store);
  } finally {
    await store.close();
  }
}

/** Keeps what the commands keep: all. */
const KEEP = { retention: { history: 2 ** 31 - 1, historyAgeMs: 1e12, requestRetentionMs: 1e12 } };

/** Runs a task on the databases at URLs. */
async function withBackends<T>(
  urls: readonly string[],
  task: (...backends: Backend[]) => Promise<T>,
): Promise<T> {
  const backends = await Promise.all(urls.map((url) => openBackend(url, KEEP)));
  try {
    return await task(...backends);
  } finally {
    await Promise.all(backends.map((backend) => backend.close()));
  }
}

interface Source {
  readonly url: string;
  readonly what: Filled;
  readonly read: unknown;
}

const sources = new Map<DurableKind, Promise<Source>>();

/** A store of a kind, filled and read; one of each kind. */
function filled(kind: DurableKind): Promise<Source> {
  const known = sources.get(kind);
  if (known !== undefined) return known;
  const source = (async () => {
    // It outlives the test that asks for it first.
    const url = kind === "SQLite" ? freshFile((remove) => removals.push(remove)) : await freshUrl(kind);
    return withStore(url, async (store) => {
      const what = await fill(store, VALUES);
      return { url, what, read: await readAll(store, what.sessions) };
    });
  })();
  sources.set(kind, source);
  return source;
}

const removals: (() => void)[] = [];
afterAll(() => {
  for (const remove of removals) remove();
});

async function exported(backend: Backend): Promise<string> {
  return (await gathered(exportLines(backend, {}))).join("");
}

/** How many sessions a store has, and versions of values in them. */
async function storedCounts(backend: Backend): Promise<{ sessions: number; values: number }> {
  const sessions = await backend.sessionKeys(undefined, 1000);
  let values = 0;
  for (const session of sessions) {
    for await (const { kind } of backend.dump(session)) if (kind === "version") values++;
  }
  return { sessions: sessions.length, values };
}

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

const RULES = {
  limits: DEFAULT_LIMITS,
  seal: (_: SessionKey, __: string, value: Uint8Array) => value,
  keep: (_: SessionKey, __: string, value: Uint8Array) => value,
  remember: answerKeeper(undefined),
};

/** From each kind to the next, and around. */
const PAIRS = KINDS.map((kind, i): [DurableKind, DurableKind] => [
  kind,
  KINDS[(i + 1) % KINDS.length] as DurableKind,
]);

describe.each([["SQLite", "SQLite"] as [DurableKind, DurableKind], ...PAIRS])("from %s to %s", (from, to) => {
  test("a copy reads as what was copied, and knows its request ids", async () => {
    const source = await filled(from);
    const url = await freshUrl(to);
    const count = await withBackends([source.url], (backend) => countSessions(backend));
    const seen: Moved[] = [];
    const done = await withBackends([source.url, url], (a, b) =>
      copySessions(a, b, { onProgress: (soFar) => seen.push(soFar) }),
    );
    expect(done).toEqual({ moved: count, unchanged: 0, conflicts: 0, complete: true });
    expect(seen.map(({ moved }) => moved).sort((a, b) => a - b)).toEqual(
      [...Array(count).keys()].map((n) => n + 1),
    );
    const read = await withStore(url, async (store) => {
      const before = await readAll(store, source.what.sessions);
      const replayed = await source.what.replay(store);
      // Nothing was written by what was only repeated.
      expect(await readAll(store, source.what.sessions)).toEqual(before);
      return { before, replayed };
    });
    expect(read.before).toEqual(source.read);
    expect(read.replayed).toEqual(await withStore(source.url, (store) => source.what.replay(store)));
    const again = await withBackends([source.url, url], (a, b) => copySessions(a, b));
    expect(again).toEqual({ moved: 0, unchanged: count, conflicts: 0, complete: true });
  }, 120_000);

  test("an export reads back as it was, and is the same when it is made again", async () => {
    const source = await filled(from);
    const url = await freshUrl(to);
    const text = await withBackends([source.url], exported);
    const count = await withBackends([url], async (backend) => {
      const done = await importLines(bytesOf(text), backend, RULES);
      expect(done.complete).toBe(true);
      const again = await importLines(bytesOf(text), backend, RULES);
      expect(again).toEqual({ moved: 0, unchanged: done.moved, conflicts: 0, complete: true });
      return done.moved;
    });
    const second = await withBackends([url], exported);
    const sessionsOf = (lines: string): string[] => lines.split(/^(?=\{"type":"(?:session|end)")/m).sort();
    // Kinds of stores have orders of their own for sessions.
    if (from === to) expect(second).toBe(text);
    expect(sessionsOf(second)).toEqual(sessionsOf(text));
    expect(sessionsOf(text)).toHaveLength(count + 2);
    await withStore(url, async (store) => {
      expect(await readAll(store, source.what.sessions)).toEqual(source.read);
      await source.what.replay(store);
      expect(await readAll(store, source.what.sessions)).toEqual(source.read);
    });
  }, 120_000);
});

describe.each(KINDS)("a store in %s that is in use", (kind) => {
  test("is copied, each session as it is at one moment, and again what was written since", async () => {
    const [from, to] = [await freshUrl(kind), await freshUrl("SQLite")];
    const ids = Array.from({ length: 12 }, (_, i) => `s${i}`);
    // All commits between two copies are kept, however slow the machine is to copy.
    const kept = { retention: { history: 1_000_000 } };
    const writeAndCopy = async (store: EncodedStore): Promise<void> => {
      let writing = true;
      const writers = ids.map(async (sessionId) => {
        for (let n = 1; writing; n++) {
          // In one commit: a copy that has one of them has the other.
          const set = (key: string) => ({ kind: "set" as const, key, value: encodeValue(n) });
          await store.commit({ sessionId, changes: [set("a"), set("b")] });
        }
      });
      try {
        for (let run = 0; run < 3; run++) {
          const done = await withBackends([from, to], (a, b) => copySessions(a, b));
          expect(done).toMatchObject({ conflicts: 0, complete: true });
        }
        await withStore(to, async (copy) => {
          for (const sessionId of ids) {
            const session = await copy.getSession({ sessionId });
            expect(session?.state.get("a")).toEqual(session?.state.get("b"));
            const { events } = await copy.listEvents({ sessionId, pageSize: 1000 });
            for (const { entries } of events) expect(entries[0]?.value).toEqual(entries[1]?.value);
          }
        });
      } finally {
        writing = false;
        await Promise.all(writers);
      }
    };
    await withStore(from, writeAndCopy, kept);
    await withBackends([from, to], (a, b) => copySessions(a, b));
    const sessions = ids.map((sessionId) => ({ namespace: "", sessionId }));
    const reads = await Promise.all(
      [from, to].map((url) => withStore(url, (store) => readAll(store, sessions))),
    );
    expect(reads[1]).toEqual(reads[0]);
  }, 60_000);

  test("is encrypted again under a new key, and the old one is needed no more", async () => {
    const url = await freshUrl(kind);
    const [old, next] = [
      { id: "old", key: randomBytes(32) },
      { id: "next", key: randomBytes(32) },
    ];
    const first = { encryption: new Keyring([old]) };
    const { what, read } = await withStore(
      url,
      async (store) => {
        const what = await fill(store, VALUES.slice(0, 20));
        return { what, read: await readAll(store, what.sessions) };
      },
      first,
    );
    const both = new Keyring([next, old]);
    const counts = await withBackends([url], storedCounts);
    expect(counts.values).toBeGreaterThan(300);
    const rotated = await withBackends([url], (backend) =>
      rotateKeys(backend, (session, key, value) => reseal(both, session, key, value)),
    );
    expect(rotated).toEqual({ pass: "rewrite", ...counts, complete: true });
    const again = await withBackends([url], (backend) =>
      rotateKeys(backend, (session, key, value) => reseal(both, session, key, value)),
    );
    expect(again).toMatchObject({ pass: "check", values: 0, complete: true });
    const only = { encryption: new Keyring([next]) };
    expect(await withStore(url, (store) => readAll(store, what.sessions), only)).toEqual(read);
  }, 60_000);
});

describe("a copy", () => {
  const set = (store: EncodedStore, sessionId: string, value: number): Promise<unknown> =>
    store.setState({ sessionId, key: "k", value: encodeValue(value) });
  const valueAt = (url: string, sessionId: string): Promise<unknown> =>
    withStore(url, async (store) => (await store.getState({ sessionId, key: "k" }))?.value?.join());

  test("that is run again brings what was written meanwhile", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    await withStore(from, async (store) => {
      for (let i = 0; i < 5; i++) await set(store, `s${i}`, i);
    });
    await withBackends([from, to], (a, b) => copySessions(a, b));
    await withStore(from, async (store) => {
      await set(store, "s1", 10);
      await store.deleteSession({ sessionId: "s2" });
      await set(store, "s9", 9);
      for (let i = 0; i < 200; i++) await set(store, "s3", i);
    });
    const done = await withBackends([from, to], (a, b) => copySessions(a, b));
    expect(done).toEqual({ moved: 4, unchanged: 2, conflicts: 0, complete: true });
    for (const id of ["s0", "s1", "s2", "s3", "s9"])
      expect(await valueAt(to, id)).toBe(await valueAt(from, id));
  });

  test("leaves alone what the target has of its own, and says so; with overwrite it doesn't", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    await withStore(from, async (store) => {
      await set(store, "newer there", 1);
      await set(store, "another", 1);
      await set(store, "both went on", 1);
      await set(store, "fine", 1);
    });
    await withStore(to, async (store) => {
      await set(store, "another", 2);
      await set(store, "only there", 2);
    });
    const conflicts: SessionKey[] = [];
    const options = { onConflict: (session: SessionKey) => conflicts.push(session) };
    expect(await withBackends([from, to], (a, b) => copySessions(a, b, options))).toMatchObject({
      moved: 3,
      conflicts: 1,
    });
    await withStore(to, async (store) => {
      await set(store, "newer there", 3);
      await set(store, "both went on", 3);
    });
    await withStore(from, async (store) => {
      for (let i = 4; i < 8; i++) await set(store, "both went on", i);
    });
    const before = await withBackends([to], exported);
    conflicts.length = 0;
    expect(await withBackends([from, to], (a, b) => copySessions(a, b, options))).toEqual({
      moved: 0,
      unchanged: 1,
      conflicts: 3,
      complete: true,
    });
    expect(conflicts.map(({ sessionId }) => sessionId).sort()).toEqual([
      "another",
      "both went on",
      "newer there",
    ]);
    expect(await withBackends([to], exported)).toBe(before);
    const over = await withBackends([from, to], (a, b) => copySessions(a, b, { overwrite: true }));
    expect(over).toEqual({ moved: 3, unchanged: 1, conflicts: 0, complete: true });
    for (const id of ["newer there", "another", "both went on", "fine"]) {
      expect(await valueAt(to, id)).toBe(await valueAt(from, id));
    }
    expect(await valueAt(to, "only there")).toBe(encodeValue(2).join());
  });

  // It once took sessions that began at the same time for one, and what was written to the target was lost.
  test("leaves alone what was written to the target, however much the source has forgotten since", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    await withStore(from, async (store) => {
      await set(store, "both went on", 0);
      await set(store, "only the source", 0);
    });
    await withBackends([from, to], (a, b) => copySessions(a, b));
    const own = { sessionId: "both went on", key: "written on the target", value: encodeValue(1) };
    await withStore(to, (store) => store.setState(own));
    await withStore(from, async (store) => {
      for (const id of ["both went on", "only the source"])
        for (let i = 0; i < 400; i++) await set(store, id, i);
    });
    const before = await withBackends([to], exported);
    // What was never written to the target can't be told from that any more.
    const left = await withBackends([from, to], (a, b) => copySessions(a, b));
    expect(left).toEqual({ moved: 0, unchanged: 0, conflicts: 2, complete: true });
    expect(await withBackends([to], exported)).toBe(before);
    const over = await withBackends([from, to], (a, b) => copySessions(a, b, { overwrite: true }));
    expect(over).toMatchObject({ moved: 2, conflicts: 0 });
    expect(await valueAt(to, "only the source")).toBe(await valueAt(from, "only the source"));
  });

  test("takes up a session that has expired in the target only", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    const ttlMs = 300;
    const alive = (store: EncodedStore): Promise<unknown> =>
      store.commit({ sessionId: "s", metadata: { ttlMs } });
    await withStore(from, async (store) => {
      await set(store, "s", 1);
      await alive(store);
    });
    await withBackends([from, to], (a, b) => copySessions(a, b));
    await withStore(from, async (store) => {
      await store.commit({ sessionId: "s", metadata: { ttlMs: 0 } });
      await set(store, "s", 2);
    });
    await new Promise((resolve) => setTimeout(resolve, ttlMs));
    expect(await valueAt(to, "s")).toBeUndefined();
    expect(await withBackends([from, to], (a, b) => copySessions(a, b))).toMatchObject({
      moved: 1,
      conflicts: 0,
    });
    expect(await valueAt(to, "s")).toBe(encodeValue(2).join());
  });

  test("finds the same where both sides have noted an expiry by themselves", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    await withStore(from, async (store) => {
      await set(store, "session", 1);
      await store.commit({ sessionId: "session", metadata: { ttlMs: 300 } });
      await set(store, "key", 1);
      await store.setState({ sessionId: "key", key: "l", value: encodeValue(1), ttlMs: 300 });
    });
    await withBackends([from, to], (a, b) => copySessions(a, b));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await withBackends([from, to], (a, b) => copySessions(a, b))).toMatchObject({
      moved: 0,
      unchanged: 2,
    });
  });

  test("goes on by itself when connections break for a moment", async () => {
    const url = new URL(await freshUrl("PostgreSQL"));
    const proxy = await TcpProxy.start(Number(url.port));
    try {
      await withStore(url.href, async (store) => {
        for (let i = 0; i < 60; i++) await set(store, `s${i}`, i);
      });
      url.port = String(proxy.port);
      const to = await freshUrl("SQLite");
      let cuts = 0;
      const onProgress = ({ moved }: Moved): void => {
        if (moved % 20 !== 0) return;
        proxy.cut();
        cuts++;
      };
      const done = await withBackends([url.href, to], (a, b) => copySessions(a, b, { onProgress }));
      expect(done).toEqual({ moved: 60, unchanged: 0, conflicts: 0, complete: true });
      expect(cuts).toBe(3);
    } finally {
      await proxy.refuse();
    }
  });

  test("fails as its databases do when they stay away, and what is whole by then is there", async () => {
    const url = new URL(await freshUrl("PostgreSQL"));
    const proxy = await TcpProxy.start(Number(url.port));
    await withStore(url.href, async (store) => {
      for (let i = 0; i < 60; i++) await set(store, `s${i}`, i);
    });
    url.port = String(proxy.port);
    const to = await freshUrl("SQLite");
    const closed: Promise<void>[] = [];
    const onProgress = ({ moved }: Moved): void => {
      if (moved === 20) closed.push(proxy.refuse());
    };
    const copy = withBackends([url.href, to], (a, b) => copySessions(a, b, { onProgress }));
    await expect(copy).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await Promise.all(closed);
    url.port = String(proxy.target);
    const done = await withBackends([url.href, to], (a, b) => copySessions(a, b));
    expect(done.unchanged).toBeGreaterThanOrEqual(20);
    expect(done.moved + done.unchanged).toBe(60);
  });

  test("ends where it is interrupted, with whole sessions, and goes on when it is run again", async () => {
    const [from, to] = [await freshUrl("SQLite"), await freshUrl("SQLite")];
    await withStore(from, async (store) => {
      for (let i = 0; i < 40; i++) await set(store, `s${i}`, i);
    });
    const controller = new AbortController();
    const { signal } = controller;
    const onProgress = ({ moved }: Moved): void => {
      if (moved === 10) controller.abort();
    };
    const part = await withBackends([from, to], (a, b) =>
      copySessions(a, b, { signal, onProgress, concurrency: 3 }),
    );
    expect(part.complete).toBe(false);
    expect(part.moved).toBeGreaterThanOrEqual(10);
    expect(part.moved).toBeLessThan(14);
    expect(await withBackends([from, to], (a, b) => copySessions(a, b))).toEqual({
      moved: 40 - part.moved,
      unchanged: part.moved,
      conflicts: 0,
      complete: true,
    });
    expect(await withBackends([to], exported)).toBe(await withBackends([from], exported));
  });
});
