/**
 * Judges what clients saw of a store: whether the operations on a key can have happened one by one, each between its call and
 * its answer (Wing and Gong's search with Lowe's memory of configurations), and whether each increment counted once.
 */

/** The most clients that a history of one key may have: the search grows with what overlaps. */
export const MAX_CLIENTS = 8;

/** What a client asked of a key. Every value is written by one operation only, so that a value says who wrote it. */
export type RegisterOperation =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: string }
  /** Writes if the key still holds what was expected; `undefined`: if it is absent. */
  | { readonly kind: "cas"; readonly expected: string | undefined; readonly value: string }
  /** Removes the key; with `expected` only if it still holds that. */
  | { readonly kind: "delete"; readonly expected?: string };

/** What came of it. */
export type RegisterOutcome =
  /** A read: the value or `undefined`, with its version. A write: its version. A delete: whether there was something. */
  | {
      readonly kind: "ok";
      readonly value?: string | undefined;
      readonly version?: number;
      readonly deleted?: boolean;
    }
  /** What was expected was not there, and nothing was written. */
  | { readonly kind: "mismatch" }
  /** Certainly without effect, for another reason. */
  | { readonly kind: "failed" }
  /** It may take effect at any time after its call, or never. */
  | { readonly kind: "unknown" };

/** An operation with its outcome. */
export interface Recorded {
  readonly client: string;
  readonly operation: RegisterOperation;
  readonly outcome: RegisterOutcome;
  /** When it was called and answered, by one clock for all; equal times count as overlapping. */
  readonly called: number;
  readonly answered: number;
}

/** The checker's word on a history. Undecided is no pass: use a smaller load. */
export interface Verdict {
  readonly result: "linearizable" | "not" | "undecided";
  /** What can't be explained; `""` if all can. */
  readonly why: string;
  /** Configurations that were looked at. */
  readonly steps: number;
}

/** Whether a history of one key, absent at first, is linearizable. Fails if it has more than {@link MAX_CLIENTS} clients. */
export function checkRegister(history: readonly Recorded[], budget = 1_000_000): Verdict {
  if (new Set(history.map(({ client }) => client)).size > MAX_CLIENTS) {
    throw new Error(`A history of one key may have ${MAX_CLIENTS} clients.`);
  }
  const plain = contradiction(history);
  if (plain !== undefined) return { result: "not", why: plain, steps: 0 };
  return new Search(history).run(budget);
}

/** What is wrong at first sight, whatever the order: a value from nowhere, or one that was written twice. */
function contradiction(history: readonly Recorded[]): string | undefined {
  const writers = new Map<string, Recorded>();
  for (const one of history) {
    if (!("value" in one.operation)) continue;
    const { value } = one.operation;
    if (writers.has(value)) throw new Error(`The test writes "${value}" twice: values must be unique.`);
    writers.set(value, one);
  }
  const versions = new Map<string, number>();
  const values = new Map<number, string>();
  for (const { operation, outcome } of history) {
    if (outcome.kind !== "ok") continue;
    const value = "value" in operation ? operation.value : outcome.value;
    if (value === undefined) continue;
    const writer = writers.get(value);
    if (writer === undefined) return `"${value}" was read, which nobody wrote`;
    if (writer.outcome.kind === "failed" || writer.outcome.kind === "mismatch") {
      return `"${value}" was read, but its writer was told that it was not written`;
    }
    const { version } = outcome;
    if (version === undefined) continue;
    const before = versions.get(value);
    if (before !== undefined && before !== version) {
      return `"${value}" was there at revision ${before} and at revision ${version}: it was written twice`;
    }
    const other = values.get(version);
    if (other !== undefined && other !== value) {
      return `revision ${version} is said of "${other}" and of "${value}"`;
    }
    versions.set(value, version);
    values.set(version, value);
  }
  return undefined;
}

/** A step that was taken, to take back. */
interface Taken {
  readonly index: number;
  readonly state: string | undefined;
  readonly versioned: number;
  /** It changed nothing, so another order can't be better: taken back without a look at others. */
  readonly forced: boolean;
}

