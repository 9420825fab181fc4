/** copy, export, import and rotate-keys as their users run them. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test, vi } from "vitest";
import { type OpenOptions, openBackend, openEncodedStore } from "../src/open.ts";
import { DEFAULT_LIMITS, type EncodedStore } from "../src/store.ts";
import { parseKeyring } from "../src/stores/keyring.ts";
import { countSessions } from "../src/stores/moving.ts";
import { decodeValue, encodeValue } from "../src/value.ts";
import { type Filled, fill, readAll } from "./support/all-reads.ts";
import { CLI, startCli } from "./support/run-cli.ts";
import { runMain } from "./support/run-main.ts";
import { jsonValues } from "./support/values.ts";

const folder = mkdtempSync(join(tmpdir(), "workflow-state-moving-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
/** A name in the test's folder that nothing has. */
const name = (ending: string): string => join(folder, `${++files}.${ending}`);
const freshUrl = (): string => `sqlite:${name("db")}`;

/** A file of new keys, by their ids; the first writes. */
function keyFile(keys: Readonly<Record<string, string>>): string {
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
const newKey = (): string => randomBytes(32).toString("base64");
const keyringOf = (file: string): OpenOptions => ({ encryption: parseKeyring(readFileSync(file, "utf8")) });

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

/** Fills a new store, and reads all of it. */
async function filled(options?: OpenOptions): Promise<{ url: string; what: Filled; read: unknown }> {
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
async function many(count: number, options?: OpenOptions): Promise<string> {
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

async function count(url: string): Promise<number> {
  if (!existsSync(url.slice("sqlite:".length))) return 0;
  const backend = await openBackend(url);
  try {
    return await countSessions(backend);
  } finally {
    await backend.close();
  }
}

/** The oldest kept value of a session's key `k`, as it is stored. */
async function firstVersion(url: string, sessionId: string): Promise<string> {
  const backend = await openBackend(url);
  try {
    for await (const record of backend.dump({ namespace: "", sessionId })) {
      if (record.kind === "version" && record.revision === 1)
        return String(decodeValue(record.value as Uint8Array));
    }
    throw new Error("the first version is gone");
  } finally {
    await backend.close();
  }
}

/** All that an export without keys gives: what is stored. */
async function stored(url: string): Promise<string> {
  const { code, output } = await runMain(["export", "--store", url]);
  expect(code).toBe(0);
  return output;
}

/** Waits until a run has made some sessions, and not all; fails if it was faster. */
async function underWay(url: string, all: number): Promise<void> {
  const made = await vi.waitUntil(async () => (await count(url)) || undefined, {
    timeout: 20_000,
    interval: 5,
  });
  expect(made).toBeLessThan(all);
}

describe("copy", () => {
  test("moves everything, says how much, and nothing when it is run again", async () => {
    const { url, what, read } = await filled();
    const to = freshUrl();
    const sessions = await count(url);
    expect(await runMain(["copy", "--from", url, "--to", to])).toEqual({
      code: 0,
      output: `copied ${sessions} sessions\n`,
      errors: "",
    });
    expect(await withStore(to, (store) => readAll(store, what.sessions))).toEqual(read);
    expect((await runMain(["copy", "--from", url, "--to", to])).output).toBe(
      `copied 0 sessions, ${sessions} were there already\n`,
    );
  }, 60_000);

  test("leaves out what the target has otherwise, which is no success, and puts it in its place when told to", async () => {
    const [from, to] = [await many(3), freshUrl()];
    await withStore(to, async (store) => {
      await store.setState({ sessionId: "s1", key: "secret", value: encodeValue("secret") });
    });
    const left = await runMain(["copy", "--from", from, "--to", to]);
    expect(left).toEqual({
      code: 1,
      output: "copied 2 sessions, 1 left out\n",
      errors:
        'left out: the target has another session "s1"\n' +
        "workflow-state: 1 sessions were left out: the target has others under their ids; --overwrite puts these in their place\n",
    });
    const over = await runMain(["copy", "--from", from, "--to", to, "--overwrite"]);
    expect([over.code, over.output]).toEqual([0, "copied 1 sessions, 2 were there already\n"]);
    expect(await stored(to)).toBe(await stored(from));
  }, 60_000);

  test.each(["SIGKILL", "SIGINT"] as const)(
    "after %s in the middle every session there is whole, and the next run brings the rest",
    async (signal) => {
      const all = 2_000;
      const [from, to] = [await many(all), freshUrl()];
      const { child, ended, errors } = startCli(["copy", "--from", from, "--to", to]);
      await underWay(to, all);
      child.kill(signal);
      expect(await ended).toBe(signal === "SIGKILL" ? "SIGKILL" : 130);
      if (signal === "SIGINT") {
        expect(errors()).toMatch(
          /^workflow-state: interrupted; copied [\d,]+ sessions\. Run the same command again to go on\n$/,
        );
      }
      const part = await count(to);
      expect(part).toBeLessThan(all);
      const text = new Set((await stored(from)).split("\n"));
      for (const line of (await stored(to)).split("\n"))
        if (!line.startsWith('{"type":"end"')) expect(text).toContain(line);
      const again = await runMain(["copy", "--from", from, "--to", to]);
      expect(again.code).toBe(0);
      expect(again.output).toMatch(/^copied [\d,]+ sessions, [\d,]+ were there already\n$/);
      expect(await stored(to)).toBe(await stored(from));
    },
    120_000,
  );

  test("draws a bar on a terminal", async () => {
    const [from, to] = [await many(1_500), freshUrl()];
    const command = `stty cols 100; '${process.execPath}' '${CLI}' copy --from '${from}' --to '${to}'`;
    const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
    let shown = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      shown += text;
    });
    expect((await once(child, "close"))[0]).toBe(0);
    expect(shown).toMatch(/\r\[#*-+\] +\d+% copying [\d,]+ of 1,500 sessions/);
    expect(shown).toContain("\x1b[Kcopied 1,500 sessions\r\n");
  }, 60_000);

  test.each<[string, (to: string) => string[], RegExp]>([
    ["without a target", () => ["--from", "sqlite:./x.db"], /required option '--to <url>'/],
    [
      "from a file that is not there",
      (to) => ["--from", "sqlite:./secret.db", "--to", to],
      /no file \.\/secret\.db$/,
    ],
    [
      "from memory",
      (to) => ["--from", "memory:", "--to", to],
      /the store to copy from: Only a store in SQLite/,
    ],
    ["to a service", (to) => ["--from", to, "--to", "http://secret@host"], /./],
  ])("that is started wrongly, %s, ends with 2 and makes no file", async (_, args, line) => {
    const to = freshUrl();
    const { code, output, errors } = await runMain(["copy", ...args(to)]);
    expect([code, output]).toEqual([2, ""]);
    expect(errors.trimEnd()).toMatch(line);
    expect(errors.trimEnd()).not.toContain("\n");
    expect(errors).not.toContain("secret@");
    expect(existsSync(to.slice("sqlite:".length))).toBe(false);
  });

  test("from a database that can't be reached ends with 1, one line, and no password", async () => {
    const from = "postgres://user:secret@127.0.0.1:1/db";
    const { code, output, errors } = await runMain(["copy", "--from", from, "--to", freshUrl()]);
    expect([code, output]).toEqual([1, ""]);
    expect(errors).toMatch(/^workflow-state: can't open the store to copy from: .*\n$/);
    expect(errors).not.toContain("secret");
  });
});

describe("export and import", () => {
  test("of a file and of a pipe give the same store", async () => {
    const { url, what, read } = await filled();
    const output = name("jsonl");
    const sessions = await count(url);
    expect(await runMain(["export", "--store", url, "--output", output])).toEqual({
      code: 0,
      output: "",
      errors: `exported ${sessions} sessions\n`,
    });
    expect(statSync(output).mode & 0o777).toBe(0o600);
    const piped = await runMain(["export"], { env: { WORKFLOW_STATE_STORE: url } });
    expect(piped.output).toBe(readFileSync(output, "utf8"));
    expect(piped.output.split("\n")[0]).toBe('{"format":"workflow-state-export","version":1}');
    for (const [args, input] of [
      [["--input", output], ""],
      [[], piped.output],
    ] as const) {
      const to = freshUrl();
      const run = (): ReturnType<typeof runMain> => runMain(["import", "--store", to, ...args], { input });
      expect(await run()).toEqual({ code: 0, output: `imported ${sessions} sessions\n`, errors: "" });
      expect((await run()).output).toBe(`imported 0 sessions, ${sessions} were there already\n`);
      expect(await stored(to)).toBe(piped.output);
      expect(await withStore(to, (store) => readAll(store, what.sessions))).toEqual(read);
    }
  }, 120_000);

  test("an import that was killed is run again", async () => {
    const all = 2_000;
    const [from, to, output] = [await many(all), freshUrl(), name("jsonl")];
    await runMain(["export", "--store", from, "--output", output]);
    const { child, ended } = startCli(["import", "--store", to, "--input", output]);
    await underWay(to, all);
    child.kill("SIGKILL");
    expect(await ended).toBe("SIGKILL");
    expect(await count(to)).toBeLessThan(all);
    expect((await runMain(["import", "--store", to, "--input", output])).code).toBe(0);
    expect(await stored(to)).toBe(await stored(from));
  }, 120_000);

  test("an interrupted export leaves no file, and an interrupted import says what to do", async () => {
    const from = await many(6_000);
    const output = name("jsonl");
    const exporting = startCli(["export", "--store", from, "--output", output]);
    const parts = (): string[] => readdirSync(folder).filter((file) => file.includes(".partial"));
    await vi.waitUntil(() => parts().length > 0, { timeout: 10_000, interval: 2 });
    exporting.child.kill("SIGINT");
    expect([await exporting.ended, exporting.output()]).toEqual([130, ""]);
    expect([existsSync(output), parts()]).toEqual([false, []]);
    expect(exporting.errors()).toMatch(/^workflow-state: interrupted; .* Run the same command again/);

    await runMain(["export", "--store", from, "--output", output]);
    const to = freshUrl();
    const importing = startCli(["import", "--store", to, "--input", output]);
    await underWay(to, 6_000);
    importing.child.kill("SIGTERM");
    expect(await importing.ended).toBe(130);
    expect(importing.errors()).toMatch(
      /^workflow-state: interrupted; imported [\d,]+ sessions\. Run the same command again/,
    );
  }, 120_000);

  test("a reader who goes away ends the export with one line", async () => {
    const from = await many(2_000);
    const { child, ended, errors } = startCli(["export", "--store", from]);
    child.stdout?.once("data", () => child.stdout?.destroy());
    expect(await ended).toBe(1);
    expect(errors()).toBe("workflow-state: can't write to stdout: EPIPE\n");
  }, 60_000);

  test.each<[string, (text: string) => string, RegExp, number]>([
    [
      "that was cut short",
      (text) => text.slice(0, text.lastIndexOf('{"type":"end"')),
      /: Line \d+: the file ends here/,
      1,
    ],
    ["that was cut in a line", (text) => text.slice(0, -5), /: Line \d+: it is not JSON/, 1],
    [
      "of a newer version",
      (text) => text.replace('"version":1', '"version":2'),
      /: Line 1: the export has version 2 .* up to 1/,
      0,
    ],
    ["of something else", () => '{"secret":1}\n', /: Line 1: this is no export/, 0],
    ["that is empty", () => "", /: Line 1: the file ends here/, 0],
    [
      "with a wrong line",
      (text) => text.replace('"value":"s1"', '"value":{"secret":1e999}'),
      /: Line \d+: The value at \$\.secret/,
      1,
    ],
  ])(
    "a file %s is refused with its line, and the sessions before are there",
    async (_, spoil, line, made) => {
      const text = spoil(await stored(await many(2)));
      const to = freshUrl();
      const { code, output, errors } = await runMain(["import", "--store", to], { input: text });
      expect([code, output]).toEqual([1, ""]);
      expect(errors.trimEnd()).toMatch(line);
      expect(errors.trimEnd()).not.toContain("\n");
      expect(errors.replace("$.secret", "")).not.toContain("secret");
      expect(await count(to)).toBe(made);
    },
  );

  test("files that can't be read or written are named", async () => {
    const to = freshUrl();
    const missing = await runMain(["import", "--store", to, "--input", "/nowhere/x"]);
    expect([missing.code, missing.errors]).toEqual([2, "workflow-state: can't read /nowhere/x: ENOENT\n"]);
    const from = await many(1);
    const unwritable = await runMain(["export", "--store", from, "--output", "/nowhere/x"]);
    expect([unwritable.code, unwritable.errors]).toEqual([
      2,
      "workflow-state: can't write to /nowhere/x: ENOENT\n",
    ]);
    const unnamed = await runMain(["export"]);
    expect([unnamed.code, unnamed.errors]).toEqual([2, "workflow-state: name the store with --store URL\n"]);
  });

  test("larger limits than the default ones come from the server's config file", async () => {
    const limits = { valueBytes: 4 << 20 };
    const from = freshUrl();
    await withStore(
      from,
      (store) =>
        store.setState({
          sessionId: "s",
          key: "k",
          value: encodeValue("x".repeat(2 << 20), { ...DEFAULT_LIMITS, ...limits }),
        }),
      { limits },
    );
    const text = await stored(from);
    const to = freshUrl();
    const refused = await runMain(["import", "--store", to], { input: text });
    expect([refused.code, refused.errors]).toEqual([
      1,
      expect.stringMatching(/Line 3: The value is larger than/),
    ]);
    const config = name("json");
    writeFileSync(config, JSON.stringify({ limits, store: to }));
    expect((await runMain(["import", "--config", config], { input: text })).code).toBe(0);
    expect(await stored(to)).toBe(text);
  }, 60_000);
});

describe("encryption", () => {
  test("values are decrypted on export with keys, and encrypted on import; without keys they stay as they are", async () => {
    const [keys, others] = [keyFile({ a: newKey() }), keyFile({ b: newKey() })];
    const { url, what, read } = await filled(keyringOf(keys));
    const [open, sealed] = [name("jsonl"), name("jsonl")];
    expect(
      (await runMain(["export", "--store", url, "--output", open, "--encryption-keys", keys])).code,
    ).toBe(0);
    expect((await runMain(["export", "--store", url, "--output", sealed])).code).toBe(0);
    expect(readFileSync(open, "utf8")).not.toMatch(/"sealed"|wse1:/);
    expect(readFileSync(sealed, "utf8")).not.toMatch(/"value"/);
    for (const [file, ring, args] of [
      [open, others, ["--encryption-keys", others]],
      [sealed, keys, []],
      [sealed, keys, ["--encryption-keys", keys]],
    ] as const) {
      const to = freshUrl();
      expect((await runMain(["import", "--store", to, "--input", file, ...args])).code).toBe(0);
      expect(await withStore(to, (store) => readAll(store, what.sessions), keyringOf(ring))).toEqual(read);
      const again = await runMain(["export", "--store", to, "--encryption-keys", ring]);
      expect(again.output).toBe(readFileSync(open, "utf8"));
    }
    const wrong = await runMain([
      "import",
      "--store",
      freshUrl(),
      "--input",
      sealed,
      "--encryption-keys",
      others,
    ]);
    expect([wrong.code, wrong.errors]).toEqual([
      1,
      expect.stringMatching(/Line \d+: The value of key .* can't be decrypted/),
    ]);
    const plain = await runMain(["export", "--store", await many(1), "--encryption-keys", keys]);
    expect([plain.code, plain.errors]).toEqual([1, expect.stringMatching(/is not encrypted\.\n$/)]);
  }, 180_000);

  test("after rotate-keys the old key is needed no more", async () => {
    const [old, next] = [newKey(), newKey()];
    const { url, what, read } = await filled(keyringOf(keyFile({ old })));
    const both = keyFile({ next, old });
    const { code, output } = await runMain(["rotate-keys", "--store", url, "--encryption-keys", both]);
    expect([code, output]).toEqual([
      0,
      expect.stringMatching(
        /^encrypted [1-9]\d* values again, looked through \d+ sessions\n.*request retention/,
      ),
    ]);
    expect(
      await withStore(url, (store) => readAll(store, what.sessions), keyringOf(keyFile({ next }))),
    ).toEqual(read);
    const again = await runMain(["rotate-keys", "--store", url, "--encryption-keys", both]);
    expect(again.output).toMatch(/^encrypted 0 values again/);
  }, 120_000);

  test("rotate-keys is killed, run again, and all the while the store is written", async () => {
    const all = 2_000;
    const [old, next] = [newKey(), newKey()];
    const url = await many(all, keyringOf(keyFile({ old })));
    const both = keyFile({ next, old });
    // The length of the key's id and the id, in base64.
    const isOld = /"sealed":"wse1:A29sZ/;
    await withStore(
      url,
      async (store) => {
        let writing = true;
        let written = 0;
        const writer = (async () => {
          for (; writing; written++) {
            const sessionId = `s${written % all}`;
            await store.setState({ sessionId, key: "k", value: encodeValue(sessionId) });
            await store.setState({ sessionId, key: "n", value: encodeValue(written) });
          }
        })();
        try {
          const { child, ended } = startCli(["rotate-keys", "--store", url, "--encryption-keys", both]);
          // s0 is the first that is rotated; the writer leaves its first value in the past.
          await vi.waitUntil(async () => !(await firstVersion(url, "s0")).includes("wse1:A29sZ"), {
            timeout: 60_000,
            interval: 5,
          });
          child.kill("SIGKILL");
          expect(await ended).toBe("SIGKILL");
          expect(await stored(url)).toMatch(isOld);
          const { code } = await runMain(["rotate-keys", "--store", url, "--encryption-keys", both]);
          expect(code).toBe(0);
          expect(await stored(url)).not.toMatch(isOld);
          expect(written).toBeGreaterThan(100);
        } finally {
          writing = false;
          await writer;
        }
      },
      keyringOf(both),
    );
    await withStore(
      url,
      async (store) => {
        for (let i = 0; i < all; i++) {
          const sessionId = `s${i}`;
          const session = await store.getSession({ sessionId });
          expect(decodeValue(session?.state.get("k") as Uint8Array)).toBe(sessionId);
          // The past too.
          const past = await store.getState({ sessionId, key: "k", atRevision: 1 });
          expect(decodeValue(past?.value as Uint8Array)).toBe(sessionId);
        }
      },
      keyringOf(keyFile({ next })),
    );
  }, 180_000);

  test("rotate-keys refuses a keyring that lacks a key before it changes anything", async () => {
    const [first, second] = [newKey(), newKey()];
    const url = await many(20, keyringOf(keyFile({ first })));
    await withStore(
      url,
      (store) => store.setState({ sessionId: "zz", key: "k", value: encodeValue(1) }),
      keyringOf(keyFile({ second })),
    );
    const before = await stored(url);
    for (const keys of [
      keyFile({ next: newKey(), first }),
      keyFile({ next: newKey(), first: newKey(), second }),
    ]) {
      const { code, output, errors } = await runMain([
        "rotate-keys",
        "--store",
        url,
        "--encryption-keys",
        keys,
      ]);
      expect([code, output]).toEqual([1, ""]);
      expect(errors).toMatch(/^workflow-state: The value of key "k" can't be decrypted: .*\n$/);
      expect(await stored(url)).toBe(before);
    }
    const none = await runMain(["rotate-keys", "--store", url]);
    expect([none.code, none.errors]).toEqual([2, expect.stringMatching(/--encryption-keys FILE/)]);
  }, 60_000);

  test("a file of keys that is none is refused, and not repeated", async () => {
    const keys = name("keys");
    writeFileSync(keys, "secret\n", { mode: 0o600 });
    const { code, errors } = await runMain(["export", "--store", await many(1), "--encryption-keys", keys]);
    expect([code, errors]).toEqual([
      2,
      expect.stringMatching(
        /^workflow-state: the encryption keys in .* are not right: Line 1 of the keyring .*\n$/,
      ),
    ]);
    expect(errors).not.toContain("secret");
  });
});
