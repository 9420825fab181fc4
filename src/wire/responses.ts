/** Answers between `store.ts` and the encoded messages, one function an RPC in each direction. */
import type * as Message from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import type * as Store from "../store.ts";
import type { EncodedForm } from "../store.ts";
import { errorFromWire, errorToWire } from "./errors.ts";
import * as noun from "./nouns.ts";
import { NOTHING } from "./nouns.ts";

/** Messages of answers, for the service. */
export const responseToWire = {
  getSession(session: Store.Session<EncodedForm> | undefined): Message.GetSessionResponse {
    return {
      $typeName: "agenterra.state.v1.GetSessionResponse",
      session: session === undefined ? undefined : noun.sessionToWire(session),
    };
  },
  saveSession(session: Store.Session<EncodedForm>): Message.SaveSessionResponse {
    return { $typeName: "agenterra.state.v1.SaveSessionResponse", session: noun.sessionToWire(session) };
  },
  deleteSession(deleted: boolean): Message.DeleteSessionResponse {
    return { $typeName: "agenterra.state.v1.DeleteSessionResponse", deleted };
  },
  listSessions(listing: Store.ListSessionsResponse<EncodedForm>): Message.ListSessionsResponse {
    return {
      $typeName: "agenterra.state.v1.ListSessionsResponse",
      sessions: listing.sessions.map(noun.sessionToWire),
      nextPageToken: listing.nextPageToken,
    };
  },
  getState(entry: Store.Entry<EncodedForm> | undefined): Message.GetStateResponse {
    return {
      $typeName: "agenterra.state.v1.GetStateResponse",
      entry: entry === undefined ? undefined : noun.entryToWire(entry),
    };
  },
  setState(entry: Store.Entry<EncodedForm>): Message.SetStateResponse {
    return { $typeName: "agenterra.state.v1.SetStateResponse", entry: noun.entryToWire(entry) };
  },
  deleteState({ deleted, revision }: Store.DeleteStateResponse): Message.DeleteStateResponse {
    return {
      $typeName: "agenterra.state.v1.DeleteStateResponse",
      deleted,
      revision: noun.toInt64(revision),
    };
  },
  listState(listing: Store.ListStateResponse<EncodedForm>): Message.ListStateResponse {
    return {
      $typeName: "agenterra.state.v1.ListStateResponse",
      entries: listing.entries.map(noun.entryToWire),
      nextPageToken: listing.nextPageToken,
    };
  },
  commit(answer: Store.CommitResponse<EncodedForm>): Message.CommitResponse {
    return {
      $typeName: "agenterra.state.v1.CommitResponse",
      revision: noun.toInt64(answer.revision),
      updateTime: noun.toTimestamp(answer.updateTime),
      entries: answer.entries.map(noun.entryToWire),
    };
  },
  batch(results: readonly Store.Result<EncodedForm>[]): Message.BatchResponse {
    return { $typeName: "agenterra.state.v1.BatchResponse", results: results.map(resultToWire) };
  },
  pipeline(results: readonly Store.Result<EncodedForm>[]): Message.PipelineResponse {
    return { $typeName: "agenterra.state.v1.PipelineResponse", results: results.map(resultToWire) };
  },
  forkSession(session: Store.Session<EncodedForm>): Message.ForkSessionResponse {
    return { $typeName: "agenterra.state.v1.ForkSessionResponse", session: noun.sessionToWire(session) };
  },
  restoreSession(session: Store.Session<EncodedForm>): Message.RestoreSessionResponse {
    return { $typeName: "agenterra.state.v1.RestoreSessionResponse", session: noun.sessionToWire(session) };
  },
  listEvents(listing: Store.ListEventsResponse<EncodedForm>): Message.ListEventsResponse {
    return {
      $typeName: "agenterra.state.v1.ListEventsResponse",
      events: listing.events.map(noun.eventToWire),
      nextPageToken: listing.nextPageToken,
    };
  },
  watchSession(message: Store.WatchMessage<EncodedForm>): Message.WatchSessionResponse {
    return { $typeName: "agenterra.state.v1.WatchSessionResponse", message: watchCase(message) };
  },
  watchSessions({ session, kind }: Store.SessionChange<EncodedForm>): Message.WatchSessionsResponse {
    return {
      $typeName: "agenterra.state.v1.WatchSessionsResponse",
      session: noun.sessionToWire(session),
      kind: noun.kindToWire(kind),
    };
  },
} as const;

function watchCase(message: Store.WatchMessage<EncodedForm>): Message.WatchSessionResponse["message"] {
  switch (message.kind) {
    case "snapshot":
      return { case: "snapshot", value: noun.sessionToWire(message.snapshot) };
    case "event":
      return { case: "event", value: noun.eventToWire(message.event) };
    case "progress": {
      const revision = noun.toInt64(message.revision);
      return { case: "progress", value: { $typeName: "agenterra.state.v1.Progress", revision } };
    }
  }
}

