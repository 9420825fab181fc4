/** The judge of histories, judged: it must pass what can be and find what can't. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkCounter,
  checkRegister,
  type Recorded,
  type RegisterOperation,
  type RegisterOutcome,
} from "./support/history-checker.ts";

/** An operation of a client from a time to a time. */
function op(
  client: string,
  called: number,
  answered: number,
  operation: RegisterOperation,
  outcome: RegisterOutcome,
): Recorded {
  return { client, called, answered, operation, outcome };
}

const write = (value: string): RegisterOperation => ({ kind: "write", value });
const cas = (expected: string | undefined, value: string): RegisterOperation => ({
  kind: "cas",
  expected,
  value,
});
const read: RegisterOperation = { kind: "read" };
const remove: RegisterOperation = { kind: "delete" };
const ok = (version?: number): RegisterOutcome => ({
  kind: "ok",
  ...(version === undefined ? {} : { version }),
});
const saw = (value: string | undefined, version?: number): RegisterOutcome => ({
  ...ok(version),
  value,
  kind: "ok",
});
const unknown: RegisterOutcome = { kind: "unknown" };
const mismatch: RegisterOutcome = { kind: "mismatch" };
const NEVER = Number.POSITIVE_INFINITY;

describe("what can be", () => {
  test.each<[string, readonly Recorded[]]>([
    ["nothing at all", []],
    ["a read of what is absent", [op("a", 1, 2, read, saw(undefined))]],
    ["a read of what was written", [op("a", 1, 2, write("1"), ok()), op("b", 3, 4, read, saw("1"))]],
    [
      "overlapping writes in either order",
      [op("a", 1, 4, write("1"), ok()), op("b", 2, 3, write("2"), ok()), op("a", 5, 6, read, saw("1"))],
    ],
    [
      "a read that overlaps the write and sees the old, then one that sees the new",
      [op("a", 1, 9, write("1"), ok()), op("b", 2, 3, read, saw(undefined)), op("b", 4, 5, read, saw("1"))],
    ],
    [
      "an unknown write that never happened",
      [op("a", 1, NEVER, write("1"), unknown), op("b", 3, 4, read, saw(undefined))],
    ],
    [
      "an unknown write that happens long after its caller has gone",
      [
        op("a", 1, NEVER, write("1"), unknown),
        op("b", 3, 4, read, saw(undefined)),
        op("b", 5, 6, read, saw("1", 7)),
      ],
    ],
    [
      "a write under a check that found what it expected, and one that did not",
      [
        op("a", 1, 2, cas(undefined, "1"), ok(1)),
        op("a", 3, 9, cas("1", "2"), ok(2)),
        op("b", 4, 8, cas("1", "3"), mismatch),
      ],
    ],
    [
      "a check that failed because of a write without an answer",
      [
        op("a", 1, 2, write("1"), ok()),
        op("b", 3, NEVER, write("2"), unknown),
        op("a", 4, 5, cas("1", "3"), mismatch),
        op("a", 6, 7, read, saw("2")),
      ],
    ],
    [
      "a delete that found something, and one that did not",
      [
        op("a", 1, 2, write("1"), ok()),
        op("a", 3, 6, remove, { kind: "ok", deleted: true }),
        op("b", 4, 5, remove, { kind: "ok", deleted: false }),
        op("a", 7, 8, read, saw(undefined)),
      ],
    ],
    [
      "a write that certainly failed and is not seen",
      [op("a", 1, 2, write("1"), { kind: "failed" }), op("a", 3, 4, read, saw(undefined))],
    ],
  ])("%s", (_, history) => {
    expect(checkRegister(history)).toMatchObject({ result: "linearizable", why: "" });
  });
});

