/**
 * Power loss: what a process did to its SQLite file is recorded, and at each of many points the disk is made as it may be found
 * had the power gone there. What was synced is there; of the rest some is, some isn't, and some is torn.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  COMPILER,
  Disk,
  type DiskStep,
  type Loss,
  readRecord,
  recorderFor,
} from "./support/disk-recorder.ts";
import { recordResult } from "./support/durability-results.ts";
import { Random, seedOfRun } from "./support/random.ts";
import { ended, start } from "./support/run-node.ts";
import {
  apply,
  inconsistencies,
  look,
  openFile,
  set,
  temporaryFolder,
  value,
} from "./support/sqlite-file.ts";

const CHILD = join(import.meta.dirname, "support/sqlite-power-child.ts");
const ROUNDS = 160;
const POINTS = 330;
const MAKING = 40;
const LOSSES: readonly Loss[] = ["by chance", "by chance", "nothing kept", "all kept"];

/** A commit that was acknowledged. */
interface Acknowledged {
  readonly sessionId: string;
  readonly number: string;
  readonly revision: number;
  readonly ended: boolean;
}

if (COMPILER === undefined)
  console.warn("SKIPPED: the power-loss test of SQLite needs a C compiler on Linux.");

describe.runIf(COMPILER !== undefined)("a power loss", () => {
  test("loses no acknowledged commit, and leaves no half of any", { timeout: 120_000 }, async () => {
    const seed = seedOfRun();
    console.info(`power loss: WORKFLOW_STATE_TEST_SEED=${seed}`);
    const random = new Random(seed);
    const folder = temporaryFolder();
    const path = join(folder, "recorded/state.db");
    mkdirSync(join(folder, "recorded"));
    const child = start(
      process.execPath,
      [CHILD, path, String(ROUNDS), String(seed)],
      recorderFor(folder, path),
    );
    expect(await ended(child)).toEqual({ status: 0, stdout: "", stderr: "" });

    const steps = readRecord(`${path}.record`);
    // It did sync, and checkpoint, while it was at it: else this would say little.
    const count = (op: DiskStep["op"], file: DiskStep["file"]): number =>
      steps.filter((step) => step.op === op && step.file === file).length;
    expect(count("sync", "log")).toBeGreaterThan(100);
    expect(count("sync", "main")).toBeGreaterThan(10);

    const points = crashPoints(steps, random);
    expect(points.size).toBeGreaterThanOrEqual(300);
    const disk = new Disk();
    const acknowledged: Acknowledged[] = [];
    const found = { lost: 0, doubled: 0, wrong: [] as string[] };
    const file = join(folder, "found/state.db");
    for (const [i, step] of steps.entries()) {
      if (step.file === "notes" && step.op === "write") {
        acknowledged.push(JSON.parse(step.data.toString()) as Acknowledged);
        continue;
      }
      if (points.has(i)) {
        rmSync(join(folder, "found"), { recursive: true, force: true });
        mkdirSync(join(folder, "found"));
        const loss = random.one(LOSSES);
        for (const [name, suffix] of [
          ["main", ""],
          ["log", "-wal"],
          ["journal", "-journal"],
        ] as const) {
          const content = disk.found(name, loss, random);
          if (content !== undefined) writeFileSync(file + suffix, content);
        }
        // The index of the log was never meant to outlive its processes: whatever is found of it must do no harm.
        if (random.chance(0.5))
          writeFileSync(
            `${file}-shm`,
            Buffer.from(Array.from({ length: 32_768 }, () => random.between(0, 255))),
          );
        const { lost, doubled, wrong } = await whatIsWrong(file, acknowledged);
        found.lost += lost;
        found.doubled += doubled;
        found.wrong.push(...wrong.map((what) => `point ${i}, ${loss}: ${what}`));
      }
      disk.apply(step);
    }
    recordResult({
      ...{ store: "SQLite", check: "power loss", times: points.size, acknowledged: acknowledged.length },
      ...{ lost: found.lost, doubled: found.doubled },
    });
    console.info(
      `power loss: ${points.size} points, ${acknowledged.length} acknowledged commits, ${found.lost} lost`,
    );
    expect(found).toEqual({ lost: 0, doubled: 0, wrong: [] });
  });
});

/** Where the power goes: just before and after syncs, and anywhere else. Before the step of that number is done. */
function crashPoints(steps: readonly DiskStep[], random: Random): Set<number> {
  const syncs = steps.flatMap(({ op }, i) => (op === "sync" ? [i, i + 1] : []));
  const notes = steps.flatMap(({ file }, i) => (file === "notes" ? [i + 1] : []));
  // All of the making of the file.
  const points = new Set<number>(
    steps.slice(0, MAKING).flatMap(({ file }, i) => (file === "notes" ? [] : [i])),
  );
  while (points.size < POINTS) {
    const i = random.one([random.one(syncs), random.one(notes), random.between(0, steps.length - 1)]);
    // The note itself is no write to the disk that matters.
    if (i < steps.length && steps[i]?.file !== "notes") points.add(i);
  }
  return points;
}

/** Opens what is left, and compares it with what was acknowledged. */
async function whatIsWrong(
  path: string,
  acknowledged: readonly Acknowledged[],
): Promise<{ lost: number; doubled: number; wrong: string[] }> {
  const backend = await openFile(path, { history: 20 });
  const wrong: string[] = [];
  let lost = 0;
  let doubled = 0;
  try {
    const last = new Map<string, number>();
    for (const { sessionId, number, revision, ended: gone } of acknowledged) {
      const { remembered } = await look(backend, sessionId, { requestId: number, entries: { keys: [] } });
      if (remembered?.revision !== revision || !remembered.wrote) lost++;
      if (!gone) last.set(sessionId, revision);
    }
    for (const [sessionId, revision] of last) {
      const { head, entries } = await look(backend, sessionId);
      if (head === undefined || head.revision < revision) {
        wrong.push(`${sessionId} is at ${head?.revision}, and was acknowledged at ${revision}`);
        continue;
      }
      // Each commit writes a, b and z with its number.
      const numbers = entries
        .filter(({ key }) => !key.startsWith("c"))
        .map(({ value: bytes, revision: at }) => `${numberIn(bytes)} at ${at}`);
      if (head.metadata !== undefined && (numbers.length !== 3 || new Set(numbers).size !== 1))
        wrong.push(`${sessionId} has half of a commit: ${numbers.join(", ")}`);
      const { events } = await backend.events({
        ...{ session: { namespace: "", sessionId }, from: 1, to: head.revision },
        ...{ reverse: false, count: 1_000, bytes: 1 << 30 },
      });
      const ids = events.map(({ requestId }) => requestId);
      doubled += ids.length - new Set(ids).size;
      for (const event of events) {
        const written = new Set(event.entries.map(({ value: bytes }) => numberIn(bytes)));
        if (
          !event.ended &&
          (event.entries.length !== 4 || written.size !== 1 || !written.has(event.requestId ?? ""))
        )
          wrong.push(`event ${event.revision} of ${sessionId} has half of a commit`);
      }
    }
    wrong.push(...inconsistencies(path));
    if ((await apply(backend, set("after", { k: value("v") }))).kind !== "done")
      wrong.push("it can't be written");
  } finally {
    await backend.close();
  }
  return { lost, doubled, wrong };
}

function numberIn(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes).replaceAll(".", "");
}
