#include "values.hpp"

#include <algorithm>
#include <cmath>

namespace agenterra::workflow_state::detail {
namespace {

// A longer path, or name in it, is cut.
constexpr std::size_t longest_path = 1000;
constexpr std::size_t longest_name = 100;

/// What is wrong with a value; the path to it grows on the way out.
struct Fault {
  std::string what;
  // The innermost first.
  std::vector<std::variant<std::size_t, std::string>> steps;
};

bool is_identifier(const std::string& name) {
  auto letter = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '$';
  };
  auto more = [&](char c) { return letter(c) || (c >= '0' && c <= '9'); };
  return !name.empty() && letter(name[0]) && std::all_of(name.begin(), name.end(), more);
}

std::string quoted(const std::string& name) {
  std::size_t end = std::min(name.size(), longest_name);
  while (end < name.size() && end > 0 && (name[end] & 0xC0) == 0x80) --end;
  const std::string cut = name.substr(0, end) + (end < name.size() ? "…" : "");
  return Value(cut).dump(-1, ' ', false, Value::error_handler_t::replace);
}

std::string path_of(const Fault& fault) {
  std::string path = "$";
  for (auto step = fault.steps.rbegin(); step != fault.steps.rend(); ++step) {
    if (path.size() > longest_path) return path + "…";
    if (const auto* index = std::get_if<std::size_t>(&*step)) {
      path += "[" + std::to_string(*index) + "]";
    } else {
      const auto& name = std::get<std::string>(*step);
      path += is_identifier(name) && name.size() <= longest_name ? "." + name : "[" + quoted(name) + "]";
    }
  }
  return path;
}

void fill_within(google::protobuf::Value& message, const Value& value, int levels);

template <class Step>
void fill_member(google::protobuf::Value& message, const Value& member, int levels, const Step& step) {
  try {
    if (levels <= 0) throw Fault{"is too deep: a value has 32 levels at most", {}};
    fill_within(message, member, levels);
  } catch (Fault& fault) {
    fault.steps.emplace_back(step);
    throw;
  }
}

void fill_within(google::protobuf::Value& message, const Value& value, int levels) {
  switch (value.type()) {
    case Value::value_t::null:
      message.set_null_value(google::protobuf::NULL_VALUE);
      return;
    case Value::value_t::boolean:
      message.set_bool_value(value.get<bool>());
      return;
    case Value::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      if (!is_utf8(text)) throw Fault{"is not well-formed UTF-8", {}};
      message.set_string_value(text);
      return;
    }
    case Value::value_t::number_integer: {
      const auto number = value.get<std::int64_t>();
      if (number < -largest_integer || number > largest_integer) {
        throw Fault{"is an integer beyond 2^53, which numbers here can't hold exactly: pass it as text", {}};
      }
      message.set_number_value(static_cast<double>(number));
      return;
    }
    case Value::value_t::number_unsigned: {
      const auto number = value.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(largest_integer)) {
        throw Fault{"is an integer beyond 2^53, which numbers here can't hold exactly: pass it as text", {}};
      }
      message.set_number_value(static_cast<double>(number));
      return;
    }
    case Value::value_t::number_float: {
      const auto number = value.get<double>();
      if (!std::isfinite(number)) throw Fault{"is not a finite number", {}};
      // Zero has no sign here.
      message.set_number_value(number == 0 ? 0.0 : number);
      return;
    }
    case Value::value_t::array: {
      // An empty list is a list, too.
      auto* list = message.mutable_list_value();
      std::size_t index = 0;
      for (const Value& item : value) fill_member(*list->add_values(), item, levels - 1, index++);
      return;
    }
    case Value::value_t::object: {
      auto* fields = message.mutable_struct_value()->mutable_fields();
      for (const auto& [name, member] : value.get_ref<const Value::object_t&>()) {
        if (!is_utf8(name)) throw Fault{"has a member whose name is not well-formed UTF-8", {}};
        fill_member((*fields)[name], member, levels - 1, name);
      }
      return;
    }
    case Value::value_t::binary:
      throw Fault{"is binary, which would not come back: pass text, such as base64", {}};
    case Value::value_t::discarded:
      break;
  }
  throw Fault{"was discarded by a parser", {}};
}

}  // namespace

void fill(google::protobuf::Value& message, const Value& value, const std::string& key) {
  try {
    fill_within(message, value, max_depth);
  } catch (const Fault& fault) {
    const std::string path = path_of(fault);
    const std::string where = path == "$" ? "The value" : "The value at " + path;
    throw WorkflowStateError(Reason::invalid_value, where + " " + fault.what + ".",
                             {{"path", path}, {"key", key}});
  }
}

Value from_wire(const google::protobuf::Value& message) {
  switch (message.kind_case()) {
    case google::protobuf::Value::kStringValue:
      return message.string_value();
    case google::protobuf::Value::kNumberValue: {
      const double number = message.number_value();
      if (std::abs(number) <= static_cast<double>(largest_integer) && std::trunc(number) == number) {
        return static_cast<std::int64_t>(number);
      }
      return number;
    }
    case google::protobuf::Value::kBoolValue:
      return message.bool_value();
    case google::protobuf::Value::kListValue: {
      Value list = Value::array();
      for (const auto& item : message.list_value().values()) list.push_back(from_wire(item));
      return list;
    }
    case google::protobuf::Value::kStructValue: {
      Value object = Value::object();
      for (const auto& [name, member] : message.struct_value().fields()) object[name] = from_wire(member);
      return object;
    }
    case google::protobuf::Value::kNullValue:
    case google::protobuf::Value::KIND_NOT_SET:
      break;
  }
  return nullptr;
}

bool is_utf8(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) {
      ++at;
      continue;
    }
    const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || text.size() - at <= static_cast<std::size_t>(more)) return false;
    const auto second = static_cast<unsigned char>(text[at + 1]);
    // Neither longer than need be, nor a surrogate, nor beyond U+10FFFF.
    const int least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const int most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (second < least || second > most) return false;
    for (int next = 2; next <= more; ++next) {
      if ((static_cast<unsigned char>(text[at + static_cast<std::size_t>(next)]) & 0xC0) != 0x80)
        return false;
    }
    at += static_cast<std::size_t>(more) + 1;
  }
  return true;
}

}  // namespace agenterra::workflow_state::detail
