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
import java.util.List;
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
 * Retry#attempts} says; then every batch without an answer fails, and so does {@link #send}. What
 * depends on a future runs in a thread of gRPC, before the next answer: it can send more, but
 * should wait for nothing.
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

  /** The thread that gives an answer just now. */
  private Thread answering;

  /** Why it has ended; null: it has not. */
  private WorkflowStateException ended;

  Pipeline(Connection connection) {
    this.connection = connection;
    connection.onClose(end);
  }

  private static final class Batch {
    private final PipelineRequest request;
    private final CompletableFuture<List<Result>> answer = new CompletableFuture<>();

    /** Whether a connection that was lost had taken it. */
    private boolean mayBeDone;

    Batch(PipelineRequest request) {
      this.request = request;
    }

    void fail(WorkflowStateException why) {
      boolean isWrite = Batches.isWrite(request.getOperationsList());
      boolean isUnknown = isWrite && (mayBeDone || Failures.isUnavailable(why));
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
      } else if (!isConnecting) {
        isConnecting = true;
        connect();
      }
    }
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
    return Thread.currentThread() != answering;
  }

  private void await() {
    try {
      wait();
    } catch (InterruptedException interrupted) {
      throw Failures.interrupted();
    }
  }

  /** Opens a connection, and sends what has no answer. */
  private synchronized void connect() {
    if (ended != null) {
      return;
    }
    Stream next;
    try {
      next = new Stream();
      next.call.start(next, new Metadata());
    } catch (WorkflowStateException error) {
      retry(error);
      return;
    }
    isConnecting = false;
    stream = next;
    next.call.request(MOST_UNANSWERED);
    unanswered.forEach(batch -> next.call.sendMessage(batch.request));
    notifyAll();
  }

  private synchronized void retry(WorkflowStateException failure) {
    boolean wasTaken = stream != null && stream.sending.began();
    stream = null;
    failures++;
    if (!Failures.isUnavailable(failure) || failures >= connection.settings().retry().attempts()) {
      finish(failure);
      return;
    }
    if (wasTaken) {
      unanswered.forEach(batch -> batch.mayBeDone = true);
    }
    isConnecting = true;
    long pause = connection.settings().retry().pause(failures).toNanos();
    CompletableFuture.delayedExecutor(pause, TimeUnit.NANOSECONDS)
        .execute(
            () -> {
              connection.reconnect();
              connect();
            });
  }

  /** Ends it, and fails what has no answer. */
  private void finish(WorkflowStateException why) {
    List<Batch> left;
    Stream current;
    synchronized (this) {
      if (ended != null) {
        return;
      }
      ended = why;
      left = new ArrayList<>(unanswered);
      unanswered.clear();
      current = stream;
      notifyAll();
    }
    connection.forget(end);
    if (current != null) {
      current.call.cancel("The pipeline was closed.", null);
    }
    left.forEach(batch -> batch.fail(why));
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
        if (batch == null) {
          retry(Failures.unreachable());
        } else {
          failures = 0;
          answering = Thread.currentThread();
        }
      }
      if (batch == null) {
        call.cancel("The service answered what was not asked.", null);
        return;
      }
      give(batch, response);
      call.request(1);
      synchronized (Pipeline.this) {
        answering = null;
        if (unanswered.peek() == batch) {
          unanswered.remove();
        }
        Pipeline.this.notifyAll();
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      synchronized (Pipeline.this) {
        if (stream != this || ended != null) {
          return;
        }
        retry(status.isOk() ? Failures.unreachable() : connection.failure(status, trailers, false));
      }
    }
  }
}
