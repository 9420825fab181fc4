/**
 * One session with typed keys, over any store: each key has a schema (Standard Schema: zod, valibot, arktype), and what
 * doesn't fit its schema is neither written nor returned.
 */
import { UNBOUNDED } from "./limits.ts";
import { CheckedDraft, misfit, schemaOf } from "./session-draft.ts";
import type {
  InputOf,
  InputsOf,
  KeyOf,
  ListKeyOf,
  NumberKeyOf,
  ObjectKeyOf,
  OutputOf,
  OutputsOf,
  PatchOf,
  Schemas,
  TypedCommit,
  TypedCommitResponse,
  TypedEntry,
  TypedWatchMessage,
  TypedWriteOptions,
  ValueOf,
} from "./session-types.ts";
import type {
  CallOptions,
  Change,
  DeleteStateResponse,
  EncodedForm,
  Entry,
  GetStateRequest,
  JsonValue,
  SetStateRequest,
  UpdateOptions,
  WatchMessage,
  WatchSessionRequest,
  WorkflowStateStore,
} from "./store.ts";
import { compute } from "./stores/computed.ts";
import { define, encodeAt, toChange } from "./stores/json-form.ts";
import { mapIterable } from "./stores/map-iterable.ts";
import { decodeValue } from "./value.ts";

export type * from "./session-types.ts";

/**
 * A session of a store, with typed keys. Nothing is read or written until a method is called.
 *
 * @example
 * const cart = openSession(store, "cart-1", { items: z.array(z.string()), total: z.number() });
 * await cart.append("items", ["tea"]);
 * const items = await cart.get("items"); // string[] | undefined
 */
export function openSession<S extends Schemas>(
  store: WorkflowStateStore,
  sessionId: string,
  schemas: S,
): TypedSession<S> {
  return new TypedSession(store, sessionId, schemas);
}

/**
 * Reads a session, lets `change` change its state as an object, and commits what it changed.
 * The same as the store's own method: see {@link WorkflowStateStore.update}.
 */
export function update<State extends object, R>(
  store: WorkflowStateStore,
  sessionId: string,
  change: (draft: State) => R | Promise<R>,
  options?: UpdateOptions,
): Promise<R> {
  return store.update(sessionId, change, options);
}

/**
 * One session with typed keys. What doesn't fit its schema fails with INVALID_VALUE, the `key` and the `path`: what is
 * written before anything is, what is read in place of the value.
 */
export class TypedSession<S extends Schemas> {
  readonly store: WorkflowStateStore;
  readonly sessionId: string;
  readonly #schemas: S;

  constructor(store: WorkflowStateStore, sessionId: string, schemas: S) {
    this.store = store;
    this.sessionId = sessionId;
    this.#schemas = schemas;
  }

  /** Reads a value; `undefined`: there is none. */
  async get<K extends KeyOf<S>>(
    key: K,
    options?: Pick<GetStateRequest, "atRevision"> & CallOptions,
  ): Promise<OutputOf<S, K> | undefined> {
    return (await this.entry(key, options))?.value;
  }

