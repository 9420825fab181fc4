package com.agenterra.state;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * How a call that failed with UNAVAILABLE is tried again.
 *
 * @param attempts how often a call is tried in all, 1 or more
 * @param base the longest pause before the second attempt, more than 0; it doubles with each
 * @param most the longest pause, more than 0
 */
public record Retry(int attempts, Duration base, Duration most) {
  /** Five attempts, with pauses from 50 ms to 2 s. */
  public static final Retry DEFAULT = new Retry(5, Duration.ofMillis(50), Duration.ofSeconds(2));

  /** Checks what was given. */
  public Retry {
    if (attempts < 1) {
      throw WorkflowStateException.invalid("retry.attempts", "retry.attempts must be 1 or more.");
    }
    Wire.span("retry.base", base);
    Wire.span("retry.most", most);
  }

  /**
   * So many attempts, with the pauses of {@link #DEFAULT}.
   *
   * @param attempts how often a call is tried in all
   */
  public static Retry attempts(int attempts) {
    return new Retry(attempts, DEFAULT.base, DEFAULT.most);
  }

  /** How long to wait after so many attempts: exponential, with a random half. */
  Duration pause(int count) {
    double longest =
        Math.min(most.toNanos(), base.toNanos() * Math.pow(2, Math.min(count - 1, 60)));
    return Duration.ofNanos((long) (longest * ThreadLocalRandom.current().nextDouble(0.5, 1)));
  }
}
