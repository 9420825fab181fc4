import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import * as entry from "../src/index.ts";
import { type OpenOptions, openBackend, openEncodedStore, openStore } from "../src/open.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import type { WorkflowStateStore } from "../src/store.ts";
import { type MemoryStore, memoryStore } from "../src/stores/memory.ts";
import { remoteStore } from "../src/stores/remote.ts";
import * as web from "../src/web.ts";
import { errorOf, untyped } from "./support/failures.ts";
import { runNode } from "./support/run-node.ts";
import { selfSigned } from "./support/self-signed.ts";
import { transportTo } from "./support/wires.ts";

let memory: MemoryStore;
let server: RunningServer;

beforeEach(async () => {
  memory = memoryStore();
  server = await startServer({ store: memory, listen: { port: 0 } });
});

afterEach(async () => {
  await server.close({ now: true });
  await memory.close();
});

async function refusal(url: string, options?: OpenOptions): Promise<WorkflowStateError> {
  const error = await openStore(url, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!WorkflowStateError.is(error, "INVALID_REQUEST"))
    throw new Error(`${url} was not refused`, { cause: error });
  return error;
}

describe("memory:", () => {
  test.each(["memory:", "memory://"])("%s is a store in this process", async (url) => {
    await using store = await openStore(url);
    await store.setState("s", "k", 1);
    expect(await store.getState("s", "k")).toBe(1);
    await using other = await openStore(url);
    expect(await other.getState("s", "k")).toBeUndefined();
  });

  test("is set up by its options, for its namespace", async () => {
    await using store = await openStore("memory:", {
      limits: { valueBytes: 20 },
      memory: { history: 2 },
      namespace: "n",
    });
    await expect(store.setState("s", "k", "x".repeat(30))).rejects.toMatchObject({
      reason: "VALUE_TOO_LARGE",
    });
    for (let i = 0; i < 5; i++) await store.setState("s", "k", i);
    await expect(store.getState("s", "k", { atRevision: 1 })).rejects.toMatchObject({
      reason: "HISTORY_COMPACTED",
    });
    expect(await store.encoded.getSession({ sessionId: "s" }, { namespace: "n" })).toBeDefined();
    expect(await store.encoded.getSession({ sessionId: "s" })).toBeUndefined();
  });

  test("keeps of the past what retention says, unless its own options do", async () => {
    const compactedAt = async (options: OpenOptions): Promise<number> => {
      await using store = await openStore("memory:", options);
      for (let i = 0; i < 9; i++) await store.setState("s", "k", i);
      let revision = 9;
      while (revision > 0 && (await reasonAt(store, revision)) === undefined) revision--;
      return revision;
    };
    const reasonAt = (store: WorkflowStateStore, atRevision: number): Promise<string | undefined> =>
      store.getState("s", "k", { atRevision }).then(
        () => undefined,
        (error) => error.reason,
      );
    expect(await compactedAt({ retention: { history: 3 } })).toBe(6);
    expect(await compactedAt({ retention: { history: 3 }, memory: { history: 5 } })).toBe(4);
    expect(await compactedAt({ retention: { history: 3 }, memory: { history: undefined } })).toBe(6);
  });

  test("gives the encoded store to a service", async () => {
    const store = await openEncodedStore("memory:");
    expect(await store.getSession({ sessionId: "s" })).toBeUndefined();
    await store.close();
  });

  test("loads nothing that speaks to services", async () => {
    const script = `
      import { registerHooks } from "node:module";
      const loaded = [];
      registerHooks({ resolve(name, context, next) { const found = next(name, context); loaded.push(found.url); return found; } });
      const { openStore } = await import(process.argv[1]);
      const store = await openStore("memory:");
      await store.setState("s", "k", 1);
      await store.close();
      console.log(loaded.filter((url) => /connectrpc|bufbuild|redis|postgres|durable|node:sqlite|[/]pg[/]|node:http/.test(url)).join());`;
    const open = new URL("../src/open.ts", import.meta.url).href;
    const { status, stdout, stderr } = await runNode("--input-type=module", "-e", script, open);
    expect([status, stdout.trim(), stderr]).toEqual([0, "", ""]);
  });
});

