import { builtinModules } from "node:module";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "vite";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import type { Operation } from "../src/store.ts";
import { type MemoryStore, memoryStore } from "../src/stores/memory.ts";
import * as web from "../src/web.ts";

let memory: MemoryStore;
let server: RunningServer;

beforeEach(async () => {
  memory = memoryStore();
  server = await startServer({ store: memory, listen: { port: 0 } });
});

afterEach(async () => {
  vi.unstubAllGlobals();
  await server.close({ now: true });
  await memory.close();
});

/** Everything that a caller in a browser does, on a store. */
async function use({ openStore }: typeof web, url: string): Promise<void> {
  const store = await openStore(url, { retry: { baseMs: 1 } });
  const written = await Promise.all([store.setState("s", "k", { a: 1 }), store.getState("s", "k")]);
  expect(written).toMatchObject([{ revision: 1 }, { a: 1 }]);
  await store.update("s", (draft: { k: { a: number } }) => {
    draft.k.a = 2;
  });
  for await (const message of store.watchSession("s")) {
    expect(message).toMatchObject({ kind: "snapshot", snapshot: { state: { k: { a: 2 } } } });
    break;
  }
  const batches = (async function* (): AsyncGenerator<Operation[]> {
    yield [{ kind: "getState", sessionId: "s", key: "k" }];
    yield [{ kind: "deleteState", sessionId: "s", key: "k" }];
  })();
  const answers = [];
  for await (const results of store.pipeline(batches)) answers.push(...results);
  expect(answers).toMatchObject([{ entry: { value: { a: 2 } } }, { deleted: true }]);
  await store.close();
  await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
}

describe("a store in a browser", () => {
  test.each(["", "?codec=json", "?protocol=grpc-web", "?protocol=grpc-web&codec=json"])(
    "works with %j",
    async (query) => {
      await use(web, `${server.url}/${query}`);
    },
  );

  test("may be at a path of the page's own host", async () => {
    vi.stubGlobal("location", { href: `${server.url}/page/index.html` });
    const store = await web.openStore("/", { codec: "json", namespace: "" });
    await store.setState("s", "k", 1);
    expect(await store.getState("s", "k")).toBe(1);
    await store.close();
  });

  test.each([
    "memory:",
    "nonsense",
    "ftp://user:secret@host",
    "http://user:secret@host",
    "http://host?protocol=grpc",
    "http://host?httpVersion=2",
  ])("is not opened at %j", async (url) => {
    const error = await web.openStore(url).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(WorkflowStateError.is(error, "INVALID_REQUEST")).toBe(true);
    expect(String(error)).not.toContain("secret");
  });
});

describe("the browser's bundle", () => {
  /** Fails at the first part of Node.js that is imported. */
  const noNode: Plugin = {
    name: "no-node",
    enforce: "pre",
    resolveId(id, importer) {
      if (id.startsWith("node:") || builtinModules.includes(id)) throw new Error(`${importer} imports ${id}`);
      return null;
    },
  };

  async function bundle(entry: string): Promise<string> {
    const result = await build({
      configFile: false,
      logLevel: "silent",
      plugins: [noNode],
      build: {
        write: false,
        target: "es2023",
        lib: { entry: fileURLToPath(new URL(entry, import.meta.url)), formats: ["es"], fileName: "bundle" },
      },
    });
    const [output] = Array.isArray(result) ? result : [result];
    if (output === undefined || !("output" in output)) throw new Error("nothing was built");
    expect(output.output).toHaveLength(1);
    return output.output[0].code;
  }

  test("holds no part of Node.js, and works by what browsers have", async () => {
    const code = await bundle("../src/web.ts");
    expect(code.match(/\bnode:\w+|\brequire\(|\bBuffer\./)).toBeNull();
    const module = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as typeof web;
    expect(Object.keys(module).sort()).toEqual(Object.keys(web).sort());
    await use(module, server.url);
  });

  test("that would hold some is noticed", async () => {
    await expect(bundle("../src/node-transport.ts")).rejects.toThrow("imports");
  });
});
