/** Limits that PostgreSQL's indexes set. */
import { randomBytes } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import { looking, openBackendAt, POSTGRES, run, setting } from "../support/postgres-backend.ts";

const MOST = 2_000;

test.each(["keyBytes", "sessionIdBytes"])(
  "%s over 2,000 is refused before anything is asked of a server",
  async (name) => {
    const limits = { ...DEFAULT_LIMITS, [name]: MOST + 1 };
    const opening = openPostgres("postgres://127.0.0.1:1/none", { limits, ...DEFAULT_RETENTION });
    await expect(opening).rejects.toMatchObject({
      reason: "INVALID_REQUEST",
      metadata: { field: `limits.${name}`, limit: "2000", actual: "2001" },
    });
  },
);

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  test("keys and session ids of 2,000 bytes that can't be compressed are kept, with their past and in listings", async () => {
    const limits = { ...DEFAULT_LIMITS, keyBytes: MOST, sessionIdBytes: MOST };
    const backend = await openBackendAt(server.fresh(), { limits });
    const [key, sessionId] = [randomBytes(MOST / 2).toString("hex"), randomBytes(MOST / 2).toString("hex")];
    const metadata = {
      ...{ createTime: undefined, workflowId: "w", userId: "u", labels: { a: "b" }, forkedFrom: undefined },
      ...{ expireTime: undefined, idleTtlMs: undefined },
    };
    for (const value of ["1", "2"]) await run(backend, setting(sessionId, key, value, { metadata }));
    const { entries } = await run(backend, looking(sessionId, { atRevision: 1 }));
    expect(entries).toMatchObject([{ key, revision: 1 }]);
    for (const order of ["ID", "UPDATE_TIME_DESC"] as const) {
      const query = { namespace: "n", filter: { workflowId: "w" }, order, count: 9 };
      expect((await backend.sessions(query)).map((listed) => listed.sessionId)).toEqual([sessionId]);
    }
  });
});
