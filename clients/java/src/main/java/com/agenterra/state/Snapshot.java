package com.agenterra.state;

/**
 * The first message of a watch that began without a revision: the session as it is.
 *
 * @param session the session; of one that does not exist it has no times
 */
public record Snapshot(Session session) implements WatchMessage {
  @Override
  public long revision() {
    return session.revision();
  }
}
