package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.Service;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Each call does what the service says it does, against the service itself. */
final class CallsTest {
  private final WorkflowStateClient client = Service.client();
  private final String id = Service.newSessionId();

  @AfterEach
  void close() {
    client.close();
  }

  @Test
  void anEntryHasItsValueRevisionAndTimes() {
    Instant before = Instant.now().minusSeconds(60);
    Entry written = client.setState(id, "k", List.of("milk"));
    assertEquals(1, written.revision());
    assertTrue(written.updateTime().isAfter(before));
    assertEquals(Optional.empty(), written.expireTime());
    assertEquals(Optional.of(written), client.getEntry(id, "k"));
    assertEquals(Optional.of(List.of("milk")), client.getState(id, "k"));
  }

  @Test
  void aMissingKeyIsToldFromAStoredNull() {
    client.setState(id, "null", null);
    assertEquals(Optional.empty(), client.getState(id, "null"));
    Entry entry = client.getEntry(id, "null").orElseThrow();
    assertNull(entry.value());
    assertFalse(entry.deleted());
    assertEquals(Optional.empty(), client.getEntry(id, "missing"));
    assertEquals(Optional.empty(), client.getEntry("no such session", "k"));
    assertEquals(Optional.empty(), client.getSession("no such session"));
  }

  @Test
  void anEntryAndASessionAreReadAsTheyWere() {
    client.setState(id, "k", 1);
    client.setState(id, "k", 2);
    assertEquals(1L, client.getEntry(GetState.of(id, "k").atRevision(1)).orElseThrow().value());
    Session old = client.getSession(GetSession.of(id).atRevision(1)).orElseThrow();
    assertEquals(Map.of("k", 1L), old.state());
  }

  @Test
  void aSetUnderAConditionWritesOnlyIfItHolds() {
    client.setState(SetState.of(id, "k", 1).ifRevision(0));
    WorkflowStateException error =
        assertThrows(
            WorkflowStateException.class,
            () -> client.setState(SetState.of(id, "k", 2).ifRevision(0)));
    assertEquals(Reason.REVISION_MISMATCH, error.reason());
    assertEquals(List.of(new FailedCheck("k", 0, 1)), error.failedChecks());
    assertEquals(2, client.setState(SetState.of(id, "k", 2).ifRevision(1)).revision());
  }

  @Test
  void anEntryLivesAsLongAsItsTtl() {
    Entry entry = client.setState(SetState.of(id, "k", 1).ttl(Duration.ofMinutes(1)));
    Duration left = Duration.between(entry.updateTime(), entry.expireTime().orElseThrow());
    assertEquals(Duration.ofMinutes(1), left);
    // What is no whole millisecond counts as one more: it would be "none" otherwise.
    entry = client.setState(SetState.of(id, "k", 1).ttl(Duration.ofNanos(1)));
    left = Duration.between(entry.updateTime(), entry.expireTime().orElseThrow());
    assertEquals(Duration.ofMillis(1), left);
    // Not rounded to zero, which would be for ever.
    for (Duration gone : List.of(Duration.ofNanos(-1), Duration.ofNanos(-999_999))) {
      WorkflowStateException error =
          assertThrows(
              WorkflowStateException.class,
              () -> client.setState(SetState.of(id, "k", 1).ttl(gone)));
      assertEquals(Reason.INVALID_REQUEST, error.reason());
    }
  }

  @Test
  void aDeletionSaysWhetherThereWasAnEntry() {
    client.setState(id, "k", 1);
    assertEquals(new Deletion(true, 2), client.deleteState(id, "k"));
    assertEquals(new Deletion(false, 2), client.deleteState(id, "k"));
    client.setState(id, "k", 1);
    assertThrows(
        WorkflowStateException.class,
        () -> client.deleteState(DeleteState.of(id, "k").ifRevision(1)));
  }

  @Test
  void entriesAreListedByKeyOverPages() {
    client.saveSession(id, Map.of("a1", 1, "a2", 2, "a3", 3, "b", 4));
    ListState listing = ListState.of(id).pageSize(2);
    Pages<Entry> pages = client.listState(listing);
    assertEquals(List.of("a1", "a2", "a3", "b"), pages.stream().map(Entry::key).toList());
    assertEquals(4, pages.toList().size());
    Page<Entry> first = pages.pages().iterator().next();
    assertEquals(2, first.items().size());
    List<Entry> rest = client.listState(listing.pageToken(first.nextPageToken())).toList();
    assertEquals(List.of("a3", "b"), rest.stream().map(Entry::key).toList());
    ListState some = ListState.of(id).keyPrefix("a").startAfter("a3").reverse();
    assertEquals(List.of("a2", "a1"), client.listState(some).stream().map(Entry::key).toList());
    assertEquals(List.of(), client.listState("no such session").toList());
  }

