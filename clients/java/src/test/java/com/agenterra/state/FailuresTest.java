package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.FakeService;
import com.agenterra.state.support.Proxy;
import com.agenterra.state.support.Service;
import com.agenterra.state.v1.BatchRequest;
import com.agenterra.state.v1.BatchResponse;
import com.agenterra.state.v1.ErrorDetail;
import com.agenterra.state.v1.ErrorReason;
import com.agenterra.state.v1.ForkSessionRequest;
import com.agenterra.state.v1.ForkSessionResponse;
import com.agenterra.state.v1.GetStateRequest;
import com.agenterra.state.v1.GetStateResponse;
import com.agenterra.state.v1.ListStateRequest;
import com.agenterra.state.v1.ListStateResponse;
import com.agenterra.state.v1.RestoreSessionRequest;
import com.agenterra.state.v1.RestoreSessionResponse;
import com.agenterra.state.v1.SetStateRequest;
import com.agenterra.state.v1.SetStateResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import io.grpc.Status;
import io.grpc.Status.Code;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What fails says why; what may go better is tried again, and done once. */
@Timeout(60)
final class FailuresTest {
  private static final Retry QUICK = new Retry(5, Duration.ofMillis(5), Duration.ofMillis(20));

  /** Fails as it is told to, and then answers. */
  private static final class Told extends WorkflowStateServiceImplBase {
    private final List<RuntimeException> failures;
    private final List<String> requestIds = new CopyOnWriteArrayList<>();
    private int calls;

    Told(RuntimeException... failures) {
      this.failures = List.of(failures);
    }

    private synchronized <A> void answer(StreamObserver<A> observer, A answer) {
      // The last failure is for all that follow; none at all is no failure.
      int call = calls++;
      if (call < failures.size()) {
        observer.onError(failures.get(call));
        return;
      }
      observer.onNext(answer);
      observer.onCompleted();
    }

    synchronized int calls() {
      return calls;
    }

    @Override
    public void getState(GetStateRequest request, StreamObserver<GetStateResponse> observer) {
      answer(observer, GetStateResponse.getDefaultInstance());
    }

    @Override
    public void setState(SetStateRequest request, StreamObserver<SetStateResponse> observer) {
      requestIds.add(request.getRequestId());
      answer(observer, SetStateResponse.getDefaultInstance());
    }
  }

  private static WorkflowStateClient quick(String url) {
    return WorkflowStateClient.connect(ClientOptions.of(url).retry(QUICK));
  }

  private static RuntimeException failure(Reason reason) {
    ErrorDetail detail =
        ErrorDetail.newBuilder()
            .setReason(ErrorReason.valueOf("ERROR_REASON_" + reason))
            .putMetadata("fact", "so")
            .build();
    return FakeService.failure(reason.code(), "It is so.", detail);
  }

  private static RuntimeException bare(Code code) {
    return code.toStatus().withDescription("It is so.").asRuntimeException();
  }

  @Test
  void everyReasonOfTheServiceIsKnown() {
    List<String> names =
        Arrays.stream(ErrorReason.values())
            .filter(reason -> reason != ErrorReason.UNRECOGNIZED && reason.getNumber() > 0)
            .map(reason -> reason.name().replace("ERROR_REASON_", ""))
            .toList();
    List<String> known =
        Arrays.stream(Reason.values()).filter(r -> r != Reason.UNKNOWN).map(Enum::name).toList();
    assertEquals(names, known);
  }

  @ParameterizedTest
  @EnumSource(value = Reason.class, mode = EnumSource.Mode.EXCLUDE, names = "UNKNOWN")
  void aReasonComesWithTheDetailsOfTheStatus(Reason reason) {
    RuntimeException failure = failure(reason);
    Told told = new Told(failure, failure, failure, failure, failure);
    try (FakeService fake = new FakeService(told);
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      assertEquals(reason, error.reason());
      assertEquals(ErrorReason.valueOf("ERROR_REASON_" + reason).getNumber(), error.reasonNumber());
      assertEquals(reason.code(), error.code());
      assertEquals("It is so.", error.getMessage());
      assertEquals(Map.of("fact", "so"), error.metadata());
      assertEquals(reason.code() == Code.UNAVAILABLE ? 5 : 1, told.calls());
    }
  }

