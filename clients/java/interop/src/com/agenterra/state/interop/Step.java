package com.agenterra.state.interop;

import com.agenterra.state.Commit;
import com.agenterra.state.Committed;
import com.agenterra.state.DeleteState;
import com.agenterra.state.Deletion;
import com.agenterra.state.Entry;
import com.agenterra.state.Event;
import com.agenterra.state.ForkSession;
import com.agenterra.state.GetSession;
import com.agenterra.state.GetState;
import com.agenterra.state.ListEvents;
import com.agenterra.state.Page;
import com.agenterra.state.Progress;
import com.agenterra.state.SaveSession;
import com.agenterra.state.Session;
import com.agenterra.state.SetState;
import com.agenterra.state.Snapshot;
import com.agenterra.state.Values;
import com.agenterra.state.WatchMessage;
import com.agenterra.state.WatchSession;
import com.agenterra.state.WatchStream;
import com.agenterra.state.WorkflowStateClient;
import com.agenterra.state.interop.Behaviour.Unexpected;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * What one step does; what it gives is compared with what is expected, in the words of the file.
 */
record Step(WorkflowStateClient client, String sessions, Map<String, Object> step) {
  private static final Map<String, Object> MISSING = Map.of("missing", true);

  Map<String, Object> run() throws Exception {
    String what = text("do");
    return switch (what) {
      case "set" -> set();
      case "get" -> get();
      case "delete" -> delete();
      case "commit" -> commit();
      case "get_session" -> getSession();
      case "save_session" -> saveSession();
      case "delete_session" -> Map.of("deleted", client.deleteSession(session()));
      case "fork" -> fork();
      case "update" -> update();
      case "events" -> events();
      case "watch" -> watch();
      case "sleep" -> sleep();
      default -> throw new Unexpected("it is of a kind that this program does not know: " + what);
    };
  }

  private Map<String, Object> set() {
    SetState set = SetState.of(session(), text("key"), step.get("value"));
    given("if_revision", Step::toLong, set::ifRevision);
    given("ttl_ms", Step::toDuration, set::ttl);
    given("request_id", String.class::cast, set::requestId);
    return Map.of("revision", client.setState(set).revision());
  }

  private Map<String, Object> get() {
    GetState get = GetState.of(session(), text("key"));
    given("at_revision", Step::toLong, get::atRevision);
    WorkflowStateClient patient =
        step.containsKey("timeout_ms")
            ? client.withTimeout(toDuration(step.get("timeout_ms")))
            : client;
    Optional<Entry> entry = patient.getEntry(get);
    if (entry.isEmpty()) {
      return MISSING;
    }
    Map<String, Object> found = new HashMap<>();
    found.put("value", entry.get().value());
    found.put("revision", entry.get().revision());
    return found;
  }

  private Map<String, Object> delete() {
    DeleteState delete = DeleteState.of(session(), text("key"));
    given("if_revision", Step::toLong, delete::ifRevision);
    given("request_id", String.class::cast, delete::requestId);
    Deletion deletion = client.deleteState(delete);
    return Map.of("deleted", deletion.deleted(), "revision", deletion.revision());
  }

  private Map<String, Object> commit() {
    Commit commit = Commit.to(session());
    given("if_revision", Step::toLong, commit::ifRevision);
    given("request_id", String.class::cast, commit::requestId);
    given("labels", Step::toLabels, commit::labels);
    given("workflow_id", String.class::cast, commit::workflowId);
    for (Map<String, Object> check : Main.maps(step.getOrDefault("checks", List.of()))) {
      commit.check((String) check.get("key"), toLong(check.get("if_revision")));
    }
    for (Map<String, Object> change : Main.maps(step.get("changes"))) {
      change.forEach((kind, of) -> add(commit, kind, Values.asMap(of)));
    }
    Committed committed = client.commit(commit);
    List<Map<String, Object>> entries = new ArrayList<>();
    for (Entry entry : committed.entries()) {
      Map<String, Object> found = new HashMap<>();
      found.put("key", entry.key());
      if (!entry.deleted()) {
        found.put("value", entry.value());
      }
      entries.add(found);
    }
    return Map.of("revision", committed.revision(), "entries", entries);
  }

  private static void add(Commit commit, String kind, Map<String, Object> of) {
    String key = (String) of.get("key");
    switch (kind) {
      case "set" -> commit.set(key, of.get("value"));
      case "delete" -> commit.delete(key);
      case "increment" -> commit.increment(key, ((Number) of.get("delta")).doubleValue());
      case "append" ->
          commit.appendKeeping(
              ((Number) of.getOrDefault("max_items", 0)).intValue(),
              key,
              Values.asList(of.get("values")).toArray());
      case "merge" -> commit.merge(key, Values.asMap(of.get("value")));
      default ->
          throw new Unexpected("a change is of a kind that this program does not know: " + kind);
    }
  }

