#include <agenterra/workflow_state/draft.hpp>

#include "values.hpp"
#include "wire.hpp"

namespace agenterra::workflow_state {
namespace {

// A commit takes so many checks by default, and a key so many bytes.
constexpr std::size_t max_checks = 1000;
constexpr std::size_t max_key_bytes = 512;

bool may_be_key(const std::string& key) {
  return !key.empty() && key.size() <= max_key_bytes && detail::is_utf8(key);
}

}  // namespace

Draft::Draft(std::map<std::string, Entry> seen, std::int64_t revision)
    : seen_(std::move(seen)), revision_(revision) {}

bool Draft::contains(const std::string& key) {
  touch(key);
  return find(key) != nullptr;
}

std::optional<Value> Draft::get(const std::string& key) {
  touch(key);
  const Value* value = find(key);
  return value == nullptr ? std::nullopt : std::make_optional<Value>(*value);
}

Value Draft::value(const std::string& key, Value other) {
  touch(key);
  const Value* value = find(key);
  return value == nullptr ? other : *value;
}

Value& Draft::operator[](const std::string& key) {
  touch(key);
  const Value* value = find(key);
  if (value == nullptr) {
    Slot& slot = slots_[key];
    slot.made_by_asking = true;
    return slot.value.emplace(nullptr);
  }
  auto& slot = slots_.try_emplace(key, Slot{std::make_optional<Value>(*value), false}).first->second;
  return *slot.value;
}

void Draft::set(const std::string& key, Value value) {
  touch(detail::key(key));
  Slot& slot = slots_[key];
  slot.value.emplace(std::move(value));
  slot.made_by_asking = false;
}

bool Draft::erase(const std::string& key) {
  const bool was_there = contains(key);
  slots_[key] = Slot{};
  return was_there;
}

std::vector<std::string> Draft::keys() {
  enumerated_ = true;
  std::vector<std::string> keys;
  for (const auto& member : state()) keys.push_back(member.first);
  return keys;
}

State Draft::state() const {
  State state;
  for (const auto& member : seen_) {
    if (const Value* value = find(member.first)) state.emplace(member.first, *value);
  }
  for (const auto& slot : slots_) {
    if (const Value* value = find(slot.first)) state.emplace(slot.first, *value);
  }
  return state;
}

std::optional<Commit> Draft::commit(const std::string& session_id) const {
  Commit commit(session_id);
  for (const std::string& key : touched_) {
    if (slots_.count(key) == 0) continue;
    const Value* value = find(key);
    const auto before = seen_.find(key);
    if (value == nullptr) {
      if (before != seen_.end()) commit.erase(key);
    } else {
      // Refused here, as one that can't be sent may compare equal to what it would be rounded to.
      google::protobuf::Value message;
      detail::fill(message, *value, key);
      if (before == seen_.end() || before->second.value != *value) commit.set(key, *value);
    }
  }
  if (commit.changes.empty()) return std::nullopt;
  if (enumerated_ || touched_.size() > max_checks) {
    commit.if_revision = revision_;
    return commit;
  }
  for (const std::string& key : touched_) {
    // What can't be a key can't appear either; one that was written is refused with the changes.
    if (!may_be_key(key)) continue;
    const auto before = seen_.find(key);
    commit.check(key, before == seen_.end() ? 0 : before->second.revision);
  }
  return commit;
}

const Value* Draft::find(const std::string& key) const {
  const auto slot = slots_.find(key);
  if (slot != slots_.end()) {
    const std::optional<Value>& value = slot->second.value;
    // Asked for by [], and never given a value.
    if (!value || (slot->second.made_by_asking && value->is_null())) return nullptr;
    return &*value;
  }
  const auto entry = seen_.find(key);
  return entry == seen_.end() ? nullptr : &entry->second.value;
}

void Draft::touch(const std::string& key) {
  if (touched_set_.insert(key).second) touched_.push_back(key);
}

}  // namespace agenterra::workflow_state
