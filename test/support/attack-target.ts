/** A real `workflow-state serve` that tests attack: its memory, its sockets, and what a well-behaved caller sees meanwhile. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "./markdown.ts";
import type { Identity } from "./self-signed.ts";

/** What the bystander saw, from `begin` to `end`. */
export interface BystanderReport {
  readonly calls: number;
  readonly slowestMs: number;
  readonly failures: readonly string[];
}

/** What an attack did. */
export interface AttackResult {
  readonly check: "attack";
  /** `HTTP/2`, `HTTP/1.1`, `gRPC` … */
  readonly layer: string;
  readonly attack: string;
  /** By how much the resident memory of the process was greater, at its greatest, than before. */
  readonly growthBytes: number;
  readonly slowestMs: number;
  readonly calls: number;
}

/** How a target is set up. */
export interface TargetOptions {
  /** A config file's content; nothing of it is needed. */
  readonly config?: object;
  readonly tls?: Identity;
}

const SOCKETS_GONE_MS = 15_000;
const running: Set<ChildProcess> = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A server with a store in memory and every default, and its bystander. */
export class AttackTarget {
  readonly port: number;
  readonly #server: ChildProcess;
  readonly #bystander: ChildProcess;
  readonly #folder: string;
  readonly #errors: () => string;
  readonly #end: Promise<number | string>;

  private constructor(of: {
    readonly port: number;
    readonly server: ChildProcess;
    readonly bystander: ChildProcess;
    readonly folder: string;
    readonly errors: () => string;
  }) {
    this.port = of.port;
    this.#server = of.server;
    this.#bystander = of.bystander;
    this.#folder = of.folder;
    this.#errors = of.errors;
    this.#end = once(of.server, "close").then(([code, signal]) => code ?? signal);
  }

  /** Starts one on a free port of this machine. */
  static async start({ config = {}, tls }: TargetOptions = {}): Promise<AttackTarget> {
    const folder = mkdtempSync(join(tmpdir(), "workflow-state-attack-"));
    const file = (name: string, text: string): string => {
      const path = join(folder, name);
      writeFileSync(path, text);
      return path;
    };
    const options = ["--config", file("config.json", JSON.stringify(config)), "--drain-timeout", "1s"];
    if (tls !== undefined) {
      options.push("--tls-key", file("key.pem", tls.key), "--tls-cert", file("cert.pem", tls.cert));
    }
    const server = child("src/cli.ts", ["serve", "--listen", "127.0.0.1:0", ...options], ["pipe", "pipe"]);
    let errors = "";
    server.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    const port = await listening(server, () => errors);
    const caller = [`localhost:${port}`, ...(tls === undefined ? [] : [join(folder, "cert.pem")])];
    const bystander = child("test/support/attack-bystander.ts", caller, ["inherit", "inherit", "ipc"]);
    await once(bystander, "message");
    return new AttackTarget({ port, server, bystander, folder, errors: () => errors });
  }

  /**
   * Runs an attack, and says what it did. Fails if the process has died or written an error, if a call of the bystander
   * failed, or if the process still holds a socket more than before, some time after the attack.
   */
  async under(layer: string, attack: string, run: () => Promise<void>): Promise<AttackResult> {
    this.checkLives();
    const sockets = this.sockets();
    const before = this.#startMeasuring();
    this.#bystander.send("begin");
    await once(this.#bystander, "message");
    await run();
    // What was sent last is still being worked on.
    await sleep(100);
    this.#bystander.send("end");
    const [{ calls, slowestMs, failures }] = (await once(this.#bystander, "message")) as [BystanderReport];
    const growthBytes = Math.max(0, this.#memory("VmHWM") - before);
    this.checkLives();
    if (failures.length > 0)
      throw new Error(`A bystander's calls failed: ${failures.slice(0, 3).join("; ")}`);
    for (const start = performance.now(); this.sockets() > sockets; await sleep(20)) {
      if (performance.now() - start > SOCKETS_GONE_MS) {
        throw new Error(
          `There were ${sockets} sockets before the attack, and are ${this.sockets()} after it.`,
        );
      }
    }
    const result = { check: "attack", layer, attack, growthBytes, slowestMs, calls } as const;
    recordAttack(result);
    return result;
  }

  /** How many sockets the process has, those included that listen. */
  sockets(): number {
    const folder = `/proc/${this.#server.pid}/fd`;
    return readdirSync(folder).filter((name) => {
      try {
        return readlinkSync(join(folder, name)).startsWith("socket:");
      } catch {
        // Closed since the folder was read.
        return false;
      }
    }).length;
  }

  /** Stops both as an operator would. Fails unless the server says that all is well. */
  async stop(): Promise<void> {
    this.#bystander.disconnect();
    this.#server.kill("SIGTERM");
    const code = await this.#end;
    rmSync(this.#folder, { recursive: true, force: true });
    if (code !== 0) throw new Error(`The server ended with ${code}: ${this.#errors()}`);
  }

  /** Fails if the process has ended, or has written an error. */
  checkLives(): void {
    const { exitCode, signalCode } = this.#server;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`The server has ended (${exitCode ?? signalCode}): ${this.#errors()}`);
    }
    const wrong = this.#errors()
      .split("\n")
      .filter((line) => line !== "" && !/^\{"level":"(?:debug|info)"/.test(line));
    if (wrong.length > 0) throw new Error(`The server has written: ${wrong.join("\n")}`);
  }

  /** Has the kernel forget the highest memory so far; gives what is resident now. */
  #startMeasuring(): number {
    writeFileSync(`/proc/${this.#server.pid}/clear_refs`, "5");
    return this.#memory("VmRSS");
  }

  #memory(name: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.#server.pid}/status`, "utf8");
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024;
  }
}

function child(
  file: string,
  args: readonly string[],
  stdio: readonly ("pipe" | "inherit" | "ipc")[],
): ChildProcess {
  const env = Object.entries(process.env).filter(
    ([name]) => !/^(?:WORKFLOW_STATE_|NODE_OPTIONS|VITEST|OTEL_)/.test(name),
  );
  const made = spawn(process.execPath, [join(ROOT, file), ...args], {
    env: Object.fromEntries(env),
    stdio: ["ignore", ...stdio],
  });
  running.add(made);
  made.once("close", () => running.delete(made));
  return made;
}

function listening(server: ChildProcess, errors: () => string): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = "";
    server.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      const [, port] = /^listening on \S+:(\d+)$/m.exec(said) ?? [];
      if (port !== undefined) resolve(Number(port));
    });
    server.once("close", (code) =>
      reject(new Error(`The server did not start (${code}): ${said}${errors()}`)),
    );
  });
}

/** Adds a result to the file that WORKFLOW_STATE_TEST_RESULTS names, if it does. */
function recordAttack(result: AttackResult): void {
  const path = process.env["WORKFLOW_STATE_TEST_RESULTS"];
  if (path !== undefined && path !== "") appendFileSync(path, `${JSON.stringify(result)}\n`);
}
