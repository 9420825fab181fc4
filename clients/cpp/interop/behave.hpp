/// @file
/// The behaviour vectors, run as they are written.
#pragma once

#include "same.hpp"

namespace interop {

/// Runs all cases against a service; prints a line for each.
void behave(const std::string& url, const std::string& prefix, const Value& file);

/// Prints the outcome of one vector or case.
void print(const std::string& name, const std::optional<std::string>& fault);

}  // namespace interop
