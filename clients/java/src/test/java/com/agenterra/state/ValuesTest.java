package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.Service;
import com.google.protobuf.Value;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What can be stored comes back equal, and what would not is refused. */
final class ValuesTest {
  private static final long LARGEST = 1L << 53;

  static Stream<Arguments> kept() {
    Map<String, Object> withNull = new HashMap<>();
    withNull.put("null", null);
    withNull.put("__proto__", "own");
    withNull.put("", "empty");
    return Stream.of(
        Arguments.of(null, null),
        Arguments.of(true, true),
        Arguments.of("", ""),
        Arguments.of("\0\u2028é\ud83d\ude00", "\0\u2028é\ud83d\ude00"),
        Arguments.of((byte) 7, 7L),
        Arguments.of((short) -7, -7L),
        Arguments.of(Integer.MIN_VALUE, (long) Integer.MIN_VALUE),
        Arguments.of(LARGEST, LARGEST),
        Arguments.of(-LARGEST, -LARGEST),
        Arguments.of(BigInteger.valueOf(-LARGEST), -LARGEST),
        Arguments.of(1.0, 1L),
        Arguments.of(-0.0, 0L),
        Arguments.of(0.5f, 0.5),
        Arguments.of(0.1, 0.1),
        Arguments.of(Double.MIN_VALUE, Double.MIN_VALUE),
        Arguments.of(Double.MAX_VALUE, Double.MAX_VALUE),
        Arguments.of(LARGEST + 2.0, LARGEST + 2.0),
        Arguments.of(List.of(), List.of()),
        Arguments.of(Map.of(), Map.of()),
        Arguments.of(Arrays.asList(1, null, "x"), Arrays.asList(1L, null, "x")),
        Arguments.of(withNull, withNull),
        Arguments.of(nested(32, "deep"), nested(32, "deep")));
  }

  @ParameterizedTest
  @MethodSource("kept")
  void aValueReadsBackEqualAndOfTheNaturalType(Object written, Object read) {
    String id = Service.newSessionId();
    try (WorkflowStateClient client = Service.client()) {
      assertEquals(read, client.setState(id, "k", written).value());
      assertEquals(read, client.getEntry(id, "k").orElseThrow().value());
      assertEquals(read, client.getSession(id).orElseThrow().state().get("k"));
    }
  }

  @Test
  void theDeepestValueReadsBackFromTheDeepestAnswers() {
    String id = Service.newSessionId();
    Map<String, Object> deepest = Values.asMap(nested(32, "scalar"));
    try (WorkflowStateClient client = Service.client()) {
      client.setState(id, "k", deepest);
      List<Operation> operations = List.of(GetSession.of(id), GetState.of(id, "k"));
      List<Result> results = client.batch(operations);
      assertEquals(deepest, results.get(0).session().orElseThrow().state().get("k"));
      assertEquals(deepest, results.get(1).entry().orElseThrow().value());
      assertEquals(
          deepest,
          client
              .listSessions(ListSessions.all().sessionIdPrefix(id).view(SessionView.FULL))
              .toList()
              .get(0)
              .state()
              .get("k"));
      assertEquals(deepest, client.listEvents(id).toList().get(0).entries().get(0).value());
      try (WatchStream<WatchMessage> watch = client.watchSession(id)) {
        assertEquals(deepest, ((Snapshot) watch.next()).session().state().get("k"));
        client.setState(id, "l", deepest);
        assertEquals(deepest, ((Event) watch.next()).entries().get(0).value());
      }
      try (Pipeline pipeline = client.pipeline()) {
        Result result = pipeline.send(List.of(GetSession.of(id))).join().get(0);
        assertEquals(deepest, result.session().orElseThrow().state().get("l"));
      }
    }
  }

  @Test
  void randomValuesReadBackEqual() {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    String id = Service.newSessionId();
    try (WorkflowStateClient client = Service.client()) {
      for (int round = 0; round < 50; round++) {
        Object value = anything(random, 5);
        client.setState(id, "k", value);
        assertEquals(value, client.getEntry(id, "k").orElseThrow().value(), "seed " + seed);
      }
    }
  }

