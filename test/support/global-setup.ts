/**
 * What all test files of a run share: servers that are started when the first test asks for them, and ended with the run. A test
 * asks by `service` (services.ts), over loopback, as test files run in processes of their own.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";
import { HAS_REDIS } from "./has-redis.ts";
import { KillableCluster } from "./killable-cluster.ts";
import { KillableRedis } from "./killable-redis.ts";
import { DEBIAN_BIN, PostgresServer } from "./postgres-server.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Where to ask for servers. */
    readonly services: string;
  }
}

/** A server that runs. */
interface Running {
  /** What tests are told of it. */
  readonly answer: unknown;
  stop(): Promise<void>;
}

/** What there is to ask for; a server that can't run here gives `undefined`. */
const SERVICES: Readonly<Record<string, () => Promise<Running | undefined>>> = {
  postgres: () => postgres(undefined),
  "postgres-debian": async () => (DEBIAN_BIN === undefined ? undefined : postgres(DEBIAN_BIN)),
  redis: async () => (HAS_REDIS ? redis(await KillableRedis.start()) : undefined),
  "redis-cluster": async () => (HAS_REDIS ? redis(await KillableCluster.start()) : undefined),
};

async function postgres(bin: string | undefined): Promise<Running> {
  const server = await PostgresServer.start({ bin, forgetful: true });
  return { answer: { port: server.port }, stop: () => server.stop() };
}

function redis(server: KillableRedis | KillableCluster): Running {
  const [url] = server.fresh().split("?");
  return { answer: url, stop: () => server.stop() };
}

/** Called by vitest, once before all test files. Gives what it calls after them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const started = new Map<string, Promise<Running | undefined>>();
  const server = createServer((request, response) => {
    const name = request.url?.slice(1) ?? "";
    const running = started.get(name) ?? (SERVICES[name] ?? (async () => undefined))();
    started.set(name, running);
    running.then(
      (found) => response.end(JSON.stringify(found?.answer ?? null)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  project.provide("services", `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return async () => {
    server.close();
    server.closeAllConnections();
    const running = await Promise.allSettled(started.values());
    await Promise.all(running.map((each) => (each.status === "fulfilled" ? each.value?.stop() : undefined)));
  };
}
