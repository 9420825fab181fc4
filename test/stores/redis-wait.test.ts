/** What a store in Redis acknowledges that waits for replicas: nothing that no replica has, whichever way it is answered. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { openStore } from "../../src/open.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import type { Backend } from "../../src/stores/backend.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { nameSkippedRedis } from "../support/redis.ts";
import { bytes, open, plan, request, sessionKey } from "../support/redis-backend.ts";
import { until } from "../support/until.ts";

nameSkippedRedis("the store in Redis that waits for replicas");

/** Every kind of write; each makes what the next ones need. */
const WRITES: Readonly<Record<string, (store: WorkflowStateStore, requestId: string) => Promise<unknown>>> = {
  set: (store, requestId) => store.setState("s", "a", 1, { requestId }),
  "commit of a set": (store, requestId) =>
    store.commit("s", { changes: [{ kind: "set", key: "n", value: 1 }], requestId }),
  "commit of an increment": (store, requestId) =>
    store.commit("s", { changes: [{ kind: "increment", key: "m", delta: 1 }], requestId }),
  save: (store, requestId) => store.saveSession({ sessionId: "t", state: { a: 1 } }, { requestId }),
  fork: (store, requestId) => store.forkSession("s", "u", { requestId }),
  restore: (store, requestId) => store.restoreSession("s", 1, { requestId }),
  delete: (store, requestId) => store.deleteSession("u", { requestId }),
};

describe.runIf(HAS_REDIS)("a store in Redis that waits for a replica", () => {
  let server: KillableRedis;
  let replica: KillableRedis;

  beforeAll(async () => {
    [server, replica] = await Promise.all([KillableRedis.start(), KillableRedis.start()]);
    await server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0");
  });
  afterAll(() => Promise.all([server.stop(), replica.stop()]));

  /** Gives the server its replica until the test ends. */
  async function attach(): Promise<void> {
    onTestFinished(detach);
    let tries = 0;
    await until(async () => {
      // A first synchronisation that got stuck is begun anew.
      if (tries++ % 500 === 0) {
        await replica.command("REPLICAOF", "NO", "ONE");
        await replica.command("REPLICAOF", "127.0.0.1", String(server.port));
      }
      return /state=online/.test(String(await server.command("INFO", "replication"))) || undefined;
    });
  }

  async function detach(): Promise<void> {
    await replica.command("REPLICAOF", "NO", "ONE");
    await until(async () =>
      /connected_slaves:0/.test(String(await server.command("INFO", "replication"))) ? true : undefined,
    );
  }

  /** Its URL, with little patience for a replica that never comes, or with much for one that is slow. */
  function urls(): { hasty: string; patient: string } {
    const url = `${server.fresh()}&wait=1`;
    return { hasty: `${url}&waitTimeout=50`, patient: `${url}&waitTimeout=30000` };
  }

  test("acknowledges no write while there is none, however often it is repeated, and then gives the first answer", {
    timeout: 60_000,
  }, async () => {
    const { hasty, patient } = urls();
    const store = await openStore(hasty);
    onTestFinished(() => store.close());
    const answered = new Map<string, unknown>();
    for (const [name, write] of Object.entries(WRITES)) {
      for (let i = 0; i < 3; i++) {
        const answer = await write(store, name).catch((error: unknown) => error);
        answered.set(`${name} ${i}`, WorkflowStateError.is(answer) ? answer.reason : answer);
      }
    }
    const unknown = Object.keys(WRITES).flatMap((name) => [0, 1, 2].map((i) => `${name} ${i}`));
    expect(Object.fromEntries(answered)).toEqual(
      Object.fromEntries(unknown.map((name) => [name, "OUTCOME_UNKNOWN"])),
    );

    await attach();
    const waiting = await openStore(patient, { timeoutMs: 60_000 });
    onTestFinished(() => waiting.close());
    const answers: Record<string, unknown> = {};
    for (const [name, write] of Object.entries(WRITES)) answers[name] = await write(waiting, name);
    expect(answers).toMatchObject({
      set: { revision: 1 },
      "commit of a set": { revision: 2 },
      "commit of an increment": { revision: 3, entries: [{ key: "m", value: 1 }] },
      save: { revision: 1, state: { a: 1 } },
      fork: { revision: 1, state: { a: 1, m: 1, n: 1 } },
      restore: { revision: 4, state: { a: 1 } },
      delete: true,
    });
    expect(await waiting.getSession("s")).toMatchObject({ revision: 4, state: { a: 1 } });
    await replica.command("REPLICAOF", "NO", "ONE");
    const copy = await openStore(patient.replace(`:${server.port}`, `:${replica.port}`));
    onTestFinished(() => copy.close());
    expect(await copy.getSession("s")).toMatchObject({ revision: 4, state: { a: 1 } });
  });

  test("gives no answer again that no replica has when its memory is full", async () => {
    const backend = await open(urls().hasty);
    const step = plan("s", { a: "1" }, { request: request("r") });
    expect(await outcomeOf(backend.run([step]))).toBe("OUTCOME_UNKNOWN");
    await server.command("CONFIG", "SET", "maxmemory", "1");
    try {
      expect(await outcomeOf(backend.run([step]))).toBe("OUTCOME_UNKNOWN");
      expect(await outcomeOf(backend.run([plan("s", { b: "1" })]))).toBe("STORAGE_FULL");
    } finally {
      await server.command("CONFIG", "SET", "maxmemory", "0");
    }
  });

  test("rewrites no value for good that no replica has, and says so again when there is nothing left to rewrite", {
    timeout: 60_000,
  }, async () => {
    const { hasty, patient } = urls();
    const backend = await open(hasty);
    await backend.run([plan("s", { a: "1", b: "2" })]);
    const rewrite = (each: Backend): Promise<number> =>
      each.rewriteValues(sessionKey("s"), (_, value) => (value.length > 1 ? undefined : bytes("new")));
    await expect(rewrite(backend)).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await expect(rewrite(backend)).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await attach();
    expect(await rewrite(await open(patient, { timeoutMs: 60_000 }))).toBe(0);
  });
});

/** What became of one step: the kind of its result, or the reason of its error. */
async function outcomeOf(run: ReturnType<Backend["run"]>): Promise<string | undefined> {
  const [result] = await run;
  return result?.kind === "error" ? result.error.reason : result?.kind;
}
