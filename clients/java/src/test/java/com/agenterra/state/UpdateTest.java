package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.Service;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Reading, changing and writing in one, whoever else writes. */
@Timeout(60)
final class UpdateTest {
  private final WorkflowStateClient client = Service.client();
  private final String id = Service.newSessionId();

  @AfterEach
  void close() {
    client.close();
  }

  private static void increment(Draft draft) {
    draft.put("n", ((Number) draft.getOrDefault("n", 0)).longValue() + 1);
  }

  @Test
  void whatWasChangedIsWrittenInOneCommit() {
    client.saveSession(id, Map.of("items", List.of("milk"), "gone", 1, "same", 1));
    long total =
        client.updateAndGet(
            id,
            cart -> {
              cart.list("items").add("eggs");
              cart.map("customer").put("name", "Ada");
              cart.remove("gone");
              cart.put("same", 1);
              return (long) cart.list("items").size();
            });
    assertEquals(2, total);
    Session session = client.getSession(id).orElseThrow();
    assertEquals(2, session.revision());
    Map<String, Object> expected =
        Map.of("items", List.of("milk", "eggs"), "customer", Map.of("name", "Ada"), "same", 1L);
    assertEquals(expected, session.state());
    Event event = client.listEvents(ListEvents.of(id).afterRevision(1)).toList().get(0);
    assertEquals(
        List.of("customer", "gone", "items"),
        event.entries().stream().map(Entry::key).sorted().toList());
  }

  @Test
  void anUpdateThatChangesNothingWritesNothing() {
    client.update(id, draft -> assertEquals(0, draft.size()));
    assertTrue(client.getSession(id).isEmpty());
    client.setState(id, "k", List.of(1));
    client.update(id, draft -> draft.put("k", List.of(1.0)));
    client.update(id, draft -> draft.remove("missing"));
    assertEquals(1, client.getSession(id).orElseThrow().revision());
    client.update(id, draft -> draft.put("k", List.of(true)));
    assertEquals(2, client.getSession(id).orElseThrow().revision());
  }

  @Test
  void aFunctionThatThrowsWritesNothingAndIsNotTakenForAConflict() {
    AtomicInteger runs = new AtomicInteger();
    WorkflowStateException own =
        new WorkflowStateException(Reason.REVISION_MISMATCH, "The function's own.");
    WorkflowStateException error =
        assertThrows(
            WorkflowStateException.class,
            () ->
                client.update(
                    id,
                    draft -> {
                      runs.incrementAndGet();
                      draft.put("k", 1);
                      throw own;
                    }));
    assertEquals(own, error);
    assertEquals(1, runs.get());
    assertTrue(client.getSession(id).isEmpty());
  }

  @Test
  void theDraftIsAMap() {
    client.saveSession(id, Map.of("a", 1, "b", 2, "c", 3));
    client.update(
        id,
        draft -> {
          assertTrue(draft.containsKey("a"));
          assertFalse(draft.containsKey("x"));
          assertFalse(draft.containsKey(1));
          assertNull(draft.get("x"));
          assertEquals(3, draft.size());
          assertEquals(Map.of("a", 1L, "b", 2L, "c", 3L), draft);
          assertEquals("{a=1, b=2, c=3}", draft.toString());
          draft.entrySet().removeIf(entry -> entry.getKey().equals("a"));
          draft.replaceAll((key, value) -> ((Number) value).longValue() * 10);
          draft.putIfAbsent("d", null);
          assertEquals(List.of("b", "c", "d"), List.copyOf(draft.keySet()));
          assertEquals(draft, draft.copy());
        });
    Session session = client.getSession(id).orElseThrow();
    assertEquals(List.of("b", "c", "d"), List.copyOf(session.state().keySet()));
    assertEquals(30L, session.state().get("c"));
    client.update(id, Draft::clear);
    assertEquals(Map.of(), client.getSession(id).orElseThrow().state());
  }

  @Test
  void aDraftCanNotBeChangedWhenItsUpdateHasEnded() {
    AtomicReference<Draft> kept = new AtomicReference<>();
    client.update(id, kept::set);
    assertThrows(WorkflowStateException.class, () -> kept.get().put("k", 1));
  }

  @Test
  void aKeyThatCanNotBeIsRefusedButMayBeAskedFor() {
    WorkflowStateException error =
        assertThrows(
            WorkflowStateException.class, () -> client.update(id, draft -> draft.put("\ud800", 1)));
    assertEquals(Reason.INVALID_KEY, error.reason());
    client.update(
        id,
        draft -> {
          assertFalse(draft.containsKey("") || draft.containsKey("x".repeat(600)));
          draft.put("k", draft.containsKey("\ud800"));
        });
    assertEquals(Optional.of(false), client.getState(id, "k"));
  }

