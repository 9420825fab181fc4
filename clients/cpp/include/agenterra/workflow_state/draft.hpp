/// @file
/// The draft of an update: a session's state that remembers what was looked at and what was written.
#pragma once

#include <agenterra/workflow_state/operations.hpp>
#include <set>

namespace agenterra::workflow_state {

/// A session's state to change, as `Client::update` gives it to its function.
///
///     draft["items"].push_back("eggs");
///     draft["total"] = draft["items"].size();
///
/// What was looked at is checked by the commit, so that it is made only if that is unchanged.
class Draft {
 public:
  /// What `update` has read: the entries, and the revision to check if all of them are to be unchanged.
  Draft(std::map<std::string, Entry> seen, std::int64_t revision);
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  /// Whether there is such a key.
  bool contains(const std::string& key);

  /// The value of a key, or nothing; a stored null is null.
  std::optional<Value> get(const std::string& key);

  /// The value of a key, or another one.
  Value value(const std::string& key, Value other);

  /// The value of a key, to be looked at or changed. An absent key gives null, and stays absent while that is
  /// null: to store a null, use `set`.
  Value& operator[](const std::string& key);

  /// Writes a value.
  void set(const std::string& key, Value value);

  /// Removes a key; says whether it was there.
  bool erase(const std::string& key);

  /// All keys, in order. Who asks for them has looked at everything.
  std::vector<std::string> keys();

  /// The state as it is now. To ask for this is not to look: for logs.
  State state() const;

  /// What is to be committed to the session; none: nothing was changed.
  std::optional<Commit> commit(const std::string& session_id) const;

 private:
  /// What became of a key: absent where it was removed, or asked for by [] and never given a value.
  struct Slot {
    std::optional<Value> value;
    bool made_by_asking = false;
  };

  const Value* find(const std::string& key) const;
  void touch(const std::string& key);

  std::map<std::string, Entry> seen_;
  std::int64_t revision_;
  // Keys that were looked at or written, in that order.
  std::vector<std::string> touched_;
  std::set<std::string> touched_set_;
  // Those that were written, or may have been through what [] gave.
  std::map<std::string, Slot> slots_;
  bool enumerated_ = false;
};

}  // namespace agenterra::workflow_state
