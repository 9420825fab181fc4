/** Read, change, commit what changed under checks, try again on a conflict: what `update` does, over any encoded store. */
import { type ErrorReason, WorkflowStateError } from "../errors.ts";
import { UNBOUNDED } from "../limits.ts";
import type {
  CallContext,
  Change,
  Check,
  CommitRequest,
  Draft,
  EncodedForm,
  EncodedStore,
  Entry,
  Limits,
  UpdateOptions,
} from "../store.ts";
import { utf8Length } from "../validate.ts";
import { decodeValue, encodeValue } from "../value.ts";
import { define, encodeAt, invalid } from "./json-form.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { pause, unlessAborted } from "./pause.ts";
import { sameBytes } from "./same-bytes.ts";
import { entriesAt, NO_KEY } from "./whole-session.ts";

const DEFAULT_ATTEMPTS = 50;
/** The longest pause before another attempt. */
const MAX_PAUSE_MS = 100;

/** What a draft shows: each key's entry as it was read. */
type Seen = ReadonlyMap<string, Entry<EncodedForm>>;

/** Runs the updates of one store, those of one session one after the other. */
export class Updater {
  readonly #store: EncodedStore;
  readonly #limits: Limits;
  readonly #namespace: string | undefined;
  readonly #turns: KeyedMutex = new KeyedMutex();
  /** The sessions whose `change` is on the stack now. */
  readonly #running: Set<string> = new Set();

  constructor(store: EncodedStore, limits: Limits, namespace: string | undefined) {
    this.#store = store;
    this.#limits = limits;
    this.#namespace = namespace;
  }

  /** See `WorkflowStateStore.update`. */
  async update<R>(
    sessionId: string,
    change: (draft: Draft) => R | Promise<R>,
    { attempts = DEFAULT_ATTEMPTS, signal }: UpdateOptions,
  ): Promise<R> {
    if (typeof change !== "function")
      throw invalid("change", "update needs a function that changes the draft.");
    if (!Number.isInteger(attempts) || attempts < 1)
      throw invalid("attempts", "attempts must be an integer, 1 or more.");
    if (this.#running.has(sessionId)) {
      throw invalid(
        "change",
        "An update's function can't update the same session: it would wait for itself.",
      );
    }
    signal?.throwIfAborted();
    return this.#turns.run(sessionId, () => this.#attempt(sessionId, change, attempts, signal), signal);
  }

