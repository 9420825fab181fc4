/** `behave` of the TypeScript client: runs the steps of cases on its stores, and says which do as they should. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Change,
  type Event,
  type OpenOptions,
  openStore,
  WorkflowStateError,
  type WorkflowStateStore,
} from "../src/index.ts";
import { identical, type Json } from "./data.ts";

/** What FILE holds. */
export interface BehaviourFile {
  readonly clients: Readonly<Record<string, { readonly url?: string; readonly token?: string }>>;
  readonly cases: readonly { readonly name: string; readonly steps: readonly Step[] }[];
}

/** One step, in the words of README.md: the file is trusted to give each what it takes. */
interface Step extends Partial<Fields> {
  readonly do: string;
  readonly session?: string;
  readonly client?: string;
  readonly expect?: Readonly<Record<string, unknown>>;
  readonly error?: Readonly<Record<string, unknown>>;
  readonly within_ms?: number;
}

/** What steps take. What is not optional is there for those that need it. */
interface Fields {
  readonly key: string;
  readonly value: Json;
  readonly state: Readonly<Record<string, Json>>;
  readonly new_session: string;
  readonly increment: string;
  readonly times: number;
  readonly count: number;
  readonly ms: number;
  readonly changes?: readonly FileChange[];
  readonly checks?: readonly { readonly key: string; readonly if_revision: number }[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly workflow_id?: string;
  readonly key_prefix?: string;
  readonly if_revision?: number;
  readonly at_revision?: number;
  readonly after_revision?: number;
  readonly request_id?: string;
  readonly reconnect?: boolean;
  readonly ttl_ms?: number;
  readonly timeout_ms?: number;
}

/** A change, by its kind. */
type FileChange = Readonly<Record<string, Readonly<Record<string, Json>>>>;

/** Where a run finds the service, and how. */
export interface Run {
  readonly url: string;
  readonly prefix: string;
  readonly options: OpenOptions;
}

/** What one step works on. */
interface Doing {
  readonly store: WorkflowStateStore;
  readonly sessionId: string;
  /** The id of another session of the case. */
  idOf(session: string): string;
  /** The same service, through a client whose calls have so much time. */
  within(timeoutMs: number): Promise<WorkflowStateStore>;
}

/** What a step gives, in the words of the file. */
type Answer = Readonly<Record<string, unknown>>;

/** What each step does; what it gives is compared with what is expected. */
const DOERS: Readonly<Record<string, (doing: Doing, step: Fields) => Promise<Answer>>> = {
  async set({ store, sessionId }, step) {
    const { if_revision: ifRevision, ttl_ms: ttlMs, request_id: requestId } = step;
    const entry = await store.setState(sessionId, step.key, step.value, { ifRevision, ttlMs, requestId });
    return { revision: entry.revision };
  },
  async get({ store, sessionId, within }, step) {
    const asked = step.timeout_ms === undefined ? store : await within(step.timeout_ms);
    const entry = await asked.getEntry(sessionId, step.key, { atRevision: step.at_revision });
    return entry === undefined ? { missing: true } : { value: entry.value, revision: entry.revision };
  },
  async delete({ store, sessionId }, step) {
    const { if_revision: ifRevision, request_id: requestId } = step;
    const { deleted, revision } = await store.deleteState(sessionId, step.key, { ifRevision, requestId });
    return { deleted, revision };
  },
  async commit({ store, sessionId }, step) {
    const { if_revision: ifRevision, request_id: requestId, labels, workflow_id: workflowId } = step;
    const { revision, entries } = await store.commit(sessionId, {
      changes: (step.changes ?? []).map(changeOf),
      checks: (step.checks ?? []).map((check) => ({ key: check.key, ifRevision: check.if_revision })),
      ifRevision,
      requestId,
      metadata: { labels, workflowId },
    });
    return {
      revision,
      entries: entries.map(({ key, value }) => (value === undefined ? { key } : { key, value })),
    };
  },
  async get_session({ store, sessionId }, step) {
    const { key_prefix: keyPrefix, at_revision: atRevision } = step;
    const session = await store.getSession(sessionId, { keyPrefix, atRevision });
    if (session === undefined) return { missing: true };
    const { state, revision, labels, workflowId } = session;
    return { state, revision, labels, workflow_id: workflowId };
  },
  async save_session({ store, sessionId }, step) {
    const { state, labels, if_revision: ifRevision } = step;
    const { revision } = await store.saveSession({ sessionId, state, labels }, { ifRevision });
    return { revision };
  },
  async delete_session({ store, sessionId }) {
    return { deleted: await store.deleteSession(sessionId) };
  },
  async fork({ store, sessionId, idOf }, step) {
    const { revision, state } = await store.forkSession(sessionId, idOf(step.new_session), {
      atRevision: step.at_revision,
    });
    return { revision, state };
  },
  async update({ store, sessionId }, step) {
    const one = () =>
      store.update(sessionId, (draft: Record<string, number>) => {
        draft[step.increment] = (draft[step.increment] ?? 0) + 1;
      });
    await Promise.all(Array.from({ length: step.times }, one));
    return {};
  },
  async events({ store, sessionId }, step) {
    const events: Event[] = [];
    let pageToken = "";
    do {
      const options = { afterRevision: step.after_revision, pageSize: 2, pageToken };
      const page = await store.listEvents(sessionId, options);
      if (page.events.length > 2) throw new Error("a page is larger than it was asked to be");
      events.push(...page.events);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return { events: events.map(plain) };
  },
  async watch({ store, sessionId }, step) {
    const messages: unknown[] = [];
    let afterRevision: number | undefined = step.after_revision;
    while (messages.length < step.count) {
      // Left by `break`, which ends the watch.
      for await (const message of store.watchSession(sessionId, { afterRevision })) {
        if (message.kind === "progress") continue;
        if (message.kind === "snapshot") {
          const { revision, state } = message.snapshot;
          messages.push({ snapshot: { revision, state } });
          afterRevision = revision;
        } else {
          messages.push({ event: plain(message.event) });
          afterRevision = message.event.revision;
        }
        if (step.reconnect === true || messages.length === step.count) break;
      }
    }
    return { messages };
  },
  async sleep(_, step) {
    await sleep(step.ms);
    return {};
  },
};

/** Runs all cases; gives a line for each. */
export async function* behave(
  { clients, cases }: BehaviourFile,
  run: Run,
): AsyncGenerator<{ name: string; ok: boolean; message?: string }> {
  const stores = new Map<string, WorkflowStateStore>();
  const open = (name: string, more: OpenOptions = {}): Promise<WorkflowStateStore> => {
    const client = clients[name];
    if (client === undefined) throw new Error(`there is no client ${name}`);
    const headers = client.token === undefined ? {} : { authorization: `Bearer ${client.token}` };
    return openStore(client.url ?? run.url, { ...run.options, headers, ...more });
  };
  for (const [number, { name, steps }] of cases.entries()) {
    const idOf = (session: string): string => `${run.prefix}-${number}-${session}`;
    let at = 0;
    try {
      for (const [index, step] of steps.entries()) {
        at = index;
        const who = step.client ?? "default";
        const store = stores.get(who) ?? (await open(who));
        stores.set(who, store);
        const short: WorkflowStateStore[] = [];
        const within = async (timeoutMs: number): Promise<WorkflowStateStore> => {
          short.push(await open(who, { timeoutMs }));
          return short.at(-1) as WorkflowStateStore;
        };
        try {
          await doStep({ store, sessionId: idOf(step.session ?? ""), idOf, within }, step);
        } finally {
          for (const one of short) await one.close();
        }
      }
      yield { name, ok: true };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      yield { name, ok: false, message: `step ${at}: ${message}` };
    }
  }
  for (const store of stores.values()) await store.close();
}

/** Does a step; throws if it does not as it says. */
async function doStep(doing: Doing, step: Step): Promise<void> {
  const began = performance.now();
  const doer = DOERS[step.do];
  if (doer === undefined) throw new Error(`there is nothing to do as ${step.do}`);
  const found = doer(doing, step as Step & Fields).then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error }),
  );
  const outcome = await Promise.race([found, sleep(step.within_ms ?? 60_000, undefined, { ref: false })]);
  const took = Math.round(performance.now() - began);
  if (outcome === undefined) throw new Error(`it was not over after ${took} ms`);
  if ("error" in outcome) {
    if (step.error === undefined) throw outcome.error;
    if (!WorkflowStateError.is(outcome.error)) throw outcome.error;
    compareError(outcome.error, step.error);
    return;
  }
  if (step.error !== undefined) throw new Error(`it succeeded, and should fail with ${step.error["reason"]}`);
  for (const [field, expected] of Object.entries(step.expect ?? {})) {
    compare(field, expected, outcome.answer[field]);
  }
}

