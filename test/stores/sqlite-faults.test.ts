/** What callers are told when the disk fails under a SQLite file: its writes or its syncs, with the errors that systems have. */
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMPILER, recorderFor } from "../support/disk-recorder.ts";
import { ended, start } from "../support/run-node.ts";
import { inconsistencies, temporaryFolder } from "../support/sqlite-file.ts";

const CHILD = join(import.meta.dirname, "../support/sqlite-child.ts");
const { ENOSPC, EDQUOT, EIO } = constants.errno;

if (COMPILER === undefined)
  console.warn("SKIPPED: SQLite's tests of failing disks need a C compiler on Linux.");

const FAULTS: readonly [what: string, fault: string, reason: string][] = [
  ["a full disk is STORAGE_FULL", `write ${ENOSPC}`, "STORAGE_FULL"],
  ["a quota that is used up is STORAGE_FULL", `write ${EDQUOT}`, "STORAGE_FULL"],
  ["a write that fails is STORE_UNAVAILABLE", `write ${EIO}`, "STORE_UNAVAILABLE"],
  ["a sync that fails leaves the outcome unknown", `sync ${EIO}`, "OUTCOME_UNKNOWN"],
];

describe.runIf(COMPILER !== undefined)("a failing disk", () => {
  test.each(FAULTS)("%s; reads go on, and writes when it works again", async (_, fault, reason) => {
    const folder = temporaryFolder();
    const path = join(folder, "state.db");
    const child = start(
      process.execPath,
      [CHILD, "fail", path, ...fault.split(" ")],
      recorderFor(folder, path),
    );
    const { status, stdout, stderr } = await ended(child);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      ...{ first: "done", during: [reason, reason, reason], seen: "look", after: "done", value: "last" },
    });
    expect(inconsistencies(path)).toEqual([]);
  });
});
