/** Backends in Redis as their tests use them. */
import { onTestFinished } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type {
  Applied,
  Backend,
  BackendOptions,
  Look,
  LookStep,
  MetadataWrite,
  PlanStep,
  SessionKey,
  Step,
  StepResult,
  Write,
} from "../../src/stores/backend.ts";
import { openRedis, type RedisOptions } from "../../src/stores/redis.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";

/** Opens a backend that the test's end closes. */
export async function open(
  url: string,
  options: Partial<BackendOptions & RedisOptions> = {},
): Promise<Backend> {
  const backend = await openRedis(url, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION, ...options });
  onTestFinished(() => backend.close());
  return backend;
}

/** A session in the default namespace. */
export function sessionKey(sessionId: string, namespace = ""): SessionKey {
  return { namespace, sessionId };
}

/** Bytes of text, as a value. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A plan that writes keys; `undefined` removes one. */
export function plan(
  sessionId: string,
  values: Readonly<Record<string, string | undefined>>,
  more: Partial<PlanStep> = {},
): PlanStep {
  const writes: Write[] = Object.entries(values).map(([key, text]) => ({
    key,
    value: text === undefined ? undefined : bytes(text),
  }));
  return { kind: "plan", session: sessionKey(sessionId), event: "COMMITTED", writes, ...more };
}

/** A plan that ends a session. */
export function end(sessionId: string): PlanStep {
  return plan(sessionId, {}, { event: "DELETED", metadata: "end" });
}

/** The request of a plan. */
export function request(id: string, fingerprint = "f"): NonNullable<PlanStep["request"]> {
  return { id, fingerprint: fingerprint.padEnd(24, "_"), kept: bytes(`kept of ${id}`) };
}

/** Runs one step; an error is thrown. */
export async function run(backend: Backend, step: PlanStep): Promise<Applied>;
export async function run(backend: Backend, step: LookStep): Promise<Look>;
export async function run(backend: Backend, step: Step): Promise<Exclude<StepResult, { kind: "error" }>> {
  const [result] = await backend.run([step]);
  if (result === undefined) throw new Error("the step has no result");
  if (result.kind === "error") throw result.error;
  return result;
}

/** All live entries of a session as text by key. */
export async function stateOf(
  backend: Backend,
  sessionId: string,
  atRevision?: number,
): Promise<Record<string, string>> {
  const look = await run(backend, {
    kind: "look",
    session: sessionKey(sessionId),
    entries: { prefix: "" },
    atRevision,
  });
  return Object.fromEntries(look.entries.map(({ key, value }) => [key, new TextDecoder().decode(value)]));
}

/** Metadata that says nothing. */
export const NO_METADATA: MetadataWrite = {
  createTime: undefined,
  workflowId: undefined,
  userId: undefined,
  labels: {},
  forkedFrom: undefined,
  expireTime: undefined,
  idleTtlMs: undefined,
};

/** Sweeps until there is no more to do. */
export async function sweepAll(backend: Backend): Promise<void> {
  while ((await backend.sweep()).more);
}
