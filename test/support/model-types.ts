/** What goes into the model and comes out of it. */
import type { ErrorReason, FailedCheck } from "../../src/errors.ts";
import type { Change, EventKind, JsonValue, SessionMetadata } from "../../src/store.ts";

/** A write as the model and the store under test are given it: all revisions are numbers by now. */
export type ModelWrite = { readonly requestId?: string | undefined } & (
  | {
      kind: "set";
      id: string;
      key: string;
      value: JsonValue;
      ttlMs?: number | undefined;
      ifRevision?: number | undefined;
    }
  | { kind: "deleteKey"; id: string; key: string; ifRevision?: number | undefined }
  | {
      kind: "commit";
      id: string;
      checks: { key: string; ifRevision: number }[];
      changes: Change[];
      ifRevision?: number | undefined;
      metadata?: SessionMetadata | undefined;
    }
  | {
      kind: "save";
      id: string;
      state: Record<string, JsonValue>;
      workflowId?: string | undefined;
      labels?: Record<string, string> | undefined;
      ifRevision?: number | undefined;
      ttlMs?: number | undefined;
      idleTtlMs?: number | undefined;
    }
  | { kind: "delete"; id: string; ifRevision?: number | undefined }
  | { kind: "fork"; id: string; newId: string; atRevision?: number | undefined }
  | { kind: "restore"; id: string; atRevision: number; ifRevision?: number | undefined }
);

export interface ModelEntry {
  readonly key: string;
  readonly value?: JsonValue;
  readonly revision?: number;
  readonly updateTime?: number;
  readonly expireTime?: number;
}

export interface ModelEvent {
  readonly revision: number;
  readonly time: number;
  readonly kind: EventKind;
  readonly entries: readonly ModelEntry[];
  readonly requestId?: string;
}

/** A session as a caller sees it. */
export interface ModelSession {
  readonly sessionId: string;
  readonly state: Record<string, JsonValue>;
  readonly createTime: number;
  readonly updateTime: number;
  readonly workflowId?: string | undefined;
  readonly userId?: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly revision: number;
  readonly expireTime?: number;
  readonly forkedFrom?: { readonly sessionId: string; readonly revision: number } | undefined;
}

/** What a call came to. */
export type Outcome =
  | { readonly answer: unknown }
  | { readonly reason: ErrorReason; readonly failedChecks?: readonly FailedCheck[] };

/** A write that is refused. */
export class Failure extends Error {
  readonly outcome: Outcome;
  constructor(reason: ErrorReason, failedChecks?: FailedCheck[]) {
    super(reason);
    this.outcome = failedChecks === undefined ? { reason } : { reason, failedChecks };
  }
}
