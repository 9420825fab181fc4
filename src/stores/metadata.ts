/** What a store knows about a session beside its state, and how writes change it. */
import type { EncodedForm, Session, SessionMetadata } from "../store.ts";

/** What is known about a session beside its state. Never changed: a commit that changes it makes a new one. */
export interface Metadata {
  readonly createTime: number;
  readonly workflowId: string | undefined;
  readonly userId: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly forkedFrom: { readonly sessionId: string; readonly revision: number } | undefined;
  /** The deadline that ttl set, in epoch milliseconds. */
  readonly expireTime: number | undefined;
  readonly idleTtlMs: number | undefined;
}

/** A session at a revision, less its state: what was known, when it was written, and when it was to expire. */
export interface Moment {
  /** `undefined`: there was no session. */
  readonly metadata: Metadata | undefined;
  readonly time: number;
  readonly expireTime: number | undefined;
}

/** A session that does not exist. */
export const NOBODY: Moment = { metadata: undefined, time: 0, expireTime: undefined };

const NO_LABELS: Metadata["labels"] = Object.freeze({});

/** A session as it is given out, with the state given. */
export function sessionOf(
  sessionId: string,
  { metadata, time, expireTime }: Moment,
  revision: number,
  state: EncodedForm["state"],
): Session<EncodedForm> {
  return {
    sessionId,
    state,
    createTime: metadata?.createTime,
    updateTime: metadata === undefined ? undefined : time,
    workflowId: metadata?.workflowId,
    userId: metadata?.userId,
    labels: metadata?.labels ?? {},
    revision,
    expireTime,
    forkedFrom: metadata?.forkedFrom,
  };
}

/** The metadata of a session that begins now. */
export function created(time: number): Metadata {
  return {
    createTime: time,
    workflowId: undefined,
    userId: undefined,
    labels: NO_LABELS,
    forkedFrom: undefined,
    expireTime: undefined,
    idleTtlMs: undefined,
  };
}

/** The metadata that a commit leaves; `undefined`: it doesn't write any. */
export function changedMetadata(
  before: Metadata | undefined,
  change: SessionMetadata | undefined,
  time: number,
): Metadata | undefined {
  if (change === undefined) return undefined;
  const { workflowId, userId, labels, ttlMs, idleTtlMs } = change;
  if (![workflowId, userId, labels, ttlMs, idleTtlMs].some((field) => field !== undefined)) return undefined;
  const old = before ?? created(time);
  return {
    ...old,
    workflowId: workflowId === undefined ? old.workflowId : workflowId || undefined,
    userId: userId === undefined ? old.userId : userId || undefined,
    labels: labels === undefined ? old.labels : { ...labels },
    ...deadlines(before, ttlMs, idleTtlMs, time),
  };
}

/** The expiry after a write that may renew it; an absent duration leaves what was, 0 takes it away. */
export function deadlines(
  before: Metadata | undefined,
  ttlMs: number | undefined,
  idleTtlMs: number | undefined,
  time: number,
): Pick<Metadata, "expireTime" | "idleTtlMs"> {
  return {
    expireTime: ttlMs === undefined ? before?.expireTime : ttlMs === 0 ? undefined : time + ttlMs,
    idleTtlMs: idleTtlMs === undefined ? before?.idleTtlMs : idleTtlMs || undefined,
  };
}

/** The expiry that a copy takes over. */
export function deadlinesOf(
  metadata: Metadata | undefined,
  time: number,
): Pick<Metadata, "expireTime" | "idleTtlMs"> {
  const expireTime = metadata?.expireTime;
  return {
    expireTime: expireTime !== undefined && expireTime > time ? expireTime : undefined,
    idleTtlMs: metadata?.idleTtlMs,
  };
}

/** When a session expires: the earlier of its two deadlines. @param activeTime when a caller last wrote */
export function deadline(
  metadata: Pick<Metadata, "expireTime" | "idleTtlMs">,
  activeTime: number,
): number | undefined {
  const idle = metadata.idleTtlMs === undefined ? undefined : activeTime + metadata.idleTtlMs;
  if (idle === undefined || metadata.expireTime === undefined) return idle ?? metadata.expireTime;
  return Math.min(idle, metadata.expireTime);
}
