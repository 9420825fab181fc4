/** The memory store when it is full, and what it does to stay within its bounds. */
import { describe, expect, it } from "vitest";
import { type MemoryOptions, type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { decodeValue, encodeValue } from "../../src/value.ts";

const DAY_MS = 86_400_000;

function set(store: MemoryStore, sessionId: string, key: string, value: unknown): Promise<unknown> {
  return store.setState({ sessionId, key, value: encodeValue(value) });
}

/** Labels that no other call gives. */
function labels(n: number, count = 64): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`name ${i} ${n}`.padEnd(120, "x"), `${n}`.padEnd(240, "y")]),
  );
}

describe("a write that must make room first", () => {
  /** A store that is full but for what its sweep lets go of, and whose clock moves on whenever it is looked at. */
  async function full() {
    const clock = { now: 1_000_000, step: 0 };
    const now = (): number => {
      const time = clock.now;
      clock.now += clock.step;
      return time;
    };
    const store = memoryStore({ now, maxBytes: 7_500, historyAgeMs: 200 });
    await set(store, "junk", "j", "x".repeat(3_000));
    await set(store, "junk", "j", "");
    clock.now += 150;
    return { store, clock };
  }
  const pad = { kind: "set", key: "pad", value: encodeValue("x".repeat(1_200)) } as const;

  it("is made at one moment: what expires while room is made was not read before", async () => {
    const { store, clock } = await full();
    const n = { kind: "set", key: "n", value: encodeValue(41) } as const;
    await store.commit({ sessionId: "s", changes: [n], metadata: { ttlMs: 100, labels: { old: "1" } } });
    clock.now = 1_000_249;
    clock.step = 1;
    const change = { kind: "increment", key: "n", delta: 1 } as const;
    const { revision } = await store.commit({ sessionId: "s", changes: [change, pad] });
    expect(revision).toBe(2);
    clock.step = 0;
    clock.now = 1_000_250;
    expect(await store.getSession({ sessionId: "s" })).toBeUndefined();
    const { events } = await store.listEvents({ sessionId: "s" });
    expect(events.map(({ kind }) => kind)).toEqual(["COMMITTED", "COMMITTED", "EXPIRED"]);
  });

  it("leaves no gap between its checks and its commit for a key to expire in", async () => {
    const { store, clock } = await full();
    const lease = await store.setState({
      sessionId: "s",
      key: "lease",
      value: encodeValue("me"),
      ttlMs: 100,
    });
    clock.now = 1_000_249;
    clock.step = 1;
    const checks = [{ key: "lease", ifRevision: lease.revision }];
    const { revision } = await store.commit({ sessionId: "s", checks, changes: [pad] });
    clock.step = 0;
    clock.now = 1_000_250;
    const { events } = await store.listEvents({ sessionId: "s" });
    expect(events.map(({ kind, revision }) => [kind, revision])).toEqual([
      ["COMMITTED", 1],
      ["COMMITTED", revision],
      ["EXPIRED", revision + 1],
    ]);
  });

  it("does not bring back an idle session that expires meanwhile", async () => {
    const { store, clock } = await full();
    const n = { kind: "set", key: "n", value: encodeValue(41) } as const;
    await store.commit({ sessionId: "s", changes: [n], metadata: { idleTtlMs: 100 } });
    clock.now = 1_000_249;
    clock.step = 1;
    const change = { kind: "increment", key: "n", delta: 1 } as const;
    await store.commit({ sessionId: "s", changes: [change, pad] });
    clock.step = 0;
    clock.now = 1_000_250;
    // It was written in its last millisecond: so it lives on, with all that it had.
    const session = await store.getSession({ sessionId: "s" });
    expect(session).toMatchObject({ revision: 2, createTime: 1_000_150, expireTime: 1_000_349 });
    expect(decodeValue(session?.state.get("n") as Uint8Array)).toBe(42);
  });
});

