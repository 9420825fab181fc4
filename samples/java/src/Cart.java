import com.agenterra.state.Commit;
import com.agenterra.state.Session;
import com.agenterra.state.Values;
import com.agenterra.state.WorkflowStateClient;
import java.io.IOException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * {@code samples/java/cart.sh [URL]}: a workflow that stops and goes on, as samples/cart.ts is in
 * TypeScript. Each of its three runs is a process of its own, with its own connection; between them
 * the cart lives in the service.
 */
public final class Cart {
  private static final String CART = "shopping-cart";
  private static final String COPY = CART + "-copy";
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSX").withZone(ZoneOffset.UTC);
  private static final List<Consumer<WorkflowStateClient>> RUNS =
      List.of(Cart::fill, Cart::add, Cart::check);

  private Cart() {}

  private static void fill(WorkflowStateClient client) {
    // What a run of this sample that was interrupted may have left.
    client.deleteSession(CART);
    client.deleteSession(COPY);

    client.setState(CART, "shopping_list", List.of("milk", "bread"));
    client.setState(CART, "total_items", 2);

    print("created", shown(client.getSession(CART).flatMap(Session::createTime)));
  }

  private static void add(WorkflowStateClient client) {
    client.forkSession(CART, COPY);

    // Read, change, set: fine as long as nobody else writes to the cart meanwhile.
    List<Object> items =
        client.getState(CART, "shopping_list").map(Values::asList).orElseGet(ArrayList::new);
    print("found", joined(items));
    items.add("eggs");
    client.setState(CART, "shopping_list", items);
    client.setState(CART, "total_items", items.size());
    print("read and set", shown(stateOf(client, CART)));

    // The safe way, here on the copy: one atomic commit that the service computes, whoever else
    // writes.
    client.commit(Commit.to(COPY).append("shopping_list", "eggs").increment("total_items"));
    print("one commit", shown(stateOf(client, COPY)));
    client.deleteSession(COPY);
  }

  private static void check(WorkflowStateClient client) {
    Map<String, Object> state = stateOf(client, CART);
    if (!state.equals(
        Map.of("shopping_list", List.of("milk", "bread", "eggs"), "total_items", 3L))) {
      throw new IllegalStateException("The cart is not what the runs before have left.");
    }
    print("list", joined(Values.asList(state.get("shopping_list"))));
    print("total", state.get("total_items").toString());
    print("last updated", shown(client.getSession(CART).flatMap(Session::updateTime)));
  }

  private static Map<String, Object> stateOf(WorkflowStateClient client, String sessionId) {
    return client.getSession(sessionId).map(Session::state).orElse(Map.of());
  }

  private static void print(String name, String what) {
    System.out.printf("  %-12s %s%n", name, what);
  }

  private static String joined(List<?> items) {
    return items.stream().map(String::valueOf).collect(Collectors.joining(", "));
  }

  private static String shown(Optional<Instant> time) {
    return time.map(TIME::format).orElse("never");
  }

  /** A value as the sample in TypeScript shows it. */
  private static String shown(Object value) {
    if (value instanceof Map<?, ?> members) {
      return members.entrySet().stream()
          .map(member -> member.getKey() + ": " + shown(member.getValue()))
          .collect(Collectors.joining(", ", "{ ", " }"));
    }
    if (value instanceof List<?> items) {
      return items.isEmpty()
          ? "[]"
          : items.stream().map(Cart::shown).collect(Collectors.joining(", ", "[ ", " ]"));
    }
    return value instanceof String ? "'" + value + "'" : String.valueOf(value);
  }

  private static void runAll(String url) throws IOException, InterruptedException {
    for (int number = 1; number <= RUNS.size(); number++) {
      String java = ProcessHandle.current().info().command().orElse("java");
      String classpath = System.getProperty("java.class.path");
      List<String> command =
          List.of(java, "-cp", classpath, "Cart", "--run", String.valueOf(number), url);
      if (new ProcessBuilder(command).inheritIO().start().waitFor() != 0) {
        throw new IllegalStateException("Run " + number + " has failed.");
      }
    }
    try (WorkflowStateClient client = WorkflowStateClient.connect(url)) {
      System.out.println("sessions       " + shown(client.getAllSessionIds()));
      System.out.println("deleted        " + client.deleteSession(CART));
    }
  }

  /** Runs the sample, or one of its runs. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    if (arguments.length == 3 && arguments[0].equals("--run")) {
      System.out.printf("run %s, process %d%n", arguments[1], ProcessHandle.current().pid());
      try (WorkflowStateClient client = WorkflowStateClient.connect(arguments[2])) {
        RUNS.get(Integer.parseInt(arguments[1]) - 1).accept(client);
      }
      return;
    }
    try (WithServer server = WithServer.at(arguments.length > 0 ? arguments[0] : null)) {
      runAll(server.url());
    }
  }
}
