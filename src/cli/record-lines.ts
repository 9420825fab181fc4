/**
 * The lines of an export: JSON Lines, one for each record of a backend, between one that says what it is and one that says it
 * is whole. Times are milliseconds since 1970-01-01T00:00:00Z. `docs/stores.md` describes them for programs that read them.
 */
import type { EncodedForm, Entry } from "../store.ts";
import type { SessionKey, StoredRecord } from "../stores/backend.ts";
import type { Metadata } from "../stores/metadata.ts";
import { compareUtf8 } from "../stores/order.ts";
import { decodeValue } from "../value.ts";

/** What the first line calls itself. */
export const FORMAT = "workflow-state-export";
/** The version of the lines that this program writes; it reads those up to it. */
export const VERSION = 1;

/** The first line. */
export function firstLine(): string {
  return line({ format: FORMAT, version: VERSION });
}

/** The last line. */
export function lastLine(sessions: number): string {
  return line({ type: "end", sessions });
}

/**
 * The line of a record. How many entries a session has, and their bytes, it doesn't say: they are counted when it is read.
 * @param mayBeSealed whether values are as they are stored: what looks encrypted is then said to be
 */
export function lineOf(session: SessionKey, record: StoredRecord, mayBeSealed: boolean): string {
  switch (record.kind) {
    case "head": {
      const { revision, born, oldest, expiredRevision, metadataRevision, updateTime, activeTime } = record;
      const { namespace, sessionId } = session;
      return line({
        type: "session",
        namespace,
        sessionId,
        revision,
        born,
        oldest,
        expiredRevision,
        metadataRevision,
        updateTime,
        activeTime,
        metadata: record.metadata && metadataOf(record.metadata),
      });
    }
    case "version": {
      const { key, revision, updateTime, expireTime, ended } = record;
      return line({
        type: "entry",
        key,
        revision,
        updateTime,
        expireTime,
        ended,
        ...valueField(record, mayBeSealed),
      });
    }
    case "event": {
      const { revision, event, requestId, moment } = record;
      const { time, expireTime } = moment;
      return line({
        type: "event",
        revision,
        kind: event,
        time,
        expireTime,
        requestId,
        ended: moment.metadata === undefined || undefined,
        metadata: metadataOf(record.metadata),
        keys: record.keys.map(({ key, removed }) => ({ key, removed: removed || undefined })),
      });
    }
    case "request": {
      const { requestId, time, fingerprint, revision, updateTime, wrote } = record;
      const kept = record.kept && Buffer.from(record.kept).toString("base64");
      return line({ type: "request", requestId, time, fingerprint, revision, updateTime, wrote, kept });
    }
  }
}

function line(record: object): string {
  return `${JSON.stringify(record)}\n`;
}

/** What encrypted values begin with, of any version. */
const SEALED = /^wse\d+:/;

/** The value in plain JSON, or the text of an encrypted one, under a name that keeps it from being encrypted again. */
function valueField({ value }: Entry<EncodedForm>, mayBeSealed: boolean): object {
  if (value === undefined) return {};
  const json = decodeValue(value);
  return mayBeSealed && typeof json === "string" && SEALED.test(json) ? { sealed: json } : { value: json };
}

/** The metadata with its members in one order, whichever the backend gave them in. */
function metadataOf(metadata: Metadata): Metadata {
  const { createTime, workflowId, userId, labels, forkedFrom, expireTime, idleTtlMs } = metadata;
  const sorted = Object.entries(labels).sort(([a], [b]) => compareUtf8(a, b));
  return {
    createTime,
    workflowId,
    userId,
    labels: Object.fromEntries(sorted),
    forkedFrom: forkedFrom && { sessionId: forkedFrom.sessionId, revision: forkedFrom.revision },
    expireTime,
    idleTtlMs,
  };
}
