/** Calls of one tick as one call: operations that are asked for together travel together. */
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { WorkflowStateError } from "../errors.ts";
import type { CallContext, Change, EncodedForm, Operation, Result } from "../store.ts";
import { requestToWire, responseFromWire } from "../wire.ts";
import { type Call, type Channel, stillUnknown } from "./remote-channel.ts";

/** The most operations in one call: what a service allows by default. */
const MAX_OPERATIONS = 256;
/** The most bytes in one call, as estimated: well below what a service allows by default. */
const MAX_BYTES = 3 << 20;

/** An operation that someone waits for. */
interface Waiting {
  readonly operation: Operation<EncodedForm>;
  readonly write: boolean;
  readonly signal: AbortSignal | undefined;
  /** When its time runs out, also if it has to wait for others first. */
  readonly deadline: number;
  /** Whether it is a write that may have been made already. */
  inDoubt: boolean;
  /** Aborted or answered. */
  settled: boolean;
  readonly resolve: (result: Result<EncodedForm>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Gathers the operations of one tick and sends them as one batch; a single one travels by itself. Operations on one session
 * take effect in the order in which they were asked for. One caller's abort leaves the others alone.
 */
export class Batcher {
  readonly #channel: Channel;
  /** What waits for the end of the tick, by namespace. */
  readonly #queues: Map<string, Waiting[]> = new Map();

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Runs an operation; its error is thrown. */
  run(operation: Operation<EncodedForm>, context: CallContext | undefined): Promise<Result<EncodedForm>> {
    return new Promise((resolve, reject) => {
      const { namespace = "", signal } = context ?? {};
      signal?.throwIfAborted();
      const aborted = (): void => settle(() => reject(signal?.reason));
      const settle = (how: () => void): void => {
        waiting.settled = true;
        signal?.removeEventListener("abort", aborted);
        how();
      };
      const waiting: Waiting = {
        operation,
        write: isWrite(operation),
        signal,
        deadline: this.#channel.deadline(),
        inDoubt: false,
        settled: false,
        resolve: (result) => settle(() => resolve(result)),
        reject: (error) => settle(() => reject(error)),
      };
      signal?.addEventListener("abort", aborted, { once: true });
      const queue = this.#queues.get(namespace);
      if (queue !== undefined) {
        queue.push(waiting);
        return;
      }
      this.#queues.set(namespace, [waiting]);
      queueMicrotask(() => this.#flush(namespace));
    });
  }

  #flush(namespace: string): void {
    const queue = this.#queues.get(namespace) ?? [];
    this.#queues.delete(namespace);
    const sent: { readonly group: Group; readonly done: Promise<void> }[] = [];
    for (const group of grouped(queue)) {
      const before = sent.filter((earlier) => group.mustFollow(earlier.group)).map(({ done }) => done);
      const done =
        before.length === 0
          ? this.#send(group.members, namespace)
          : Promise.all(before).then(() => this.#send(group.members, namespace));
      sent.push({ group, done });
    }
  }

  /** Sends operations and settles them; never rejects. */
  async #send(members: readonly Waiting[], namespace: string): Promise<void> {
    const asked = members.filter(({ settled }) => !settled);
    const [first] = asked;
    if (first === undefined) return;
    if (asked.length === 1) return this.#alone(first, namespace);

    const everybodyLeft = new AbortController();
    const left = (): void => {
      if (asked.every(({ settled }) => settled)) everybodyLeft.abort();
    };
    for (const { signal } of asked) signal?.addEventListener("abort", left);
    let again: readonly Waiting[] = [];
    try {
      const operations = asked.map(({ operation }) => operation);
      const write = asked.some((one) => one.write);
      const results = await this.#channel.unary(
        WorkflowStateService.method.batch,
        requestToWire.batch(operations),
        (answer, inDoubt) => resultsOf(answer, operations, inDoubt),
        { write, namespace, signal: everybodyLeft.signal, deadline: first.deadline },
      );
      again = share(asked, results);
    } catch (error) {
      // A service that allows less than the default takes them one by one.
      if (WorkflowStateError.is(error, "REQUEST_TOO_LARGE")) again = asked;
      else for (const one of asked) one.reject(one.write ? error : ofRead(error));
    } finally {
      for (const { signal } of asked) signal?.removeEventListener("abort", left);
    }
    for (const one of again) if (!one.settled) await this.#alone(one, namespace);
  }

  async #alone(one: Waiting, namespace: string): Promise<void> {
    try {
      const { write, signal, deadline, inDoubt } = one;
      const call = { write, namespace, signal, deadline, inDoubt };
      one.resolve(await runAlone(this.#channel, one.operation, call));
    } catch (error) {
      one.reject(error);
    }
  }
}

/**
 * The results of a batch, one for each operation. No read is OUTCOME_UNKNOWN.
 * @param inDoubt whether the batch was sent before: a write that the store did not look at this time may have been made then
 */
export function resultsOf(
  answer: Parameters<typeof responseFromWire.batch>[0],
  operations: readonly Operation<EncodedForm>[],
  inDoubt: boolean,
): Result<EncodedForm>[] {
  const results = responseFromWire.batch(answer);
  if (results.length !== operations.length)
    throw new Error("The service's answer has not one result for each operation.");
  return results.map((result, i) => {
    if (result.kind !== "error") return result;
    const { error } = result;
    if (!isWrite(operations[i] as Operation<EncodedForm>)) return { ...result, error: ofRead(error) };
    return inDoubt ? { ...result, error: stillUnknown(error) } : result;
  });
}

/** Runs an operation by the call that is its own. */
async function runAlone(
  channel: Channel,
  operation: Operation<EncodedForm>,
  call: Call,
): Promise<Result<EncodedForm>> {
  const { method } = WorkflowStateService;
  switch (operation.kind) {
    case "getState": {
      const message = requestToWire.getState(operation);
      const entry = await channel.unary(method.getState, message, responseFromWire.getState, call);
      return { kind: "getState", entry };
    }
    case "setState": {
      const message = requestToWire.setState(operation);
      const entry = await channel.unary(method.setState, message, responseFromWire.setState, call);
      return { kind: "setState", entry };
    }
    case "deleteState": {
      const message = requestToWire.deleteState(operation);
      const answer = await channel.unary(method.deleteState, message, responseFromWire.deleteState, call);
      return { kind: "deleteState", ...answer };
    }
    case "commit": {
      const message = requestToWire.commit(operation);
      const answer = await channel.unary(method.commit, message, responseFromWire.commit, call);
      return { kind: "commit", ...answer };
    }
    case "getSession": {
      const message = requestToWire.getSession(operation);
      const session = await channel.unary(method.getSession, message, responseFromWire.getSession, call);
      return { kind: "getSession", session };
    }
  }
}

/**
 * Gives each its result. Returns those to ask again: what failed with UNAVAILABLE, what the answer had no room for, and the
 * reads that should have seen such a write. A write that a later one may have overtaken is not asked again.
 */
function share(asked: readonly Waiting[], results: readonly Result<EncodedForm>[]): Waiting[] {
  const again: Waiting[] = [];
  const disturbed = new Set<string>();
  for (const [i, one] of asked.entries()) {
    const result = results[i] as Result<EncodedForm>;
    const { sessionId } = one.operation;
    const overtaken = (): boolean =>
      asked.some((other, j) => {
        const same = j > i && other.write && other.operation.sessionId === sessionId;
        return same && !isUndone(results[j] as Result<EncodedForm>);
      });
    if (result.kind !== "error") {
      if (!one.write && disturbed.has(sessionId)) again.push(one);
      else one.resolve(result);
    } else if (
      result.error.reason === "REQUEST_TOO_LARGE" ||
      (result.error.code === "UNAVAILABLE" && !overtaken())
    ) {
      one.inDoubt = result.error.reason === "OUTCOME_UNKNOWN";
      again.push(one);
      disturbed.add(sessionId);
    } else {
      one.reject(result.error);
    }
  }
  return again;
}

/** Whether the result says that the store could not even try: so it may be asked again after others. */
function isUndone(result: Result<EncodedForm>): boolean {
  return (
    result.kind === "error" &&
    result.error.code === "UNAVAILABLE" &&
    result.error.reason !== "OUTCOME_UNKNOWN"
  );
}

/** Operations that fit one call and whose order it keeps. */
class Group {
  readonly members: Waiting[] = [];
  #bytes = 0;
  /** Whether an answer of unknown size is among them: those after it may find no room, and be asked again alone. */
  #unbounded = false;
  /** The sessions of those for which that is so: a write that comes after them must not overtake. */
  readonly #late: Set<string> = new Set();
  readonly #sessions: Set<string> = new Set();
  readonly #written: Set<string> = new Set();

  /** Takes an operation in, if it may travel with the others. */
  takes(one: Waiting): boolean {
    const { operation, write } = one;
    const bytes = sizeOf(operation);
    const full = this.members.length >= MAX_OPERATIONS || this.#bytes + bytes > MAX_BYTES;
    if (this.members.length > 0 && (full || (write && this.#late.has(operation.sessionId)))) return false;
    this.members.push(one);
    this.#bytes += bytes;
    this.#unbounded ||= hasUnboundedAnswer(operation);
    if (this.#unbounded) this.#late.add(operation.sessionId);
    this.#sessions.add(operation.sessionId);
    if (write) this.#written.add(operation.sessionId);
    return true;
  }

  /** Whether this must wait for an earlier one: they share a session, and one of them writes to it. */
  mustFollow(earlier: Group): boolean {
    return overlap(this.#written, earlier.#sessions) || overlap(earlier.#written, this.#sessions);
  }
}

function grouped(queue: readonly Waiting[]): Group[] {
  const groups: Group[] = [];
  let last = new Group();
  for (const one of queue) {
    if (!last.takes(one)) {
      last = new Group();
      last.takes(one);
    }
    if (groups.at(-1) !== last) groups.push(last);
  }
  return groups;
}

function overlap(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const [small, large] = a.size <= b.size ? [a, b] : [b, a];
  for (const item of small) if (large.has(item)) return true;
  return false;
}

function hasUnboundedAnswer(operation: Operation<EncodedForm>): boolean {
  return operation.kind === "commit"
    ? (operation.changes ?? []).some(({ kind }) => kind === "append" || kind === "merge")
    : !isWrite(operation);
}

/** Whether an operation writes. */
export function isWrite({ kind }: Operation<EncodedForm>): boolean {
  return kind !== "getState" && kind !== "getSession";
}

/** About how many bytes an operation takes in a request; rather too many. */
function sizeOf(operation: Operation<EncodedForm>): number {
  let bytes = 512 + 3 * operation.sessionId.length;
  if (operation.kind === "setState") bytes += operation.value.length;
  if ("key" in operation) bytes += 3 * operation.key.length;
  if (operation.kind === "commit") {
    for (const { key } of operation.checks ?? []) bytes += 24 + 3 * key.length;
    for (const label of Object.entries(operation.metadata?.labels ?? {}))
      bytes += 8 + 3 * label.join().length;
    for (const change of operation.changes ?? []) bytes += 48 + 3 * change.key.length + valueBytes(change);
  }
  return bytes;
}

function valueBytes(change: Change<EncodedForm>): number {
  if (change.kind === "append") return change.values.reduce((sum, value) => sum + value.length + 8, 0);
  return "value" in change ? change.value.length : 0;
}

/** The failure of a batch, or in one, as the failure of a read. */
function ofRead<E>(error: E): E | WorkflowStateError {
  return WorkflowStateError.is(error, "OUTCOME_UNKNOWN")
    ? new WorkflowStateError(
        "STORE_UNAVAILABLE",
        "The service can't be reached or did not answer; retry later.",
        { cause: error },
      )
    : error;
}
