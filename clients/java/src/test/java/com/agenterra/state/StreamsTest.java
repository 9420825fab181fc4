package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.FakeService;
import com.agenterra.state.support.Proxy;
import com.agenterra.state.support.Service;
import com.agenterra.state.v1.PipelineRequest;
import com.agenterra.state.v1.PipelineResponse;
import com.agenterra.state.v1.WatchSessionRequest;
import com.agenterra.state.v1.WatchSessionResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Watches and pipelines, over connections that come and go. */
@Timeout(60)
final class StreamsTest {
  private static final Retry QUICK = new Retry(5, Duration.ofMillis(5), Duration.ofMillis(20));
  private static final Map<String, String> LABELS = Map.of("stage", "open");

  private final WorkflowStateClient client = Service.client();
  private final String id = Service.newSessionId();

  @AfterEach
  void close() {
    client.close();
  }

  private static WorkflowStateClient through(Proxy proxy) {
    return WorkflowStateClient.connect(ClientOptions.of(proxy.url()).retry(QUICK));
  }

  /** The next message that is not progress. */
  private static WatchMessage news(WatchStream<WatchMessage> watch) {
    WatchMessage message = watch.next();
    return message instanceof Progress ? news(watch) : message;
  }

  @Test
  void aWatchBeginsWithASnapshotAndGoesOnWithEvents() {
    client.setState(id, "k", 1);
    try (WatchStream<WatchMessage> watch = client.watchSession(id)) {
      Snapshot snapshot = assertInstanceOf(Snapshot.class, news(watch));
      assertEquals(Map.of("k", 1L), snapshot.session().state());
      client.setState(id, "k", 2);
      client.deleteState(id, "k");
      client.deleteSession(id);
      client.setState(id, "k", 3);
      List<EventKind> kinds = new ArrayList<>();
      for (long revision = 2; revision <= 5; revision++) {
        Event event = assertInstanceOf(Event.class, news(watch));
        assertEquals(revision, event.revision());
        kinds.add(event.kind());
      }
      assertEquals(
          List.of(EventKind.COMMITTED, EventKind.COMMITTED, EventKind.DELETED, EventKind.COMMITTED),
          kinds);
    }
  }

  @Test
  void aWatchGoesOnAfterARevisionAndKeepsToItsPrefix() {
    for (String key : List.of("a1", "b1", "a2")) {
      client.setState(id, key, 1);
    }
    WatchSession request = WatchSession.of(id).afterRevision(1).keyPrefix("a");
    try (WatchStream<WatchMessage> watch = client.watchSession(request)) {
      assertEquals(3, news(watch).revision());
    }
  }

  @Test
  void aWatchOfASessionThatIsNotThereWaitsForIt() {
    try (WatchStream<WatchMessage> watch = client.watchSession(id)) {
      Snapshot snapshot = assertInstanceOf(Snapshot.class, news(watch));
      assertEquals(0, snapshot.revision());
      assertTrue(snapshot.session().createTime().isEmpty());
      client.setState(id, "k", 1);
      assertEquals(1, news(watch).revision());
    }
  }

