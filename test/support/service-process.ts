/** The service as a process of its own, to be killed and started again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./markdown.ts";

/** How much of the past a service under test keeps: all of what a test does, so that its events can be counted. */
const RETENTION = { history: 1_000_000 } as const;

/** What runs: a test that ends before its time must leave no server behind. */
const running: Set<ChildProcess> = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** `workflow-state serve` on a store. */
export class ServiceProcess {
  readonly #store: string;
  readonly #args: readonly string[];
  readonly #folder: string = mkdtempSync(join(tmpdir(), "workflow-state-service-"));
  #port = 0;
  #child: ChildProcess | undefined;
  #errors = "";

  private constructor(store: string, args: readonly string[]) {
    this.#store = store;
    this.#args = args;
    const section = store.startsWith("memory:") ? "memory" : "retention";
    writeFileSync(join(this.#folder, "config.json"), JSON.stringify({ [section]: RETENTION }));
  }

  /**
   * Starts a service on a free port of this machine, and waits until it listens. Fails if it is killed before.
   * @param killed settles when it is to be killed, however far it is
   * @param args more of its arguments
   */
  static async start(
    store: string,
    killed?: Promise<unknown>,
    args: readonly string[] = [],
  ): Promise<ServiceProcess> {
    const service = new ServiceProcess(store, args);
    void killed?.then(() => service.kill());
    try {
      await service.restart();
      return service;
    } catch (error) {
      rmSync(service.#folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Where clients find it, also after a restart. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** What it has written to stderr, over all its lives. */
  get errors(): string {
    return this.#errors;
  }

  /** The process; `undefined`: it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Whether it still runs. */
  get runs(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends it at once: kill -9. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Starts it again, where clients look for it. */
  async restart(): Promise<void> {
    const args = ["--listen", `127.0.0.1:${this.#port}`, "--store", this.#store, "--drain-timeout", "1s"];
    const config = ["--config", join(this.#folder, "config.json")];
    const env = Object.entries(process.env).filter(
      ([name]) => !/^(?:WORKFLOW_STATE_|NODE_OPTIONS|VITEST)/.test(name),
    );
    const all = [join(ROOT, "src/cli.ts"), "serve", ...args, ...config, ...this.#args];
    const child = spawn(process.execPath, all, {
      env: Object.fromEntries(env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    running.add(child);
    child.once("close", () => running.delete(child));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    let said = "";
    this.#port = await new Promise<number>((resolve, reject) => {
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        const [, port] = /^listening on \S+:(\d+)$/m.exec(said) ?? [];
        if (port !== undefined) resolve(Number(port));
      });
      child.once("close", (code) =>
        reject(new Error(`The service did not start (${code}): ${said}${this.#errors}`)),
      );
    });
  }

  /** Ends it as an operator would, to start it again; fails unless it says that all is well. */
  async terminate(): Promise<void> {
    const code = await this.#end("SIGTERM");
    if (code !== 0) throw new Error(`The service ended with ${code}: ${this.#errors}`);
  }

  /** Ends it as an operator would; fails unless it says that all is well. */
  async stop(): Promise<void> {
    const code = await this.#end("SIGTERM");
    rmSync(this.#folder, { recursive: true, force: true });
    if (code !== undefined && code !== 0) throw new Error(`The service ended with ${code}: ${this.#errors}`);
  }

  /** Gives the exit code; `undefined`: it did not run, or the signal ended it. */
  async #end(signal: NodeJS.Signals): Promise<number | undefined> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    const closed = once(child, "close");
    child.kill(signal);
    const [code] = (await closed) as [number | null];
    return code ?? undefined;
  }
}
