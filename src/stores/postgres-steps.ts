/** Looks and plans as statements, and their rows as results. */
import type { FailedCheck } from "../errors.ts";
import type { EncodedForm, Entry } from "../store.ts";
import type {
  Answer,
  Applied,
  EventRange,
  Events,
  Look,
  LookStep,
  PlanStep,
  Remembered,
  StoredEvent,
} from "./backend.ts";
import {
  answerTimes,
  bigintArray,
  byteaArray,
  bytes,
  bytesOf,
  EVENT_KINDS,
  entryOf,
  headOf,
  LARGE_BYTES,
  metadataTexts,
  momentOf,
  numbersOf,
  prefixEnd,
  type Row,
  rememberedOf,
  text,
  textOf,
  whole,
} from "./postgres-codec.ts";
import type { Parameter, TextRows } from "./postgres-connections.ts";
import { ROW } from "./postgres-reads.ts";

/** A statement with its parameters. */
export interface Statement {
  readonly sql: string;
  readonly parameters: readonly Parameter[];
}

/** What became of a plan, and whether anything was committed on the way: by the plan, or because it was due. */
export interface PlanOutcome {
  readonly applied: Applied;
  readonly committed: boolean;
}

/** A call of a function with so many parameters. */
function call(name: string, count: number): string {
  return `${name}(${Array.from({ length: count }, (_, i) => `$${i + 1}`).join(",")})`;
}

/** The statements of one schema. */
export class Statements {
  readonly #look: string;
  readonly #lookDue: string;
  readonly #events: string;
  readonly #eventsDue: string;
  readonly #plan: string;

  /** @param schema quoted */
  constructor(schema: string) {
    this.#look = `SELECT * FROM ${call(`${schema}.look`, 12)}`;
    this.#lookDue = `SELECT * FROM ${call(`${schema}.look_due`, 12)}`;
    this.#events = `SELECT * FROM ${call(`${schema}.events`, 8)}`;
    this.#eventsDue = `SELECT * FROM ${call(`${schema}.events_due`, 8)}`;
    this.#plan = `SELECT ${call(`${schema}.plan`, 22)}`;
  }

