package com.agenterra.state;

import com.agenterra.state.v1.BatchRequest;
import com.agenterra.state.v1.DeleteSessionResponse;
import com.agenterra.state.v1.GetSessionResponse;
import com.agenterra.state.v1.GetStateResponse;
import com.agenterra.state.v1.ListEventsResponse;
import com.agenterra.state.v1.ListSessionsResponse;
import com.agenterra.state.v1.ListStateResponse;
import com.agenterra.state.v1.SaveSessionRequest;
import com.agenterra.state.v1.WorkflowStateServiceGrpc;
import io.grpc.Deadline;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * The sessions that a service keeps.
 *
 * <pre>{@code
 * try (WorkflowStateClient client = WorkflowStateClient.connect("http://127.0.0.1:7410")) {
 *   client.setState("cart-1", "items", List.of("milk"));
 * }
 * }</pre>
 *
 * <p>Every call waits for its answer. One that fails with UNAVAILABLE is tried again until its
 * attempts or its time run out; every write carries a request id, made once for the call unless one
 * is given, so that it is done once. What fails is a {@link WorkflowStateException}.
 *
 * <p>A client is one connection and serves any number of threads.
 */
public final class WorkflowStateClient implements AutoCloseable {
  private final Connection connection;
  private final Updater updater;
  private final Duration timeout;

  private WorkflowStateClient(Connection connection, Updater updater, Duration timeout) {
    this.connection = connection;
    this.updater = updater;
    this.timeout = timeout;
  }

  /**
   * A client of the service at a URL. The connection is made with the first call.
   *
   * @param url {@code http://HOST:PORT} or, with TLS, {@code https://HOST:PORT}
   */
  public static WorkflowStateClient connect(String url) {
    return connect(ClientOptions.of(url));
  }

  /**
   * A client with options. The connection is made with the first call.
   *
   * @param options where the service is, and how to call it
   */
  public static WorkflowStateClient connect(ClientOptions options) {
    ClientOptions.Settings settings = options.settings();
    Connection connection = new Connection(settings);
    return new WorkflowStateClient(connection, new Updater(connection), settings.timeout());
  }

  /**
   * This client with another timeout: it has the same connection, and closing either closes both.
   *
   * @param timeout how long a call may take with all its attempts
   */
  public WorkflowStateClient withTimeout(Duration timeout) {
    return new WorkflowStateClient(connection, updater, Wire.span("timeout", timeout));
  }

  /**
   * Ends what is under way: watches with {@link Reason#SHUTTING_DOWN}, writes with {@link
   * Reason#OUTCOME_UNKNOWN}, reads with {@link Reason#STORE_UNAVAILABLE}.
   */
  @Override
  public void close() {
    connection.close();
  }

  // One entry

  /**
   * Reads a value.
   *
   * @param sessionId the session
   * @param key its key
   * @return the value; empty: there is none, or it is null, which {@link #getEntry(String, String)}
   *     tells apart
   */
  public Optional<Object> getState(String sessionId, String key) {
    return getEntry(sessionId, key).map(Entry::value);
  }

  /**
   * Reads an entry: the value with its revision and times.
   *
   * @param sessionId the session
   * @param key its key
   * @return the entry; empty: there is none
   */
  public Optional<Entry> getEntry(String sessionId, String key) {
    return getEntry(GetState.of(sessionId, key));
  }

  /**
   * Reads an entry, perhaps as it was.
   *
   * @param get what to read
   * @return the entry; empty: there is none
   */
  public Optional<Entry> getEntry(GetState get) {
    GetStateResponse answer =
        connection.read(WorkflowStateServiceGrpc.getGetStateMethod(), get.toMessage(), deadline());
    return answer.hasEntry() ? Optional.of(Wire.entry(answer.getEntry())) : Optional.empty();
  }

  /**
   * Writes an entry, which does not expire; creates the session if it is missing.
   *
   * @param sessionId the session
   * @param key its key
   * @param value its value, see {@link Values}
   */
  public Entry setState(String sessionId, String key, Object value) {
    return setState(SetState.of(sessionId, key, value));
  }

  /**
   * Writes an entry, perhaps under a condition or with an expiry.
   *
   * @param set what to write
   */
  public Entry setState(SetState set) {
    return Wire.entry(
        connection
            .write(WorkflowStateServiceGrpc.getSetStateMethod(), set.toMessage(), deadline())
            .getEntry());
  }

  /**
   * Deletes an entry.
   *
   * @param sessionId the session
   * @param key its key
   */
  public Deletion deleteState(String sessionId, String key) {
    return deleteState(DeleteState.of(sessionId, key));
  }

  /**
   * Deletes an entry, perhaps under a condition.
   *
   * @param delete what to delete
   */
  public Deletion deleteState(DeleteState delete) {
    return Wire.deletion(
        connection.write(
            WorkflowStateServiceGrpc.getDeleteStateMethod(), delete.toMessage(), deadline()));
  }