describe("what can't be", () => {
  test.each<[string, readonly Recorded[]]>([
    ["a lost write", [op("a", 1, 2, write("1"), ok()), op("b", 3, 4, read, saw(undefined))]],
    [
      "a lost overwrite",
      [op("a", 1, 2, write("1"), ok()), op("a", 3, 4, write("2"), ok()), op("b", 5, 6, read, saw("1"))],
    ],
    [
      "a stale read after a fresh one",
      [op("a", 1, 9, write("1"), ok()), op("b", 2, 3, read, saw("1")), op("c", 4, 5, read, saw(undefined))],
    ],
    [
      "a write that comes back after it was overwritten",
      [
        op("a", 1, 2, write("1"), ok()),
        op("a", 3, 4, write("2"), ok()),
        op("b", 5, 6, read, saw("2")),
        op("b", 7, 8, read, saw("1")),
      ],
    ],
    [
      "an unknown write that appears, vanishes and appears again",
      [
        op("a", 1, NEVER, write("1"), unknown),
        op("b", 2, 3, write("2"), ok()),
        op("b", 4, 5, read, saw("1")),
        op("b", 6, 7, read, saw("2")),
        op("b", 8, 9, read, saw("1")),
      ],
    ],
    [
      "a write that was done twice",
      [op("a", 1, 2, write("1"), ok(1)), op("b", 3, 4, write("2"), ok(2)), op("b", 5, 6, read, saw("1", 3))],
    ],
    [
      "a check that failed although what it expected was there",
      [op("a", 1, 2, write("1"), ok()), op("a", 3, 4, cas("1", "2"), mismatch)],
    ],
    [
      "two checks for the same that both held",
      [
        op("a", 1, 2, write("1"), ok()),
        op("a", 3, 6, cas("1", "2"), ok()),
        op("b", 4, 5, cas("1", "3"), ok()),
      ],
    ],
    [
      "a deletion that found nothing where something was",
      [op("a", 1, 2, write("1"), ok()), op("a", 3, 4, remove, { kind: "ok", deleted: false })],
    ],
    [
      "a deleted value that comes back",
      [
        op("a", 1, 2, write("1"), ok(1)),
        op("a", 3, 4, remove, { kind: "ok", deleted: true }),
        op("b", 5, 6, read, saw("1", 1)),
      ],
    ],
    ["a value that nobody wrote", [op("a", 1, 2, read, saw("1"))]],
    [
      "a write that was said to have failed",
      [op("a", 1, 2, write("1"), { kind: "failed" }), op("a", 3, 4, read, saw("1"))],
    ],
    [
      "a write whose check was said to have failed",
      [op("a", 1, 2, cas("0", "1"), mismatch), op("a", 3, 4, read, saw("1"))],
    ],
    [
      "writes against the order of their revisions",
      [op("a", 1, 2, write("1"), ok(2)), op("a", 3, 4, write("2"), ok(1))],
    ],
    ["two values of one revision", [op("a", 1, 4, write("1"), ok(1)), op("b", 2, 3, write("2"), ok(1))]],
    [
      "a value from before it was asked for",
      [op("a", 1, 2, read, saw("1")), op("b", 3, 4, write("1"), ok())],
    ],
  ])("%s", (_, history) => {
    const verdict = checkRegister(history);
    expect(verdict.result).toBe("not");
    expect(verdict.why).not.toBe("");
  });
});

test("it gives up when its budget is used up, and says so", () => {
  const history = Array.from({ length: 8 }, (_, i) => op(String(i), 1, 9, write(String(i)), ok()));
  const wrong = [...history, op("0", 10, 11, read, saw("0")), op("0", 12, 13, read, saw("1"))];
  expect(checkRegister(wrong, 20).result).toBe("undecided");
  expect(checkRegister(wrong).result).toBe("not");
});

test("more clients than it is made for are refused, as are values that are not unique", () => {
  const many = Array.from({ length: 9 }, (_, i) => op(String(i), i, i, read, saw(undefined)));
  expect(() => checkRegister(many)).toThrow(/8 clients/);
  const same = [op("a", 1, 2, write("1"), ok()), op("a", 3, 4, write("1"), ok())];
  expect(() => checkRegister(same)).toThrow(/unique/);
});

/** A real register under clients whose calls overlap at random: what it gives is linearizable, whatever the plan. */
interface Planned {
  readonly kind: "read" | "write" | "cas" | "delete";
  /** Ticks from the call to the effect, and from the effect to the answer. */
  readonly before: number;
  readonly after: number;
  readonly lost: boolean;
}