  private Map<String, Object> getSession() {
    GetSession get = GetSession.of(session());
    given("key_prefix", String.class::cast, get::keyPrefix);
    given("at_revision", Step::toLong, get::atRevision);
    return client.getSession(get).map(Step::found).orElse(MISSING);
  }

  private static Map<String, Object> found(Session session) {
    Map<String, Object> found = new HashMap<>();
    found.put("state", session.state());
    found.put("revision", session.revision());
    found.put("labels", session.labels());
    found.put("workflow_id", session.workflowId().orElse(null));
    return found;
  }

  private Map<String, Object> saveSession() {
    SaveSession save = SaveSession.of(session(), Values.asMap(step.get("state")));
    given("labels", Step::toLabels, save::labels);
    given("if_revision", Step::toLong, save::ifRevision);
    return Map.of("revision", client.saveSession(save).revision());
  }

  private Map<String, Object> fork() {
    ForkSession fork = ForkSession.of(session(), sessions + text("new_session"));
    given("at_revision", Step::toLong, fork::atRevision);
    return found(client.forkSession(fork));
  }

  private Map<String, Object> update() throws Exception {
    String key = text("increment");
    int times = ((Number) step.get("times")).intValue();
    ExecutorService threads = Executors.newFixedThreadPool(times);
    try {
      List<Future<?>> done = new ArrayList<>();
      for (int time = 0; time < times; time++) {
        done.add(
            threads.submit(
                () ->
                    client.update(
                        session(),
                        draft ->
                            draft.put(
                                key, ((Number) draft.getOrDefault(key, 0)).doubleValue() + 1))));
      }
      for (Future<?> one : done) {
        one.get();
      }
    } finally {
      threads.shutdownNow();
    }
    return Map.of();
  }

  private Map<String, Object> events() {
    ListEvents list = ListEvents.of(session()).pageSize(2);
    given("after_revision", Step::toLong, list::afterRevision);
    List<Map<String, Object>> events = new ArrayList<>();
    for (Page<Event> page : client.listEvents(list).pages()) {
      if (page.items().size() > 2) {
        throw new Unexpected("a page is larger than it was asked to be");
      }
      page.items().forEach(event -> events.add(plain(event)));
    }
    return Map.of("events", events);
  }

  private Map<String, Object> watch() {
    long count = toLong(step.get("count"));
    boolean reconnects = Boolean.TRUE.equals(step.get("reconnect"));
    List<Object> messages = new ArrayList<>();
    WatchSession request = WatchSession.of(session());
    given("after_revision", Step::toLong, request::afterRevision);
    while (messages.size() < count) {
      try (WatchStream<WatchMessage> watch = client.watchSession(request)) {
        boolean isOver = false;
        while (!isOver) {
          WatchMessage message = watch.next();
          if (message instanceof Progress) {
            continue;
          }
          request.afterRevision(message.revision());
          messages.add(said(message));
          isOver = reconnects || messages.size() == count;
        }
      }
    }
    return Map.of("messages", messages);
  }

  private static Map<String, Object> said(WatchMessage message) {
    if (message instanceof Snapshot snapshot) {
      return Map.of(
          "snapshot", Map.of("revision", snapshot.revision(), "state", snapshot.session().state()));
    }
    return Map.of("event", plain((Event) message));
  }

  private static Map<String, Object> plain(Event event) {
    return Map.of(
        "revision", event.revision(),
        "kind", event.kind().name(),
        "keys", event.entries().stream().map(Entry::key).collect(Collectors.toList()));
  }

  private Map<String, Object> sleep() throws InterruptedException {
    Thread.sleep(toLong(step.get("ms")));
    return Map.of();
  }

  private String session() {
    return sessions + text("session");
  }

  private String text(String field) {
    return (String) step.get(field);
  }

  private <T> void given(String field, Function<Object, T> read, Consumer<T> use) {
    if (step.containsKey(field)) {
      use.accept(read.apply(step.get(field)));
    }
  }

  private static long toLong(Object number) {
    return ((Number) number).longValue();
  }

  private static Duration toDuration(Object milliseconds) {
    return Duration.ofMillis(toLong(milliseconds));
  }

  private static Map<String, String> toLabels(Object labels) {
    Map<String, String> texts = new HashMap<>();
    Values.asMap(labels).forEach((name, text) -> texts.put(name, (String) text));
    return texts;
  }
}