  /**
   * Lists the entries of a session by key. The timeout is of each page.
   *
   * @param sessionId the session
   */
  public Pages<Entry> listState(String sessionId) {
    return listState(ListState.of(sessionId));
  }

  /**
   * Lists entries of a session by key. The timeout is of each page.
   *
   * @param list which
   */
  public Pages<Entry> listState(ListState list) {
    var request = list.toMessage();
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListStateResponse answer =
              connection.read(
                  WorkflowStateServiceGrpc.getListStateMethod(),
                  request.toBuilder().setPageToken(token).build(),
                  deadline());
          return new Page<>(
              Wire.each(answer.getEntriesList(), Wire::entry), answer.getNextPageToken());
        });
  }

  // Sessions

  /**
   * Reads a session with its state.
   *
   * @param sessionId the session
   * @return the session; empty: there is none. One that is larger than an answer may be fails with
   *     {@link Reason#SESSION_TOO_LARGE}: read it with {@link #listState(String)}
   */
  public Optional<Session> getSession(String sessionId) {
    return getSession(GetSession.of(sessionId));
  }

  /**
   * Reads a session, perhaps a part of it, or as it was.
   *
   * @param get what to read
   * @return the session; empty: there is none
   */
  public Optional<Session> getSession(GetSession get) {
    GetSessionResponse answer =
        connection.read(
            WorkflowStateServiceGrpc.getGetSessionMethod(), get.toMessage(), deadline());
    return answer.hasSession() ? Optional.of(Wire.session(answer.getSession())) : Optional.empty();
  }

  /**
   * Creates a session, or replaces all of its state and metadata; to change a part use a commit or
   * an update.
   *
   * @param sessionId the session
   * @param state a value for each key, see {@link Values}
   */
  public Session saveSession(String sessionId, Map<String, ?> state) {
    return saveSession(SaveSession.of(sessionId, state));
  }

  /**
   * Creates a session, or replaces all of its state and metadata; to change a part use a commit or
   * an update.
   *
   * @param save what to write
   */
  public Session saveSession(SaveSession save) {
    SaveSessionRequest request = save.toMessage();
    com.agenterra.state.v1.Session answer =
        connection
            .write(WorkflowStateServiceGrpc.getSaveSessionMethod(), request, deadline())
            .getSession();
    if (answer.getStateCount() > 0) {
      return Wire.session(answer);
    }
    // Also where one answer could not hold it: what is there now is what was sent.
    return Wire.session(answer.toBuilder().putAllState(request.getSession().getStateMap()).build());
  }

  /**
   * Deletes a session and all its entries.
   *
   * @param sessionId the session
   * @return whether there was one
   */
  public boolean deleteSession(String sessionId) {
    return deleteSession(DeleteSession.of(sessionId));
  }

  /**
   * Deletes a session and all its entries, perhaps under a condition.
   *
   * @param delete what to delete
   * @return whether there was one
   */
  public boolean deleteSession(DeleteSession delete) {
    DeleteSessionResponse answer =
        connection.write(
            WorkflowStateServiceGrpc.getDeleteSessionMethod(), delete.toMessage(), deadline());
    return answer.getDeleted();
  }

  /**
   * Lists sessions. The timeout is of each page.
   *
   * @param list which
   */
  public Pages<Session> listSessions(ListSessions list) {
    var request = list.toMessage();
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListSessionsResponse answer =
              connection.read(
                  WorkflowStateServiceGrpc.getListSessionsMethod(),
                  request.toBuilder().setPageToken(token).build(),
                  deadline());
          return new Page<>(
              Wire.each(answer.getSessionsList(), Wire::session), answer.getNextPageToken());
        });
  }

  /** The ids of all sessions, in order. */
  public List<String> getAllSessionIds() {
    return listSessions(ListSessions.all().view(SessionView.IDS).pageSize(Reading.LARGEST_PAGE))
        .stream()
        .map(Session::sessionId)
        .toList();
  }

  // Many changes at once

  /**
   * Makes one atomic write. Sent again, the same commit counts again, unless it has a request id.
   *
   * @param commit what to check and what to change
   */
  public Committed commit(Commit commit) {
    return Wire.committed(
        connection.write(
            WorkflowStateServiceGrpc.getCommitMethod(), commit.toMessage(), deadline()));
  }

  /**
   * Has a function change the session's state as a map, and commits what it changed.
   *
   * <pre>{@code
   * client.update("cart-1", cart -> cart.list("items").add("eggs"));
   * }</pre>
   *
   * <p>The commit is made under checks on what the function looked at. On a conflict all is done
   * again, so the function may run several times: keep other effects out of it. A key that it
   * changes is written whole and without an expiry. If it throws, nothing is written. The timeout
   * is of each of its calls.
   *
   * @param sessionId the session, which is created if it is missing
   * @param change changes the draft
   */
  public void update(String sessionId, Consumer<? super Draft> change) {
    updateAndGet(
        sessionId,
        draft -> {
          change.accept(draft);
          return null;
        });
  }

  /**
   * Does what {@link #update} does, and gives what the function returned when it was run last.
   *
   * @param sessionId the session, which is created if it is missing
   * @param change changes the draft
   * @param <R> the type of what it gives
   */
  public <R> R updateAndGet(String sessionId, Function<? super Draft, ? extends R> change) {
    return updater.update(sessionId, change, timeout);
  }

  /**
   * Runs operations in order, on any sessions. Each is atomic by itself, the batch is not.
   *
   * @param operations the operations
   * @return a result for each, which can be an error
   */
  public List<Result> batch(List<? extends Operation> operations) {
    BatchRequest.Builder builder = BatchRequest.newBuilder();
    operations.forEach(operation -> builder.addOperations(operation.toOperation()));
    BatchRequest request = builder.build();
    boolean isWrite = Batches.isWrite(request.getOperationsList());
    return Batches.results(
        connection
            .unary(WorkflowStateServiceGrpc.getBatchMethod(), request, isWrite, deadline())
            .getResultsList(),
        request.getOperationsList());
  }

  /** Begins to run batches over one stream. It has no timeout. */
  public Pipeline pipeline() {
    return new Pipeline(connection);
  }

  // History

  /**
   * Copies a session, as it is, to a new one.
   *
   * @param sessionId the session to copy
   * @param newSessionId the id of the copy
   */
  public Session forkSession(String sessionId, String newSessionId) {
    return forkSession(ForkSession.of(sessionId, newSessionId));
  }

  /**
   * Copies a session, perhaps as it was, to a new one.
   *
   * @param fork what to copy
   */
  public Session forkSession(ForkSession fork) {
    Deadline deadline = deadline();
    var answer =
        connection.write(
            WorkflowStateServiceGrpc.getForkSessionMethod(), fork.toMessage(), deadline);
    return Reading.completed(connection, answer.getSession(), deadline);
  }

  /**
   * Gives a session the content that it had at a revision, as a new revision. Brings back a deleted
   * session, too.
   *
   * @param sessionId the session
   * @param atRevision the revision whose content to bring back
   */
  public Session restoreSession(String sessionId, long atRevision) {
    return restoreSession(RestoreSession.of(sessionId, atRevision));
  }

  /**
   * Gives a session the content that it had at a revision, perhaps under a condition.
   *
   * @param restore what to bring back
   */
  public Session restoreSession(RestoreSession restore) {
    Deadline deadline = deadline();
    var answer =
        connection.write(
            WorkflowStateServiceGrpc.getRestoreSessionMethod(), restore.toMessage(), deadline);
    return Reading.completed(connection, answer.getSession(), deadline);
  }

  /**
   * Lists what the commits to a session did, the oldest first. The timeout is of each page.
   *
   * @param sessionId the session
   */
  public Pages<Event> listEvents(String sessionId) {
    return listEvents(ListEvents.of(sessionId));
  }

  /**
   * Lists what commits to a session did. The timeout is of each page.
   *
   * @param list which
   */
  public Pages<Event> listEvents(ListEvents list) {
    var request = list.toMessage();
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListEventsResponse answer =
              connection.read(
                  WorkflowStateServiceGrpc.getListEventsMethod(),
                  request.toBuilder().setPageToken(token).build(),
                  deadline());
          return new Page<>(
              Wire.each(answer.getEventsList(), Wire::event), answer.getNextPageToken());
        });
  }

  // Watching

  /**
   * Follows a session: a {@link Snapshot} first, then every commit as an {@link Event}, in order.
   *
   * <p>It outlives lost connections, without a gap and nothing twice, and a deletion of the
   * session. {@link Progress} says that nothing is new. Each message has the revision to go on
   * after.
   *
   * @param sessionId the session, which need not exist yet
   */
  public WatchStream<WatchMessage> watchSession(String sessionId) {
    return watchSession(WatchSession.of(sessionId));
  }

  /**
   * Follows a session, perhaps from a revision on, or only some of its keys.
   *
   * @param watch what to follow
   */
  public WatchStream<WatchMessage> watchSession(WatchSession watch) {
    return new SessionWatch(connection, watch.toMessage());
  }

  /**
   * Follows the commits to all sessions that match, from now on.
   *
   * <p>A lost connection ends it with {@link Reason#STORE_UNAVAILABLE}, as what happened meanwhile
   * can't be had from a watch: watch again, then close the gap with {@link #listSessions} and
   * {@link ListSessions#updatedAfter}.
   *
   * @param watch which
   */
  public WatchStream<SessionChange> watchSessions(WatchSessions watch) {
    return new SessionsWatch(connection, watch.toMessage());
  }

  private Deadline deadline() {
    return Connection.deadline(timeout);
  }
}
