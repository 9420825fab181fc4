package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.FakeService;
import com.agenterra.state.support.Proxy;
import com.agenterra.state.support.Service;
import com.agenterra.state.v1.PipelineRequest;
import com.agenterra.state.v1.PipelineResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Pipelines, over connections that come and go. */
@Timeout(60)
final class PipelineTest {
  private static final Retry QUICK = new Retry(5, Duration.ofMillis(5), Duration.ofMillis(20));

  private final WorkflowStateClient client = Service.client();
  private final String id = Service.newSessionId();

  @AfterEach
  void close() {
    client.close();
  }

  private static WorkflowStateClient through(Proxy proxy) {
    return WorkflowStateClient.connect(ClientOptions.of(proxy.url()).retry(QUICK));
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

  private static String nowhere() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      return "http://127.0.0.1:" + taken.getLocalPort();
    }
  }

  private static WorkflowStateException failureOf(CompletableFuture<?> answer) {
    return (WorkflowStateException)
        assertThrows(CompletionException.class, answer::join).getCause();
  }

  @Test
  void aPipelineGivesUpWhenNothingIsAnswered() throws IOException {
    try (WorkflowStateClient own =
            WorkflowStateClient.connect(ClientOptions.of(nowhere()).retry(QUICK));
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of(id, "k", 1)));
      // It has never left.
      assertEquals(Reason.STORE_UNAVAILABLE, failureOf(write).reason());
      List<Operation> read = List.of(GetState.of(id, "k"));
      assertEquals(
          Reason.STORE_UNAVAILABLE,
          assertThrows(WorkflowStateException.class, () -> pipeline.send(read)).reason());
    }
    Status lost = Status.UNAVAILABLE;
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.STORE_UNAVAILABLE),
        endOfPipeline(0, lost, lost, lost, lost, lost));
  }

  /** Takes a batch on each connection, after some that it answers, and ends that with a failure. */
  private static final class Ending extends WorkflowStateServiceImplBase {
    private final int answers;
    private final Deque<Status> statuses;

    Ending(int answers, Status... statuses) {
      this.answers = answers;
      this.statuses = new ConcurrentLinkedDeque<>(List.of(statuses));
    }

    @Override
    public StreamObserver<PipelineRequest> pipeline(StreamObserver<PipelineResponse> observer) {
      return new StreamObserver<>() {
        private int answered;

        @Override
        public void onNext(PipelineRequest request) {
          if (answered++ < answers) {
            PipelineResponse.Builder response = PipelineResponse.newBuilder();
            response.addResultsBuilder().getGetStateBuilder();
            observer.onNext(response.build());
          } else {
            observer.onError(statuses.remove().asRuntimeException());
          }
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

  /**
   * What a write in a pipeline, and a read after it, fail with when its connections end so, each
   * after so many reads.
   */
  private static List<Reason> endOfPipeline(int answers, Status... statuses) {
    try (FakeService fake = new FakeService(new Ending(answers, statuses));
        WorkflowStateClient own =
            WorkflowStateClient.connect(ClientOptions.of(fake.url()).retry(QUICK));
        Pipeline pipeline = own.pipeline()) {
      List<Operation> read = List.of(GetState.of("s", "k"));
      for (int number = 0; number < answers; number++) {
        pipeline.send(read).join();
      }
      WorkflowStateException ofWrite = failureOf(pipeline.send(List.of(SetState.of("s", "k", 1))));
      Reason later = assertThrows(WorkflowStateException.class, () -> pipeline.send(read)).reason();
      return List.of(ofWrite.reason(), later);
    }
  }

  @Test
  void whatAPipelineEndsWithSaysNothingOfWritesThatAnEarlierConnectionHadTaken() {
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.UNAUTHENTICATED),
        endOfPipeline(0, Status.UNAVAILABLE, Status.UNAUTHENTICATED));
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.PERMISSION_DENIED),
        endOfPipeline(0, Status.INTERNAL, Status.PERMISSION_DENIED));
    // A proxy says so, too.
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.INVALID_REQUEST),
        endOfPipeline(0, Status.UNAVAILABLE, Status.UNIMPLEMENTED));
    // This one was decided on the batch, and those were not taken before.
    assertEquals(
        List.of(Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        endOfPipeline(0, Status.UNAVAILABLE, Status.INVALID_ARGUMENT));
    assertEquals(
        List.of(Reason.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        endOfPipeline(0, Status.UNAUTHENTICATED));
    assertEquals(
        List.of(Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        endOfPipeline(0, Status.UNIMPLEMENTED));
  }

  @Test
  void aWriteMayBeDoneWhenAConnectionThatHasAnsweredEndsHoweverItDoes() {
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.UNAUTHENTICATED),
        endOfPipeline(1, Status.UNAUTHENTICATED));
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.PERMISSION_DENIED),
        endOfPipeline(2, Status.PERMISSION_DENIED));
    assertEquals(
        List.of(Reason.OUTCOME_UNKNOWN, Reason.REQUEST_TOO_LARGE),
        endOfPipeline(1, Status.RESOURCE_EXHAUSTED));
    assertEquals(
        List.of(Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
        endOfPipeline(1, Status.INVALID_ARGUMENT));
  }

  @Test
  void aWriteThatNoConnectionHasTakenIsNotUnknown() throws IOException {
    AtomicInteger asked = new AtomicInteger();
    ClientOptions options =
        ClientOptions.of(nowhere())
            .retry(QUICK)
            .token(() -> asked.getAndIncrement() == 0 ? "t" : "t t");
    try (WorkflowStateClient own = WorkflowStateClient.connect(options);
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of(id, "k", 1)));
      assertEquals(Reason.UNAUTHENTICATED, failureOf(write).reason());
      assertEquals(2, asked.get());
    }
  }

  @Test
  void aPipelineWithoutATokenEndsWhateverItsFunctionThrows() throws IOException {
    IOException missing = new IOException("no answer");
    Supplier<String> failing = () -> PipelineTest.<RuntimeException, String>sneaky(missing);
    assertEquals(missing, causeWithoutToken(failing));
    Error broken = new NoClassDefFoundError("no such class");
    assertEquals(broken, causeWithoutToken(() -> PipelineTest.<Error, String>sneaky(broken)));
  }

  @SuppressWarnings("unchecked") // As Kotlin does, where nothing is checked.
  private static <E extends Throwable, T> T sneaky(Throwable error) throws E {
    throw (E) error;
  }

  /** What a pipeline of a client whose token can't be had fails with is because of that. */
  private static Throwable causeWithoutToken(Supplier<String> token) throws IOException {
    ClientOptions options = ClientOptions.of(nowhere()).retry(QUICK).token(token);
    try (WorkflowStateClient own = WorkflowStateClient.connect(options);
        Pipeline pipeline = own.pipeline()) {
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of("s", "k", 1)));
      pipeline.flush();
      WorkflowStateException error = failureOf(write);
      assertEquals(Reason.STORE_UNAVAILABLE, error.reason());
      return error.getCause();
    }
  }

  @Test
  void whatDependsOnAFailureHoldsNobodyUp() throws Exception {
    List<Operation> read = List.of(GetState.of(id, "k"));
    try (WorkflowStateClient own =
        WorkflowStateClient.connect(ClientOptions.of(nowhere()).retry(QUICK))) {
      Pipeline pipeline = own.pipeline();
      CompletableFuture<Boolean> dependent =
          pipeline
              .send(read)
              .handle(
                  (answer, error) -> {
                    // It would wait for itself.
                    pipeline.flush();
                    pipeline.close();
                    // This one waits for another thread, and that for what a pipeline locks.
                    return CompletableFuture.supplyAsync(
                            () ->
                                assertThrows(
                                    WorkflowStateException.class, () -> pipeline.send(read)))
                        .orTimeout(20, TimeUnit.SECONDS)
                        .handle((refused, late) -> late == null)
                        .join();
                  });
      pipeline.flush();
      // All has failed then, and who waits for that was told.
      assertTrue(dependent.isDone());
      assertTrue(dependent.join());
    }
  }

  @Test
  void aPipelineAsksForItsTokenWithoutHoldingAnybodyUp() throws Exception {
    CompletableFuture<Pipeline> opened = new CompletableFuture<>();
    List<Operation> read = List.of(GetState.of(id, "k"));
    // The token comes only when another thread has sent a batch.
    Supplier<String> token =
        () -> {
          CompletableFuture.runAsync(() -> opened.join().send(read))
              .orTimeout(20, TimeUnit.SECONDS)
              .join();
          return "t";
        };
    ClientOptions options = ClientOptions.of(Service.shared().url()).token(token);
    try (WorkflowStateClient own = WorkflowStateClient.connect(options);
        Pipeline pipeline = own.pipeline()) {
      opened.complete(pipeline);
      assertFalse(pipeline.send(read).join().get(0).entry().isPresent());
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
      assertEquals(Reason.REQUEST_TOO_LARGE, failureOf(refused).reason());
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
      CompletableFuture<List<Result>> write = pipeline.send(List.of(SetState.of(id, "k", 1)));
      own.close();
      assertEquals(Reason.SHUTTING_DOWN, failureOf(read).reason());
      assertEquals(Reason.OUTCOME_UNKNOWN, failureOf(write).reason());
      assertThrows(
          WorkflowStateException.class, () -> pipeline.send(List.of(GetState.of(id, "k"))));
      pipeline.close();
    }
  }
}
