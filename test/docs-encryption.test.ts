/** docs/encryption.md, done from its first command to its last: what is stored is encrypted, and then under the new key only. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openBackend, openStore } from "../src/open.ts";
import { parseKeyring } from "../src/stores/keyring.ts";
import { decodeValue } from "../src/value.ts";
import { blocksOf } from "./support/markdown.ts";
import { CLI } from "./support/run-cli.ts";
import { ended, start } from "./support/run-node.ts";

const PAGE = "docs/encryption.md";
const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const URL = `sqlite:${join(folder, "state.db")}`;
const keys = (): string => readFileSync(join(folder, "keys"), "utf8");

test("the commands of the page encrypt what is stored, and again under a new key", async () => {
  const said: string[] = [];
  for (const { at, info, text } of blocksOf(PAGE)) {
    if (info === "sh") for (const command of text.trim().split("\n")) said.push(await run(command));
    if (info === "text" && said.length > 0 && !text.startsWith("length")) expect(said.at(-1), at).toBe(text);
  }
  expect(said.filter((text) => /^encrypted [1-9]/.test(text))).toHaveLength(1);
  const ids = keys().match(/^\d+(?=:)/gm);
  expect(ids).toEqual(["2027", "2026"]);
  for (const value of await stored()) expect(keyIdOf(value)).toBe("2027");
  // The old key is needed no more.
  const [first = ""] = keys().split("\n");
  await using store = await openStore(URL, { encryption: parseKeyring(first) });
  expect((await store.getSession("cart-1"))?.state).toEqual({ items: ["milk"] });
}, 60_000);

/** Runs a command of the page in a folder of its own; what it starts is written to, and stopped. Gives what it printed. */
async function run(command: string): Promise<string> {
  const line = command
    .replace(/^npx workflow-state /, `'${process.execPath}' '${CLI}' `)
    .replace(/^npm start -- /, `exec '${process.execPath}' '${CLI}' serve --listen 127.0.0.1:0 `);
  const child = start("bash", ["-c", `cd '${folder}' && ${line}`]);
  const end = ended(child);
  let output = "";
  child.stdout?.on("data", (text: string) => {
    output += text;
    const [, url] = /^listening on (\S+)\n/.exec(output) ?? [];
    if (url === undefined) return;
    write(url).then(
      () => child.kill("SIGTERM"),
      () => child.kill("SIGKILL"),
    );
  });
  const { status, stdout } = await end;
  expect(status, command).toBe(0);
  return stdout;
}

async function write(url: string): Promise<void> {
  await using store = await openStore(url);
  await store.setState("cart-1", "items", ["bread"]);
  await store.setState("cart-1", "items", ["milk"]);
  for (const value of await stored()) expect(keyIdOf(value)).toBe("2026");
}

/** Every value as it lies in the file, the past ones too. */
async function stored(): Promise<string[]> {
  const backend = await openBackend(URL);
  const values: string[] = [];
  try {
    for await (const record of backend.dump({ namespace: "", sessionId: "cart-1" })) {
      if (record.kind === "version" && record.value !== undefined)
        values.push(String(decodeValue(record.value)));
    }
  } finally {
    await backend.close();
  }
  expect(values).toHaveLength(2);
  return values;
}

/** The id of the key that a value is encrypted with, read as the page describes the format. */
function keyIdOf(value: string): string {
  const [, text = ""] = /^wse1:([\w-]+)$/.exec(value) ?? [];
  const bytes = Buffer.from(text, "base64url");
  return bytes.subarray(1, 1 + (bytes[0] ?? 0)).toString();
}
