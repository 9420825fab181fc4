import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { openBackend, openStore } from "../../src/open.ts";
import { type Change, DEFAULT_LIMITS, type Operation, type WorkflowStateStore } from "../../src/store.ts";
import { encrypted, innerLimits, Keyring, reseal } from "../../src/stores/encrypted.ts";
import { fingerprint, type WriteOperation } from "../../src/stores/fingerprint.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";
import { type Opened, one, open, over, ring, two } from "../support/encrypted.ts";
import { errorOf, reasonOf, untyped } from "../support/failures.ts";

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "workflow-state-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

describe("what is kept", () => {
  const CANARY = "canary-5c1b7e";
  const value = { secret: CANARY, list: [CANARY] };
  const once = { requestId: "r" };
  const write: WriteOperation = {
    kind: "setState",
    sessionId: "s",
    key: "a",
    value: encodeValue(value),
    ...once,
  };

  /** Everything that writes, and twice, so that answers are kept and given. Returns all the bytes on the disk. */
  async function written(encryption: Keyring | undefined): Promise<Buffer> {
    const path = await folder();
    const store = await openStore(`sqlite:${join(path, "state.db")}`, { encryption });
    const list: Change = { kind: "append", key: "list", values: [value, CANARY] };
    for (let i = 0; i < 2; i++) {
      await store.setState("s", "a", value, once);
      await store.saveSession({ sessionId: "t", state: { a: value, b: CANARY } }, once);
      await store.commit("t", {
        requestId: "r2",
        changes: [
          { kind: "set", key: "gone", value },
          { kind: "delete", key: "gone" },
          { kind: "merge", key: "o", value },
          list,
        ],
      });
      await store.batch([
        { kind: "setState", sessionId: "s", key: "b", value, requestId: "r3" },
        { kind: "commit", sessionId: "s", changes: [list], requestId: "r4" },
      ]);
      await store.forkSession("t", "fork", once);
      await store.restoreSession("t", 1, { requestId: "r5" });
    }
    async function* batches(): AsyncGenerator<Operation[]> {
      yield [{ kind: "setState", sessionId: "s", key: "p", value }];
      yield [{ kind: "commit", sessionId: "s", changes: [list] }];
    }
    for await (const results of store.pipeline(batches())) expect(results).toHaveLength(1);
    await store.deleteSession("fork");
    expect((await store.getSession("t"))?.state).toEqual({ a: value, b: CANARY });
    const onDisk = async (): Promise<Buffer> =>
      Buffer.concat(await Promise.all((await readdir(path)).map((name) => readFile(join(path, name)))));
    const open = await onDisk();
    await store.close();
    return Buffer.concat([open, await onDisk()]);
  }

  test("has no value in it, no name within one, and nothing that a guessed value could be compared with", async () => {
    const plain = await written(undefined);
    for (const told of [CANARY, "secret", fingerprint(write)]) expect(plain.includes(told)).toBe(true);
    const sealed = await written(ring);
    for (const told of [CANARY, "secret", fingerprint(write)]) expect(sealed.includes(told)).toBe(false);
    // What lists and filters need is there to be read.
    for (const told of ["wse1:", "list", "fork"]) expect(sealed.includes(told)).toBe(true);
  });

  test("is not without a keyring: what looks like one is refused when the store is opened", async () => {
    const wrong = untyped<Keyring>({ keys: [one] });
    expect(await reasonOf(openStore("memory:", { encryption: wrong }))).toBe("INVALID_REQUEST");
  });

  test("is bound to its namespace", async () => {
    const memory = memoryStore();
    const [mine, theirs] = ["mine", "theirs"].map((namespace) =>
      jsonStore(encrypted(memory, ring), { namespace }),
    );
    await mine?.setState("s", "k", 1);
    const [below, other] = ["mine", "theirs"].map((namespace) => jsonStore(memory, { namespace }));
    await other?.setState("s", "k", (await below?.getState("s", "k")) ?? null);
    expect(await mine?.getState("s", "k")).toBe(1);
    expect(await reasonOf((theirs as WorkflowStateStore).getState("s", "k"))).toBe("VALUE_UNREADABLE");
  });
});

