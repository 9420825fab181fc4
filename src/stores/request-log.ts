/** The answers of writes that carried a request id, kept so that a repeated write returns the first answer. */
import { requestIdReused } from "./failures.ts";
import { fingerprint, type WriteOperation } from "./fingerprint.ts";
import type { SessionRecord, Usage } from "./memory-session.ts";

/** One remembered answer. */
export interface Remembered {
  readonly fingerprint: string;
  /** What the answer can be made from again, together with the repeated request. */
  readonly kept: unknown;
  readonly record: SessionRecord;
  readonly requestId: string;
  readonly time: number;
  readonly bytes: number;
}

/** Bytes that a remembered answer takes in the heap beside its values, as measured on Node 26. */
const ANSWER_BYTES = 600;

/** Remembers answers for a time, and at most so many: the oldest go first. */
export class RequestLog {
  readonly #retentionMs: number;
  readonly #most: number;
  readonly #usage: Usage;
  readonly #forgotten: (record: SessionRecord) => void;
  /** All sessions' answers, oldest first, from #head on. */
  #queue: (Remembered | undefined)[] = [];
  #head = 0;

  /** @param forgotten is given each session that lost an answer */
  constructor(retentionMs: number, most: number, usage: Usage, forgotten: (record: SessionRecord) => void) {
    this.#retentionMs = retentionMs;
    this.#most = most;
    this.#usage = usage;
    this.#forgotten = forgotten;
  }

  /** When the oldest answer is to be forgotten. */
  get dueTime(): number {
    const oldest = this.#queue[this.#head];
    return oldest === undefined ? Number.POSITIVE_INFINITY : oldest.time + this.#retentionMs;
  }

  /**
   * Runs a write, or returns the first answer if it was run before. Fails with REQUEST_ID_REUSED.
   * @param keep what to keep of the answer: no value that the request carries itself, unless it brings its own fingerprint
   * @param replay makes the answer from what was kept
   */
  once<Answer, Kept>(
    record: SessionRecord,
    operation: WriteOperation,
    now: number,
    run: () => Answer,
    keep: (answer: Answer) => { kept: Kept; valueBytes: number },
    replay: (kept: Kept) => Answer,
  ): Answer {
    const requestId = operation.requestId;
    if (requestId === undefined || requestId === "") return run();
    const print = fingerprint(operation);
    const known = record.requests?.get(requestId);
    if (known !== undefined) {
      if (known.fingerprint === print) return replay(known.kept as Kept);
      throw requestIdReused();
    }
    const answer = run();
    const { kept, valueBytes } = keep(answer);
    const bytes = ANSWER_BYTES + valueBytes;
    const remembered: Remembered = { fingerprint: print, kept, record, requestId, time: now, bytes };
    record.requests ??= new Map();
    record.requests.set(requestId, remembered);
    record.namespace.add(record);
    this.#queue.push(remembered);
    this.#usage.bytes += bytes;
    if (this.#queue.length - this.#head > this.#most) this.#forgetOldest();
    return answer;
  }

  /** Forgets what is past the retention. */
  forgetUntil(now: number): void {
    while (this.dueTime <= now) this.#forgetOldest();
  }

  #forgetOldest(): void {
    const oldest = this.#queue[this.#head] as Remembered;
    this.#queue[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    oldest.record.requests?.delete(oldest.requestId);
    this.#usage.bytes -= oldest.bytes;
    this.#forgotten(oldest.record);
  }
}
