/** The sessions' head rows with their labels, and the namespaces. */
import type { Head, SessionKey } from "./backend.ts";
import { deadline, type Metadata } from "./metadata.ts";
import type { Cell, Database, Row, Statement } from "./sqlite-database.ts";
import { bytesOf } from "./sqlite-text.ts";

/** The columns of a head, as {@link HeadRow.of} takes them. */
export const HEAD_COLUMNS: string = [
  ...["session", "namespace", "id", "revision", "born", "oldest", "oldest_time", "expired_revision"],
  ...["metadata_revision", "metadata", "workflow_id", "user_id", "labels", "expire_time", "idle_ttl_ms"],
  ...["recency", "active_time", "entries", "bytes", "next_due"],
]
  .map((column) => `head.${column}`)
  .join(", ");

/** Namespaces of sessions that are being loaded are their negative numbers: no look finds them. */
export const LOADING = -1;

/** How many namespaces' numbers are kept in memory. */
const NAMESPACES_KNOWN = 10_000;

/** A head, to be changed by commits and then saved. */
export class HeadRow {
  readonly session: number;
  readonly namespace: number;
  readonly id: Uint8Array;
  revision: number;
  readonly born: number;
  /** The first revision whose event and values are stored. */
  oldest: number;
  /** The time of the first event that is stored, be it for the feed only; `null`: none is. */
  oldestTime: number | null = null;
  expiredRevision = 0;
  metadataRevision = 0;
  updateTime = 0;
  activeTime = 0;
  entries = 0;
  bytes = 0;
  /** Not after the first deadline of the session or of an entry; `null`: there is none. */
  nextDue: number | null = null;
  /** The columns as they lie in the file; `undefined`: it is not there yet. */
  stored: Row | undefined = undefined;

  #text: string | null = null;
  #metadata: Metadata | undefined;
  #expireTime: number | null = null;
  #idleTtlMs: number | null = null;
  #labels = 0;

  constructor(session: number, namespace: number, id: Uint8Array, floor: number) {
    this.session = session;
    this.namespace = namespace;
    this.id = id;
    this.revision = floor;
    this.born = floor;
    this.oldest = floor + 1;
  }

  /** A head from the columns of {@link HEAD_COLUMNS}. */
  static of(row: Row): HeadRow {
    const [session, namespace, id, revision, born, oldest, oldestTime, expiredRevision] = row;
    const head = new HeadRow(session as number, namespace as number, id as Uint8Array, born as number);
    head.updateTime = -(row[15] as number);
    head.stored = row;
    head.revision = revision as number;
    head.oldest = oldest as number;
    head.oldestTime = oldestTime as number | null;
    head.expiredRevision = expiredRevision as number;
    head.metadataRevision = row[8] as number;
    head.#text = row[9] as string | null;
    head.#labels = row[12] as number;
    head.#expireTime = row[13] as number | null;
    head.#idleTtlMs = row[14] as number | null;
    head.activeTime = row[16] as number;
    head.entries = row[17] as number;
    head.bytes = row[18] as number;
    head.nextDue = row[19] as number | null;
    return head;
  }

  /** Whether there is a session now. */
  get alive(): boolean {
    return this.#text !== null;
  }

  /** The session's revision as callers see it: 0 if there is none. */
  get currentRevision(): number {
    return this.#text === null ? 0 : this.revision;
  }

