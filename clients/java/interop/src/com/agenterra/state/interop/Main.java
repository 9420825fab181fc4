package com.agenterra.state.interop;

import com.agenterra.state.Entry;
import com.agenterra.state.ListState;
import com.agenterra.state.Session;
import com.agenterra.state.Values;
import com.agenterra.state.WorkflowStateClient;
import com.agenterra.state.WorkflowStateException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * {@code interop.sh COMMAND URL PROTOCOL PREFIX FILE}: what interop/README.md asks of every client.
 */
public final class Main {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private Main() {}

  /** Runs the command. */
  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 5) {
      throw new IllegalArgumentException("Expected COMMAND URL PROTOCOL PREFIX FILE.");
    }
    String url = arguments[1];
    String prefix = arguments[3];
    if (!arguments[2].equals("grpc")) {
      throw new IllegalArgumentException("This client speaks grpc.");
    }
    Map<String, Object> data = Values.asMap(Json.read(Path.of(arguments[4])));
    switch (arguments[0]) {
      case "write" -> write(url, prefix, maps(data.get("vectors")));
      case "read" -> read(url, prefix, maps(data.get("vectors")));
      case "behave" -> {
        try (Behaviour behaviour = new Behaviour(url, prefix, Values.asMap(data.get("clients")))) {
          behaviour.run(maps(data.get("cases")));
        }
      }
      default -> throw new IllegalArgumentException("COMMAND is write, read or behave.");
    }
    // What a case has left waiting must not keep the program from ending.
    System.exit(0);
  }

  private static void write(String url, String sessionId, List<Map<String, Object>> vectors) {
    try (WorkflowStateClient client = WorkflowStateClient.connect(url)) {
      for (Map<String, Object> vector : vectors) {
        String problem = null;
        try {
          client.setState(sessionId, (String) vector.get("key"), vector.get("value"));
        } catch (WorkflowStateException error) {
          problem = error.toString();
        }
        say(vector.get("name"), problem);
      }
    }
  }

  private static void read(String url, String sessionId, List<Map<String, Object>> vectors) {
    try (WorkflowStateClient client = WorkflowStateClient.connect(url)) {
      Map<String, Object> listed = new LinkedHashMap<>();
      client
          .listState(ListState.of(sessionId).pageSize(50))
          .forEach(entry -> listed.put(entry.key(), entry.value()));
      Map<String, Object> whole = client.getSession(sessionId).map(Session::state).orElse(Map.of());
      for (Map<String, Object> vector : vectors) {
        String key = (String) vector.get("key");
        Object value = vector.get("value");
        Optional<Entry> entry = client.getEntry(sessionId, key);
        List<String> wrong = new ArrayList<>();
        if (entry.isEmpty() || !Json.identical(entry.get().value(), value)) {
          wrong.add("GetState");
        }
        if (!listed.containsKey(key) || !Json.identical(listed.get(key), value)) {
          wrong.add("ListState");
        }
        if (!whole.containsKey(key) || !Json.identical(whole.get(key), value)) {
          wrong.add("GetSession");
        }
        say(
            vector.get("name"),
            wrong.isEmpty() ? null : "not identical by " + String.join(", ", wrong));
      }
    }
  }

  /** Prints how it went; a problem of null: well. */
  static void say(Object name, String problem) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("name", name);
    line.put("ok", problem == null);
    if (problem != null) {
      line.put("message", problem);
    }
    OUT.println(Json.write(line));
  }

  /** A list of objects. */
  static List<Map<String, Object>> maps(Object list) {
    return Values.asList(list).stream().map(Values::asMap).toList();
  }
}