  /** A look. @param due does what is due first, and waits for whoever writes */
  look(step: LookStep, settings: Buffer, due: boolean): Statement {
    const { session, entries, atRevision, requestId } = step;
    const range = entries !== undefined && "prefix" in entries ? entries : undefined;
    const page = range?.page;
    const parameters = [
      settings,
      text(session.namespace),
      text(session.sessionId),
      requestId === undefined ? null : text(requestId),
      atRevision === undefined ? null : whole(atRevision),
      entries !== undefined && "keys" in entries ? byteaArray([...new Set(entries.keys)]) : null,
      range === undefined ? null : text(range.prefix),
      range === undefined ? null : prefixEnd(range.prefix),
      text(page?.from ?? ""),
      page?.reverse === true ? "t" : "f",
      page === undefined ? null : whole(page.count),
      page === undefined ? null : whole(page.bytes),
    ];
    return { sql: due ? this.#lookDue : this.#look, parameters };
  }

  /** A reading of events. @param due as in `look` */
  events(range: EventRange, settings: Buffer, due: boolean): Statement {
    const { session, from, to, reverse, count } = range;
    const parameters = [
      settings,
      text(session.namespace),
      text(session.sessionId),
      whole(from),
      whole(to),
      reverse ? "t" : "f",
      whole(count),
      whole(range.bytes),
    ];
    return { sql: due ? this.#eventsDue : this.#events, parameters };
  }

  /** A plan. */
  plan(step: PlanStep, settings: Buffer): Statement {
    const { session, request, guards, checks, writes, metadata, ifRevision } = step;
    const conditions = [ifRevision, guards?.revision, guards?.metadataRevision];
    const sets = writes.filter(({ value }) => value !== undefined);
    const keys = byteaArray(writes.map(({ key }) => key));
    const large = writes.flatMap(({ value }, i) => ((value?.length ?? 0) > LARGE_BYTES ? [i + 1] : []));
    const always = writes.flatMap(({ always }, i) => (always === true ? [i + 1] : []));
    const expires = writes.some(({ ttlMs, expireTime }) => ttlMs !== undefined || expireTime !== undefined);
    const setBytes = sets.reduce(
      (sum, { key, value }) => sum + Buffer.byteLength(key) + (value as Uint8Array).length,
      0,
    );
    const parameters = [
      settings,
      text(session.namespace),
      text(session.sessionId),
      EVENT_KINDS.indexOf(step.event),
      step.time === undefined ? null : whole(step.time),
      request === undefined ? null : text(request.id),
      request === undefined ? null : text(request.fingerprint),
      request?.kept === undefined ? null : bytes(request.kept),
      conditions.every((revision) => revision === undefined) ? null : bigintArray(conditions),
      ...pairs(guards?.entries),
      ...pairs(checks),
      writes.length === 0 ? null : keys,
      writes.length === 0 ? null : byteaArray(writes.map(({ value }) => value)),
      large.length === 0 ? null : bigintArray(large),
      writes.length === 0 ? null : bigintArray([sets.length, setBytes]),
      expires
        ? bigintArray(writes.map(({ value, ttlMs }) => (value === undefined ? undefined : ttlMs)))
        : null,
      expires
        ? bigintArray(writes.map(({ value, expireTime }) => (value === undefined ? undefined : expireTime)))
        : null,
      always.length === 0 ? null : bigintArray(always),
      ...metadataParameters(metadata),
    ];
    return { sql: this.#plan, parameters };
  }
}

function pairs(conditions: PlanStep["checks"]): [keys: Parameter, revisions: Parameter] {
  if (conditions === undefined || conditions.length === 0) return [null, null];
  return [
    byteaArray(conditions.map(({ key }) => key)),
    bigintArray(conditions.map(({ ifRevision }) => ifRevision)),
  ];
}

function metadataParameters(metadata: PlanStep["metadata"]): [numbers: Parameter, texts: Parameter] {
  if (metadata === undefined) return [null, null];
  if (metadata === "end") return [bigintArray([0]), null];
  const { createTime, forkedFrom, ttlMs, expireTime, idleTtlMs } = metadata;
  const numbers = [1, createTime, forkedFrom?.revision, ttlMs, expireTime, idleTtlMs];
  return [bigintArray(numbers), metadataTexts(metadata)];
}

/** What a look saw; `undefined`: something is due. */
export function lookOf(rows: TextRows): Look | undefined {
  let head: Look["head"];
  let [now, floor, more] = [0, 0, false];
  let moment: Look["moment"];
  let remembered: Remembered | undefined;
  const entries: Entry<EncodedForm>[] = [];
  for (const row of rows as unknown as Row[]) {
    switch (kindOf(row)) {
      case ROW.DUE:
        return undefined;
      case ROW.NOTHING:
        [, now, floor] = numbersOf(row[0]) as [number, number, number];
        break;
      case ROW.HEAD:
        now = numbersOf(row[0])[1] as number;
        head = headOf(row);
        break;
      case ROW.MOMENT:
        moment = momentOf(row);
        break;
      case ROW.REMEMBERED:
        remembered = rememberedOf(row);
        break;
      case ROW.ENTRY:
        entries.push(entryOf(row));
        break;
      case ROW.MORE:
        more = true;
        break;
    }
  }
  return { kind: "look", now, head, floor, entries, more, moment, remembered };
}

/** The events that were read; `undefined`: something is due. */
export function eventsOf(rows: TextRows, sessionId: string): Events | undefined {
  let head: Events["head"];
  let floor = 0;
  const events: (StoredEvent & { readonly entries: Entry<EncodedForm>[] })[] = [];
  for (const row of rows as unknown as Row[]) {
    switch (kindOf(row)) {
      case ROW.DUE:
        return undefined;
      case ROW.NOTHING:
        floor = numbersOf(row[0])[2] as number;
        break;
      case ROW.HEAD:
        head = headOf(row);
        break;
      case ROW.EVENT: {
        const [, revision, time, kind, ended] = numbersOf(row[0]) as number[];
        events.push({
          sessionId,
          revision: revision as number,
          time: time as number,
          kind: EVENT_KINDS[kind as number] as StoredEvent["kind"],
          entries: [],
          requestId: row[2] === null ? undefined : textOf(row[2]),
          ended: ended === 1,
        });
        break;
      }
      case ROW.ENTRY:
        events.at(-1)?.entries.push(entryOf(row));
        break;
    }
  }
  return { head, floor, events };
}

function kindOf(row: Row): number {
  return row[0].charCodeAt(1) - 48;
}

/** What became of a plan. @param word what the function `plan` gave */
export function outcomeOf(step: PlanStep, rows: TextRows): PlanOutcome {
  const [kind, due, ...words] = (rows[0]?.[0] ?? "").split(" ");
  const committed = due === "t" || due === "true";
  switch (kind) {
    case "done":
      return { committed, applied: { kind, ...answerOf(words) } };
    case "replayed": {
      const kept = words[3] === undefined ? undefined : bytesOf(`\\x${words[3]}`);
      return { committed, applied: { kind, kept, ...answerOf(words) } };
    }
    case "failed":
      return { committed, applied: { kind, failedChecks: words.map((word) => failedCheck(step, word)) } };
    case "tooLarge": {
      const [entries, bytes, entriesAfter, bytesAfter] = words.map(Number) as [
        number,
        number,
        number,
        number,
      ];
      const after = { entries: entriesAfter, bytes: bytesAfter };
      return { committed, applied: { kind, before: { entries, bytes }, after } };
    }
    case "reused":
    case "stale":
      return { committed, applied: { kind } };
    default:
      throw new Error("the function plan gave something unknown");
  }
}

function answerOf([revision, time, wrote]: readonly string[]): Answer {
  return {
    revision: Number(revision),
    ...answerTimes(Number(time)),
    wrote: wrote === "t" || wrote === "true",
  };
}

function failedCheck(step: PlanStep, word: string): FailedCheck {
  const [at, actualRevision] = word.split(":").map(Number) as [number, number];
  const check = at === 0 ? { key: "", ifRevision: step.ifRevision as number } : step.checks?.[at - 1];
  return { key: check?.key ?? "", ifRevision: check?.ifRevision ?? 0, actualRevision };
}
