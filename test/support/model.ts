/**
 * A model of a store that is too simple to be wrong: it keeps a whole copy of every session at every revision, and knows
 * nothing of bytes, logs or queues. Property tests hold real stores to it.
 */
import type { FailedCheck } from "../../src/errors.ts";
import type { Change, EventKind, JsonValue, SessionMetadata } from "../../src/store.ts";
import {
  Failure,
  type ModelEntry,
  type ModelEvent,
  type ModelSession,
  type ModelWrite,
  type Outcome,
} from "./model-types.ts";
import { valueAfter } from "./model-values.ts";

/** A session at one revision. */
interface Content {
  readonly entries: ReadonlyMap<string, Required<Omit<ModelEntry, "expireTime">> & { expireTime?: number }>;
  readonly createTime: number;
  readonly updateTime: number;
  /** When a caller last wrote: idleness counts from here. */
  readonly activeTime: number;
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly ttlDeadline?: number | undefined;
  readonly idleTtlMs?: number | undefined;
  readonly forkedFrom?: { readonly sessionId: string; readonly revision: number } | undefined;
}

interface Line {
  /** By revision, from 0 on: nothing. */
  readonly past: (Content | undefined)[];
  readonly events: ModelEvent[];
  readonly requests: Map<string, { readonly write: string; readonly answer: unknown }>;
}

/** The model: apply writes and the passing of time, and ask what must be there. */
export class Model {
  readonly #history: number;
  readonly #lines = new Map<string, Line>();
  now: number;

  constructor(history: number, now: number) {
    this.#history = history;
    this.now = now;
  }

