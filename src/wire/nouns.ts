/** The nouns of the schema, between the encoded messages and the types of `store.ts`: sessions, entries, changes, events. */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import type * as Message from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { EventKind as WireKind } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type {
  Change,
  Check,
  EncodedForm,
  Entry,
  Event,
  EventKind,
  Session,
  SessionContent,
  SessionMetadata,
} from "../store.ts";

/** No fields: what a message field that is not set adds to a request. */
export const NOTHING: Readonly<Record<never, never>> = Object.freeze({});

/** A revision as bigint; `undefined` stays. */
export function toInt64(revision: number): bigint;
export function toInt64(revision: number | undefined): bigint | undefined;
export function toInt64(revision: number | undefined): bigint | undefined {
  return revision === undefined ? undefined : BigInt(revision);
}

/** A count as int32, where a larger one means the same as the largest; absent: 0. */
export function toInt32(count = 0): number {
  return Math.min(count, 0x7fff_ffff);
}

/**
 * A duration in whole milliseconds, rounded up, so that what is short does not become "none".
 * A negative one stays negative and an invalid one is NaN: the validator refuses both.
 */
export function fromDuration({ seconds, nanos }: Duration): number {
  const whole = Number(seconds);
  if (Math.abs(nanos) > 999_999_999 || (whole > 0 && nanos < 0) || (whole < 0 && nanos > 0)) {
    return Number.NaN;
  }
  return whole < 0 || nanos < 0
    ? whole * 1000 + Math.floor(nanos / 1e6)
    : whole * 1000 + Math.ceil(nanos / 1e6);
}

/** Milliseconds as a duration; `undefined` stays. */
export function toDuration(ms: number | undefined): Duration | undefined {
  return ms === undefined ? undefined : { $typeName: "google.protobuf.Duration", ...split(ms) };
}

/**
 * A point in time in whole milliseconds, rounded as asked. One that is invalid is NaN: the validator refuses it.
 * Times of stores have no fraction of a millisecond: "after" rounds down, "before" up.
 */
export function fromTimestamp(
  { seconds, nanos }: Timestamp,
  round: (ms: number) => number = Math.floor,
): number {
  const whole = Number(seconds);
  // 0001-01-01 to 9999-12-31, as the type's own definition says.
  if (nanos < 0 || nanos > 999_999_999 || whole < -62_135_596_800 || whole > 253_402_300_799) {
    return Number.NaN;
  }
  return whole * 1000 + round(nanos / 1e6);
}

/** Milliseconds as a point in time; `undefined` stays. */
export function toTimestamp(ms: number | undefined): Timestamp | undefined {
  return ms === undefined ? undefined : { $typeName: "google.protobuf.Timestamp", ...split(ms) };
}

function split(ms: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1000) * 1e6 };
}

/** Entries of a map of strings as a record; of two with one name the last counts, as in any protobuf map. */
export function fromStrings(entries: readonly Message.StringEntry[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (const { key, value } of entries) {
    if (key === "__proto__") {
      // An assignment would set the prototype.
      Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true });
    } else {
      record[key] = value;
    }
  }
  return record;
}

/** A record of strings as entries of a map; `undefined` is an empty map. */
export function toStrings(record: Readonly<Record<string, string>> | undefined): Message.StringEntry[] {
  return record === undefined
    ? []
    : Object.entries(record).map(([key, value]) => ({
        $typeName: "agenterra.state.v1.StringEntry",
        key,
        value,
      }));
}

/** What SaveSession writes of a session message. */
export function contentFromWire(message: Message.Session): SessionContent<EncodedForm> {
  return {
    sessionId: message.sessionId,
    state: stateFromWire(message.state),
    ...owners(message),
    labels: fromStrings(message.labels),
  };
}

/** The session message that carries what SaveSession writes. */
export function contentToWire(content: SessionContent<EncodedForm>): Message.Session {
  return {
    $typeName: "agenterra.state.v1.Session",
    sessionId: content.sessionId,
    state: stateToWire(content.state),
    workflowId: content.workflowId,
    userId: content.userId,
    labels: toStrings(content.labels),
    revision: 0n,
  };
}

