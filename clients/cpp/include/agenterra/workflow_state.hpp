/// @file
/// The client of AgenTerra workflow state: session state for workflow engines, over gRPC.
#pragma once

#include <agenterra/workflow_state/client.hpp>
