/** The values of one tenant on their way into and out of an encrypted store. */
import { WorkflowStateError } from "../errors.ts";
import type { EncodedForm, Entry, Event, Result, Session, SessionChange, WatchMessage } from "../store.ts";
import type { Keyring } from "./keyring.ts";

/** A value as it was sealed for a write. */
export interface Sealed {
  readonly plain: Uint8Array;
  readonly sealed: Uint8Array;
}

/** Seals and opens the values of a namespace. What can't be opened fails with VALUE_UNREADABLE. */
export class SealedValues {
  readonly #keyring: Keyring;
  readonly #namespace: string;

  constructor(keyring: Keyring, namespace: string) {
    this.#keyring = keyring;
    this.#namespace = namespace;
  }

  seal(sessionId: string, key: string, plain: Uint8Array): Uint8Array {
    return this.#keyring.seal(plain, { namespace: this.#namespace, sessionId, key });
  }

  open(sessionId: string, key: string, sealed: Uint8Array): Uint8Array {
    return this.#keyring.open(sealed, { namespace: this.#namespace, sessionId, key });
  }

  /** As `open`; `undefined` where it can't be opened. */
  tryOpen(sessionId: string, key: string, sealed: Uint8Array | undefined): Uint8Array | undefined {
    if (sealed === undefined) return undefined;
    try {
      return this.open(sessionId, key, sealed);
    } catch (error) {
      if (WorkflowStateError.is(error, "VALUE_UNREADABLE")) return undefined;
      throw error;
    }
  }

  /** The answer's value: what was sent if it is that, which a replay's is not. */
  written(sessionId: string, key: string, answered: Uint8Array, sent: Sealed | undefined): Uint8Array {
    return sent !== undefined && Buffer.compare(answered, sent.sealed) === 0
      ? sent.plain
      : this.open(sessionId, key, answered);
  }

  /** An entry, opened. @param sent what the write that it answers sent, by key */
  entry(
    sessionId: string,
    entry: Entry<EncodedForm>,
    sent?: ReadonlyMap<string, Sealed>,
  ): Entry<EncodedForm> {
    const { key, value, revision, updateTime, expireTime } = entry;
    const plain = value === undefined ? undefined : this.written(sessionId, key, value, sent?.get(key));
    return { key, value: plain, revision, updateTime, expireTime };
  }

  entries(
    sessionId: string,
    entries: readonly Entry<EncodedForm>[],
    sent?: ReadonlyMap<string, Sealed>,
  ): Entry<EncodedForm>[] {
    return entries.map((entry) => this.entry(sessionId, entry, sent));
  }

  state(sessionId: string, state: EncodedForm["state"], sent?: ReadonlyMap<string, Sealed>): Plain {
    const plain = new Map<string, Uint8Array>();
    for (const [key, value] of state) plain.set(key, this.written(sessionId, key, value, sent?.get(key)));
    return plain;
  }

  session<S extends Session<EncodedForm> | undefined>(session: S, sent?: ReadonlyMap<string, Sealed>): S {
    if (session === undefined) return session;
    return { ...session, state: this.state(session.sessionId, session.state, sent) };
  }

  event(event: Event<EncodedForm>): Event<EncodedForm> {
    return { ...event, entries: this.entries(event.sessionId, event.entries) };
  }

  message(message: WatchMessage<EncodedForm>): WatchMessage<EncodedForm> {
    switch (message.kind) {
      case "snapshot":
        return { kind: "snapshot", snapshot: this.session(message.snapshot) };
      case "event":
        return { kind: "event", event: this.event(message.event) };
      case "progress":
        return message;
    }
  }

  change({ session, kind }: SessionChange<EncodedForm>): SessionChange<EncodedForm> {
    return { session: this.session(session), kind };
  }

  /** The result of an operation on a session; one that can't be opened is that error. */
  result(
    sessionId: string,
    result: Result<EncodedForm>,
    sent?: ReadonlyMap<string, Sealed>,
  ): Result<EncodedForm> {
    try {
      switch (result.kind) {
        case "getState":
          return { kind: "getState", entry: result.entry && this.entry(sessionId, result.entry) };
        case "setState":
          return { kind: "setState", entry: this.entry(sessionId, result.entry, sent) };
        case "commit":
          return { ...result, entries: this.entries(sessionId, result.entries, sent) };
        case "getSession":
          return { kind: "getSession", session: this.session(result.session) };
        default:
          return result;
      }
    } catch (error) {
      if (WorkflowStateError.is(error)) return { kind: "error", error };
      throw error;
    }
  }
}

/** A state, opened. */
export type Plain = Map<string, Uint8Array>;
