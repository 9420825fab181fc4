/** Stores in files for the tests of commands. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect } from "vitest";
import { type OpenOptions, openBackend, openEncodedStore } from "../../src/open.ts";
import type { EncodedStore } from "../../src/store.ts";
import { parseKeyring } from "../../src/stores/keyring.ts";
import { countSessions } from "../../src/stores/moving.ts";
import { encodeValue } from "../../src/value.ts";
import { type Filled, fill, readAll } from "./all-reads.ts";
import { runMain } from "./run-main.ts";
import { jsonValues } from "./values.ts";

/** The folder of a test file, which goes with it. */
export const folder: string = mkdtempSync(join(tmpdir(), "workflow-state-moving-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
/** A name in the test's folder that nothing has. */
export const name = (ending: string): string => join(folder, `${++files}.${ending}`);
/** The URL of a new file. */
export const freshUrl = (): string => `sqlite:${name("db")}`;

/** A file of new keys, by their ids; the first writes. */
export function keyFile(keys: Readonly<Record<string, string>>): string {
  const path = name("keys");
  writeFileSync(
    path,
    `# test\n${Object.entries(keys)
      .map(([id, key]) => `${id}:${key}\n`)
      .join("")}`,
    { mode: 0o600 },
  );
  return path;
}
/** A key for {@link keyFile}. */
export const newKey = (): string => randomBytes(32).toString("base64");
/** The option of the keys in a file. */
export const keyringOf = (file: string): OpenOptions => ({
  encryption: parseKeyring(readFileSync(file, "utf8")),
});

/** Runs a task on the store at a URL. */
export async function withStore<T>(
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

/** Fills a new store, and reads all of it. */
export async function filled(options?: OpenOptions): Promise<{ url: string; what: Filled; read: unknown }> {
  const url = freshUrl();
  const values = fc.sample(jsonValues, { numRuns: 60, seed: 7 });
  return withStore(
    url,
    async (store) => {
      const what = await fill(store, values);
      return { url, what, read: await readAll(store, what.sessions) };
    },
    options,
  );
}

/** Makes a store of many small sessions. */
export async function many(count: number, options?: OpenOptions): Promise<string> {
  const url = freshUrl();
  await withStore(
    url,
    async (store) => {
      for (let i = 0; i < count; i += 500) {
        const ids = Array.from({ length: Math.min(500, count - i) }, (_, j) => `s${i + j}`);
        await Promise.all(
          ids.map((sessionId) => store.setState({ sessionId, key: "k", value: encodeValue(sessionId) })),
        );
      }
    },
    options,
  );
  return url;
}

/** How many sessions a file has; of one that is not there none. */
export async function count(url: string): Promise<number> {
  if (!existsSync(url.slice("sqlite:".length))) return 0;
  const backend = await openBackend(url);
  try {
    return await countSessions(backend);
  } finally {
    await backend.close();
  }
}

/** All that an export without keys gives: what is stored. */
export async function stored(url: string): Promise<string> {
  const { code, output } = await runMain(["export", "--store", url]);
  expect(code).toBe(0);
  return output;
}
