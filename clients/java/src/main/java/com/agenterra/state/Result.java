package com.agenterra.state;

import com.agenterra.state.v1.Result.ResultCase;
import io.grpc.Status.Code;
import java.util.Optional;

/**
 * What an operation of a batch answered: what its kind gives, or the error that it failed with,
 * which each of those throws.
 *
 * <p>Asking for what another kind of operation gives is an {@link IllegalStateException}.
 */
public final class Result {
  private final com.agenterra.state.v1.Result message;

  /** Whether the operation writes. */
  private final boolean isWrite;

  Result(com.agenterra.state.v1.Result message, boolean isWrite) {
    this.message = message;
    this.isWrite = isWrite;
  }

  /** The error that the operation failed with; empty: it did not. */
  public Optional<WorkflowStateException> error() {
    return switch (message.getResultCase()) {
      case ERROR ->
          Optional.of(
              Wire.error(message.getError(), message.getError().getMessage(), Code.UNKNOWN));
      case RESULT_NOT_SET ->
          Optional.of(
              new WorkflowStateException(
                  Batches.unsaid(isWrite),
                  "The service's result is of a kind that this client does not know."));
      default -> Optional.empty();
    };
  }

  /**
   * The entry that a {@link GetState} read, empty: there is none; or that a {@link SetState} wrote.
   */
  public Optional<Entry> entry() {
    if (message.hasSetState()) {
      return Optional.of(Wire.entry(message.getSetState().getEntry()));
    }
    expect(ResultCase.GET_STATE);
    boolean found = message.getGetState().hasEntry();
    return found ? Optional.of(Wire.entry(message.getGetState().getEntry())) : Optional.empty();
  }

  /** What a {@link DeleteState} did. */
  public Deletion deletion() {
    expect(ResultCase.DELETE_STATE);
    return Wire.deletion(message.getDeleteState());
  }

  /** What a {@link Commit} left. */
  public Committed committed() {
    expect(ResultCase.COMMIT);
    return Wire.committed(message.getCommit());
  }

  /** The session that a {@link GetSession} read; empty: there is none. */
  public Optional<Session> session() {
    expect(ResultCase.GET_SESSION);
    boolean found = message.getGetSession().hasSession();
    return found
        ? Optional.of(Wire.session(message.getGetSession().getSession()))
        : Optional.empty();
  }

  private void expect(ResultCase kind) {
    error()
        .ifPresent(
            error -> {
              throw error;
            });
    if (message.getResultCase() != kind) {
      throw new IllegalStateException("The result is that of " + message.getResultCase() + ".");
    }
  }
}
