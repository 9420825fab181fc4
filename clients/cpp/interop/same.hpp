/// @file
/// Values of the shared files, compared.
#pragma once

#include <agenterra/workflow_state.hpp>

namespace interop {

using agenterra::workflow_state::Value;

/// Whether two values are identical: of one type, numbers to the bit, members in any order.
bool same(const Value& one, const Value& other);

/// The beginning of a value as text.
std::string shown(const Value& value);

}  // namespace interop
