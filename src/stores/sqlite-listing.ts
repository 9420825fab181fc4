/**
 * Listing sessions. Each filter has an index in each order, so a page costs what it holds. Of several filters, the listing
 * walks the index of one and looks at each session; or, where one of them leaves few, it sorts those.
 */
import type { EncodedForm, SessionFilter } from "../store.ts";
import type { ListedSession, SessionKey, SessionQuery } from "./backend.ts";
import { type Cell, type Database, Moments, type Row, type Statement } from "./sqlite-database.ts";
import { HEAD_COLUMNS, HeadRow, headOf } from "./sqlite-heads.ts";
import { isDue } from "./sqlite-looks.ts";
import { bytesOf, compareBytes, endOf, greater, justAfter, textOf } from "./sqlite-text.ts";
import type { Tables } from "./sqlite-unit.ts";

type Order = SessionQuery["order"];
type Filter = SessionFilter<EncodedForm>;

/**
 * So many sessions are sorted rather than looked for along an index of another filter: more of them where an index alone says
 * all that is asked, as then no head is read but those of the page.
 */
const SORTED_AT_MOST = { fromIndex: 10_000, fromHeads: 2_000 };
/** How many places of an index are looked at before others get their turn. */
const SLICE = 2_000;
/** So many sessions of which something is due are enough to begin with that. */
const DUE_AT_ONCE = 100;
/** How many statements are kept. */
const STATEMENTS = 200;

/** What a listing found. */
export interface Found {
  readonly sessions: ListedSession[];
  /** Of which something is to be done first: then do it, and list again. */
  readonly due: SessionKey[];
}

/** What a listing has found so far, and how it looks. */
interface Search extends Found {
  readonly now: number;
  readonly hide: boolean;
}

/** By which of the filters an index is. */
export type Indexed = "all" | "workflow" | "user" | "label";

/** What an index has in common in the part that is walked, by its names in each order. */
const INDEXES = {
  all: {
    ...{ table: "head", ID: "INDEXED BY head_live", UPDATE_TIME_DESC: "INDEXED BY head_recent" },
    where: "head.namespace = ? AND head.metadata IS NOT NULL",
  },
  workflow: {
    ...{ table: "head", ID: "INDEXED BY head_workflow", UPDATE_TIME_DESC: "INDEXED BY head_workflow_recent" },
    where: "head.namespace = ? AND head.workflow_id = ? AND head.metadata IS NOT NULL",
  },
  user: {
    ...{ table: "head", ID: "INDEXED BY head_user", UPDATE_TIME_DESC: "INDEXED BY head_user_recent" },
    where: "head.namespace = ? AND head.user_id = ? AND head.metadata IS NOT NULL",
  },
  label: {
    ...{ table: "label", ID: "", UPDATE_TIME_DESC: "INDEXED BY label_recent" },
    where: "label.namespace = ? AND label.name = ? AND label.value = ?",
  },
} as const;

/** What a walk of an index is asked for: heads, how many places there are, or the place after so many. */
export type Asked = "heads" | "places" | "count" | "end";

/** A condition on sessions that the walk of an index doesn't imply. */
interface Condition {
  readonly sql: string;
  readonly cells: readonly Cell[];
}

/**
 * The query that walks an index: a bounded number of its places in their order, and of those the ones that meet the
 * conditions. Its parameters: what the part has in common, the range, the bound; then those of the conditions, and a limit.
 */
export function walkSql(
  index: Indexed,
  order: Order,
  asked: Asked,
  conditions: readonly string[] = [],
): string {
  const { table, where, [order]: name } = INDEXES[index];
  const range =
    order === "ID"
      ? `${table}.id >= ? AND ${table}.id < ? ORDER BY ${table}.id`
      : `(${table}.recency, ${table}.id) >= (?, ?) AND ${table}.recency < ? ORDER BY ${table}.recency, ${table}.id`;
  // By id the index knows no times.
  const recency = order === "ID" ? "" : `, ${table}.recency AS recency`;
  const columns = `${table}.session AS session, ${table}.id AS id${recency}`;
  const places = `SELECT ${columns} FROM ${table} ${name} WHERE ${where} AND ${range} LIMIT ?`;
  if (asked === "count") return `SELECT count(*) FROM (${places})`;
  if (asked === "end") return `${places} OFFSET ?`;
  const meeting = `WHERE ${["TRUE", ...conditions].join(" AND ")} LIMIT ?`;
  if (asked === "places" && recency !== "" && !conditions.some(needsHead))
    return `SELECT place.session, place.id, place.recency FROM (${places}) AS place ${meeting}`;
  const chosen = asked === "heads" ? HEAD_COLUMNS : "head.session, head.id, head.recency";
  // The places first, then the head of each: never the other way round.
  return `SELECT ${chosen} FROM (${places}) AS place CROSS JOIN head ON head.session = place.session ${meeting}`;
}

function needsHead(condition: string): boolean {
  return condition.includes("head.");
}

