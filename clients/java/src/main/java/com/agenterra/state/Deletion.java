package com.agenterra.state;

/**
 * What the deletion of an entry did.
 *
 * @param deleted whether there was an entry
 * @param revision the session's revision after it; 0: there is no such session
 */
public record Deletion(boolean deleted, long revision) {}
