/** The watches of the durable store: what they cost the database, and what they do when it fails them. */
import { describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import type { EncodedForm, SessionChange, WatchMessage } from "../../src/store.ts";
import type { DurableStore } from "../../src/stores/durable.ts";
import { Feed } from "../../src/stores/durable-feed.ts";
import { decodeValue, encodeValue } from "../../src/value.ts";
import { DurableFile, openProbed } from "../support/durable-file.ts";
import { until } from "../support/until.ts";

const DAY_MS = 86_400_000;

function set(store: DurableStore, sessionId: string, value: unknown, more: object = {}) {
  return store.setState({ sessionId, key: "k", value: encodeValue(value), ...more });
}

function watch(store: DurableStore, sessionId: string, more: object = {}) {
  const messages = store.watchSession({ sessionId, ...more })[Symbol.asyncIterator]();
  onTestFinished(async () => void (await messages.return?.()));
  return messages;
}

function watchAll(store: DurableStore, filter: object = {}, signal?: AbortSignal) {
  const changes = store.watchSessions(filter, { signal })[Symbol.asyncIterator]();
  onTestFinished(async () => void (await changes.return?.()));
  return changes;
}

async function next<Message>(messages: AsyncIterator<Message>): Promise<Message> {
  const { done, value } = await messages.next();
  if (done) throw new Error("the watch ended");
  return value;
}

async function nextRevision(messages: AsyncIterator<WatchMessage<EncodedForm>>): Promise<number> {
  const message = await next(messages);
  if (message.kind !== "event") throw new Error(`not an event but a ${message.kind}`);
  return message.event.revision;
}

async function nextId(changes: AsyncIterator<SessionChange<EncodedForm>>): Promise<string> {
  return (await next(changes)).session.sessionId;
}

function unavailable(): never {
  throw new WorkflowStateError("STORE_UNAVAILABLE", "The database can't be reached.");
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("a watch on a session", () => {
  test("sees another store's commits soon, also while it waits", async () => {
    const file = new DurableFile();
    const [one, two] = await Promise.all([file.open(), file.open()]);
    const messages = watch(two.store, "s", { afterRevision: 0 });
    for (let i = 1; i <= 5; i++) {
      const revision = nextRevision(messages);
      await later(10);
      const begun = performance.now();
      await set(one.store, "s", i);
      expect(await revision).toBe(i);
      expect(performance.now() - begun).toBeLessThan(900);
    }
  });

  test("misses nothing when its reading begins before a commit and ends after it", async () => {
    const { store, backend } = await openProbed();
    await set(store, "s", 0);
    const messages = watch(store, "s", { afterRevision: 1 });
    for (let i = 2; i < 10; i++) {
      // The commit is made while the log is read, so the reading may or may not have it.
      let made = false;
      backend.beforeEvents = async () => {
        if (made) return;
        made = true;
        await set(store, "s", i);
      };
      expect(await nextRevision(messages)).toBe(i);
    }
  });

  test("gives each event once, in order, also to who asks for several at once", async () => {
    const { store } = await openProbed({ history: 1_000 });
    const messages = watch(store, "s", { afterRevision: 0 });
    const asked = Array.from({ length: 100 }, () => nextRevision(messages));
    for (let i = 1; i <= 100; i++) await set(store, "s", i);
    expect(await Promise.all(asked)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  });

  test("holds a page for a slow reader, and shares its readings with those who read the same", async () => {
    const { store, backend } = await openProbed({ history: 1_000 });
    for (let i = 1; i <= 200; i++) await set(store, "s", i);
    const watches = Array.from({ length: 20 }, () => watch(store, "s", { afterRevision: 0 }));
    for (const messages of watches) await nextRevision(messages);
    expect(backend.ranges.every(({ count, bytes }) => count <= 100 && bytes <= 1 << 20)).toBe(true);
    for (const messages of watches) {
      for (let revision = 2; revision <= 200; revision++) expect(await nextRevision(messages)).toBe(revision);
    }
    const waiting = watches.map(nextRevision);
    await expect.poll(() => backend.listeners).toBe(1);
    await later(50);
    const before = backend.ranges.length;
    await set(store, "s", "one more");
    expect(await Promise.all(waiting)).toEqual(watches.map(() => 201));
    expect(backend.ranges.length - before).toBeLessThan(5);
  });

  test("gives progress when nothing happens, and what it leaves out counts", async () => {
    const { store } = await openProbed({ progressIntervalMs: 20 });
    await set(store, "s", 1);
    const messages = watch(store, "s", { keyPrefix: "other" });
    expect(await next(messages)).toMatchObject({ kind: "snapshot", snapshot: { revision: 1 } });
    for (let i = 0; i < 100; i++) await set(store, "s", i);
    for (;;) {
      const message = await next(messages);
      expect(message.kind).toBe("progress");
      if (message.kind === "progress" && message.revision === 101) break;
    }
  });

  test("costs the database nothing while nothing happens, though it gives progress", async () => {
    const { store, backend } = await openProbed({ progressIntervalMs: 5 });
    const messages = watch(store, "s", { afterRevision: 0 });
    for (let i = 0; i < 3; i++) expect(await next(messages)).toEqual({ kind: "progress", revision: 0 });
    const before = backend.ranges.length;
    for (let i = 0; i < 10; i++) expect(await next(messages)).toEqual({ kind: "progress", revision: 0 });
    expect(backend.ranges.length).toBe(before);
    await set(store, "s", 1);
    expect(await nextRevision(messages)).toBe(1);
  });

  test("goes on when the database can be reached again soon", async () => {
    const { store, backend } = await openProbed();
    const messages = watch(store, "s");
    expect((await next(messages)).kind).toBe("snapshot");
    const revision = nextRevision(messages);
    backend.beforeEvents = unavailable;
    backend.beforeFeed = unavailable;
    await set(store, "s", 1);
    await later(300);
    backend.beforeEvents = undefined;
    backend.beforeFeed = undefined;
    expect(await revision).toBe(1);
    const again = nextRevision(messages);
    await set(store, "s", 2);
    expect(await again).toBe(2);
  });

  test("fails with STORE_UNAVAILABLE when the database can't be reached for long, and can be begun again", async () => {
    const { store, backend } = await openProbed();
    const messages = watch(store, "s", { afterRevision: 0 });
    const changes = watchAll(store);
    const revision = nextRevision(messages);
    const change = next(changes);
    await expect.poll(() => backend.ranges.length).toBeGreaterThan(0);
    backend.beforeFeed = unavailable;
    backend.beforeFeedEnd = unavailable;
    await set(store, "s", 1);
    expect(await revision).toBe(1);
    const waiting = nextRevision(messages);
    await Promise.all([
      expect(waiting).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" }),
      expect(change).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" }),
    ]);
    expect(await messages.next()).toEqual({ done: true, value: undefined });
    backend.beforeFeed = undefined;
    backend.beforeFeedEnd = undefined;
    const resumed = watch(store, "s", { afterRevision: 1 });
    const more = nextRevision(resumed);
    await set(store, "s", 2);
    expect(await more).toBe(2);
  });

  test("is told at once what is wrong, if it is not that the database can't be reached", async () => {
    const { store, backend } = await openProbed();
    backend.beforeEvents = () => {
      throw new RangeError("a defect");
    };
    await expect(watch(store, "s", { afterRevision: 0 }).next()).rejects.toThrow("a defect");
  });

  test("ends at once when its signal aborts, though the database does not answer", async () => {
    const { store, backend } = await openProbed();
    const { promise, resolve } = Promise.withResolvers<void>();
    onTestFinished(() => resolve());
    backend.beforeEvents = () => promise;
    const ended = new AbortController();
    const messages = store
      .watchSession({ sessionId: "s", afterRevision: 0 }, { signal: ended.signal })
      [Symbol.asyncIterator]();
    const waiting = messages.next();
    await later(10);
    ended.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    const other = watch(store, "s", { afterRevision: 0 });
    const left = other.next();
    await other.return?.();
    expect(await left).toEqual({ done: true, value: undefined });
    resolve();
  });

  test("ends with SHUTTING_DOWN when the store closes, though the database does not answer", async () => {
    const { store, backend } = await openProbed();
    const { promise, resolve } = Promise.withResolvers<void>();
    backend.beforeEvents = () => promise;
    const waiting = watch(store, "s", { afterRevision: 0 }).next();
    const ended = expect(waiting).rejects.toMatchObject({ reason: "SHUTTING_DOWN" });
    await later(10);
    const closing = store.close();
    await ended;
    resolve();
    await closing;
    expect(backend.listeners).toBe(0);
  });

  test("goes on from an absent session to one that begins, whatever was forgotten meanwhile", async () => {
    const clock = { now: Date.UTC(2026, 0, 1) };
    const { store } = await openProbed({ now: () => clock.now });
    for (let i = 0; i < 3; i++) await set(store, "old", i);
    await store.deleteSession({ sessionId: "old" });
    const messages = watch(store, "new");
    expect(await next(messages)).toMatchObject({ kind: "snapshot", snapshot: { revision: 0 } });
    clock.now += DAY_MS;
    await store.sweep();
    await set(store, "new", 1);
    expect(await nextRevision(messages)).toBe(5);
    const resumed = watch(store, "new", { afterRevision: 0 });
    expect(await nextRevision(resumed)).toBe(5);
  });

  test("tells the progress of an absent session as revision 0, from where it can always be resumed", async () => {
    const clock = { now: Date.UTC(2026, 0, 1) };
    const { store } = await openProbed({ now: () => clock.now, progressIntervalMs: 10 });
    const forgotten = async (sessionId: string): Promise<void> => {
      await set(store, sessionId, 1);
      await store.deleteSession({ sessionId });
      clock.now += DAY_MS;
      await store.sweep();
    };
    await forgotten("old");
    const messages = watch(store, "new");
    expect(await next(messages)).toMatchObject({ kind: "snapshot", snapshot: { revision: 0 } });
    expect(await next(messages)).toEqual({ kind: "progress", revision: 0 });
    for (const sessionId of ["a", "b", "c"]) await forgotten(sessionId);
    const resumed = watch(store, "new", { afterRevision: 0 });
    expect(await next(resumed)).toEqual({ kind: "progress", revision: 0 });
    const event = (async () => {
      for (;;) {
        const message = await next(resumed);
        if (message.kind === "event") return message.event;
      }
    })();
    const { revision } = await set(store, "new", 1);
    expect(await event).toMatchObject({ kind: "COMMITTED", revision });
  });

  test("tells a reader that what it has not read is gone, also where it all is", async () => {
    const clock = { now: Date.UTC(2026, 0, 1) };
    const { store } = await openProbed({ now: () => clock.now });
    for (let i = 0; i < 40; i++) await set(store, "s", i);
    const messages = watch(store, "s", { afterRevision: 2 });
    expect(await nextRevision(messages)).toBe(3);
    clock.now += DAY_MS;
    await store.sweep();
    const read = async (): Promise<number> => {
      for (;;) await nextRevision(messages);
    };
    await expect(read()).rejects.toMatchObject({
      reason: "HISTORY_COMPACTED",
      metadata: { oldest_revision: "41" },
    });
  });
});

describe("a watch on all sessions", () => {
  test("sees this store's commits from the call on, though the feed is slow to begin", async () => {
    const { store, backend } = await openProbed();
    await set(store, "before", 1);
    const { promise, resolve } = Promise.withResolvers<void>();
    backend.beforeFeedEnd = () => promise;
    const changes = watchAll(store);
    const writing = ["a", "b"].map((id) => set(store, id, 1));
    setTimeout(resolve, 30);
    const seen = [await nextId(changes), await nextId(changes)];
    expect(seen).toEqual(["a", "b"]);
    await Promise.all(writing);
  });

  test("sees other stores' commits in each session's order, each once", async () => {
    const file = new DurableFile({ history: 1_000 });
    const [one, two, three] = await Promise.all([file.open(), file.open(), file.open()]);
    const changes = watchAll(three.store, { sessionIdPrefix: "s" });
    await set(three.store, "s-begin", 1);
    expect(await nextId(changes)).toBe("s-begin");
    await Promise.all(Array.from({ length: 100 }, (_, i) => set((i % 2 ? one : two).store, `s${i % 5}`, i)));
    const revisions = new Map<string, number[]>();
    for (let i = 0; i < 100; i++) {
      const { session } = await next(changes);
      revisions.set(session.sessionId, [...(revisions.get(session.sessionId) ?? []), session.revision]);
    }
    for (const seen of revisions.values()) expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  test("is told when the database no longer has what it would go on with, and sessions' watches go on", async () => {
    const { store, backend } = await openProbed();
    const changes = watchAll(store);
    await set(store, "s", 1);
    expect(await nextId(changes)).toBe("s");
    const messages = watch(store, "s", { afterRevision: 1 });
    const waiting = next(changes);
    const revision = nextRevision(messages);
    backend.changeFeed = (part) => ({ ...part, changes: [], lost: true });
    await Promise.all([
      expect(waiting).rejects.toMatchObject({ reason: "HISTORY_COMPACTED" }),
      set(store, "s", 2),
    ]);
    expect(await revision).toBe(2);
    backend.changeFeed = undefined;
    const again = watchAll(store);
    await set(store, "t", 1);
    expect(await nextId(again)).toBe("t");
  });

  test("fails when the feed is very slow to begin, and writes wait for it no longer", async () => {
    const { store, backend } = await openProbed();
    const { promise, resolve } = Promise.withResolvers<void>();
    backend.beforeFeedEnd = () => promise;
    const change = next(watchAll(store));
    const told = expect(change).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    expect(await set(store, "s", 1)).toMatchObject({ revision: 1 });
    await told;
    resolve();
  });

  test("fails when the feed can't be begun, rather than leave out what it may have missed", async () => {
    const { store, backend } = await openProbed();
    backend.beforeFeedEnd = unavailable;
    await expect(watchAll(store).next()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    backend.beforeFeedEnd = undefined;
    const changes = watchAll(store);
    await set(store, "s", 1);
    expect(await nextId(changes)).toBe("s");
  });

  test("sees this store's commits from the call on, where the feed failed to begin for another watch before", async () => {
    const { store, backend } = await openProbed();
    const begun = Promise.withResolvers<void>();
    backend.beforeFeedEnd = () => {
      begun.resolve();
      unavailable();
    };
    watch(store, "other");
    await begun.promise;
    await later(5);
    backend.beforeFeedEnd = undefined;
    const changes = watchAll(store);
    await set(store, "first", 1);
    await set(store, "second", 1);
    expect([await nextId(changes), await nextId(changes)]).toEqual(["first", "second"]);
  });

  test("fails with HISTORY_COMPACTED when its reader is too far behind", async () => {
    const { store } = await openProbed({ history: 1 });
    const changes = watchAll(store);
    const value = encodeValue(1);
    const operations = Array.from({ length: 250 }, (_, i) => ({
      kind: "setState" as const,
      sessionId: `s${i}`,
      key: "k",
      value,
    }));
    for (let i = 0; i < 41; i++) await store.batch(operations);
    const last = watchAll(store, { sessionIdPrefix: "last" });
    await set(store, "last", 1);
    await next(last);
    await expect(next(changes)).rejects.toMatchObject({ reason: "HISTORY_COMPACTED" });
  });

  test("sees its own namespace only", async () => {
    const { store } = await openProbed();
    const changes = store.watchSessions({}, { namespace: "a" })[Symbol.asyncIterator]();
    await store.setState({ sessionId: "s", key: "k", value: encodeValue(1) }, { namespace: "b" });
    await store.setState({ sessionId: "s", key: "k", value: encodeValue(2) }, { namespace: "a" });
    const { session } = await next(changes);
    const entry = await store.getState({ sessionId: session.sessionId, key: "k" }, { namespace: "a" });
    expect(decodeValue(entry?.value as Uint8Array)).toBe(2);
    const none = changes.next();
    await later(50);
    await changes.return?.();
    expect(await none).toEqual({ done: true, value: undefined });
  });
});

describe("the feed", () => {
  test("leaves no write waiting when a watch ends as soon as it has a feed begun again", async () => {
    const { backend } = await openProbed();
    backend.beforeFeedEnd = unavailable;
    const feed = new Feed(backend);
    const watched = feed.watch({ namespace: "", sessionId: "s" });
    await until(() => (feed.starting === undefined ? true : undefined));
    const { left } = feed.changes("");
    expect(feed.starting).toBeDefined();
    left();
    feed.leave(watched);
    await until(() => (backend.listeners === 0 ? true : undefined));
    expect(feed.starting).toBeUndefined();
  });

  test("is read only while someone watches, and rests when nothing happens", async () => {
    const { store, backend } = await openProbed();
    await set(store, "s", 1);
    expect([backend.feeds, backend.listeners]).toEqual([0, 0]);
    const messages = watch(store, "s");
    await next(messages);
    await expect.poll(() => backend.listeners).toBe(1);
    await later(100);
    expect(backend.feeds).toBeLessThan(3);
    await messages.return?.();
    await expect.poll(() => backend.listeners).toBe(0);
    const before = backend.feeds;
    await set(store, "s", 2);
    await later(20);
    expect(backend.feeds).toBe(before);
    // Watches that come and go at once leave nothing behind, and miss nothing.
    for (let i = 0; i < 20; i++) {
      const changes = watchAll(store);
      const id = nextId(changes);
      await set(store, `again${i}`, i);
      expect(await id).toBe(`again${i}`);
      await changes.return?.();
    }
    await expect.poll(() => backend.listeners).toBe(0);
  });
});
