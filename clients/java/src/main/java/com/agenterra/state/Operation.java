package com.agenterra.state;

/**
 * One operation of a batch. Those that write carry a request id, so that they are done once however
 * often they are sent.
 */
public sealed interface Operation permits GetState, SetState, DeleteState, GetSession, Commit {
  /** The operation as a generated message. */
  com.agenterra.state.v1.Operation toOperation();
}
