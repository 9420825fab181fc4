/** Whether the server takes calls: for load balancers and orchestrators, by gRPC's health protocol and by plain HTTP. */
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as Status,
} from "../../gen/grpc/health/v1/health_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type { EncodedStore } from "../store.ts";
import { raced } from "./call.ts";
import { connectionKey } from "./routes.ts";

/** How often the store is asked, and how long it may take to answer, in milliseconds. */
export interface HealthOptions {
  readonly intervalMs?: number;
  readonly timeoutMs?: number;
}

/** The names that have a status: the server as a whole, and its one service. */
const NAMES: ReadonlySet<string> = new Set(["", WorkflowStateService.typeName]);
/** What is read to see whether the store answers. Nobody needs to have written it. */
const PROBE = { sessionId: "health", key: "probe" } as const;

/** Knows whether calls can be answered: the store is reached, and the server is not stopping. */
export class Health {
  readonly #store: EncodedStore;
  readonly #timeoutMs: number;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #waiting: Set<() => void> = new Set();
  #reached = false;
  #stopped = false;
  #asking = false;

  constructor(store: EncodedStore, { intervalMs = 2_000, timeoutMs = 2_000 }: HealthOptions = {}) {
    this.#store = store;
    this.#timeoutMs = timeoutMs;
    this.#timer = setInterval(() => void this.#ask(), intervalMs);
    this.#timer.unref();
    void this.#ask();
  }

  /** Whether calls can be answered. */
  get ready(): boolean {
    return this.#reached && !this.#stopped;
  }

  /** From now on nothing is ready; those who watch are told, and their watches end. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#tell();
  }

  /** Whether calls can be answered, now and at each change, until the server stops or the signal aborts. */
  async *changes(signal: AbortSignal): AsyncGenerator<boolean, void, undefined> {
    let told: boolean | undefined;
    for (;;) {
      // Also where the signal came with the change: the server's stop is both.
      if (told !== this.ready) {
        told = this.ready;
        yield told;
        continue;
      }
      if (this.#stopped || signal.aborted) return;
      await this.#change(signal);
    }
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let reached = true;
    try {
      const signal = AbortSignal.timeout(this.#timeoutMs);
      await raced(this.#store.getState(PROBE, { signal }), signal);
    } catch (error) {
      // A store that refuses the question has been reached: the entry may be there, under a key that is not known any more.
      reached = WorkflowStateError.is(error) && error.code !== "UNAVAILABLE";
    } finally {
      this.#asking = false;
    }
    if (reached === this.#reached) return;
    this.#reached = reached;
    this.#tell();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener("abort", done);
    });
  }

  #tell(): void {
    for (const done of [...this.#waiting]) done();
  }
}

/** The routes of gRPC's health protocol. */
export function healthRoutes(health: Health): (router: ConnectRouter) => void {
  const status = (): Status => statusOf(health.ready);
  return (router) => {
    router.service(HealthService, {
      check({ service }) {
        if (!NAMES.has(service)) throw new ConnectError("There is no such service here.", Code.NotFound);
        return { status: status() };
      },
      list: () => ({
        statuses: Object.fromEntries(Array.from(NAMES, (name) => [name, { status: status() }])),
      }),
      async *watch({ service }, { signal: called, values }) {
        // The connection's end is one of the watch, too.
        const ending = values.get(connectionKey)?.ending;
        const signal = ending === undefined ? called : AbortSignal.any([called, ending]);
        const known = NAMES.has(service);
        if (!known) yield { status: Status.SERVICE_UNKNOWN };
        for await (const ready of health.changes(signal)) if (known) yield { status: statusOf(ready) };
        if (!called.aborted) {
          throw new ConnectError("The server or the connection is stopping.", Code.Unavailable);
        }
      },
    });
  };
}

/**
 * The HTTP status at a path for probes, `undefined`: it is none. `/healthz`: the process answers; `/readyz`: calls can be
 * answered.
 */
export function probeStatus(health: Health, path: string): number | undefined {
  if (path === "/healthz") return 200;
  if (path === "/readyz") return health.ready ? 200 : 503;
  return undefined;
}

function statusOf(ready: boolean): Status {
  return ready ? Status.SERVING : Status.NOT_SERVING;
}