  /** Reads an entry: the value with its revision and times. */
  async entry<K extends KeyOf<S>>(
    key: K,
    options?: Pick<GetStateRequest, "atRevision"> & CallOptions,
  ): Promise<TypedEntry<S, K> | undefined> {
    schemaOf(this.#schemas, key);
    const entry = await this.store.getEntry(this.sessionId, key, options);
    return entry && this.#entry(key, entry);
  }

  /** Reads all keys that have a schema, at one revision; those that are missing are absent. */
  async state(options?: CallOptions): Promise<OutputsOf<S>> {
    const session = await this.store.getSession(this.sessionId, options);
    return this.#state(session?.state ?? {});
  }

  /** Writes a value. */
  async set<K extends KeyOf<S>>(
    key: K,
    value: InputOf<S, K>,
    options?: Pick<SetStateRequest, "ifRevision" | "ttlMs" | "requestId"> & CallOptions,
  ): Promise<TypedEntry<S, K>> {
    // A copy: what is checked must be what is written, also when the caller changes the original meanwhile.
    const own = decodeValue(encodeAt(key, value, UNBOUNDED));
    await this.#check(key, own);
    return this.#entry(key, await this.store.setState(this.sessionId, key, own, options));
  }

  /** Deletes an entry. */
  async delete(
    key: KeyOf<S>,
    options?: Parameters<WorkflowStateStore["deleteState"]>[2],
  ): Promise<DeleteStateResponse> {
    schemaOf(this.#schemas, key);
    return this.store.deleteState(this.sessionId, key, options);
  }

  /** Adds to a number, from 0; returns the sum. See {@link commit} on what is checked. */
  async increment<K extends NumberKeyOf<S>>(
    key: K,
    delta = 1,
    options: TypedWriteOptions = {},
  ): Promise<OutputOf<S, K>> {
    return this.#change<K>({ kind: "increment", key, delta }, options);
  }

  /** Adds to the end of a list, from []; keeps the last `maxItems`; returns the list. See {@link commit} on what is checked. */
  async append<K extends ListKeyOf<S>>(
    key: K,
    values: ValueOf<S, K>,
    { maxItems, ...options }: TypedWriteOptions & { readonly maxItems?: number | undefined } = {},
  ): Promise<OutputOf<S, K>> {
    return this.#change<K>(
      { kind: "append", key, values: values as readonly JsonValue[], maxItems },
      options,
    );
  }

  /** Applies a JSON Merge Patch to an object, from {}; returns the object. See {@link commit} on what is checked. */
  async merge<K extends ObjectKeyOf<S>>(
    key: K,
    patch: PatchOf<ValueOf<S, K>>,
    options: TypedWriteOptions = {},
  ): Promise<OutputOf<S, K>> {
    return this.#change<K>({ kind: "merge", key, value: patch as JsonValue }, options);
  }

  /**
   * Makes one atomic write: all checks, then all changes in order, or nothing.
   *
   * What is set must fit its schema. What is computed (increment, append, merge) is computed here first, from what is stored
   * now, and the result must fit; two writers at once can still break a bound together that neither breaks alone: where
   * that matters, use {@link update}. With a `requestId` it is not computed here, as a replay is right whatever is stored by
   * now: then appended values must fit the schema as a list of their own, and results are checked when they are read.
   */
  async commit(commit: TypedCommit<S>): Promise<TypedCommitResponse<S>> {
    // A copy, as above. What is typed by schemas is a change of JSON; the encoder says where it is not.
    const changes = (commit.changes ?? []).map((change) => {
      const encoded = toChange(change as Change, UNBOUNDED);
      return { encoded, json: fromChange(encoded) };
    });
    const replayed = commit.requestId !== undefined && commit.requestId !== "";
    await (replayed
      ? this.#checkParts(changes.map(({ json }) => json))
      : this.#checkResults(
          changes.map(({ encoded }) => encoded),
          commit.signal,
        ));
    const request = { ...commit, changes: changes.map(({ json }) => json) };
    const answer = await this.store.commit(this.sessionId, request);
    return { ...answer, entries: await this.#entries(answer.entries) };
  }

  /**
   * Lets `change` change the keys that have a schema as an object; what it leaves must fit, or nothing is written. A value that
   * doesn't fit is thrown where `change` looks at it (after `change`, if its schema is asynchronous).
   * Otherwise see {@link WorkflowStateStore.update}.
   */
  async update<R>(change: (draft: InputsOf<S>) => R | Promise<R>, options?: UpdateOptions): Promise<R> {
    const attempt = async (draft: Record<string, unknown>): Promise<R> => {
      const checked = new CheckedDraft(draft, this.#schemas);
      const result = await change(checked.proxy as InputsOf<S>);
      await checked.check();
      return (result as unknown) === checked.proxy ? (checked.copy() as R) : result;
    };
    return this.store.update(this.sessionId, attempt, options);
  }

  /**
   * Follows the keys that have a schema; see {@link WorkflowStateStore.watchSession}. An event that is about none of them has
   * no entries. A value that doesn't fit ends the watch.
   */
  watch(options?: Omit<WatchSessionRequest, "sessionId"> & CallOptions): AsyncIterable<TypedWatchMessage<S>> {
    const messages = this.store.watchSession(this.sessionId, options);
    return mapIterable(messages, async (message: WatchMessage): Promise<TypedWatchMessage<S>> => {
      switch (message.kind) {
        case "snapshot": {
          const { revision, state } = message.snapshot;
          return { kind: "snapshot", revision, state: await this.#state(state) };
        }
        case "event":
          return {
            kind: "event",
            event: { ...message.event, entries: await this.#entries(message.event.entries) },
          };
        case "progress":
          return message;
      }
    });
  }

  async #change<K extends KeyOf<S>>(change: Change, options: TypedWriteOptions): Promise<OutputOf<S, K>> {
    const { entries } = await this.commit({ ...options, changes: [change as never] });
    return entries[0]?.value as OutputOf<S, K>;
  }

  /** Checks what a commit sets and appends. */
  async #checkParts(changes: readonly Change[]): Promise<void> {
    for (const change of changes) {
      schemaOf(this.#schemas, change.key);
      if (change.kind === "set") await this.#check(change.key, change.value);
      if (change.kind === "append") await this.#check(change.key, change.values);
    }
  }

  /** Checks what a commit leaves, if nobody else writes. */
  async #checkResults(
    changes: readonly Change<EncodedForm>[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const after = new Map<string, Uint8Array | undefined>();
    for (const change of changes) {
      const { key } = change;
      schemaOf(this.#schemas, key);
      if (change.kind === "set") after.set(key, change.value);
      else if (change.kind === "delete") after.set(key, undefined);
      else {
        const before = after.has(key) ? after.get(key) : await this.#stored(key, signal);
        after.set(key, compute(change, before, UNBOUNDED));
      }
    }
    for (const [key, value] of after) if (value !== undefined) await this.#check(key, decodeValue(value));
  }

  async #stored(key: string, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const value = await this.store.getState(this.sessionId, key, { signal });
    return value === undefined ? undefined : encodeAt(key, value, UNBOUNDED);
  }

  /** What the schema of a key makes of a value; throws if it doesn't fit. */
  async #check<K extends KeyOf<S>>(key: K, value: unknown): Promise<OutputOf<S, K>> {
    const result = await schemaOf(this.#schemas, key)["~standard"].validate(value);
    if (result.issues !== undefined) throw misfit(key, result.issues);
    return result.value as OutputOf<S, K>;
  }

  async #entry<K extends KeyOf<S>>(key: K, { value, ...entry }: Entry): Promise<TypedEntry<S, K>> {
    return value === undefined ? { ...entry, key } : { ...entry, key, value: await this.#check(key, value) };
  }

  async #entries(entries: readonly Entry[]): Promise<TypedEntry<S>[]> {
    const known = entries.filter(({ key }) => Object.hasOwn(this.#schemas, key));
    return Promise.all(known.map((entry) => this.#entry(entry.key as KeyOf<S>, entry)));
  }

  async #state(state: Readonly<Record<string, JsonValue>>): Promise<OutputsOf<S>> {
    const outputs: Record<string, unknown> = {};
    for (const key of Object.keys(this.#schemas)) {
      if (Object.hasOwn(state, key)) define(outputs, key, await this.#check(key, state[key]));
    }
    return outputs as OutputsOf<S>;
  }
}

/** An encoded change as JSON that nobody else holds. */
function fromChange(change: Change<EncodedForm>): Change {
  switch (change.kind) {
    case "set":
    case "merge":
      return { ...change, value: decodeValue(change.value) };
    case "append":
      return { ...change, values: change.values.map(decodeValue) };
    default:
      return change;
  }
}
