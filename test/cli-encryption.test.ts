/** Values that are encrypted on their way, and under new keys, by the commands as their users run them. */
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { openBackend } from "../src/open.ts";
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
