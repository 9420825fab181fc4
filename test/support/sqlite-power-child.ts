/**
 * Writes to a SQLite file until it has done so many rounds, and notes what is acknowledged:
 * `node sqlite-power-child.ts PATH ROUNDS SEED`. What each commit writes has its number, so that a half of one shows.
 */
import { openSync, writeSync } from "node:fs";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { PlanStep } from "../../src/stores/backend.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { openSqlite } from "../../src/stores/sqlite.ts";
import { Random } from "./random.ts";

const [path = "", rounds = "", seed = ""] = process.argv.slice(2);
const random = new Random(Number(seed));
const notes = openSync(`${path}.notes`, "w");
const backend = await openSqlite(path, {
  limits: DEFAULT_LIMITS,
  ...DEFAULT_RETENTION,
  history: 20,
  checkpointPages: 60,
});

let number = 0;
for (let round = 0; round < Number(rounds); round++) {
  await Promise.all(
    Array.from({ length: random.between(1, 8) }, async () => {
      const plan = commit(String(++number));
      const [result] = await backend.run([plan]);
      if (result?.kind !== "done") throw new Error(`A commit gave ${JSON.stringify(result)}`);
      const { sessionId } = plan.session;
      const ended = plan.metadata === "end";
      if (result.wrote)
        writeSync(
          notes,
          `${JSON.stringify({ sessionId, number: plan.request?.id, revision: result.revision, ended })}\n`,
        );
    }),
  );
}
// Not closed: the power goes while it runs.
process.exit(0);

function commit(id: string): PlanStep {
  const session = { namespace: "", sessionId: `s${random.between(1, 6)}` };
  const request = { id, fingerprint: id.padStart(24, "0"), kept: undefined };
  if (random.chance(0.03))
    return { kind: "plan", session, event: "DELETED", writes: [], metadata: "end", request };
  const values = ["a", "b", `c${random.between(1, 9)}`, "z"].map((key) => {
    const length = random.chance(0.1) ? 3_000 : 40;
    return { key, value: new TextEncoder().encode(id.padEnd(length, ".")) };
  });
  const labels = random.chance(0.2) ? { number: id } : undefined;
  const metadata = labels && {
    ...{ createTime: undefined, workflowId: id, userId: undefined, forkedFrom: undefined },
    ...{ expireTime: undefined, idleTtlMs: undefined, labels },
  };
  return { kind: "plan", session, event: "COMMITTED", writes: values, metadata, request };
}
