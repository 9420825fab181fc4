package com.agenterra.state;

import java.time.Instant;
import java.util.Optional;

/**
 * One key of a session's state.
 *
 * @param key its key
 * @param value its value, which can be null; null also where {@code deleted}
 * @param revision the revision of the commit that last wrote it: what a check compares
 * @param updateTime when that commit was made
 * @param expireTime when it expires; empty: never
 * @param deleted whether the entry is gone: in the answers of writes and in events only. A stored
 *     null has false here
 */
public record Entry(
    String key,
    Object value,
    long revision,
    Instant updateTime,
    Optional<Instant> expireTime,
    boolean deleted) {}