  /** What is known of the session; `undefined`: there is none. */
  get metadata(): Metadata | undefined {
    if (this.#text === null) return undefined;
    this.#metadata ??= parseMetadata(this.#text);
    return this.#metadata;
  }

  set metadata(metadata: Metadata | undefined) {
    this.#metadata = metadata;
    this.#text = metadata === undefined ? null : metadataText(metadata);
    this.#expireTime = metadata?.expireTime ?? null;
    this.#idleTtlMs = metadata?.idleTtlMs ?? null;
    this.#labels = metadata === undefined ? 0 : Object.keys(metadata.labels).length;
  }

  /** The metadata as JSON. */
  get text(): string | null {
    return this.#text;
  }

  /** How many labels the session has. */
  get labels(): number {
    return this.#labels;
  }

  /** When the session expires; `undefined`: never, or there is none. */
  get deadline(): number | undefined {
    if (this.#text === null || (this.#expireTime === null && this.#idleTtlMs === null)) return undefined;
    return deadline(
      { expireTime: this.#expireTime ?? undefined, idleTtlMs: this.#idleTtlMs ?? undefined },
      this.activeTime,
    );
  }

  /** Notes a deadline. */
  due(time: number | undefined): void {
    if (time !== undefined && (this.nextDue === null || time < this.nextDue)) this.nextDue = time;
  }

  /** The columns of {@link HEAD_COLUMNS}. */
  get row(): Cell[] {
    const metadata = this.metadata;
    const { workflowId, userId } = metadata ?? {};
    return [
      ...[this.session, this.namespace, this.id, this.revision, this.born, this.oldest, this.oldestTime],
      ...[this.expiredRevision, this.metadataRevision, this.#text],
      ...[
        workflowId === undefined ? null : bytesOf(workflowId),
        userId === undefined ? null : bytesOf(userId),
      ],
      ...[this.#labels, this.#expireTime, this.#idleTtlMs, -this.updateTime, this.activeTime],
      ...[this.entries, this.bytes, this.nextDue],
    ];
  }
}

/** What the contract calls a head. @param history how many commits are kept */
export function headOf(row: HeadRow, history: number): Head {
  return {
    revision: row.revision,
    born: row.born,
    oldest: oldestOf(row, history),
    expiredRevision: row.expiredRevision,
    metadataRevision: row.metadataRevision,
    metadata: row.metadata,
    updateTime: row.updateTime,
    activeTime: row.activeTime,
    entries: row.entries,
    bytes: row.bytes,
  };
}

/** The first revision that is kept: what lies in the file beyond `history` only waits for being dropped. */
export function oldestOf(row: HeadRow, history: number): number {
  return Math.max(row.oldest, row.revision - history + 1);
}

/** Metadata as it is stored. */
export function metadataText({ labels, ...metadata }: Metadata): string {
  for (const _ in labels) return JSON.stringify({ ...metadata, labels });
  return JSON.stringify(metadata);
}

const NO_LABELS: Metadata["labels"] = Object.freeze({});

/** The metadata in a stored text. */
export function parseMetadata(text: string): Metadata {
  const { createTime, workflowId, userId, labels, forkedFrom, expireTime, idleTtlMs } = JSON.parse(
    text,
  ) as Metadata & { readonly labels?: Metadata["labels"] };
  return { createTime, workflowId, userId, labels: labels ?? NO_LABELS, forkedFrom, expireTime, idleTtlMs };
}

/** Reads and saves heads. */
export class Heads {
  readonly #namespaceIds: Map<string, number> = new Map();
  readonly #findNamespace: Statement;
  readonly #nameNamespace: Statement;
  readonly #addNamespace: Statement;
  readonly #floor: Statement;
  readonly #raiseFloor: Statement;
  readonly #find: Statement;
  readonly #byNumber: Statement;
  readonly #nextNumber: Statement;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #updateCommit: Statement;
  readonly #updateBytes: Statement;
  readonly #updateDue: Statement;
  readonly #updateOldest: Statement;
  readonly #delete: Statement;
  readonly #insertLabel: Statement;
  readonly #moveLabel: Statement;
  readonly #deleteLabel: Statement;

  constructor(database: Database) {
    const prepare = (sql: string): Statement => database.prepare(sql);
    const columns = HEAD_COLUMNS.replaceAll("head.", "");
    const label = "namespace = ? AND name = ? AND value = ? AND id = ?";
    this.#findNamespace = prepare("SELECT id FROM namespace WHERE name = ?");
    this.#nameNamespace = prepare("SELECT name FROM namespace WHERE id = ?");
    this.#addNamespace = prepare("INSERT INTO namespace (name) VALUES (?) RETURNING id");
    this.#floor = prepare("SELECT floor FROM namespace WHERE id = ?");
    this.#raiseFloor = prepare("UPDATE namespace SET floor = ?2 WHERE id = ?1 AND floor < ?2");
    this.#find = prepare(`SELECT ${HEAD_COLUMNS} FROM head WHERE namespace = ? AND id = ?`);
    this.#byNumber = prepare(`SELECT ${HEAD_COLUMNS} FROM head WHERE session = ?`);
    this.#nextNumber = prepare("SELECT coalesce(max(session), 0) + 1 FROM head");
    this.#insert = prepare(`INSERT INTO head (${columns}) VALUES (${columns.replaceAll(/\w+/g, "?")})`);
    this.#update = prepare(
      `UPDATE head SET (${columns}) = (${columns.replaceAll(/\w+/g, "?")}) WHERE session = ?`,
    );
    this.#updateCommit = prepare(
      "UPDATE head SET revision = ?, recency = ?, active_time = ?, entries = ?, bytes = ? WHERE session = ?",
    );
    this.#updateBytes = prepare("UPDATE head SET bytes = ? WHERE session = ?");
    this.#updateDue = prepare("UPDATE head SET next_due = ? WHERE session = ?");
    this.#updateOldest = prepare("UPDATE head SET oldest = ?, oldest_time = ? WHERE session = ?");
    this.#delete = prepare("DELETE FROM head WHERE session = ?");
    this.#insertLabel = prepare(
      "INSERT INTO label (namespace, name, value, id, session, recency) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#moveLabel = prepare(`UPDATE label SET recency = ? WHERE ${label}`);
    this.#deleteLabel = prepare(`DELETE FROM label WHERE ${label}`);
  }

  /** The number of a namespace; `undefined`: it has never been written to. */
  namespaceId(name: string): number | undefined {
    let id = this.#namespaceIds.get(name);
    if (id === undefined) {
      id = this.#findNamespace.get(bytesOf(name))?.[0] as number | undefined;
      if (id !== undefined) this.#knowNamespace(name, id);
    }
    return id;
  }

  /** The number of a namespace, which is made if there is none. */
  openNamespace(name: string): number {
    const id = this.namespaceId(name) ?? (this.#addNamespace.get(bytesOf(name))?.[0] as number);
    this.#knowNamespace(name, id);
    return id;
  }

  #knowNamespace(name: string, id: number): void {
    if (this.#namespaceIds.size >= NAMESPACES_KNOWN) this.#namespaceIds.clear();
    this.#namespaceIds.set(name, id);
  }

  namespaceName(id: number): Uint8Array | undefined {
    return this.#nameNamespace.get(id)?.[0] as Uint8Array | undefined;
  }

  /** Must be called when a transaction was rolled back: namespaces that it made are gone. */
  rolledBack(): void {
    this.#namespaceIds.clear();
  }

  floor(namespace: number | undefined): number {
    return namespace === undefined ? 0 : ((this.#floor.get(namespace)?.[0] as number | undefined) ?? 0);
  }

  raiseFloor(namespace: number, revision: number): void {
    this.#raiseFloor.run(namespace, revision);
  }

  find({ namespace, sessionId }: SessionKey): HeadRow | undefined {
    const id = this.namespaceId(namespace);
    const row = id === undefined ? undefined : this.#find.get(id, bytesOf(sessionId));
    return row && HeadRow.of(row);
  }

  byNumber(session: number): HeadRow | undefined {
    const row = this.#byNumber.get(session);
    return row && HeadRow.of(row);
  }

  /** The first number that no session has. */
  nextNumber(): number {
    return this.#nextNumber.get()?.[0] as number;
  }

  delete(head: HeadRow): void {
    this.#delete.run(head.session);
    if (head.stored !== undefined) this.#removeLabels(HeadRow.of(head.stored));
  }

  /** Writes what changed since the head was read. */
  save(head: HeadRow): void {
    if (head.stored === undefined) {
      this.#insert.run(...head.row);
      this.#addLabels(head);
      return;
    }
    const stored = HeadRow.of(head.stored);
    if (stored.text !== head.text || stored.metadataRevision !== head.metadataRevision) {
      this.#update.run(...head.row, head.session);
      this.#removeLabels(stored);
      this.#addLabels(head);
    } else {
      this.#saveCommit(head, stored);
    }
  }

  /** Touches no index whose columns stay as they are: SQLite would write it anew. */
  #saveCommit(head: HeadRow, stored: HeadRow): void {
    const { session, nextDue, oldest, oldestTime } = head;
    if (stored.revision !== head.revision) {
      const { revision, updateTime, activeTime, entries, bytes } = head;
      this.#updateCommit.run(revision, -updateTime, activeTime, entries, bytes, session);
    } else if (stored.bytes !== head.bytes) {
      this.#updateBytes.run(head.bytes, session);
    }
    if (stored.nextDue !== nextDue) this.#updateDue.run(nextDue, session);
    if (stored.oldest !== oldest || stored.oldestTime !== oldestTime)
      this.#updateOldest.run(oldest, oldestTime, session);
    if (stored.updateTime !== head.updateTime)
      for (const [name, value] of labelsOf(head))
        this.#moveLabel.run(-head.updateTime, head.namespace, name, value, head.id);
  }

  #addLabels(head: HeadRow): void {
    if (head.namespace <= LOADING) return;
    for (const [name, value] of labelsOf(head))
      this.#insertLabel.run(head.namespace, name, value, head.id, head.session, -head.updateTime);
  }

  #removeLabels(head: HeadRow): void {
    for (const [name, value] of labelsOf(head)) this.#deleteLabel.run(head.namespace, name, value, head.id);
  }
}

function labelsOf(head: HeadRow): [name: Uint8Array, value: Uint8Array][] {
  if (head.labels === 0) return [];
  return Object.entries((head.metadata as Metadata).labels).map(([name, value]) => [
    bytesOf(name),
    bytesOf(value),
  ]);
}
