package com.agenterra.state;

import com.agenterra.state.v1.WorkflowStateServiceGrpc;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/** Runs the updates of one client, those of one session one after the other. */
final class Updater {
  private static final int ATTEMPTS = 50;

  /** The longest pause before another attempt, in milliseconds. */
  private static final double MAX_PAUSE_MS = 100;

  private final Connection connection;

  /** A lock for each session, kept only while someone holds it or waits for it. */
  private final Map<String, Turn> turns = new HashMap<>();

  Updater(Connection connection) {
    this.connection = connection;
  }

  /** Reads, changes, commits what changed under checks, and tries again on a conflict. */
  <R> R update(String sessionId, Function<? super Draft, ? extends R> change, Duration timeout) {
    Turn turn = take(Wire.sessionId(sessionId));
    try {
      if (turn.lock.isHeldByCurrentThread()) {
        throw WorkflowStateException.invalid(
            "change",
            "An update's function can't update the same session: it would see it before the"
                + " change.");
      }
      try {
        turn.lock.lockInterruptibly();
      } catch (InterruptedException interrupted) {
        throw Failures.interrupted();
      }
      try {
        return attempt(sessionId, change, timeout);
      } finally {
        turn.lock.unlock();
      }
    } finally {
      leave(sessionId, turn);
    }
  }

  private <R> R attempt(
      String sessionId, Function<? super Draft, ? extends R> change, Duration timeout) {
    // The newest revision of the session that was heard of before its entries are read.
    long known = 0;
    for (int attempt = 1; ; attempt++) {
      Reason mayPass = Reason.HISTORY_COMPACTED;
      try {
        Reading.Seen seen = Reading.all(connection, sessionId, known, timeout);
        mayPass = null;
        Draft draft = new Draft(seen.entries());
        R result = run(change, draft);
        Optional<Commit> commit = draft.commit(sessionId, seen.revision());
        if (commit.isPresent()) {
          mayPass = Reason.REVISION_MISMATCH;
          connection.write(
              WorkflowStateServiceGrpc.getCommitMethod(),
              commit.get().toMessage(),
              Connection.deadline(timeout));
        }
        return result;
      } catch (WorkflowStateException error) {
        if (error.reason() != mayPass || attempt >= ATTEMPTS) {
          throw error;
        }
        for (FailedCheck check : error.failedChecks()) {
          if (check.key().isEmpty()) {
            // Less than before, if it was deleted meanwhile.
            known = check.actualRevision();
          }
        }
      }
      double longest = Math.min(MAX_PAUSE_MS, Math.pow(2, attempt));
      long nanos = (long) (longest * 1e6 * ThreadLocalRandom.current().nextDouble());
      Connection.pause(connection.closed, Duration.ofNanos(nanos));
    }
  }

  /** Calls the function; later its draft can be read, but not changed. */
  private static <R> R run(Function<? super Draft, ? extends R> change, Draft draft) {
    try {
      return change.apply(draft);
    } finally {
      draft.close();
    }
  }

  private synchronized Turn take(String sessionId) {
    Turn turn = turns.computeIfAbsent(sessionId, id -> new Turn());
    turn.holders++;
    return turn;
  }

  private synchronized void leave(String sessionId, Turn turn) {
    turn.holders--;
    if (turn.holders == 0) {
      turns.remove(sessionId);
    }
  }

  private static final class Turn {
    private final ReentrantLock lock = new ReentrantLock(true);
    private int holders;
  }
}
