package com.agenterra.state;

/** What kind of write made an event. */
public enum EventKind {
  /** Entries or metadata were changed. */
  COMMITTED,
  /** The session was replaced. */
  SAVED,
  /** The session was deleted, and all its entries. */
  DELETED,
  /** Entries expired, or without entries: the session did, and all its entries. */
  EXPIRED,
  /** The session was made by a fork. */
  FORKED,
  /** The session was given an older content. */
  RESTORED,
  /** A kind that a newer service has and this client does not know. */
  UNKNOWN
}
