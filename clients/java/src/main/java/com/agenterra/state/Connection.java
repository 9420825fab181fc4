package com.agenterra.state;

import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ClientStreamTracer;
import io.grpc.Deadline;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Calls to the service: deadlines, retries, and what failed as the client's error. */
final class Connection {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final CallOptions.Key<String> BEARER = CallOptions.Key.create("agenterra-bearer");

  /** What is to be ended when the client is closed. */
  private final Set<Runnable> streams = ConcurrentHashMap.newKeySet();

  /** Reached when the client is closed. */
  final CountDownLatch closed = new CountDownLatch(1);

  private final ClientOptions.Settings settings;
  private final ManagedChannel managed;
  private final Channel channel;

  Connection(ClientOptions.Settings settings) {
    this.settings = settings;
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilder(settings.target(), settings.credentials())
            // Retries are made here, under a request id and within one deadline.
            .disableRetry()
            // An answer has 4 MiB by default, but services can be set up for more.
            .maxInboundMessageSize(64 << 20)
            // An error names every check that failed, in trailers that gRPC would bound to 8 KiB.
            .maxInboundMetadataSize(4 << 20)
            // A dead connection is found by a ping.
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS);
    settings.channel().accept(builder);
    managed = builder.build();
    channel = ClientInterceptors.intercept(managed, this::intercept);
  }

  ClientOptions.Settings settings() {
    return settings;
  }

  /** When the time runs out of what is asked for now, whichever calls that takes. */
  static Deadline deadline(Duration timeout) {
    return Deadline.after(timeout.toNanos(), TimeUnit.NANOSECONDS);
  }

  boolean isClosed() {
    return closed.getCount() == 0;
  }

  /** Ends what is under way. Later calls fail. */
  void close() {
    closed.countDown();
    managed.shutdownNow();
    streams.forEach(Runnable::run);
  }

  /** Has something run when the client is closed. */
  void onClose(Runnable end) {
    streams.add(end);
    if (isClosed()) {
      end.run();
    }
  }

  /** Has it run no more. */
  void forget(Runnable end) {
    streams.remove(end);
  }

  <Q, A> A read(MethodDescriptor<Q, A> method, Q request, Deadline deadline) {
    return unary(method, request, false, deadline);
  }

  <Q, A> A write(MethodDescriptor<Q, A> method, Q request, Deadline deadline) {
    return unary(method, request, true, deadline);
  }

  /**
   * Makes a call, and again while it fails with UNAVAILABLE and there is time.
   *
   * <p>What can't be known in the end is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read.
   */
  <Q, A> A unary(MethodDescriptor<Q, A> method, Q request, boolean isWrite, Deadline deadline) {
    boolean unknown = false;
    for (int attempt = 1; ; attempt++) {
      Sending sending = new Sending();
      WorkflowStateException failure;
      try {
        CallOptions options = options().withDeadline(deadline).withStreamTracerFactory(sending);
        if (deadline.isExpired()) {
          throw Failures.overdue();
        }
        return ClientCalls.blockingUnaryCall(channel, method, options, request);
      } catch (WorkflowStateException error) {
        failure = error;
      } catch (StatusRuntimeException error) {
        failure = failure(error.getStatus(), error.getTrailers(), isWrite && sending.began);
      }
      unknown |= isWrite && Failures.leavesOpen(failure);
      Duration pause = settings.retry().pause(attempt);
      boolean isOver =
          isClosed()
              || Thread.currentThread().isInterrupted()
              || attempt >= settings.retry().attempts()
              || deadline.timeRemaining(TimeUnit.NANOSECONDS) <= pause.toNanos();
      if (isOver || !Failures.isUnavailable(failure)) {
        throw unknown ? Failures.stillUnknown(failure) : failure;
      }
      pause(closed, pause);
      reconnect();
    }
  }

  /** Begins a call that streams. */
  <Q, A> ClientCall<Q, A> stream(MethodDescriptor<Q, A> method) {
    return channel.newCall(method, options());
  }

  /** Begins a call that streams, and says there whether it was given to a connection. */
  <Q, A> ClientCall<Q, A> stream(MethodDescriptor<Q, A> method, Sending sending) {
    return channel.newCall(method, options().withStreamTracerFactory(sending));
  }

  /**
   * Has a connection that was lost be tried again now, and not when gRPC would: who calls this has
   * paused.
   */
  void reconnect() {
    managed.resetConnectBackoff();
  }

  /** What a call ended with, as the client's error. */
  WorkflowStateException failure(Status status, Metadata trailers, boolean isWrite) {
    if (isClosed()) {
      Reason reason = isWrite ? Reason.OUTCOME_UNKNOWN : Reason.STORE_UNAVAILABLE;
      return Failures.closed(reason).causedBy(status.asException());
    }
    return Failures.of(status, trailers, isWrite);
  }

  /** Waits so long, or until something ends. An interruption ends it too, and stays set. */
  static void pause(CountDownLatch end, Duration pause) {
    try {
      end.await(pause.toNanos(), TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** What a call carries. Asks for the token, in the thread of the caller. */
  private CallOptions options() {
    if (isClosed()) {
      throw Failures.closed(Reason.STORE_UNAVAILABLE);
    }
    if (settings.token() == null) {
      return CallOptions.DEFAULT;
    }
    String token;
    try {
      token = settings.token().get();
    } catch (WorkflowStateException error) {
      throw error;
    } catch (Exception error) {
      // Also what is checked: other languages than Java throw that, too.
      throw new WorkflowStateException(
              Reason.STORE_UNAVAILABLE, "The token of the call could not be had.")
          .causedBy(error);
    }
    return CallOptions.DEFAULT.withOption(BEARER, ClientOptions.bearer(token));
  }

  private <Q, A> ClientCall<Q, A> intercept(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<A> listener, Metadata headers) {
        headers.merge(settings.headers());
        String bearer = options.getOption(BEARER);
        if (bearer != null) {
          headers.put(AUTHORIZATION, bearer);
        }
        super.start(listener, headers);
      }
    };
  }

  /** Whether a call was given to a connection: one that was not has certainly not been sent. */
  static final class Sending extends ClientStreamTracer.Factory {
    private volatile boolean began;

    boolean began() {
      return began;
    }

    @Override
    public ClientStreamTracer newClientStreamTracer(
        ClientStreamTracer.StreamInfo info, Metadata headers) {
      return new ClientStreamTracer() {
        @Override
        public void streamCreated(Attributes attributes, Metadata sent) {
          began = true;
        }
      };
    }
  }
}
