/** What SetState and ListSessions cost in databases of few and of many sessions: neither is to grow with their number. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EncodedForm } from "../src/nouns.ts";
import { openEncodedStore } from "../src/open.ts";
import type { EncodedStore, ListSessionsRequest, Operation } from "../src/store.ts";
import { encodeValue } from "../src/value.ts";
import { measure, VALUE } from "./measure.ts";
import { startPostgres } from "./postgres.ts";

const BATCH = 256;
/** Batches under way at once while sessions are made. */
const LANES = 8;
const WORKFLOWS = 50;
const value = encodeValue(VALUE);

/** @param most sessions of the larger database */
export async function benchAtScale(ms: number, most: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-bench-"));
  // PostgreSQL may run as a user of its own.
  chmodSync(folder, 0o755);
  const postgres = await startPostgres(folder);
  try {
    for (const [name, url] of [
      ["SQLite", `sqlite:${join(folder, "state.db")}`],
      ["PostgreSQL", postgres.url],
    ] as const) {
      const store = await openEncodedStore(url);
      try {
        let made = 0;
        for (const count of [1_000, most]) {
          const seconds = await fill(store, made, count);
          const rate = Math.round((count - made) / seconds).toLocaleString("en");
          console.log(`${name}, ${count.toLocaleString("en")} sessions (made at ${rate} a second)`);
          made = count;
          await benchStore(store, ms, count);
        }
      } finally {
        await store.close();
      }
      console.log();
    }
  } finally {
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function benchStore(store: EncodedStore, ms: number, count: number): Promise<void> {
  // The same walk over all of them, whatever their number.
  const at = (i: number): string => idOf((i * 7_919) % count);
  await measure("setState, one caller", ms, 1, (i) => store.setState({ sessionId: at(i), key: "k", value }));
  await measure("setState, 64 callers", ms, 64, (i) =>
    Promise.all(
      Array.from({ length: 64 }, (_, n) => store.setState({ sessionId: at(i * 64 + n), key: "k", value })),
    ),
  );
  await measure("getState, one caller", ms, 1, (i) => store.getState({ sessionId: at(i), key: "k" }));
  const listings: Readonly<Record<string, ListSessionsRequest<EncodedForm>>> = {
    "by id": {},
    "by id, from the middle": { sessionIdPrefix: idOf(count / 2).slice(0, -3) },
    "the latest": { order: "UPDATE_TIME_DESC" },
    "of a workflow": { workflowId: "workflow-7" },
    "of a label, the latest": { labels: { colour: "blue-3" }, order: "UPDATE_TIME_DESC" },
  };
  for (const [label, listing] of Object.entries(listings))
    await measure(`ListSessions, 100 ${label}`, ms, 1, () =>
      store.listSessions({ ...listing, pageSize: 100 }),
    );
}

/** Makes sessions up to a number; returns how many seconds it took. */
async function fill(store: EncodedStore, from: number, to: number): Promise<number> {
  const start = performance.now();
  let next = from;
  const lane = async (): Promise<void> => {
    while (next < to) {
      const first = next;
      next = Math.min(to, first + BATCH);
      const results = await store.batch(Array.from({ length: next - first }, (_, n) => session(first + n)));
      for (const result of results) if (result.kind === "error") throw result.error;
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return (performance.now() - start) / 1_000;
}

function session(n: number): Operation<EncodedForm> {
  return {
    kind: "commit",
    sessionId: idOf(n),
    changes: [{ kind: "set", key: "k", value }],
    metadata: { workflowId: `workflow-${n % WORKFLOWS}`, labels: { colour: `blue-${n % 10}` } },
  };
}

function idOf(n: number): string {
  return `session-${String(Math.floor(n)).padStart(9, "0")}`;
}
