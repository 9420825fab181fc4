/**
 * How the answer to a write is kept until its request id is forgotten, beside what every store keeps of it: bytes that a later
 * version, too, can read. A byte that says the version, the length of a head in four bytes, the head in JSON, the values.
 */
import { WorkflowStateError } from "../errors.ts";
import type { EncodedForm, Session } from "../store.ts";

/** What a commit left at a key that it named. */
export interface KeptEntry {
  readonly key: string;
  /** `undefined`: the key is gone. */
  readonly value: Uint8Array | undefined;
  /** How long it lives from the commit's time; 0 or absent: `expireTime` says. */
  readonly ttlMs: number | undefined;
  readonly expireTime: number | undefined;
}

/** What is kept of the answer to a commit. */
export interface KeptCommit {
  readonly entries: readonly KeptEntry[];
  /** Whether these are all; if not, the repeated request says the others. */
  readonly whole: boolean;
}

/** A session in an answer, less what every store keeps beside it: the revision and the time of the commit. */
export type KeptSession = Omit<Session<EncodedForm>, "revision" | "updateTime">;

const VERSION = 1;
const HEAD_START = 5;

interface CommitHead {
  readonly lengths: readonly (number | null)[];
  readonly entries: readonly Omit<KeptEntry, "value">[];
  readonly whole: boolean;
}

interface SessionHead {
  readonly lengths: readonly number[];
  readonly keys: readonly string[];
  readonly session: Omit<KeptSession, "state">;
  /** Absent: values are all that there were if there are any. */
  readonly whole?: true;
}

/** The bytes of a commit's answer. */
export function packCommit({ entries, whole }: KeptCommit): Uint8Array {
  const head: CommitHead = {
    lengths: entries.map(({ value }) => value?.length ?? null),
    entries: entries.map(({ key, ttlMs, expireTime }) => ({ key, ttlMs, expireTime })),
    whole,
  };
  return pack(
    head,
    entries.flatMap(({ value }) => (value === undefined ? [] : [value])),
  );
}

/** A commit's answer from its bytes. */
export function unpackCommit(bytes: Uint8Array): KeptCommit {
  const { head, values } = unpack<CommitHead>(bytes);
  const entries = head.entries.map(({ key, ttlMs, expireTime }, i) => ({
    key,
    value: values[i],
    ttlMs,
    expireTime,
  }));
  return { entries, whole: head.whole };
}

/** The bytes of a session. @param whole whether they must tell that its values are all there, also where it has none */
export function packSession({ state, ...session }: KeptSession, whole = false): Uint8Array {
  const values = [...state.values()];
  const head: SessionHead = {
    lengths: values.map(({ length }) => length),
    keys: [...state.keys()],
    session,
    ...(whole ? { whole } : {}),
  };
  return pack(head, values);
}

/** A session from its bytes. */
export function unpackSession(bytes: Uint8Array): KeptSession {
  const { head, values } = unpack<SessionHead>(bytes);
  const state = new Map(head.keys.map((key, i) => [key, values[i] as Uint8Array]));
  return { ...head.session, state };
}

/**
 * The values in the bytes of an answer, with their keys; `undefined`: these are not all that it holds, as the repeated request
 * brings others, or nothing tells that they are. Throws for what are no such bytes.
 */
export function valuesOfWhole(bytes: Uint8Array): { key: string; value: Uint8Array }[] | undefined {
  const { head, values } = unpack<CommitHead | SessionHead>(bytes);
  if (!(head.whole ?? values.length > 0)) return undefined;
  const keys = "keys" in head ? head.keys : head.entries.map(({ key }) => key);
  return keys.flatMap((key, i) => {
    const value = values[i];
    return value === undefined ? [] : [{ key, value }];
  });
}

function pack(head: CommitHead | SessionHead, values: readonly Uint8Array[]): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(head));
  const size = values.reduce((sum, { length }) => sum + length, HEAD_START + text.length);
  const bytes = new Uint8Array(size);
  bytes[0] = VERSION;
  new DataView(bytes.buffer).setUint32(1, text.length);
  bytes.set(text, HEAD_START);
  let at = HEAD_START + text.length;
  for (const value of values) {
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}

function unpack<Head extends CommitHead | SessionHead>(
  bytes: Uint8Array,
): { head: Head; values: (Uint8Array | undefined)[] } {
  if (bytes[0] !== VERSION) {
    throw new WorkflowStateError(
      "STORE_UNAVAILABLE",
      "The first answer to this request was kept by a newer version of this program: repeat it there.",
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = HEAD_START + view.getUint32(1);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(HEAD_START, at))) as Head;
  const values = head.lengths.map((length) => {
    if (length === null) return undefined;
    at += length;
    return bytes.slice(at - length, at);
  });
  return { head, values };
}
