package com.agenterra.state;

import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;

/**
 * What happens, until it is closed: an iterator that waits for what comes next.
 *
 * <pre>{@code
 * try (WatchStream<WatchMessage> watch = client.watchSession("cart-1")) {
 *   for (WatchMessage message : watch) {
 *     System.out.println(message.revision());
 *   }
 * }
 * }</pre>
 *
 * <p>It is for one reader, and can be read once; {@link #close} is for everybody. Interrupting a
 * thread that waits ends the watch.
 *
 * @param <T> the type of the messages
 */
public abstract class WatchStream<T> implements Iterable<T>, Iterator<T>, AutoCloseable {
  final Connection connection;
  final CountDownLatch stopped = new CountDownLatch(1);
  private final Runnable end = this::close;
  private Optional<T> next = Optional.empty();

  WatchStream(Connection connection) {
    this.connection = connection;
  }

  /** This: each message is given once. */
  @Override
  public final Iterator<T> iterator() {
    return this;
  }

  /**
   * Waits for a message.
   *
   * @return false if the watch was closed meanwhile or before
   * @throws WorkflowStateException if the watch has failed, or its client was closed
   */
  @Override
  public final boolean hasNext() {
    if (next.isPresent()) {
      return true;
    }
    if (isStopped() && !connection.isClosed()) {
      return false;
    }
    try {
      next = Optional.of(fetch());
      return true;
    } catch (WorkflowStateException error) {
      boolean wasStopped = isStopped();
      close();
      if (connection.isClosed()) {
        throw Failures.closed(Reason.SHUTTING_DOWN).causedBy(error);
      }
      if (wasStopped) {
        return false;
      }
      throw error;
    }
  }

  /** Waits for a message and gives it. */
  @Override
  public final T next() {
    if (!hasNext()) {
      throw new NoSuchElementException("The watch was closed.");
    }
    T message = next.orElseThrow();
    next = Optional.empty();
    return message;
  }

  /**
   * Ends the watch, also while another thread waits for what comes next: that one is told that
   * there is nothing.
   */
  @Override
  public final void close() {
    stopped.countDown();
    connection.forget(end);
    cancel();
  }

  final boolean isStopped() {
    return stopped.getCount() == 0;
  }

  /** Has it end with its client. */
  final void register() {
    connection.onClose(end);
  }

  /** Fails if it was closed. */
  final void check() {
    if (isStopped() || connection.isClosed()) {
      throw Failures.closed(Reason.STORE_UNAVAILABLE);
    }
  }

  /** What comes next; waits for it. What it throws when it was closed is not looked at. */
  abstract T fetch();

  /** Ends the call, if there is one. */
  abstract void cancel();
}
