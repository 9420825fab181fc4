package com.agenterra.state;

/** A message of a watch on one session. */
public sealed interface WatchMessage permits Snapshot, Event, Progress {
  /** The revision to go on after, here or in another watch. */
  long revision();
}
