/** The scripts of the Redis store: one atomic step each. What they are made of and work on, `redis-lua.ts` says. */
import { ANSWERS, BASE, COMMIT } from "./redis-lua.ts";
import { DUE_LIST, LIST } from "./redis-lua-lists.ts";
import {
  ADOPT,
  DUMP_EVENTS,
  DUMP_VERSIONS,
  DUMP_WHOLE,
  DUMPING,
  REWRITE,
  STAGE,
} from "./redis-lua-moving.ts";
import { EVENTS, LOOK } from "./redis-lua-reads.ts";
import { MAINTAIN, PLAN, TOUCH } from "./redis-lua-steps.ts";

/** A script that a server runs. */
export interface Script {
  readonly name: string;
  readonly source: string;
  /** Whether it may write. */
  readonly writes: boolean;
}

// What a server checks before it runs a script: with no flag, that it may be written to and has memory left; allow-oom: only
// the first; no-writes: neither. A script that fails later is not rolled back, so all that can fail has to fail here.
const GROWS = "#!lua\n";
const SHRINKS = "#!lua flags=allow-oom\n";
const READS = "#!lua flags=no-writes\n";

/** How the scripts that read begin: what is due has to be done by a script that writes. */
const REFUSE_DUE = "\nlocal s = read()\nif isDue(s) then return 'due' end\n";
const DO_DUE = "\nlocal s = read()\nif s then settle(s) end\nif s and s.dirty then save(s) end\n";

/** The scripts by name. */
export const SCRIPTS: {
  /** Makes a plan's commit. */
  readonly plan: Script;
  /** The same for a plan that only removes: it makes room, so it needs none. */
  readonly shrink: Script;
  /** Changes nothing, in a write that replicas can confirm, and with it those before. */
  readonly touch: Script;
  /** Does what is due for a session, and its housekeeping. */
  readonly maintain: Script;
  /** Looks at a session. Answers `due` if something is to be done first. */
  readonly look: Script;
  /** Does it, and looks. */
  readonly lookDoing: Script;
  /** Reads events. Answers `due` if something is to be done first. */
  readonly events: Script;
  readonly eventsDoing: Script;
  /** Lists the sessions of a bucket. */
  readonly list: Script;
  /** Lists the sessions of a bucket for which something is due. */
  readonly due: Script;
  /** Does what is due for a session, and reads all of it, if it is not large. */
  readonly dumpWhole: Script;
  readonly dumpEvents: Script;
  readonly dumpVersions: Script;
  /** Puts parts of a session aside that is being loaded. */
  readonly stage: Script;
  /** Puts what was put aside in the place of a session. */
  readonly adopt: Script;
  /** Puts new values in the place of old ones. */
  readonly rewrite: Script;
} = {
  plan: script("plan", GROWS, BASE, COMMIT, ANSWERS, PLAN),
  shrink: script("shrink", SHRINKS, BASE, COMMIT, ANSWERS, PLAN),
  touch: script("touch", SHRINKS, BASE, TOUCH),
  maintain: script("maintain", SHRINKS, BASE, COMMIT, MAINTAIN),
  look: script("look", READS, BASE, ANSWERS, REFUSE_DUE, LOOK),
  lookDoing: script("lookDoing", SHRINKS, BASE, COMMIT, ANSWERS, DO_DUE, LOOK),
  events: script("events", READS, BASE, REFUSE_DUE, EVENTS),
  eventsDoing: script("eventsDoing", SHRINKS, BASE, COMMIT, DO_DUE, EVENTS),
  list: script("list", READS, BASE, LIST),
  due: script("due", READS, BASE, DUE_LIST),
  dumpWhole: script("dumpWhole", SHRINKS, BASE, COMMIT, DUMPING, DO_DUE, DUMP_WHOLE),
  dumpEvents: script("dumpEvents", READS, BASE, DUMPING, DUMP_EVENTS),
  dumpVersions: script("dumpVersions", READS, BASE, DUMPING, DUMP_VERSIONS),
  stage: script("stage", GROWS, BASE, STAGE),
  adopt: script("adopt", GROWS, BASE, COMMIT, ADOPT),
  rewrite: script("rewrite", GROWS, BASE, COMMIT, REWRITE),
};

function script(name: string, flags: string, ...parts: string[]): Script {
  return { name, source: flags + parts.join(""), writes: flags !== READS };
}
