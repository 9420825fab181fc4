/** The records in the lines of an export, each checked by itself as if a caller had sent it. */
import type { WorkflowStateError } from "../errors.ts";
import type { EventKind, Limits } from "../store.ts";
import type { SessionKey, StoredRecord } from "../stores/backend.ts";
import { sealedBytes } from "../stores/keyring.ts";
import type { Metadata } from "../stores/metadata.ts";
import {
  checkCommit,
  checkKey,
  checkSessionId,
  MAX_REQUEST_ID_BYTES,
  MAX_TTL_MS,
  utf8Length,
} from "../validate.ts";
import { encodeValue } from "../value.ts";
import { atLine, Fields, type Line, wrongLine } from "./line-fields.ts";
import { FORMAT, VERSION } from "./record-lines.ts";
import type { AnswerChange, ValueChange } from "./sealing.ts";

/** A record that is one of a session's, but its first. */
export type Piece = Exclude<StoredRecord, { readonly kind: "head" }>;

/** What a line says. */
export type Said =
  | {
      readonly type: "session";
      readonly session: SessionKey;
      readonly head: StoredRecord & { readonly kind: "head" };
    }
  | { readonly type: "piece"; readonly piece: Piece }
  | { readonly type: "end"; readonly sessions: number };

/** What reads the lines must know of values. */
export interface ValueRules {
  readonly limits: Limits;
  /** The bytes to keep of a value in plain JSON. */
  readonly seal: ValueChange;
  /** The bytes to keep of a value that was exported encrypted. */
  readonly keep: ValueChange;
  /** What to keep of a remembered answer. */
  readonly remember: AnswerChange;
}

/** The last moment that a message can say, 9999-12-31T23:59:59.999Z: a later one would fail every answer it is in. */
const LATEST = 253_402_300_799_999;
/** The last moment of a write. What is written next is no earlier, and the longest ttl must end by {@link LATEST}. */
const LATEST_WRITE = LATEST - MAX_TTL_MS;

const KINDS: ReadonlySet<string> = new Set<EventKind>([
  "COMMITTED",
  "SAVED",
  "DELETED",
  "EXPIRED",
  "FORKED",
  "RESTORED",
]);

/** Checks the first line of a file. Fails if this is no export, or one of a later version. */
export function checkFirstLine(line: Line): void {
  const fields = new Fields(line.number, line.json);
  if (fields.optional("format") !== FORMAT)
    throw wrongLine(line.number, `this is no export: its format is not ${FORMAT}`);
  const version = fields.integer("version", 1);
  if (version > VERSION) {
    throw wrongLine(
      line.number,
      `the export has version ${version} and this program reads up to ${VERSION}: import it with a newer one`,
    );
  }
  fields.end();
}

/**
 * What a line of a session says. Fails with INVALID_REQUEST, INVALID_SESSION_ID, INVALID_KEY, INVALID_VALUE or VALUE_TOO_LARGE,
 * the `line` and no value.
 * @param session the session that the line belongs to, if one has begun
 */
export function readLine(line: Line, session: SessionKey | undefined, rules: ValueRules): Said {
  const fields = new Fields(line.number, line.json);
  try {
    const said = sayingOf(fields, session, rules);
    fields.end();
    return said;
  } catch (error) {
    throw atLine(line.number, error);
  }
}

function sayingOf(fields: Fields, session: SessionKey | undefined, rules: ValueRules): Said {
  const type = fields.text("type");
  if (type === "session") return sessionOf(fields, rules.limits);
  if (type === "end") return { type, sessions: fields.integer("sessions", 0) };
  if (session === undefined) throw fields.wrong("type", "must be session, before anything of one");
  switch (type) {
    case "entry":
      return { type: "piece", piece: versionOf(fields, session, rules) };
    case "event":
      return { type: "piece", piece: eventOf(fields, rules.limits) };
    case "request":
      return { type: "piece", piece: requestOf(fields, session, rules) };
    default:
      throw fields.wrong("type", "must be session, entry, event, request or end");
  }
}

function sessionOf(fields: Fields, limits: Limits): Said {
  const namespace = fields.text("namespace");
  const sessionId = fields.text("sessionId");
  checkSessionId(sessionId, limits);
  const head = {
    kind: "head" as const,
    revision: fields.integer("revision", 0),
    born: fields.integer("born", 0),
    oldest: fields.integer("oldest", 1),
    expiredRevision: fields.integer("expiredRevision", 0),
    metadataRevision: fields.integer("metadataRevision", 0),
    updateTime: fields.time("updateTime", LATEST_WRITE),
    activeTime: fields.time("activeTime", LATEST_WRITE),
    metadata: fields.has("metadata") ? metadataOf(fields.object("metadata"), limits) : undefined,
    // Whoever keeps the session counts them.
    entries: 0,
    bytes: 0,
  };
  const { revision, born, oldest } = head;
  if (born > revision) throw fields.wrong("born", "must not be after revision");
  if (oldest > revision + 1 || oldest <= born)
    throw fields.wrong("oldest", "must be after born, and at most one after revision");
  if (head.expiredRevision > revision) throw fields.wrong("expiredRevision", "must not be after revision");
  if (head.metadataRevision > revision) throw fields.wrong("metadataRevision", "must not be after revision");
  return { type: "session", session: { namespace, sessionId }, head };
}

