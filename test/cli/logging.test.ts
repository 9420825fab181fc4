/** What `serve` says on stderr of its calls and its writes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { openStore } from "../../src/open.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { ROOT } from "../support/markdown.ts";
import { ended, runNode, start } from "../support/run-node.ts";

type Line = Readonly<Record<string, unknown>>;

/** A service that says what it is asked to. */
async function served(...options: readonly string[]) {
  const child = start(process.execPath, ["src/cli.ts", "serve", "--listen", "127.0.0.1:0", ...options]);
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const end = ended(child);
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await end;
  });
  const url = await urlOf(child);
  return {
    url,
    child,
    text: () => said,
    lines: (msg: string) =>
      said
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Line)
        .filter((line) => line["msg"] === msg),
    async stop() {
      child.kill("SIGTERM");
      return (await end).status;
    },
  };
}

async function urlOf(child: ChildProcess): Promise<string> {
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
  return String(line).trim().split(" ").at(-1) ?? "";
}

async function storeAt(url: string, headers: Record<string, string> = {}): Promise<WorkflowStateStore> {
  const store = await openStore(url, { headers, retry: { attempts: 1 } });
  onTestFinished(() => store.close());
  return store;
}

const TRACE = "0af7651916cd43dd8448eb211c80319c";

test("at debug there is a line for each call, with the ids by which its caller knows it", async () => {
  const server = await served("--log-level", "debug");
  const headers = { "x-request-id": "caller-7", traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
  const store = await storeAt(server.url, headers);
  await store.setState("s", "k", 1);
  await expect(store.setState("s", "k", 2, { ifRevision: 9 })).rejects.toThrow();
  await fetch(`${server.url}/agenterra.state.v1.WorkflowStateService/GetState`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-request-id": 'not {"an": id}' },
    body: JSON.stringify({ sessionId: "", key: "k" }),
  });
  for await (const message of store.watchSession("s")) if (message.kind === "snapshot") break;
  await vi.waitFor(() => expect(server.lines("call")).toHaveLength(4), 10_000);

  const [set, refused, json, watch] = server.lines("call");
  const caller = { requestId: "caller-7", traceId: TRACE, protocol: "grpc", peer: "127.0.0.1" };
  expect(set).toMatchObject({
    ...caller,
    level: "debug",
    rpc: "agenterra.state.v1.WorkflowStateService/SetState",
    outcome: "OK",
    durationMs: expect.any(Number),
  });
  expect(refused).toMatchObject({ ...caller, outcome: "ABORTED", reason: "REVISION_MISMATCH" });
  expect(json).toMatchObject({
    protocol: "connect",
    outcome: "INVALID_ARGUMENT",
    reason: "INVALID_SESSION_ID",
  });
  expect(json?.["requestId"]).toMatch(/^[\da-f-]{36}$/);
  expect(watch).toMatchObject({ ...caller, outcome: "CANCELLED", messages: expect.any(Number) });
});

test("unless asked, nothing is said of calls", async () => {
  const server = await served();
  const store = await storeAt(server.url);
  await store.setState("s", "k", 1);
  await expect(store.setState("s", "k", 2, { ifRevision: 9 })).rejects.toThrow();
  expect(await server.stop()).toBe(0);
  expect(server.text()).toBe("");
});

test("an audit has a line for each write: who, what, which revision and how it ended, and no value", async () => {
  const server = await served("--audit");
  const store = await storeAt(server.url);
  await store.setState("a", "k", "secret-value", { requestId: "w1" });
  await store.commit("a", {
    changes: [
      { kind: "increment", key: "n", delta: 1 },
      { kind: "delete", key: "k" },
    ],
  });
  await store.getState("a", "n");
  await expect(
    store.commit("a", { changes: [{ kind: "append", key: "n", values: ["secret-value"] }] }),
  ).rejects.toThrow();
  await store.batch([
    { kind: "setState", sessionId: "b", key: "x", value: "secret-value" },
    { kind: "getState", sessionId: "b", key: "x" },
    { kind: "deleteState", sessionId: "b", key: "x", ifRevision: 7 },
  ]);
  await store.forkSession("a", "c");
  await store.deleteSession("a");
  await expect(store.setState("x".repeat(5_000), "k", 1)).rejects.toThrow();
  await vi.waitFor(() => expect(server.lines("write")).toHaveLength(8), 10_000);

  const common = { level: "info", audit: true, principal: expect.any(String), namespace: expect.any(String) };
  expect(server.lines("write")).toMatchObject([
    {
      ...common,
      operation: "SetState",
      session: "a",
      keys: ["k"],
      writeId: "w1",
      revision: 1,
      outcome: "OK",
    },
    { ...common, operation: "Commit", session: "a", keys: ["n", "k"], revision: 2, outcome: "OK" },
    { ...common, operation: "Commit", outcome: "FAILED_PRECONDITION", reason: "VALUE_TYPE_MISMATCH" },
    { ...common, operation: "SetState", session: "b", keys: ["x"], revision: 1, outcome: "OK" },
    { ...common, operation: "DeleteState", session: "b", outcome: "ABORTED", reason: "REVISION_MISMATCH" },
    { ...common, operation: "ForkSession", session: "c", outcome: "OK" },
    { ...common, operation: "DeleteSession", session: "a", outcome: "OK" },
    { ...common, session: "x".repeat(512), outcome: "INVALID_ARGUMENT", reason: "INVALID_SESSION_ID" },
  ]);
  expect(server.text()).not.toContain("secret-value");
});

