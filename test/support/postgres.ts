/** The PostgreSQL servers that test files share. Each file has schemas of its own in them. */
import { DEBIAN_BIN, PASSWORD, queryAt } from "./postgres-server.ts";
import { service } from "./services.ts";

/** A server that is shared: it may not be ended, and what is done to it is done to others. */
export class SharedPostgres {
  readonly port: number;
  #schemas = 0;

  constructor(port: number) {
    this.port = port;
  }

  /** The URL of a store that nothing has used before; through a proxy, its port. */
  fresh(port: number = this.port): string {
    this.#schemas += 1;
    const schema = `t${process.pid}_${Date.now().toString(36)}_${this.#schemas}`;
    return `postgres://tester:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/postgres?schema=${schema}`;
  }

  /** Runs a statement on a connection of its own. */
  query<Row extends object>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    const url = `postgres://tester:${encodeURIComponent(PASSWORD)}@127.0.0.1:${this.port}/postgres`;
    return queryAt<Row>(url, sql, parameters);
  }
}

/** npm's PostgreSQL. */
export async function sharedPostgres(): Promise<SharedPostgres> {
  const { port } = (await service("postgres")) as { readonly port: number };
  return new SharedPostgres(port);
}

/** Debian's PostgreSQL: to be asked for only where `DEBIAN_BIN` says that there is one. */
export async function debianPostgres(): Promise<SharedPostgres> {
  const { port } = (await service("postgres-debian")) as { readonly port: number };
  return new SharedPostgres(port);
}

/** Names in the output what is left out where no second PostgreSQL is installed. */
export function nameSkippedPostgres(suite: string): void {
  if (DEBIAN_BIN === undefined)
    console.log(`${suite}: skipped on Debian's PostgreSQL: it is not installed (npm's runs).`);
}
