/** Everything that a backend keeps, as lines of text. */
import type { Backend, SessionKey, StoredRecord } from "../stores/backend.ts";
import { retried, sessionPages } from "../stores/moving.ts";
import { compareUtf8 } from "../stores/order.ts";
import { firstLine, lastLine, lineOf } from "./record-lines.ts";
import type { ValueChange } from "./sealing.ts";

/** How to export. */
export interface ExportOptions {
  /** What an encrypted value holds; throws if it can't be read. Absent: values are taken as they are. */
  readonly open?: ValueChange | undefined;
  /** Ends the lines before the next session once it is aborted; the last line is then missing. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each session. */
  readonly onProgress?: ((sessions: number) => void) | undefined;
}

/** A session of no more bytes than this has its lines in one order, whichever store it comes from. */
const SORTED_BYTES = 16 << 20;

/**
 * The lines of an export, each with its end. Each session is as it was at one moment; they come in the backend's order. Holds a
 * bounded part of a session in memory, and reads no faster than the lines are taken.
 */
export async function* exportLines(from: Backend, options: ExportOptions): AsyncGenerator<string> {
  const { signal, onProgress, open } = options;
  let sessions = 0;
  yield firstLine();
  for await (const page of sessionPages(from, signal)) {
    for (const session of page) {
      if (signal?.aborted) return;
      let any = false;
      for await (const record of recordsOf(from, session)) {
        any = true;
        yield lineOf(session, opened(session, record, open), open === undefined);
      }
      if (!any) continue;
      sessions++;
      onProgress?.(sessions);
    }
  }
  if (!signal?.aborted) yield lastLine(sessions);
}

/** The records of a session. Where the database is away for a moment before the first is given out, it begins anew. */
async function* recordsOf(from: Backend, session: SessionKey): AsyncGenerator<StoredRecord> {
  const { first, rest } = await retried(async () => {
    const rest = sorted(from.dump(session));
    return { first: await rest.next(), rest };
  });
  try {
    if (first.done) return;
    yield first.value;
    yield* rest;
  } finally {
    // One of which only the first was taken was never begun again, and holds a connection.
    await rest.return(undefined);
  }
}

/** The records in order, so that what is the same reads the same; as they come where they are too many to be held. */
async function* sorted(records: AsyncIterable<StoredRecord>): AsyncGenerator<StoredRecord> {
  let held: StoredRecord[] = [];
  let left = SORTED_BYTES;
  for await (const record of records) {
    held.push(record);
    left -= 200 + (record.kind === "version" ? (record.value?.length ?? 0) : 0);
    if (left > 0) continue;
    yield* held;
    held = [];
  }
  if (left > 0) held.sort(compareRecords);
  yield* held;
}

const ORDER: Readonly<Record<StoredRecord["kind"], number>> = { head: 0, version: 1, event: 2, request: 3 };

/** Entries by key and revision, then events by revision, then answers by request id. */
function compareRecords(a: StoredRecord, b: StoredRecord): number {
  if (a.kind === "version" && b.kind === "version")
    return compareUtf8(a.key, b.key) || a.revision - b.revision;
  if (a.kind === "event" && b.kind === "event") return a.revision - b.revision;
  if (a.kind === "request" && b.kind === "request") return compareUtf8(a.requestId, b.requestId);
  return ORDER[a.kind] - ORDER[b.kind];
}

function opened(session: SessionKey, record: StoredRecord, open: ValueChange | undefined): StoredRecord {
  if (open === undefined || record.kind !== "version" || record.value === undefined) return record;
  return { ...record, value: open(session, record.key, record.value) };
}
