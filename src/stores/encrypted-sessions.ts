/**
 * Writes of an encrypted store that are about all of a session: save, fork, restore. As no value is sealed the same twice, they
 * read first: what stays the same is sent as it is stored, so that the store sees that it stays.
 */
import { WorkflowStateError } from "../errors.ts";
import type {
  CallContext,
  EncodedForm,
  EncodedStore,
  ForkSessionRequest,
  Limits,
  RestoreSessionRequest,
  SaveSessionRequest,
  Session,
} from "../store.ts";
import { ownValue } from "../validate.ts";
import type { Sealed, SealedValues } from "./encrypted-values.ts";
import { sessionNotFound } from "./failures.ts";
import { pause } from "./pause.ts";
import { ownValues } from "./staging.ts";
import { wholeSession } from "./whole-session.ts";

/** How often a write is made under a check that nobody wrote since it read; then without. */
const GUARDED_TRIES = 8;
/** How often a session is read anew whose revision is no longer kept when it was read. */
const READ_TRIES = 20;
/** A revision that no session is ever at. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** Makes them on a store. Requests are checked already. */
export class SessionWriter {
  readonly #store: EncodedStore;
  readonly #limits: Limits;

  constructor(store: EncodedStore, limits: Limits) {
    this.#store = store;
    this.#limits = limits;
  }

  async save(
    request: SaveSessionRequest<EncodedForm>,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Session<EncodedForm>> {
    const { sessionId } = request.session;
    const state = new Map<string, Uint8Array>();
    for (const [key, value] of request.session.state)
      state.set(key, ownValue(value, this.#limits, `session.state[${JSON.stringify(key)}]`));
    return this.#guarded(request, context, async (ifRevision) => {
      const current = await this.#current(sessionId, context);
      const sent = new Map<string, Sealed>();
      for (const [key, plain] of state) {
        const stored = current?.state.get(key);
        const sealed = sameValue(values.tryOpen(sessionId, key, stored), plain) ? stored : undefined;
        sent.set(key, { plain, sealed: sealed ?? values.seal(sessionId, key, plain) });
      }
      const session = { ...request.session, state: sealedOf(sent) };
      const saved = await this.#store.saveSession(
        { ...request, session, ifRevision: ifRevision(current) },
        context,
      );
      return values.session(saved, sent);
    });
  }