describe("http:", () => {
  const ways = [
    "",
    "?protocol=grpc",
    "?protocol=grpc&codec=json",
    "?protocol=connect",
    "?protocol=connect&codec=json",
  ]
    .concat(["?protocol=connect&httpVersion=1.1", "?protocol=connect&codec=json&httpVersion=1.1"])
    .concat(["?protocol=grpc-web", "?protocol=grpc-web&codec=json&httpVersion=1.1"]);

  test.each(ways)("%s is a running service", async (query) => {
    await using store = await openStore(`${server.url}/${query}`, { timeoutMs: 5000 });
    const value = { text: "ä€😀", list: [1, null, { "": true }] };
    await store.setState("s", "__proto__", value);
    expect(await store.getState("s", "__proto__")).toEqual(value);
    expect((await store.getSession("s"))?.revision).toBe(1);
    for await (const message of store.watchSession("s")) {
      expect(message).toMatchObject({ kind: "snapshot", snapshot: { revision: 1 } });
      break;
    }
    const batches = (async function* () {
      yield [{ kind: "getState", sessionId: "s", key: "__proto__" } as const];
    })();
    for await (const results of store.pipeline(batches))
      expect(results).toMatchObject([{ entry: { value } }]);
    expect(await store.encoded.getState({ sessionId: "s", key: "__proto__" })).toEqual(
      await memory.getState({ sessionId: "s", key: "__proto__" }).then((entry) => ({
        key: entry?.key,
        value: entry?.value,
        revision: 1,
        updateTime: entry?.updateTime,
      })),
    );
  });

  test("options win over the URL", async () => {
    await using store = await openStore(`${server.url}?protocol=connect&codec=json`, {
      protocol: "grpc",
      codec: "binary",
    });
    await store.setState("s", "k", 1);
    expect((await refusal(server.url, { httpVersion: "1.1" })).metadata["field"]).toBe("httpVersion");
  });

  test("a service that is not there is found missing at the first call", async () => {
    await server.close({ now: true });
    await using store = await openStore(server.url, { retry: { attempts: 2, baseMs: 1 } });
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  });

  test("headers and the namespace go to the service", async () => {
    await using store = await openStore(server.url, { namespace: "elsewhere", headers: { "x-test": "1" } });
    // This server has only the default one.
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "PERMISSION_DENIED" });
  });
});