function metadataOf(fields: Fields, limits: Limits): Metadata {
  const createTime = fields.time("createTime", LATEST_WRITE);
  const workflowId = fields.optionalText("workflowId");
  const userId = fields.optionalText("userId");
  const labels = fields.any("labels") as Metadata["labels"];
  if (Array.isArray(labels)) throw fields.wrong("labels", "must be an object");
  const idleTtlMs = fields.optionalInteger("idleTtlMs", 1);
  // As strict as a commit that would write them.
  checkCommit({ sessionId: "-", metadata: { workflowId, userId, labels, idleTtlMs } }, limits);
  const forkedFrom = fields.has("forkedFrom") ? forkOf(fields.object("forkedFrom"), limits) : undefined;
  const expireTime = fields.optionalTime("expireTime", LATEST);
  fields.end();
  return { createTime, workflowId, userId, labels, forkedFrom, expireTime, idleTtlMs };
}

function forkOf(fields: Fields, limits: Limits): Metadata["forkedFrom"] {
  const sessionId = fields.text("sessionId");
  checkSessionId(sessionId, limits);
  const revision = fields.integer("revision", 0);
  fields.end();
  return { sessionId, revision };
}

function versionOf(fields: Fields, session: SessionKey, { limits, seal, keep }: ValueRules): Piece {
  const key = fields.text("key");
  checkKey(key, limits);
  const revision = fields.integer("revision", 1);
  const updateTime = fields.time("updateTime", LATEST_WRITE);
  const expireTime = fields.optionalTime("expireTime", LATEST);
  const ended = fields.optionalInteger("ended", revision + 1);
  const value = fields.has("sealed")
    ? keep(
        session,
        key,
        encodeValue(fields.text("sealed"), { ...limits, valueBytes: sealedBytes(limits.valueBytes) }),
      )
    : seal(session, key, encodeValue(fields.any("value"), limits));
  return {
    kind: "version",
    key,
    revision,
    updateTime,
    expireTime,
    value,
    ...(ended === undefined ? {} : { ended }),
  };
}

function eventOf(fields: Fields, limits: Limits): Piece {
  const revision = fields.integer("revision", 1);
  const kind = fields.text("kind");
  if (!KINDS.has(kind)) throw fields.wrong("kind", "must be a kind of event");
  const time = fields.time("time", LATEST_WRITE);
  const expireTime = fields.optionalTime("expireTime", LATEST);
  const requestId = fields.has("requestId") ? requestIdOf(fields) : undefined;
  const ended = fields.flag("ended");
  const metadata = metadataOf(fields.object("metadata"), limits);
  const keys = fields.list("keys").map((item) => keyOf(new Fields(fields.number, item, "keys."), limits));
  return {
    kind: "event",
    revision,
    event: kind as EventKind,
    requestId,
    keys,
    moment: { metadata: ended ? undefined : metadata, time, expireTime },
    metadata,
  };
}

function keyOf(fields: Fields, limits: Limits): { key: string; removed: boolean } {
  const key = fields.text("key");
  checkKey(key, limits);
  const removed = fields.flag("removed");
  fields.end();
  return { key, removed };
}

function requestOf(fields: Fields, session: SessionKey, { remember }: ValueRules): Piece {
  const fingerprint = fields.text("fingerprint");
  if (fingerprint.length !== 24) throw fields.wrong("fingerprint", "must have 24 characters");
  const wrote = fields.any("wrote");
  if (typeof wrote !== "boolean") throw fields.wrong("wrote", "must be true or false");
  const requestId = requestIdOf(fields);
  const kept = fields.has("kept") ? fields.bytes("kept") : undefined;
  return {
    kind: "request",
    requestId,
    time: fields.time("time", LATEST_WRITE),
    ...remember(session, requestId, { fingerprint, kept }),
    revision: fields.integer("revision", 0),
    updateTime: fields.optionalTime("updateTime", LATEST_WRITE),
    wrote,
  };
}

function requestIdOf(fields: Fields): string {
  const requestId = fields.text("requestId");
  if (requestId !== "" && utf8Length(requestId) <= MAX_REQUEST_ID_BYTES) return requestId;
  throw fields.wrong("requestId", `must have 1 to ${MAX_REQUEST_ID_BYTES} bytes`);
}

/** An error of a file that ends too early. */
export function cutShort(line: number): WorkflowStateError {
  return wrongLine(line, "the file ends here and should not: it was cut short");
}
