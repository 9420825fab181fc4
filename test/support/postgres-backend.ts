/** Backends over PostgreSQL, and short ways to write and read through them. */
import { onTestFinished } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type {
  Applied,
  Backend,
  BackendOptions,
  FeedChange,
  Look,
  LookStep,
  PlanStep,
  SessionKey,
  Step,
  StepResult,
  StoredRecord,
} from "../../src/stores/backend.ts";
import { openPostgres, type PostgresOptions } from "../../src/stores/postgres.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { debianPostgres, type SharedPostgres, sharedPostgres } from "./postgres.ts";
import { DEBIAN_BIN } from "./postgres-server.ts";

/** The servers that the backend's own tests run on. */
export const POSTGRES: readonly { readonly name: string; share(): Promise<SharedPostgres> }[] = [
  { name: "PostgreSQL", share: sharedPostgres },
  ...(DEBIAN_BIN === undefined ? [] : [{ name: "Debian's PostgreSQL", share: debianPostgres }]),
];

/** Opens a backend, which the test's end closes. */
export async function openBackendAt(
  url: string,
  options: Partial<BackendOptions & PostgresOptions> = {},
): Promise<Backend> {
  const backend = await openPostgres(url, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION, ...options });
  onTestFinished(() => backend.close());
  return backend;
}

/** The bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A session of the namespace "n". */
export function sessionOf(sessionId: string): SessionKey {
  return { namespace: "n", sessionId };
}

/** A plan that sets one key. */
export function setting(
  sessionId: string,
  key: string,
  value: string,
  more: Partial<PlanStep> = {},
): PlanStep {
  const writes = [{ key, value: bytesOf(value) }];
  return { kind: "plan", session: sessionOf(sessionId), event: "COMMITTED", writes, ...more };
}

/** A plan that ends a session. */
export function ending(sessionId: string): PlanStep {
  return { kind: "plan", session: sessionOf(sessionId), event: "DELETED", writes: [], metadata: "end" };
}

/** A look at all entries of a session. */
export function looking(sessionId: string, more: Partial<LookStep> = {}): LookStep {
  return { kind: "look", session: sessionOf(sessionId), entries: { prefix: "" }, ...more };
}

/** Runs one step. Throws the step's error. */
export async function run(backend: Backend, step: LookStep): Promise<Look>;
export async function run(backend: Backend, step: PlanStep): Promise<Applied>;
export async function run(backend: Backend, step: Step): Promise<StepResult> {
  const [result] = await backend.run([step]);
  if (result === undefined) throw new Error("a step has no result");
  if (result.kind === "error") throw result.error;
  return result;
}

/** The state of a session as text. */
export async function stateOf(backend: Backend, sessionId: string): Promise<Record<string, string>> {
  const { entries } = await run(backend, looking(sessionId));
  return Object.fromEntries(entries.map(({ key, value }) => [key, new TextDecoder().decode(value)]));
}

/** All records of a dump. */
export async function dumped(backend: Backend, session: SessionKey): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for await (const record of backend.dump(session)) records.push(record);
  return records;
}

/** All changes after a cursor, and where they end. */
export async function changesAfter(
  backend: Backend,
  cursor: string,
  count = 1_000,
): Promise<{ readonly changes: FeedChange[]; readonly cursor: string; readonly lost: boolean }> {
  const changes: FeedChange[] = [];
  let at = cursor;
  let lost = false;
  for (;;) {
    const part = await backend.feed(at, count);
    changes.push(...part.changes);
    at = part.cursor;
    lost ||= part.lost;
    if (!part.more) return { changes, cursor: at, lost };
  }
}

/** Waits until something holds. */
export async function until(holds: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  for (const deadline = performance.now() + ms; !(await holds()); ) {
    if (performance.now() > deadline) throw new Error("it did not come about in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
