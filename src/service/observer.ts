/**
 * Who looks on: anybody that wants to see each RPC and each write, for logs, an audit, metrics or traces. Types, and what puts
 * several together; nothing here costs a call anything while nobody looks.
 */
import { Code, type ConnectError } from "@connectrpc/connect";
import type { ErrorReason } from "../errors.ts";
import { reasonOf, toConnectError } from "../wire.ts";

/** What a caller speaks. */
export type RpcProtocol = "grpc" | "grpc-web" | "connect";

/** An RPC that begins: its route is known, its caller and its message not yet. */
export interface RpcStart {
  /** The full name of the service: `agenterra.state.v1.WorkflowStateService`. One that is served here. */
  readonly service: string;
  /** The name of the method: `GetState`. One that the service has. */
  readonly method: string;
  /** Whether it has one answer, or many. */
  readonly kind: "unary" | "streaming";
  readonly protocol: RpcProtocol;
  /** A header of the request, by its name in lower case; what callers send, so of any content. */
  header(name: string): string | undefined;
  /** Where the connection comes from; `undefined`: it is gone. */
  peer(): { readonly address: string; readonly port: number } | undefined;
}

/** Why an RPC or a write failed. */
export interface Failure {
  /** The status code, as gRPC numbers it. */
  readonly code: Code;
  /** Its reason. Absent: cancelled, too late, of no protocol that is served, or failed inside (`onError` is told why). */
  readonly reason?: ErrorReason | undefined;
}

/** The failure of a call whose caller has gone. */
export const CANCELLED: Failure = { code: Code.Canceled };

/** A write that was asked for, and what became of it. Of what is written it tells the keys, never the values. */
export interface Write {
  /** The RPC that asks for it; within a Batch or a Pipeline the operation. */
  readonly operation:
    | "SetState"
    | "DeleteState"
    | "Commit"
    | "SaveSession"
    | "DeleteSession"
    | "ForkSession"
    | "RestoreSession";
  /**
   * The session that is written to, as the caller names it: it may be no valid id. Of a fork: the new one. Empty, too, if
   * the call was refused before that was looked at, as its namespace is not one of the caller's.
   */
  readonly sessionId: string;
  /** The keys that changes name, in order, as the caller names them; absent: the whole session. */
  readonly keys?: readonly string[] | undefined;
  /** The request id, if the write has one. */
  readonly requestId?: string | undefined;
  /** The session's revision after it, also if it changed nothing; absent: it failed, or the session was deleted. */
  readonly revision?: number | undefined;
  /**
   * Absent: it is done. CANCELLED, DEADLINE_EXCEEDED, OUTCOME_UNKNOWN and INTERNAL: it may be done all the same. How a caller
   * ends its call does not choose among others: that is CANCELLED, or DEADLINE_EXCEEDED.
   */
  readonly failure?: Failure | undefined;
}

/** Sees one RPC from its beginning to its end. None of these may throw. */
export interface Observation {
  /** The W3C trace id, 32 hexadecimal digits, that this observer made the call part of; absent: it makes no traces. */
  readonly traceId?: string | undefined;
  /** What the store's calls get as their `context.trace`: the span that theirs are part of. */
  readonly trace?: unknown;
  /**
   * Who calls, and in which namespace. Not called where that can't be told; called again once the namespace is known.
   * The principal is one that the server's configuration or a token's issuer names.
   */
  who(principal: string, namespace: string | undefined): void;
  /** A message of a stream was given out. */
  sent(): void;
  /**
   * A write is done, or failed; once for each, also within a Batch or a Pipeline, but of one that is refused for its size no
   * more than a batch may have. Absent: nobody wants to know.
   */
  wrote?(write: Write): void;
  /**
   * The call is over: all of its answer is given out, or nobody is left to take it. Once, and nothing is sent after it. If its
   * caller went away it may come before `who` and `wrote`: what they tell of becomes known all the same.
   */
  end(failure: Failure | undefined): void;
}

/** Sees RPCs begin. */
export interface Observer {
  /**
   * An RPC begins, of any service that is served, on any protocol: also one that is refused. Must not throw.
   * @param traceId the trace that an observer before this one made the call part of
   */
  begin(rpc: RpcStart, traceId?: string): Observation;
}

/** All of several, as one; those that are `undefined` left out. Who makes traces comes before who wants to know of them. */
export function observers(...several: readonly (Observer | undefined)[]): Observer | undefined {
  const all = several.filter((each) => each !== undefined);
  if (all.length < 2) return all[0];
  return {
    begin(rpc, traceId) {
      let known = traceId;
      return together(
        all.map((each) => {
          const observation = each.begin(rpc, known);
          known ??= observation.traceId;
          return observation;
        }),
      );
    },
  };
}

function together(all: readonly Observation[]): Observation {
  const tracing = all.find((each) => each.trace !== undefined);
  const told = all.filter((each) => each.wrote !== undefined);
  return {
    traceId: tracing?.traceId,
    trace: tracing?.trace,
    who(principal, namespace) {
      for (const each of all) each.who(principal, namespace);
    },
    sent() {
      for (const each of all) each.sent();
    },
    ...(told.length === 0
      ? {}
      : {
          wrote(write: Write) {
            for (const each of told) each.wrote?.(write);
          },
        }),
    end(failure) {
      for (const each of all) each.end(failure);
    },
  };
}

/** What a call or a write failed with, from whatever was thrown. */
export function failureOf(thrown: unknown): Failure {
  return failureOfStatus(toConnectError(thrown));
}

/** What a status says of a failure. */
export function failureOfStatus(status: ConnectError): Failure {
  return { code: status.code, reason: reasonOf(status) };
}
