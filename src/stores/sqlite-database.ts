/** A SQLite file, by the few methods that the store uses: the only file that knows which library runs SQLite. */
import { DatabaseSync, type StatementSync } from "node:sqlite";

/** What a column holds. A number that is stored becomes an INTEGER where the column is one. */
export type Cell = number | bigint | string | Uint8Array | null;

/** What a query gives: its columns by their place. */
export type Row = readonly Cell[];

/** A prepared statement. Every call runs it from the beginning to its end. */
export interface Statement {
  /** The first row; `undefined`: there is none. */
  get(...parameters: Cell[]): Row | undefined;
  all(...parameters: Cell[]): Row[];
  /** Rows one by one, while nothing else is written through this connection. */
  iterate(...parameters: Cell[]): IterableIterator<Row>;
  /** How many rows it changed. */
  run(...parameters: Cell[]): number;
}

/** An open connection to a file. */
export interface Database {
  prepare(sql: string): Statement;
  /** Runs statements that give nothing back. */
  exec(sql: string): void;
  /** Whether a transaction is open: SQLite itself ends one on some failures. */
  readonly inTransaction: boolean;
  close(): void;
}

/** How to open a file. */
export interface DatabaseOptions {
  /** How long a statement waits, with the whole process, for a lock that another process holds. */
  readonly busyTimeoutMs: number;
  readonly readOnly?: boolean;
}

/** Reads at one moment: what other processes commit meanwhile is not seen. */
export class Moments {
  readonly #database: Database;
  readonly #begin: Statement;
  readonly #end: Statement;

  constructor(database: Database) {
    this.#database = database;
    this.#begin = database.prepare("BEGIN");
    this.#end = database.prepare("COMMIT");
  }

  /** Runs what reads, to its end: it must not wait. */
  at<Result>(read: () => Result): Result {
    this.#begin.run();
    try {
      return read();
    } finally {
      if (this.#database.inTransaction) this.#end.run();
    }
  }
}

/** Opens a file. @param path absolute, so that it is never taken for a URI or for `:memory:` */
export function openDatabase(path: string, { busyTimeoutMs, readOnly = false }: DatabaseOptions): Database {
  return new NodeDatabase(new DatabaseSync(path, { timeout: busyTimeoutMs, readOnly, returnArrays: true }));
}

/** SQLite's result code of a failure, the extended one; `undefined`: it is no failure of SQLite's. */
export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode : undefined;
}

class NodeDatabase implements Database {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  get inTransaction(): boolean {
    return this.#database.isTransaction;
  }

  prepare(sql: string): Statement {
    return new NodeStatement(this.#database.prepare(sql));
  }

  exec(sql: string): void {
    this.#database.exec(sql);
  }

  close(): void {
    this.#database.close();
  }
}

class NodeStatement implements Statement {
  readonly #statement: StatementSync;

  constructor(statement: StatementSync) {
    this.#statement = statement;
  }

  get(...parameters: Cell[]): Row | undefined {
    return this.#statement.get(...parameters) as Row | undefined;
  }

  all(...parameters: Cell[]): Row[] {
    return this.#statement.all(...parameters) as unknown as Row[];
  }

  iterate(...parameters: Cell[]): IterableIterator<Row> {
    return this.#statement.iterate(...parameters) as unknown as IterableIterator<Row>;
  }

  run(...parameters: Cell[]): number {
    return Number(this.#statement.run(...parameters).changes);
  }
}
