/**
 * Writes of an encrypted store that are made of one request: a set, a commit. A blind one is sealed and sent. What is computed is
 * computed here, on opened values, and sent under checks on the entries that it was computed from.
 */
import { type FailedCheck, WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  Change,
  Check,
  CommitRequest,
  CommitResponse,
  EncodedForm,
  EncodedStore,
  Entry,
  Limits,
  Operation,
  SetStateRequest,
} from "../store.ts";
import { ownValue } from "../validate.ts";
import type { Sealed, SealedValues } from "./encrypted-values.ts";
import { failUnless } from "./failures.ts";
import { fingerprint, type WriteOperation } from "./fingerprint.ts";
import type { Keyring } from "./keyring.ts";
import { pause } from "./pause.ts";
import { stage } from "./staging.ts";

/** How often a write is tried that others get ahead of, and the longest pause between. */
const TRIES = 1_000;
const MAX_PAUSE_MS = 64;
/** A revision that no entry is ever at. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** A write that is ready to be sent. */
export interface ReadyWrite<O extends Operation<EncodedForm>> {
  readonly operation: O;
  /** The values that it was made with, by key. */
  readonly sent: ReadonlyMap<string, Sealed>;
}

/** A set, sealed. Fails with INVALID_VALUE, VALUE_TOO_LARGE. */
export function sealedSet(
  request: SetStateRequest<EncodedForm>,
  values: SealedValues,
  limits: Limits,
): ReadyWrite<{ kind: "setState" } & SetStateRequest<EncodedForm>> {
  const { sessionId, key } = request;
  const plain = ownValue(request.value, limits, "value");
  const sealed = values.seal(sessionId, key, plain);
  return {
    operation: { ...request, kind: "setState", value: sealed },
    sent: new Map([[key, { plain, sealed }]]),
  };
}

/** Whether a commit can't be made without knowing what is stored. */
export function looksFirst({ changes = [] }: CommitRequest<EncodedForm>): boolean {
  return computedKeys(changes).length > 0;
}

/** The keys of which a commit computes on what is stored, each once. */
function computedKeys(changes: readonly Change<EncodedForm>[]): string[] {
  const first = new Map<string, boolean>();
  for (const { key, kind } of changes)
    if (!first.has(key)) first.set(key, kind !== "set" && kind !== "delete");
  return Array.from(first).flatMap(([key, computed]) => (computed ? [key] : []));
}

/**
 * A commit, sealed: at most two changes for a key, however many it was given.
 * @param stored the entries, opened, of the keys that it computes on
 * Fails as `stage` does.
 */
export function sealedCommit(
  request: CommitRequest<EncodedForm>,
  stored: ReadonlyMap<string, Entry<EncodedForm> | undefined>,
  values: SealedValues,
  limits: Limits,
): ReadyWrite<{ kind: "commit" } & CommitRequest<EncodedForm>> {
  const { sessionId, changes = [] } = request;
  const staged = stage(changes, (key) => stored.get(key), 0, limits);
  const keeping = keepingKeys(changes);
  const sent = new Map<string, Sealed>();
  const sealedChanges: Change<EncodedForm>[] = [];
  for (const { key, value, ttlMs, written } of staged.values()) {
    if (value === undefined) {
      // Removing what the commit itself wrote before counts as a write, also where nothing was there.
      if (written) sealedChanges.push({ kind: "set", key, value: values.seal(sessionId, key, NULL) });
      sealedChanges.push({ kind: "delete", key });
      continue;
    }
    const sealed = values.seal(sessionId, key, value);
    sent.set(key, { plain: value, sealed });
    // A store must look for what it is to keep: not where there is known to be nothing.
    const keepExpiry = keeping.has(key) && (!stored.has(key) || stored.get(key)?.expireTime !== undefined);
    sealedChanges.push({ kind: "set", key, value: sealed, ...(keepExpiry ? { keepExpiry } : { ttlMs }) });
  }
  return { operation: { ...request, kind: "commit", changes: sealedChanges }, sent };
}

/** The encoding of null. */
const NULL = new Uint8Array([0x08, 0]);

/** The keys whose changes leave the expiry as it was stored. */
function keepingKeys(changes: readonly Change<EncodedForm>[]): ReadonlySet<string> {
  const keeping = new Set<string>();
  const seen = new Set<string>();
  for (const change of changes) {
    const keeps = change.kind === "set" ? change.keepExpiry === true : change.kind !== "delete";
    if (!keeps) keeping.delete(change.key);
    else if (!seen.has(change.key)) keeping.add(change.key);
    seen.add(change.key);
  }
  return keeping;
}

/**
 * Runs a write with what tells it from others under its request id: the fingerprint of what it says, masked, as that of the bytes
 * sent is another every time. Where the store knows the id from another write, that may be this one, masked under an older key.
 */
