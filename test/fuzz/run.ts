/** Runs the fuzzer: gives a target inputs of every kind until the time is over, and looks after it meanwhile. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { exportSPKI, generateKeyPair } from "jose";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import { Random } from "../support/random.ts";
import { GrpcCaller } from "./calls.ts";
import { type Domain, Finding, type Secrets } from "./domain.ts";
import { filesDomain } from "./files.ts";
import { framesDomain } from "./frames.ts";
import { jsonDomain } from "./json.ts";
import { requestsDomain } from "./requests.ts";
import type { TargetHealth, TargetPorts } from "./target.ts";
import { tokensDomain } from "./tokens.ts";
import { valuesDomain } from "./values.ts";

/** How the fuzzer is run. */
export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Only these kinds of input. Default: all. */
  readonly only?: readonly string[] | undefined;
  /** Told of each finding as it is made. */
  readonly onFinding?: (finding: FoundCase) => void;
}

/** A finding, and where to find it again. */
export interface FoundCase {
  readonly domain: string;
  /** The number of the input within its domain; the seed and this make it again. */
  readonly number: number;
  readonly message: string;
  readonly input: string;
}

/** What a run did. */
export interface FuzzReport {
  /** Inputs by their kind. */
  readonly inputs: Readonly<Record<string, number>>;
  readonly findings: readonly FoundCase[];
  /** The longest that the target's event loop was held, in milliseconds. */
  readonly heldMs: number;
}

/** The event loop may be held so long, on a machine that may have other things to do. */
const HELD_MS = 5_000;
/** Between two looks at the target. */
const LOOK_MS = 500;
/** More findings are not gathered: they are likely the same. */
const MOST_FINDINGS = 20;
/** A target that has so much memory is replaced by a new one: what it stores is garbage that it was told to keep. */
const FULL_BYTES = 1.5e9;

/** Runs the fuzzer. Does not throw for what it finds. */
export async function runFuzz({ seed, seconds, only, onFinding }: FuzzOptions): Promise<FuzzReport> {
  const end = performance.now() + seconds * 1000;
  const inputs: Record<string, number> = {};
  const findings: FoundCase[] = [];
  let heldMs = 0;
  const found = (domain: string, number: number, error: unknown): void => {
    const input = error instanceof Finding ? error.input : "";
    const message = error instanceof Finding ? error.message : String((error as Error).stack ?? error);
    findings.push({ domain, number, message, input });
    onFinding?.(findings.at(-1) as FoundCase);
  };

  const goesOn = (): boolean => performance.now() < end && findings.length < MOST_FINDINGS;
  while (goesOn()) {
    const target = await Target.start();
    try {
      const domains = (await target.domains()).filter(({ name }) => only?.includes(name) ?? true);
      let full = false;
      const looked = (async () => {
        while (goesOn() && !full) {
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
          const health = await target.health();
          heldMs = Math.max(heldMs, health.heldMs);
          full = health.rssBytes > FULL_BYTES;
          for (const problem of health.problems) found("target", 0, new Finding(problem, ""));
          if (health.heldMs > HELD_MS)
            found("target", 0, new Finding(`The event loop was held ${health.heldMs} ms`, ""));
        }
      })();
      await Promise.all(
        domains.map(async ({ name, step, close }) => {
          for (let n = inputs[name] ?? 0; goesOn() && !full && target.lives; n++) {
            inputs[name] = n + 1;
            // Those that need no answer from the target must leave the others their turn.
            await turn();
            await step(new Random(seedOf(seed, name, n))).catch((error: unknown) => found(name, n, error));
          }
          close?.();
        }),
      );
      await looked;
      if (!target.lives) found("target", 0, new Finding(`The target has ended: ${target.errors}`, ""));
    } catch (error) {
      found("target", 0, error);
    } finally {
      target.stop();
    }
  }
  return { inputs, findings, heldMs };
}

/** The seed of one input. */
function seedOf(seed: number, domain: string, n: number): number {
  return createHash("sha256").update(`${seed} ${domain} ${n}`).digest().readUInt32BE(0);
}

/** The process that is fuzzed. */
class Target {
  readonly #child: ChildProcess;
  readonly #ports: TargetPorts;
  readonly #secrets: Secrets;
  readonly #folder: string = mkdtempSync(join(tmpdir(), "workflow-state-fuzz-"));
  readonly #canary: GrpcCaller;
  readonly #errors: () => string;

  private constructor(child: ChildProcess, ports: TargetPorts, secrets: Secrets, errors: () => string) {
    this.#child = child;
    this.#ports = ports;
    this.#secrets = secrets;
    this.#canary = new GrpcCaller(ports.mixed);
    this.#errors = errors;
  }

  static async start(): Promise<Target> {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    const key = randomBytes(32).toString("base64url");
    const keySha256 = createHash("sha256").update(key).digest("hex");
    const settings = JSON.stringify({ publicKey: await exportSPKI(publicKey), keySha256 });
    const child = spawn(process.execPath, [join(import.meta.dirname, "target.ts"), settings], {
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let errors = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    const [ports] = (await Promise.race([
      once(child, "message"),
      once(child, "close").then(() => Promise.reject(new Error(`The target did not start: ${errors}`))),
    ])) as [TargetPorts];
    return new Target(child, ports, { key, privateKey }, () => errors);
  }

  get lives(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get errors(): string {
    return this.#errors();
  }

  async domains(): Promise<Domain[]> {
    const context = { ports: this.#ports, secrets: this.#secrets };
    return [
      requestsDomain(context),
      valuesDomain(context),
      jsonDomain(context),
      tokensDomain(context),
      await framesDomain(context),
      filesDomain(join(this.#folder, "config.json")),
    ];
  }

  /** Makes a call as anybody would, and asks the process how it is. Throws if either fails. */
  async health(): Promise<TargetHealth> {
    const body = grpcFrame(requestBytes("GetState", { sessionId: "canary", key: "k" }));
    const { status, message } = await this.#canary.call("GetState", body);
    if (status !== 0) throw new Finding(`A proper call is answered ${status}: ${message}`, body);
    this.#child.send("health");
    const [health] = (await once(this.#child, "message")) as [TargetHealth];
    return health;
  }

  stop(): void {
    this.#canary.close();
    this.#child.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
