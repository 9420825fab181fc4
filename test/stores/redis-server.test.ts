/** What a server of Redis may do to the store: be full, be refused, be killed, be a replica, or not answer. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import type { Backend, StepResult } from "../../src/stores/backend.ts";
import { freePort } from "../support/free-port.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { sleep } from "../support/network.ts";
import { nameSkippedRedis } from "../support/redis.ts";
import { bytes, end, open, plan, request, run, sessionKey, stateOf } from "../support/redis-backend.ts";
import { selfSigned } from "../support/self-signed.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

nameSkippedRedis("servers of the store in Redis");

const PASSWORD = "se:cr@t";

describe.runIf(HAS_REDIS)("a server of the store in Redis", () => {
  let server: KillableRedis;

  beforeAll(async () => {
    server = await KillableRedis.start();
  });
  afterAll(() => server.stop());

  /** Runs something while the server is set up in another way. */
  async function withConfig(settings: Record<string, string>, what: () => Promise<void>): Promise<void> {
    const before: [string, string][] = [];
    for (const [name, value] of Object.entries(settings)) {
      const reply = (await server.command("CONFIG", "GET", name)) as Record<string, string>;
      before.unshift([name, reply[name] ?? ""]);
      await server.command("CONFIG", "SET", name, value);
    }
    try {
      await what();
    } finally {
      for (const [name, value] of before) await server.command("CONFIG", "SET", name, value);
    }
  }

  test("that is full takes no plan and nothing of one, and still reads, answers again, and is made room in", async () => {
    const backend = await open(server.fresh());
    await run(backend, plan("s", { big: "x".repeat(1 << 20), small: "1" }, { request: request("made") }));
    await run(backend, plan("expires", {}, { writes: [{ key: "k", value: bytes("1"), ttlMs: 1 }] }));
    const used = /used_memory:(\d+)/.exec(String(await server.command("INFO", "memory")))?.[1] ?? "0";
    await withConfig({ maxmemory: String(Number(used) - 100_000) }, async () => {
      const refused = [
        plan("s", { a: "1" }),
        plan("new", { a: "1" }),
        plan("s", { a: "1" }, { request: request("new") }),
      ];
      const before = await stateOf(backend, "s");
      for (const result of await backend.run(refused)) expect(reasonOf(result)).toBe("STORAGE_FULL");
      expect(await stateOf(backend, "s")).toEqual(before);
      expect(await stateOf(backend, "expires")).toEqual({});
      expect(await run(backend, { kind: "look", session: sessionKey("new") })).toMatchObject({
        head: undefined,
      });
      expect(await run(backend, plan("s", { a: "9" }, { request: request("made") }))).toEqual({
        kind: "replayed",
        revision: 1,
        updateTime: expect.any(Number),
        wrote: true,
        kept: bytes("kept of made"),
      });
      expect(await run(backend, plan("s", { a: "9" }, { request: request("made", "other") }))).toEqual({
        kind: "reused",
      });
      expect(await run(backend, plan("s", { small: undefined }))).toMatchObject({
        kind: "done",
        revision: 2,
      });
      expect(await run(backend, end("s"))).toMatchObject({ kind: "done", wrote: true });
      await backend.sweep();
    });
    expect(await run(backend, plan("s", { a: "1" }))).toMatchObject({ kind: "done", revision: 4 });
  });

  test("that drops keys when it is full is refused, and one that drops only keys with a time to live is not", async () => {
    await withConfig({ maxmemory: "1gb", "maxmemory-policy": "allkeys-lru" }, async () => {
      await expect(open(server.fresh())).rejects.toMatchObject({
        reason: "INVALID_REQUEST",
        message: expect.stringContaining("noeviction"),
      });
    });
    await withConfig({ maxmemory: "1gb", "maxmemory-policy": "volatile-lru" }, async () => {
      await run(await open(server.fresh()), plan("s", { a: "1" }));
    });
    await withConfig({ "maxmemory-policy": "allkeys-lru" }, async () => {
      await run(await open(server.fresh()), plan("s", { a: "1" }));
    });
  });

  test("that holds something else under the prefix, a newer layout, or other buckets is refused", async () => {
    const urls = [server.fresh(), server.fresh(), server.fresh()] as const;
    const keys = urls.map((url) => `{${new URL(url).searchParams.get("prefix")}}schema`);
    await server.command("SET", keys[0] as string, "mine");
    await server.command("HSET", keys[1] as string, "version", "2", "buckets", "64");
    await (await open(`${urls[2]}&buckets=5`)).close();
    await expect(open(urls[0])).rejects.toMatchObject({
      reason: "INVALID_REQUEST",
      message: expect.stringContaining("prefix"),
    });
    await expect(open(urls[1])).rejects.toMatchObject({
      reason: "INVALID_REQUEST",
      message: expect.stringContaining("newer version"),
    });
    await expect(open(`${urls[2]}&buckets=6`)).rejects.toMatchObject({ reason: "INVALID_REQUEST" });
    await open(urls[2]);
    await open(`${urls[2]}&buckets=5`);
  });

  test("with passwords says who may come in, and no password stands in an error", async () => {
    await server.command(
      "ACL",
      "SETUSER",
      "writer",
      "on",
      `>${PASSWORD}`,
      "~*",
      "&*",
      "+@all",
      "-info",
      "-role",
    );
    const [url, query] = server.fresh().split("?") as [string, string];
    const as = (name: string, password: string): string =>
      `${url.replace("//", `//${encodeURIComponent(name)}:${encodeURIComponent(password)}@`)}?${query}`;
    // One who may ask for neither INFO nor ROLE.
    const backend = await open(as("writer", PASSWORD));
    await run(backend, plan("s", { a: "1" }));
    for (const wrong of [as("writer", `${PASSWORD}x`), as("nobody", PASSWORD)]) {
      const error = await open(wrong).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({
        reason: "STORE_UNAVAILABLE",
        message: expect.stringContaining("password"),
      });
      expect(describeAll(error)).not.toContain(PASSWORD);
    }
    await server.command("ACL", "SETUSER", "writer", "-evalsha", "-eval");
    const [result] = await backend.run([plan("s", { a: "2" })]);
    expect(reasonOf(result)).toBe("STORE_UNAVAILABLE");
    await server.command("ACL", "DELUSER", "writer");
  });

  test("is reached over TLS, if its certificate is the one that was named", async () => {
    const { key, cert } = selfSigned();
    const folder = mkdtempSync(join(tmpdir(), "workflow-state-tls-"));
    const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    writeFileSync(keyFile, key);
    writeFileSync(certFile, cert);
    const port = await freePort();
    const secure = await KillableRedis.start({
      settings: [
        ...["--tls-port", String(port), "--tls-auth-clients", "no"],
        ...["--tls-key-file", keyFile, "--tls-cert-file", certFile, "--tls-ca-cert-file", certFile],
      ],
    });
    try {
      const url = secure.fresh(port).replace("redis:", "rediss:");
      const backend = await open(url, { tls: { ca: cert } });
      await run(backend, plan("s", { a: "1" }));
      let hinted = 0;
      const stop = backend.hints(() => {
        hinted++;
      });
      while (hinted === 0) await sleep(10);
      stop();
      await expect(open(url)).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
      await expect(open(secure.fresh(port))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    } finally {
      await secure.stop();
      rmSync(folder, { recursive: true });
    }
  });

  test("whose user may not do all that a commit does is refused before anything is done", async () => {
    const [url, query] = server.fresh().split("?") as [string, string];
    const as = `${url.replace("//", "//limited:secret@")}?${query}`;
    const prefix = new URL(`${url}?${query}`).searchParams.get("prefix");
    for (const missing of [
      "-xadd",
      "-rename",
      "-hset",
      "-zlexcount",
      "-spublish",
      "-hscan",
      "-xrange",
      "-script",
      "resetchannels",
    ]) {
      await server.command(
        "ACL",
        "SETUSER",
        "limited",
        "reset",
        "on",
        ">secret",
        "~*",
        "&*",
        "+@all",
        missing,
      );
      const opened = open(as);
      if (missing === "-script") await run(await opened, plan("s", { a: "1" }));
      else {
        await expect(opened).rejects.toMatchObject({
          reason: "STORE_UNAVAILABLE",
          message: expect.stringContaining("may not do"),
        });
      }
    }
    await server.command(
      "ACL",
      "SETUSER",
      "limited",
      "reset",
      "on",
      ">secret",
      `~{${prefix}*`,
      `&{${prefix}*`,
      "+@all",
    );
    await run(await open(as), plan("s", { a: "1" }));
    await expect(open(as.replace("prefix=", "prefix=other"))).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
    });
    await server.command("ACL", "DELUSER", "limited");
  });

  test("that is a replica is no place for a store, and one that becomes one is left", async () => {
    const other = await KillableRedis.start();
    try {
      await other.command("REPLICAOF", "127.0.0.1", String(server.port));
      await expect(open(other.fresh())).rejects.toMatchObject({
        reason: "STORE_UNAVAILABLE",
        message: expect.stringContaining("replica"),
      });
      await other.command("REPLICAOF", "NO", "ONE");
      const backend = await open(other.fresh());
      await run(backend, plan("s", { a: "1" }));
      await other.command("REPLICAOF", "127.0.0.1", String(server.port));
      const [result] = await backend.run([plan("s", { a: "2" })]);
      expect(reasonOf(result)).toBe("STORE_UNAVAILABLE");
      await other.terminateClients();
      const [look] = await backend.run([{ kind: "look", session: sessionKey("s") }]);
      expect(reasonOf(look)).toBe("STORE_UNAVAILABLE");
      await other.command("REPLICAOF", "NO", "ONE");
      await recovered(backend);
    } finally {
      await other.stop();
    }
  });

  test("that is not there, or speaks no Redis, is unavailable at once", async () => {
    const gone = await TcpProxy.start(server.port);
    await gone.refuse();
    const started = performance.now();
    await expect(open(server.fresh(gone.port))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    expect(performance.now() - started).toBeLessThan(2_000);
    const silent = await TcpProxy.start(server.port);
    silent.replies = "black hole";
    await expect(open(server.fresh(silent.port), { timeoutMs: 500 })).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
    });
    await silent.refuse();
  });

  test("that does not answer fails each call in time, and is used again when it does", async () => {
    const proxy = await TcpProxy.start(server.port);
    const backend = await open(server.fresh(proxy.port), { timeoutMs: 600 });
    const failed: unknown[] = [];
    const stop = backend.hints(() => {});
    await run(backend, plan("s", { a: "1" }));
    for (const flow of ["requests", "replies"] as const) {
      proxy[flow] = "black hole";
      const started = performance.now();
      const calls = [
        backend.run([plan("s", { a: "2" }), { kind: "look", session: sessionKey("s") }]),
        backend.run([{ kind: "look", session: sessionKey("s") }]),
      ];
      const results = await Promise.all(calls);
      expect(results.map((each) => each.map(reasonOf))).toEqual([
        ["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"],
        ["STORE_UNAVAILABLE"],
      ]);
      const others = await Promise.allSettled([
        backend.sessions({ namespace: "", filter: {}, order: "ID", count: 1 }),
        backend.feedEnd(),
        backend.sweep(),
        backend.sessionKeys(undefined, 1),
      ]);
      failed.push(...others.map((each) => (each.status === "rejected" ? each.reason : each.value)));
      expect(performance.now() - started).toBeLessThan(4_000);
      proxy.cut();
      await proxy.accept();
      await recovered(backend);
    }
    for (const error of failed) expect(error).toMatchObject({ reason: "STORE_UNAVAILABLE" });
    stop();
    await proxy.refuse();
  });

  test("behind a line that breaks and closes in every way is used again at once", async () => {
    const proxy = await TcpProxy.start(server.port);
    const backend = await open(server.fresh(proxy.port), { timeoutMs: 2_000 });
    const breaks: (() => unknown)[] = [
      () => proxy.cut(),
      () => proxy.halfClose("client"),
      () => proxy.halfClose("server"),
      () => proxy.breakNext("before the reply"),
      () => proxy.breakNext("after the request"),
      () => server.terminateClients(),
    ];
    let made = 0;
    for (const [i, breakIt] of [...breaks, ...breaks].entries()) {
      await breakIt();
      for (let attempt = 0; ; attempt++) {
        const step = plan("s", { a: `${i}` }, { request: request(`r${i}`) });
        const [result] = await backend.run([step]);
        if (result?.kind === "done" || result?.kind === "replayed") break;
        expect(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(reasonOf(result));
        expect(attempt).toBeLessThan(20);
      }
      made++;
      const { head } = await recovered(backend);
      expect(head?.revision).toBe(made);
    }
    await proxy.refuse();
  });

  test("that is killed and started again under load has all that it acknowledged, each once", async () => {
    const backend = await open(server.fresh(), { timeoutMs: 2_000 });
    const acknowledged: Map<string, number> = new Map();
    let ended = false;
    let unknown = 0;
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      for (let i = 0; !ended; i++) {
        const step = plan(`s${writer}`, { [`k${i}`]: "1" }, { request: request(`r${i}`) });
        for (;;) {
          const [result] = await backend.run([step]);
          if (result?.kind === "done" || result?.kind === "replayed") break;
          if (reasonOf(result) === "OUTCOME_UNKNOWN") unknown++;
          else expect(reasonOf(result)).toBe("STORE_UNAVAILABLE");
          await sleep(10);
        }
        acknowledged.set(`s${writer}`, i + 1);
      }
    });
    for (let round = 0; round < 4; round++) {
      await sleep(100 + 100 * round);
      await server.kill();
      await server.restart();
    }
    await sleep(200);
    ended = true;
    await Promise.all(writers);
    for (const [id, count] of acknowledged) {
      const { head } = await run(backend, { kind: "look", session: sessionKey(id) });
      expect(head).toMatchObject({ revision: count, entries: count });
    }
    const total = [...acknowledged.values()].reduce((sum, count) => sum + count, 0);
    console.log(
      `killed 4 times: ${total} acknowledged writes, all there once; ${unknown} of unknown outcome before`,
    );
    expect(total).toBeGreaterThan(16);
  });

  test("waited for a replica that it has not got, a write is of unknown outcome until it has one", {
    timeout: 180_000,
  }, async () => {
    const url = `${server.fresh()}&wait=1`;
    const backend = await open(`${url}&waitTimeout=100`, { timeoutMs: 3_000 });
    const step = plan("s", { a: "1" }, { request: request("r") });
    const [result, look] = await backend.run([step, { kind: "look", session: sessionKey("s") }]);
    expect(reasonOf(result)).toBe("OUTCOME_UNKNOWN");
    expect(look).toMatchObject({ head: { revision: 1 } });
    const [again] = await backend.run([step]);
    expect(reasonOf(again)).toBe("OUTCOME_UNKNOWN");
    // What writes nothing has nothing to lose.
    expect(await run(backend, plan("s", { b: undefined }))).toMatchObject({ kind: "done", wrote: false });
    expect(await run(backend, plan("s", { a: "2" }, { ifRevision: 7 }))).toMatchObject({ kind: "failed" });
    const other = await KillableRedis.start();
    try {
      await server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0");
      for (
        let tries = 0;
        !/state=online/.test(String(await server.command("INFO", "replication")));
        tries++
      ) {
        // A first synchronisation that got stuck is begun anew.
        if (tries % 250 === 0) await other.command("REPLICAOF", "NO", "ONE");
        if (tries % 250 === 0) await other.command("REPLICAOF", "127.0.0.1", String(server.port));
        await sleep(20);
      }
      // A replica that has just come may take longer to confirm than this test has to wait for one that never does.
      const patient = await open(`${url}&waitTimeout=10000`, { timeoutMs: 20_000 });
      expect(await run(patient, step)).toMatchObject({ kind: "replayed", revision: 1, wrote: true });
      const started = performance.now();
      const many = await Promise.all(
        Array.from({ length: 200 }, (_, i) => patient.run([plan(`t${i % 20}`, { a: `${i}` })])),
      );
      for (const [each] of many) expect(each).toMatchObject({ kind: "done" });
      // They wait together, not one after the other.
      expect(performance.now() - started).toBeLessThan(5_000);
    } finally {
      await other.stop();
    }
    const [last] = await backend.run([plan("s", { a: "3" })]);
    expect(reasonOf(last)).toBe("OUTCOME_UNKNOWN");
  });

  test("one changed key of 10,000 costs a bounded number of bytes on the line and in the log", async () => {
    const backend = await open(server.fresh());
    const value = bytes("x".repeat(100));
    const cost = async (entries: number): Promise<{ line: number; log: number }> => {
      const writes = Array.from({ length: entries }, (_, i) => ({ key: `key-${i}`, value }));
      await run(backend, { ...plan(`s${entries}`, {}), event: "SAVED", writes });
      await run(backend, plan(`s${entries}`, { "key-7": "y".repeat(100) }));
      const line = async (): Promise<number> => {
        const info = String(await server.command("INFO", "stats"));
        return (
          Number(/total_net_input_bytes:(\d+)/.exec(info)?.[1]) +
          Number(/total_net_output_bytes:(\d+)/.exec(info)?.[1])
        );
      };
      const before = { line: await line(), log: await server.logBytes() };
      for (let i = 0; i < 50; i++) await run(backend, plan(`s${entries}`, { "key-7": "z".repeat(100) }));
      return {
        line: ((await line()) - before.line) / 50,
        log: ((await server.logBytes()) - before.log) / 50,
      };
    };
    const few = await cost(10);
    const many = await cost(10_000);
    console.log(
      `one changed key of 100 bytes: ${JSON.stringify(few)} bytes of 10 keys, ${JSON.stringify(many)} of 10,000`,
    );
    expect(many.line).toBeLessThan(few.line + 300);
    expect(many.log).toBeLessThan(few.log + 300);
    expect(many.log).toBeLessThan(2_000);
  });

  test("is left in peace by a store that is closed", async () => {
    const backend = await open(server.fresh());
    const stop = backend.hints(() => {});
    const running = backend.run([plan("s", { a: "1" })]);
    await backend.close();
    expect((await running)[0]).toMatchObject({ kind: "done" });
    await backend.close();
    stop();
    await expect(backend.run([plan("s", { a: "2" })])).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    for (let i = 0; ; i++) {
      // Beside the one that asks.
      if (/connected_clients:1\r/.test(String(await server.command("INFO", "clients")))) break;
      expect(i).toBeLessThan(100);
      await sleep(20);
    }
  });
});

function reasonOf(result: StepResult | undefined): string | undefined {
  return result?.kind === "error" ? result.error.reason : result?.kind;
}

/** Waits until the store answers again; gives what it says. */
async function recovered(backend: Backend) {
  const until = performance.now() + 5_000;
  for (;;) {
    const [result] = await backend.run([{ kind: "look", session: sessionKey("s") }]);
    if (result?.kind === "look") return result;
    expect(reasonOf(result)).toBe("STORE_UNAVAILABLE");
    expect(performance.now()).toBeLessThan(until);
    await sleep(20);
  }
}

/** Everything that an error says, with what is under it. */
function describeAll(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const metadata = WorkflowStateError.is(error) ? JSON.stringify(error.metadata) : "";
  return `${error.message} ${error.stack} ${metadata} ${describeAll(error.cause)}`;
}
