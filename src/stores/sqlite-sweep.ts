/** Housekeeping, a bounded part at a time: what is due, what is too old, and what nothing is left of. */
import type { BackendOptions, SessionKey, Swept } from "./backend.ts";
import type { Database, Statement } from "./sqlite-database.ts";
import { type HeadRow, LOADING } from "./sqlite-heads.ts";
import type { Unit } from "./sqlite-unit.ts";

/** How many sessions or answers one turn looks at, and how long it may take. */
const SLICE = { count: 1_000, ms: 10 };
/** After so long a session that is being loaded is taken for given up. */
const LOADING_MS = 3_600_000;

/** Sweeps through a connection. */
export class Sweeper {
  readonly #options: BackendOptions;
  readonly #due: Statement;
  readonly #nextDue: Statement;
  readonly #old: Statement;
  readonly #givenUp: Statement;

  constructor(database: Database, options: BackendOptions) {
    this.#options = options;
    this.#due = database.prepare(
      "SELECT session FROM head INDEXED BY head_due WHERE next_due <= ? ORDER BY next_due LIMIT ?",
    );
    this.#nextDue = database.prepare(
      "SELECT min(next_due) FROM head INDEXED BY head_due WHERE next_due IS NOT NULL",
    );
    this.#old = database.prepare(
      "SELECT session FROM head INDEXED BY head_oldest WHERE oldest_time <= ? ORDER BY oldest_time LIMIT ?",
    );
    this.#givenUp = database.prepare(
      "SELECT session FROM head INDEXED BY head_id WHERE namespace = ? AND recency > ? LIMIT 1",
    );
  }

  /** Does a part, in a transaction. */
  sweep(unit: Unit): Swept {
    const { now, tables } = unit;
    const { historyAgeMs, requestRetentionMs } = this.#options;
    const end = performance.now() + SLICE.ms;
    const due = this.#each(unit, this.#due, now, end, () => undefined);
    const old = this.#each(unit, this.#old, now - historyAgeMs, end, (head, session) => {
      const { log } = tables;
      const kept = log.firstAfterTime(head.session, now - historyAgeMs) ?? head.revision + 1;
      unit.trim(head, Math.max(head.oldest, kept), kept);
      unit.forgetIfEmpty(head, session);
    });
    const answers = tables.log.forgetUntil(now - requestRetentionMs, SLICE.count);
    for (const number of new Set(answers)) {
      const opened = unit.open(number);
      if (opened !== undefined) unit.forgetIfEmpty(opened.head, opened.session);
    }
    const row = this.#givenUp.get(LOADING, LOADING_MS - now);
    const givenUp = row && tables.heads.byNumber(row[0] as number);
    if (givenUp !== undefined) unit.drop(givenUp);
    return {
      more: due || old || answers.length === SLICE.count || givenUp !== undefined,
      nextDue: (this.#nextDue.get()?.[0] as number | null) ?? undefined,
      now,
    };
  }

  /** Opens, and so does what is due of, the sessions that a statement gives. Returns whether there may be more. */
  #each(
    unit: Unit,
    statement: Statement,
    until: number,
    end: number,
    act: (head: HeadRow, session: SessionKey) => void,
  ): boolean {
    const rows = statement.all(until, SLICE.count);
    for (const [i, [number]] of rows.entries()) {
      const opened = unit.open(number as number);
      if (opened !== undefined) act(opened.head, opened.session);
      if (performance.now() > end) return i + 1 < rows.length || rows.length === SLICE.count;
    }
    return rows.length === SLICE.count;
  }
}
