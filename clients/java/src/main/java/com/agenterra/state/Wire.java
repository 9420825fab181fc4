package com.agenterra.state;

import com.agenterra.state.v1.CommitResponse;
import com.agenterra.state.v1.DeleteStateResponse;
import com.agenterra.state.v1.ErrorDetail;
import com.agenterra.state.v1.WatchSessionResponse;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import io.grpc.Status.Code;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.UUID;
import java.util.function.Function;

/**
 * Arguments to messages, and messages to nouns. What no message can hold is refused here, the rest
 * by the service.
 */
final class Wire {
  /** The longest span of time that is taken, in days. */
  private static final long MOST_DAYS = 36_500;

  private Wire() {}

  static String text(String value, String field) {
    return text(value, field, Reason.INVALID_REQUEST);
  }

  private static String text(String value, String field, Reason reason) {
    if (value == null) {
      throw WorkflowStateException.invalid(reason, field, field + " must not be null.");
    }
    if (!Values.isWellFormed(value)) {
      throw WorkflowStateException.invalid(
          reason, field, field + " is not well-formed Unicode: it has a lone surrogate.");
    }
    return value;
  }

  static String sessionId(String value) {
    return text(value, "session_id", Reason.INVALID_SESSION_ID);
  }

  static String newSessionId(String value) {
    return text(value, "new_session_id", Reason.INVALID_SESSION_ID);
  }

  static String key(String value) {
    return text(value, "key", Reason.INVALID_KEY);
  }

  static Map<String, String> labels(Map<String, String> labels) {
    if (labels == null) {
      throw WorkflowStateException.invalid("labels", "labels must not be null.");
    }
    labels.forEach(
        (name, label) -> {
          text(name, "labels");
          text(label, "labels");
        });
    return labels;
  }

  /** The values of a state as messages. */
  static Map<String, Value> state(Map<String, ?> state) {
    if (state == null) {
      // Not taken for an empty state: that would wipe the session.
      throw WorkflowStateException.invalid("session.state", "A session's state must not be null.");
    }
    Map<String, Value> messages = new LinkedHashMap<>();
    state.forEach((key, value) -> messages.put(key(key), Values.toMessage(key, value)));
    return messages;
  }

  static long whole(long value, String field) {
    if (value < 0) {
      throw WorkflowStateException.invalid(field, field + " must be 0 or more.");
    }
    return value;
  }

  static int count(int value, String field) {
    return (int) whole(value, field);
  }

  static double finite(double value, String field) {
    if (!Double.isFinite(value)) {
      throw WorkflowStateException.invalid(field, field + " must be finite.");
    }
    return value;
  }

  /** Checks a span of time that something may take. */
  static Duration span(String field, Duration value) {
    if (value == null || value.isNegative() || value.isZero() || value.toDays() > MOST_DAYS) {
      throw WorkflowStateException.invalid(
          field, field + " must be more than 0, and at most " + MOST_DAYS + " days.");
    }
    return value;
  }

  static com.google.protobuf.Duration duration(Duration value, String field) {
    if (value == null) {
      throw WorkflowStateException.invalid(field, field + " must not be null.");
    }
    if (Math.abs(value.toDays()) > MOST_DAYS) {
      throw WorkflowStateException.invalid(field, field + " is too long.");
    }
    // Rounded away from zero to milliseconds, so that what is short does not become "none".
    long most = value.isNegative() ? -999_999 : 999_999;
    long millis = (value.toNanos() + most) / 1_000_000;
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(millis / 1000)
        .setNanos((int) (millis % 1000) * 1_000_000)
        .build();
  }

  static Timestamp timestamp(Instant value, String field) {
    if (value == null) {
      throw WorkflowStateException.invalid(field, field + " must not be null.");
    }
    return Timestamp.newBuilder()
        .setSeconds(value.getEpochSecond())
        .setNanos(value.getNano())
        .build();
  }

  static String requestId(String value) {
    return text(value, "request_id");
  }

  /** A request id that no other call has. */
  static String newRequestId() {
    return UUID.randomUUID().toString().replace("-", "");
  }

  static Instant moment(Timestamp message) {
    return Instant.ofEpochSecond(message.getSeconds(), message.getNanos());
  }

