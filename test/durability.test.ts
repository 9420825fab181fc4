/** Crashes under load: what was acknowledged stays, what was asked once is done once, whoever is killed. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type OpenOptions, openStore } from "../src/open.ts";
import type { WorkflowStateStore } from "../src/store.ts";
import { recordResult } from "./support/durability-results.ts";
import {
  CLUSTERS,
  LENGTH,
  nameSkipped,
  type RunningStore,
  SERVERS,
  STORES,
} from "./support/durable-stores.ts";
import { Follower } from "./support/follower.ts";
import { HAS_REDIS } from "./support/has-redis.ts";
import { KillablePostgres } from "./support/killable-postgres.ts";
import { KillableRedis } from "./support/killable-redis.ts";
import { Load, type LoadOptions, type LoadReport } from "./support/load.ts";
import { sleep } from "./support/network.ts";
import { Random, seedOfRun } from "./support/random.ts";
import { ServiceProcess } from "./support/service-process.ts";
import { TcpProxy } from "./support/tcp-proxy.ts";
import { until } from "./support/until.ts";

const CLIENTS = 8;
/** How long a client waits for a call, with the attempts that it makes by itself. */
const DEADLINE_MS = 5_000;
const SESSIONS = ["one", "two"];

nameSkipped("Durability");

/** What is done to a service or to its database while it is under load. */
type Disturb = (service: ServiceProcess, random: Random, load: Load) => Promise<void>;

/** Runs a load through a service while something is done to it or to its database, and judges it. */
async function underLoad(
  store: string,
  seed: number,
  disturb: Disturb,
  options: Partial<LoadOptions> = {},
): Promise<LoadReport> {
  const service = await ServiceProcess.start(store);
  onTestFinished(() => service.stop());
  const load = new Load(await clientsOf(service.url), {
    seed,
    clients: CLIENTS,
    sessions: SESSIONS,
    ...options,
  });
  onTestFinished(() => load.abandon());
  const watching = await openStore(service.url);
  onTestFinished(() => watching.close());
  const followers = SESSIONS.map((session) => new Follower(watching, session));
  load.start();
  await disturb(service, new Random(seed), load);
  const report = await load.stop();
  const watched = await Promise.all(
    SESSIONS.map(async (session, i) => {
      const { revision = 0 } = (await watching.getSession(session, { keyPrefix: "none" })) ?? {};
      const follower = followers[i] as Follower;
      const late = await follower.reached(revision).catch((error: unknown) => [String(error)]);
      return [...(late ?? []), ...(await follower.stop(revision))];
    }),
  );
  return { ...report, problems: [...report.problems, ...watched.flat()] };
}

/** Stores of as many clients, each with a connection of its own. */
async function clientsOf(url: string, options: OpenOptions = {}): Promise<WorkflowStateStore[]> {
  const opening = Array.from({ length: CLIENTS }, () =>
    openStore(url, { timeoutMs: DEADLINE_MS, ...options }),
  );
  const stores = await Promise.all(opening);
  onTestFinished(async () => {
    await Promise.all(stores.map((store) => store.close()));
  });
  return stores;
}

/** Says what was done, for whoever wants to do it again. */
function say(what: string, seed: number, { acknowledged, retried, unknown, slowestMs }: LoadReport): void {
  console.log(
    `${what}: ${acknowledged} acknowledged writes, ${retried} calls made again, ${unknown} writes given up with an unknown outcome, the slowest call took ${Math.round(slowestMs)} ms; WORKFLOW_STATE_TEST_SEED=${seed}`,
  );
}

describe.each(STORES)("$name", ({ name, start }) => {
  let running: RunningStore;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running.stop());

  test("kill -9 of the service loses no acknowledged write and does none twice", {
    timeout: 180_000 * LENGTH,
  }, async () => {
    const kills = 8 * LENGTH;
    const seed = seedOfRun();
    const report = await underLoad(running.fresh(), seed, async (service, random, load) => {
      for (let i = 0; i < kills; i++) {
        await sleep(random.between(0, 700));
        await service.kill();
        await service.restart();
        await load.progress(10, 8_000);
      }
    });
    say(`${name}: service killed ${kills} times`, seed, report);
    const { acknowledged, lost, doubled } = report;
    recordResult({ store: name, check: "service killed", times: kills, acknowledged, lost, doubled });
    expect(report.problems).toEqual([]);
    expect(report.slowestMs).toBeLessThan(DEADLINE_MS + 1_000);
    expect(report.acknowledged).toBeGreaterThanOrEqual(kills * 10);
  });

  test("a service that is killed while it starts leaves a store that works", {
    timeout: 180_000 * LENGTH,
  }, async () => {
    const random = new Random(seedOfRun());
    for (let i = 0; i < 4 * LENGTH; i++) {
      const store = running.fresh();
      // When it has begun to make the store, and then at any time until it has.
      const begun = until(async () => (await running.isBegun(store)) || undefined);
      const killed = begun.then(() => sleep(random.between(0, 30)));
      await ServiceProcess.start(store, killed).catch(() => undefined);
      await killed;
      const report = await underLoad(store, 1, async (_service, _random, load) => {
        await load.progress(20, 8_000);
      });
      expect(report.problems).toEqual([]);
    }
  });
});

