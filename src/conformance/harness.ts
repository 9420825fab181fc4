/**
 * What a conformance case is, what a runner gives it, and the few assertions that the cases are written in.
 * No test runner and nothing of Node: the cases run wherever a store does.
 */
import { type ErrorReason, WorkflowStateError } from "../errors.ts";
import type { Limits, WorkflowStateStore } from "../store.ts";

/** The clock that the store under test goes by. */
export interface ConformanceClock {
  /** The store's time in milliseconds since 1970-01-01T00:00:00Z. */
  now(): number;
  /** Lets at least `ms` milliseconds pass: moves an injected clock by just that, or waits. No case asks for more than 100 at once. */
  advance(ms: number): Promise<void>;
}

/** What a runner gives to a case. */
export interface ConformanceHarness {
  /** Opens a store, or a namespace of one, that holds no sessions. The case closes it. */
  open(): Promise<WorkflowStateStore>;
  /** The clock that the store goes by. */
  readonly clock: ConformanceClock;
  /** How many revisions of a session the store is configured to keep; 4 or more. Small ones make the suite fast. */
  readonly history: number;
  /** The limits that the store is configured with. Small ones make the suite fast; 128 or more of changes, entries and nodes. */
  readonly limits: Limits;
  /** The bytes that a value of so many counts for in `limits.sessionBytes`; absent: just as many. Encrypted, it counts for more. */
  readonly storedBytes?: ((valueBytes: number) => number) | undefined;
}

/** One obligation of a store. It fails by throwing. */
export interface ConformanceCase {
  /** What a store must do, as a sentence; unique in the suite. */
  readonly name: string;
  /** Tries it on a fresh store. */
  run(harness: ConformanceHarness): Promise<void>;
}

/** What a case throws when the store did something else than it must. */
export class ConformanceFailure extends Error {
  override readonly name = "ConformanceFailure";
}

/** Makes a case that runs on a fresh store and closes it. */
export function storeCase(
  name: string,
  run: (store: WorkflowStateStore, harness: ConformanceHarness) => Promise<void>,
): ConformanceCase {
  return {
    name,
    async run(harness) {
      const store = await harness.open();
      try {
        await run(store, harness);
      } finally {
        await store.close();
      }
    },
  };
}

let ids = 0;

/** An id that no other case uses, so that cases may share a store. */
export function newId(prefix = "session"): string {
  ids += 1;
  return `${prefix}-${Math.random().toString(36).slice(2, 12)}-${ids}`;
}

/** Fails unless the condition holds. `what` says what must be. */
export function expectTrue(condition: boolean, what: string): asserts condition {
  if (!condition) {
    throw new ConformanceFailure(`must hold: ${what}`);
  }
}

/**
 * Fails unless two values are the same: as JSON, dates by their time, -0 apart from 0, an own `__proto__` like any member, a
 * member that is `undefined` like one that is absent.
 */
export function expectEqual(actual: unknown, expected: unknown, what: string): void {
  const path = difference(actual, expected, "");
  if (path !== undefined) {
    throw new ConformanceFailure(`${what}${path}: expected ${show(expected)}, got ${show(actual)}`);
  }
}

/** Fails unless the value is there; returns it. */
export function expectDefined<T>(value: T | undefined, what: string): T {
  if (value === undefined) {
    throw new ConformanceFailure(`must be there: ${what}`);
  }
  return value;
}

/** Fails unless the promise rejects with the store's error of that reason; returns the error. */
export async function expectReason(
  promise: Promise<unknown>,
  reason: ErrorReason,
): Promise<WorkflowStateError> {
  let answer: unknown;
  try {
    answer = await promise;
  } catch (error) {
    if (WorkflowStateError.is(error, reason)) {
      return error;
    }
    const got = WorkflowStateError.is(error) ? error.reason : String(error);
    throw new ConformanceFailure(`must fail with ${reason}, failed with ${got}`, { cause: error });
  }
  throw new ConformanceFailure(`must fail with ${reason}, answered ${show(answer)}`);
}

/** Fails unless the promise rejects with just this object. */
export async function expectThrown(promise: Promise<unknown>, thrown: unknown, what: string): Promise<void> {
  let answer: unknown;
  try {
    answer = await promise;
  } catch (error) {
    if (error === thrown) {
      return;
    }
    throw new ConformanceFailure(`${what}: must throw what was given, threw ${String(error)}`, {
      cause: error,
    });
  }
  throw new ConformanceFailure(`${what}: must throw, answered ${show(answer)}`);
}

/** Where two values differ first, as a path; undefined where they are the same. */
function difference(a: unknown, b: unknown, path: string): string | undefined {
  if (Object.is(a, b)) {
    return undefined;
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return path;
  }
  if (a instanceof Date || b instanceof Date) {
    return a instanceof Date && b instanceof Date && a.getTime() === b.getTime() ? undefined : path;
  }
  if (
    Array.isArray(a) !== Array.isArray(b) ||
    (Array.isArray(a) && Array.isArray(b) && a.length !== b.length)
  ) {
    return path;
  }
  const left = new Map(Object.entries(a).filter(([, value]) => value !== undefined));
  const right = new Map(Object.entries(b).filter(([, value]) => value !== undefined));
  for (const [name, value] of left) {
    const inner = `${path}.${name}`;
    if (!right.has(name)) {
      return inner;
    }
    const found = difference(value, right.get(name), inner);
    if (found !== undefined) {
      return found;
    }
  }
  return left.size === right.size
    ? undefined
    : `${path}.${[...right.keys()].find((name) => !left.has(name))}`;
}

/** A value as text for a failure's message, cut short. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}