  static Entry entry(com.agenterra.state.v1.Entry message) {
    return new Entry(
        message.getKey(),
        message.hasValue() ? Values.fromMessage(message.getValue()) : null,
        message.getRevision(),
        moment(message.getUpdateTime()),
        optional(message.hasExpireTime(), moment(message.getExpireTime())),
        !message.hasValue());
  }

  static Session session(com.agenterra.state.v1.Session message) {
    Map<String, Object> state = new LinkedHashMap<>();
    new TreeMap<>(message.getStateMap())
        .forEach((key, value) -> state.put(key, Values.fromMessage(value)));
    com.agenterra.state.v1.ForkedFrom from = message.getForkedFrom();
    return new Session(
        message.getSessionId(),
        state,
        message.getRevision(),
        optional(message.hasCreateTime(), moment(message.getCreateTime())),
        optional(message.hasUpdateTime(), moment(message.getUpdateTime())),
        optional(message.hasWorkflowId(), message.getWorkflowId()),
        optional(message.hasUserId(), message.getUserId()),
        new TreeMap<>(message.getLabelsMap()),
        optional(message.hasExpireTime(), moment(message.getExpireTime())),
        optional(message.hasForkedFrom(), new ForkedFrom(from.getSessionId(), from.getRevision())));
  }

  static Event event(com.agenterra.state.v1.Event message) {
    return new Event(
        message.getSessionId(),
        message.getRevision(),
        moment(message.getTime()),
        kind(message.getKind()),
        each(message.getEntriesList(), Wire::entry),
        optional(!message.getRequestId().isEmpty(), message.getRequestId()));
  }

  static EventKind kind(com.agenterra.state.v1.EventKind message) {
    return switch (message) {
      case EVENT_KIND_COMMITTED -> EventKind.COMMITTED;
      case EVENT_KIND_SAVED -> EventKind.SAVED;
      case EVENT_KIND_DELETED -> EventKind.DELETED;
      case EVENT_KIND_EXPIRED -> EventKind.EXPIRED;
      case EVENT_KIND_FORKED -> EventKind.FORKED;
      case EVENT_KIND_RESTORED -> EventKind.RESTORED;
      case EVENT_KIND_UNSPECIFIED, UNRECOGNIZED -> EventKind.UNKNOWN;
    };
  }

  /** A message of a watch; empty: one of a kind that this client does not know. */
  static Optional<WatchMessage> watchMessage(WatchSessionResponse message) {
    return switch (message.getMessageCase()) {
      case SNAPSHOT -> Optional.of(new Snapshot(session(message.getSnapshot())));
      case EVENT -> Optional.of(event(message.getEvent()));
      case PROGRESS -> Optional.of(new Progress(message.getProgress().getRevision()));
      case MESSAGE_NOT_SET -> Optional.empty();
    };
  }

  static Committed committed(CommitResponse message) {
    return new Committed(
        message.getRevision(),
        optional(message.hasUpdateTime(), moment(message.getUpdateTime())),
        each(message.getEntriesList(), Wire::entry));
  }

  static Deletion deletion(DeleteStateResponse message) {
    return new Deletion(message.getDeleted(), message.getRevision());
  }

  /**
   * The error that a detail describes; {@code code} is that of a reason that this client does not
   * know.
   */
  static WorkflowStateException error(ErrorDetail detail, String message, Code code) {
    List<FailedCheck> checks =
        each(
            detail.getFailedChecksList(),
            check ->
                new FailedCheck(check.getKey(), check.getIfRevision(), check.getActualRevision()));
    Reason reason = reason(detail);
    Code known = reason == Reason.UNKNOWN ? code : reason.code();
    return new WorkflowStateException(
        reason, detail.getReasonValue(), known, message, detail.getMetadataMap(), checks);
  }

  private static Reason reason(ErrorDetail detail) {
    String name = detail.getReason().name();
    try {
      return Reason.valueOf(name.substring(Math.min(name.length(), "ERROR_REASON_".length())));
    } catch (IllegalArgumentException unknown) {
      return Reason.UNKNOWN;
    }
  }

  static <M, T> List<T> each(List<M> messages, Function<M, T> read) {
    List<T> items = new ArrayList<>(messages.size());
    messages.forEach(message -> items.add(read.apply(message)));
    return items;
  }

  private static <T> Optional<T> optional(boolean present, T value) {
    return present ? Optional.of(value) : Optional.empty();
  }
}