function compareError(error: WorkflowStateError, expected: Readonly<Record<string, unknown>>): void {
  const found: Record<string, unknown> = {
    reason: error.reason,
    code: error.code,
    failed_checks: byKey(
      error.failedChecks.map(({ key, ifRevision, actualRevision }) => ({
        key,
        if_revision: ifRevision,
        actual_revision: actualRevision,
      })),
    ),
    path: error.metadata["path"],
  };
  for (const [field, value] of Object.entries(expected)) {
    compare(field, field === "failed_checks" ? byKey(value as { key: string }[]) : value, found[field]);
  }
}

function compare(field: string, expected: unknown, found: unknown): void {
  if (identical(expected, found)) return;
  throw new Error(`${field} is ${short(found)}, and should be ${short(expected)}`);
}

function byKey<C extends { readonly key: string }>(checks: readonly C[]): C[] {
  return checks.toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

function short(value: unknown): string {
  return (JSON.stringify(value) ?? "missing").slice(0, 300);
}

function changeOf(change: FileChange): Change {
  const [[kind, { max_items: maxItems, ...fields }] = ["none", {}]] = Object.entries(change);
  return { kind, ...fields, ...(maxItems === undefined ? {} : { maxItems }) } as Change;
}

function plain({ revision, kind, entries }: Event): Record<string, Json> {
  return { revision, kind, keys: entries.map(({ key }) => key) };
}
