/** Cases: what holds for every call: aborting it, and closing the store. */
import { WorkflowStateError } from "../errors.ts";
import type { Operation, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectEqual,
  expectReason,
  expectThrown,
  newId,
  storeCase,
} from "./harness.ts";

/** Every call but those that begin a stream, with options that may carry a signal. */
function everyCall(
  store: WorkflowStateStore,
  sessionId: string,
  options: { readonly signal?: AbortSignal } = {},
): Record<string, () => Promise<unknown>> {
  const operation: Operation = { kind: "setState", sessionId, key: "a", value: 2 };
  return {
    getSession: () => store.getSession(sessionId, options),
    saveSession: () => store.saveSession({ sessionId, state: { a: 2 } }, options),
    deleteSession: () => store.deleteSession(sessionId, options),
    getAllSessionIds: () => store.getAllSessionIds(options),
    getState: () => store.getState(sessionId, "a", options),
    setState: () => store.setState(sessionId, "a", 2, options),
    getEntry: () => store.getEntry(sessionId, "a", options),
    deleteState: () => store.deleteState(sessionId, "a", options),
    listState: () => store.listState(sessionId, options),
    listSessions: () => store.listSessions(options),
    update: () => store.update(sessionId, (state) => void Object.assign(state, { a: 2 }), options),
    commit: () => store.commit(sessionId, { ...options, changes: [{ kind: "set", key: "a", value: 2 }] }),
    batch: () => store.batch([operation], options),
    forkSession: () => store.forkSession(sessionId, newId(), options),
    restoreSession: () => store.restoreSession(sessionId, 1, options),
    listEvents: () => store.listEvents(sessionId, options),
  };
}

/** Every call that begins a stream, as a call for its first item. */
function everyStream(
  store: WorkflowStateStore,
  sessionId: string,
  options: { readonly signal?: AbortSignal } = {},
): Record<string, () => Promise<unknown>> {
  async function* batches(): AsyncGenerator<Operation[]> {
    yield [{ kind: "setState", sessionId, key: "a", value: 2 }];
  }
  return {
    watchSession: async () => store.watchSession(sessionId, options)[Symbol.asyncIterator]().next(),
    watchSessions: async () => store.watchSessions(options)[Symbol.asyncIterator]().next(),
    pipeline: async () => store.pipeline(batches(), options)[Symbol.asyncIterator]().next(),
  };
}

/** What every store must do with its calls as such. */
export const callCases: readonly ConformanceCase[] = [
  storeCase("a call whose signal is aborted throws the signal's reason and writes nothing", async (store) => {
    const sessionId = newId();
    const before = await store.saveSession({ sessionId, state: { a: 1 } });
    const reason = { why: "any value may be a reason" };
    const signal = AbortSignal.abort(reason);
    const calls = {
      ...everyCall(store, sessionId, { signal }),
      ...everyStream(store, sessionId, { signal }),
    };
    for (const [name, call] of Object.entries(calls)) {
      await expectThrown(call(), reason, name);
    }
    expectEqual(await store.getSession(sessionId), before, "the session");
  }),

  storeCase("a call whose signal is aborted after it is done stands", async (store) => {
    const sessionId = newId();
    const ended = new AbortController();
    const entry = await store.setState(sessionId, "a", 1, { signal: ended.signal });
    ended.abort();
    expectEqual(await store.getEntry(sessionId, "a"), entry, "the entry");
  }),

  {
    name: "a closed store gives STORE_UNAVAILABLE, never an empty answer",
    async run({ open }) {
      const store = await open();
      const sessionId = newId();
      await store.setState(sessionId, "a", 1);
      await store.close();
      const calls = { ...everyCall(store, sessionId), ...everyStream(store, sessionId) };
      for (const [name, call] of Object.entries(calls)) {
        const error = await expectReason(call(), "STORE_UNAVAILABLE");
        expectEqual(error.code, "UNAVAILABLE", `the code of ${name}`);
      }
      await store.close();
    },
  },

  {
    name: "closing a store ends its streams with SHUTTING_DOWN",
    async run({ open }) {
      const store = await open();
      const sessionId = newId();
      await store.setState(sessionId, "a", 1);
      const watch = store.watchSession(sessionId)[Symbol.asyncIterator]();
      await watch.next();
      const waiting = (async (): Promise<void> => {
        for (;;) {
          await watch.next();
        }
      })();
      const change = store.watchSessions()[Symbol.asyncIterator]().next();
      async function* batches(): AsyncGenerator<Operation[]> {
        yield [{ kind: "getState", sessionId, key: "a" }];
        await new Promise(() => undefined);
      }
      const answers = store.pipeline(batches())[Symbol.asyncIterator]();
      await answers.next();
      const answer = answers.next();
      // Held before the close, so that neither rejection goes unseen.
      const ends = Promise.all([
        expectReason(waiting, "SHUTTING_DOWN"),
        expectReason(change, "SHUTTING_DOWN"),
        expectReason(answer, "SHUTTING_DOWN"),
      ]);
      await store.close();
      await ends;
    },
  },

  {
    name: "leaving the scope of a store closes it",
    async run({ open }) {
      const store = await open();
      await store[Symbol.asyncDispose]();
      const error = await store.getSession(newId()).catch((thrown: unknown) => thrown);
      expectEqual(WorkflowStateError.is(error, "STORE_UNAVAILABLE"), true, "it is closed");
    },
  },
];
