package com.agenterra.state;

/** How much of each session a listing returns. */
public enum SessionView {
  /** The session id only. */
  IDS,
  /** All but the state. */
  METADATA,
  /** Everything. */
  FULL
}
