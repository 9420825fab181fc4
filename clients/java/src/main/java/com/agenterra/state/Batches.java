package com.agenterra.state;

import com.agenterra.state.v1.Operation;
import com.agenterra.state.v1.Operation.OperationCase;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** What batches and pipelines have in common. */
final class Batches {
  private Batches() {}

  /** Whether any of the operations writes. */
  static boolean isWrite(List<Operation> operations) {
    return operations.stream().anyMatch(Batches::isWrite);
  }

  private static boolean isWrite(Operation operation) {
    OperationCase kind = operation.getOperationCase();
    return kind != OperationCase.GET_STATE && kind != OperationCase.GET_SESSION;
  }

  /** Why an operation failed whose answer does not say how it ended. */
  static Reason unsaid(boolean isWrite) {
    return isWrite ? Reason.OUTCOME_UNKNOWN : Reason.STORE_UNAVAILABLE;
  }

  /** The results of a batch, one for each operation. */
  static List<Result> results(
      List<com.agenterra.state.v1.Result> results, List<Operation> operations) {
    if (results.size() != operations.size()) {
      throw new WorkflowStateException(
          unsaid(isWrite(operations)),
          "The service's answer has not one result for each operation.");
    }
    return IntStream.range(0, results.size())
        .mapToObj(at -> new Result(results.get(at), isWrite(operations.get(at))))
        .collect(Collectors.toCollection(ArrayList::new));
  }
}
