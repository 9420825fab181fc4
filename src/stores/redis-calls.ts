/**
 * Calls to Redis: sent all at once, in order where that counts, each settled within the time limit with an answer or with what
 * its failure means.
 */
import type { Argument } from "./redis-bytes.ts";
import { codeOf, type Failure, failureOf, outcomeUnknown, timedOut, unavailable } from "./redis-errors.ts";
import { type Client, type Link, send } from "./redis-link.ts";
import { SCRIPTS, type Script } from "./redis-scripts.ts";

/** One call: of a script or, without one, of a command that reads. */
export interface Call {
  /** A key that it works on: it goes to the server that has this one. */
  readonly key: string;
  readonly script?: Script | undefined;
  /** The keys that the script takes. */
  readonly keys?: readonly string[] | undefined;
  /** The script's other arguments, or the whole command. */
  readonly args: readonly Argument[];
  /** Calls with the same order run in the order in which they are given, or not at all. */
  readonly order?: string | undefined;
  /** Whether to wait for replicas after it, if the store waits at all. */
  readonly confirm?: boolean | undefined;
}

/** What became of a call. */
export interface Outcome {
  readonly reply?: unknown;
  readonly failure?: Failure | undefined;
  /** Whether enough replicas have what it wrote; absent: nobody asked. */
  readonly confirmed?: Promise<boolean> | undefined;
}

/** How calls are made. */
export interface CallsOptions {
  /** How long a call may take, in milliseconds. */
  readonly timeoutMs: number;
  /** How many replicas must have a write. */
  readonly wait: number;
  readonly waitTimeoutMs: number;
}

/** The connection to where a key is, or why there is none. */
interface Way {
  readonly client?: Client | undefined;
  readonly failure?: Failure | undefined;
}

/** How often calls that a server refused, because it did not know the script or had lost the keys, are sent again. */
const ROUNDS = 5;

/** Makes calls over a link. */
export class Calls {
  readonly #link: Link;
  readonly #options: CallsOptions;
  readonly #digests: Map<Script, string> = new Map();
  readonly #confirmations: WeakMap<Client, Confirmations> = new WeakMap();

  constructor(link: Link, options: CallsOptions) {
    this.#link = link;
    this.#options = options;
  }

  /** Prepares all scripts, and loads them into the servers that can be reached. */
  async prepare(): Promise<void> {
    for (const script of Object.values(SCRIPTS)) this.#digests.set(script, await digest(script.source));
    const loads = (await this.#link.primaries()).flatMap((client) =>
      Object.values(SCRIPTS).map((script) => send(client, ["SCRIPT", "LOAD", script.source])),
    );
    // Whoever may not load them, or loses the connection meanwhile, finds out at the first call.
    await inTime(Promise.allSettled(loads), this.#options.timeoutMs);
  }

  /** Makes calls; never rejects. One outcome for each. */
  async make(calls: readonly Call[]): Promise<Outcome[]> {
    const until = performance.now() + this.#options.timeoutMs;
    const outcomes: (Outcome | undefined)[] = calls.map(() => undefined);
    let pending = calls.map((_, i) => i);
    for (let round = 0; pending.length > 0; round++) {
      await this.#send(calls, pending, outcomes, until, round);
      pending = round < ROUNDS ? await this.#refused(calls, pending, outcomes) : [];
    }
    return outcomes as Outcome[];
  }

  /** Makes one call. Rejects with what its failure means. */
  async one(call: Call): Promise<unknown> {
    return replyOf((await this.make([call]))[0]);
  }

  /** Which calls are to be sent again: a server refused them before they began. */
  async #refused(
    calls: readonly Call[],
    sent: readonly number[],
    outcomes: (Outcome | undefined)[],
  ): Promise<number[]> {
    const again: number[] = [];
    const moved: Set<string> = new Set();
    const overtaken: Set<string> = new Set();
    for (const i of sent.toReversed()) {
      const { key, order } = calls[i] as Call;
      const { failure } = outcomes[i] as Outcome;
      const code = codeOf(failure?.error.cause);
      if (code === "NOSCRIPT" || code === "MOVED") {
        if (code === "MOVED") moved.add(key);
        // One that comes after it has run: it is too late for this one.
        if (order !== undefined && overtaken.has(order)) continue;
        again.push(i);
      } else if (order !== undefined && (failure === undefined || failure.mayHaveRun)) {
        overtaken.add(order);
      }
    }
    for (const key of moved) await this.#link.refresh(key);
    return again.reverse();
  }

