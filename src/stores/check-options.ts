/** What options of a store may be, checked where it is opened: a wrong one would show much later, as something else. */
import { WorkflowStateError } from "../errors.ts";
import { DEFAULT_LIMITS } from "../limits.ts";

/** The longest that a timer waits; a longer one would be over at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const RETENTION_NUMBERS = ["history", "historyAgeMs", "requestRetentionMs"] as const;
const MEMORY_NUMBERS = [...RETENTION_NUMBERS, "maxBytes", "progressIntervalMs"] as const;

/** The options that are checked, of whichever type they are. */
export interface UncheckedOptions {
  readonly namespace?: unknown;
  readonly timeoutMs?: unknown;
  readonly silenceMs?: unknown;
  readonly retry?: unknown;
  readonly limits?: unknown;
  readonly memory?: unknown;
  readonly retention?: unknown;
  readonly encryption?: unknown;
}

/** Refuses options that make no sense, whichever kind of store they are for. Fails with INVALID_REQUEST and the `field`. */
export function checkOptions(options: UncheckedOptions): void {
  const { namespace, timeoutMs, silenceMs, limits } = options;
  if (namespace !== undefined && typeof namespace !== "string") throw refused("namespace", "a string");
  checkMs("timeoutMs", timeoutMs);
  checkMs("silenceMs", silenceMs);
  const retry = members("retry", options.retry);
  checkCount("retry.attempts", retry["attempts"]);
  checkMs("retry.baseMs", retry["baseMs"]);
  checkMs("retry.maxMs", retry["maxMs"]);
  checkLimits("limits", limits);
  const memory = members("memory", options.memory);
  for (const name of MEMORY_NUMBERS) checkCount(`memory.${name}`, memory[name]);
  checkLimits("memory.limits", memory["limits"]);
  const retention = members("retention", options.retention);
  for (const name of RETENTION_NUMBERS) checkCount(`retention.${name}`, retention[name]);
  members("encryption", options.encryption);
}

function checkLimits(field: string, limits: unknown): void {
  for (const [name, limit] of Object.entries(members(field, limits))) {
    // An unknown name is not repeated: it can be any text.
    if (!Object.hasOwn(DEFAULT_LIMITS, name)) throw refused(field, "an object of known limits");
    // One that is undefined would take the place of the default.
    checkCount(`${field}.${name}`, limit ?? Number.NaN);
  }
}

function checkMs(field: string, ms: unknown): void {
  if (ms === undefined || (typeof ms === "number" && ms > 0 && ms <= MAX_TIMER_MS)) return;
  throw refused(field, `a number of milliseconds above 0, at most ${MAX_TIMER_MS}`);
}

function checkCount(field: string, count: unknown): void {
  if (count === undefined || (Number.isSafeInteger(count) && (count as number) >= 1)) return;
  throw refused(field, "an integer, 1 or more");
}

/** The members of an option that is an object; none, where it is absent. */
function members(field: string, option: unknown): Readonly<Record<string, unknown>> {
  if (option === undefined) return {};
  if (typeof option !== "object" || option === null) throw refused(field, "an object");
  return { ...option };
}

function refused(field: string, what: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", `${field} must be ${what}.`, { metadata: { field } });
}
