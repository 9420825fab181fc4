package com.agenterra.state.interop;

import com.agenterra.state.ClientOptions;
import com.agenterra.state.FailedCheck;
import com.agenterra.state.Values;
import com.agenterra.state.WorkflowStateClient;
import com.agenterra.state.WorkflowStateException;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs the steps of cases, and says which do as they should. */
final class Behaviour implements AutoCloseable {
  /** How long a step may take that does not say so. */
  private static final long PATIENCE_MS = 60_000;

  private final String prefix;
  private final Map<String, WorkflowStateClient> clients = new HashMap<>();

  Behaviour(String url, String prefix, Map<String, Object> clients) {
    this.prefix = prefix;
    clients.forEach(
        (name, options) -> {
          Map<String, Object> given = Values.asMap(options);
          ClientOptions client = ClientOptions.of((String) given.getOrDefault("url", url));
          if (given.get("token") instanceof String token) {
            client.token(token);
          }
          this.clients.put(name, WorkflowStateClient.connect(client));
        });
  }

  @Override
  public void close() {
    clients.values().forEach(WorkflowStateClient::close);
  }

  void run(List<Map<String, Object>> cases) {
    for (int number = 0; number < cases.size(); number++) {
      List<Map<String, Object>> steps = Main.maps(cases.get(number).get("steps"));
      String problem = null;
      for (int at = 0; at < steps.size() && problem == null; at++) {
        try {
          step(prefix + "-" + number + "-", steps.get(at));
        } catch (Exception error) {
          problem =
              "step " + at + ": " + (error instanceof Unexpected ? error.getMessage() : error);
        }
      }
      Main.say(cases.get(number).get("name"), problem);
    }
  }

  private void step(String sessions, Map<String, Object> step) throws Exception {
    WorkflowStateClient client = clients.get((String) step.getOrDefault("client", "default"));
    FutureTask<Map<String, Object>> task =
        new FutureTask<>(() -> new Step(client, sessions, step).run());
    // One that never ends must not keep the program from ending.
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    thread.start();
    Map<String, Object> answer;
    try {
      long patience = ((Number) step.getOrDefault("within_ms", PATIENCE_MS)).longValue();
      answer = task.get(patience, TimeUnit.MILLISECONDS);
    } catch (TimeoutException late) {
      throw new Unexpected("it was not over in time");
    } catch (ExecutionException failed) {
      boolean isExpected =
          step.containsKey("error") && failed.getCause() instanceof WorkflowStateException;
      if (isExpected) {
        compareError((WorkflowStateException) failed.getCause(), Values.asMap(step.get("error")));
        return;
      }
      throw failed.getCause() instanceof Exception error ? error : failed;
    }
    if (step.containsKey("error")) {
      throw new Unexpected("it succeeded, and should fail with " + Json.write(step.get("error")));
    }
    Values.asMap(step.getOrDefault("expect", Map.of()))
        .forEach((field, expected) -> compare(field, expected, answer.get(field)));
  }

  private static void compareError(WorkflowStateException error, Map<String, Object> expected) {
    Map<String, Object> found = new HashMap<>();
    found.put("reason", error.reason().name());
    found.put("code", error.code().name());
    found.put("failed_checks", byKey(error.failedChecks().stream().map(Behaviour::plain).toList()));
    found.put("path", error.metadata().get("path"));
    expected.forEach(
        (field, value) ->
            compare(
                field,
                field.equals("failed_checks") ? byKey(Main.maps(value)) : value,
                found.get(field)));
  }

  private static Map<String, Object> plain(FailedCheck check) {
    return Map.of(
        "key",
        check.key(),
        "if_revision",
        check.ifRevision(),
        "actual_revision",
        check.actualRevision());
  }

  private static List<Map<String, Object>> byKey(List<Map<String, Object>> checks) {
    Comparator<Map<String, Object>> order =
        Comparator.comparing(check -> (String) check.get("key"));
    return checks.stream().sorted(order).toList();
  }

  private static void compare(String field, Object expected, Object found) {
    if (!Json.identical(expected, found)) {
      throw new Unexpected(field + " is " + brief(found) + ", and should be " + brief(expected));
    }
  }

  private static String brief(Object value) {
    String text = Json.write(value);
    return text.substring(0, Math.min(text.length(), 300));
  }

  /** A step that did not do as it says. */
  static final class Unexpected extends RuntimeException {
    private static final long serialVersionUID = 1;

    Unexpected(String message) {
      super(message);
    }
  }
}
