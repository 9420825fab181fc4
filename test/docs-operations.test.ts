/** docs/operations.md, done from its first line to its last, by a shell. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePort } from "./support/free-port.ts";
import { blocksOf, ROOT } from "./support/markdown.ts";
import { type SharedPostgres, sharedPostgres } from "./support/postgres.ts";

const PAGE = "docs/operations.md";

/** Where the page's commands run: the checkout, but what they write is not in it. */
const folder = mkdtempSync(join(tmpdir(), "workflow-state-operations-"));
/** The ports that the page names, and those that stand for them. */
const ports = new Map<string, string>();
let database: SharedPostgres;
/** What the page exports, for all that follows. */
const exported: Record<string, string> = {};
/** What the page has started last. */
let service: { readonly child: ChildProcess; readonly end: Promise<number | null>; said: string } | undefined;
/** What was sent to the place where traces go. */
let received = 0;
const collector = createServer((request, response) => {
  request.resume().on("end", () => {
    received++;
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
});

beforeAll(async () => {
  for (const name of readdirSync(ROOT)) {
    if (name !== ".git" && name !== "coverage") symlinkSync(join(ROOT, name), join(folder, name));
  }
  database = await sharedPostgres();
  collector.listen(0, "127.0.0.1");
  await once(collector, "listening");
  ports.set("7410", String(await freePort()));
  ports.set("9464", String(await freePort()));
  ports.set("5432", String(database.port));
  ports.set("4318", String((collector.address() as AddressInfo).port));
});

afterAll(async () => {
  await stop();
  collector.close();
  await database.query("DROP DATABASE IF EXISTS workflow_state");
  await database.query("DROP ROLE IF EXISTS workflow_state");
  rmSync(folder, { recursive: true, force: true });
});

test("every command of the page does what the page says", async () => {
  const answers: string[] = [];
  for (const { at, info, text } of blocksOf(PAGE)) {
    if (info === "sql") for (const line of text.trim().split("\n")) await database.query(line);
    else if (info === "json") writeFileSync(join(folder, "workflow-state.json"), here(text));
    else if (info === "text") expect(answers.at(-1), at).toBe(text);
    else if (info === "sh") for (const command of commandsOf(text)) answers.push(await run(command, at));
    else expect.fail(`${at}: a block of ${info} is not run by anything`);
  }
  // The last one sends what it has at its end.
  await stop();
  expect(received).toBeGreaterThan(0);
}, 180_000);

/** The commands of a block: a line each, unless a quote goes on. */
function commandsOf(text: string): string[] {
  const commands: string[] = [];
  let begun = "";
  for (const line of text.trimEnd().split("\n")) {
    begun += begun === "" ? line : `\n${line}`;
    if (begun.split("'").length % 2 === 0) continue;
    commands.push(begun);
    begun = "";
  }
  return commands;
}

/** Runs a command, as far as its reader would wait for it. Gives what it prints. */
async function run(command: string, at: string): Promise<string> {
  const [, name, value] = /^export (\w+)=(.*)$/.exec(command) ?? [];
  if (name !== undefined) {
    exported[name] = here(value ?? "");
    return "";
  }
  if (/^(?:\w+=\S+ )*npm start/.test(command)) return begin(command, at);
  const child = shell(command);
  const said = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data) => {
    said.stdout += data;
  });
  child.stderr?.on("data", (data) => {
    said.stderr += data;
  });
  const [status] = (await once(child, "close")) as [number | null];
  expect({ at, command, status, ...said }).toMatchObject({ status: 0 });
  if (command.includes("/agenterra.state.v1.")) expect(said.stdout).toContain('"revision"');
  if (command.includes("/metrics")) expect(said.stdout).toMatch(/^# TYPE \w+/m);
  if (command.startsWith("pkill")) {
    await vi.waitFor(() => expect(service?.said).toContain("are reloaded"), 10_000);
  }
  return said.stdout;
}

/** Starts the service in the place of the one before, and waits until it listens. */
async function begin(command: string, at: string): Promise<string> {
  await stop();
  // Where the command names no port it is the default one.
  const own = /--config/.test(command) ? {} : { WORKFLOW_STATE_LISTEN: here("127.0.0.1:7410") };
  const child = shell(
    `exec ${command.includes("=") && !command.startsWith("npm") ? "env " : ""}${command}`,
    own,
  );
  const started = { child, end: once(child, "close").then(([status]) => status as number | null), said: "" };
  service = started;
  const listening = new Promise<void>((resolve) => {
    child.stdout?.on("data", (data) => {
      started.said += data;
      if (started.said.includes("listening on ")) resolve();
    });
  });
  child.stderr?.on("data", (data) => {
    started.said += data;
  });
  const ended = await Promise.race([listening, started.end.then(() => true)]);
  expect({ at, command, ended, said: started.said }).toMatchObject({ ended: undefined });
  return "";
}

async function stop(): Promise<void> {
  if (service === undefined) return;
  const { child, end } = service;
  service = undefined;
  const runs = child.exitCode === null && child.signalCode === null;
  if (runs && child.pid !== undefined) process.kill(-child.pid, "SIGTERM");
  await end;
}

function shell(command: string, env: Readonly<Record<string, string>> = {}): ChildProcess {
  const path = `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env["PATH"] ?? ""}`;
  return spawn("bash", ["-c", here(command)], {
    cwd: folder,
    // A group of its own: npm is between us and the service.
    detached: true,
    env: { ...process.env, PATH: path, NO_COLOR: "1", ...exported, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** A text with the ports that are free here. */
function here(text: string): string {
  return text
    .replaceAll(/(?<=:)\d{4}\b/g, (port) => ports.get(port) ?? port)
    .replace(/^npx workflow-state healthcheck$/, `$& --url http://127.0.0.1:${ports.get("7410")}`)
    .replace("--config workflow-state.json", `--config ${join(folder, "workflow-state.json")}`);
}