describe("what can't be opened", () => {
  const SECRET = "never to be shown";

  async function tampered(): Promise<Opened> {
    const { store, inner } = open();
    await store.saveSession({ sessionId: "s", state: { a: 1, b: 2, n: 3 } });
    const swapped = await inner.getState("s", "a");
    await inner.setState("s", "b", swapped ?? null);
    await inner.setState("s", "c", SECRET);
    return { store, inner };
  }

  test("is refused by every read, and shown by none", async () => {
    const { store } = await tampered();
    async function* batches(): AsyncGenerator<Operation[]> {
      yield [{ kind: "getState", sessionId: "s", key: "c" }];
    }
    const reads: Record<string, () => Promise<unknown>> = {
      getState: () => store.getState("s", "c"),
      getEntry: () => store.getEntry("s", "b"),
      getSession: () => store.getSession("s"),
      listState: () => store.listState("s"),
      listSessions: () => store.listSessions({ view: "FULL" }),
      listEvents: () => store.listEvents("s"),
      increment: () => store.commit("s", { changes: [{ kind: "increment", key: "b", delta: 1 }] }),
      fork: () => store.forkSession("s", "t"),
      restore: () => store.restoreSession("s", 3),
      watchSession: () => store.watchSession("s")[Symbol.asyncIterator]().next(),
      update: () => store.update("s", (draft) => void draft["a"]),
    };
    for (const [name, read] of Object.entries(reads)) {
      const error = await errorOf(read());
      expect([name, error.reason]).toEqual([name, "VALUE_UNREADABLE"]);
      expect(inspect(error, { depth: 9 })).not.toContain(SECRET);
    }
    const [result] = await store.batch([{ kind: "getState", sessionId: "s", key: "c" }]);
    expect(result).toMatchObject({ kind: "error", error: { reason: "VALUE_UNREADABLE" } });
    for await (const [piped] of store.pipeline(batches()))
      expect(piped).toMatchObject({ kind: "error", error: { reason: "VALUE_UNREADABLE" } });
    expect(await store.getSession("t")).toBeUndefined();
  });

  test("leaves the rest as it is, and can be written over, deleted and saved over", async () => {
    const { store } = await tampered();
    expect(await store.getState("s", "a")).toBe(1);
    expect((await store.getSession("s", { keyPrefix: "n" }))?.state).toEqual({ n: 3 });
    await store.commit("s", { changes: [{ kind: "increment", key: "n", delta: 1 }] });
    await store.setState("s", "c", "new");
    await store.deleteState("s", "b");
    expect((await store.getSession("s"))?.state).toEqual({ a: 1, n: 4, c: "new" });
    const again = await tampered();
    const saved = await again.store.saveSession({ sessionId: "s", state: { a: 1, b: 5, c: 6 } });
    expect([saved.state, (await again.store.getEntry("s", "a"))?.revision]).toEqual([
      { a: 1, b: 5, c: 6 },
      1,
    ]);
  });

  test("is also what a fork below would copy: values belong to their session", async () => {
    const { store, inner } = open();
    await store.setState("s", "a", 1);
    await inner.forkSession("s", "below");
    expect(await reasonOf(store.getSession("below"))).toBe("VALUE_UNREADABLE");
    const fork = await store.forkSession("s", "above");
    expect(fork.state).toEqual({ a: 1 });
    expect(await store.getSession("above")).toEqual(fork);
  });
});

describe("keys that change", () => {
  test("leave request ids good: a write made under the old key is known under the new one", async () => {
    const memory = memoryStore({ limits: innerLimits(DEFAULT_LIMITS) });
    const before = over(memory, ring);
    const after = over(memory, new Keyring([two, one]));
    const value = { a: 1 };
    const set: Operation = { kind: "setState", sessionId: "s", key: "b", value, requestId: "batch" };
    const changes: Change[] = [{ kind: "increment", key: "n", delta: 1 }];
    const writes = (store: WorkflowStateStore): Promise<unknown>[] => [
      store.setState("s", "a", value, { requestId: "set" }),
      store.commit("s", { changes, requestId: "commit" }),
      store.batch([set, { kind: "deleteState", sessionId: "s", key: "none", requestId: "delete" }]),
      store.saveSession({ sessionId: "t", state: { a: 1 } }, { requestId: "save" }),
      store.forkSession("s", "fork", { requestId: "fork", atRevision: 1 }),
    ];
    const first = await Promise.all(writes(before));
    const revision = (await before.getSession("s"))?.revision;
    expect(await Promise.all(writes(after))).toEqual(first);
    expect((await after.getSession("s"))?.revision).toBe(revision);
    const reused = after.setState("s", "a", { a: 2 }, { requestId: "set" });
    expect(await reasonOf(reused)).toBe("REQUEST_ID_REUSED");
    const [result] = await after.batch([{ ...set, value: 2 }]);
    expect(result).toMatchObject({ kind: "error", error: { reason: "REQUEST_ID_REUSED" } });
  });

  test("leave nothing behind once all is sealed anew, history and all", async () => {
    const url = `sqlite:${join(await folder(), "state.db")}`;
    const before = await openStore(url, { encryption: ring });
    for (let i = 0; i < 5; i++) await before.setState("s", "a", { i });
    await before.setState("s", "gone", 1);
    await before.deleteState("s", "gone");
    await before.close();
    const both = new Keyring([two, one]);
    const session = { namespace: "", sessionId: "s" };
    const backend = await openBackend(url);
    const rewrite = (name: string, value: Uint8Array): Uint8Array | undefined =>
      reseal(both, session, name, value);
    expect(await backend.rewriteValues(session, rewrite)).toBe(6);
    expect(await backend.rewriteValues(session, rewrite)).toBe(0);
    await backend.close();
    const after = await openStore(url, { encryption: new Keyring([two]) });
    onTestFinished(() => after.close());
    expect(await after.getSession("s")).toMatchObject({ state: { a: { i: 4 } }, revision: 7 });
    for (let i = 0; i < 5; i++) expect(await after.getState("s", "a", { atRevision: i + 1 })).toEqual({ i });
    expect((await after.listEvents("s")).events).toHaveLength(7);
  });
});