  static Stream<Arguments> refused() {
    List<Object> itself = new ArrayList<>();
    itself.add(itself);
    Map<String, Object> one = new HashMap<>();
    one.put("back", List.of(one));
    Map<Object, Object> badKey = new HashMap<>();
    badKey.put(1, "x");
    return Stream.of(
        Arguments.of(LARGEST + 1, "$", "beyond 2^53"),
        Arguments.of(Long.MIN_VALUE, "$", "beyond 2^53"),
        Arguments.of(BigInteger.ONE.shiftLeft(64), "$", "beyond 2^53"),
        Arguments.of(Double.NaN, "$", "finite"),
        Arguments.of(Float.POSITIVE_INFINITY, "$", "finite"),
        Arguments.of(new BigDecimal("0.1"), "$", "BigDecimal"),
        Arguments.of(Map.of("of", List.of(Set.of("a"))), "$.of[0]", "pass a List"),
        Arguments.of(List.of(1, new byte[1]), "$[1]", "base64"),
        Arguments.of(new int[] {1}, "$", "pass a List"),
        Arguments.of('c', "$", "Character"),
        Arguments.of(Map.of("a key", "\ud800"), "$[\"a key\"]", "surrogate"),
        Arguments.of(Map.of("\udc00", 1), "$", "surrogate"),
        Arguments.of(Map.of("m", badKey), "$.m", "Integer"),
        Arguments.of(nested(33, 1), "$" + ".m[0]".repeat(16), "32 levels"),
        Arguments.of(itself, "$[0]", "holds itself"),
        Arguments.of(Map.of("x", one), "$.x.back", "holds itself"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void aValueThatWouldNotComeBackIsRefusedWithItsPath(Object value, String path, String why) {
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> SetState.of("s", "k", value));
    assertEquals(Reason.INVALID_VALUE, error.reason());
    assertEquals(path, error.metadata().get("path"));
    assertEquals("k", error.metadata().get("key"));
    assertTrue(error.getMessage().contains(why), error.getMessage());
  }

  @Test
  void everyWayToWriteRefusesIt() {
    assertRefused(() -> Commit.to("s").set("k", Double.NaN));
    assertRefused(() -> Commit.to("s").append("k", 1, Double.NaN));
    assertRefused(() -> Commit.to("s").merge("k", Map.of("a", Double.NaN)));
    assertRefused(() -> SaveSession.of("s", Map.of("k", Double.NaN)));
    String id = Service.newSessionId();
    try (WorkflowStateClient client = Service.client()) {
      assertRefused(() -> client.update(id, draft -> draft.put("k", Double.NaN)));
      assertTrue(client.getSession(id).isEmpty());
    }
  }

  @Test
  void anErrorDoesNotRepeatTheValue() {
    Map<String, Object> value =
        Map.of("password", List.of("hunter2", new StringBuilder("hunter2")));
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> SetState.of("s", "k", value));
    assertFalse(error.toString().contains("hunter2"));
    assertFalse(error.metadata().toString().contains("hunter2"));
  }

  @Test
  void aLongPathIsCut() {
    Object value = Double.NaN;
    for (int level = 0; level < 25; level++) {
      value = Map.of("x".repeat(100), value);
    }
    Object deep = value;
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> SetState.of("s", "k", deep));
    String path = error.metadata().get("path");
    assertTrue(path.length() < 1200 && path.endsWith("…"), path);
  }

  @Test
  void whatIsReadCanBeChangedAndIsOrderedByKey() {
    Map<String, Object> members = new LinkedHashMap<>(Map.of("b", List.of(1), "c", 3, "a", 2));
    Value message = Values.toMessage("k", members);
    Map<String, Object> read = Values.asMap(Values.fromMessage(message));
    assertEquals(List.of("a", "b", "c"), List.copyOf(read.keySet()));
    Values.asList(read.get("b")).add("more");
    read.put("d", null);
    assertEquals(List.of(1L), Values.asMap(Values.fromMessage(message)).get("b"));
  }

  private static void assertRefused(org.junit.jupiter.api.function.Executable write) {
    assertEquals(Reason.INVALID_VALUE, assertThrows(WorkflowStateException.class, write).reason());
  }

  /** A value with so many levels, of maps and lists by turns. */
  private static Object nested(int levels, Object innermost) {
    if (levels == 1) {
      return innermost;
    }
    Object inner = innermost;
    for (int level = levels; level > 1; level--) {
      inner = level % 2 == 0 ? Map.of("m", inner) : List.of(inner);
    }
    return inner;
  }

  private static Object anything(Random random, int depth) {
    switch (random.nextInt(depth > 0 ? 7 : 5)) {
      case 0:
        return null;
      case 1:
        return random.nextBoolean();
      case 2:
        return random.nextLong(-LARGEST, LARGEST + 1);
      case 3:
        // Between two whole numbers, so that it stays a Double.
        return random.nextInt() + 0.5;
      case 4:
        return text(random);
      case 5:
        List<Object> items = new ArrayList<>();
        for (int count = random.nextInt(5); count > 0; count--) {
          items.add(anything(random, depth - 1));
        }
        return items;
      default:
        Map<String, Object> members = new HashMap<>();
        for (int count = random.nextInt(5); count > 0; count--) {
          members.put(text(random), anything(random, depth - 1));
        }
        return members;
    }
  }

  private static String text(Random random) {
    return random
        .ints(random.nextInt(12), 0, 0x11_0000 - 0x800)
        .map(point -> point < 0xd800 ? point : point + 0x800)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }
}
