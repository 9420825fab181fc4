package com.agenterra.state;

/**
 * The session and revision that a session was forked from.
 *
 * @param sessionId the session that was copied
 * @param revision the revision of it that was copied
 */
public record ForkedFrom(String sessionId, long revision) {}