describe("https:", () => {
  test.each(["2", "1.1"] as const)("trusts the given authority, over HTTP/%s", async (httpVersion) => {
    const { key, cert } = selfSigned();
    const secure = await startServer({ store: memory, listen: { port: 0 }, tls: { key, cert } });
    const options: OpenOptions = { protocol: "connect", httpVersion, retry: { attempts: 1 } };
    await using trusting = await openStore(secure.url, { ...options, tls: { ca: cert } });
    await trusting.setState("s", "k", 1);
    await using wary = await openStore(secure.url, options);
    await expect(wary.getState("s", "k")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await secure.close({ now: true });
  });
});

describe("other URLs", () => {
  test.each([
    "",
    "nonsense",
    "http://",
    "http://user:secret@[broken",
    "ftp://user:secret@host",
    "secret:memory",
    "memory:secret",
    "memory://secret",
    "memory:?secret=1",
    "http://user:secret@host",
    "http://:secret@host",
    "http://host?token=secret",
    "http://host?protocol=secret",
    "http://host?codec=",
    "http://host?httpVersion=3",
    "sqlite://secret.db",
    "sqlite:secret.db?mode=ro",
    "mysql://user:secret@host",
    "redis+sentinel://:secret@host",
  ])("%j is refused, without a word of what it may hold", async (url) => {
    const error = await refusal(url);
    expect(`${error.message} ${JSON.stringify(error.metadata)} ${String(error.cause)}`).not.toContain(
      "secret",
    );
  });

  test("of no kind are answered with all there are", async () => {
    const { message } = await refusal("mysql://host");
    for (const kind of ["memory:", "sqlite:", "postgres://", "redis://", "redis+cluster://", "http(s)://"]) {
      expect(message).toContain(kind);
    }
  });

  test.each(["memory:", "http://host", "nonsense"])("%s has no database that could be moved", async (url) => {
    const error = await errorOf(openBackend(url));
    expect([error.reason, error.metadata]).toEqual(["INVALID_REQUEST", { field: "url" }]);
  });

  test("what is no URL at all is refused", async () => {
    for (const url of [undefined, null, 7, {}]) await refusal(url as never);
    expect((await refusal(server.url, { protocol: "soap" as never })).metadata["field"]).toBe("protocol");
  });
});

const BAD_OPTIONS: [field: string, options: Record<string, unknown>][] = [
  ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, "1", null].flatMap(
    (ms): [string, Record<string, unknown>][] => [
      ["timeoutMs", { timeoutMs: ms }],
      ["silenceMs", { silenceMs: ms }],
      ["retry.baseMs", { retry: { baseMs: ms } }],
      ["retry.maxMs", { retry: { maxMs: ms } }],
    ],
  ),
  ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "1", null].flatMap(
    (count): [string, Record<string, unknown>][] => [
      ["retry.attempts", { retry: { attempts: count } }],
      ["limits.valueBytes", { limits: { valueBytes: count } }],
      ["memory.history", { memory: { history: count } }],
      ["memory.maxBytes", { memory: { maxBytes: count } }],
      ["memory.limits.changes", { memory: { limits: { changes: count } } }],
      ["retention.history", { retention: { history: count } }],
      ["retention.historyAgeMs", { retention: { historyAgeMs: count } }],
      ["retention.requestRetentionMs", { retention: { requestRetentionMs: count } }],
    ],
  ),
  ["namespace", { namespace: 7 }],
  ["namespace", { namespace: null }],
  ["retry", { retry: 5 }],
  ["limits", { limits: { valueByte: 1 } }],
  ["limits", { limits: 7 }],
  ["limits.valueBytes", { limits: { valueBytes: undefined } }],
  ["memory", { memory: "big" }],
  ["retention", { retention: "long" }],
  ["encryption", { encryption: "secret" }],
];

describe("options", () => {
  test.each(BAD_OPTIONS)("%s that makes no sense is refused: %j", async (field, options) => {
    for (const url of ["memory:", server.url]) {
      expect((await refusal(url, untyped(options))).metadata).toEqual({ field });
    }
    const browser = await errorOf(web.openStore(server.url, untyped(options)));
    expect([browser.reason, browser.metadata]).toEqual(["INVALID_REQUEST", { field }]);
  });

  test("that are undefined count as absent", async () => {
    const none = { timeoutMs: undefined, retry: { attempts: undefined }, memory: { history: undefined } };
    await using store = await openStore("memory:", { ...none, limits: undefined, namespace: undefined });
    await store.setState("s", "k", 1);
  });

  test("are checked also by who makes the transport", () => {
    const { transport } = transportTo(server.url, { protocol: "grpc", codec: "binary", httpVersion: "2" });
    expect(() => remoteStore(transport, { timeoutMs: 0 })).toThrow("timeoutMs");
  });
});

test("the package exports what users need, first", () => {
  expect(Object.keys(entry).sort()).toEqual([
    "DEFAULT_LIMITS",
    "Keyring",
    "MemoryStore",
    "TypedSession",
    "WorkflowStateError",
    "decodeValue",
    "encodeValue",
    "encrypted",
    "innerLimits",
    "jsonStore",
    "memoryStore",
    "openEncodedStore",
    "openSession",
    "openStore",
    "parseKeyring",
    "remoteStore",
    "update",
  ]);
});
