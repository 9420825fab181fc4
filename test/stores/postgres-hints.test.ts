/** Hints between programs after something went wrong with one of them. */
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Connections } from "../../src/stores/postgres-connections.ts";
import { Hints } from "../../src/stores/postgres-hints.ts";
import { readUrl } from "../../src/stores/postgres-url.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import { openBackendAt, POSTGRES, sessionOf, until } from "../support/postgres-backend.ts";

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  test("of a program go on after one that could not be sent, however many commits it was for", async () => {
    const url = server.fresh();
    const listening = await openBackendAt(url);
    let heard = 0;
    onTestFinished(listening.hints(() => heard++));
    await until(() => listening.pollMs === 1_000);

    const { config, schema } = readUrl(url);
    const connections = new Connections(config, { most: 1, connectTimeoutMs: 5_000, timeoutMs: 500 });
    const hints = new Hints(connections, schema);
    onTestFinished(async () => {
      await hints.close();
      await connections.close();
    });
    // Nothing can be sent while the one connection is taken.
    const connection = await connections.hold();
    hints.committed(sessionOf("first"));
    for (let i = 0; i < 600; i++) hints.committed(sessionOf(`s${i}`));
    await expect(connections.use(async () => {})).rejects.toThrow();
    connections.putBack(connection, true);
    const before = heard;
    await until(() => {
      hints.committed(sessionOf("later"));
      return heard > before;
    });
  });
});
