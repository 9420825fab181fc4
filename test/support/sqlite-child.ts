/** A process of its own on a SQLite file: `node sqlite-child.ts TASK PATH …`; prints what came of it as JSON. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { Applied, Backend, Look, Step, StepResult } from "../../src/stores/backend.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { openSqlite } from "../../src/stores/sqlite.ts";

const [task = "", path = "", ...rest] = process.argv.slice(2);

const tasks: Readonly<Record<string, () => Promise<unknown>>> = { open, increment, write, fail };
console.log(JSON.stringify(await tasks[task]?.()));

function openStore(): Promise<Backend> {
  return openSqlite(path, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION });
}

/** Opens the file as soon as so many processes are ready to, and writes. */
async function open(): Promise<unknown> {
  writeFileSync(`${path}.ready.${process.pid}`, "");
  const ready = (): number =>
    readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.ready.`)).length;
  while (ready() < Number(rest[0])) await sleep(1);
  const backend = await openStore();
  const [result] = await backend.run([write1(String(process.pid), "v", {})]);
  await backend.close();
  return result?.kind;
}

/**
 * Adds one to a counter so many times, by reading, adding and writing under a check, and more often if by then nobody had to do
 * it again; tells how often it did, and how often it had to do it again.
 */
async function increment(): Promise<unknown> {
  const backend = await openStore();
  const met = `${path}.met`;
  const latest = performance.now() + 40_000;
  let conflicts = 0;
  let done = 0;
  while (done < Number(rest[0]) || (!existsSync(met) && performance.now() < latest)) {
    const [seen] = (await backend.run([
      { kind: "look", session: { namespace: "", sessionId: "counter" }, entries: { keys: ["n"] } },
    ])) as Look[];
    const entry = seen?.entries[0];
    const n = entry?.value === undefined ? 0 : Number(new TextDecoder().decode(entry.value));
    const guards = { entries: [{ key: "n", ifRevision: entry?.revision ?? 0 }] };
    const [result] = (await backend.run([write1("counter", String(n + 1), { guards })])) as Applied[];
    if (result?.kind === "done") done++;
    else if (result?.kind === "stale") {
      if (conflicts++ === 0) writeFileSync(met, "");
    } else throw new Error(`The increment gave ${JSON.stringify(result)}`);
  }
  await backend.close();
  return { done, conflicts };
}

/**
 * Writes while the disk works, while it fails as told ("sync 5"), looks, and writes when it works again; tells what each came
 * to. The recorder makes the disk fail.
 */
async function fail(): Promise<unknown> {
  const backend = await openStore();
  const fault = rest.join(" ");
  const outcome = (result: StepResult | undefined): string | undefined =>
    result?.kind === "error" ? result.error.reason : result?.kind;
  const set = async (text: string): Promise<string | undefined> =>
    outcome((await backend.run([write1("s", text, {})]))[0]);
  const look = (): Promise<StepResult[]> =>
    backend.run([{ kind: "look", session: { namespace: "", sessionId: "s" }, entries: { keys: ["n"] } }]);
  const first = await set("first");
  writeFileSync(`${path}.faults`, fault);
  const during = [await set("second"), ...(await Promise.all(["third", "fourth"].map(set)))];
  const [seen] = await look();
  writeFileSync(`${path}.faults`, fault.replace(/\d+/, "0"));
  const after = await set("last");
  const [last] = (await look()) as Look[];
  const value = new TextDecoder().decode(last?.entries[0]?.value);
  await backend.close();
  return { first, during, seen: outcome(seen), after, value };
}

/** Writes a session so many times, with a pause in between. */
async function write(): Promise<unknown> {
  const backend = await openStore();
  const kinds = new Set<StepResult["kind"]>();
  for (let i = 0; i < Number(rest[0]); i++) {
    for (const { kind } of await backend.run([write1("written", String(i), {})])) kinds.add(kind);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await backend.close();
  return [...kinds];
}

function write1(sessionId: string, text: string, more: object): Step {
  const writes = [{ key: "n", value: new TextEncoder().encode(text) }];
  return { kind: "plan", session: { namespace: "", sessionId }, event: "COMMITTED", writes, ...more };
}
