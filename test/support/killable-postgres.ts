/** A PostgreSQL server of a test's own, to be killed, restarted and measured. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sleep } from "./network.ts";
import { PostgresServer, type ServerOptions } from "./postgres-server.ts";

/** A server that keeps what it acknowledges, whatever is done to it; each store in it is a schema. */
export class KillablePostgres {
  readonly #server: PostgresServer;

  private constructor(server: PostgresServer) {
    this.#server = server;
  }

  /** Makes a server and starts it. */
  static async start(options: ServerOptions = {}): Promise<KillablePostgres> {
    return new KillablePostgres(await PostgresServer.start(options));
  }

  get port(): number {
    return this.#server.port;
  }

  /** The URL of a store that nothing has used before; through a proxy, its port. */
  fresh(port?: number): string {
    return this.#server.fresh(port);
  }

  /** Ends the server and all its backends at once: kill -9. */
  async kill(): Promise<void> {
    const file = join(this.#server.folder, "data/postmaster.pid");
    const postmaster = Number(readFileSync(file, "utf8").split("\n")[0]);
    const family = [postmaster, ...childrenOf(postmaster)];
    for (const pid of family) signal(pid, "SIGKILL");
    while (family.some((pid) => isRunning(pid))) await sleep(5);
    // Nothing is left to end but what watched over it.
    await this.#server.halt();
  }

  /** Starts it again after a kill; it replays its log first. */
  async restart(): Promise<void> {
    await this.#server.resume();
  }

  /** Ends it as an operator would, and starts it again. */
  async stopAndStart(): Promise<void> {
    await this.#server.halt();
    await this.#server.resume();
  }

  /** Ends the connections of everybody else, inside the server. Gives how many. */
  terminateBackends(): Promise<number> {
    return this.#server.terminateBackends();
  }

  /** Has it write everything that it has to its files. */
  async checkpoint(): Promise<void> {
    await this.#server.query("checkpoint");
  }

  /** Whether a program has asked for the schema of a store. */
  async isBegun(url: string): Promise<boolean> {
    const schema = new URL(url).searchParams.get("schema");
    const found = await this.#server.query(
      "select from pg_stat_activity where pid <> pg_backend_pid() and strpos(query, $1) > 0",
      [schema],
    );
    return found.length > 0;
  }

  /** Bytes that its log has grown to. */
  async logBytes(): Promise<number> {
    const [row] = await this.#server.query<{ readonly bytes: string }>(
      "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text as bytes",
    );
    return Number(row?.bytes);
  }

  /** Ends it and removes its files. */
  async stop(): Promise<void> {
    await this.#server.stop();
  }
}

/** The processes that a process has started and that run. */
function childrenOf(parent: number): number[] {
  return processes().flatMap(([pid, ppid]) => (ppid === parent ? [pid] : []));
}

/** Every process with its parent. */
function processes(): (readonly [number, number])[] {
  if (!existsSync("/proc/self/stat")) {
    const table = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" });
    return table.split("\n").map((line) => line.trim().split(/\s+/).map(Number) as [number, number]);
  }
  return readdirSync("/proc").flatMap((name) => {
    // After the name in brackets, which may hold anything: the state, then the parent.
    const stat = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    const [, ppid] = stat?.slice(stat.lastIndexOf(")") + 2).split(" ") ?? [];
    return ppid === undefined ? [] : [[Number(name), Number(ppid)] as const];
  });
}

/** What /proc says of a process; `undefined`: nothing, or there is no /proc. */
function statOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

function isRunning(pid: number): boolean {
  // One that has ended and that nobody has asked about yet is still there, as a zombie.
  return signal(pid, 0) && !/\) Z /.test(statOf(pid) ?? "");
}