  /** Lets time pass; what is due is removed then, at once for each session. */
  advance(ms: number): void {
    this.now += ms;
    for (const [id, line] of this.#lines) {
      const live = line.past.at(-1);
      if (live === undefined) continue;
      const gone = [...live.entries.values()].filter(
        ({ expireTime = Number.POSITIVE_INFINITY }) => expireTime <= this.now,
      );
      if ((deadline(live) ?? Number.POSITIVE_INFINITY) <= this.now) {
        this.#push(id, "EXPIRED", [], undefined, undefined);
      } else if (gone.length > 0) {
        const entries = new Map(live.entries);
        for (const { key } of gone) entries.delete(key);
        const after = { ...live, entries, updateTime: this.now };
        this.#push(
          id,
          "EXPIRED",
          gone.map(({ key }) => ({ key })),
          after,
          undefined,
        );
      }
    }
  }

  /** Makes a write, or replays it. */
  write(write: ModelWrite): Outcome {
    const line = this.#line(write.kind === "fork" ? write.newId : write.id);
    const { requestId, ...rest } = write;
    const content = canonical(rest);
    const known = requestId === undefined ? undefined : line.requests.get(requestId);
    if (known !== undefined) {
      return known.write === content ? { answer: known.answer } : { reason: "REQUEST_ID_REUSED" };
    }
    try {
      const answer = this.#run(write);
      if (requestId !== undefined) line.requests.set(requestId, { write: content, answer });
      return { answer };
    } catch (error) {
      if (error instanceof Failure) return error.outcome;
      throw error;
    }
  }

  /** What a write would come to, without a request id. Nothing is changed. */
  wouldCome({ requestId: _, ...write }: ModelWrite): Outcome {
    const line = this.#line(write.kind === "fork" ? write.newId : write.id);
    const revisions = line.past.length;
    const outcome = this.write(write);
    line.past.splice(revisions);
    line.events.splice(revisions - 1);
    return outcome;
  }

  /** The revision of a session; 0: there is none. */
  revision(id: string): number {
    const { past } = this.#line(id);
    return past.at(-1) === undefined ? 0 : past.length - 1;
  }

  /** The last revision that an id had, whether there is a session or not. */
  lastRevision(id: string): number {
    return this.#line(id).past.length - 1;
  }

  /** The revision of an entry; 0: there is none. */
  entryRevision(id: string, key: string): number {
    return this.#line(id).past.at(-1)?.entries.get(key)?.revision ?? 0;
  }

  /** The session, as it is or was. */
  session(id: string, atRevision?: number): Outcome {
    return this.#reading(id, atRevision, (content, revision) => content && seen(id, content, revision));
  }

  /** The entries in the order of their keys, as they are or were. */
  entries(id: string, atRevision?: number): Outcome {
    return this.#reading(id, atRevision, (content) => sorted(content?.entries.values() ?? []));
  }

  /** An entry, as it is or was. */
  entry(id: string, key: string, atRevision?: number): Outcome {
    return this.#reading(id, atRevision, (content) => content?.entries.get(key));
  }

  /** The kept events after a revision, 0: all. */
  events(id: string, afterRevision = 0): Outcome {
    const { events } = this.#line(id);
    if (afterRevision > events.length) return { reason: "FUTURE_REVISION" };
    const oldest = this.#oldest(id);
    if (afterRevision > 0 && afterRevision < oldest - 1) return { reason: "HISTORY_COMPACTED" };
    return { answer: events.slice(Math.max(afterRevision, oldest - 1)) };
  }

  /** The sessions that there are, by id. */
  ids(): string[] {
    return [...this.#lines.keys()].filter((id) => this.revision(id) > 0).sort();
  }

  #line(id: string): Line {
    let line = this.#lines.get(id);
    if (line === undefined) {
      line = { past: [undefined], events: [], requests: new Map() };
      this.#lines.set(id, line);
    }
    return line;
  }

  #oldest(id: string): number {
    return Math.max(1, this.lastRevision(id) - this.#history + 1);
  }

  #at(id: string, revision: number): Content | undefined {
    if (revision > this.lastRevision(id)) throw new Failure("FUTURE_REVISION");
    const oldest = this.#oldest(id);
    if (revision < oldest && !(revision === 0 && oldest === 1)) throw new Failure("HISTORY_COMPACTED");
    return this.#line(id).past[revision];
  }

  /** What a fork or a restore brings back: what was there, unless the session expired since. */
  #content(id: string, revision: number): Content {
    if (this.lastRevision(id) === 0) throw new Failure("SESSION_NOT_FOUND");
    const then = this.#at(id, revision);
    const { past, events } = this.#line(id);
    const ended = events.findLast((event) => event.kind === "EXPIRED" && past[event.revision] === undefined);
    if (then === undefined || revision <= (ended?.revision ?? 0)) throw new Failure("SESSION_NOT_FOUND");
    return then;
  }

  #reading(
    id: string,
    atRevision: number | undefined,
    read: (content: Content | undefined, revision: number) => unknown,
  ): Outcome {
    const revision = atRevision ?? this.lastRevision(id);
    try {
      return { answer: read(this.#at(id, revision), revision) };
    } catch (error) {
      if (error instanceof Failure) return error.outcome;
      throw error;
    }
  }

  /** Makes a revision: what is there after it, and its event. */
  #push(
    id: string,
    kind: EventKind,
    entries: readonly ModelEntry[],
    after: Content | undefined,
    requestId: string | undefined,
  ): void {
    const line = this.#line(id);
    const revision = line.past.length;
    line.past.push(after);
    line.events.push({
      revision,
      time: this.now,
      kind,
      entries: sorted(entries),
      ...(requestId === undefined ? {} : { requestId }),
    });
  }

  #run(write: ModelWrite): unknown {
    const { id, requestId } = write;
    const live = this.#line(id).past.at(-1);
    const next = this.lastRevision(id) + 1;
    if (write.kind === "set" || write.kind === "deleteKey") {
      this.#check(
        id,
        write.ifRevision === undefined ? [] : [{ key: write.key, ifRevision: write.ifRevision }],
      );
    } else if (write.kind === "commit" || write.kind === "save" || write.kind === "delete") {
      const checks = write.kind === "commit" ? write.checks : [];
      this.#check(id, checks, write.ifRevision);
    }
    switch (write.kind) {
      case "set": {
        this.#commit(
          id,
          [{ kind: "set", key: write.key, value: write.value, ttlMs: write.ttlMs }],
          undefined,
          requestId,
        );
        return this.#line(id).past.at(-1)?.entries.get(write.key);
      }
      case "deleteKey": {
        const deleted = live?.entries.has(write.key) ?? false;
        this.#commit(id, [{ kind: "delete", key: write.key }], undefined, requestId);
        return { deleted, revision: this.revision(id) };
      }
      case "commit": {
        this.#commit(id, write.changes, write.metadata, requestId);
        const after = this.#line(id).past.at(-1);
        const keys = [...new Set(write.changes.map(({ key }) => key))];
        return {
          revision: this.revision(id),
          ...(after && { updateTime: after.updateTime }),
          entries: keys.map((key) => after?.entries.get(key) ?? { key }),
        };
      }
      case "save": {
        const { state, workflowId, labels = {}, ttlMs, idleTtlMs } = write;
        const wanted = new Map(Object.entries(state).map(([key, value]) => [key, { value }]));
        const { entries, changed } = this.#become(live, wanted, next, () => true);
        const after: Content = {
          ...(live ?? this.#fresh()),
          entries,
          updateTime: this.now,
          activeTime: this.now,
          workflowId,
          userId: undefined,
          labels,
          ...this.#deadlines(live, ttlMs, idleTtlMs),
        };
        this.#push(id, "SAVED", changed, after, requestId);
        return seen(id, after, next);
      }
      case "delete": {
        if (live === undefined) return false;
        this.#push(id, "DELETED", [], undefined, requestId);
        return true;
      }
      case "fork":
        return this.#fork(write);
      case "restore":
        return this.#restore(write);
    }
  }

  #fork({ id, newId, atRevision, requestId }: Extract<ModelWrite, { kind: "fork" }>): unknown {
    if (this.revision(newId) > 0) throw new Failure("SESSION_EXISTS");
    const revision = atRevision ?? this.lastRevision(id);
    const then = this.#content(id, revision);
    const next = this.lastRevision(newId) + 1;
    const { entries, changed } = this.#become(undefined, this.#unexpired(then), next, () => true);
    const { ttlDeadline, idleTtlMs } = this.#line(id).past.at(-1) ?? {};
    const after: Content = {
      ...this.#fresh(),
      entries,
      workflowId: then.workflowId,
      userId: then.userId,
      labels: then.labels,
      ttlDeadline: ttlDeadline !== undefined && ttlDeadline > this.now ? ttlDeadline : undefined,
      idleTtlMs,
      forkedFrom: { sessionId: id, revision },
    };
    this.#push(newId, "FORKED", changed, after, requestId);
    return seen(newId, after, next);
  }

  #restore({ id, atRevision, ifRevision, requestId }: Extract<ModelWrite, { kind: "restore" }>): unknown {
    const live = this.#line(id).past.at(-1);
    const then = this.#content(id, atRevision);
    this.#check(id, [], ifRevision);
    const next = this.lastRevision(id) + 1;
    const stays = (entry: ModelEntry, wanted: { readonly expireTime?: number }): boolean =>
      entry.expireTime === wanted.expireTime;
    const { entries, changed } = this.#become(live, this.#unexpired(then), next, stays);
    const { ttlDeadline, idleTtlMs, forkedFrom } = then;
    const after: Content = {
      ...(live ?? {
        ...this.#fresh(),
        ttlDeadline: ttlDeadline !== undefined && ttlDeadline > this.now ? ttlDeadline : undefined,
        idleTtlMs,
        forkedFrom,
      }),
      entries,
      updateTime: this.now,
      activeTime: this.now,
      workflowId: then.workflowId,
      userId: then.userId,
      labels: then.labels,
    };
    this.#push(id, "RESTORED", changed, after, requestId);
    return seen(id, after, next);
  }

  #check(id: string, checks: { key: string; ifRevision: number }[], ifRevision?: number): void {
    const failed: FailedCheck[] = [];
    if (ifRevision !== undefined && ifRevision !== this.revision(id)) {
      failed.push({ key: "", ifRevision, actualRevision: this.revision(id) });
    }
    for (const check of checks) {
      const actualRevision = this.entryRevision(id, check.key);
      if (check.ifRevision !== actualRevision) failed.push({ ...check, actualRevision });
    }
    if (failed.length > 0) throw new Failure("REVISION_MISMATCH", failed);
  }

  #commit(
    id: string,
    changes: readonly Change[],
    metadata: SessionMetadata | undefined,
    requestId: string | undefined,
  ): void {
    const live = this.#line(id).past.at(-1);
    const next = this.lastRevision(id) + 1;
    const entries = new Map(live?.entries);
    const touched = new Set<string>();
    for (const change of changes) {
      const before = entries.get(change.key);
      if (change.kind === "delete") {
        if (before !== undefined) touched.add(change.key);
        entries.delete(change.key);
        continue;
      }
      touched.add(change.key);
      const expireTime =
        change.kind !== "set" ? before?.expireTime : change.ttlMs ? this.now + change.ttlMs : undefined;
      entries.set(change.key, {
        key: change.key,
        value: valueAfter(change, before?.value),
        revision: next,
        updateTime: this.now,
        ...(expireTime === undefined ? {} : { expireTime }),
      });
    }
    const named = Object.values(metadata ?? {}).some((field) => field !== undefined);
    if (touched.size === 0 && !named) return;
    const base = live ?? this.#fresh();
    const { workflowId = base.workflowId, userId = base.userId, labels = base.labels } = metadata ?? {};
    const after: Content = {
      ...base,
      entries,
      updateTime: this.now,
      activeTime: this.now,
      workflowId: workflowId || undefined,
      userId: userId || undefined,
      labels,
      ...this.#deadlines(live, metadata?.ttlMs, metadata?.idleTtlMs),
    };
    const written = [...touched].map((key) => entries.get(key) ?? { key });
    this.#push(id, "COMMITTED", written, after, requestId);
  }

  /** The entries that make a session have a state: those that stay the same keep their revision. */
  #become(
    live: Content | undefined,
    wanted: ReadonlyMap<string, { readonly value: JsonValue; readonly expireTime?: number }>,
    revision: number,
    stays: (entry: ModelEntry, wanted: { readonly expireTime?: number }) => boolean,
  ): { entries: Content["entries"]; changed: ModelEntry[] } {
    const entries = new Map(live?.entries);
    const changed: ModelEntry[] = [];
    for (const key of [...entries.keys()]) {
      if (wanted.has(key)) continue;
      entries.delete(key);
      changed.push({ key });
    }
    for (const [key, entry] of wanted) {
      const before = entries.get(key);
      if (
        before !== undefined &&
        JSON.stringify(before.value) === JSON.stringify(entry.value) &&
        stays(before, entry)
      ) {
        continue;
      }
      const { value, expireTime } = entry;
      const after = {
        key,
        value,
        revision,
        updateTime: this.now,
        ...(expireTime === undefined ? {} : { expireTime }),
      };
      entries.set(key, after);
      changed.push(after);
    }
    return { entries, changed };
  }

  #unexpired(content: Content): Content["entries"] {
    return new Map(
      [...content.entries].filter(([, { expireTime = Number.POSITIVE_INFINITY }]) => expireTime > this.now),
    );
  }

  #fresh(): Content {
    return {
      entries: new Map(),
      createTime: this.now,
      updateTime: this.now,
      activeTime: this.now,
      labels: {},
    };
  }

  #deadlines(
    before: Content | undefined,
    ttlMs: number | undefined,
    idleTtlMs: number | undefined,
  ): Pick<Content, "ttlDeadline" | "idleTtlMs"> {
    return {
      ttlDeadline: ttlMs === undefined ? before?.ttlDeadline : ttlMs === 0 ? undefined : this.now + ttlMs,
      idleTtlMs: idleTtlMs === undefined ? before?.idleTtlMs : idleTtlMs || undefined,
    };
  }
}

function deadline({ ttlDeadline, activeTime, idleTtlMs }: Content): number | undefined {
  const earliest = Math.min(
    ttlDeadline ?? Number.POSITIVE_INFINITY,
    idleTtlMs === undefined ? Number.POSITIVE_INFINITY : activeTime + idleTtlMs,
  );
  return earliest === Number.POSITIVE_INFINITY ? undefined : earliest;
}

function seen(sessionId: string, content: Content, revision: number): ModelSession {
  const { entries, createTime, updateTime, workflowId, userId, labels, forkedFrom } = content;
  const expireTime = deadline(content);
  return {
    sessionId,
    state: Object.fromEntries([...entries.values()].map(({ key, value }) => [key, value])),
    createTime,
    updateTime,
    ...(workflowId && { workflowId }),
    ...(userId && { userId }),
    labels,
    revision,
    ...(expireTime === undefined ? {} : { expireTime }),
    ...(forkedFrom && { forkedFrom }),
  };
}

function sorted<E extends ModelEntry>(entries: Iterable<E>): E[] {
  return [...entries].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** A write as text, whatever the order of its members. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
