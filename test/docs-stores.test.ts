/** docs/stores.md, held to what the program does: its commands are run in their order, its examples used, its tables compared. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@redis/client";
import { afterAll, describe, expect, test } from "vitest";
import { parseDuration } from "../src/cli/duration.ts";
import { type OpenOptions, openBackend, openStore } from "../src/open.ts";
import type { JsonValue } from "../src/store.ts";
import { parseKeyring } from "../src/stores/keyring.ts";
import { DEFAULT_RETENTION } from "../src/stores/retention.ts";
import { freshUrl } from "./support/fresh-urls.ts";
import { HAS_REDIS } from "./support/has-redis.ts";
import { blocksOf, tableRows } from "./support/markdown.ts";
import { sharedPostgres } from "./support/postgres.ts";
import { nameSkippedRedis, sharedRedis } from "./support/redis.ts";
import { CLI, runCli } from "./support/run-cli.ts";
import { ended, start } from "./support/run-node.ts";

const PAGE = "docs/stores.md";
const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STATE = { items: ["milk", "bread"], total: 2 };

/** Writes what the commands move. */
async function write(url: string, options?: OpenOptions): Promise<void> {
  await using store = await openStore(url, options);
  await store.saveSession({ sessionId: "cart-1", state: STATE });
  await store.setState("cart-1", "note", "ü", { requestId: "r" });
}

async function stateAt(url: string, options?: OpenOptions): Promise<Record<string, JsonValue> | undefined> {
  await using store = await openStore(url, options);
  return (await store.getSession("cart-1", { atRevision: 1 }))?.state;
}

test("the commands of the page do what it says, one after the other", async () => {
  nameSkippedRedis("the commands of docs/stores.md");
  const postgres = await freshUrl("PostgreSQL");
  const redis = HAS_REDIS ? await freshUrl("Redis") : undefined;
  const commands = blocksOf(PAGE).flatMap(({ info, text }) => (info === "sh" ? text.trim().split("\n") : []));
  expect(commands.length).toBeGreaterThan(6);
  const env: Record<string, string> = {};
  for (const command of commands) {
    if (redis === undefined && command.includes("redis://")) continue;
    const [, variable, value = ""] = /^export (\w+)=(.*)$/.exec(command) ?? [];
    if (variable !== undefined) {
      env[variable] = value.replace("postgres://user:password@host/database", postgres);
      continue;
    }
    const line = command
      .replace("postgres://user:password@host/database", `'${postgres}'`)
      .replace("redis://host", `'${redis}'`)
      .replace(/^npx workflow-state /, `'${process.execPath}' '${CLI}' `)
      .replace(/^npm start -- /, `exec '${process.execPath}' '${CLI}' serve --listen 127.0.0.1:0 `);
    const child = start("bash", ["-c", `cd '${folder}' && ${line}`], env);
    const end = ended(child);
    let said = "";
    child.stdout?.on("data", (text: string) => {
      said += text;
      const [, url] = /^listening on (\S+)\n/.exec(said) ?? [];
      if (url === undefined) return;
      write(url).then(
        () => child.kill("SIGTERM"),
        () => child.kill("SIGKILL"),
      );
    });
    expect((await end).status, command).toBe(0);
  }
  const keys = { encryption: parseKeyring(readFileSync(join(folder, "keys"), "utf8")) };
  expect(await stateAt(`sqlite:${join(folder, "state.db")}`)).toEqual(STATE);
  expect(await stateAt(postgres)).toEqual(STATE);
  if (redis !== undefined) expect(await stateAt(redis)).toEqual(STATE);
  expect(await stateAt(`sqlite:${join(folder, "restored.db")}`)).toEqual(STATE);
  expect(await stateAt(`sqlite:${join(folder, "encrypted.db")}`, keys)).toEqual(STATE);
}, 120_000);

