package com.agenterra.state;

import com.agenterra.state.v1.Entry;
import com.agenterra.state.v1.GetSessionRequest;
import com.agenterra.state.v1.GetSessionResponse;
import com.agenterra.state.v1.ListStateRequest;
import com.agenterra.state.v1.ListStateResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc;
import io.grpc.Deadline;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/** Reading all of a session's state, page by page. */
final class Reading {
  /** The most items of a page, by default. */
  static final int LARGEST_PAGE = 1000;

  /** No key begins with it, as keys go: it asks for a session without its state. */
  private static final String NO_KEY = "\udbff\udfff".repeat(8);

  private Reading() {}

  /**
   * The entries of a session at one moment, and the revision to check if all of it is to be
   * unchanged.
   */
  record Seen(Map<String, Entry> entries, long revision) {}

  /**
   * The session that a write left, with its state: where the answer has none, page by page, at its
   * revision.
   *
   * <p>The write is done by then, so a service that can't be reached, or does not let the caller
   * in, is OUTCOME_UNKNOWN. HISTORY_COMPACTED passes on: others have written so much meanwhile that
   * the revision is not kept any more.
   */
  static Session completed(
      Connection connection, com.agenterra.state.v1.Session session, Deadline deadline) {
    if (session.getStateCount() > 0) {
      return Wire.session(session);
    }
    com.agenterra.state.v1.Session.Builder whole = session.toBuilder();
    try {
      entries(connection, session.getSessionId(), session.getRevision(), deadline)
          .forEach((key, entry) -> whole.putState(key, entry.getValue()));
    } catch (WorkflowStateException error) {
      if (!Failures.isBeforeTheStore(error)) {
        throw error;
      }
      throw new WorkflowStateException(
              Reason.OUTCOME_UNKNOWN,
              "The write was made, but not all of the session's state could be read; retry it with"
                  + " the same request id.")
          .causedBy(error);
    }
    return Wire.session(whole.build());
  }

  /**
   * Reads all entries of a session.
   *
   * <p>A revision that was known before the entries were read, or that one of them carries, is the
   * session's at that moment or older: the check can fail needlessly (and says the revision to know
   * next time), but never hold wrongly.
   *
   * @param known the newest revision of the session that was heard of before
   * @param timeout of each call
   */
  static Seen all(Connection connection, String sessionId, long known, Duration timeout) {
    ListStateRequest listing =
        ListStateRequest.newBuilder().setSessionId(sessionId).setPageSize(LARGEST_PAGE).build();
    ListStateResponse first = page(connection, listing, Connection.deadline(timeout));
    if (first.getNextPageToken().isEmpty()) {
      long newest = first.getEntriesList().stream().mapToLong(Entry::getRevision).max().orElse(0);
      return new Seen(byKey(first), Math.max(known, newest));
    }
    // Pages are read one by one: as they were at one revision, they fit together.
    GetSessionRequest request =
        GetSessionRequest.newBuilder().setSessionId(sessionId).setKeyPrefix(NO_KEY).build();
    GetSessionResponse answer =
        connection.read(
            WorkflowStateServiceGrpc.getGetSessionMethod(), request, Connection.deadline(timeout));
    if (!answer.hasSession()) {
      return new Seen(Map.of(), 0);
    }
    long revision = answer.getSession().getRevision();
    return new Seen(
        entries(connection, sessionId, revision, Connection.deadline(timeout)), revision);
  }

  private static Map<String, Entry> entries(
      Connection connection, String sessionId, long revision, Deadline deadline) {
    Map<String, Entry> entries = new LinkedHashMap<>();
    ListStateRequest.Builder listing =
        ListStateRequest.newBuilder()
            .setSessionId(sessionId)
            .setAtRevision(revision)
            .setPageSize(LARGEST_PAGE);
    while (true) {
      ListStateResponse page = page(connection, listing.build(), deadline);
      entries.putAll(byKey(page));
      if (page.getNextPageToken().isEmpty()) {
        return entries;
      }
      listing.setPageToken(page.getNextPageToken());
    }
  }

  private static ListStateResponse page(
      Connection connection, ListStateRequest request, Deadline deadline) {
    return connection.read(WorkflowStateServiceGrpc.getListStateMethod(), request, deadline);
  }

  private static Map<String, Entry> byKey(ListStateResponse page) {
    Map<String, Entry> entries = new LinkedHashMap<>();
    page.getEntriesList().forEach(entry -> entries.put(entry.getKey(), entry));
    return entries;
  }
}
