package com.agenterra.state;

/**
 * A message of a watch that says: nothing new.
 *
 * @param revision all events up to it have come
 */
public record Progress(long revision) implements WatchMessage {}
