/** PgBouncer in front of a PostgreSQL server, lending a connection for each transaction only. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { PASSWORD, whoRuns } from "./postgres-server.ts";

/** A pooler that runs. */
export interface Pgbouncer {
  readonly port: number;
  stop(): Promise<void>;
}

const PROGRAM = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"].find(existsSync);

/** Starts one in front of a port; `undefined`: it is not installed. */
export async function startPgbouncer(target: number): Promise<Pgbouncer | undefined> {
  if (PROGRAM === undefined) return undefined;
  const folder = await mkdtemp(join(tmpdir(), "workflow-state-pgbouncer-"));
  await chmod(folder, 0o755);
  const port = await freePort();
  const settings = `
[databases]
* = host=127.0.0.1 port=${target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = plain
auth_file = ${folder}/users.txt
pool_mode = transaction
default_pool_size = 3
`;
  await writeFile(join(folder, "settings.ini"), settings);
  await writeFile(join(folder, "users.txt"), `"tester" "${PASSWORD}"\n`);
  // It ends with the pipe to it, however this program ends.
  const guard = `"$0" "$@" & child=$!; read -r _; kill -TERM "$child"; wait "$child"`;
  const child = spawn("sh", ["-c", guard, PROGRAM, join(folder, "settings.ini")], {
    ...(await whoRuns()),
    stdio: ["pipe", "ignore", "ignore"],
  });
  child.stdin.on("error", () => {});
  while (!(await accepts(port))) await new Promise((resolve) => setTimeout(resolve, 10));
  return {
    port,
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, "close");
      await rm(folder, { recursive: true });
    },
  };
}

/** Whether somebody listens on a port. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
