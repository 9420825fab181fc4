package com.agenterra.state;

/** The order of a listing of sessions. */
public enum SessionOrder {
  /** By session id, as UTF-8 bytes compare. */
  ID,
  /** The last written first. */
  UPDATE_TIME_DESC
}
