/** The connection of the store in Redis to one server, when that can't say whether it is a primary. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { nameSkippedRedis } from "../support/redis.ts";
import { open, plan, run, sessionKey } from "../support/redis-backend.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/until.ts";

nameSkippedRedis("connections of the store in Redis");

describe.runIf(HAS_REDIS)("a server that is busy with a script of another program", () => {
  let server: KillableRedis;

  beforeAll(async () => {
    server = await KillableRedis.start({ settings: ["--busy-reply-threshold", "50"] });
  });
  afterAll(() => server.stop());

  /** Runs something while the server runs a script that does not end by itself. */
  async function whileBusy(what: () => Promise<void>): Promise<void> {
    const script = server.command("EVAL", "while true do end", "0").catch(() => {});
    const refused = (): Promise<unknown> => server.command("GET", "a").catch((error: unknown) => error);
    await until(async () => /^BUSY/.test(String(((await refused()) as Error | null)?.message)) || undefined);
    try {
      await what();
    } finally {
      await server.command("SCRIPT", "KILL");
      await script;
    }
  }

  test("is used again once that has ended, also over connections that were made meanwhile", async () => {
    const proxy = await TcpProxy.start(server.port);
    const backend = await open(server.fresh(proxy.port));
    await run(backend, plan("s", { a: "1" }));
    const look = async () => (await backend.run([{ kind: "look", session: sessionKey("s") }]))[0];
    await whileBusy(async () => {
      const made = proxy.connections;
      proxy.cut();
      await until(() => (proxy.connections > made ? true : undefined));
      expect(await look()).toMatchObject({
        kind: "error",
        error: { reason: "STORE_UNAVAILABLE", message: expect.stringContaining("busy") },
      });
    });
    await until(async () => ((await look())?.kind === "look" ? true : undefined));
    await run(backend, plan("s", { a: "2" }));
    await proxy.refuse();
  });

  test("is no place to open a store, which says why at once", async () => {
    await whileBusy(async () => {
      await expect(open(server.fresh())).rejects.toMatchObject({
        reason: "STORE_UNAVAILABLE",
        message: expect.stringContaining("busy"),
      });
    });
    await run(await open(server.fresh()), plan("s", { a: "1" }));
  });
});
