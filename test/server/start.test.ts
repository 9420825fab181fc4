/** A server that starts before its store: it waits, says so, and serves when the store is there. */
import { once } from "node:events";
import { createServer } from "node:net";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { openReachable } from "../../src/cli/waiting.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { openStore } from "../../src/open.ts";
import { lasting } from "../../src/stores/lasting.ts";
import { HAS_REDIS } from "../support/has-redis.ts";
import { KillablePostgres } from "../support/killable-postgres.ts";
import { KillableRedis } from "../support/killable-redis.ts";
import { type CliRun, startCli } from "../support/run-cli.ts";

const UNREACHED = new WorkflowStateError("STORE_UNAVAILABLE", "Not there: try again.");

function serve(store: string, timeout = "60s"): CliRun {
  return startCli(["serve", "--listen", "127.0.0.1:0", "--store", store, "--start-timeout", timeout]);
}

/** Waits until a server serves, and calls it. */
async function serves({ child, output, errors, ended }: CliRun): Promise<void> {
  await vi.waitUntil(() => output().includes("\n") || child.exitCode !== null, { timeout: 30_000 });
  const [, url] = /^listening on (\S+)\n$/.exec(output()) ?? [];
  if (url === undefined) throw new Error(errors());
  const client = await openStore(url);
  await client.setState("s", "k", "v");
  expect(await client.getState("s", "k")).toBe("v");
  await client.close();
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
}

async function saysItWaits(run: CliRun): Promise<void> {
  await vi.waitUntil(() => run.errors().includes("the store is waited for"), { timeout: 15_000 });
  expect(run.output()).toBe("");
  expect(run.child.exitCode).toBeNull();
}

describe("PostgreSQL", () => {
  let server: KillablePostgres;
  beforeAll(async () => {
    server = await KillablePostgres.start();
    return () => server.stop();
  }, 60_000);

  test("that comes late is waited for", { timeout: 60_000 }, async () => {
    const url = server.fresh();
    await server.kill();
    const run = serve(url);
    await saysItWaits(run);
    await server.restart();
    await serves(run);
  });

  test("that comes late is served as the files say by then, if SIGHUP told of them", {
    timeout: 60_000,
  }, async () => {
    const url = server.fresh();
    await server.kill();
    const run = serve(url);
    await saysItWaits(run);
    run.child.kill("SIGHUP");
    run.child.kill("SIGHUP");
    await server.restart();
    await serves(run);
    expect(run.errors().match(/callers and their limits are reloaded/g)).toHaveLength(1);
  });

  test.each<[string, (url: string) => string, RegExp]>([
    ["a wrong password", (url) => url.replace("tester:", "tester:x"), /refused the user or the password/],
    ["a database that is none", (url) => url.replace("/postgres?", "/none?"), /no such database/],
    ["a parameter that is none", (url) => `${url}&bogus=1`, /can't open the store/],
  ])("%s is said at once", async (_, wrong, message) => {
    const run = serve(wrong(server.fresh()));
    expect(await run.ended).toBeGreaterThan(0);
    expect(run.errors()).toMatch(message);
    expect(run.errors()).not.toContain("waited for");
    expect(run.errors()).not.toContain("cret");
  });
});

describe.runIf(HAS_REDIS)("Redis", () => {
  test("that comes late is waited for", { timeout: 60_000 }, async () => {
    const server = await KillableRedis.start();
    onTestFinished(() => server.stop());
    const url = server.fresh();
    await server.kill();
    const run = serve(url);
    await saysItWaits(run);
    await server.restart();
    await serves(run);
  });

  test("with another password is said at once", async () => {
    const server = await KillableRedis.start({ settings: ["--requirepass", "right"] });
    onTestFinished(() => server.stop());
    for (const user of ["", ":wrong@"]) {
      const run = serve(server.fresh().replace("127.0.0.1", `${user}127.0.0.1`));
      expect(await run.ended).toBe(1);
      expect(run.errors()).toMatch(/password/);
      expect(run.errors()).not.toContain("waited for");
    }
  });
});

test("what never comes ends the program when the time is over", async () => {
  // A port at which nobody will listen.
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  taken.close();
  const run = serve(`redis://127.0.0.1:${port}`, "1s");
  expect(await run.ended).toBe(1);
  const lines = run.errors().trimEnd().split("\n");
  expect(lines).toHaveLength(2);
  expect(lines[0]).toContain("the store is waited for, up to 1 s");
  expect(lines[1]).toMatch(/^workflow-state: can't open the store: /);
});

// As the first process of a container it would not hear a signal that it has no handler for.
test("a signal ends a server that waits, in order", async () => {
  const run = serve("postgres://127.0.0.1:1/none");
  await saysItWaits(run);
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
});

// systemd takes an end by SIGHUP for one that was wanted, and leaves the service down.
test("SIGHUP does not end a server that waits", async () => {
  const run = serve("postgres://127.0.0.1:1/none");
  await saysItWaits(run);
  run.child.kill("SIGHUP");
  const ended = await Promise.race([run.ended, new Promise((resolve) => setTimeout(resolve, 300, "waits"))]);
  expect(ended).toBe("waits");
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
});

describe("waiting", () => {
  const opening = (...failures: readonly Error[]) => {
    const left = [...failures];
    return vi.fn(async () => {
      const failure = left.shift();
      if (failure !== undefined) throw failure;
      return "store";
    });
  };

  test("says each failure once", async () => {
    const other = new WorkflowStateError("STORE_UNAVAILABLE", "Starting: try again.");
    const say = vi.fn();
    expect(await openReachable(opening(UNREACHED, UNREACHED, other), 60_000, say)).toBe("store");
    expect(say.mock.calls.map(([message]) => String(message))).toEqual([
      expect.stringMatching(/ up to 60 s: Not there/),
      expect.stringMatching(/: Starting/),
    ]);
  });

  test.each([
    ["what will not pass", lasting(new WorkflowStateError("STORE_UNAVAILABLE", "Wrong password."))],
    ["what is wrong with the URL", new WorkflowStateError("INVALID_REQUEST", "No URL.")],
    ["what nobody foresaw", new Error("broken")],
  ])("is not done for %s", async (_, failure) => {
    const open = opening(failure);
    await expect(openReachable(open, 60_000, () => {})).rejects.toBe(failure);
    expect(open).toHaveBeenCalledTimes(1);
  });

  test("of no time is one attempt", async () => {
    const open = opening(UNREACHED);
    await expect(openReachable(open, 0, () => {})).rejects.toBe(UNREACHED);
  });
});
