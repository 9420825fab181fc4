package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.FakeService;
import com.agenterra.state.support.Proxy;
import com.agenterra.state.support.Service;
import com.agenterra.state.v1.WatchSessionRequest;
import com.agenterra.state.v1.WatchSessionResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Watches, over connections that come and go. */
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
}
