/** What can be read, written under a check, and removed: a key of a session, or a whole session. */
import type { WorkflowStateStore } from "../../src/store.ts";

/** What a register holds, and the revision that wrote it. */
export interface Held {
  readonly value: string;
  readonly revision: number;
}

/** How a write of a register is made. */
export interface WriteOptions {
  readonly requestId: string;
  /** The revision that must be there; 0: nothing. */
  readonly ifRevision?: number;
}

/** One place for a value, in a store. */
export interface Register {
  /** For messages. */
  readonly name: string;
  readonly session: string;
  /** `undefined`: it holds nothing. */
  read(store: WorkflowStateStore): Promise<Held | undefined>;
  /** Gives the revision. */
  write(store: WorkflowStateStore, value: string, options: WriteOptions): Promise<number>;
  /** Gives whether it held something. */
  remove(store: WorkflowStateStore, options: WriteOptions): Promise<boolean>;
}

/** A key of a session. */
export function keyRegister(session: string, key: string): Register {
  return {
    name: `${session} ${key}`,
    session,
    async read(store) {
      const entry = await store.getEntry(session, key);
      return entry === undefined ? undefined : { value: String(entry.value), revision: entry.revision };
    },
    async write(store, value, options) {
      return (await store.setState(session, key, value, options)).revision;
    },
    async remove(store, options) {
      return (await store.deleteState(session, key, options)).deleted;
    },
  };
}

/** A session that is saved and deleted as a whole. It is held to be whole: its value stands in it, and in a label, several times. */
export function sessionRegister(session: string): Register {
  return {
    name: `all of ${session}`,
    session,
    async read(store) {
      const found = await store.getSession(session);
      if (found === undefined) return undefined;
      const { state, labels, revision } = found;
      const values = [state["a"], state["b"], labels["value"]];
      if (new Set(values).size !== 1 || Object.keys(state).length !== 2) {
        throw new Error(`a session was seen in part: ${JSON.stringify(found)}`);
      }
      return { value: String(state["a"]), revision };
    },
    async write(store, value, options) {
      const content = { sessionId: session, state: { a: value, b: value }, labels: { value } };
      return (await store.saveSession(content, options)).revision;
    },
    remove: (store, options) => store.deleteSession(session, options),
  };
}
