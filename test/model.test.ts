import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { Model } from "./support/model.ts";
import type { ModelEntry, ModelEvent, ModelWrite } from "./support/model-types.ts";
import { ALL_IDS, HISTORY, resolved, revisionOf, type Step, step } from "./support/steps.ts";
import { ENCRYPTED_KINDS, STORE_KINDS, TestClock } from "./support/stores.ts";
import { entryOf, eventOf, outcome, runWrite, sessionOf } from "./support/under-test.ts";
import { openRemote, serve, WIRES } from "./support/wires.ts";

/** What a run has: the model, and the writes that it has sent. */
interface Expected {
  readonly model: Model;
  readonly sent: ModelWrite[];
}

interface Actual {
  readonly store: WorkflowStateStore;
  readonly clock: TestClock;
}

class StepCommand implements fc.AsyncCommand<Expected, Actual> {
  readonly #step: Step;

  constructor(step: Step) {
    this.#step = step;
  }

  check(): boolean {
    return true;
  }

  async run({ model, sent }: Expected, { store, clock }: Actual): Promise<void> {
    const step = this.#step;
    switch (step.do) {
      case "write":
      case "replay": {
        const write = step.do === "write" ? resolved(model, step) : sent.at(-1 - step.back);
        if (write === undefined) return;
        sent.push(write);
        expect(await runWrite(store, write)).toEqual(model.write(write));
        for (const touched of new Set(write.kind === "fork" ? [write.id, write.newId] : [write.id])) {
          await compare(model, store, touched);
        }
        return;
      }
      case "read": {
        const { id, key } = step;
        const at = revisionOf(step.at, model.lastRevision(id), model.lastRevision(id));
        // Nothing is said of a past of what never was.
        if (model.lastRevision(id) > 0) await compare(model, store, id, at, key);
        return;
      }
      case "advance":
        model.advance(step.ms);
        await clock.advance(step.ms);
        for (const id of ALL_IDS) await compare(model, store, id);
        expect(await store.getAllSessionIds()).toEqual(model.ids());
    }
  }

  toString(): string {
    return JSON.stringify(this.#step);
  }
}

/** Everything that can be read of a session, now or at a revision. */
async function compare(
  model: Model,
  store: WorkflowStateStore,
  id: string,
  atRevision?: number,
  key = "a",
): Promise<void> {
  const session = async (): Promise<unknown> => {
    const read = await store.getSession(id, { atRevision });
    return read && sessionOf(read);
  };
  expect(await outcome(session)).toEqual(model.session(id, atRevision));
  const entries = async (): Promise<ModelEntry[]> => {
    const all: ModelEntry[] = [];
    let pageToken = "";
    do {
      const page = await store.listState(id, { atRevision, pageSize: 3, pageToken });
      all.push(...page.entries.map(entryOf));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return all;
  };
  expect(await outcome(entries)).toEqual(model.entries(id, atRevision));
  const entry = async (): Promise<unknown> => {
    const read = await store.getEntry(id, key, { atRevision });
    return read && entryOf(read);
  };
  expect(await outcome(entry)).toEqual(model.entry(id, key, atRevision));
  const events = async (reverse: boolean): Promise<ModelEvent[]> =>
    (await store.listEvents(id, { afterRevision: atRevision, reverse })).events.map(eventOf);
  expect(await outcome(() => events(false))).toEqual(model.events(id, atRevision));
  const back = async (): Promise<ModelEvent[]> => (await events(true)).reverse();
  expect(await outcome(back)).toEqual(model.events(id, atRevision));
}

/** A store to hold to the model, and what frees it. */
interface Opened {
  readonly store: WorkflowStateStore;
  close(): Promise<unknown>;
}

/** Runs the model against stores that `open` makes. */
function agrees(
  open: (clock: TestClock) => Promise<Opened>,
  options: { readonly numRuns: number; readonly maxCommands: number },
): Promise<void> {
  const commands = fc.commands([step.map((each) => new StepCommand(each))], {
    maxCommands: options.maxCommands,
    // Most runs are to reach the end of what history keeps.
    size: "max",
  });
  return fc.assert(
    fc.asyncProperty(commands, async (all) => {
      const clock = new TestClock();
      const { store, close } = await open(clock);
      try {
        await fc.asyncModelRun(
          () => ({ model: { model: new Model(HISTORY, clock.now()), sent: [] }, real: { store, clock } }),
          all,
        );
      } finally {
        await store.close();
        await close();
      }
    }),
    { numRuns: options.numRuns, timeout: 20_000 },
  );
}

describe("a store does what the model does", () => {
  test.each([...STORE_KINDS, ...ENCRYPTED_KINDS].map((kind) => [kind.name, kind] as const))(
    "%s",
    async (name, kind) => {
      const open = async (clock: TestClock): Promise<Opened> => {
        const { store, namespace, close } = await kind.open({ clock, history: HISTORY });
        return { store: jsonStore(store, { namespace }), close };
      };
      await agrees(open, { numRuns: name.endsWith("memory") ? 300 : 60, maxCommands: 60 });
    },
    120_000,
  );

  test.each(WIRES.filter(({ codec }) => codec === "binary").map((wire) => [wire.protocol, wire] as const))(
    "behind a server over %s",
    async (_, wire) => {
      const open = async (clock: TestClock): Promise<Opened> => {
        const memory = memoryStore({ now: () => clock.now(), history: HISTORY });
        const server = await serve(memory);
        return { store: await openRemote(server.url, wire), close: server.close };
      };
      await agrees(open, { numRuns: 8, maxCommands: 40 });
    },
    60_000,
  );
});
