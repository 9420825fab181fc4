/**
 * The client of AgenTerra workflow state: session state for workflow engines, over gRPC.
 *
 * <p>Begin with {@link com.agenterra.state.WorkflowStateClient}. The generated messages and the
 * bare service are in {@code com.agenterra.state.v1}, for what this client has no words for.
 */
package com.agenterra.state;
