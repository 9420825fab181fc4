/** What writes come to, key by key: the changes of a commit taken together, and the way from one state to another. */
import type { Change, EncodedForm, Entry, Limits } from "../store.ts";
import { ownValue, utf8Length } from "../validate.ts";
import { type ComputedChange, compute } from "./computed.ts";
import { commitTooLarge } from "./failures.ts";
import { compareUtf8 } from "./order.ts";
import { sameBytes } from "./same-bytes.ts";

/** What a write leaves at one key; no value: it removes the key. */
export interface KeyWrite {
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly expireTime: number | undefined;
}

/** What the changes of a commit leave at one key that they name. */
export interface Staged extends KeyWrite {
  /** How long the entry lives from the commit's time; 0 or absent: `expireTime` says. */
  readonly ttlMs: number | undefined;
  /** Whether it is a write; a removal of what is not there is none. */
  readonly written: boolean;
  /** Whether the request alone says what it is. */
  readonly given: boolean;
}

/** What the answer of a commit holds beside its entries. */
const ANSWER_MARGIN_BYTES = 16 << 10;

/**
 * Takes the changes of a commit together: one write for each key, in the order in which they are first named.
 * @param stored the entry that is there before the commit. It is asked for every key that is named; of those that
 *   {@link neededKeys} leaves out it may know nothing
 * @param time the commit's time if it is known, for the deadlines
 * Fails as computed changes do, with the errors of values, and with REQUEST_TOO_LARGE.
 */
export function stage(
  changes: readonly Change<EncodedForm>[],
  stored: (key: string) => Entry<EncodedForm> | undefined,
  time: number,
  limits: Limits,
): Map<string, Staged> {
  const staged = new Map<string, Staged>();
  for (let i = 0; i < changes.length; i++) {
    const change = changes[i] as Change<EncodedForm>;
    const { key } = change;
    const earlier = staged.get(key);
    const before = earlier ?? stored(key);
    const ttlMs = earlier?.ttlMs;
    if (change.kind === "delete") {
      const written = earlier?.written === true || before?.value !== undefined;
      staged.set(key, {
        key,
        value: undefined,
        ttlMs: undefined,
        expireTime: undefined,
        written,
        given: true,
      });
    } else if (change.kind !== "set") {
      const value = compute(change, before?.value, limits);
      const expireTime = before?.expireTime;
      staged.set(key, { key, value, ttlMs, expireTime, written: true, given: false });
    } else {
      const value = ownValue(change.value, limits, `changes[${i}].set.value`);
      if (change.keepExpiry === true) {
        const expireTime = before?.expireTime;
        staged.set(key, { key, value, ttlMs, expireTime, written: true, given: false });
      } else {
        const expireTime = change.ttlMs ? time + change.ttlMs : undefined;
        staged.set(key, { key, value, ttlMs: change.ttlMs, expireTime, written: true, given: true });
      }
    }
  }
  checkRoom(staged, limits);
  return staged;
}

/** The keys whose entries a commit must know before it can be made, each once. */
export function neededKeys(changes: readonly Change<EncodedForm>[]): string[] {
  const first = new Map<string, boolean>();
  for (const change of changes) if (!first.has(change.key)) first.set(change.key, dependsOnStored(change));
  return Array.from(first).flatMap(([key, needed]) => (needed ? [key] : []));
}

function dependsOnStored(change: Change<EncodedForm>): change is ComputedChange {
  return change.kind === "set" ? change.keepExpiry === true : change.kind !== "delete";
}

function checkRoom(staged: ReadonlyMap<string, Staged>, limits: Limits): void {
  let bytes = 0;
  for (const { key, value } of staged.values()) bytes += 64 + entryBytes(key, value);
  const room = limits.requestBytes - ANSWER_MARGIN_BYTES;
  if (bytes > room) throw commitTooLarge(bytes, room);
}

/** The writes that make live entries a state, by key; an entry stays as it is if its value and its expiry do. */
export function difference(
  live: ReadonlyMap<string, Entry<EncodedForm>>,
  state: EncodedForm["state"],
  expireTimeAfter: (entry: Entry<EncodedForm>) => number | undefined,
): KeyWrite[] {
  const writes: KeyWrite[] = [];
  for (const key of live.keys())
    if (!state.has(key)) writes.push({ key, value: undefined, expireTime: undefined });
  for (const [key, value] of state) {
    const entry = live.get(key);
    const stays = entry !== undefined && sameBytes(entry.value as Uint8Array, value);
    if (!stays || entry.expireTime !== expireTimeAfter(entry))
      writes.push({ key, value, expireTime: undefined });
  }
  return writes.sort((a, b) => compareUtf8(a.key, b.key));
}

/** What a copy of entries writes, by key, less what has expired; `values` stand in place of the entries' own. */
export function copies(
  entries: Iterable<Entry<EncodedForm>>,
  time: number,
  values: EncodedForm["state"] | undefined,
): KeyWrite[] {
  const writes: KeyWrite[] = [];
  for (const { key, value, expireTime } of entries)
    if (expireTime === undefined || expireTime > time)
      writes.push({ key, value: values?.get(key) ?? value, expireTime });
  return writes.sort((a, b) => compareUtf8(a.key, b.key));
}

/** The values of a fork or a restore, checked and copied. Fails with INVALID_VALUE, VALUE_TOO_LARGE. */
export function ownValues(
  values: EncodedForm["state"] | undefined,
  limits: Limits,
): EncodedForm["state"] | undefined {
  if (values === undefined) return undefined;
  const own = new Map<string, Uint8Array>();
  for (const [key, value] of values) own.set(key, ownValue(value, limits, `values[${JSON.stringify(key)}]`));
  return own;
}

/** Bytes of an entry as the session limit counts them: its key's and its encoded value's. */
export function entryBytes(key: string, value: Uint8Array | undefined): number {
  return utf8Length(key) + (value === undefined ? 0 : value.length);
}