  @Test
  void aSessionIsSavedAndReadWhole() {
    SaveSession save =
        SaveSession.of(id, Map.of("k", List.of()))
            .workflowId("w")
            .userId("u")
            .labels(Map.of("stage", "open"))
            .ifRevision(0)
            .ttl(Duration.ofHours(2))
            .idleTtl(Duration.ofHours(1));
    Session saved = client.saveSession(save);
    assertEquals(Map.of("k", List.of()), saved.state());
    assertEquals(Optional.of("w"), saved.workflowId());
    assertEquals(Optional.of("u"), saved.userId());
    assertEquals(Map.of("stage", "open"), saved.labels());
    assertEquals(
        Duration.ofHours(1),
        Duration.between(saved.updateTime().orElseThrow(), saved.expireTime().orElseThrow()));
    assertEquals(Optional.of(saved), client.getSession(id));
    Session replaced = client.saveSession(id, Map.of());
    assertEquals(Map.of(), replaced.state());
    assertEquals(Optional.empty(), replaced.workflowId());
    assertEquals(saved.createTime(), replaced.createTime());
  }

  @Test
  void aSessionIsDeletedOnce() {
    client.setState(id, "k", 1);
    assertThrows(
        WorkflowStateException.class,
        () -> client.deleteSession(DeleteSession.of(id).ifRevision(7)));
    assertTrue(client.deleteSession(id));
    assertFalse(client.deleteSession(id));
  }

  @Test
  void sessionsAreListedByFiltersViewsAndOrders() {
    for (String name : List.of("a", "b", "c")) {
      Map<String, String> labels = Map.of("name", name, "test", id);
      client.saveSession(SaveSession.of(id + name, Map.of("k", 1)).workflowId(id).labels(labels));
    }
    ListSessions mine = ListSessions.all().workflowId(id).sessionIdPrefix(id).pageSize(2);
    List<Session> sessions = client.listSessions(mine).toList();
    assertEquals(
        List.of(id + "a", id + "b", id + "c"), sessions.stream().map(Session::sessionId).toList());
    assertEquals(Map.of(), sessions.get(0).state());
    ListSessions one =
        ListSessions.all().label("test", id).label("name", "b").view(SessionView.FULL);
    assertEquals(Map.of("k", 1L), client.listSessions(one).toList().get(0).state());
    Instant last = sessions.get(2).updateTime().orElseThrow();
    ListSessions newest =
        mine.order(SessionOrder.UPDATE_TIME_DESC).updatedAfter(last.minusSeconds(60));
    assertEquals(id + "c", client.listSessions(newest).toList().get(0).sessionId());
    assertEquals(
        List.of(), client.listSessions(mine.updatedBefore(last.minusSeconds(60))).toList());
    assertTrue(client.getAllSessionIds().containsAll(List.of(id + "a", id + "b", id + "c")));
  }

  @Test
  void aCommitMakesAllItsChangesInOrder() {
    client.setState(id, "gone", 1);
    Commit commit =
        Commit.to(id)
            .check("gone", 1)
            .check("new", 0)
            .ifRevision(1)
            .set("set", "s")
            .set("short", 1, Duration.ofMinutes(1))
            .delete("gone")
            .increment("n")
            .increment("n", 1.5)
            .append("list", 1, null, List.of(2))
            .append("list", (Object) null)
            .appendKeeping(3, "list", "last")
            .merge("object", Map.of("a", 1, "b", Map.of("c", 2)));
    Committed committed = client.commit(commit);
    assertEquals(2, committed.revision());
    assertEquals(2.5, committed.entry("n").value());
    assertEquals(Arrays.asList(List.of(2L), null, "last"), committed.entry("list").value());
    assertEquals(Map.of("a", 1L, "b", Map.of("c", 2L)), committed.entry("object").value());
    assertTrue(committed.entry("gone").deleted());
    assertTrue(committed.entry("short").expireTime().isPresent());
    assertEquals(committed.updateTime(), client.getSession(id).orElseThrow().updateTime());
    assertThrows(IllegalArgumentException.class, () -> committed.entry("other"));
    Committed kept = client.commit(Commit.to(id).setKeepingExpiry("short", 2));
    assertEquals(committed.entry("short").expireTime(), kept.entry("short").expireTime());
  }