/** A part of an index to walk. */
interface Walk {
  readonly index: Indexed;
  readonly order: Order;
  readonly equal: readonly Cell[];
  /** Which label it is of. */
  readonly label?: string;
}

/** Where a walk goes on, inclusive: by id, or by negated time and then id. */
interface Place {
  readonly recency: number;
  readonly id: Uint8Array;
}

/** Lists the sessions of a connection. */
export class Listing {
  readonly #database: Database;
  readonly #tables: Tables;
  readonly #history: number;
  readonly #moments: Moments;
  readonly #statements: Map<string, Statement> = new Map();

  constructor(database: Database, tables: Tables, history: number) {
    this.#database = database;
    this.#tables = tables;
    this.#history = history;
    this.#moments = new Moments(database);
  }

  /**
   * Lists what a query asks for. In slices: others get their turn in between.
   * @param hide what has expired is left out where it can't be said to be due
   */
  async find(query: SessionQuery, now: number, hide: boolean): Promise<Found> {
    const found: Search = { sessions: [], due: [], now, hide };
    const namespace = this.#tables.heads.namespaceId(query.namespace);
    if (namespace === undefined) return found;
    const walks = walksOf(namespace, query.filter, query.order);
    const sorted = this.#moments.at(() => {
      const few = walks.length === 1 ? undefined : this.#fewest(query, walks);
      if (few !== undefined) this.#sort(few, query, found);
      return few !== undefined;
    });
    if (!sorted) await this.#walk(walks[0] as Walk, query, found);
    return found;
  }

  /** The walk that finds so few that they can be sorted; `undefined`: none does. */
  #fewest(query: SessionQuery, walks: readonly Walk[]): Walk | undefined {
    let fewest: Walk | undefined;
    let least: number = SORTED_AT_MOST.fromIndex;
    for (const walk of walks) {
      const indexed =
        walk.order !== "ID" && !conditionsOf(walk, query.filter).some(({ sql }) => needsHead(sql));
      const most = Math.min(least, indexed ? SORTED_AT_MOST.fromIndex : SORTED_AT_MOST.fromHeads);
      const [low, high] = rangeOf(walk, query);
      const statement = this.#statement(walkSql(walk.index, walk.order, "count"));
      const count = statement.get(...walk.equal, ...cells(walk, low, high), most)?.[0] as number;
      if (count < most) {
        least = count;
        fewest = walk;
      }
    }
    return fewest;
  }

  /** Takes the first of all that a walk finds. */
  #sort(walk: Walk, query: SessionQuery, found: Search): void {
    const { order, count } = query;
    const [low, high] = rangeOf(walk, query);
    const all = SORTED_AT_MOST.fromIndex;
    const rows = this.#read(walk, query, "places", low, high, all, all);
    const places = rows
      .map(([session, id, recency]) => {
        return { session: session as number, id: id as Uint8Array, recency: recency as number };
      })
      .filter((place) => isAfter(place, query))
      .sort((a, b) => (order === "ID" ? 0 : a.recency - b.recency) || compareBytes(a.id, b.id));
    for (const { session } of places) {
      if (found.sessions.length + found.due.length === count) break;
      const head = this.#tables.heads.byNumber(session);
      if (head !== undefined) this.#take(head, query, found);
    }
  }

  /** Takes what a walk finds, until there are enough. */
  async #walk(walk: Walk, query: SessionQuery, found: Search): Promise<void> {
    const exact = conditionsOf(walk, query.filter).length === 0;
    const [first, high] = rangeOf(walk, query);
    const size = exact ? query.count : SLICE;
    let low: Place | undefined = first;
    while (low !== undefined) {
      const from: Place = low;
      low = this.#moments.at(() => {
        const left = query.count - found.sessions.length;
        const rows = this.#read(walk, query, "heads", from, high, size, left);
        for (const row of rows) this.#take(HeadRow.of(row), query, found);
        if (found.sessions.length === query.count || found.due.length >= DUE_AT_ONCE) return undefined;
        const last = rows.at(-1);
        if (last === undefined || rows.length < left) return this.#after(walk, from, high, size);
        const { id, updateTime } = HeadRow.of(last);
        return { recency: -updateTime, id: justAfter(textOf(id)) };
      });
      if (low !== undefined) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Where a walk goes on after so many places; `undefined`: it has fewer. */
  #after(walk: Walk, low: Place, high: Place, size: number): Place | undefined {
    const end = this.#statement(walkSql(walk.index, walk.order, "end"));
    const last = end.get(...walk.equal, ...cells(walk, low, high), 1, size - 1);
    if (last === undefined) return undefined;
    return { recency: (last[2] as number | undefined) ?? 0, id: justAfter(textOf(last[1] as Uint8Array)) };
  }

  #read(
    walk: Walk,
    { filter }: SessionQuery,
    asked: Asked,
    low: Place,
    high: Place,
    size: number,
    limit: number,
  ): Row[] {
    const conditions = conditionsOf(walk, filter);
    const sql = conditions.map((condition) => condition.sql);
    const more = conditions.flatMap((condition) => condition.cells);
    const statement = this.#statement(walkSql(walk.index, walk.order, asked, sql));
    return statement.all(...walk.equal, ...cells(walk, low, high), size, ...more, limit);
  }

  #take(head: HeadRow, { namespace }: SessionQuery, found: Search): void {
    const sessionId = textOf(head.id);
    const { metadata, ...known } = headOf(head, this.#history);
    if (!found.hide && isDue(this.#tables, head, found.now)) found.due.push({ namespace, sessionId });
    else if (metadata !== undefined && (head.deadline ?? Infinity) > found.now)
      found.sessions.push({ sessionId, head: { ...known, metadata } });
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      if (this.#statements.size === STATEMENTS) this.#statements.clear();
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

/**
 * The walks that find all that match, and more unless there is one only. The first is in the order of the listing; it is the
 * one to take if none of them finds few.
 */
function walksOf(namespace: number, filter: Filter, order: Order): Walk[] {
  const { workflowId, userId, labels = {}, sessionIdPrefix, updatedAfter, updatedBefore } = filter;
  const walks: Walk[] = [];
  if (workflowId) walks.push({ index: "workflow", order, equal: [namespace, bytesOf(workflowId)] });
  if (userId) walks.push({ index: "user", order, equal: [namespace, bytesOf(userId)] });
  for (const [label, value] of Object.entries(labels))
    walks.push({ index: "label", order, equal: [namespace, bytesOf(label), bytesOf(value)], label });
  const all: Walk = { index: "all", order, equal: [namespace] };
  if (walks.length === 0) walks.push(all);
  // A range that this order doesn't follow may be short: then it is better walked in the other one.
  const timed = updatedAfter !== undefined || updatedBefore !== undefined;
  if (order === "ID" && timed) walks.push({ ...all, order: "UPDATE_TIME_DESC" });
  if (order !== "ID" && sessionIdPrefix) walks.push({ ...all, order: "ID" });
  // So may one that it does follow, if there are other filters.
  if (walks.length > 1 && walks[0]?.index !== "all" && (order === "ID" ? sessionIdPrefix : timed))
    walks.push(all);
  return walks;
}

/** What of a filter a walk doesn't see to. */
function conditionsOf(walk: Walk, filter: Filter): Condition[] {
  const { workflowId, userId, labels = {}, sessionIdPrefix, updatedAfter, updatedBefore } = filter;
  const conditions: Condition[] = [];
  const add = (sql: string, ...cells: Cell[]): number => conditions.push({ sql, cells });
  if (walk.order === "ID") {
    if (updatedAfter !== undefined) add("head.recency < ?", -updatedAfter);
    if (updatedBefore !== undefined) add("head.recency > ?", -updatedBefore);
  } else if (sessionIdPrefix) {
    add("place.id >= ? AND place.id < ?", bytesOf(sessionIdPrefix), endOf(sessionIdPrefix));
  }
  if (workflowId && walk.index !== "workflow") add("head.workflow_id = ?", bytesOf(workflowId));
  if (userId && walk.index !== "user") add("head.user_id = ?", bytesOf(userId));
  const labelled = `EXISTS (SELECT 1 FROM label
    WHERE label.namespace = head.namespace AND label.name = ? AND label.value = ? AND label.id = head.id)`;
  for (const [label, value] of Object.entries(labels))
    if (walk.label !== label) add(labelled, bytesOf(label), bytesOf(value));
  return conditions;
}

/** The range of a walk: from the first place, before the second. */
function rangeOf(walk: Walk, { filter, after: last, order }: SessionQuery): [low: Place, high: Place] {
  const prefix = filter.sessionIdPrefix ?? "";
  const { updatedAfter, updatedBefore } = filter;
  let id: Uint8Array = walk.order === "ID" ? bytesOf(prefix) : NOTHING;
  let recency = updatedBefore === undefined ? -Number.MAX_SAFE_INTEGER : 1 - updatedBefore;
  if (last !== undefined && walk.order === order) {
    const next = after(bytesOf(last.sessionId), last.updateTime);
    if (order === "ID") id = greater(id, next.id);
    else if (next.recency >= recency) ({ recency, id } = next);
  }
  const end = updatedAfter === undefined ? Number.MAX_SAFE_INTEGER : -updatedAfter;
  return [
    { recency, id },
    { recency: end, id: endOf(prefix) },
  ];
}

const NOTHING = new Uint8Array();

/** The place behind a session in either order. */
function after(id: Uint8Array, updateTime: number): Place {
  return { recency: -updateTime, id: justAfter(textOf(id)) };
}

/** The range of a walk as its query takes it. */
function cells(walk: Walk, low: Place, high: Place): Cell[] {
  return walk.order === "ID" ? [low.id, high.id] : [low.recency, low.id, high.recency];
}

function isAfter(place: Place, { after: last, order }: SessionQuery): boolean {
  if (last === undefined) return true;
  const compared = compareBytes(place.id, bytesOf(last.sessionId));
  const newer = order === "ID" ? 0 : place.recency + last.updateTime;
  return newer === 0 ? compared > 0 : newer > 0;
}