  async #attempt<R>(
    sessionId: string,
    change: (draft: Draft) => R | Promise<R>,
    attempts: number,
    signal: AbortSignal | undefined,
  ): Promise<R> {
    const context: CallContext = { namespace: this.#namespace, signal };
    // The newest revision of the session that was heard of before its entries are read.
    let known = 0;
    for (let attempt = 1; ; attempt++) {
      let conflict: WorkflowStateError;
      const read = await orError("HISTORY_COMPACTED", this.#read(sessionId, known, context));
      if (WorkflowStateError.is(read)) {
        conflict = read;
      } else {
        const draft = new RecordingDraft(read.seen);
        const result = await this.#run(sessionId, change, draft, signal);
        const request = draft.commit(sessionId, read.revision, this.#limits);
        if (request === undefined) return result;
        const committed = await orError("REVISION_MISMATCH", this.#store.commit(request, context));
        if (!WorkflowStateError.is(committed)) return result;
        conflict = committed;
        known = conflict.failedChecks.find(({ key }) => key === "")?.actualRevision ?? known;
      }
      if (attempt >= attempts) throw conflict;
      await pause(Math.random() * Math.min(MAX_PAUSE_MS, 2 ** attempt), signal);
    }
  }

  /** Calls the function; what it returns, the draft itself as a plain copy. An abort does not wait for it. */
  async #run<R>(
    sessionId: string,
    change: (draft: Draft) => R | Promise<R>,
    draft: RecordingDraft,
    signal: AbortSignal | undefined,
  ): Promise<R> {
    let returned: R | Promise<R>;
    this.#running.add(sessionId);
    try {
      returned = change(draft.proxy);
    } finally {
      this.#running.delete(sessionId);
    }
    let result: R;
    try {
      result = await unlessAborted(returned, signal);
    } finally {
      draft.close();
    }
    return (result as unknown) === draft.proxy ? (draft.copy() as R) : result;
  }

  /**
   * The entries of a session as they were at one moment, and the revision to check where all of it must be unchanged: as a
   * revision known before the entries were read, or that one of them carries, it is the session's at that moment or older,
   * so that the check can fail needlessly (and says the revision to know next time), but never hold wrongly.
   */
  async #read(
    sessionId: string,
    known: number,
    context: CallContext,
  ): Promise<{ readonly seen: Seen; readonly revision: number }> {
    const first = await this.#store.listState({ sessionId, pageSize: this.#limits.pageSize }, context);
    if (first.nextPageToken === "") {
      const seen = new Map(first.entries.map((entry) => [entry.key, entry]));
      const revision = first.entries.reduce((newest, entry) => Math.max(newest, entry.revision), known);
      return { seen, revision };
    }
    // Pages are read one by one: as they were at one revision, they fit together.
    const session = await this.#store.getSession({ sessionId, keyPrefix: NO_KEY }, context);
    const seen = new Map<string, Entry<EncodedForm>>();
    if (session === undefined) return { seen, revision: 0 };
    const { revision } = session;
    for await (const entry of entriesAt(this.#store, sessionId, revision, this.#limits.pageSize, context))
      seen.set(entry.key, entry);
    return { seen, revision };
  }
}

/** The value of a key that was deleted from a draft. */
const DELETED = Symbol("deleted");

/** A state as an object that remembers which keys were looked at, and what was written. */
class RecordingDraft implements ProxyHandler<Draft> {
  readonly proxy: Draft;
  readonly #seen: Seen;
  /** Keys that were looked at or written. */
  readonly #touched: Set<string> = new Set();
  /** The values of those that were read or written. */
  readonly #values: Map<string, unknown> = new Map();
  #enumerated = false;
  #closed = false;

  constructor(seen: Seen) {
    this.#seen = seen;
    // Without a prototype: `constructor` and `__proto__` are keys like any others.
    const target: Draft = Object.create(null);
    // Printing looks at the target, past the traps.
    Object.defineProperty(target, Symbol.for("nodejs.util.inspect.custom"), {
      value: () => this.copy(),
      configurable: true,
    });
    this.proxy = new Proxy(target, this);
  }

  /** What is to be committed; `undefined`: nothing changed. */
  commit(sessionId: string, revision: number, limits: Limits): CommitRequest<EncodedForm> | undefined {
    const changes: Change<EncodedForm>[] = [];
    for (const key of this.#touched) {
      const before = this.#seen.get(key)?.value;
      const value = this.#values.get(key);
      if (value === DELETED) {
        if (before !== undefined) changes.push({ kind: "delete", key });
      } else if (this.#values.has(key)) {
        const after = encodeAt(key, value, limits);
        if (!sameValue(before, after)) changes.push({ kind: "set", key, value: after });
      }
    }
    if (changes.length === 0) return undefined;
    if (this.#enumerated || this.#touched.size > limits.checks) {
      return { sessionId, changes, ifRevision: revision };
    }
    const checks: Check[] = [];
    for (const key of this.#touched) {
      const bytes = utf8Length(key);
      // What can't be a key can't appear either. One that was written is among the changes, for the store to refuse.
      if (bytes >= 1 && bytes <= limits.keyBytes) {
        checks.push({ key, ifRevision: this.#seen.get(key)?.revision ?? 0 });
      }
    }
    return { sessionId, changes, checks };
  }

  /** Ends the changing: what comes later would be lost, so it throws. */
  close(): void {
    this.#closed = true;
  }

  /** The state as a plain object that nothing else holds. */
  copy(): Record<string, unknown> {
    const copy: Record<string, unknown> = {};
    for (const [key, { value }] of this.#seen) {
      if (value !== undefined && !this.#values.has(key)) define(copy, key, decodeValue(value));
    }
    for (const [key, value] of this.#values) if (value !== DELETED) define(copy, key, value);
    return copy;
  }

  get(_target: Draft, key: string | symbol): unknown {
    if (typeof key === "symbol" || !this.#has(key)) return undefined;
    return this.#value(key);
  }

  has(_target: Draft, key: string | symbol): boolean {
    return typeof key === "string" && this.#has(key);
  }

  ownKeys(): string[] {
    this.#enumerated = true;
    const keys = [...this.#seen.keys(), ...[...this.#values.keys()].filter((key) => !this.#seen.has(key))];
    return keys.filter((key) => this.#values.get(key) !== DELETED);
  }

  getOwnPropertyDescriptor(_target: Draft, key: string | symbol): PropertyDescriptor | undefined {
    if (typeof key === "symbol" || !this.#has(key)) return undefined;
    return { value: this.#value(key), writable: true, enumerable: true, configurable: true };
  }

  set(_target: Draft, key: string | symbol, value: unknown): boolean {
    return this.#write(key, value);
  }

  defineProperty(_target: Draft, key: string | symbol, property: PropertyDescriptor): boolean {
    return "value" in property && property.configurable !== false && this.#write(key, property.value);
  }

  deleteProperty(_target: Draft, key: string | symbol): boolean {
    return this.#write(key, DELETED);
  }

  setPrototypeOf(): boolean {
    return false;
  }

  preventExtensions(): boolean {
    return false;
  }

  #has(key: string): boolean {
    const has = this.#values.has(key) ? this.#values.get(key) !== DELETED : this.#seen.has(key);
    // `await draft` and `return draft` ask whether it is a promise: no look at a key, unless there is one of that name.
    if (has || key !== "then") this.#touched.add(key);
    return has;
  }

  #value(key: string): unknown {
    const value = this.#seen.get(key)?.value;
    if (!this.#values.has(key) && value !== undefined) this.#values.set(key, decodeValue(value));
    return this.#values.get(key);
  }

  #write(key: string | symbol, value: unknown): boolean {
    if (this.#closed) throw invalid("change", "A draft can't be changed when its update has ended.");
    if (typeof key === "symbol") return false;
    this.#touched.add(key);
    this.#values.set(key, value);
    return true;
  }
}

/** What the promise gives, or the error of that reason that it fails with. */
async function orError<T>(reason: ErrorReason, promise: Promise<T>): Promise<T | WorkflowStateError> {
  try {
    return await promise;
  } catch (error) {
    if (WorkflowStateError.is(error, reason)) return error;
    throw error;
  }
}

/** Whether two encodings say the same: clients in other languages may have ordered the stored one otherwise. */
function sameValue(before: Uint8Array | undefined, after: Uint8Array): boolean {
  if (before === undefined) return false;
  return sameBytes(before, after) || sameBytes(encodeValue(decodeValue(before), UNBOUNDED), after);
}