  async #send(
    calls: readonly Call[],
    which: readonly number[],
    outcomes: (Outcome | undefined)[],
    until: number,
    round: number,
  ): Promise<void> {
    const clients = await this.#clientsOf(calls, which);
    const confirmations: Map<Client, Promise<boolean> | undefined> = new Map();
    await new Promise<void>((resolve) => {
      let left = which.length;
      let timer: NodeJS.Timeout | undefined;
      const settle = (i: number, outcome: Outcome): void => {
        // What comes after the time was up counts no more.
        if (left <= 0) return;
        outcomes[i] = outcome;
        if (--left > 0) return;
        clearTimeout(timer);
        resolve();
      };
      const pending: Set<number> = new Set();
      const loaded: Map<Client, Set<Script>> = new Map();
      for (const i of which) {
        const call = calls[i] as Call;
        const { client, failure } = clients.get(call.key) ?? {};
        if (client === undefined) {
          settle(i, { failure: failure ?? timedOut(false, false) });
          continue;
        }
        const writes = call.script?.writes === true;
        if (round === 1 && call.script !== undefined) this.#load(client, call.script, loaded);
        pending.add(i);
        const confirm = call.confirm === true && this.#options.wait > 0;
        if (confirm) confirmations.set(client, undefined);
        send(client, this.#command(call, round > 1)).then(
          (reply) => {
            pending.delete(i);
            settle(i, { reply, confirmed: confirm ? confirmations.get(client) : undefined });
          },
          (error: unknown) => {
            pending.delete(i);
            settle(i, { failure: failureOf(error, writes) });
          },
        );
      }
      // Behind all of them, and before any of them can have been answered.
      for (const client of confirmations.keys()) confirmations.set(client, this.#confirm(client, until));
      if (left === 0) return;
      timer = setTimeout(
        () => {
          const silent: Set<Client> = new Set();
          for (const i of pending) silent.add(clients.get((calls[i] as Call).key)?.client as Client);
          for (const i of [...pending])
            settle(i, { failure: timedOut((calls[i] as Call).script?.writes === true, true) });
          // A server that has not answered for so long, or a network that swallows all, is not waited for again.
          for (const client of silent) this.#link.renew(client);
        },
        Math.max(0, until - performance.now()),
      );
    });
  }

  /** The connection for each key, or why there is none. */
  async #clientsOf(calls: readonly Call[], which: readonly number[]): Promise<Map<string, Way>> {
    const clients: Map<string, Way> = new Map();
    const missing: Set<string> = new Set();
    for (const i of which) {
      const { key } = calls[i] as Call;
      if (clients.has(key)) continue;
      const client = this.#link.readyClientOf(key);
      if (client === undefined) missing.add(key);
      else clients.set(key, { client });
    }
    await Promise.all(
      Array.from(missing, async (key) => {
        try {
          clients.set(key, { client: await this.#link.clientOf(key) });
        } catch (error) {
          clients.set(key, { failure: failureOf(error, false) });
        }
      }),
    );
    return clients;
  }

  /** Loads a script ahead of a call, once for each connection. */
  #load(client: Client, script: Script, loaded: Map<Client, Set<Script>>): void {
    const scripts = loaded.get(client) ?? new Set();
    loaded.set(client, scripts);
    if (scripts.has(script)) return;
    scripts.add(script);
    // What goes wrong here shows at the call.
    send(client, ["SCRIPT", "LOAD", script.source]).catch(() => {});
  }

  /** @param whole whether to send the script itself: the server neither knows it nor lets it be loaded */
  #command({ script, keys = [], args }: Call, whole: boolean): readonly Argument[] {
    if (script === undefined) return args;
    const [how, name] = whole ? ["EVAL", script.source] : ["EVALSHA", this.#digests.get(script) ?? ""];
    return [how, name, String(keys.length), ...keys, ...args];
  }

  async #confirm(client: Client, until: number): Promise<boolean> {
    let confirmations = this.#confirmations.get(client);
    if (confirmations === undefined) {
      confirmations = new Confirmations(client, this.#options);
      this.#confirmations.set(client, confirmations);
    }
    return (await inTime(confirmations.next(), until - performance.now())) ?? false;
  }
}

/** What a call answered. Throws what its failure means. */
export function replyOf(outcome: Outcome | undefined): unknown {
  if (outcome?.failure !== undefined) throw outcome.failure.error;
  return outcome?.reply;
}

/** Whether enough replicas have what a call wrote, if that was asked. */
export async function isConfirmed({ confirmed }: Outcome): Promise<boolean> {
  return (await confirmed) !== false;
}

/** The failure of a write that too few replicas have. */
export function unconfirmed(): Failure {
  const what = "Too few replicas have confirmed it, and a failover could lose it";
  return { mayHaveRun: true, error: outcomeUnknown(what, undefined) };
}

/** The failure of a call that was never sent. */
export function notSent(what: string): Failure {
  return { mayHaveRun: false, error: unavailable(what, undefined) };
}

/**
 * Waits for the replicas of one connection. A WAIT holds up all that is sent behind it, so one speaks for all writes before it,
 * and there is at most one at a time.
 */
class Confirmations {
  readonly #client: Client;
  readonly #options: CallsOptions;
  #running: Promise<unknown> | undefined;
  #following: Promise<Confirmation> | undefined;

  constructor(client: Client, options: CallsOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Whether enough replicas have what was sent on this connection until now. */
  async next(): Promise<boolean> {
    const epoch = this.#client.socketEpoch;
    const { of, replicas } = await (this.#running === undefined ? this.#run() : this.#follow());
    // On another connection WAIT speaks of other writes.
    return of === epoch && replicas >= this.#options.wait;
  }

  #follow(): Promise<Confirmation> {
    this.#following ??= (this.#running as Promise<unknown>).then(() => {
      this.#following = undefined;
      return this.#run();
    });
    return this.#following;
  }

  #run(): Promise<Confirmation> {
    const { wait, waitTimeoutMs } = this.#options;
    const of = this.#client.socketEpoch;
    const confirmation = send(this.#client, ["WAIT", String(wait), String(waitTimeoutMs)]).then(
      (replicas) => ({ of, replicas: Number(replicas) }),
      () => ({ of, replicas: -1 }),
    );
    this.#running = confirmation;
    return confirmation.finally(() => {
      if (this.#running === confirmation) this.#running = undefined;
    });
  }
}

interface Confirmation {
  /** The connection that it is of. */
  readonly of: number;
  readonly replicas: number;
}

/** What a promise gives, or `undefined` if it takes longer. */
async function inTime<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, ms));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function digest(source: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest("SHA-1", Buffer.from(source))).toString("hex");
}