describe.each(SERVERS)("$name's server", ({ name, start }) => {
  let running: RunningStore;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running.stop());

  test("killed by kill -9 loses no acknowledged write and does none twice; the service recovers by itself", {
    timeout: 180_000 * LENGTH,
  }, async () => {
    const kills = 5 * LENGTH;
    const seed = seedOfRun();
    const report = await underLoad(running.fresh(), seed, async (service, random, load) => {
      const { pid } = service;
      for (let i = 0; i < kills; i++) {
        await sleep(random.between(0, 1_000));
        await running.server?.kill();
        await sleep(random.between(0, 300));
        await running.server?.restart();
        await load.progress(20, 8_000);
      }
      expect(service).toMatchObject({ runs: true, pid });
    });
    say(`${name} killed ${kills} times`, seed, report);
    const { acknowledged, lost, doubled } = report;
    recordResult({ store: name, check: "database killed", times: kills, acknowledged, lost, doubled });
    expect(report.problems).toEqual([]);
    expect(report.slowestMs).toBeLessThan(DEADLINE_MS + 1_000);
    expect(report.acknowledged).toBeGreaterThanOrEqual(kills * 10);
  });
});

describe.each(CLUSTERS)("$name's primaries", ({ name, start }) => {
  let running: RunningStore;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running.stop());

  test("killed by kill -9 lose no write that a replica has acknowledged, and none is done twice; the service goes on", {
    timeout: 180_000 * LENGTH,
  }, async () => {
    const kills = 3 * LENGTH;
    const seed = seedOfRun();
    const disturb: Disturb = async (service, random, load) => {
      const { pid } = service;
      for (let i = 0; i < kills; i++) {
        await sleep(random.between(0, 500));
        await running.failOver?.(i);
        await load.progress(20, 8_000);
      }
      expect(service).toMatchObject({ runs: true, pid });
    };
    const report = await underLoad(running.fresh(), seed, disturb, { judgeReads: false });
    say(`${name}: primaries killed ${kills} times`, seed, report);
    const { acknowledged, lost, doubled } = report;
    recordResult({ store: name, check: "primary killed", times: kills, acknowledged, lost, doubled });
    expect(report.problems).toEqual([]);
    expect(report.slowestMs).toBeLessThan(DEADLINE_MS + 1_000);
    expect(report.acknowledged).toBeGreaterThanOrEqual(kills * 10);
  });
});

describe("these checks find", () => {
  test("what a store in memory loses by kill -9", { timeout: 30_000 }, async () => {
    const report = await underLoad("memory:", 1, async (service, _random, load) => {
      await load.progress(100, 8_000);
      await service.kill();
      await service.restart();
      await load.progress(20, 8_000);
    });
    expect(report.lost).toBeGreaterThan(10);
    expect(report.problems.join("\n")).toMatch(/acknowledged increments are lost/);
    expect(report.problems.join("\n")).toMatch(/register\/\d, of \d+ calls: not/);
  });

  test("what a PostgreSQL loses that acknowledges commits before they are in its log", {
    timeout: 30_000,
  }, async () => {
    const settings = { synchronous_commit: "off", wal_writer_delay: "5s", wal_writer_flush_after: "1GB" };
    const server = await KillablePostgres.start({ settings });
    onTestFinished(() => server.stop());
    const report = await underLoad(server.fresh(), 1, async (_service, _random, load) => {
      // The tables, and the first writes.
      await server.checkpoint();
      await load.progress(50, 8_000);
      await server.kill();
      await server.restart();
    });
    expect(report.lost).toBeGreaterThan(10);
    expect(report.problems.join("\n")).toMatch(/acknowledged increments are lost/);
  });

  test.runIf(HAS_REDIS)("what a Redis loses that has no log", { timeout: 30_000 }, async () => {
    const server = await KillableRedis.start({ settings: ["--appendonly", "no"] });
    onTestFinished(() => server.stop());
    const report = await underLoad(server.fresh(), 1, async (_service, _random, load) => {
      await load.progress(50, 8_000);
      await server.kill();
      await server.restart();
    });
    expect(report.lost).toBeGreaterThan(10);
    expect(report.problems.join("\n")).toMatch(/acknowledged increments are lost/);
  });

  test("what clients do twice that forget their request ids when they try again", {
    timeout: 30_000,
  }, async () => {
    const service = await ServiceProcess.start("memory:");
    onTestFinished(() => service.stop());
    const proxy = await TcpProxy.start(Number(new URL(service.url).port));
    onTestFinished(() => proxy.refuse());
    const stores = await clientsOf(proxy.url, { retry: { attempts: 1 } });
    const options = { seed: 1, clients: CLIENTS, sessions: SESSIONS };
    for (const sameRequestId of [true, false]) {
      const sessions = SESSIONS.map((session) => `${session} ${sameRequestId}`);
      const load = new Load(stores, { ...options, sessions, sameRequestId });
      onTestFinished(() => load.abandon());
      load.start();
      for (let i = 0; i < 60; i++) {
        proxy.breakNext("before the reply");
        await sleep(15);
      }
      await proxy.accept();
      const { problems, retried } = await load.stop();
      expect(retried).toBeGreaterThan(10);
      if (sameRequestId) expect(problems).toEqual([]);
      else expect(problems.join("\n")).toMatch(/increments counted twice/);
    }
  });
});
