/**
 * How much of an error is sent. A gRPC status goes into the trailers, and clients refuse trailers of more than 8 KiB: many
 * of them drop the whole call, and with it what it was that failed.
 */
import type { FailedCheck, WorkflowStateError } from "../errors.ts";
import { utf8Length } from "../utf8.ts";

/** What is sent of an error. */
export interface SentError {
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly failedChecks: readonly FailedCheck[];
}

/** Bytes of `grpc-message` and `grpc-status-details-bin` together, as they are sent. */
const TRAILER_BYTES = 7_168;
/** Bytes of the message as `grpc-message` has it: percent-encoded. */
const MESSAGE_BYTES = 1_536;
/** Bytes of one text of the metadata, and of all. Longer ones than a key of the default length are nobody's. */
const FACT_BYTES = 1_024;
const FACTS_BYTES = 2_048;
/** What a status has beside its message and its detail: code, type URL, tags and lengths; and so a detail, a fact, a check. */
const STATUS_OVERHEAD = 128;
const FACT_OVERHEAD = 10;
const CHECK_OVERHEAD = 32;

/**
 * An error as it is sent: whole, unless that is too much. Then its message ends with "…", facts that have no room are left
 * out or shortened, and of its failed checks it has the first ones, with `failed_checks` in the metadata to say how many
 * there were.
 */
export function sentError({ message, metadata, failedChecks }: WorkflowStateError): SentError {
  const text = shortened(message, MESSAGE_BYTES, encodedBytes);
  // Base64 makes four bytes of three.
  let room = ((TRAILER_BYTES - encodedBytes(text)) * 3) / 4 - bytesOf(text) - STATUS_OVERHEAD;
  const facts = sentFacts(metadata);
  for (const [name, fact] of Object.entries(facts)) room -= factBytes(name, fact);
  const checks: FailedCheck[] = [];
  for (const check of failedChecks) {
    room -= bytesOf(check.key) + CHECK_OVERHEAD;
    if (room < 0) {
      const count = String(failedChecks.length);
      return { message: text, metadata: { ...facts, failed_checks: count }, failedChecks: checks };
    }
    checks.push(check);
  }
  return { message: text, metadata: facts, failedChecks: checks };
}

function sentFacts(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  let room = FACTS_BYTES;
  const sent: [string, string][] = [];
  for (const [name, fact] of Object.entries(metadata)) {
    const text = shortened(fact, FACT_BYTES, bytesOf);
    room -= factBytes(name, text);
    if (room >= 0) sent.push([name, text]);
  }
  return Object.fromEntries(sent);
}

function factBytes(name: string, fact: string): number {
  return bytesOf(name) + bytesOf(fact) + FACT_OVERHEAD;
}

function bytesOf(text: string): number {
  const bytes = utf8Length(text);
  // What is ill-formed is sent as U+FFFD.
  return bytes >= 0 ? bytes : 3 * text.length;
}

function encodedBytes(text: string): number {
  return encodeURIComponent(text.toWellFormed()).length;
}

/** The text, or its beginning and "…", within so many bytes; `measure` must not grow by less than the text. */
function shortened(text: string, most: number, measure: (text: string) => number): string {
  const whole = text.toWellFormed();
  if (measure(whole) <= most) return whole;
  let bytes = measure("…");
  let end = 0;
  for (const character of whole) {
    bytes += measure(character);
    if (bytes > most) break;
    end += character.length;
  }
  return `${whole.slice(0, end)}…`;
}