function resultToWire(result: Store.Result<EncodedForm>): Message.Result {
  return { $typeName: "agenterra.state.v1.Result", result: resultCase(result) };
}

function resultCase(result: Store.Result<EncodedForm>): Message.Result["result"] {
  switch (result.kind) {
    case "getState":
      return { case: "getState", value: responseToWire.getState(result.entry) };
    case "setState":
      return { case: "setState", value: responseToWire.setState(result.entry) };
    case "deleteState":
      return { case: "deleteState", value: responseToWire.deleteState(result) };
    case "commit":
      return { case: "commit", value: responseToWire.commit(result) };
    case "getSession":
      return { case: "getSession", value: responseToWire.getSession(result.session) };
    case "error":
      return { case: "error", value: errorToWire(result.error) };
  }
}

/**
 * Answers out of their messages, for a client. A message that lacks what the service always sends throws a plain `Error`:
 * whether a write happened then is for the caller to say.
 */
export const responseFromWire = {
  getSession({ session }: Message.GetSessionResponse): Store.Session<EncodedForm> | undefined {
    return session === undefined ? undefined : noun.sessionFromWire(session);
  },
  saveSession({ session }: Message.SaveSessionResponse): Store.Session<EncodedForm> {
    return noun.sessionFromWire(sent(session));
  },
  deleteSession({ deleted }: Message.DeleteSessionResponse): boolean {
    return deleted;
  },
  listSessions({
    sessions,
    nextPageToken,
  }: Message.ListSessionsResponse): Store.ListSessionsResponse<EncodedForm> {
    return { sessions: sessions.map(noun.sessionFromWire), nextPageToken };
  },
  getState({ entry }: Message.GetStateResponse): Store.Entry<EncodedForm> | undefined {
    return entry === undefined ? undefined : noun.entryFromWire(entry);
  },
  setState({ entry }: Message.SetStateResponse): Store.Entry<EncodedForm> {
    return noun.entryFromWire(sent(entry));
  },
  deleteState({ deleted, revision }: Message.DeleteStateResponse): Store.DeleteStateResponse {
    return { deleted, revision: Number(revision) };
  },
  listState({ entries, nextPageToken }: Message.ListStateResponse): Store.ListStateResponse<EncodedForm> {
    return { entries: entries.map(noun.entryFromWire), nextPageToken };
  },
  commit({ revision, updateTime, entries }: Message.CommitResponse): Store.CommitResponse<EncodedForm> {
    return {
      revision: Number(revision),
      ...(updateTime === undefined ? NOTHING : { updateTime: noun.fromTimestamp(updateTime) }),
      entries: entries.map(noun.entryFromWire),
    };
  },
  /** Also of a message of Pipeline. */
  batch({ results }: Pick<Message.BatchResponse, "results">): Store.Result<EncodedForm>[] {
    return results.map(resultFromWire);
  },
  forkSession({ session }: Message.ForkSessionResponse): Store.Session<EncodedForm> {
    return noun.sessionFromWire(sent(session));
  },
  restoreSession({ session }: Message.RestoreSessionResponse): Store.Session<EncodedForm> {
    return noun.sessionFromWire(sent(session));
  },
  listEvents({ events, nextPageToken }: Message.ListEventsResponse): Store.ListEventsResponse<EncodedForm> {
    return { events: events.map(noun.eventFromWire), nextPageToken };
  },
  /** `undefined`: a kind of message that this version does not know, from a newer service; to be passed over. */
  watchSession({ message }: Message.WatchSessionResponse): Store.WatchMessage<EncodedForm> | undefined {
    switch (message.case) {
      case "snapshot":
        return { kind: "snapshot", snapshot: noun.sessionFromWire(message.value) };
      case "event":
        return { kind: "event", event: noun.eventFromWire(message.value) };
      case "progress":
        return { kind: "progress", revision: Number(message.value.revision) };
      default:
        return undefined;
    }
  },
  watchSessions({ session, kind }: Message.WatchSessionsResponse): Store.SessionChange<EncodedForm> {
    return { session: noun.sessionFromWire(sent(session)), kind: noun.kindFromWire(kind) };
  },
} as const;

function resultFromWire({ result }: Message.Result): Store.Result<EncodedForm> {
  switch (result.case) {
    case "getState":
      return { kind: "getState", entry: responseFromWire.getState(result.value) };
    case "setState":
      return { kind: "setState", entry: responseFromWire.setState(result.value) };
    case "deleteState":
      return { kind: "deleteState", ...responseFromWire.deleteState(result.value) };
    case "commit":
      return { kind: "commit", ...responseFromWire.commit(result.value) };
    case "getSession":
      return { kind: "getSession", session: responseFromWire.getSession(result.value) };
    case "error":
      return { kind: "error", error: errorFromWire(result.value) };
    default:
      return sent<never>(undefined);
  }
}

function sent<T>(field: T | undefined): T {
  if (field === undefined) {
    throw new Error("The service's answer lacks a field.");
  }
  return field;
}
