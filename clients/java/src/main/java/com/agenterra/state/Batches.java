package com.agenterra.state;

import com.agenterra.state.v1.Operation;
import com.agenterra.state.v1.Operation.OperationCase;
import java.util.List;

/** What batches and pipelines have in common. */
final class Batches {
  private Batches() {}

  /** Whether any of the operations writes. */
  static boolean isWrite(List<Operation> operations) {
    return operations.stream()
        .map(Operation::getOperationCase)
        .anyMatch(kind -> kind != OperationCase.GET_STATE && kind != OperationCase.GET_SESSION);
  }

  /** The results of a batch, one for each operation. */
  static List<Result> results(
      List<com.agenterra.state.v1.Result> results, List<Operation> operations) {
    if (results.size() != operations.size()) {
      throw new WorkflowStateException(
          isWrite(operations) ? Reason.OUTCOME_UNKNOWN : Reason.STORE_UNAVAILABLE,
          "The service's answer has not one result for each operation.");
    }
    return Wire.each(results, Result::new);
  }
}