export async function replayable<Answer>(
  keyring: Keyring,
  operation: WriteOperation,
  run: (requestFingerprint: string | undefined) => Promise<Answer>,
): Promise<Answer> {
  if (!operation.requestId) return run(undefined);
  let reused: unknown;
  for (const mask of masksOf(keyring, operation)) {
    try {
      return await run(mask);
    } catch (error) {
      if (!WorkflowStateError.is(error, "REQUEST_ID_REUSED")) throw error;
      reused ??= error;
    }
  }
  throw reused;
}

/** The fingerprints of a write with a request id, under each key in turn. */
export function masksOf(keyring: Keyring, operation: WriteOperation): Generator<string> {
  // With the request id: equal writes are not to be told either.
  return keyring.masks(`${fingerprint(operation)}${operation.requestId}`);
}

/** Makes commits that compute, or that this side refuses. */
export class Committer {
  readonly #store: EncodedStore;
  readonly #limits: Limits;

  constructor(store: EncodedStore, limits: Limits) {
    this.#store = store;
    this.#limits = limits;
  }

  /** Makes a checked commit, trying again while others get ahead of it. Whoever calls sees to turns. */
  async commit(
    request: CommitRequest<EncodedForm>,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<CommitResponse<EncodedForm>> {
    for (let tries = 0; tries < TRIES; tries++) {
      const answer = await this.#try(request, values, context);
      if (answer !== undefined) return answer;
      await pause(Math.random() * Math.min(2 ** tries, MAX_PAUSE_MS), context?.signal);
    }
    throw new WorkflowStateError(
      "STORE_UNAVAILABLE",
      "Others write to this session all the time, and nothing was written: try again, or write less often.",
    );
  }

  /** `undefined`: others wrote what it was computed from. */
  async #try(
    request: CommitRequest<EncodedForm>,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<CommitResponse<EncodedForm> | undefined> {
    const { sessionId, changes = [], checks = [] } = request;
    const stored = await this.#read(sessionId, computedKeys(changes), values, context);
    const guards = Array.from(stored, ([key, entry]) => ({ key, ifRevision: entry?.revision ?? 0 }));
    let ready: ReadyWrite<CommitRequest<EncodedForm> & { kind: "commit" }> | undefined;
    let refusal: unknown;
    try {
      ready = sealedCommit(request, stored, values, this.#limits);
    } catch (error) {
      const asks = request.requestId || request.ifRevision !== undefined || checks.length > 0;
      if (!WorkflowStateError.is(error) || !asks) throw error;
      refusal = error;
    }
    const [change] = changes;
    // What is refused may have been answered before, and its checks count first: the store is asked, and writes nothing.
    const never = ready === undefined && change !== undefined ? [{ key: change.key, ifRevision: NEVER }] : [];
    const { kind: _, ...sealed } = ready?.operation ?? { ...request, kind: "commit", changes: [] };
    try {
      const answer = await this.#store.commit(
        { ...sealed, checks: [...checks, ...guards, ...never] },
        context,
      );
      return { ...answer, entries: values.entries(sessionId, answer.entries, ready?.sent) };
    } catch (error) {
      if (!WorkflowStateError.is(error, "REVISION_MISMATCH")) throw error;
      failUnless(error.failedChecks.filter((failed) => isOf(failed, request)));
      if (error.failedChecks.some((failed) => guards.some((guard) => isSame(failed, guard))))
        return undefined;
      throw refusal ?? error;
    }
  }

  /** The entries of keys, opened. */
  async #read(
    sessionId: string,
    keys: readonly string[],
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Map<string, Entry<EncodedForm> | undefined>> {
    const stored = new Map<string, Entry<EncodedForm> | undefined>();
    for (let i = 0; i < keys.length; i += this.#limits.operations) {
      const some = keys.slice(i, i + this.#limits.operations);
      const results =
        some.length > 1
          ? await this.#store.batch(
              some.map((key) => ({ kind: "getState", sessionId, key })),
              context,
            )
          : [];
      for (const [j, key] of some.entries()) {
        const result = results[j];
        // One alone, or one for which there was no room in the answer.
        const entry =
          result?.kind === "getState"
            ? result.entry
            : await this.#store.getState({ sessionId, key }, context);
        stored.set(key, entry && values.entry(sessionId, entry));
      }
    }
    return stored;
  }
}

/** Whether a check that failed is the caller's. */
function isOf(failed: FailedCheck, { checks = [], ifRevision }: CommitRequest<EncodedForm>): boolean {
  if (failed.key === "") return ifRevision !== undefined;
  return checks.some((check) => isSame(failed, check));
}

function isSame(failed: FailedCheck, { key, ifRevision }: Check): boolean {
  return failed.key === key && failed.ifRevision === ifRevision;
}
