import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { Model } from "./support/model.ts";
import type { ModelWrite, Outcome } from "./support/model-types.ts";
import { ALL_IDS, type Guess, type GuessedWrite, type Revisions, resolved, write } from "./support/steps.ts";
import { STORE_KINDS, TestClock } from "./support/stores.ts";
import { eventOf, runWrite, sessionOf } from "./support/under-test.ts";
import { openRemote, serve, WIRES } from "./support/wires.ts";

/** More than any run makes: the events are the order that the store claims, so all are needed. */
const HISTORY = 10_000;

/** A write of one of the clients, and when in the lives of the sessions it ran. */
interface Done {
  readonly write: ModelWrite;
  readonly outcome: Outcome;
  /** The last revision of the session that was made before it began, and before it had ended. */
  readonly from: number;
  readonly to: number;
}

/** A write that looks at what is there first, as a client would. */
interface Plan {
  readonly write: GuessedWrite;
  readonly ifRevision: Guess | undefined;
  /** Sent twice at once, as a retry that overtakes may be. */
  readonly twice: boolean;
}

const plan: fc.Arbitrary<Plan> = fc.record({
  write: write.map(withoutExpiry),
  ifRevision: fc.constantFrom<(Guess | undefined)[]>(undefined, undefined, undefined, "current", "zero"),
  twice: fc.constantFrom(false, false, false, true),
});

const clients = fc.array(fc.array(plan, { minLength: 2, maxLength: 12, size: "max" }), {
  minLength: 2,
  maxLength: 5,
  size: "max",
});

/** Time stands still in these runs. A fork reads a revision that is named, so that its place does not matter. */
function withoutExpiry(write: GuessedWrite): GuessedWrite {
  switch (write.kind) {
    case "set":
      return { ...write, ttlMs: undefined };
    case "save":
      return { ...write, ttlMs: undefined, idleTtlMs: undefined };
    case "commit": {
      const { guesses, metadata, changes, ...rest } = write;
      return {
        ...rest,
        guesses: guesses.map(({ key }) => ({ key, guess: "current" })),
        metadata: metadata && { ...metadata, ttlMs: undefined, idleTtlMs: undefined },
        changes: changes.map((change) => (change.kind === "set" ? { ...change, ttlMs: undefined } : change)),
      };
    }
    case "fork":
      return { ...write, at: "current" };
    case "restore":
      return { ...write, at: "one less" };
    default:
      return write;
  }
}

/** What a client has read of a session. */
async function look(store: WorkflowStateStore, backing: WorkflowStateStore, id: string): Promise<Revisions> {
  const session = await store.getSession(id);
  const { entries } = await store.listState(id);
  const last = await lastRevision(backing, id);
  return {
    revision: () => session?.revision ?? 0,
    lastRevision: () => last,
    entryRevision: (_, key) => entries.find((entry) => entry.key === key)?.revision ?? 0,
  };
}

async function lastRevision(backing: WorkflowStateStore, sessionId: string): Promise<number> {
  const { events } = await backing.listEvents(sessionId, { reverse: true, pageSize: 1 });
  return events[0]?.revision ?? 0;
}

/**
 * Runs the plans of a client one after the other; `turn` is waited for before each call.
 * @param backing the store behind the one that the client has
 */
async function runClient(
  store: WorkflowStateStore,
  backing: WorkflowStateStore,
  name: string,
  plans: readonly Plan[],
  turn: () => Promise<unknown>,
): Promise<Done[]> {
  const done: Done[] = [];
  const run = async (write: ModelWrite): Promise<void> => {
    await turn();
    const target = targetOf(write);
    const from = await lastRevision(backing, target);
    const outcome = await runWrite(store, write);
    done.push({ write, outcome, from, to: await lastRevision(backing, target) });
  };
  for (const [i, { write: guessed, ifRevision, twice }] of plans.entries()) {
    await turn();
    const seen = await look(store, backing, guessed.id);
    const write = {
      ...resolved(seen, { do: "write", write: guessed, ifRevision }),
      requestId: `r${name}.${i}`,
    };
    await Promise.all(twice ? [run(write), run(write)] : [run(write)]);
  }
  return done;
}

function targetOf(write: ModelWrite): string {
  return write.kind === "fork" ? write.newId : write.id;
}

/**
 * Holds the writes to the order in which the store says they were made: done one by one in that order, each must come to what
 * its caller was told, and each must have its place between its call and its answer.
 */
