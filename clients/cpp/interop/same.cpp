#include "same.hpp"

#include <cstring>

namespace interop {
namespace {

std::uint64_t bits(const Value& number) {
  double value = number.get<double>();
  // -0 reads as 0.
  if (value == 0) value = 0;
  std::uint64_t out = 0;
  static_assert(sizeof out == sizeof value);
  std::memcpy(&out, &value, sizeof out);
  return out;
}

}  // namespace

bool same(const Value& one, const Value& other) {
  if (one.is_number() && other.is_number()) return bits(one) == bits(other);
  if (one.type() != other.type() || one.size() != other.size()) return false;
  if (one.is_array()) {
    for (std::size_t index = 0; index < one.size(); ++index) {
      if (!same(one[index], other[index])) return false;
    }
    return true;
  }
  if (one.is_object()) {
    for (const auto& [name, member] : one.items()) {
      const auto found = other.find(name);
      if (found == other.end() || !same(member, *found)) return false;
    }
    return true;
  }
  return one == other;
}

std::string shown(const Value& value) {
  const std::string text = value.dump(-1, ' ', true, Value::error_handler_t::replace);
  return text.size() <= 200 ? text : text.substr(0, 200) + "...";
}

}  // namespace interop