  @Test
  void aWatchSurvivesLostConnectionsWithoutAGapOrARepetition() {
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient watcher = through(proxy);
        WatchStream<WatchMessage> watch = watcher.watchSession(id)) {
      assertEquals(0, news(watch).revision());
      for (long revision = 1; revision <= 20; revision++) {
        client.setState(id, "k", revision);
        if (revision % 3 == 0) {
          proxy.cut();
        }
        if (revision % 5 == 0) {
          client.setState(id, "l", revision);
          assertEquals(++revision - 1, news(watch).revision());
        }
        assertEquals(revision, news(watch).revision());
      }
      assertTrue(proxy.connections() > 3);
    }
  }

  @Test
  void aWatchSurvivesARestartOfTheService() {
    try (Service first = new Service();
        WorkflowStateClient watcher = WorkflowStateClient.connect(first.url());
        WatchStream<WatchMessage> watch = watcher.watchSession("s")) {
      assertEquals(0, news(watch).revision());
      first.kill();
      CompletableFuture<WatchMessage> next = CompletableFuture.supplyAsync(() -> news(watch));
      try (Service second = new Service("--listen", "127.0.0.1:" + first.port());
          WorkflowStateClient writer = WorkflowStateClient.connect(second.url())) {
        writer.setState("s", "k", 1);
        assertEquals(1, next.join().revision());
      }
    }
  }

  /** Answers the first watch with a snapshot and then nothing, and the second with messages. */
  private static final class Silent extends WorkflowStateServiceImplBase {
    private final List<WatchSessionRequest> requests = new CopyOnWriteArrayList<>();

    @Override
    public void watchSession(
        WatchSessionRequest request, StreamObserver<WatchSessionResponse> observer) {
      requests.add(request);
      WatchSessionResponse.Builder answer = WatchSessionResponse.newBuilder();
      if (requests.size() == 1) {
        answer.getSnapshotBuilder().setSessionId("s").setRevision(7);
        observer.onNext(answer.build());
        return;
      }
      // What a newer service may send and this client does not know.
      observer.onNext(WatchSessionResponse.getDefaultInstance());
      observer.onNext(answer.setEvent(newerEvent()).build());
    }

    private static com.agenterra.state.v1.Event newerEvent() {
      return com.agenterra.state.v1.Event.newBuilder().setRevision(8).setKindValue(99).build();
    }
  }

  @Test
  void aWatchThatHearsNothingAsksAnewAfterWhatItHasGiven() {
    Silent silent = new Silent();
    try (FakeService fake = new FakeService(silent);
        WorkflowStateClient watcher =
            WorkflowStateClient.connect(
                ClientOptions.of(fake.url()).retry(QUICK).silence(Duration.ofSeconds(1)));
        WatchStream<WatchMessage> watch =
            watcher.watchSession(WatchSession.of("s").keyPrefix("k"))) {
      assertEquals(7, watch.next().revision());
      Event event = assertInstanceOf(Event.class, watch.next());
      assertEquals(8, event.revision());
      assertEquals(EventKind.UNKNOWN, event.kind());
      // Perhaps more, where the machine is slower than the silence is long.
      assertTrue(silent.requests.size() > 1);
      assertFalse(silent.requests.get(0).hasAfterRevision());
      assertEquals(7, silent.requests.get(1).getAfterRevision());
      assertEquals("k", silent.requests.get(1).getKeyPrefix());
    }
  }

  @Test
  void aWatchEndsWithWhatIsNoMatterOfConnections() {
    try (WatchStream<WatchMessage> watch =
        client.watchSession(WatchSession.of(id).afterRevision(7))) {
      WorkflowStateException error = assertThrows(WorkflowStateException.class, watch::next);
      assertEquals(Reason.FUTURE_REVISION, error.reason());
      assertFalse(watch.hasNext());
    }
  }

  @Test
  void aClosedWatchIsOverAlsoForWhoWaitsForIt() throws Exception {
    WatchStream<WatchMessage> watch = client.watchSession(id);
    news(watch);
    CompletableFuture<Boolean> more = CompletableFuture.supplyAsync(watch::hasNext);
    Thread.sleep(100);
    watch.close();
    assertFalse(more.get(10, TimeUnit.SECONDS));
    assertThrows(NoSuchElementException.class, watch::next);
    watch.close();
  }

  @Test
  void aWatchEndsWithItsClient() throws Exception {
    WorkflowStateClient own = Service.client();
    WatchStream<WatchMessage> watch = own.watchSession(id);
    news(watch);
    CompletableFuture<Reason> reason = CompletableFuture.supplyAsync(() -> reasonOf(watch));
    Thread.sleep(100);
    own.close();
    assertEquals(Reason.SHUTTING_DOWN, reason.get(10, TimeUnit.SECONDS));
    assertEquals(Reason.SHUTTING_DOWN, reasonOf(own.watchSession(id)));
  }

  @Test
  void anInterruptedThreadEndsItsWatch() throws InterruptedException {
    WatchStream<WatchMessage> watch = client.watchSession(id);
    news(watch);
    CompletableFuture<Reason> reason = new CompletableFuture<>();
    Thread thread = new Thread(() -> reason.complete(reasonOf(watch)));
    thread.start();
    Thread.sleep(100);
    thread.interrupt();
    assertEquals(Reason.STORE_UNAVAILABLE, reason.orTimeout(10, TimeUnit.SECONDS).join());
  }

  private static Reason reasonOf(WatchStream<?> watch) {
    return assertThrows(WorkflowStateException.class, watch::hasNext).reason();
  }

  /** Writes until the watch, which is live only, tells of it: the service has heard of it then. */
  private void awaitLive(WatchStream<SessionChange> watch) {
    AtomicBoolean isLive = new AtomicBoolean();
    CompletableFuture<Void> writing =
        CompletableFuture.runAsync(
            () -> {
              while (!isLive.get()) {
                client.saveSession(SaveSession.of(id + "-probe", Map.of()).labels(LABELS));
                Connection.pause(new CountDownLatch(1), Duration.ofMillis(50));
              }
            });
    assertEquals(id + "-probe", watch.next().session().sessionId());
    isLive.set(true);
    writing.join();
  }

  /** The next change of another session than that probe. */
  private static SessionChange change(WatchStream<SessionChange> watch) {
    SessionChange change = watch.next();
    return change.session().sessionId().endsWith("-probe") ? change(watch) : change;
  }

  @Test
  void aWatchOnSessionsTellsOfThoseThatMatch() {
    WatchSessions mine = WatchSessions.all().sessionIdPrefix(id).label("stage", "open");
    try (WatchStream<SessionChange> watch = client.watchSessions(mine)) {
      awaitLive(watch);
      client.setState(id + "-other", "k", 1);
      client.saveSession(SaveSession.of(id + "-a", Map.of("k", 1)).labels(LABELS));
      client.deleteSession(id + "-a");
      SessionChange first = change(watch);
      assertEquals(id + "-a", first.session().sessionId());
      assertEquals(Map.of(), first.session().state());
      assertEquals(EventKind.SAVED, first.kind());
      assertEquals(EventKind.DELETED, change(watch).kind());
    }
  }

  @Test
  void aWatchOnSessionsSaysWhenItIsLost() {
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient watcher = through(proxy);
        WatchStream<SessionChange> watch =
            watcher.watchSessions(WatchSessions.all().sessionIdPrefix(id))) {
      awaitLive(watch);
      proxy.cut();
      assertEquals(
          Reason.STORE_UNAVAILABLE,
          assertThrows(WorkflowStateException.class, () -> change(watch)).reason());
    }
  }

  @Test
  void aPipelineAnswersEachBatchInOrder() {
    List<CompletableFuture<List<Result>>> answers = new ArrayList<>();
    try (Pipeline pipeline = client.pipeline()) {
      for (int number = 1; number <= 1000; number++) {
        answers.add(
            pipeline.send(List.of(Commit.to(id).increment("n"), GetState.of(id, "missing"))));
      }
      assertEquals(List.of(), pipeline.send(List.of()).join());
    }
    for (int number = 1; number <= 1000; number++) {
      List<Result> results = answers.get(number - 1).join();
      assertEquals((long) number, results.get(0).committed().entry("n").value());
      assertTrue(results.get(1).entry().isEmpty());
    }
  }

  @Test
  void whatDependsOnAnAnswerCanSendMoreAndIsDoneBeforeTheEnd() {
    AtomicInteger count = new AtomicInteger();
    try (Pipeline pipeline = client.pipeline()) {
      // More than may be without an answer, each of which sends one more.
      for (int number = 0; number < 600; number++) {
        pipeline
            .send(List.of(Commit.to(id).increment("n")))
            .thenCompose(answer -> pipeline.send(List.of(Commit.to(id).increment("n"))))
            .thenAccept(answer -> count.incrementAndGet());
      }
    }
    assertEquals(600, count.get());
    assertEquals(Optional.of(1200L), client.getState(id, "n"));
  }

  @Test
  void aPipelineSurvivesLostConnectionsAndDoesEachBatchOnce() {
    List<CompletableFuture<List<Result>>> answers = new ArrayList<>();
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient own = through(proxy);
        Pipeline pipeline = own.pipeline()) {
      for (int number = 1; number <= 500; number++) {
        answers.add(pipeline.send(List.of(Commit.to(id).increment("n"))));
        if (number % 100 == 0) {
          answers.get(number - 50).join();
          proxy.cut();
        }
      }
      pipeline.flush();
      assertTrue(proxy.connections() > 2, () -> proxy.connections() + " connections");
    }
    for (int number = 1; number <= 500; number++) {
      assertEquals(
          (long) number, answers.get(number - 1).join().get(0).committed().entry("n").value());
    }
  }

  @Test
  void aPipelineGivesUpWhenNothingIsAnswered() throws IOException {
    String url;
    try (ServerSocket taken = new ServerSocket(0)) {
      url = "http://127.0.0.1:" + taken.getLocalPort();
    }
    try (WorkflowStateClient own = WorkflowStateClient.connect(ClientOptions.of(url).retry(QUICK));
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of(id, "k", 1)));
      CompletionException error = assertThrows(CompletionException.class, write::join);
      assertEquals(Reason.OUTCOME_UNKNOWN, ((WorkflowStateException) error.getCause()).reason());
      List<Operation> read = List.of(GetState.of(id, "k"));
      assertEquals(
          Reason.STORE_UNAVAILABLE,
          assertThrows(WorkflowStateException.class, () -> pipeline.send(read)).reason());
    }
  }

  /** Takes a batch on each connection and ends that with a failure. */
  private static final class Ending extends WorkflowStateServiceImplBase {
    private final Deque<Status> statuses;

    Ending(Status... statuses) {
      this.statuses = new ConcurrentLinkedDeque<>(List.of(statuses));
    }

    @Override
    public StreamObserver<PipelineRequest> pipeline(StreamObserver<PipelineResponse> observer) {
      return new StreamObserver<>() {
        @Override
        public void onNext(PipelineRequest request) {
          observer.onError(statuses.remove().asRuntimeException());
        }

        @Override
        public void onError(Throwable error) {
          // The client has gone.
        }

        @Override
        public void onCompleted() {
          observer.onCompleted();
        }
      };
    }
  }

  /** What a write and a read in a pipeline fail with when its connections end so. */
  private static List<Reason> endOfPipeline(Status... statuses) {
    try (FakeService fake = new FakeService(new Ending(statuses));
        WorkflowStateClient own =
            WorkflowStateClient.connect(ClientOptions.of(fake.url()).retry(QUICK));
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of("s", "k", 1)));
      WorkflowStateException ofWrite = failureOf(write);
      Reason later =
          assertThrows(
                  WorkflowStateException.class, () -> pipeline.send(List.of(GetState.of("s", "k"))))
              .reason();
      return List.of(ofWrite.reason(), later);
    }
  }

  private static WorkflowStateException failureOf(CompletableFuture<?> answer) {
    return (WorkflowStateException)
        assertThrows(CompletionException.class, answer::join).getCause();
  }

  @Test
  void whatAPipelineEndsWithSaysNothingOfWritesThatAnEarlierConnectionHadTaken() {
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.UNAUTHENTICATED),
        endOfPipeline(Status.UNAVAILABLE, Status.UNAUTHENTICATED));
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.PERMISSION_DENIED),
        endOfPipeline(Status.INTERNAL, Status.PERMISSION_DENIED));
    // This one was decided on the batch, and that one was not taken before.
    assertEquals(
        List.of(Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        endOfPipeline(Status.UNAVAILABLE, Status.INVALID_ARGUMENT));
    assertEquals(
        List.of(Reason.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        endOfPipeline(Status.UNAUTHENTICATED));
  }

  @Test
  void aWriteThatNoConnectionHasTakenIsNotUnknown() throws IOException {
    String url;
    try (ServerSocket taken = new ServerSocket(0)) {
      url = "http://127.0.0.1:" + taken.getLocalPort();
    }
    AtomicInteger asked = new AtomicInteger();
    ClientOptions options =
        ClientOptions.of(url).retry(QUICK).token(() -> asked.getAndIncrement() == 0 ? "t" : "t t");
    try (WorkflowStateClient own = WorkflowStateClient.connect(options);
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of(id, "k", 1)));
      assertEquals(Reason.UNAUTHENTICATED, failureOf(write).reason());
      assertEquals(2, asked.get());
    }
  }

  @Test
  void aPipelineEndsWithWhatIsNoMatterOfConnections() {
    try (Pipeline pipeline = client.pipeline()) {
      List<Operation> tooMany = new ArrayList<>();
      for (int number = 0; number < 257; number++) {
        tooMany.add(GetState.of(id, "k"));
      }
      CompletableFuture<List<Result>> refused = pipeline.send(tooMany);
      CompletionException error = assertThrows(CompletionException.class, refused::join);
      assertEquals(Reason.REQUEST_TOO_LARGE, ((WorkflowStateException) error.getCause()).reason());
    }
  }

  @Test
  void aPipelineEndsWithItsClient() {
    try (Proxy proxy = new Proxy(Service.shared().port())) {
      WorkflowStateClient own = through(proxy);
      Pipeline pipeline = own.pipeline();
      pipeline.send(List.of(GetState.of(id, "k"))).join();
      proxy.swallow(true);
      CompletableFuture<List<Result>> read = pipeline.send(List.of(GetState.of(id, "k")));
      own.close();
      CompletionException error = assertThrows(CompletionException.class, read::join);
      assertEquals(Reason.SHUTTING_DOWN, ((WorkflowStateException) error.getCause()).reason());
      assertThrows(
          WorkflowStateException.class, () -> pipeline.send(List.of(GetState.of(id, "k"))));
      pipeline.close();
    }
  }
}
