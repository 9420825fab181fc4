/** URLs of stores that nothing has used before, of every kind that can run here, in the servers that test files share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { HAS_REDIS } from "./has-redis.ts";
import { sharedPostgres } from "./postgres.ts";
import { sharedCluster, sharedRedis } from "./redis.ts";

/** A kind of durable store. */
export type DurableKind = "SQLite" | "PostgreSQL" | "Redis" | "Redis Cluster";

/** Those that can run here. */
export const KINDS: readonly DurableKind[] = [
  "SQLite",
  "PostgreSQL",
  ...(HAS_REDIS ? (["Redis", "Redis Cluster"] as const) : []),
];

/** A URL of a kind; starts its server if it is the first of this run that asks. A file goes with the test. */
export async function freshUrl(kind: DurableKind): Promise<string> {
  switch (kind) {
    case "SQLite":
      return freshFile(onTestFinished);
    case "PostgreSQL":
      return (await sharedPostgres()).fresh();
    case "Redis":
      return (await sharedRedis()).fresh();
    case "Redis Cluster":
      return (await sharedCluster()).fresh();
  }
}

/** The URL of a file in a folder of its own, that goes when `atEnd` calls what it is given. */
export function freshFile(atEnd: (remove: () => void) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-sqlite-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return `sqlite:${join(folder, "state.db")}`;
}
