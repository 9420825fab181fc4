package com.agenterra.state;

/**
 * One commit to a session that a watch on sessions follows.
 *
 * @param session the session after it, without its state; of a deleted or expired one what it was
 *     last
 * @param kind what kind of write it was
 */
public record SessionChange(Session session, EventKind kind) {}
