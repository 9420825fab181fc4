package com.agenterra.state;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** One call that asks once and is answered many times, read by one thread that waits. */
final class StreamCall<Q, A> extends ClientCall.Listener<A> {
  /** How many answers are asked for before they are read. */
  private static final int AHEAD = 2;

  /** Answers, and at its end how the call ended. */
  private final BlockingQueue<Object> inbox = new LinkedBlockingQueue<>();

  private final Connection connection;
  private final ClientCall<Q, A> call;

  StreamCall(Connection connection, MethodDescriptor<Q, A> method, Q request) {
    this.connection = connection;
    this.call = connection.stream(method);
    call.start(this, new Metadata());
    call.request(AHEAD);
    call.sendMessage(request);
    call.halfClose();
  }

  /**
   * The next answer; empty: it was the last.
   *
   * @param silence how long to wait for it, and then to fail with STORE_UNAVAILABLE; null: for ever
   */
  Optional<A> read(Duration silence) {
    Object message;
    try {
      message =
          silence == null ? inbox.take() : inbox.poll(silence.toNanos(), TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      throw Failures.interrupted();
    }
    if (message == null) {
      cancel();
      throw Failures.unreachable();
    }
    if (message instanceof End end) {
      // Who reads on is told the same.
      inbox.add(end);
      if (end.status.isOk()) {
        return Optional.empty();
      }
      throw connection.failure(end.status, end.trailers, false);
    }
    call.request(1);
    @SuppressWarnings("unchecked") // Only onMessage puts anything else in.
    A answer = (A) message;
    return Optional.of(answer);
  }

  /** Ends the call, also while another thread reads. */
  void cancel() {
    call.cancel("The stream was closed.", null);
  }

  @Override
  public void onMessage(A message) {
    inbox.add(message);
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    inbox.add(new End(status, trailers));
  }

  private record End(Status status, Metadata trailers) {}
}