  @Test
  void aCommitWhoseChecksFailWritesNothingAndNamesEveryOne() {
    client.setState(id, "k", 1);
    Commit commit = Commit.to(id).ifRevision(7).check("k", 3).check("new", 0).set("k", 2);
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> client.commit(commit));
    assertEquals(
        List.of(new FailedCheck("", 7, 1), new FailedCheck("k", 3, 1)), error.failedChecks());
    assertEquals(Map.of("k", 1L), client.getSession(id).orElseThrow().state());
  }

  @Test
  void ofVeryManyFailedChecksTheFirstAreNamedAndAllAreCounted() {
    Commit commit = Commit.to(id).set("k", 1);
    List<String> keys = new ArrayList<>();
    for (int number = 0; number < 1000; number++) {
      keys.add("a key with a long name, number " + number);
    }
    keys.forEach(key -> commit.check(key, 1));
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> client.commit(commit));
    List<String> named = error.failedChecks().stream().map(FailedCheck::key).toList();
    assertTrue(named.size() > 20, named::toString);
    assertEquals(keys.subList(0, named.size()), named);
    assertEquals("1000", error.metadata().get("failed_checks"));
  }

  @Test
  void aCommitSetsKeepsAndClearsWhatIsKnownOfTheSession() {
    client.commit(
        Commit.to(id)
            .set("k", 1)
            .workflowId("w")
            .userId("u")
            .labels(Map.of("a", "b"))
            .ttl(Duration.ofHours(1))
            .idleTtl(Duration.ofHours(2)));
    client.commit(Commit.to(id).set("k", 2));
    Session session = client.getSession(id).orElseThrow();
    assertEquals(Optional.of("w"), session.workflowId());
    assertEquals(Optional.of("u"), session.userId());
    assertEquals(Map.of("a", "b"), session.labels());
    assertTrue(session.expireTime().isPresent());
    client.commit(
        Commit.to(id)
            .workflowId("")
            .userId("")
            .labels(Map.of())
            .ttl(Duration.ZERO)
            .idleTtl(Duration.ZERO));
    session = client.getSession(id).orElseThrow();
    assertEquals(Optional.empty(), session.workflowId());
    assertEquals(Optional.empty(), session.userId());
    assertEquals(Map.of(), session.labels());
    assertEquals(Optional.empty(), session.expireTime());
  }

  @Test
  void theSameCommitCountsEachTimeUnlessItHasARequestId() {
    Commit commit = Commit.to(id).increment("n");
    client.commit(commit);
    assertEquals(2L, client.commit(commit).entry("n").value());
    commit.requestId("once");
    client.commit(commit);
    assertEquals(3L, client.commit(commit).entry("n").value());
    WorkflowStateException error =
        assertThrows(
            WorkflowStateException.class,
            () -> client.setState(SetState.of(id, "n", 0).requestId("once")));
    assertEquals(Reason.REQUEST_ID_REUSED, error.reason());
  }

  @Test
  void aBatchAnswersEachOperationInOrderErrorsAmongThem() {
    List<Operation> operations =
        List.of(
            SetState.of(id, "k", 1),
            GetState.of(id, "k"),
            GetState.of(id, "missing"),
            SetState.of(id, "k", 2).ifRevision(9),
            Commit.to(id).increment("k"),
            DeleteState.of(id, "k"),
            GetSession.of(id),
            GetSession.of("no such session"));
    List<Result> results = client.batch(operations);
    assertEquals(1, results.get(0).entry().orElseThrow().revision());
    assertEquals(1L, results.get(1).entry().orElseThrow().value());
    assertEquals(Optional.empty(), results.get(2).entry());
    WorkflowStateException error = results.get(3).error().orElseThrow();
    assertEquals(List.of(new FailedCheck("k", 9, 1)), error.failedChecks());
    assertThrows(WorkflowStateException.class, () -> results.get(3).entry());
    assertEquals(2L, results.get(4).committed().entry("k").value());
    assertTrue(results.get(5).deletion().deleted());
    assertEquals(3, results.get(6).session().orElseThrow().revision());
    assertEquals(Optional.empty(), results.get(7).session());
    assertEquals(Optional.empty(), results.get(7).error());
    assertThrows(IllegalStateException.class, () -> results.get(7).committed());
  }

  @Test
  void eventsSayWhatEachCommitDid() {
    client.commit(Commit.to(id).set("a", 1).set("b", 2).requestId("first"));
    client.deleteState(id, "a");
    client.saveSession(id, Map.of("c", 3));
    client.deleteSession(id);
    List<Event> events = client.listEvents(ListEvents.of(id).pageSize(1)).toList();
    assertEquals(
        List.of(EventKind.COMMITTED, EventKind.COMMITTED, EventKind.SAVED, EventKind.DELETED),
        events.stream().map(Event::kind).toList());
    assertEquals(Optional.of("first"), events.get(0).requestId());
    assertTrue(events.get(1).requestId().isPresent());
    assertTrue(events.get(1).entries().get(0).deleted());
    List<Event> last = client.listEvents(ListEvents.of(id).afterRevision(2).reverse()).toList();
    assertEquals(List.of(4L, 3L), last.stream().map(Event::revision).toList());
  }

  @Test
  void aSessionIsForkedAsItWasAndRestoredAsANewRevision() {
    client.setState(id, "k", "old");
    client.setState(id, "k", "new");
    Session copy = client.forkSession(ForkSession.of(id, id + "-copy").atRevision(1));
    assertEquals(Map.of("k", "old"), copy.state());
    assertEquals(Optional.of(new ForkedFrom(id, 1)), copy.forkedFrom());
    assertEquals(Map.of("k", "new"), client.forkSession(id, id + "-copy-2").state());
    Session restored = client.restoreSession(RestoreSession.of(id, 1).ifRevision(2));
    assertEquals(Map.of("k", "old"), restored.state());
    assertEquals(3, restored.revision());
    assertEquals(Map.of("k", "new"), client.restoreSession(id, 2).state());
    WorkflowStateException error =
        assertThrows(
            WorkflowStateException.class, () -> client.forkSession("no such session", "copy"));
    assertEquals(Reason.SESSION_NOT_FOUND, error.reason());
  }

  @Test
  void sessionsLargerThanAnAnswerAreForkedRestoredAndUpdated() {
    String large = "x".repeat(900_000);
    for (int number = 0; number < 6; number++) {
      client.setState(id, "k" + number, large);
    }
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> client.getSession(id));
    assertEquals(Reason.SESSION_TOO_LARGE, error.reason());
    assertEquals(6, client.forkSession(id, id + "-copy").state().size());
    assertEquals(6, client.restoreSession(id, 6).state().size());
    client.update(id, draft -> draft.put("size", draft.size()));
    assertEquals(Optional.of(6L), client.getState(id, "size"));
  }

  @Test
  void anArgumentThatNoMessageCanHoldIsRefusedByName() {
    assertInvalid(Reason.INVALID_SESSION_ID, "session_id", () -> GetState.of("\ud800", "k"));
    assertInvalid(Reason.INVALID_SESSION_ID, "session_id", () -> GetSession.of(null));
    assertInvalid(Reason.INVALID_KEY, "key", () -> GetState.of("s", "\udfff"));
    assertInvalid(Reason.INVALID_KEY, "key", () -> Commit.to("s").delete(null));
    assertInvalid("if_revision", () -> SetState.of("s", "k", 1).ifRevision(-1));
    assertInvalid("ttl", () -> Commit.to("s").set("k", 1, null));
    assertInvalid("ttl", () -> SetState.of("s", "k", 1).ttl(Duration.ofDays(1_000_000_000)));
    assertInvalid("delta", () -> Commit.to("s").increment("k", Double.NaN));
    assertInvalid("page_size", () -> ListState.of("s").pageSize(-1));
    assertInvalid("labels", () -> Commit.to("s").labels(null));
    assertInvalid("session.state", () -> SaveSession.of("s", null));
    assertInvalid("updated_after", () -> ListSessions.all().updatedAfter(null));
  }

  @Test
  void aRefusedStepLeavesACommitAsItWas() {
    Commit commit = Commit.to(id).increment("n");
    assertThrows(WorkflowStateException.class, () -> commit.set("k", Double.NaN));
    assertThrows(WorkflowStateException.class, () -> commit.increment(null));
    assertThrows(WorkflowStateException.class, () -> commit.check("k", -1));
    assertEquals(List.of("n"), client.commit(commit).entries().stream().map(Entry::key).toList());
  }

  private static void assertInvalid(String field, org.junit.jupiter.api.function.Executable call) {
    assertInvalid(Reason.INVALID_REQUEST, field, call);
  }

  private static void assertInvalid(
      Reason reason, String field, org.junit.jupiter.api.function.Executable call) {
    WorkflowStateException error = assertThrows(WorkflowStateException.class, call);
    assertEquals(reason, error.reason());
    assertEquals(field, error.metadata().get("field"));
  }
}