test("on a terminal the lines are for people", async () => {
  const server = await served("--log-format", "pretty", "--log-level", "debug", "--audit");
  const store = await storeAt(server.url);
  await store.setState("s", "k", 1);
  expect(await server.stop()).toBe(0);
  expect(server.text()).toMatch(/INFO: write\n {4}audit: true\n/);
  expect(server.text()).toMatch(/DEBUG: stopping\n/);
});

test.each(["json", "pretty"])("who doesn't read stderr doesn't hold up the service: %s", async (format) => {
  const child = spawn(
    process.execPath,
    ["src/cli.ts", "serve", "--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", format],
    {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  const url = `${await urlOf(child)}/agenterra.state.v1.WorkflowStateService/GetState`;
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ sessionId: "s", key: "k" });
  // Some 400 bytes a line: several times what a pipe holds.
  for (let round = 0; round < 50; round++) {
    const calls = Array.from({ length: 50 }, () => fetch(url, { method: "POST", headers, body }));
    for (const call of calls) expect(await (await call).json()).toEqual({});
  }
});

test.each([
  ["json", /"msg":"write"/g, /"level":"(\w+)","time":"[^"]+","lines":(\d+),"msg":"lines dropped/g],
  ["pretty", /INFO: write$/gm, / ([A-Z]+): lines dropped.*\n {4}lines: (\d+)$/gm],
])(
  "who reads stderr too late is told how many lines are missing, whatever the level: %s",
  async (format, write, drop) => {
    const child = start(process.execPath, [
      ...["src/cli.ts", "serve", "--listen", "127.0.0.1:0", "--audit", "--log-level", "error"],
      ...["--log-format", format],
    ]);
    onTestFinished(() => void child.kill("SIGKILL"));
    const store = await storeAt(await urlOf(child));
    // An audit line of some 64 kB for each: in all more than the 16 MiB that may wait.
    const writes = 400;
    const changes = Array.from({ length: 128 }, (_, n) => ({
      kind: "delete" as const,
      key: `${n}`.padEnd(500, "k"),
    }));
    for (let n = 0; n < writes; n++) await store.commit("s", { changes });

    let text = "";
    child.stderr?.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
    const counted = () => {
      const said = text.slice(0, text.lastIndexOf("\n"));
      const dropped = [...said.matchAll(drop)];
      return {
        written: [...said.matchAll(write)].length,
        dropped: dropped.reduce((sum, [, , lines]) => sum + Number(lines), 0),
        levels: [...new Set(dropped.map(([, level]) => level?.toLowerCase()))],
      };
    };
    await vi.waitFor(() => expect(counted().dropped + counted().written).toBe(writes), {
      timeout: 50_000,
      interval: 500,
    });
    expect(counted().dropped).toBeGreaterThan(0);
    expect(counted().levels).toEqual(["warn"]);
  },
);

test.each([
  [["--log-level", "loud"], "--log-level"],
  [["--log-format", "xml"], "--log-format"],
])("%j is refused at the start", async (options, named) => {
  const { status, stderr } = await runNode("src/cli.ts", "serve", "--listen", "127.0.0.1:0", ...options);
  expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(named) });
});

test("a config file can say the same as the options", async () => {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-log-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify({ logLevel: "warn", logFormat: "json", audit: true }));
  const server = await served("--config", file);
  const store = await storeAt(server.url);
  await store.setState("s", "k", 1);
  expect(await server.stop()).toBe(0);
  // An audit is not less important than anything.
  expect(server.lines("write")).toHaveLength(1);
});