async function explain(store: WorkflowStateStore, clock: TestClock, all: readonly Done[]): Promise<void> {
  const model = new Model(HISTORY, clock.now());
  const byRequest = Map.groupBy(all, ({ write }) => String(write.requestId));
  const unexplained = new Set(all);
  // Of an answer that was given twice, one place is enough: the other is a replay.
  const explained = ({ write, outcome }: Done): void => {
    for (const one of unexplained) {
      const same = one.write.requestId === write.requestId && "answer" in one.outcome;
      if (same && isDeepStrictEqual(one.outcome, outcome)) unexplained.delete(one);
    }
  };
  const noChange = (id: string): void => {
    for (const one of unexplained) {
      const at = model.lastRevision(id);
      if (targetOf(one.write) === id && one.from <= at && at <= one.to && comesTo(model, one)) {
        unexplained.delete(one);
        explained(one);
      }
    }
  };
  const pending = new Map(
    await Promise.all(
      ALL_IDS.map(
        async (id) => [id, (await store.listEvents(id, { pageSize: 1_000 })).events.map(eventOf)] as const,
      ),
    ),
  );
  const reach = (id: string, revision: number): void => {
    noChange(id);
    const events = pending.get(id) ?? [];
    while (model.lastRevision(id) < revision) {
      const event = events.shift();
      expect(event?.revision, "revisions without a gap").toBe(model.lastRevision(id) + 1);
      const calls = byRequest.get(String(event?.requestId)) ?? [];
      const [call] = calls;
      if (event === undefined || call === undefined) throw new Error("an event of no write");
      // A fork reads its source's past.
      if (call.write.kind === "fork") reach(call.write.id, call.write.atRevision ?? 0);
      const outcome = model.write(call.write);
      // One that was refused, before its twin was not, has a place of its own.
      const answered = calls.filter((each) => "answer" in each.outcome);
      for (const each of answered) {
        expect(each.outcome).toEqual(outcome);
        expect(each.to).toBeGreaterThanOrEqual(event.revision);
        unexplained.delete(each);
      }
      expect(Math.min(...answered.map(({ from }) => from))).toBeLessThan(event.revision);
      expect(model.events(id, event.revision - 1)).toEqual({ answer: [event] });
      noChange(id);
    }
  };
  for (const id of ALL_IDS) reach(id, model.lastRevision(id) + (pending.get(id)?.length ?? 0));
  for (const id of ALL_IDS) noChange(id);
  expect([...unexplained]).toEqual([]);
  for (const id of ALL_IDS) {
    const session = await store.getSession(id);
    expect({ answer: session && sessionOf(session) }).toEqual(model.session(id));
  }
}

/** Whether a write comes to this now; of what is undefined nothing is said. */
function comesTo(model: Model, { write, outcome }: Done): boolean {
  try {
    expect(outcome).toEqual(model.wouldCome(write));
    return true;
  } catch {
    return false;
  }
}

function nextTurn(): Promise<unknown> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("concurrent writes come to what they would one by one, in the order of their revisions", () => {
  test("in memory, in any order of turns", async () => {
    await fc.assert(
      fc.asyncProperty(clients, fc.scheduler(), async (plans, scheduler) => {
        const clock = new TestClock();
        const store = jsonStore(memoryStore({ history: HISTORY, now: () => clock.now() }));
        const turn = (): Promise<unknown> => scheduler.schedule(Promise.resolve(), "turn");
        const running = Promise.all(plans.map((each, i) => runClient(store, store, String(i), each, turn)));
        const done = await scheduler.waitFor(running);
        await explain(store, clock, done.flat());
        await store.close();
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test.each(STORE_KINDS.filter(({ name }) => name !== "memory").map((kind) => [kind.name, kind] as const))(
    "%s, through two stores over one database",
    async (_, kind) => {
      await fc.assert(
        fc.asyncProperty(clients, async (plans) => {
          const clock = new TestClock();
          const opened = await kind.open({ clock, history: HISTORY });
          const { namespace, close } = opened;
          const store = jsonStore(opened.store, { namespace });
          const other = jsonStore(await opened.another(), { namespace });
          const running = plans.map((each, i) =>
            runClient(i % 2 === 0 ? store : other, store, String(i), each, nextTurn),
          );
          const done = (await Promise.all(running)).flat();
          await explain(store, clock, done);
          await close();
        }),
        // A run that fails is reported as it is: to shrink it would take long.
        { numRuns: 20, timeout: 20_000, endOnFailure: true },
      );
    },
    120_000,
  );

  test.each(WIRES.filter(({ codec }) => codec === "binary").map((wire) => [wire.protocol, wire] as const))(
    "behind a server over %s, each client on its own connection",
    async (_, wire) => {
      await fc.assert(
        fc.asyncProperty(clients, async (plans) => {
          const clock = new TestClock();
          const memory = memoryStore({ history: HISTORY, now: () => clock.now() });
          const backing = jsonStore(memory);
          const server = await serve(memory);
          onTestFinished(server.close);
          const stores = await Promise.all(plans.map(() => openRemote(server.url, wire)));
          const running = plans.map((each, i) =>
            runClient(stores[i] as WorkflowStateStore, backing, String(i), each, nextTurn),
          );
          const done = (await Promise.all(running)).flat();
          await explain(backing, clock, done);
          await Promise.all(stores.map((store) => store.close()));
        }),
        // A run that fails is reported as it is: to shrink it would take long.
        { numRuns: 5, timeout: 20_000, endOnFailure: true },
      );
    },
    60_000,
  );
});
