/** What a caller may do: identities with their grants, and the rule of every RPC. Everything that no grant allows is refused. */
import { WorkflowStateError } from "../errors.ts";
import type * as Store from "../store.ts";
import type { BatchFromWire } from "../wire.ts";

/**
 * What a grant allows: to read; to write, and so to read, as a write answers with what it left; or, beside both, to ask for
 * what only operators need.
 */
export type Action = "read" | "write" | "admin";

const RANK = { read: 1, write: 2, admin: 3 } as const satisfies Record<Action, number>;

/** Allows an action on the sessions of a namespace whose id begins with a prefix. */
export interface Grant {
  readonly action: Action;
  readonly namespace: string;
  readonly sessionIdPrefix: string;
}

/** Who makes a call, and what it may do. */
export interface Identity {
  /** The name by which it is known in limits and logs. */
  readonly principal: string;
  /** The namespaces that it may choose from. */
  readonly namespaces: readonly string[];
  readonly grants: readonly Grant[];
  /** When its credentials expire, in epoch milliseconds; absent: they don't. */
  readonly expireTime?: number | undefined;
  /** Fails with UNAUTHENTICATED if the credentials were taken back since the call began. */
  readonly check?: (() => void) | undefined;
  /** Has `end` called when the credentials are taken back before that, now if they have been, until what is returned is called. */
  readonly onRevoked?: ((end: (reason: unknown) => void) => () => void) | undefined;
}

/** Whoever calls a server that asks nobody: all of the default namespace. */
export const ANYBODY: Identity = {
  principal: "anonymous",
  namespaces: [""],
  grants: [{ action: "admin", namespace: "", sessionIdPrefix: "" }],
};

/** The header by which a caller with several namespaces chooses. */
export const NAMESPACE_HEADER = "x-workflow-state-namespace";

/** What an identity may do in the namespace that one call works in. */
export class Access {
  readonly identity: Identity;
  readonly namespace: string;
  readonly #grants: readonly Grant[];

  /** @param chosen the namespace that the caller asks for; absent or empty: its only one. Fails with PERMISSION_DENIED. */
  constructor(identity: Identity, chosen: string | null | undefined) {
    const { namespaces, grants } = identity;
    const namespace = chosen || (namespaces.length === 1 ? namespaces[0] : undefined);
    if (namespace === undefined) {
      throw new WorkflowStateError(
        "PERMISSION_DENIED",
        `These credentials are for several namespaces, or none: choose one by the header ${NAMESPACE_HEADER}.`,
      );
    }
    if (!namespaces.includes(namespace)) {
      throw new WorkflowStateError(
        "PERMISSION_DENIED",
        `These credentials are not for the namespace that the header ${NAMESPACE_HEADER} asks for.`,
      );
    }
    this.identity = identity;
    this.namespace = namespace;
    this.#grants = grants.filter((grant) => grant.namespace === namespace);
  }

  /** Whether an action is allowed on all sessions whose id begins with a text: one session, or a listing. */
  allows(action: Action, sessionId: string | undefined): boolean {
    // What is no text is no session's id either: the store says so, to whom may do something at all.
    const id = typeof sessionId === "string" ? sessionId : "";
    return this.#grants.some(
      (grant) => RANK[grant.action] >= RANK[action] && id.startsWith(grant.sessionIdPrefix),
    );
  }

  /** Fails with PERMISSION_DENIED unless an action is allowed. */
  check(action: Action, sessionId: string | undefined): void {
    if (!this.allows(action, sessionId)) throw denied(action);
  }
}

/** What an RPC needs: throws PERMISSION_DENIED where the access does not reach. */
export type Rule<Request> = (access: Access, request: Request) => void;

/** The rule of each RPC. One without a rule does not compile. */
export const RULES: { readonly [Name in keyof RuledRequests]: Rule<RuledRequests[Name]> } = {
  getSession: (access, { sessionId }) => access.check("read", sessionId),
  saveSession: (access, { session }) => access.check("write", session?.sessionId),
  deleteSession: (access, { sessionId }) => access.check("write", sessionId),
  listSessions: (access, { sessionIdPrefix }) => access.check("read", sessionIdPrefix),
  getState: (access, { sessionId }) => access.check("read", sessionId),
  setState: (access, { sessionId }) => access.check("write", sessionId),
  deleteState: (access, { sessionId }) => access.check("write", sessionId),
  listState: (access, { sessionId }) => access.check("read", sessionId),
  commit: (access, { sessionId }) => access.check("write", sessionId),
  forkSession(access, { sessionId, newSessionId }) {
    access.check("read", sessionId);
    access.check("write", newSessionId);
  },
  restoreSession: (access, { sessionId }) => access.check("write", sessionId),
  listEvents: (access, { sessionId }) => access.check("read", sessionId),
  watchSession: (access, { sessionId }) => access.check("read", sessionId),
  watchSessions: (access, { sessionIdPrefix }) => access.check("read", sessionIdPrefix),
};

/** The requests of all RPCs but Batch and Pipeline, which are ruled operation by operation. */
interface RuledRequests {
  getSession: Store.GetSessionRequest;
  saveSession: Store.SaveSessionRequest<Store.EncodedForm>;
  deleteSession: Store.DeleteSessionRequest;
  listSessions: Store.ListSessionsRequest<Store.EncodedForm>;
  getState: Store.GetStateRequest;
  setState: Store.SetStateRequest<Store.EncodedForm>;
  deleteState: Store.DeleteStateRequest;
  listState: Store.ListStateRequest;
  commit: Store.CommitRequest<Store.EncodedForm>;
  forkSession: Store.ForkSessionRequest<Store.EncodedForm>;
  restoreSession: Store.RestoreSessionRequest<Store.EncodedForm>;
  listEvents: Store.ListEventsRequest;
  watchSession: Store.WatchSessionRequest;
  watchSessions: Store.SessionFilter<Store.EncodedForm>;
}

/** A batch without the operations that are not allowed: each of those is its own error. */
export function allowedBatch(access: Access, batch: BatchFromWire): BatchFromWire {
  const kept: BatchFromWire["operations"][number][] = [];
  const refused = new Map<number, WorkflowStateError>();
  let index = 0;
  for (const operation of batch.operations) {
    for (let error = batch.refused.get(index); error !== undefined; error = batch.refused.get(++index))
      refused.set(index, error);
    const action = operation.kind === "getState" || operation.kind === "getSession" ? "read" : "write";
    if (access.allows(action, operation.sessionId)) kept.push(operation);
    else refused.set(index, denied(action));
    index++;
  }
  if (refused.size === 0) return batch;
  for (const [at, error] of batch.refused) refused.set(at, error);
  return { operations: kept, refused: new Map([...refused].sort(([a], [b]) => a - b)) };
}

function denied(action: Action): WorkflowStateError {
  return new WorkflowStateError(
    "PERMISSION_DENIED",
    `These credentials may not ${action} there: ask for a grant, or use others.`,
    { metadata: { action } },
  );
}
