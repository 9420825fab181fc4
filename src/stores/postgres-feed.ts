/**
 * The feed of commits: what became visible between two snapshots of the server. A cursor is a snapshot; inside a part that was
 * longer than asked for it also names the later snapshot, and the place of the last commit that was given.
 */
import type { FeedPart } from "./backend.ts";
import { changeOf, numbersOf, type Row, textOf } from "./postgres-codec.ts";
import type { TextRows } from "./postgres-connections.ts";
import type { Statement } from "./postgres-steps.ts";

/** Where the feed ends now, as the one column of the one row. */
export const FEED_END = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_snapshot()::text END";

/** A statement that reads a part. @param s the schema, quoted */
export function feedStatement(s: string, cursor: string, count: number): Statement {
  const [after, until, ...place] = cursor.split("|");
  const parameters = [
    after ?? "",
    until ?? null,
    place[0] ?? null,
    place[1] ?? null,
    place[2] ?? null,
    count,
  ];
  return { sql: `SELECT * FROM ${s}.feed($1, $2, $3, $4, $5, $6)`, parameters };
}

/** The part that was read. */
export function feedPart(cursor: string, count: number, rows: TextRows): FeedPart {
  const [first, ...found] = rows as unknown as Row[];
  const [lost] = numbersOf(first?.[0] ?? "{}");
  const [after] = cursor.split("|");
  const until = textOf(first?.[2] ?? "\\x");
  const parts = found.map(changeOf);
  const more = parts.length === count;
  const last = parts.at(-1);
  return {
    changes: parts.map(({ change }) => change),
    cursor: more && last !== undefined ? [after, until, ...last.place].join("|") : until,
    lost: lost === 1,
    more,
  };
}