  @Test
  void aReasonOfANewerServiceSurvives() {
    ErrorDetail detail =
        ErrorDetail.newBuilder().setReasonValue(999).putMetadata("limit", "3").build();
    Told told = new Told(FakeService.failure(Code.DATA_LOSS, "Something new.", detail));
    try (FakeService fake = new FakeService(told);
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1));
      assertEquals(Reason.UNKNOWN, error.reason());
      assertEquals(Code.DATA_LOSS, error.code());
      assertEquals("Something new.", error.getMessage());
      assertEquals(Map.of("limit", "3"), error.metadata());
      assertEquals(999, error.reasonNumber());
      assertTrue(error.toString().contains("UNKNOWN_999: Something new."), error.toString());
    }
  }

  @Test
  void aWriteThatIsUnavailableForAReasonNotKnownMayHaveBeenMade() {
    RuntimeException failure =
        FakeService.failure(
            Code.UNAVAILABLE, "Newer.", ErrorDetail.newBuilder().setReasonValue(999).build());
    assertEquals(Reason.OUTCOME_UNKNOWN, reasonOfWrite(failure, failure(Reason.RATE_LIMITED)));
    RuntimeException[] failures = {failure, failure, failure, failure, failure};
    assertEquals(Reason.OUTCOME_UNKNOWN, reasonOfWrite(failures));
    try (FakeService fake = new FakeService(new Told(failures));
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      assertEquals(Reason.UNKNOWN, error.reason());
    }
  }

  static Stream<Arguments> bareCodes() {
    return Stream.of(
        Arguments.of(Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        Arguments.of(Code.RESOURCE_EXHAUSTED, Reason.REQUEST_TOO_LARGE, Reason.REQUEST_TOO_LARGE),
        Arguments.of(Code.UNAUTHENTICATED, Reason.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        Arguments.of(Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED, Reason.PERMISSION_DENIED),
        Arguments.of(Code.UNIMPLEMENTED, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        Arguments.of(Code.NOT_FOUND, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        Arguments.of(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
        Arguments.of(Code.INTERNAL, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
        Arguments.of(Code.DEADLINE_EXCEEDED, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN));
  }

  @ParameterizedTest
  @MethodSource("bareCodes")
  void aStatusWithoutADetailIsToldByItsCode(Code code, Reason ofRead, Reason ofWrite) {
    RuntimeException failure = bare(code);
    RuntimeException[] failures = {failure, failure, failure, failure, failure};
    try (FakeService fake = new FakeService(new Told(failures));
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      assertEquals(ofRead, error.reason());
    }
    try (FakeService fake = new FakeService(new Told(failures));
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1));
      assertEquals(ofWrite, error.reason());
    }
  }

  @Test
  void anErrorCanBeSentToAnotherProcess() throws IOException, ClassNotFoundException {
    WorkflowStateException error =
        new WorkflowStateException(
            Reason.REVISION_MISMATCH, "So.", Map.of("a", "b"), List.of(new FailedCheck("k", 1, 2)));
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(error);
    }
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      WorkflowStateException copy = (WorkflowStateException) in.readObject();
      assertEquals(error.toString(), copy.toString());
      assertEquals(error.failedChecks(), copy.failedChecks());
      assertEquals(error.metadata(), copy.metadata());
    }
  }

  @Test
  void aRetriedWriteCarriesTheSameRequestId() {
    Told told = new Told(bare(Code.UNAVAILABLE), failure(Reason.SHUTTING_DOWN));
    try (FakeService fake = new FakeService(told);
        WorkflowStateClient client = quick(fake.url())) {
      client.setState("s", "k", 1);
      client.setState("s", "k", 1);
    }
    assertEquals(4, told.requestIds.size());
    assertEquals(2, told.requestIds.stream().distinct().count());
    assertEquals(3, told.requestIds.stream().filter(told.requestIds.get(0)::equals).count());
    assertFalse(told.requestIds.contains(""));
  }

  @Test
  void whatARetrySaysCountsOnlyIfItIsAboutTheFirstAttemptToo() {
    assertEquals(
        Reason.OUTCOME_UNKNOWN,
        reasonOfWrite(bare(Code.UNAVAILABLE), failure(Reason.UNAUTHENTICATED)));
    assertEquals(
        Reason.REVISION_MISMATCH,
        reasonOfWrite(bare(Code.UNAVAILABLE), failure(Reason.REVISION_MISMATCH)));
    // What a proxy says for itself, and the service only with a reason.
    for (Code code : List.of(Code.UNIMPLEMENTED, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED)) {
      assertEquals(Reason.OUTCOME_UNKNOWN, reasonOfWrite(bare(Code.UNAVAILABLE), bare(code)));
    }
    assertEquals(
        Reason.VALUE_TOO_LARGE,
        reasonOfWrite(bare(Code.UNAVAILABLE), failure(Reason.VALUE_TOO_LARGE)));
    assertEquals(Reason.UNAUTHENTICATED, reasonOfWrite(failure(Reason.UNAUTHENTICATED)));
    assertEquals(
        Reason.RATE_LIMITED,
        reasonOfWrite(failure(Reason.STORE_UNAVAILABLE), failure(Reason.RATE_LIMITED)));
  }

  private static Reason reasonOfWrite(RuntimeException... failures) {
    try (FakeService fake = new FakeService(new Told(failures));
        WorkflowStateClient client = quick(fake.url())) {
      return assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1))
          .reason();
    }
  }

  /** Forks and restores, and fails when the state of what came of it is listed. */
  private static final class Unlisted extends WorkflowStateServiceImplBase {
    private final RuntimeException failure;

    Unlisted(RuntimeException failure) {
      this.failure = failure;
    }

    @Override
    public void forkSession(
        ForkSessionRequest request, StreamObserver<ForkSessionResponse> observer) {
      ForkSessionResponse.Builder answer = ForkSessionResponse.newBuilder();
      answer.getSessionBuilder().setSessionId("copy").setRevision(1);
      observer.onNext(answer.build());
      observer.onCompleted();
    }

    @Override
    public void restoreSession(
        RestoreSessionRequest request, StreamObserver<RestoreSessionResponse> observer) {
      RestoreSessionResponse.Builder answer = RestoreSessionResponse.newBuilder();
      answer.getSessionBuilder().setSessionId("s").setRevision(3);
      observer.onNext(answer.build());
      observer.onCompleted();
    }

    @Override
    public void listState(ListStateRequest request, StreamObserver<ListStateResponse> observer) {
      observer.onError(failure);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Reason.class,
      names = {"UNAUTHENTICATED", "PERMISSION_DENIED", "RATE_LIMITED", "STORE_UNAVAILABLE"})
  void aForkThatWasMadeIsNoneThatFailedThoughItsStateMayNotBeRead(Reason reason) {
    try (FakeService fake = new FakeService(new Unlisted(failure(reason)));
        WorkflowStateClient client = quick(fake.url())) {
      WorkflowStateException fork =
          assertThrows(WorkflowStateException.class, () -> client.forkSession("s", "copy"));
      WorkflowStateException restore =
          assertThrows(WorkflowStateException.class, () -> client.restoreSession("s", 1));
      for (WorkflowStateException error : List.of(fork, restore)) {
        assertEquals(Reason.OUTCOME_UNKNOWN, error.reason());
        assertEquals(reason, ((WorkflowStateException) error.getCause()).reason());
      }
    }
    try (FakeService fake = new FakeService(new Unlisted(failure(Reason.HISTORY_COMPACTED)));
        WorkflowStateClient client = quick(fake.url())) {
      assertEquals(
          Reason.HISTORY_COMPACTED,
          assertThrows(WorkflowStateException.class, () -> client.forkSession("s", "copy"))
              .reason());
    }
  }

  @Test
  void aResultOfANewerKindLeavesOpenWhetherAWriteWasMade() {
    BatchResponse.Builder answer = BatchResponse.newBuilder();
    answer.addResultsBuilder();
    answer.addResultsBuilder();
    WorkflowStateServiceImplBase newer =
        new WorkflowStateServiceImplBase() {
          @Override
          public void batch(BatchRequest request, StreamObserver<BatchResponse> observer) {
            observer.onNext(answer.build());
            observer.onCompleted();
          }
        };
    try (FakeService fake = new FakeService(newer);
        WorkflowStateClient client = quick(fake.url())) {
      List<Result> results = client.batch(List.of(SetState.of("s", "k", 1), GetState.of("s", "k")));
      List<Reason> reasons =
          results.stream().map(result -> result.error().orElseThrow().reason()).toList();
      assertEquals(List.of(Reason.OUTCOME_UNKNOWN, Reason.STORE_UNAVAILABLE), reasons);
    }
  }

  @Test
  void aWriteThatNeverLeftIsNotUnknown() throws IOException {
    String url;
    try (ServerSocket taken = new ServerSocket(0)) {
      url = "http://127.0.0.1:" + taken.getLocalPort();
    }
    try (WorkflowStateClient client = quick(url)) {
      WorkflowStateException write =
          assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1));
      assertEquals(Reason.STORE_UNAVAILABLE, write.reason());
      WorkflowStateException read =
          assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      assertEquals(Reason.STORE_UNAVAILABLE, read.reason());
    }
  }

  @Test
  void aWriteWhoseAnswerWasLostIsDoneOnce() {
    String id = Service.newSessionId();
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient client = quick(proxy.url())) {
      client.commit(Commit.to(id).increment("n"));
      proxy.loseAnswers(2);
      assertEquals(2L, client.commit(Commit.to(id).increment("n")).entry("n").value());
      assertEquals(3, proxy.connections());
    }
  }

  @Test
  void aServiceThatHasRestartedIsFoundAgain() {
    try (Service first = new Service();
        WorkflowStateClient client = WorkflowStateClient.connect(first.url())) {
      client.setState("s", "k", 1);
      first.kill();
      assertEquals(
          Reason.STORE_UNAVAILABLE,
          assertThrows(WorkflowStateException.class, () -> client.getState("s", "k")).reason());
      try (Service second = new Service("--listen", "127.0.0.1:" + first.port())) {
        assertEquals(1, client.setState("s", "k", 2).revision());
        assertEquals(first.url(), second.url());
      }
    }
  }

  @Test
  void aDeadlineEndsACallThatIsNotAnswered() {
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient client = quick(proxy.url())) {
      client.getState("s", "k");
      proxy.swallow(true);
      WorkflowStateClient hasty = client.withTimeout(Duration.ofMillis(300));
      long began = System.nanoTime();
      WorkflowStateException read =
          assertThrows(WorkflowStateException.class, () -> hasty.getState("s", "k"));
      WorkflowStateException write =
          assertThrows(WorkflowStateException.class, () -> hasty.setState("s", "k", 1));
      assertTrue(System.nanoTime() - began < TimeUnit.SECONDS.toNanos(10));
      assertEquals(Reason.STORE_UNAVAILABLE, read.reason());
      assertEquals(Reason.OUTCOME_UNKNOWN, write.reason());
    }
  }

  @Test
  void aDeadlineEndsTheRetriesToo() {
    Retry patient = new Retry(1000, Duration.ofMillis(50), Duration.ofMillis(50));
    Told told =
        new Told(
            Stream.generate(() -> bare(Code.UNAVAILABLE))
                .limit(1000)
                .toArray(RuntimeException[]::new));
    try (FakeService fake = new FakeService(told);
        WorkflowStateClient client =
            WorkflowStateClient.connect(
                ClientOptions.of(fake.url()).retry(patient).timeout(Duration.ofSeconds(2)))) {
      assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      assertTrue(told.calls() > 1 && told.calls() < 100, () -> told.calls() + " calls");
    }
  }

  @Test
  void aClosedClientSendsNothing() {
    Told told = new Told();
    try (FakeService fake = new FakeService(told)) {
      WorkflowStateClient client = quick(fake.url());
      client.close();
      client.close();
      assertEquals(
          Reason.STORE_UNAVAILABLE,
          assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1)).reason());
      assertEquals(0, told.calls());
    }
  }

  @Test
  void closingAClientEndsItsCalls() throws Exception {
    try (Proxy proxy = new Proxy(Service.shared().port())) {
      WorkflowStateClient client = quick(proxy.url());
      client.getState("s", "k");
      proxy.swallow(true);
      CompletableFuture<Object> write =
          CompletableFuture.supplyAsync(() -> client.setState("s", "k", 1));
      Thread.sleep(200);
      client.close();
      ExecutionException error =
          assertThrows(ExecutionException.class, () -> write.get(10, TimeUnit.SECONDS));
      assertEquals(Reason.OUTCOME_UNKNOWN, ((WorkflowStateException) error.getCause()).reason());
    }
  }

  @Test
  void anInterruptedThreadStopsWaitingAndStaysInterrupted() throws InterruptedException {
    try (Proxy proxy = new Proxy(Service.shared().port());
        WorkflowStateClient client = quick(proxy.url())) {
      client.getState("s", "k");
      proxy.swallow(true);
      CompletableFuture<Boolean> wasInterrupted = new CompletableFuture<>();
      Thread thread =
          new Thread(
              () -> {
                assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
                wasInterrupted.complete(Thread.currentThread().isInterrupted());
              });
      thread.start();
      Thread.sleep(200);
      thread.interrupt();
      assertTrue(wasInterrupted.orTimeout(10, TimeUnit.SECONDS).join());
    }
  }

  @Test
  void noErrorNamesTheToken() {
    Told told = new Told(Status.UNAUTHENTICATED.asRuntimeException());
    try (FakeService fake = new FakeService(told);
        WorkflowStateClient client =
            WorkflowStateClient.connect(ClientOptions.of(fake.url()).token("s3cret"))) {
      Throwable error = assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      for (; error != null; error = error.getCause()) {
        assertFalse(error.toString().contains("s3cret"), error.toString());
      }
      assertEquals(List.of("Bearer s3cret"), fake.header("authorization"));
    }
  }
}
