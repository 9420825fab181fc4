/** Steps of a backend as the durable store uses them: what is sent for a call, and what is made of a result. */
import type { EncodedForm, Event, Limits, Session } from "../store.ts";
import type {
  Answer,
  Applied,
  Head,
  Look,
  PlanStep,
  Remembered,
  SessionKey,
  Step,
  StepResult,
  StoredEvent,
} from "./backend.ts";
import { checkSessionSize, failUnless, requestIdReused } from "./failures.ts";
import { fingerprint, type WriteOperation } from "./fingerprint.ts";
import { type Kept, noPast } from "./history.ts";
import { stateOf } from "./listing.ts";
import { deadline, type Moment, sessionOf } from "./metadata.ts";

/** A call that is one step, and so one round trip. */
export interface Single<A> {
  readonly step: Step;
  /** The call's answer; throws its error. */
  answer(result: StepResult | undefined): A;
}

/** What became of a plan that was not stale. `kept`: what was kept with the first answer, if this is a replay of it. */
export interface Outcome extends Answer {
  readonly replayed: boolean;
  readonly kept: Uint8Array | undefined;
}

/** A session's name in maps. */
export function nameOf({ namespace, sessionId }: SessionKey): string {
  return `${namespace.length}:${namespace}${sessionId}`;
}

/** What a look saw; throws its error. */
export function seen(result: StepResult | undefined): Look {
  if (result?.kind === "error") throw result.error;
  if (result?.kind !== "look") throw new TypeError("The backend did not answer a look.");
  return result;
}

/** What became of a plan; `undefined`: it was stale. Throws its error, and those of what it ran into. */
export function applied(result: StepResult | undefined, limits: Limits): Outcome | undefined {
  switch (result?.kind) {
    case "done":
      return { ...answerOf(result), replayed: false, kept: undefined };
    case "replayed":
      return { ...answerOf(result), replayed: true, kept: result.kept };
    case "stale":
      return undefined;
    case "error":
      throw result.error;
    case "reused":
      throw requestIdReused();
    case "failed":
      failUnless(result.failedChecks);
      break;
    case "tooLarge":
      checkSessionSize(result.before, result.after, limits);
  }
  throw new TypeError("The backend did not answer a plan.");
}

function answerOf({ revision, updateTime, time, wrote }: Extract<Applied, Answer>): Answer {
  return { revision, updateTime, time, wrote };
}

/** The answer that is remembered of a request. Fails with REQUEST_ID_REUSED if it was another's. */
export function replayOf({ remembered }: Look, print: string): Outcome | undefined {
  if (remembered === undefined) return undefined;
  if (remembered.fingerprint !== print) throw requestIdReused();
  return recalled(remembered);
}

function recalled({ revision, updateTime, time, wrote, kept }: Remembered): Outcome {
  return { revision, updateTime, time, wrote, replayed: true, kept };
}

/** What a plan says of its request id; `undefined`: the request has none. @param keep makes what to keep of the answer */
export function requestOf(
  operation: WriteOperation,
  keep: () => Uint8Array | undefined,
): PlanStep["request"] {
  const id = operation.requestId;
  return id ? { id, fingerprint: fingerprint(operation), kept: keep() } : undefined;
}

/** The session's past as a look or a reading of events found it. */
export function pastOf({ head, floor }: { readonly head: Head | undefined; readonly floor: number }): Kept {
  return head ?? noPast(floor);
}

/** The session as it is now. */
export function presentOf(head: Head): Moment {
  const { metadata, updateTime, activeTime } = head;
  return {
    metadata,
    time: updateTime,
    expireTime: metadata === undefined ? undefined : deadline(metadata, activeTime),
  };
}

/** The session that a look saw with all its entries, as it is now; `undefined`: there is none. */
export function sessionIn(sessionId: string, { head, entries }: Look): Session<EncodedForm> | undefined {
  if (head?.metadata === undefined) return undefined;
  return sessionOf(sessionId, presentOf(head), head.revision, stateOf(entries, ""));
}

/** An event as it is given out. */
export function eventOf(stored: StoredEvent): Event<EncodedForm> {
  const { sessionId, revision, time, kind, entries, requestId, ended } = stored;
  // One that ended the session says so by its kind and names no entries.
  return { sessionId, revision, time, kind, entries: ended ? [] : entries, requestId };
}

/** In how many milliseconds something that a plan leaves falls due first, as far as the plan says; Infinity: nothing. */
export function dueIn({ writes, metadata, time }: PlanStep): number {
  let due = Number.POSITIVE_INFINITY;
  const take = (ttlMs: number | undefined, expireTime: number | undefined): void => {
    if (ttlMs) due = Math.min(due, ttlMs);
    else if (expireTime !== undefined && time !== undefined) due = Math.min(due, expireTime - time);
  };
  for (const write of writes) take(write.ttlMs, write.expireTime);
  if (metadata !== undefined && metadata !== "end") {
    take(metadata.ttlMs, metadata.expireTime);
    take(metadata.idleTtlMs, undefined);
  }
  return due;
}
