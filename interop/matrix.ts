/** The run itself: every program against every other, and each against the service. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openStore } from "../src/index.ts";
import { jsonOf, readData, readVectors, type Vector } from "./data.ts";
import { nearMisses } from "./near-misses.ts";
import { type Language, type Line, type Protocol, run } from "./programs.ts";
import type { Services } from "./services.ts";

/** So many programs run at once: most of them wait most of the time. */
const AT_ONCE = 3;
/** How often each program updates the key that all update. */
const UPDATES = 25;
/** A program that is not ready by then has failed, and the others with it. */
const LONGEST_START_MS = 120_000;
/** So many faults of one run are told: one reason often makes many. */
const SHOWN = 3;

/** A program over one of its protocols. */
export interface Side {
  readonly language: Language;
  readonly protocol: Protocol;
}

/** What came of one program's run. */
export interface Outcome {
  /** How many vectors or cases were as they should be. */
  readonly right: number;
  readonly of: number;
  /** What was not; or that it could not run. */
  readonly faults: readonly string[];
}

/** What came of it all. */
export interface Results {
  readonly vectors: number;
  readonly cases: number;
  /** Everything that a reader said of what a writer had written. */
  readonly cells: readonly { readonly writer: Side; readonly reader: Side; readonly outcome: Outcome }[];
  readonly writes: readonly { readonly side: Side; readonly outcome: Outcome }[];
  /** Whether each reader refuses what is nearly right. */
  readonly refusals: readonly { readonly side: Side; readonly outcome: Outcome }[];
  readonly behaviours: readonly { readonly side: Side; readonly outcome: Outcome }[];
  /** How many updates were counted where all programs updated one key at once. */
  readonly together: Outcome;
}

/** What was not as it should be; nothing, if all was. */
export function faultsOf(results: Results): string[] {
  const { cells, writes, refusals, behaviours, together } = results;
  return [
    ...writes.flatMap(({ side, outcome }) => named(`${nameOf(side)} writes`, outcome)),
    ...cells.flatMap(({ writer, reader, outcome }) =>
      named(`${nameOf(reader)} reads what ${nameOf(writer)} has written`, outcome),
    ),
    ...refusals.flatMap(({ side, outcome }) => named(`${nameOf(side)} reads what is nearly right`, outcome)),
    ...behaviours.flatMap(({ side, outcome }) => named(`${nameOf(side)} behaves`, outcome)),
    ...named("all update one key", together),
  ];
}

function named(what: string, { faults }: Outcome): string[] {
  const shown = faults.slice(0, SHOWN).map((fault) => `${what}: ${fault}`);
  const more = faults.length - shown.length;
  return more === 0 ? shown : [...shown, `${what}: … and ${more} more`];
}

/** A side in a word. */
export function nameOf({ language, protocol }: Side): string {
  return `${language.name}/${protocol}`;
}

