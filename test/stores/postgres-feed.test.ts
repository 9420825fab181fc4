/** The feed of a server whose count of transactions went back: after a failover, or a crash that lost the last of it. */
import { beforeAll, describe, expect, test } from "vitest";
import type { SharedPostgres } from "../support/postgres.ts";
import { changesAfter, openBackendAt, POSTGRES, run, setting } from "../support/postgres-backend.ts";

const AHEAD = "99999999999:99999999999:";

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  test.each([
    ["a cursor", AHEAD],
    ["a cursor within a part", `1:1:|${AHEAD}|1|1|1`],
  ])("%s that is ahead of it says once that commits are lost, and the feed goes on", async (_, ahead) => {
    const backend = await openBackendAt(server.fresh());
    await run(backend, setting("s", "k", "1"));
    const part = await backend.feed(ahead, 10);
    expect(part).toMatchObject({ lost: true, more: false });
    await run(backend, setting("s", "k", "2"));
    const { changes, lost } = await changesAfter(backend, part.cursor);
    expect(lost).toBe(false);
    expect(changes.map(({ revision }) => revision)).toEqual([2]);
  });
});
