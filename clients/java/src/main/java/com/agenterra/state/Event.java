package com.agenterra.state;

import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * What one commit did: a message of a watch, and an item of the history.
 *
 * @param sessionId the session
 * @param revision the revision that the commit made
 * @param time when
 * @param kind what kind of write it was
 * @param entries the entries that it wrote, as they were after it
 * @param requestId the request id of the write. Writes of this client always have one
 */
public record Event(
    String sessionId,
    long revision,
    Instant time,
    EventKind kind,
    List<Entry> entries,
    Optional<String> requestId)
    implements WatchMessage {}
