package com.agenterra.state.support;

import com.agenterra.state.v1.ErrorDetail;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import com.google.protobuf.Any;
import com.google.rpc.Status;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * A gRPC server that answers what a test tells it to, for what the service itself does not do on
 * demand.
 */
public final class FakeService implements AutoCloseable {
  private final Server server;
  private final List<Metadata> headers = new CopyOnWriteArrayList<>();

  public FakeService(WorkflowStateServiceImplBase answers) {
    this(InsecureServerCredentials.create(), answers);
  }

  public FakeService(ServerCredentials credentials, WorkflowStateServiceImplBase answers) {
    ServerInterceptor recorder =
        new ServerInterceptor() {
          @Override
          public <Q, A> ServerCall.Listener<Q> interceptCall(
              ServerCall<Q, A> call, Metadata sent, ServerCallHandler<Q, A> next) {
            headers.add(sent);
            return next.startCall(call, sent);
          }
        };
    try {
      server =
          Grpc.newServerBuilderForPort(0, credentials)
              .addService(answers)
              .intercept(recorder)
              .build()
              .start();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  public String url() {
    return "http://127.0.0.1:" + port();
  }

  public int port() {
    return server.getPort();
  }

  /** A header of each call that came, in order; null where it was not there. */
  public List<String> header(String name) {
    Metadata.Key<String> key = Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    return headers.stream().map(sent -> sent.get(key)).toList();
  }

  /** A failure as the service sends it. */
  public static StatusRuntimeException failure(Code code, String message, ErrorDetail detail) {
    return StatusProto.toStatusRuntimeException(
        Status.newBuilder()
            .setCode(code.value())
            .setMessage(message)
            .addDetails(Any.pack(detail))
            .build());
  }

  @Override
  public void close() {
    server.shutdownNow();
  }
}
