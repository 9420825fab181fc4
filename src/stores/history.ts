/** What is kept of a session's past, and what to answer of revisions that are not there. */
import { WorkflowStateError } from "../errors.ts";

/** Which revisions of a session there are. */
export interface Kept {
  /** The last revision made. */
  readonly revision: number;
  /** The revision of the oldest kept event; `revision + 1`: none is kept. */
  readonly oldest: number;
  /** The revision before the first that is known of. */
  readonly born: number;
}

/** The past of an id that nothing is known of. @param floor the highest revision that it may have had */
export function noPast(floor: number): Kept {
  return { revision: floor, oldest: floor + 1, born: floor };
}

/** Whether nothing is known of a session, now or in history. */
export function isUnknown(kept: Kept, exists: boolean): boolean {
  return !exists && kept.oldest > kept.revision;
}

/** The revision that a watch of nothing begins at: the last of a deleted session, 0 of one that never was. */
export function absentRevision(kept: Kept): number {
  return isUnknown(kept, false) && kept.revision === kept.born ? 0 : kept.revision;
}

/**
 * Where a revision lies: it is the last one, a kept one of the past, or before all (there was no session).
 * Fails with HISTORY_COMPACTED, FUTURE_REVISION.
 */
export function placeOf(kept: Kept, revision: number): "now" | "past" | "before" {
  if (revision > kept.revision) throw futureRevision(kept, revision);
  if (revision === kept.revision) return "now";
  if (revision === 0 && kept.oldest - 1 === kept.born) return "before";
  if (revision < kept.oldest) throw compacted(kept, revision);
  return "past";
}

/**
 * Where reading events after `afterRevision` begins, as the revision before the first.
 * Fails with HISTORY_COMPACTED, FUTURE_REVISION.
 */
export function cursorAfter(kept: Kept, afterRevision: number): number {
  if (afterRevision > kept.revision) throw futureRevision(kept, afterRevision);
  // Revision 0 of an id that the store never saw: nothing came before its first commit, whatever number that has.
  if (afterRevision === 0 && kept.oldest - 1 === kept.born) return kept.born;
  if (afterRevision < kept.oldest - 1) throw compacted(kept, afterRevision + 1);
  return afterRevision;
}

/** HISTORY_COMPACTED of a revision. */
export function compacted(kept: Kept, revision: number): WorkflowStateError {
  const oldest = String(kept.oldest);
  return new WorkflowStateError(
    "HISTORY_COMPACTED",
    `Revision ${revision} is no longer kept, and ${oldest} is the oldest that is: read the current state, or a kept revision.`,
    { metadata: { oldest_revision: oldest } },
  );
}

function futureRevision(kept: Kept, revision: number): WorkflowStateError {
  return new WorkflowStateError(
    "FUTURE_REVISION",
    `Revision ${revision} is not made yet: the last one is ${kept.revision}.`,
    { metadata: { current_revision: String(kept.revision) } },
  );
}