test("the lines that it shows of an export can be imported, and are exported as they stand there", async () => {
  const lines = blocksOf(PAGE).find(({ info }) => info === "jsonl")?.text ?? "";
  const url = await freshUrl("SQLite");
  const config = { WORKFLOW_STATE_STORE: url };
  expect(await runCli(["import"], { env: config, input: lines })).toMatchObject({ code: 0, errors: "" });
  // The answer is too old by now to be kept.
  const { output } = await runCli(["export"], { env: config });
  expect(output).toBe(lines.replace(/^\{"type":"request".*\n/m, ""));
});

test("the grants that it shows suffice for servers, and for moving", async () => {
  const shared = await sharedPostgres();
  const owner = await freshUrl("PostgreSQL");
  await write(owner);
  const { searchParams } = new URL(owner);
  const schema = searchParams.get("schema") ?? "";
  const role = `server_of_${schema}`;
  const sql = blocksOf(PAGE).find(({ info }) => info === "sql")?.text ?? "";
  await shared.query(sql.replaceAll("workflow_state", schema).replaceAll("state_server", role));
  const url = new URL(owner);
  url.username = role;
  url.password = "change-me";
  await write(url.href);
  await everything(url.href);
});

test("the rights that it shows suffice for a user of Redis", async () => {
  if (!HAS_REDIS) return nameSkippedRedis("the rights of docs/stores.md");
  const shared = new URL((await sharedRedis()).url);
  const admin = createClient({ url: shared.href });
  await admin.connect();
  const user = `server-${process.pid}`;
  const prefix = `wfs-${process.pid}`;
  try {
    const [command = ""] = (blocksOf(PAGE).find(({ info }) => info === "redis")?.text ?? "").split("\n");
    await admin.sendCommand(command.replace("state_server", user).replaceAll("wfs", prefix).split(" "));
    const url = `redis://${user}:change-me@${shared.host}${shared.pathname}?prefix=${prefix}&wait=0`;
    await write(url);
    await everything(url);
    const other = openStore(url.replace(`prefix=${prefix}`, "prefix=other"));
    await expect(other).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  } finally {
    await admin.sendCommand(["ACL", "DELUSER", user]);
    admin.destroy();
  }
});

/** Does all that servers and moving do beside writing: watches, expiry, deletions, listings, dumps, loads, rewrites. */
async function everything(url: string): Promise<void> {
  await using store = await openStore(url);
  for await (const message of store.watchSession("cart-1")) {
    if (message.kind === "event") break;
    await store.setState("cart-1", "brief", 1, { ttlMs: 1 });
  }
  await store.update("cart-1", (state: { total: number }) => {
    state.total++;
  });
  await store.forkSession("cart-1", "cart-2");
  await store.deleteSession("cart-2");
  expect(await store.getAllSessionIds()).toEqual(["cart-1"]);
  const backend = await openBackend(url);
  try {
    await backend.sweep();
    const session = { namespace: "", sessionId: "cart-1" };
    await backend.load({ ...session, sessionId: "cart-3" }, backend.dump(session));
    expect(await backend.rewriteValues(session, (_, value) => Uint8Array.from(value))).toBeGreaterThan(0);
    expect(await backend.sessionKeys(undefined, 10)).toHaveLength(3);
  } finally {
    await backend.close();
  }
  expect((await store.getSession("cart-3"))?.state["total"]).toBe(3);
}

describe("the tables", () => {
  test("of what is kept have the defaults", () => {
    const rows = tableRows(PAGE).filter(([option]) => option?.startsWith("`--"));
    const said = rows.map(([, name = "", text = ""]) => {
      const value = text.split(/[ :]/)[0] ?? "";
      return [name.replaceAll("`", ""), /^\d+$/.test(value) ? Number(value) : parseDuration(value)];
    });
    expect(Object.fromEntries(said)).toEqual(DEFAULT_RETENTION);
  });

  test("of URLs have every kind", () => {
    const urls = tableRows(PAGE).map(([url = ""]) => url);
    for (const scheme of [
      "memory:",
      "sqlite:",
      "postgres://",
      "redis://",
      "redis+cluster://",
      "http://",
      "https://",
    ]) {
      expect(
        urls.some((url) => url.includes(`\`${scheme}`)),
        scheme,
      ).toBe(true);
    }
  });
});
