package com.agenterra.state;

import com.agenterra.state.v1.ErrorDetail;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.Status;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusException;
import java.util.Optional;
import java.util.Set;

/**
 * What gRPC says of a call that failed, as the error of the client: by the detail in the status,
 * never by its text.
 */
final class Failures {
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  /**
   * Failures that are decided before the service looks at a request id: they don't say how an
   * earlier attempt ended.
   */
  private static final Set<Reason> BEFORE_THE_STORE =
      Set.of(Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED, Reason.RATE_LIMITED);

  /** Codes that a proxy gives, too: without a detail they are not the store's word. */
  private static final Set<Code> OF_PROXIES =
      Set.of(Code.UNIMPLEMENTED, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED);

  private Failures() {}

  /**
   * The error of a call that ended with a status.
   *
   * @param isWrite whether it is a write that may have reached the service: what can't be known of
   *     it is OUTCOME_UNKNOWN
   */
  static WorkflowStateException of(io.grpc.Status status, Metadata trailers, boolean isWrite) {
    WorkflowStateException failure = read(status, trailers, isWrite);
    return failure.causedBy(status.asException(trailers));
  }

  private static WorkflowStateException read(
      io.grpc.Status status, Metadata trailers, boolean isWrite) {
    String description = status.getDescription();
    Optional<ErrorDetail> detail = detail(trailers);
    if (detail.isPresent()) {
      String message = description == null ? "The call has failed." : description;
      return Wire.error(detail.get(), message, status.getCode());
    }
    String refused = description == null ? "The service refused the call." : description;
    return switch (status.getCode()) {
      case INVALID_ARGUMENT -> new WorkflowStateException(Reason.INVALID_REQUEST, refused);
      case RESOURCE_EXHAUSTED -> new WorkflowStateException(Reason.REQUEST_TOO_LARGE, refused);
      case UNAUTHENTICATED -> new WorkflowStateException(Reason.UNAUTHENTICATED, refused);
      case PERMISSION_DENIED -> new WorkflowStateException(Reason.PERMISSION_DENIED, refused);
      // It will be so the next time too: no reason to retry.
      case UNIMPLEMENTED, NOT_FOUND ->
          new WorkflowStateException(
              Reason.INVALID_REQUEST,
              "There is no such call at this address: check the URL, and that the service is not"
                  + " older than this client.");
      default -> isWrite ? outcomeUnknown() : unreachable();
    };
  }

  /** The ErrorDetail in the status, a google.rpc.Status in the trailers. */
  private static Optional<ErrorDetail> detail(Metadata trailers) {
    byte[] bytes = trailers == null ? null : trailers.get(DETAILS);
    if (bytes == null) {
      return Optional.empty();
    }
    try {
      for (Any any : Status.parseFrom(bytes).getDetailsList()) {
        if (any.is(ErrorDetail.class)) {
          return Optional.of(any.unpack(ErrorDetail.class));
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // As if there were none: the code says what is left to say.
      return Optional.empty();
    }
    return Optional.empty();
  }

  /** The error of a call that did not reach the service, or of a read that was not answered. */
  static WorkflowStateException unreachable() {
    return new WorkflowStateException(
        Reason.STORE_UNAVAILABLE, "The service can't be reached or did not answer; retry later.");
  }

  static WorkflowStateException outcomeUnknown() {
    return new WorkflowStateException(
        Reason.OUTCOME_UNKNOWN,
        "The write may or may not have happened; retry it with the same request id.");
  }

  /** The error of a call that had no time left. */
  static WorkflowStateException overdue() {
    return new WorkflowStateException(
        Reason.STORE_UNAVAILABLE,
        "The call's time ran out before it could be sent; give it a longer timeout.");
  }

  /** The error of a call on a client that was closed. */
  static WorkflowStateException closed(Reason reason) {
    return new WorkflowStateException(reason, "This client was closed.");
  }

  /** The error of a thread that was interrupted while it waited. */
  static WorkflowStateException interrupted() {
    Thread.currentThread().interrupt();
    return new WorkflowStateException(
        Reason.STORE_UNAVAILABLE, "The thread was interrupted while it waited for the service.");
  }

  /** The failure of a write of which an earlier attempt may have been done. */
  static WorkflowStateException stillUnknown(WorkflowStateException failure) {
    if (!isBeforeTheStore(failure) || failure.reason() == Reason.OUTCOME_UNKNOWN) {
      return failure;
    }
    return outcomeUnknown().causedBy(failure);
  }

  /** Whether it is not the store's word: then it doesn't say how an earlier attempt ended. */
  static boolean isBeforeTheStore(WorkflowStateException failure) {
    if (isUnavailable(failure) || BEFORE_THE_STORE.contains(failure.reason())) {
      return true;
    }
    return failure.getCause() instanceof StatusException cause
        && OF_PROXIES.contains(cause.getStatus().getCode())
        && detail(cause.getTrailers()).isEmpty();
  }

  /**
   * Whether a write that failed so may have been done: also for a reason that is not known here.
   */
  static boolean leavesOpen(WorkflowStateException failure) {
    return failure.reason() == Reason.OUTCOME_UNKNOWN
        || failure.reason() == Reason.UNKNOWN && isUnavailable(failure);
  }

  /** Whether it may go better when tried again. */
  static boolean isUnavailable(WorkflowStateException failure) {
    return failure.code() == Code.UNAVAILABLE;
  }
}
