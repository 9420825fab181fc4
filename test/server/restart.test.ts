/** Servers that stop, start again and end connections while clients write and watch: nothing is lost, doubled or told as an error. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../src/open.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { ServiceProcess } from "../support/service-process.ts";

const CLIENTS = 8;
const OFFICIAL = 2;

/** What one client did. */
interface Client {
  readonly session: string;
  /** Writes that were acknowledged. */
  acknowledged: number;
  /** Revisions that its watch saw. */
  readonly seen: number[];
  readonly done: Promise<unknown>;
}

async function service(...args: readonly string[]): Promise<ServiceProcess> {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-restart-"));
  const made = await ServiceProcess.start(`sqlite:${join(folder, "state.db")}`, undefined, args);
  onTestFinished(async () => {
    await made.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return made;
}

/** Ours: increments one after the other, and follows its session all the while. */
async function ours(url: string, session: string, stopping: AbortSignal): Promise<Client> {
  // A restart takes longer than the five attempts that clients make unless told.
  const store = await openStore(url, { retry: { attempts: 100, maxMs: 200 } });
  onTestFinished(() => store.close());
  const client = { session, acknowledged: 0, seen: [] as number[], last: Number.POSITIVE_INFINITY };
  const watched = follow(store, client);
  const written = (async () => {
    while (client.acknowledged < client.last) {
      // The watch is told which is the last one before it can see it.
      if (stopping.aborted) client.last = client.acknowledged + 1;
      await store.commit(session, { changes: [{ kind: "increment", key: "n", delta: 1 }] });
      client.acknowledged++;
    }
  })();
  return Object.assign(client, { done: Promise.all([watched, written]) });
}

async function follow(
  store: WorkflowStateStore,
  client: { readonly session: string; readonly seen: number[]; readonly last: number },
): Promise<void> {
  for await (const message of store.watchSession(client.session, { afterRevision: 0 })) {
    if (message.kind === "event") client.seen.push(message.event.revision);
    if (client.seen.length >= client.last) return;
  }
}

type AnyClient = Record<string, (...args: unknown[]) => unknown> & { close(): void };

/** The official client, which tries again what it is told is UNAVAILABLE, under the same request id. */
function official(
  url: string,
  session: string,
  stopping: AbortSignal,
): Client & { readonly failures: number } {
  const definition = loadSync("agenterra/state/v1/service.proto", {
    includeDirs: [join(import.meta.dirname, "../../proto")],
    keepCase: true,
  });
  const path = ["agenterra", "state", "v1", "WorkflowStateService"];
  const Service = path.reduce<unknown>(
    (at, name) => (at as GrpcObject)[name],
    loadPackageDefinition(definition),
  ) as new (
    address: string,
    how: unknown,
    options: object,
  ) => AnyClient;
  const grpc = new Service(new URL(url).host, credentials.createInsecure(), {
    "grpc.max_reconnect_backoff_ms": 200,
    "grpc.initial_reconnect_backoff_ms": 50,
  });
  onTestFinished(() => grpc.close());
  const increment = (requestId: string): Promise<ServiceError | null> => {
    const changes = [{ increment: { key: "n", delta: 1 } }];
    return new Promise((resolve) => {
      grpc["Commit"]?.({ session_id: session, changes, request_id: requestId }, resolve);
    });
  };
  const client = { session, acknowledged: 0, failures: 0, seen: [] };
  const done = (async () => {
    while (!stopping.aborted) {
      const requestId = randomUUID();
      for (let error = await increment(requestId); error !== null; error = await increment(requestId)) {
        if (error.code !== status.UNAVAILABLE) throw error;
        client.failures++;
        await pause(20);
      }
      client.acknowledged++;
    }
  })();
  return Object.assign(client, { done });
}

/** Holds what the clients were told to what is there. */
async function check(url: string, clients: readonly Client[]): Promise<void> {
  const store = await openStore(url);
  for (const { session, acknowledged, seen } of clients) {
    expect(acknowledged).toBeGreaterThan(10);
    expect(await store.getState(session, "n")).toBe(acknowledged);
    if (session.startsWith("ours"))
      expect(seen).toEqual(Array.from({ length: acknowledged }, (_, i) => i + 1));
  }
  await store.close();
}

describe("under load", () => {
  test("SIGTERM and a restart on the same port lose and double nothing, and no client of ours sees an error", {
    timeout: 120_000,
  }, async () => {
    const running = await service("--drain-timeout", "10s");
    const stop = new AbortController();
    const clients: Client[] = [];
    for (let i = 0; i < CLIENTS; i++) clients.push(await ours(running.url, `ours-${i}`, stop.signal));
    for (let i = 0; i < OFFICIAL; i++) clients.push(official(running.url, `official-${i}`, stop.signal));
    const all = Promise.all(clients.map(({ done }) => done));
    const restarts = (async () => {
      for (let i = 0; i < 3; i++) {
        await pause(1_000);
        await running.terminate();
        await running.restart();
      }
      await pause(500);
      stop.abort();
    })();
    await Promise.all([all, restarts]);
    await check(running.url, clients);
    expect(running.errors).not.toContain('"level":50');
  });

  test("connections that get old all the time lose and double nothing, and no client sees an error", {
    timeout: 60_000,
  }, async () => {
    const running = await service("--max-connection-age", "300ms", "--max-connection-age-grace", "100ms");
    const stop = new AbortController();
    const clients: Client[] = [];
    for (let i = 0; i < CLIENTS; i++) clients.push(await ours(running.url, `ours-${i}`, stop.signal));
    const others = Array.from({ length: OFFICIAL }, (_, i) =>
      official(running.url, `official-${i}`, stop.signal),
    );
    clients.push(...others);
    setTimeout(() => stop.abort(), 4_000);
    await Promise.all(clients.map(({ done }) => done));
    await check(running.url, clients);
    expect(others.map(({ failures }) => failures)).toEqual(others.map(() => 0));
  });
});
