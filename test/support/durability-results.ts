/** What the suites on durable stores found, as lines of JSON: the table in the docs is made from them. */
import { appendFileSync } from "node:fs";

/** The stores, by the names that the table has. */
export type StoreName = "SQLite" | "PostgreSQL" | "Redis" | "Redis Cluster";

/** One thing that a suite found of a store. */
export type DurabilityResult =
  | {
      readonly store: StoreName;
      /** What was killed under load, or died with the power. */
      readonly check: "service killed" | "database killed" | "primary killed" | "power loss";
      /** How often, or at how many points. */
      readonly times: number;
      /** Writes that were acknowledged. */
      readonly acknowledged: number;
      /** Of those: gone. */
      readonly lost: number;
      /** Done twice. */
      readonly doubled: number;
    }
  | {
      readonly store: StoreName;
      readonly check: "write cost";
      /** Bytes that reach the database's log or file for a key of 100 bytes, in sessions of 10 and of 10,000 keys. */
      readonly bytesOf10: number;
      readonly bytesOf10000: number;
    };

/** Adds a result to the file that WORKFLOW_STATE_TEST_RESULTS names, if it does. */
export function recordResult(result: DurabilityResult): void {
  const path = process.env["WORKFLOW_STATE_TEST_RESULTS"];
  if (path !== undefined && path !== "") appendFileSync(path, `${JSON.stringify(result)}\n`);
}