/** Runs everything for these languages; says what it is at to `tell`. */
export async function runMatrix(
  languages: readonly Language[],
  services: Services,
  tell: (text: string) => void,
): Promise<Results> {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-interop-"));
  try {
    return await new Matrix(languages, services, folder, tell).run();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class Matrix {
  readonly #languages: readonly Language[];
  readonly #sides: readonly Side[];
  readonly #services: Services;
  readonly #folder: string;
  readonly #tell: (text: string) => void;

  constructor(
    languages: readonly Language[],
    services: Services,
    folder: string,
    tell: (text: string) => void,
  ) {
    this.#languages = languages;
    this.#sides = languages.flatMap((language) =>
      language.protocols.map((protocol) => ({ language, protocol })),
    );
    this.#services = services;
    this.#folder = folder;
    this.#tell = tell;
  }

  async run(): Promise<Results> {
    const vectors = readVectors();
    const names = vectors.map(({ name }) => name);
    const file = this.#write("vectors.json", { vectors });
    const writes = await inTurns(this.#sides, async (side) => {
      const outcome = await this.#outcome("write", side, { prefix: sessionOf(side), file, names });
      return { side, outcome };
    });
    const pairs = this.#sides.flatMap((writer) => this.#sides.map((reader) => ({ writer, reader })));
    const cells = await inTurns(pairs, async ({ writer, reader }) => {
      const outcome = await this.#outcome("read", reader, { prefix: sessionOf(writer), file, names });
      return { writer, reader, outcome };
    });
    const refusals = await this.#refusals(vectors);
    const behaviour = readData("behaviour.json", this.#services.given) as { cases: { name: string }[] };
    const cases = behaviour.cases.map(({ name }) => name);
    const behaviours = await inTurns(this.#sides, async (side) => {
      const given = {
        prefix: `behave-${nameOf(side)}`,
        file: this.#write("behaviour.json", behaviour),
        names: cases,
      };
      return { side, outcome: await this.#outcome("behave", side, given) };
    });
    const together = await this.#together();
    return { vectors: names.length, cases: cases.length, writes, cells, refusals, behaviours, together };
  }

  /** Each reader gets what is nearly, but not quite, what it has written itself. */
  async #refusals(vectors: readonly Vector[]): Promise<Results["refusals"]> {
    const missed = nearMisses(vectors);
    const file = this.#write("near-misses.json", { vectors: missed });
    const names = missed.map(({ name }) => name);
    return inTurns(this.#sides, async (side) => {
      const outcome = await this.#outcome("read", side, {
        prefix: sessionOf(side),
        file,
        names,
        refuse: true,
      });
      return { side, outcome };
    });
  }

  /**
   * All programs update one key of one session at once: none may lose an update, its own or another's. Each says that it is
   * ready and waits for the sign, as some take longer to start than others to be done.
   */
  async #together(): Promise<Outcome> {
    await using store = await openStore(this.#services.url);
    const name = "all at once";
    const ends = this.#languages.map((language) => {
      const steps = [
        { do: "set", session: "ready", key: language.name, value: true },
        { do: "watch", session: "sign", after_revision: 0, count: 1, within_ms: LONGEST_START_MS },
        { do: "update", session: "shared", increment: "n", times: UPDATES, within_ms: 120_000 },
      ];
      const data = { clients: { default: {} }, cases: [{ name, steps }] };
      const file = this.#write(`together-${language.name}.json`, data);
      const [protocol = "grpc"] = language.protocols;
      return this.#outcome("behave", { language, protocol }, { prefix: "together", file, names: [name] });
    });
    const over = Promise.all(ends).then(() => true);
    const ready = async (): Promise<number> =>
      Object.keys((await store.getSession("together-0-ready"))?.state ?? {}).length;
    while ((await ready()) < ends.length && !(await Promise.race([over, sleep(50, false)])));
    await store.setState("together-0-sign", "given", true);
    const faults = (await Promise.all(ends)).flatMap((outcome) => outcome.faults);
    const counted = Number((await store.getState("together-0-shared", "n")) ?? 0);
    const of = UPDATES * ends.length;
    if (counted !== of) faults.push(`of ${of} updates ${counted} were counted`);
    return { right: counted, of, faults };
  }

  async #outcome(
    command: "write" | "read" | "behave",
    side: Side,
    {
      prefix,
      file,
      names,
      refuse = false,
    }: {
      readonly prefix: string;
      readonly file: string;
      readonly names: readonly string[];
      readonly refuse?: boolean;
    },
  ): Promise<Outcome> {
    const began = performance.now();
    const { language, protocol } = side;
    const url = this.#services.url;
    let outcome: Outcome;
    try {
      const lines = await run(language, { command, url, protocol, prefix, file }, names);
      outcome = judge(lines, refuse);
    } catch (error) {
      outcome = {
        right: 0,
        of: names.length,
        faults: [error instanceof Error ? error.message : String(error)],
      };
    }
    const took = ((performance.now() - began) / 1000).toFixed(1);
    this.#tell(`${nameOf(side)} ${command} ${prefix}: ${outcome.right} of ${outcome.of}, ${took} s`);
    return outcome;
  }

  #write(name: string, data: unknown): string {
    const path = join(this.#folder, name);
    writeFileSync(path, jsonOf(data));
    return path;
  }
}

function judge(lines: readonly Line[], refuse: boolean): Outcome {
  const wrong = lines.filter(({ ok }) => ok === refuse);
  return {
    right: lines.length - wrong.length,
    of: lines.length,
    faults: wrong.map(({ name, message = "taken for what is stored" }) => `${name}: ${message}`),
  };
}

function sessionOf(side: Side): string {
  return `values-${nameOf(side)}`;
}

/** Does something for each, a few at once; gives what came of it, in order. */
async function inTurns<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [at, item] of queue) results[at] = await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}
