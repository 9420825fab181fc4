/** The fields of a line of an export, each checked as it is taken: nothing is believed of a file. */
import { WorkflowStateError } from "../errors.ts";
import { jsonText, restoredKey } from "../wire/json-keys.ts";

/** A line that is wrong. The message names the line and the field, never what stands there. */
export function wrongLine(number: number, problem: string, cause?: unknown): WorkflowStateError {
  const message = `Line ${number}: ${problem}.`;
  return new WorkflowStateError("INVALID_REQUEST", message, { metadata: { line: String(number) }, cause });
}

/** The same error, told of a line. */
export function atLine(number: number, error: unknown): unknown {
  if (!WorkflowStateError.is(error) || error.metadata["line"] !== undefined) return error;
  const { reason, message, metadata, failedChecks, cause } = error;
  return new WorkflowStateError(reason, `Line ${number}: ${message}`, {
    metadata: { ...metadata, line: String(number) },
    failedChecks,
    cause,
  });
}

/** One object of a line. Each field is taken once, and {@link Fields.end} refuses what was not. */
export class Fields {
  /** The line's number, from 1 on. */
  readonly number: number;
  readonly #fields: Map<string, unknown>;
  /** What stands before the names of fields: `metadata.`. */
  readonly #within: string;

  constructor(number: number, object: unknown, within = "") {
    if (typeof object !== "object" || object === null || Array.isArray(object)) {
      throw wrongLine(
        number,
        within === "" ? "it is no JSON object" : `${within.slice(0, -1)} must be an object`,
      );
    }
    this.number = number;
    this.#fields = new Map(Object.entries(object));
    this.#within = within;
  }

  /** Whether there is such a field, not yet taken. */
  has(name: string): boolean {
    return this.#fields.has(name);
  }

  /** Any JSON. */
  any(name: string): unknown {
    const value = this.#fields.get(name);
    if (!this.#fields.delete(name)) throw this.wrong(name, "is missing");
    return value;
  }

  /** Any JSON, or nothing. */
  optional(name: string): unknown {
    return this.has(name) ? this.any(name) : undefined;
  }

  /** A whole number from `least` on. */
  integer(name: string, least: number): number {
    const value = this.any(name);
    if (Number.isSafeInteger(value) && (value as number) >= least) return value as number;
    throw this.wrong(name, `must be a whole number, ${least} or more`);
  }

  optionalInteger(name: string, least: number): number | undefined {
    return this.has(name) ? this.integer(name, least) : undefined;
  }

  /** A point in time, in milliseconds since 1970, no later than `latest`. */
  time(name: string, latest: number): number {
    const value = this.any(name);
    if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= latest)
      return value as number;
    throw this.wrong(name, `must be a whole number from 0 to ${latest}`);
  }

  optionalTime(name: string, latest: number): number | undefined {
    return this.has(name) ? this.time(name, latest) : undefined;
  }

  text(name: string): string {
    const value = this.any(name);
    if (typeof value === "string" && value.isWellFormed()) return value;
    throw this.wrong(name, "must be text");
  }

  optionalText(name: string): string | undefined {
    return this.has(name) ? this.text(name) : undefined;
  }

  /** True or false; absent: false. */
  flag(name: string): boolean {
    const value = this.optional(name) ?? false;
    if (typeof value === "boolean") return value;
    throw this.wrong(name, "must be true or false");
  }

  /** Bytes in base64. */
  bytes(name: string): Uint8Array {
    const text = this.text(name);
    const bytes = Buffer.from(text, "base64");
    // Buffer leaves out what is no base64.
    if (bytes.toString("base64") === text) return new Uint8Array(bytes);
    throw this.wrong(name, "must be base64");
  }

  list(name: string): readonly unknown[] {
    const value = this.any(name);
    if (Array.isArray(value)) return value;
    throw this.wrong(name, "must be a list");
  }

  object(name: string): Fields {
    return new Fields(this.number, this.any(name), `${this.#within}${name}.`);
  }

  /** Fails if there are fields that nobody took: a program that knows more has written them. */
  end(): void {
    if (this.#fields.size > 0) throw wrongLine(this.number, "it has a field that is not known here");
  }

  /** The error of a field. */
  wrong(name: string, problem: string): WorkflowStateError {
    return wrongLine(this.number, `${this.#within}${name} ${problem}`);
  }
}

/** One line: its number and its JSON, members of objects in their order. */
export interface Line {
  readonly number: number;
  readonly json: unknown;
  readonly bytes: number;
}

const NEWLINE = 0x0a;

/**
 * The lines of a file; empty ones are left out. Not by `node:readline`, which also breaks at U+2028, and reads lines of any length.
 * @param longest bytes of a line; a longer one fails before it is read
 */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, longest: number): AsyncGenerator<Line> {
  let number = 0;
  let pieces: Uint8Array[] = [];
  let size = 0;
  const take = (): Line | undefined => {
    number++;
    const bytes = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
    pieces = [];
    size = 0;
    const json = parse(bytes, number);
    return json === undefined ? undefined : { number, json, bytes: bytes.length };
  };
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const newline = chunk.indexOf(NEWLINE, at);
      const piece = chunk.subarray(at, newline < 0 ? chunk.length : newline);
      size += piece.length;
      if (size > longest) throw wrongLine(number + 1, `it is longer than ${longest} bytes`);
      pieces.push(piece);
      at += piece.length;
      if (newline < 0) continue;
      at++;
      const line = take();
      if (line !== undefined) yield line;
    }
  }
  if (size > 0) {
    const line = take();
    if (line !== undefined) yield line;
  }
}

/** The JSON of a line, `undefined` of an empty one. */
function parse(bytes: Uint8Array, number: number): unknown {
  let text: string;
  try {
    text = jsonText.decode(bytes);
  } catch (error) {
    throw wrongLine(number, "it is not UTF-8", error);
  }
  if (text.trim() === "") return undefined;
  try {
    return restored(JSON.parse(text));
  } catch {
    // Not with the parser's own words: they quote the line.
    throw wrongLine(number, "it is not JSON");
  }
}

/** JSON with its keys as they were meant, in their order. */
function restored(json: unknown): unknown {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map(restored);
  // Not by assignment: a key may be __proto__.
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [restoredKey(key), restored(value)]));
}
