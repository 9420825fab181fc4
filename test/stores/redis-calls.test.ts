/** Calls of the store in Redis that a server does not take at once. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { nameSkippedRedis } from "../support/redis.ts";
import { bytes, open, plan, sessionKey } from "../support/redis-backend.ts";

nameSkippedRedis("calls of the store in Redis");

// Not a shared server: others would load the scripts, and lose theirs.
describe.runIf(HAS_REDIS)("calls of a store in Redis", () => {
  let server: KillableRedis;

  beforeAll(async () => {
    server = await KillableRedis.start();
  });
  afterAll(() => server.stop());

  test("a server that has forgotten the scripts is given them again, and a run keeps its order", async () => {
    const backend = await open(server.fresh());
    for (let i = 0; i < 5; i++) {
      await server.command("SCRIPT", "FLUSH");
      const steps = Array.from({ length: 20 }, (_, n) => plan("s", { a: `${i}.${n}`, [`k${n}`]: "1" }));
      const look = { kind: "look", session: sessionKey("s"), entries: { keys: ["a"] } } as const;
      const results = await backend.run([look, ...steps, look]);
      expect(results.slice(1, -1).map((result) => "revision" in result && result.revision)).toEqual(
        steps.map((_, n) => 20 * i + n + 1),
      );
      expect(results.at(-1)).toMatchObject({ entries: [{ value: bytes(`${i}.19`) }] });
      expect(results[0]).toMatchObject({
        kind: "look",
        entries: i === 0 ? [] : [{ value: bytes(`${i - 1}.19`) }],
      });
    }
  });
});
