package com.agenterra.state;

import com.agenterra.state.v1.PipelineRequest;
import com.agenterra.state.v1.PipelineResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Batches over one stream, the fastest way in: each is answered in the order in which it was sent.
 *
 * <pre>{@code
 * try (Pipeline pipeline = client.pipeline()) {
 *   CompletableFuture<List<Result>> first = pipeline.send(List.of(Commit.to("counter").increment("n")));
 *   CompletableFuture<List<Result>> second = pipeline.send(List.of(GetState.of("counter", "n")));
 *   System.out.println(second.join().get(0).entry());
 * }
 * }</pre>
 *
 * <p>After a lost connection what is not answered is sent again, and done once: writes carry
 * request ids. It gives up after as many connections in a row that answered nothing as {@link
 * Retry#attempts} says; then every batch without an answer fails, and so does {@link #send}: writes
 * with OUTCOME_UNKNOWN where they may be done. What depends on a future runs in a thread of gRPC,
 * before the next answer: it can send more, but should wait for nothing.
 */
public final class Pipeline implements AutoCloseable {
  /** How many batches may be without an answer. */
  private static final int MOST_UNANSWERED = 256;

  private final Connection connection;
  private final Runnable end = this::close;

  /**
   * Batches without an answer, the oldest first. Those of a connection that was lost are sent
   * again.
   */
  private final Deque<Batch> unanswered = new ArrayDeque<>();

  /** The connection of the moment; null: none yet, or it was lost and the next is not there yet. */
  private Stream stream;

  private int failures;
  private boolean isConnecting;

  /** The threads that give an answer, or a failure, just now. */
  private final Set<Thread> answering = new HashSet<>();

  /** Why it has ended; null: it has not. */
  private WorkflowStateException ended;

  Pipeline(Connection connection) {
    this.connection = connection;
    connection.onClose(end);
  }

  private static final class Batch {
    private final PipelineRequest request;
    private final CompletableFuture<List<Result>> answer = new CompletableFuture<>();

    /** Whether a connection that has ended had taken it. */
    private boolean mayBeDone;

    Batch(PipelineRequest request) {
      this.request = request;
    }

    void fail(WorkflowStateException why) {
      boolean isUnknown = mayBeDone && Batches.isWrite(request.getOperationsList());
      answer.completeExceptionally(isUnknown ? Failures.stillUnknown(why) : why);
    }
  }

  /**
   * Sends a batch. Waits while many are not answered, or while the connection takes no more.
   *
   * @param operations the operations, run in this order
   * @return a result for each operation; or a {@link WorkflowStateException} as the cause of a
   *     {@code CompletionException}
   * @throws WorkflowStateException if the pipeline has failed or was closed
   */
  public CompletableFuture<List<Result>> send(List<? extends Operation> operations) {
    PipelineRequest.Builder request = PipelineRequest.newBuilder();
    operations.forEach(operation -> request.addOperations(operation.toOperation()));
    Batch batch = new Batch(request.build());
    synchronized (this) {
      while (ended == null && isFull() && mayWait()) {
        await();
      }
      if (ended != null) {
        throw new WorkflowStateException(ended.reason(), ended.getMessage()).causedBy(ended);
      }
      unanswered.add(batch);
      if (stream != null) {
        stream.call.sendMessage(batch.request);
      }
      if (stream != null || isConnecting) {
        return batch.answer;
      }
      isConnecting = true;
    }
    connect();
    return batch.answer;
  }

  /** Waits until all that was sent is answered, or has failed. */
  public synchronized void flush() {
    while (!unanswered.isEmpty() && mayWait()) {
      await();
    }
  }

  /**
   * Waits for what was sent as {@link #flush} does, and ends. On a pipeline that has ended it does
   * nothing.
   */
  @Override
  public void close() {
    try {
      if (!connection.isClosed()) {
        flush();
      }
    } finally {
      finish(new WorkflowStateException(Reason.SHUTTING_DOWN, "This pipeline was closed."));
    }
  }

  private boolean isFull() {
    return unanswered.size() >= MOST_UNANSWERED || stream != null && !stream.call.isReady();
  }

  /** Not what depends on an answer: it would wait for itself. */
  private boolean mayWait() {
    return !answering.contains(Thread.currentThread());
  }

  private void await() {
    try {
      wait();
    } catch (InterruptedException interrupted) {
      throw Failures.interrupted();
    }
  }

  /** Opens a connection, and sends what has no answer. Not under the lock: it asks for a token. */
  private void connect() {
    try {
      Stream next = new Stream();
      synchronized (this) {
        if (ended == null) {
          isConnecting = false;
          stream = next;
          next.call.start(next, new Metadata());
          next.call.request(MOST_UNANSWERED);
          unanswered.forEach(batch -> next.call.sendMessage(batch.request));
          notifyAll();
        }
      }
    } catch (WorkflowStateException error) {
      lose(null, error);
    } catch (RuntimeException | Error error) {
      // Nobody else would hear of it, and all would wait.
      finish(Failures.unreachable().causedBy(error));
    }
  }

  /**
   * Goes on without a connection, or ends where that can't help. Not under the lock: what depends
   * on a future runs here.
   *
   * @param lost the connection; null: there was none. Another than that of the moment does not
   *     count.
   */
  private void lose(Stream lost, WorkflowStateException failure) {
    Retry retry = connection.settings().retry();
    long pause;
    synchronized (this) {
      if (stream != lost || ended != null) {
        return;
      }
      stream = null;
      isConnecting = true;
      failures++;
      boolean isUnavailable = Failures.isUnavailable(failure);
      // A service that has answered nothing and says why has refused to look at it.
      if (lost != null && lost.sending.began() && (isUnavailable || lost.hasAnswered)) {
        unanswered.forEach(batch -> batch.mayBeDone = true);
      }
      pause = isUnavailable && failures < retry.attempts() ? retry.pause(failures).toNanos() : -1;
    }
    if (pause < 0) {
      finish(failure);
      return;
    }
    CompletableFuture.delayedExecutor(pause, TimeUnit.NANOSECONDS)
        .execute(
            () -> {
              connection.reconnect();
              connect();
            });
  }

  /** Ends it, and fails what has no answer. Not under the lock, either. */
  private void finish(WorkflowStateException why) {
    List<Batch> left;
    Stream current;
    synchronized (this) {
      if (ended != null) {
        return;
      }
      ended = why;
      left = new ArrayList<>(unanswered);
      current = stream;
      answering.add(Thread.currentThread());
      notifyAll();
    }
    connection.forget(end);
    if (current != null) {
      current.call.cancel("The pipeline was closed.", null);
    }
    boolean wasTaken = current != null && current.sending.began();
    for (Batch batch : left) {
      batch.mayBeDone |= wasTaken;
      batch.fail(why);
    }
    synchronized (this) {
      answering.remove(Thread.currentThread());
      unanswered.clear();
      notifyAll();
    }
  }

  private static void give(Batch batch, PipelineResponse response) {
    try {
      batch.answer.complete(
          Batches.results(response.getResultsList(), batch.request.getOperationsList()));
    } catch (WorkflowStateException error) {
      batch.answer.completeExceptionally(error);
    }
  }

  /** One connection of the pipeline. */
  private final class Stream extends ClientCall.Listener<PipelineResponse> {
    private final Connection.Sending sending = new Connection.Sending();
    private final ClientCall<PipelineRequest, PipelineResponse> call =
        connection.stream(WorkflowStateServiceGrpc.getPipelineMethod(), sending);
    private boolean hasAnswered;

    @Override
    public void onReady() {
      synchronized (Pipeline.this) {
        Pipeline.this.notifyAll();
      }
    }

    @Override
    public void onMessage(PipelineResponse response) {
      Batch batch;
      synchronized (Pipeline.this) {
        if (stream != this || ended != null) {
          return;
        }
        batch = unanswered.peek();
        if (batch != null) {
          failures = 0;
          hasAnswered = true;
          answering.add(Thread.currentThread());
        }
      }
      if (batch == null) {
        lose(this, Failures.unreachable());
        call.cancel("The service answered what was not asked.", null);
        return;
      }
      give(batch, response);
      call.request(1);
      synchronized (Pipeline.this) {
        answering.remove(Thread.currentThread());
        if (unanswered.peek() == batch) {
          unanswered.remove();
        }
        Pipeline.this.notifyAll();
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      lose(
          this,
          status.isOk() ? Failures.unreachable() : connection.failure(status, trailers, false));
    }
  }
}
