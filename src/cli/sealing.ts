/** Encryption as the commands need it that take values one by one, past any store. */
import type { Remembered, SessionKey } from "../stores/backend.ts";
import { type Keyring, reseal } from "../stores/keyring.ts";
import { valuesOfWhole } from "../stores/packed.ts";

/** Takes a value where it is stored, and gives another for the same place. */
export type ValueChange = (session: SessionKey, key: string, value: Uint8Array) => Uint8Array;

/** What a value is in an export, of the bytes that are stored; `undefined`: those. Fails with VALUE_UNREADABLE. */
export function opener(keyring: Keyring | undefined): ValueChange | undefined {
  return keyring && ((session, key, value) => keyring.open(value, { ...session, key }));
}

/** What is stored, of the bytes of a value in an export. */
export function sealer(keyring: Keyring | undefined): ValueChange {
  return keyring === undefined
    ? (_, __, value) => value
    : (session, key, value) => keyring.seal(value, { ...session, key });
}

/** What is stored of a value that was exported without keys, encrypted: the same, if the keys open it. Fails with VALUE_UNREADABLE. */
export function keeper(keyring: Keyring | undefined): ValueChange {
  return (session, key, value) => {
    keyring?.open(value, { ...session, key });
    return value;
  };
}

/** What is remembered of a request beside its outcome. */
export type Answer = Pick<Remembered, "fingerprint" | "kept">;

/** Takes what an export remembers of a request, and gives what to store of it. */
export type AnswerChange = (session: SessionKey, requestId: string, answer: Answer) => Answer;

/**
 * What is stored of a remembered answer in an export. With keys: the same where it tells that it holds all its values, if any, and
 * these are encrypted under them, as an encrypted store has made it. Of any other the values are dropped, and the fingerprint, by which guesses at values could be
 * tested, is masked: the id stays taken, so that a repeated write is refused and not made twice.
 */
export function answerKeeper(keyring: Keyring | undefined): AnswerChange {
  return (session, requestId, answer) => {
    if (keyring === undefined || isSealed(keyring, session, answer.kept)) return answer;
    const { namespace, sessionId } = session;
    const text = JSON.stringify(["imported", namespace, sessionId, requestId, answer.fingerprint]);
    const [mask = ""] = keyring.masks(text);
    return { fingerprint: mask.slice(0, answer.fingerprint.length), kept: undefined };
  };
}

function isSealed(keyring: Keyring, session: SessionKey, kept: Uint8Array | undefined): boolean {
  if (kept === undefined) return false;
  try {
    const values = valuesOfWhole(kept);
    // Throws for what can't be opened.
    for (const { key, value } of values ?? []) keyring.open(value, { ...session, key });
    return values !== undefined;
  } catch {
    return false;
  }
}

/** What is stored anew under the first key; `undefined`: it is under that already. Fails with VALUE_UNREADABLE. */
export function resealer(
  keyring: Keyring,
): (session: SessionKey, key: string, value: Uint8Array) => Uint8Array | undefined {
  return (session, key, value) => reseal(keyring, session, key, value);
}
