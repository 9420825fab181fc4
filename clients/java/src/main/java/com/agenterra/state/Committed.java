package com.agenterra.state;

import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * What a commit left.
 *
 * @param revision the session's revision after it, unchanged if nothing was written; 0: there is no
 *     such session
 * @param updateTime when the session was last written; empty: there is no such session
 * @param entries each entry that a change named, as it is after the commit, in the order first
 *     named
 */
public record Committed(long revision, Optional<Instant> updateTime, List<Entry> entries) {
  /**
   * The entry of a key that a change named.
   *
   * @param key the key
   * @return the entry as it is after the commit
   * @throws IllegalArgumentException if no change named the key
   */
  public Entry entry(String key) {
    return entries.stream()
        .filter(entry -> entry.key().equals(key))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("The commit has no change of that key."));
  }
}
