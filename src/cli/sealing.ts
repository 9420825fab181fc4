/** Encryption as the commands need it that take values one by one, past any store. */
import type { SessionKey } from "../stores/backend.ts";
import { type Keyring, reseal } from "../stores/keyring.ts";

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

/** What is stored anew under the first key; `undefined`: it is under that already. Fails with VALUE_UNREADABLE. */
export function resealer(
  keyring: Keyring,
): (session: SessionKey, key: string, value: Uint8Array) => Uint8Array | undefined {
  return (session, key, value) => reseal(keyring, session, key, value);
}