/** A session out of an answer. */
export function sessionFromWire(message: Message.Session): Session<EncodedForm> {
  const { createTime, updateTime, expireTime, forkedFrom } = message;
  return {
    sessionId: message.sessionId,
    state: stateFromWire(message.state),
    ...(createTime === undefined ? NOTHING : { createTime: fromTimestamp(createTime) }),
    ...(updateTime === undefined ? NOTHING : { updateTime: fromTimestamp(updateTime) }),
    ...owners(message),
    labels: fromStrings(message.labels),
    revision: Number(message.revision),
    ...(expireTime === undefined ? NOTHING : { expireTime: fromTimestamp(expireTime) }),
    ...(forkedFrom === undefined
      ? NOTHING
      : { forkedFrom: { sessionId: forkedFrom.sessionId, revision: Number(forkedFrom.revision) } }),
  };
}

/** The message of a session, for an answer. */
export function sessionToWire(session: Session<EncodedForm>): Message.Session {
  const { forkedFrom } = session;
  return {
    $typeName: "agenterra.state.v1.Session",
    sessionId: session.sessionId,
    state: stateToWire(session.state),
    createTime: toTimestamp(session.createTime),
    updateTime: toTimestamp(session.updateTime),
    workflowId: session.workflowId,
    userId: session.userId,
    labels: toStrings(session.labels),
    revision: BigInt(session.revision),
    expireTime: toTimestamp(session.expireTime),
    forkedFrom:
      forkedFrom === undefined
        ? undefined
        : {
            $typeName: "agenterra.state.v1.ForkedFrom",
            sessionId: forkedFrom.sessionId,
            revision: BigInt(forkedFrom.revision),
          },
  };
}

function owners(message: { workflowId?: string | undefined; userId?: string | undefined }): {
  workflowId?: string;
  userId?: string;
} {
  return {
    ...(message.workflowId === undefined ? NOTHING : { workflowId: message.workflowId }),
    ...(message.userId === undefined ? NOTHING : { userId: message.userId }),
  };
}

/** A state, or a part of one. */
export function stateFromWire(entries: readonly Message.EncodedEntry[]): ReadonlyMap<string, Uint8Array> {
  return new Map(entries.map(({ key, value }) => [key, value]));
}

/** The entries of a state, or of a part of one. */
export function stateToWire(state: ReadonlyMap<string, Uint8Array>): Message.EncodedEntry[] {
  return Array.from(state, ([key, value]) => ({ $typeName: "agenterra.state.v1.EncodedEntry", key, value }));
}

/** An entry out of an answer. */
export function entryFromWire(message: Message.Entry): Entry<EncodedForm> {
  const { value, updateTime, expireTime } = message;
  return {
    key: message.key,
    ...(value === undefined ? NOTHING : { value }),
    revision: Number(message.revision),
    updateTime: updateTime === undefined ? 0 : fromTimestamp(updateTime),
    ...(expireTime === undefined ? NOTHING : { expireTime: fromTimestamp(expireTime) }),
  };
}

/** The message of an entry, for an answer. */
export function entryToWire(entry: Entry<EncodedForm>): Message.Entry {
  return {
    $typeName: "agenterra.state.v1.Entry",
    key: entry.key,
    value: entry.value,
    revision: BigInt(entry.revision),
    updateTime: toTimestamp(entry.updateTime),
    expireTime: toTimestamp(entry.expireTime),
  };
}

/** A check of a commit. */
export function checkFromWire(message: Message.Check): Check {
  return { key: message.key, ifRevision: Number(message.ifRevision) };
}

/** The message of a check. */
export function checkToWire(check: Check): Message.Check {
  return { $typeName: "agenterra.state.v1.Check", key: check.key, ifRevision: BigInt(check.ifRevision) };
}

/** A change of a commit. One that is not set, or of a kind unknown here, is of no known kind: the validator refuses it. */
export function changeFromWire({ change }: Message.Change): Change<EncodedForm> {
  switch (change.case) {
    case "set": {
      const { key, value, ttl, keepExpiry } = change.value;
      return {
        kind: "set",
        key,
        value: required(value),
        ...(ttl === undefined ? NOTHING : { ttlMs: fromDuration(ttl) }),
        ...(keepExpiry ? { keepExpiry } : NOTHING),
      };
    }
    case "delete":
      return { kind: "delete", key: change.value.key };
    case "increment":
      return { kind: "increment", key: change.value.key, delta: change.value.delta };
    case "append": {
      const { key, values, maxItems } = change.value;
      return { kind: "append", key, values, ...(maxItems === 0 ? NOTHING : { maxItems }) };
    }
    case "merge":
      return { kind: "merge", key: change.value.key, value: required(change.value.value) };
    default:
      return { kind: undefined } as unknown as Change<EncodedForm>;
  }
}

