/** Redis servers of a test's own that sync every write, to be killed, restarted and measured. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@redis/client";
import { freePort } from "./free-port.ts";

/** What runs: a test that ends before its time must leave no server behind. */
const running: Set<ChildProcess> = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** What a server has beside the settings of all. */
export interface RedisSettings {
  /** As the command line has them. */
  readonly settings?: readonly string[];
  readonly busPort?: number;
}

/** A server with its own files, which it syncs before it answers a write (`appendfsync always`). */
export class KillableRedis {
  readonly port: number;
  readonly #folder: string = mkdtempSync(join(tmpdir(), "workflow-state-redis-"));
  /** Where the nodes of a cluster talk to each other. */
  readonly busPort: number;
  readonly #settings: readonly string[];
  #child: ChildProcess | undefined;
  #prefixes = 0;

  private constructor(port: number, { settings = [], busPort = 0 }: RedisSettings) {
    this.port = port;
    this.busPort = busPort;
    this.#settings = settings;
  }

  /** Makes a server and starts it. */
  static async start(settings: RedisSettings = {}): Promise<KillableRedis> {
    const server = new KillableRedis(await freePort(), settings);
    await server.restart();
    return server;
  }

  /** The URL of a store that nothing has used before; through a proxy, its port. */
  fresh(port: number = this.port): string {
    this.#prefixes += 1;
    return `redis://127.0.0.1:${port}/0?prefix=p${this.#prefixes}:`;
  }

  /** Ends it at once: kill -9. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Starts it, also again: it reads its log first. Settles when it is ready. */
  async restart(): Promise<void> {
    const log = [
      "--save",
      "",
      "--appendonly",
      "yes",
      "--appendfsync",
      "always",
      "--auto-aof-rewrite-percentage",
      "0",
    ];
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#folder, ...log];
    const child = spawn("redis-server", [...args, ...this.#settings], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    running.add(child);
    child.once("close", () => running.delete(child));
    let said = "";
    await new Promise<void>((resolve, reject) => {
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        if (said.includes("Ready to accept connections")) resolve();
      });
      child.once("error", reject);
      child.once("close", (code) => reject(new Error(`redis-server ended with ${code}: ${said}`)));
    });
  }

  /** Ends it as an operator would, and starts it again. */
  async stopAndStart(): Promise<void> {
    await this.#end("SIGTERM");
    await this.restart();
  }

  /** Ends the connections of everybody else, inside the server. Gives how many. */
  async terminateClients(): Promise<number> {
    let ended = 0;
    for (const type of ["normal", "pubsub"]) {
      ended += Number(await this.command("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"));
    }
    return ended;
  }

  /** Whether a store has a key here. */
  async isBegun(url: string): Promise<boolean> {
    const [, prefix = ""] = /prefix=([^&]*)/.exec(url) ?? [];
    return ((await this.command("KEYS", `*${prefix}*`)) as string[]).length > 0;
  }

  /** Bytes that its log has grown to. */
  async logBytes(): Promise<number> {
    const info = String(await this.command("INFO", "persistence"));
    return Number(/^aof_current_size:(\d+)/m.exec(info)?.[1]);
  }

  /** Runs a command on a connection of its own. */
  async command(...args: readonly string[]): Promise<unknown> {
    const client = createClient({ socket: { host: "127.0.0.1", port: this.port, reconnectStrategy: false } });
    client.on("error", () => {});
    await client.connect();
    try {
      return await client.sendCommand([...args]);
    } finally {
      client.destroy();
    }
  }

  /** Ends it and removes its files. */
  async stop(): Promise<void> {
    // Not in order: a replica that writes its first log after a sync refuses that.
    await this.#end("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill(signal);
    await closed;
  }
}
