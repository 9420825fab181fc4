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
const COLOURS = 10;
const value = encodeValue(VALUE);

/** @param most sessions of the larger database */
export async function benchAtScale(ms: number, most: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-bench-"));
  // PostgreSQL may run as a user of its own.
  chmodSync(folder, 0o755);
  const postgres = await startPostgres(folder);
  try {
    for (const [name, url, fillUrl] of [
      ["SQLite", `sqlite:${join(folder, "state.db")}`, `sqlite:${join(folder, "state.db")}`],
      // Only while sessions are made is nothing waited for: what is measured afterwards is.
      ["PostgreSQL", postgres.url, `${postgres.url}?options=-c%20synchronous_commit%3Doff`],
    ] as const) {
      const store = await openEncodedStore(url);
      try {
        let made = 0;
        for (const count of [1_000, most]) {
          const seconds = await fill(fillUrl, made, count);
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
async function fill(url: string, from: number, to: number): Promise<number> {
  const store = await openEncodedStore(url);
  try {
    return await fillStore(store, from, to);
  } finally {
    await store.close();
  }
}

async function fillStore(store: EncodedStore, from: number, to: number): Promise<number> {
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

/** One in ten has a workflow and a label: enough to list, and the rest is made in half the steps. */
function session(n: number): Operation<EncodedForm> {
  if (n % 10 !== 0) return { kind: "setState", sessionId: idOf(n), key: "k", value };
  return {
    kind: "commit",
    sessionId: idOf(n),
    changes: [{ kind: "set", key: "k", value }],
    metadata: {
      workflowId: `workflow-${(n / 10) % WORKFLOWS}`,
      labels: { colour: `blue-${(n / 10) % COLOURS}` },
    },
  };
}

function idOf(n: number): string {
  return `session-${String(Math.floor(n)).padStart(9, "0")}`;
}
