/** What programs run against: services as processes of their own, and ways to them that go wrong. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Given } from "./data.ts";

const ROOT = join(import.meta.dirname, "..");

/** A service that keeps so many revisions has soon forgotten. */
const FORGETFUL = 3;
/** A connection that breaks loses the service's so-many-th packet, and with it the answer to what it has just done; … */
const LOST_PACKET = 10;
/** … or so long after it has carried a few packets, as a watch that is quiet carries no more. */
const FEW_PACKETS = 3;
const BREAKS_AFTER_MS = 500;

/** What is there for a run. */
export interface Services extends AsyncDisposable {
  /** The service that most of it is about. */
  readonly url: string;
  /** What `behaviour.json` is told. */
  readonly given: Given;
}

/** Starts all that a run needs. */
export async function startServices(): Promise<Services> {
  await using started = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-interop-"));
  started.defer(() => rmSync(folder, { recursive: true, force: true }));
  const tokens = {
    "reading token": newToken(),
    "writing token": newToken(),
    "unknown token": newToken(),
  };
  const guarded = join(folder, "guarded.json");
  writeFileSync(guarded, JSON.stringify(authOf(tokens["reading token"], tokens["writing token"])));
  const serve = async (...args: string[]): Promise<string> => {
    const { url, child } = await startService(args);
    started.defer(() => stop(child));
    return url;
  };
  // Takes connections, and never says a word.
  const silent = await listen(() => {});
  started.defer(silent.close);
  // A port that was free a moment ago.
  const gone = await listen(() => {});
  await gone.close();
  const url = await serve();
  const breaking = await listen((socket) => breakLater(socket, url));
  started.defer(breaking.close);
  const given = {
    ...tokens,
    "forgetful url": await serve("--history", String(FORGETFUL)),
    "guarded url": await serve("--config", guarded),
    "silent url": silent.url,
    "nobody url": gone.url,
    "breaking url": breaking.url,
  };
  const owned = started.move();
  return { url, given, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function newToken(): string {
  return randomBytes(24).toString("base64url");
}

/** A configuration that lets one token read, and one write. */
function authOf(reading: string, writing: string): object {
  const key = (token: string, principal: string): object => ({
    sha256: createHash("sha256").update(token).digest("hex"),
    principal,
    namespaces: ["interop"],
  });
  return {
    auth: {
      keys: [key(reading, "reader"), key(writing, "writer")],
      grants: [
        { principal: "reader", action: "read", namespace: "*" },
        { principal: "writer", action: "write", namespace: "*" },
      ],
    },
  };
}

/** Starts `workflow-state serve` in memory, on a free port. */
async function startService(args: readonly string[]): Promise<{ url: string; child: ChildProcess }> {
  const command = [join(ROOT, "src/cli.ts"), "serve", "--listen", "127.0.0.1:0", ...args];
  const env = Object.entries(process.env).filter(
    ([name]) => !/^(?:WORKFLOW_STATE_|NODE_OPTIONS|VITEST)/.test(name),
  );
  const child = spawn(process.execPath, [...command, "--drain-timeout", "1s"], {
    env: Object.fromEntries(env),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    const [, url] = /^listening on (\S+)$/m.exec(said) ?? [];
    if (url !== undefined) resolve(url);
  });
  child.once("close", (code) => reject(new Error(`The service did not start (${code}): ${said}`)));
  return { url: await promise, child };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGTERM");
  await closed;
}

/** Hands a connection's bytes on to the service and back, until it breaks. */
function breakLater(socket: Socket, url: string): void {
  const { hostname, port } = new URL(url);
  const service = connect({ host: hostname, port: Number(port), noDelay: true });
  const end = (): void => {
    socket.destroy();
    service.destroy();
  };
  let packets = 0;
  socket.on("data", (bytes) => service.write(bytes)).on("close", end);
  service
    .on("data", (bytes) => {
      packets += 1;
      if (packets === LOST_PACKET) end();
      else socket.write(bytes);
      if (packets === FEW_PACKETS) setTimeout(end, BREAKS_AFTER_MS);
    })
    .on("error", end)
    .on("close", end);
}

/** Listens on a free port of this machine. */
async function listen(take: (socket: Socket) => void): Promise<{ url: string; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket
      .on("error", () => {})
      .on("close", () => sockets.delete(socket))
      .resume();
    take(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("The server has no port.");
  return {
    url: `http://127.0.0.1:${address.port}`,
    async close() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
