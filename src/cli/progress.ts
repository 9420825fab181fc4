/** How far a long command is, for people: a bar on a terminal, else a line now and then. */
import type { WriteStream } from "node:tty";

/** Where progress is shown: `process.stderr`. */
export type ProgressStream = Pick<WriteStream, "write"> & {
  readonly isTTY?: boolean;
  readonly columns?: number;
};

/** How far it is. */
export interface Step {
  /** What is being done to sessions: `copying`. */
  readonly verb: string;
  /** Sessions that are done. */
  readonly sessions: number;
  /** Sessions in all, where they are counted. */
  readonly of?: number | undefined;
  /** The done part of the whole, 0 to 1, where sessions can't be counted. */
  readonly part?: number | undefined;
  /** What else is worth a word: `2 conflicts`. */
  readonly note?: string | undefined;
}

/** Milliseconds between two lines where there is no terminal. */
const LINE_MS = 5_000;
/** Milliseconds between two drawings of the bar. */
const BAR_MS = 100;
const BAR_WIDTH = 24;

/** The progress of one command. What is said is shown by a timer, so saying it costs nothing. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #onTerminal: boolean;
  readonly #timer: NodeJS.Timeout;
  #step: Step;
  #drawn = false;

  constructor(verb: string, stream: ProgressStream = process.stderr) {
    this.#step = { verb, sessions: 0 };
    this.#stream = stream;
    this.#onTerminal = stream.isTTY === true && process.env["TERM"] !== "dumb";
    const show = this.#onTerminal ? () => this.#draw() : () => this.#stream.write(`${this.#text()}\n`);
    this.#timer = setInterval(show, this.#onTerminal ? BAR_MS : LINE_MS).unref();
  }

  /** Says how far it is; what is left out stays as it was. */
  update(step: Partial<Step>): void {
    this.#step = { ...this.#step, ...step };
  }

  /** Shows nothing further, and takes the bar away. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#drawn) this.#stream.write("\r\x1b[K");
  }

  #draw(): void {
    const { sessions, of, part = of === undefined ? undefined : sessions / Math.max(of, 1) } = this.#step;
    const bar = part === undefined ? "" : barOf(Math.min(part, 1));
    // A line that is broken could not be drawn over.
    const text = `${bar}${this.#text()}`.slice(0, (this.#stream.columns || 80) - 1);
    this.#stream.write(`\r${text}\x1b[K`);
    this.#drawn = true;
  }

  #text(): string {
    const { verb, sessions, of, part, note } = this.#step;
    const all = of === undefined ? "" : ` of ${counted(of)}`;
    const share = part === undefined ? "" : ` (${Math.floor(100 * part)}% of the file)`;
    return `${verb} ${counted(sessions)}${all} sessions${share}${note ? `, ${note}` : ""}`;
  }
}

/** A number as people read it: `1,234`. */
export function counted(count: number): string {
  return count.toLocaleString("en-US");
}

function barOf(part: number): string {
  const done = Math.floor(part * BAR_WIDTH);
  const percent = `${Math.floor(100 * part)}%`.padStart(4);
  return `[${"#".repeat(done)}${"-".repeat(BAR_WIDTH - done)}]${percent} `;
}