class Search {
  /** Those with an answer by their calls, then those without by theirs: the latter are tried last. */
  readonly #operations: readonly Recorded[];
  readonly #answered: number;
  /** Of each write whose version is known its place among them: they happened in this order, and none can be missing. */
  readonly #rank: ReadonlyMap<number, number>;
  readonly #done: Uint8Array;
  /** The first with an answer that is not done. */
  #low = 0;
  /** One more than the last with an answer that is done. */
  #high = 0;
  /** The key's value. */
  #state: string | undefined;
  /** How many of the writes with a known version are done. */
  #versioned = 0;

  constructor(history: readonly Recorded[]) {
    const telling = history
      .filter(
        ({ operation, outcome }) =>
          outcome.kind !== "failed" && !(outcome.kind === "unknown" && operation.kind === "read"),
      )
      .sort((a, b) => a.called - b.called);
    const answered = telling.filter(({ outcome }) => outcome.kind !== "unknown");
    this.#operations = [...answered, ...telling.filter(({ outcome }) => outcome.kind === "unknown")];
    this.#answered = answered.length;
    this.#done = new Uint8Array(telling.length);
    const versions = new Map<string, number>();
    for (const { operation, outcome } of telling) {
      if (outcome.kind !== "ok" || outcome.version === undefined) continue;
      const value = "value" in operation ? operation.value : outcome.value;
      if (value !== undefined) versions.set(value, outcome.version);
    }
    const versioned = [...this.#operations.entries()].flatMap(([index, { operation }]) => {
      const version = "value" in operation ? versions.get(operation.value) : undefined;
      return version === undefined ? [] : [{ index, version }];
    });
    versioned.sort((a, b) => a.version - b.version);
    this.#rank = new Map(versioned.map(({ index }, rank) => [index, rank]));
  }

  run(budget: number): Verdict {
    const seen = new Set<string>();
    const taken: Taken[] = [];
    let from = 0;
    let steps = 0;
    let deepest = -1;
    let why = "";
    while (this.#low < this.#answered) {
      if (steps > budget) return { result: "undecided", why: "the budget is used up", steps };
      const until = this.#firstAnswer();
      const next = (from === 0 ? this.#forced(until) : undefined) ?? this.#next(from, until, seen);
      if (next !== undefined) {
        steps++;
        taken.push(next);
        from = 0;
        continue;
      }
      if (taken.length > deepest) {
        deepest = taken.length;
        why = this.#stuck(until);
      }
      let last = taken.pop();
      while (last?.forced === true) {
        this.#undo(last);
        last = taken.pop();
      }
      if (last === undefined) return { result: "not", why, steps };
      this.#undo(last);
      from = last.index + 1;
    }
    return { result: "linearizable", why: "", steps };
  }

  /** The first answer among those whose operation is not placed yet: what was called after it can't come before it. */
  #firstAnswer(): number {
    let first = Number.POSITIVE_INFINITY;
    for (let i = this.#low; i < this.#answered && this.#at(i).called <= first; i++) {
      if (this.#done[i] === 0) first = Math.min(first, this.#at(i).answered);
    }
    return first;
  }

  /** Takes a step that changes nothing, if there is one. */
  #forced(until: number): Taken | undefined {
    for (let index = this.#low; index < this.#answered && this.#at(index).called <= until; index++) {
      if (this.#done[index] === 1 || this.#isWrite(index)) continue;
      const after = this.#after(index);
      if (after !== undefined && after.state === this.#state) return this.#do(index, after.state, true);
    }
    return undefined;
  }

  /** Takes the next possible step that was not tried before in a configuration like this. */
  #next(from: number, until: number, seen: Set<string>): Taken | undefined {
    let index = Math.max(from, this.#low);
    while (index < this.#operations.length) {
      if (this.#at(index).called > until) {
        // The others with an answer were called still later; among those without one may have been before.
        if (index >= this.#answered) break;
        index = this.#answered;
        continue;
      }
      const after = this.#done[index] === 1 ? undefined : this.#after(index);
      // Without an answer and without an effect: as if it had not been.
      if (after !== undefined && (index < this.#answered || after.state !== this.#state)) {
        const step = this.#do(index, after.state, false);
        const key = this.#configuration();
        if (!seen.has(key)) {
          seen.add(key);
          return step;
        }
        this.#undo(step);
      }
      index++;
    }
    return undefined;
  }

  #do(index: number, state: string | undefined, forced: boolean): Taken {
    const step = { index, state: this.#state, versioned: this.#versioned, forced };
    this.#done[index] = 1;
    this.#state = state;
    if (this.#rank.has(index)) this.#versioned++;
    if (index < this.#answered) this.#high = Math.max(this.#high, index + 1);
    while (this.#low < this.#answered && this.#done[this.#low] === 1) this.#low++;
    return step;
  }

  #undo({ index, state, versioned }: Taken): void {
    this.#done[index] = 0;
    this.#state = state;
    this.#versioned = versioned;
    if (index >= this.#answered) return;
    this.#low = Math.min(this.#low, index);
    while (this.#high > 0 && this.#done[this.#high - 1] === 0) this.#high--;
  }

  /** The state after an operation here and now; `undefined`: it can't have been here. */
  #after(index: number): { readonly state: string | undefined } | undefined {
    const { operation, outcome } = this.#at(index);
    const state = this.#state;
    switch (operation.kind) {
      case "read":
        return outcome.kind === "ok" && outcome.value === state ? { state } : undefined;
      case "write":
        return this.#inTurn(index) ? { state: operation.value } : undefined;
      case "cas":
        if (outcome.kind === "mismatch") return operation.expected === state ? undefined : { state };
        return operation.expected === state && this.#inTurn(index) ? { state: operation.value } : undefined;
      case "delete": {
        const holds = !("expected" in operation) || operation.expected === state;
        if (outcome.kind === "mismatch") return holds ? undefined : { state };
        const deleted = outcome.kind === "ok" ? outcome.deleted : undefined;
        const told = deleted === undefined || deleted === (state !== undefined);
        return holds && told ? { state: undefined } : undefined;
      }
    }
  }

  /** Whether a write keeps to the order of versions. One of an unknown version may be anywhere. */
  #inTurn(index: number): boolean {
    const rank = this.#rank.get(index);
    return rank === undefined || rank === this.#versioned;
  }

  #isWrite(index: number): boolean {
    const { operation, outcome } = this.#at(index);
    return "value" in operation && outcome.kind !== "mismatch";
  }

  /** What is done, and what the key holds. All below `#low` is done, and nothing with an answer from `#high` on. */
  #configuration(): string {
    let text = `${this.#low}:${this.#high}:`;
    const add = (from: number, to: number): void => {
      for (let i = from; i < to; i += 15) {
        let bits = 0;
        for (let j = i; j < Math.min(i + 15, to); j++) bits = (bits << 1) | (this.#done[j] as number);
        text += String.fromCharCode(bits);
      }
    };
    add(this.#low, this.#high);
    add(this.#answered, this.#operations.length);
    return `${text}:${this.#state === undefined ? "" : `=${this.#state}`}`;
  }

  /** What could come next and can't, for people. */
  #stuck(until: number): string {
    const lines = this.#operations
      .filter(({ called }, i) => this.#done[i] === 0 && called <= until)
      .slice(0, 12)
      .map(({ client, operation, outcome, called, answered }) => {
        const when = `${called}..${outcome.kind === "unknown" ? "" : answered}`;
        return `  ${client} ${when} ${JSON.stringify(operation)} -> ${JSON.stringify(outcome)}`;
      });
    const state = this.#state === undefined ? "is absent" : `holds "${this.#state}"`;
    return `where the key ${state}, none of these can be next:\n${lines.join("\n")}`;
  }

  #at(index: number): Recorded {
    return this.#operations[index] as Recorded;
  }
}

/** Increments by one that were all retried until they were acknowledged, and the number that was read in the end. */
export interface CounterHistory {
  /** The number after each, as its answer said. */
  readonly acknowledged: readonly number[];
  readonly final: number;
}

/** What is wrong with a counter: increments that were lost, that counted twice, or answers that contradict. */
export function checkCounter({ acknowledged, final }: CounterHistory): string[] {
  const problems: string[] = [];
  const calls = acknowledged.length;
  if (final < calls) problems.push(`${calls - final} of ${calls} acknowledged increments are lost`);
  if (final > calls) problems.push(`${final - calls} increments counted twice, of ${calls}`);
  const answers = new Set(acknowledged);
  if (answers.size !== calls) problems.push(`${calls - answers.size} answers were given twice`);
  const beyond = acknowledged.filter((number) => !Number.isInteger(number) || number < 1 || number > calls);
  if (beyond.length > 0) problems.push(`answers that can't be: ${beyond.slice(0, 5).join(", ")}`);
  return problems;
}
