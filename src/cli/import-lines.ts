/** The way back: sessions from the lines of an export into a backend. */
import type { Backend, SessionKey, StoredRecord } from "../stores/backend.ts";
import { innerLimits } from "../stores/encrypted.ts";
import { inParallel } from "../stores/in-parallel.ts";
import { headsOf, type Moved, relationOf } from "../stores/moving.ts";
import { type Line, linesOf, wrongLine } from "./line-fields.ts";
import { checkFirstLine, cutShort, readLine, type Said, type ValueRules } from "./line-records.ts";
import { SessionChecks } from "./session-checks.ts";

/** How to import. */
export interface ImportOptions extends ValueRules {
  /** Takes no further session once it is aborted; those under way are finished. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each session that is done. */
  readonly onProgress?: ((done: Moved) => void) | undefined;
  /** Told of each session that was left out because the backend has another under its id. */
  readonly onConflict?: ((session: SessionKey) => void) | undefined;
  /** Whether a session of the file takes the place of another that the backend has under its id. Default: no. */
  readonly overwrite?: boolean | undefined;
  /** How many sessions are written at once. Default: 8. */
  readonly concurrency?: number | undefined;
}

/** A session of more bytes than this, as lines, is not gathered but written while it is read. */
const GATHERED = 1 << 20;

/** One session of a file. */
interface Incoming {
  readonly session: SessionKey;
  readonly head: Extract<Said, { type: "session" }>["head"];
  /** All its records. Can be read once. */
  readonly records: AsyncIterable<StoredRecord>;
  /** Must be called when it is done with: whether all went well. */
  readonly finish: (well: boolean) => void;
}

/**
 * Writes the sessions of a file to a backend: each whole or not at all, those that are there already left alone, so an import
 * that was interrupted is run again. Every line is checked, those of sessions that are left alone too. Fails with the error of
 * the first line that is wrong, and as the backend does; the sessions before are there then.
 */
export async function importLines(
  chunks: AsyncIterable<Uint8Array>,
  to: Backend,
  options: ImportOptions,
): Promise<Moved> {
  const { overwrite = false, concurrency = 8, signal, onConflict, onProgress } = options;
  const done = { moved: 0, unchanged: 0, conflicts: 0, complete: false };
  await inParallel(incoming(chunks, options), concurrency, async ({ session, head, records, finish }) => {
    let well = false;
    try {
      const [target] = await headsOf(to, [session]);
      const relation = relationOf(head, target);
      if (relation === "absent" || (relation === "other" && overwrite)) {
        await to.load(session, records);
        done.moved++;
      } else {
        for await (const _ of records);
        done[relation === "same" ? "unchanged" : "conflicts"]++;
        if (relation === "other") onConflict?.(session);
      }
      onProgress?.({ ...done });
      well = true;
    } finally {
      finish(well);
    }
  });
  done.complete = !signal?.aborted;
  return done;
}

/** The sessions of a file, in order. One that is large is read as its records are taken, and the next only then. */
async function* incoming(
  chunks: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): AsyncGenerator<Incoming> {
  const lines = new Lines(chunks, options);
  let sessions = 0;
  let said = await lines.first();
  while (said.type === "session") {
    if (options.signal?.aborted) return;
    const { session, head } = said;
    sessions++;
    const records = recordsOf(lines, said);
    const gathered: StoredRecord[] = [];
    const from = lines.bytes;
    let whole = false;
    while (!whole && lines.bytes - from < GATHERED) {
      const next = await records.next();
      if (next.done) whole = true;
      else gathered.push(next.value);
    }
    if (whole) {
      yield { session, head, records: joined(gathered), finish: () => {} };
    } else {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      yield { session, head, records: joined(gathered, records), finish: resolve };
      if (!(await promise)) return;
    }
    said = lines.last;
  }
  if (said.type !== "end") throw wrongLine(lines.number, "its type must be session or end");
  if (said.sessions !== sessions)
    throw wrongLine(lines.number, `it says ${said.sessions} sessions, and there are ${sessions}`);
  await lines.end();
}

/** The records of the session that has just begun, checked as a whole; `lines.last` is then what follows. */
async function* recordsOf(
  lines: Lines,
  { session, head }: Extract<Said, { type: "session" }>,
): AsyncGenerator<StoredRecord> {
  const checks = new SessionChecks(lines.number, head, lines.limits);
  yield head;
  for (let said = await lines.next(session); said.type === "piece"; said = await lines.next(session)) {
    checks.add(lines.number, said.piece);
    yield said.piece;
  }
  checks.end();
}

async function* joined(
  gathered: readonly StoredRecord[],
  rest: AsyncIterable<StoredRecord> | readonly [] = [],
): AsyncGenerator<StoredRecord> {
  yield* gathered;
  yield* rest;
}

/** The lines of a file one by one, with what they say. */
class Lines {
  readonly limits: ImportOptions["limits"];
  readonly #lines: AsyncGenerator<Line>;
  readonly #rules: ValueRules;
  #last: Said | undefined;
  /** The number of the last line. */
  number = 0;
  /** Bytes of all lines so far. */
  bytes = 0;

  constructor(chunks: AsyncIterable<Uint8Array>, rules: ValueRules) {
    const { valueBytes, keyBytes, entries, requestBytes } = rules.limits;
    // The longest are values and the keys of an event; a character may take six in JSON.
    this.#lines = linesOf(chunks, 6 * (Math.max(valueBytes, requestBytes) + entries * (keyBytes + 32)));
    this.#rules = rules;
    // Values may be encrypted, and larger for that.
    this.limits = innerLimits(rules.limits);
  }

  /** What the last line said. */
  get last(): Said {
    return this.#last as Said;
  }

  /** What the second line says, after a first one as it must be. */
  async first(): Promise<Said> {
    checkFirstLine(await this.#take());
    return this.next(undefined);
  }

  /** What the next line says, which may be one of the given session. */
  async next(session: SessionKey | undefined): Promise<Said> {
    this.#last = readLine(await this.#take(), session, this.#rules);
    return this.#last;
  }

  /** Fails if there is another line. */
  async end(): Promise<void> {
    const { done } = await this.#lines.next();
    if (!done) throw wrongLine(this.number + 1, "it comes after the end");
  }

  async #take(): Promise<Line> {
    const next = await this.#lines.next();
    if (next.done) throw cutShort(this.number + 1);
    this.number = next.value.number;
    this.bytes += next.value.bytes;
    return next.value;
  }
}