const plans = fc.array(
  fc.array(
    fc.record<Planned>({
      kind: fc.constantFrom("read", "read", "write", "cas", "delete"),
      before: fc.nat({ max: 6 }),
      after: fc.nat({ max: 6 }),
      lost: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 1, maxLength: 15 },
  ),
  { minLength: 1, maxLength: 6 },
);

/** Runs the plans on a register in one place; `versions`: whether its answers say them. */
function simulate(all: readonly (readonly Planned[])[], versions: boolean): Recorded[] {
  const effects: { readonly at: number; readonly run: () => void }[] = [];
  let state: { readonly value: string; readonly version: number } | undefined;
  let version = 0;
  let written = 0;
  const history: Recorded[] = [];
  for (const [client, steps] of all.entries()) {
    let time = client;
    for (const { kind, before, after, lost } of steps) {
      const called = time;
      const at = called + before + 0.5;
      const answered = at + after + 0.5;
      time = answered + 1;
      const value = `v${++written}`;
      const record = (operation: RegisterOperation, outcome: RegisterOutcome): void => {
        history.push(
          op(String(client), called, lost ? NEVER : answered, operation, lost ? unknown : outcome),
        );
      };
      const told = (number: number): RegisterOutcome => ok(versions ? number : undefined);
      effects.push({
        at,
        run: () => {
          if (kind === "read")
            record(read, { ...told(state?.version ?? 0), kind: "ok", value: state?.value });
          else if (kind === "delete") {
            record(remove, { kind: "ok", deleted: state !== undefined });
            state = undefined;
          } else {
            // Half of the checks are for what is there.
            const expected = written % 2 === 0 ? state?.value : "other";
            if (kind === "cas" && expected !== state?.value) record(cas(expected, value), mismatch);
            else {
              version += 1;
              state = { value, version };
              record(kind === "cas" ? cas(expected, value) : write(value), told(version));
            }
          }
        },
      });
    }
  }
  for (const { run } of effects.sort((a, b) => a.at - b.at)) run();
  return history;
}

describe("histories of a register that keeps its word", () => {
  test.each([true, false])("are all passed; with versions: %s", (versions) => {
    fc.assert(
      fc.property(plans, (all) => {
        expect(checkRegister(simulate(all, versions))).toMatchObject({ result: "linearizable" });
      }),
      { numRuns: 500 },
    );
  });

  test("are not passed any more when a late read sees what was overwritten long ago", () => {
    let changed = 0;
    fc.assert(
      fc.property(plans, (all) => {
        const history = simulate(all, true);
        const end = 1_000_000;
        const writes = history.filter(
          ({ operation, outcome }) => "value" in operation && outcome.kind === "ok",
        );
        const last = writes.at(-1);
        const [first] = writes;
        if (first === undefined || first === last || !("value" in first.operation)) return;
        changed++;
        const late = op("0", end, end + 1, read, {
          ...first.outcome,
          kind: "ok",
          value: first.operation.value,
        });
        expect(checkRegister([...history, late])).toMatchObject({ result: "not" });
      }),
      { numRuns: 500 },
    );
    expect(changed).toBeGreaterThan(100);
  });
});

test("a long history of eight clients takes no time", () => {
  const steps = Array.from({ length: 8 }, (_, client) =>
    Array.from({ length: 400 }, (_, i): Planned => {
      const kind = (["read", "write", "cas", "delete", "read"] as const)[(i * 7 + client) % 5] ?? "read";
      return { kind, before: (i * 3 + client) % 7, after: (i + client) % 5, lost: (i + client) % 200 === 0 };
    }),
  );
  const begin = performance.now();
  expect(checkRegister(simulate(steps, true))).toMatchObject({ result: "linearizable" });
  expect(performance.now() - begin).toBeLessThan(5_000);
});

describe("a counter", () => {
  test.each<[string, readonly number[], number, readonly string[]]>([
    ["that counted each once", [2, 1, 3], 3, []],
    [
      "that lost one",
      [1, 2, 2],
      2,
      ["1 of 3 acknowledged increments are lost", "1 answers were given twice"],
    ],
    ["that counted one twice", [1, 3], 3, ["1 increments counted twice, of 2", "answers that can't be: 3"]],
    ["that gave one answer twice", [1, 1, 3], 3, ["1 answers were given twice"]],
  ])("%s", (_, acknowledged, final, problems) => {
    expect(checkCounter({ acknowledged, final })).toEqual(problems);
  });
});