/** The message of a change. */
export function changeToWire(change: Change<EncodedForm>): Message.Change {
  return { $typeName: "agenterra.state.v1.Change", change: changeCase(change) };
}

function changeCase(change: Change<EncodedForm>): Message.Change["change"] {
  const { key } = change;
  switch (change.kind) {
    case "set": {
      const { value, keepExpiry = false } = change;
      const ttl = toDuration(change.ttlMs);
      return {
        case: "set",
        value: { $typeName: "agenterra.state.v1.SetChange", key, value, ttl, keepExpiry },
      };
    }
    case "delete":
      return { case: "delete", value: { $typeName: "agenterra.state.v1.DeleteChange", key } };
    case "increment": {
      const { delta } = change;
      return { case: "increment", value: { $typeName: "agenterra.state.v1.IncrementChange", key, delta } };
    }
    case "append": {
      const values = [...change.values];
      const maxItems = toInt32(change.maxItems);
      return {
        case: "append",
        value: { $typeName: "agenterra.state.v1.AppendChange", key, values, maxItems },
      };
    }
    case "merge": {
      const { value } = change;
      return { case: "merge", value: { $typeName: "agenterra.state.v1.MergeChange", key, value } };
    }
  }
}

/** A value that the schema requires; where it is missing the validator must meet just that, and refuses it. */
export function required(value: Uint8Array | undefined): Uint8Array {
  return value as Uint8Array;
}

/** What a commit changes about its session. Fails with INVALID_REQUEST where labels are both given and cleared. */
export function metadataFromWire(message: Message.SessionMetadata): SessionMetadata {
  const { labels, clearLabels, ttl, idleTtl } = message;
  if (clearLabels && labels.length > 0) {
    throw new WorkflowStateError(
      "INVALID_REQUEST",
      "metadata.clear_labels must be false where metadata.labels are given.",
      { metadata: { field: "metadata.clear_labels" } },
    );
  }
  return {
    ...owners(message),
    ...(clearLabels || labels.length > 0 ? { labels: fromStrings(labels) } : NOTHING),
    ...(ttl === undefined ? NOTHING : { ttlMs: fromDuration(ttl) }),
    ...(idleTtl === undefined ? NOTHING : { idleTtlMs: fromDuration(idleTtl) }),
  };
}

/** The message of what a commit changes about its session. */
export function metadataToWire(metadata: SessionMetadata): Message.SessionMetadata {
  const labels = toStrings(metadata.labels);
  return {
    $typeName: "agenterra.state.v1.SessionMetadata",
    workflowId: metadata.workflowId,
    userId: metadata.userId,
    labels,
    ttl: toDuration(metadata.ttlMs),
    idleTtl: toDuration(metadata.idleTtlMs),
    clearLabels: metadata.labels !== undefined && labels.length === 0,
  };
}

const KIND_NAMES = new Map<number, EventKind>(
  Object.entries(WireKind)
    .filter(([name]) => name !== "UNSPECIFIED")
    .map(([name, number]) => [number, name as EventKind]),
);

/** The kind of a write. One that this version does not know, from a newer service, counts as COMMITTED: something was written. */
export function kindFromWire(kind: Message.EventKind): EventKind {
  return KIND_NAMES.get(kind) ?? "COMMITTED";
}

/** The number of a kind of write. */
export function kindToWire(kind: EventKind): Message.EventKind {
  return WireKind[kind];
}

/** An event out of an answer. */
export function eventFromWire(message: Message.Event): Event<EncodedForm> {
  return {
    sessionId: message.sessionId,
    revision: Number(message.revision),
    time: message.time === undefined ? 0 : fromTimestamp(message.time),
    kind: kindFromWire(message.kind),
    entries: message.entries.map(entryFromWire),
    ...(message.requestId === "" ? NOTHING : { requestId: message.requestId }),
  };
}

/** The message of an event. */
export function eventToWire(event: Event<EncodedForm>): Message.Event {
  return {
    $typeName: "agenterra.state.v1.Event",
    sessionId: event.sessionId,
    revision: BigInt(event.revision),
    time: toTimestamp(event.time),
    kind: kindToWire(event.kind),
    entries: event.entries.map(entryToWire),
    requestId: event.requestId ?? "",
  };
}
