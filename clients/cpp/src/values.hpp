/// @file
/// Values to `google.protobuf.Value` and back: what comes back equals what was written, or it is not written.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <agenterra/workflow_state/nouns.hpp>
#include <string_view>

namespace agenterra::workflow_state::detail {

/// Up to here every whole number is exact as a double.
inline constexpr std::int64_t largest_integer = std::int64_t{1} << 53;

/// Levels of a value; a scalar has one. Parsers of some languages, this one's too, stop at 100 nested
/// messages, and an object costs three.
inline constexpr int max_depth = 32;

/// Writes a value into an empty message. Fails with `invalid_value` and its `path`; the `key` is named in the
/// error.
void fill(google::protobuf::Value& message, const Value& value, const std::string& key);

/// The message as a value.
Value from_wire(const google::protobuf::Value& message);

/// Whether text is well-formed UTF-8.
bool is_utf8(std::string_view text) noexcept;

}  // namespace agenterra::workflow_state::detail
