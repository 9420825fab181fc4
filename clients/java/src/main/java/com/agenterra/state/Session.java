package com.agenterra.state;

import java.time.Instant;
import java.util.Map;
import java.util.Optional;

/**
 * A workflow session: its state and what is known about it. Times are to the millisecond.
 *
 * @param sessionId its id
 * @param state every key with its value, ordered by key; empty where a listing or a watch leaves it
 *     out. It is the caller's own: changing it changes nothing stored
 * @param revision the revision of the last commit; 0 in a snapshot of a session that never was
 * @param createTime when it was created; empty in a snapshot of a session that does not exist, and
 *     in a listing of ids
 * @param updateTime when it was last written; empty as {@code createTime}
 * @param workflowId the workflow that it belongs to
 * @param userId the user that it belongs to
 * @param labels its labels
 * @param expireTime when it expires unless it is written or renewed before; empty: never
 * @param forkedFrom where it was forked from
 */
public record Session(
    String sessionId,
    Map<String, Object> state,
    long revision,
    Optional<Instant> createTime,
    Optional<Instant> updateTime,
    Optional<String> workflowId,
    Optional<String> userId,
    Map<String, String> labels,
    Optional<Instant> expireTime,
    Optional<ForkedFrom> forkedFrom) {}
