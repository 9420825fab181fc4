/**
 * The process that is fuzzed: two servers over stores of their own, one with the fast path and one without, a third that
 * asks who calls, and one for all else. Their clock stands, so that the first two must answer the same requests with the same bytes. Asked for
 * `health`, it says what went wrong since, and how long its event loop was held.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { type RunningServer, type ServerOptions, startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";

/** Where the servers are. */
export interface TargetPorts {
  readonly fast: number;
  readonly general: number;
  /** Asks who calls. */
  readonly guarded: number;
  /** For whatever needs none to compare it with. */
  readonly mixed: number;
}

/** What the process says of itself. */
export interface TargetHealth {
  /** What nobody caught, and what was no answer to a caller. */
  readonly problems: readonly string[];
  /** The longest that the event loop was held since it was asked last, in milliseconds. */
  readonly heldMs: number;
  readonly rssBytes: number;
}

/** 2026-01-01. */
const NOW = 1_767_225_600_000;
const problems: string[] = [];
const note = (what: string) => (error: unknown) =>
  void problems.push(`${what}: ${error instanceof Error ? error.stack : String(error)}`);

async function started(options: Partial<ServerOptions>): Promise<RunningServer> {
  const store = memoryStore({ now: () => NOW, history: 8, maxBytes: 2 ** 30, progressIntervalMs: 20 });
  return startServer({ store, listen: { port: 0 }, onError: note("onError"), ...options });
}

process.on("unhandledRejection", note("unhandled rejection"));
process.on("uncaughtException", note("uncaught exception"));
process.on("warning", note("warning"));
process.on("disconnect", () => process.exit());

const { publicKey, keySha256 } = JSON.parse(process.argv[2] ?? "{}") as Readonly<Record<string, string>>;
const guarded: Partial<ServerOptions> = {
  auth: {
    keys: [{ sha256: keySha256 ?? "", principal: "key", namespaces: ["team"] }],
    jwt: {
      issuer: "https://issuer.example",
      audience: "workflow-state",
      algorithms: ["ES256"],
      publicKey: publicKey ?? "",
    },
    grants: [{ principal: "*", action: "write", namespace: "*" }],
  },
};
const [fast, general, asking, mixed] = await Promise.all([
  started({}),
  started({ fastPath: false }),
  started(guarded),
  started({}),
]);
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();

process.on("message", () => {
  const health: TargetHealth = {
    problems: problems.splice(0),
    heldMs: delay.max / 1e6,
    rssBytes: process.memoryUsage.rss(),
  };
  delay.reset();
  process.send?.(health);
});
process.send?.({
  fast: fast.port,
  general: general.port,
  guarded: asking.port,
  mixed: mixed.port,
} satisfies TargetPorts);
