/** gRPC's health protocol by the official client, and the same by plain HTTP. */
import { join } from "node:path";
import {
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { expect, onTestFinished, test, vi } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import { openEncodedStore } from "../../src/open.ts";
import { startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { serving } from "../support/serving.ts";
import { stubStore } from "../support/stub-store.ts";

const OURS = "agenterra.state.v1.WorkflowStateService";
const definition = loadSync("grpc/health/v1/health.proto", {
  includeDirs: [join(import.meta.dirname, "../../proto")],
  enums: String,
  defaults: true,
});

interface Answer {
  readonly status?: string;
  readonly statuses?: Readonly<Record<string, { readonly status: string }>>;
}

interface HealthClient {
  check(request: object, done: (error: ServiceError | null, answer: Answer) => void): void;
  list(request: object, done: (error: ServiceError | null, answer: Answer) => void): void;
  watch(request: object): ClientReadableStream<Answer>;
  close(): void;
}

function clientOf({ port }: { readonly port: number }): {
  check(service: string): Promise<Answer>;
  list(): Promise<Answer>;
  watch(service: string): ClientReadableStream<Answer>;
} {
  type Made = new (address: string, how: unknown) => HealthClient;
  const loaded = loadPackageDefinition(definition) as unknown as {
    grpc: { health: { v1: { Health: Made } } };
  };
  const client = new loaded.grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  const call = (name: "check" | "list", request: object): Promise<Answer> =>
    new Promise((resolve, reject) => {
      client[name](request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
    });
  return {
    check: (service) => call("check", { service }),
    list: () => call("list", {}),
    watch(service) {
      const stream = client.watch({ service });
      stream.on("error", () => {});
      onTestFinished(() => stream.cancel());
      return stream;
    },
  };
}

test("a server that answers is serving, as a whole and by its service's name", async () => {
  const health = clientOf(await serving());

  await vi.waitFor(async () => expect(await health.check("")).toEqual({ status: "SERVING" }), 20_000);
  expect(await health.check(OURS)).toEqual({ status: "SERVING" });
  expect(await health.list()).toEqual({
    statuses: { "": { status: "SERVING" }, [OURS]: { status: "SERVING" } },
  });
});

test("a service that is unknown is not found, and a watch of it says so and waits", async () => {
  const health = clientOf(await serving());

  await expect(health.check("other.Service")).rejects.toMatchObject({ code: status.NOT_FOUND });
  const told: unknown[] = [];
  health.watch("other.Service").on("data", (answer) => told.push(answer));
  await vi.waitFor(() => expect(told).toEqual([{ status: "SERVICE_UNKNOWN" }]), 20_000);
});

test("a server whose store can't be reached is not ready until it can again", async () => {
  const memory = memoryStore();
  const behind = await startServer({ store: memory, listen: { port: 0 } });
  const store = await openEncodedStore(behind.url, { retry: { attempts: 1 } });
  const front = await serving({ store });
  const health = clientOf(front);
  const told: unknown[] = [];
  health.watch(OURS).on("data", ({ status: now }: Answer) => told.push(now));
  await vi.waitFor(() => expect(told.at(-1)).toBe("SERVING"), 20_000);
  expect((await fetch(`${front.url}/readyz`)).status).toBe(200);

  await behind.close({ now: true });
  await vi.waitFor(() => expect(told.at(-1)).toBe("NOT_SERVING"), 10_000);
  expect(await health.check("")).toEqual({ status: "NOT_SERVING" });
  expect((await fetch(`${front.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${front.url}/healthz`)).status).toBe(200);

  const again = await startServer({ store: memory, listen: { port: behind.port } });
  onTestFinished(() => again.close({ now: true }));
  await vi.waitFor(() => expect(told.at(-1)).toBe("SERVING"), 10_000);
});

test("a store that refuses what it is asked has been reached", async () => {
  const getState = async (): Promise<never> => {
    throw new WorkflowStateError("VALUE_UNREADABLE", "The value is under a key that is not known here.");
  };
  const { url } = await serving({ store: stubStore({ getState }) });
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200), 20_000);
});

test("a server that stops says so to those who watch, and their watches don't hold it up", async () => {
  const server = await serving();
  const told: unknown[] = [];
  const stream = clientOf(server).watch("");
  const ended = new Promise<ServiceError>((resolve) => stream.on("error", resolve));
  stream.on("data", ({ status: now }: Answer) => told.push(now));
  await vi.waitFor(() => expect(told.at(-1)).toBe("SERVING"), 20_000);

  const began = performance.now();
  await server.close();
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(await ended).toMatchObject({ code: status.UNAVAILABLE });
  expect(told).toEqual(expect.arrayContaining(["SERVING", "NOT_SERVING"]));
});

test("other paths and other methods are no probes", async () => {
  const { url } = await serving();
  expect((await fetch(`${url}/health`)).status).toBe(404);
  expect((await fetch(`${url}/healthz`, { method: "POST" })).status).toBe(404);
});
