/** Values that are encrypted on their way, and under new keys, by the commands as their users run them. */
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { openBackend } from "../src/open.ts";
import type { EncodedStore } from "../src/store.ts";
import { decodeValue, encodeValue } from "../src/value.ts";
import { readAll } from "./support/all-reads.ts";
import {
  filled,
  freshUrl,
  keyFile,
  keyringOf,
  many,
  name,
  newKey,
  stored,
  withStore,
} from "./support/cli-stores.ts";
import { startCli } from "./support/run-cli.ts";
import { runMain } from "./support/run-main.ts";

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

/** An export without what is remembered of requests, which is not the same where the keys are others. */
const withoutAnswers = (text: string): string => text.replace(/^\{"type":"request",[^\n]*\n/gm, "");

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
      expect(withoutAnswers(again.output)).toBe(withoutAnswers(readFileSync(open, "utf8")));
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

  // Answers were once imported as they were, values and all.
  test("a plain export that is imported with keys leaves no value in the file, and no write is made twice", async () => {
    const [url, to] = [freshUrl(), freshUrl()];
    const keys = keyFile({ a: newKey() });
    const canary = encodeValue("CANARY");
    const session = { sessionId: "saved", state: new Map([["k", canary]]), labels: {} };
    const writes = [
      (store: EncodedStore) =>
        store.commit({
          sessionId: "appended",
          changes: [{ kind: "append", key: "k", values: [canary] }],
          requestId: "a",
        }),
      (store: EncodedStore) => store.setState({ sessionId: "set", key: "k", value: canary, requestId: "s" }),
      (store: EncodedStore) => store.saveSession({ session, requestId: "v" }),
      (store: EncodedStore) =>
        store.forkSession({ sessionId: "saved", newSessionId: "forked", requestId: "f" }),
    ];
    await withStore(url, async (store) => {
      for (const write of writes) await write(store);
    });
    const { output: plain } = await runMain(["export", "--store", url]);
    const importing = ["import", "--store", to, "--encryption-keys", keys];
    expect((await runMain(importing, { input: plain })).code).toBe(0);
    expect(readFileSync(to.slice("sqlite:".length)).includes("CANARY")).toBe(false);
    const imported = await stored(to);
    const fingerprints = plain.match(/(?<="fingerprint":")[^"]+/g) ?? [];
    expect(fingerprints).toHaveLength(writes.length);
    for (const fingerprint of fingerprints) expect(imported).not.toContain(fingerprint);
    const refused = expect.objectContaining({ reason: "REQUEST_ID_REUSED" });
    await withStore(
      to,
      async (store) => {
        for (const write of writes) await expect(write(store)).rejects.toEqual(refused);
        const read = await store.getSession({ sessionId: "appended" });
        expect([read?.revision, decodeValue(read?.state.get("k") as Uint8Array)]).toEqual([1, ["CANARY"]]);
      },
      keyringOf(keys),
    );
    expect(await stored(to)).toBe(imported);
  }, 60_000);

  test("answers of an encrypted store are known after an import with its keys, by whichever export", async () => {
    const [url, keys] = [freshUrl(), keyFile({ a: newKey() })];
    const saved = { sessionId: "empty", state: new Map<string, Uint8Array>(), labels: {} };
    const writes: ((store: EncodedStore) => Promise<unknown>)[] = [
      (store) =>
        store.commit({
          sessionId: "s",
          changes: [
            { kind: "increment", key: "n", delta: 2 },
            { kind: "set", key: "k", value: encodeValue("x") },
          ],
          requestId: "r",
        }),
      (store) => store.commit({ sessionId: "s", changes: [{ kind: "delete", key: "k" }], requestId: "d" }),
      (store) => store.setState({ sessionId: "gone", key: "k", value: encodeValue("y"), requestId: "s" }),
      // These keep no value that would tell.
      (store) => store.deleteState({ sessionId: "gone", key: "k", requestId: "e" }),
      (store) => store.deleteSession({ sessionId: "gone", requestId: "g" }),
      (store) => store.saveSession({ session: saved, requestId: "v" }),
    ];
    const answersOf = async (store: EncodedStore): Promise<unknown[]> => {
      const answers: unknown[] = [];
      for (const write of writes) answers.push(await write(store));
      return answers;
    };
    const answers = await withStore(url, answersOf, keyringOf(keys));
    expect(await withStore(url, answersOf, keyringOf(keys))).toEqual(answers);
    for (const args of [[], ["--encryption-keys", keys]]) {
      const { output } = await runMain(["export", "--store", url, ...args]);
      const to = freshUrl();
      const importing = ["import", "--store", to, "--encryption-keys", keys];
      expect((await runMain(importing, { input: output })).code).toBe(0);
      expect(await withStore(to, answersOf, keyringOf(keys))).toEqual(answers);
    }
  }, 60_000);

  test("the keys of the server's config file decrypt nothing on export, and copy does not need them", async () => {
    const keys = keyFile({ a: newKey() });
    const { url } = await filled(keyringOf(keys));
    const config = name("json");
    writeFileSync(config, JSON.stringify({ store: url, encryptionKeys: keys }));
    const sealed = await runMain(["export", "--config", config]);
    expect([sealed.code, sealed.output]).toEqual([0, expect.stringMatching(/"sealed":"wse1:/)]);
    expect(sealed.output).not.toMatch(/"value":/);
    const asked = ["--config", config, "--encryption-keys", keys];
    for (const open of [
      await runMain(["export", ...asked]),
      await runMain(["export", "--config", config], { env: { WORKFLOW_STATE_ENCRYPTION_KEYS: keys } }),
    ]) {
      expect([open.code, open.output]).toEqual([0, expect.stringMatching(/"value":/)]);
      expect(open.output).not.toMatch(/"sealed":/);
    }
    // Import and rotate-keys take them: they only ever encrypt.
    const to = freshUrl();
    const importing = ["import", "--store", to, "--config", config];
    expect((await runMain(importing, { input: (await runMain(["export", ...asked])).output })).code).toBe(0);
    expect(await stored(to)).not.toMatch(/"value":/);
    expect((await runMain(["rotate-keys", "--config", config])).code).toBe(0);
    writeFileSync(config, JSON.stringify({ store: url, encryptionKeys: name("missing") }));
    const copied = await runMain(["copy", "--from", url, "--to", freshUrl(), "--config", config]);
    expect([copied.code, copied.errors]).toEqual([0, ""]);
  }, 60_000);

  test("after rotate-keys the old key is needed no more", async () => {
    const [old, next] = [newKey(), newKey()];
    const { url, what, read } = await filled(keyringOf(keyFile({ old })));
    const both = keyFile({ next, old });
    const { code, output } = await runMain(["rotate-keys", "--store", url, "--encryption-keys", both]);
    expect([code, output]).toEqual([
      0,
      expect.stringMatching(
        /^encrypted [1-9]\d* values again, looked through \d+ sessions\nRun it again until it encrypts 0 values: .*\n$/,
      ),
    ]);
    expect(
      await withStore(url, (store) => readAll(store, what.sessions), keyringOf(keyFile({ next }))),
    ).toEqual(read);
    const again = await runMain(["rotate-keys", "--store", url, "--encryption-keys", both]);
    // Only now keys can go.
    expect(again.output).toMatch(
      /^encrypted 0 values again, .*\n.*request retention is over: remove those keys/,
    );
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