  @Test
  void aConflictOnWhatWasLookedAtRunsTheFunctionAgain() {
    client.saveSession(id, Map.of("looked", 1, "other", 1));
    AtomicInteger runs = new AtomicInteger();
    try (WorkflowStateClient rival = Service.client()) {
      client.update(
          id,
          draft -> {
            if (runs.getAndIncrement() == 0) {
              rival.setState(id, "looked", 2);
              rival.setState(id, "other", 2);
            }
            draft.put("sum", ((Number) draft.get("looked")).longValue() + 1);
          });
      assertEquals(2, runs.getAndSet(0));
      assertEquals(Optional.of(3L), client.getState(id, "sum"));
      client.update(
          id,
          draft -> {
            if (runs.getAndIncrement() == 0) {
              rival.setState(id, "other", 3);
            }
            draft.put("sum", draft.get("looked"));
          });
      // What was not looked at does not count.
      assertEquals(1, runs.getAndSet(0));
      client.update(
          id,
          draft -> {
            if (runs.getAndIncrement() == 0) {
              rival.setState(id, "new", 3);
            }
            draft.put("size", draft.size());
          });
      assertEquals(2, runs.get());
      assertEquals(Optional.of(4L), client.getState(id, "size"));
    }
  }

  @Test
  void aSessionThatIsDeletedBetweenTwoAttemptsIsMadeAnew() {
    client.setState(id, "a", 1);
    AtomicInteger runs = new AtomicInteger();
    try (WorkflowStateClient rival = Service.client()) {
      client.update(
          id,
          draft -> {
            int run = runs.incrementAndGet();
            if (run == 1) {
              rival.setState(id, "b", 2);
            } else if (run == 2) {
              rival.deleteSession(id);
            }
            draft.put("size", draft.size());
          });
    }
    assertEquals(Map.of("size", 0L), client.getSession(id).orElseThrow().state());
    assertEquals(3, runs.get());
  }

  @Test
  void updatesOfManyClientsInManyThreadsAllCount() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(8);
    try (WorkflowStateClient other = Service.client()) {
      List<Future<?>> done = new ArrayList<>();
      for (int number = 0; number < 20; number++) {
        done.add(threads.submit(() -> client.update(id, UpdateTest::increment)));
        done.add(threads.submit(() -> other.update(id, UpdateTest::increment)));
      }
      for (Future<?> one : done) {
        one.get();
      }
    } finally {
      threads.shutdownNow();
    }
    assertEquals(Optional.of(40L), client.getState(id, "n"));
  }

  @Test
  void anUpdateWithinAnUpdateOfTheSameSessionIsRefusedAndOfAnotherIsNot() {
    client.update(
        id,
        draft -> {
          client.update(id + "-other", UpdateTest::increment);
          WorkflowStateException error =
              assertThrows(
                  WorkflowStateException.class, () -> client.update(id, UpdateTest::increment));
          assertEquals("change", error.metadata().get("field"));
          increment(draft);
        });
    client.update(id, UpdateTest::increment);
    assertEquals(Optional.of(2L), client.getState(id, "n"));
    assertEquals(Optional.of(1L), client.getState(id + "-other", "n"));
  }

  @Test
  void anInterruptedThreadWaitsNoLongerForItsTurn() throws Exception {
    CountDownLatch began = new CountDownLatch(1);
    CountDownLatch enough = new CountDownLatch(1);
    CompletableFuture<Void> first =
        CompletableFuture.runAsync(
            () ->
                client.update(
                    id,
                    draft -> {
                      began.countDown();
                      Connection.pause(enough, Duration.ofSeconds(30));
                      increment(draft);
                    }));
    began.await();
    CompletableFuture<Reason> reason = new CompletableFuture<>();
    AtomicBoolean isInterrupted = new AtomicBoolean();
    Thread second =
        new Thread(
            () -> {
              WorkflowStateException error =
                  assertThrows(
                      WorkflowStateException.class, () -> client.update(id, UpdateTest::increment));
              isInterrupted.set(Thread.currentThread().isInterrupted());
              reason.complete(error.reason());
            });
    second.start();
    second.interrupt();
    assertEquals(Reason.STORE_UNAVAILABLE, reason.get(5, TimeUnit.SECONDS));
    assertTrue(isInterrupted.get());
    enough.countDown();
    first.get();
    client.update(id, UpdateTest::increment);
    assertEquals(Optional.of(2L), client.getState(id, "n"));
  }

  @Test
  void aSessionOfManyPagesIsUpdated() {
    Commit commit = Commit.to(id);
    for (int number = 0; number < 1500; number++) {
      commit.set("k" + number, "x".repeat(100));
      if (number % 100 == 99) {
        client.commit(commit);
        commit = Commit.to(id);
      }
    }
    client.update(id, draft -> draft.put("size", draft.size()));
    assertEquals(Optional.of(1500L), client.getState(id, "size"));
  }
}