describe("a full store", () => {
  /** Writes until the store is full; gives how often. */
  async function fill(write: (n: number) => Promise<unknown>): Promise<number> {
    for (let n = 0; n < 20_000; n++) {
      try {
        await write(n);
      } catch (error) {
        expect(error).toMatchObject({ reason: "STORAGE_FULL" });
        return n;
      }
    }
    throw new Error("the store was never full");
  }
  const maxBytes = 1_000_000;
  const open = (options: MemoryOptions = {}): MemoryStore => memoryStore({ maxBytes, ...options });

  it("counts the labels that its history keeps, and lets those through who make room", async () => {
    let now = 1_000_000;
    const store = open({ now: () => now });
    await set(store, "s0", "k", 1);
    const commits = await fill((n) =>
      store.commit({ sessionId: `s${n % 5}`, metadata: { labels: labels(n) } }),
    );
    // A commit's labels are 64 times 360 characters.
    expect(commits).toBeGreaterThan(10);
    expect(commits).toBeLessThan(50);
    const { bytes } = store.usage();
    expect(bytes).toBeLessThanOrEqual(maxBytes);
    expect(bytes).toBeGreaterThan(maxBytes * 0.9);
    await expect(
      store.saveSession({ session: { sessionId: "new", state: new Map(), labels: labels(0) } }),
    ).rejects.toMatchObject({ reason: "STORAGE_FULL" });
    expect(await store.deleteState({ sessionId: "s0", key: "k" })).toMatchObject({ deleted: true });
    for (let i = 0; i < 5; i++) expect(await store.deleteSession({ sessionId: `s${i}` })).toBe(true);
    now += DAY_MS;
    store.sweep();
    expect(store.usage()).toEqual({ sessions: 0, entries: 0, bytes: 0 });
  });

  it("counts sessions that hold nothing", async () => {
    const store = open();
    const sessions = await fill((n) =>
      store.saveSession({ session: { sessionId: `s${n}`, state: new Map() } }),
    );
    expect(sessions).toBeGreaterThan(500);
    expect(sessions).toBeLessThan(maxBytes / 1_000);
    expect(store.usage().bytes).toBeLessThanOrEqual(maxBytes);
    await expect(set(store, "one more", "k", 1)).rejects.toMatchObject({ reason: "STORAGE_FULL" });
  });

  it("counts commits that only renew a deadline, and their labels once", async () => {
    const store = open({ history: 100_000 });
    await store.commit({ sessionId: "s", metadata: { labels: labels(0) } });
    const commits = await fill(() => store.commit({ sessionId: "s", metadata: { ttlMs: 1_000_000 } }));
    expect(commits).toBeGreaterThan(1_000);
    expect(store.usage().bytes).toBeLessThanOrEqual(maxBytes);
  });

  it("counts no more for metadata than is kept, however often it changes", async () => {
    let now = 1_000_000;
    const store = memoryStore({ now: () => now, history: 3, historyAgeMs: 1_000 });
    const sizes = new Set<number>();
    for (let n = 0; n < 50; n++) {
      await store.commit({ sessionId: "s", metadata: { labels: labels(n % 10), userId: "u" } });
      const { revision } = await store.commit({ sessionId: "s", metadata: { ttlMs: 1_000_000 } });
      await set(store, "s", "k", n % 10);
      await store.restoreSession({ sessionId: "s", atRevision: revision });
      await store.deleteSession({ sessionId: "s" });
      // What history forgets is another part of it each time.
      now += n % 3 === 0 ? 2_000 : 10;
      if (n % 30 === 29) {
        now += 2_000;
        store.sweep();
        sizes.add(store.usage().bytes);
      }
    }
    now += DAY_MS;
    store.sweep();
    sizes.add(store.usage().bytes);
    expect([...sizes]).toEqual([0]);
  });
});

describe("sessions that ended and are still remembered", () => {
  it("make a new session no dearer, however many they are", async () => {
    const store = memoryStore({ maxBytes: 2 ** 40 });
    const value = encodeValue(1);
    let made = 0;
    const comeAndGo = async (sessions: number): Promise<void> => {
      for (let i = 0; i < sessions; i++) {
        const sessionId = `s${made++}`;
        await store.setState({ sessionId, key: "k", value });
        await store.deleteSession({ sessionId });
      }
    };
    /** The time of the quickest of some rounds: what else runs on the machine slows others. */
    const quickest = async (): Promise<number> => {
      let least = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 5; round++) {
        const begun = performance.now();
        await comeAndGo(40);
        least = Math.min(least, performance.now() - begun);
      }
      return least;
    };
    await comeAndGo(30_000);
    const before = await quickest();
    await comeAndGo(100_001 - made);
    // Where all of them were gone through for each new one, it took a thousand times as long.
    expect((await quickest()) / before).toBeLessThan(50);
    await store.close();
  });
});