  /**
   * Seals every value anew, for the new session, and has the store put these in place of those that it copies: at the revision
   * that was read, so that none is missed.
   */
  async fork(
    request: ForkSessionRequest<EncodedForm>,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Session<EncodedForm>> {
    const { sessionId, newSessionId, atRevision } = request;
    const given = ownValues(request.values, this.#limits);
    for (let tries = 1; ; tries++) {
      let missing: unknown = sessionNotFound();
      let source: Session<EncodedForm> | undefined;
      try {
        source =
          atRevision === undefined
            ? await this.#current(sessionId, context)
            : await wholeSession(this.#store, { sessionId, atRevision }, this.#limits, context);
      } catch (error) {
        if (!isOutOfReach(error)) throw error;
        missing = error;
      }
      if (source === undefined) return this.#refusedFork(request, missing, values, context);
      const sent = new Map<string, Sealed>();
      for (const [key, stored] of source.state) {
        const plain = given?.get(key) ?? values.open(sessionId, key, stored);
        sent.set(key, { plain, sealed: values.seal(newSessionId, key, plain) });
      }
      const { revision } = source;
      try {
        const fork = { ...request, atRevision: revision, values: sealedOf(sent) };
        return values.session(await this.#store.forkSession(fork, context), sent);
      } catch (error) {
        const lost = WorkflowStateError.is(error, "HISTORY_COMPACTED") && atRevision === undefined;
        if (!lost || tries >= READ_TRIES) throw error;
      }
    }
  }

  async restore(
    request: RestoreSessionRequest<EncodedForm>,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Session<EncodedForm>> {
    const { sessionId, atRevision } = request;
    const given = ownValues(request.values, this.#limits);
    return this.#guarded(request, context, async (ifRevision) => {
      const current = await this.#current(sessionId, context);
      const sent = new Map<string, Sealed>();
      const inPlace = new Map<string, Uint8Array>();
      for (const [key, stored] of await this.#past(sessionId, atRevision, context)) {
        const plain = given?.get(key) ?? values.open(sessionId, key, stored);
        const now = current?.state.get(key);
        const stays = sameValue(values.tryOpen(sessionId, key, now), plain) ? now : undefined;
        const sealed = stays ?? (given?.has(key) ? values.seal(sessionId, key, plain) : stored);
        sent.set(key, { plain, sealed });
        // What is brought back as it was, the store has.
        if (Buffer.compare(sealed, stored) !== 0) inPlace.set(key, sealed);
      }
      const restored = await this.#store.restoreSession(
        { ...request, values: inPlace, ifRevision: ifRevision(current) },
        context,
      );
      return values.session(restored, sent);
    });
  }

  /** The session as it is now, or was a moment ago. */
  async #current(
    sessionId: string,
    context: CallContext | undefined,
  ): Promise<Session<EncodedForm> | undefined> {
    for (let tries = 1; ; tries++) {
      try {
        return await wholeSession(this.#store, { sessionId }, this.#limits, context);
      } catch (error) {
        if (!WorkflowStateError.is(error, "HISTORY_COMPACTED") || tries >= READ_TRIES) throw error;
      }
    }
  }

  /** The state at a revision; nothing where there is none: the store says what is wrong then. */
  async #past(
    sessionId: string,
    atRevision: number,
    context: CallContext | undefined,
  ): Promise<EncodedForm["state"]> {
    try {
      return (
        (await wholeSession(this.#store, { sessionId, atRevision }, this.#limits, context))?.state ??
        new Map()
      );
    } catch (error) {
      if (isOutOfReach(error)) return new Map();
      throw error;
    }
  }

  /**
   * A fork of what is not there: the store is asked for its answer to a repeated one, and whether the new session is there, but
   * for a revision that never is, lest it copies what has come to be there since.
   */
  async #refusedFork(
    request: ForkSessionRequest<EncodedForm>,
    missing: unknown,
    values: SealedValues,
    context: CallContext | undefined,
  ): Promise<Session<EncodedForm>> {
    const { values: _, ...fork } = request;
    try {
      return values.session(await this.#store.forkSession({ ...fork, atRevision: NEVER }, context));
    } catch (error) {
      if (WorkflowStateError.is(error, "SESSION_NOT_FOUND") || isOutOfReach(error)) throw missing;
      throw error;
    }
  }

  /**
   * Runs a write that has read the session under a check that nobody wrote since, the caller's own if there is one. Where others
   * write all the time it is made without in the end: then what stays the same may get a new revision.
   */
  async #guarded<Answer>(
    request: { readonly ifRevision?: number | undefined },
    context: CallContext | undefined,
    write: (ifRevision: (current: Session<EncodedForm> | undefined) => number | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    if (request.ifRevision !== undefined) return write(() => request.ifRevision);
    for (let tries = 0; tries < GUARDED_TRIES; tries++) {
      try {
        return await write((current) => current?.revision ?? 0);
      } catch (error) {
        if (!WorkflowStateError.is(error, "REVISION_MISMATCH")) throw error;
      }
      await pause(Math.random() * 2 ** tries, context?.signal);
    }
    return write(() => undefined);
  }
}

function isOutOfReach(error: unknown): boolean {
  return WorkflowStateError.is(error, "HISTORY_COMPACTED") || WorkflowStateError.is(error, "FUTURE_REVISION");
}

function sealedOf(sent: ReadonlyMap<string, Sealed>): EncodedForm["state"] {
  const state = new Map<string, Uint8Array>();
  for (const [key, { sealed }] of sent) state.set(key, sealed);
  return state;
}

function sameValue(stored: Uint8Array | undefined, plain: Uint8Array): boolean {
  return stored !== undefined && Buffer.compare(stored, plain) === 0;
}
