/// @file
/// What a batch or a pipeline carries: operations, the commit with its checks and changes among them, and
/// their results.
#pragma once

#include <agenterra/workflow_state/nouns.hpp>

namespace agenterra::workflow_state {

/// A span of time, to the millisecond.
using Span = std::chrono::milliseconds;

/// Reads one entry. Its result is an `Entry`, or none.
struct GetState {
  std::string session_id;
  std::string key;
  std::optional<std::int64_t> at_revision = std::nullopt;
};

/// Writes one entry. Its result is the `Entry`.
struct SetState {
  std::string session_id;
  std::string key;
  Value value;
  /// Only if the entry is at this revision; 0: only if there is none.
  std::optional<std::int64_t> if_revision = std::nullopt;
  /// How long it lives; absent: it does not expire, also if it did before.
  std::optional<Span> ttl = std::nullopt;
  /// Empty: one is made.
  std::string request_id = {};
};

/// Deletes one entry. Its result is a `Deletion`.
struct DeleteState {
  std::string session_id;
  std::string key;
  std::optional<std::int64_t> if_revision = std::nullopt;
  std::string request_id = {};
};

/// Reads a session. Its result is a `Session`, or none.
struct GetSession {
  std::string session_id;
  std::string key_prefix = {};
  std::optional<std::int64_t> at_revision = std::nullopt;
};

/// A condition of a commit: the key's entry is at this revision; 0: it is absent.
struct Check {
  std::string key;
  std::int64_t if_revision = 0;
};

/// Writes a value.
struct SetChange {
  std::string key;
  Value value;
  std::optional<Span> ttl = std::nullopt;
  /// Leaves the entry's expiry as it is. Only without a ttl.
  bool keep_expiry = false;
};

/// Removes a key.
struct DeleteChange {
  std::string key;
};

/// Adds to a number.
struct IncrementChange {
  std::string key;
  double delta = 1;
};

/// Adds values to the end of a list.
struct AppendChange {
  std::string key;
  std::vector<Value> values;
  /// Keep only the last so many; 0: all.
  std::int32_t max_items = 0;
};

/// Applies a JSON Merge Patch (RFC 7396) to an object.
struct MergeChange {
  std::string key;
  Value patch;
};

using Change = std::variant<SetChange, DeleteChange, IncrementChange, AppendChange, MergeChange>;

/// One atomic write to one session, put together step by step: all checks, then all changes in order, or
/// nothing.
///
///     Commit("cart-1").check("order", 0).append("items", {"eggs", "milk"}).increment("total", 2)
///
/// Of what it says about the session itself the absent leaves what was, an empty text or map clears it, and a
/// ttl of 0 takes the expiry away. Its result is a `Committed`.
struct Commit {
  explicit Commit(std::string id) : session_id(std::move(id)) {}

  /// Writes only if the key's entry is at this revision; 0: only if there is none.
  Commit& check(std::string key, std::int64_t if_revision) {
    checks.push_back({std::move(key), if_revision});
    return *this;
  }

  /// Writes a value; without a ttl it does not expire.
  Commit& set(std::string key, Value value, std::optional<Span> ttl = std::nullopt) {
    return change(SetChange{std::move(key), std::move(value), ttl, false});
  }

  /// Writes a value that expires when the one before would have.
  Commit& set_keeping_expiry(std::string key, Value value) {
    return change(SetChange{std::move(key), std::move(value), std::nullopt, true});
  }

  /// Removes a key. One that is absent is no error.
  Commit& erase(std::string key) { return change(DeleteChange{std::move(key)}); }

  /// Adds to a number; an absent key starts from 0.
  Commit& increment(std::string key, double delta = 1) {
    return change(IncrementChange{std::move(key), delta});
  }

  /// Adds values to the end of a list, which keeps its last `max_items`, 0: all; an absent key starts from
  /// [].
  Commit& append(std::string key, std::vector<Value> values, std::int32_t max_items = 0) {
    return change(AppendChange{std::move(key), std::move(values), max_items});
  }

  /// Applies a JSON Merge Patch (RFC 7396) to an object: null removes a member. An absent key starts from {}.
  Commit& merge(std::string key, Value patch) {
    return change(MergeChange{std::move(key), std::move(patch)});
  }

  /// Adds a change of any kind.
  Commit& change(Change one) {
    changes.push_back(std::move(one));
    return *this;
  }

  std::string session_id;
  std::vector<Check> checks;
  std::vector<Change> changes;
  /// Only if the session is at this revision; 0: only if there is none.
  std::optional<std::int64_t> if_revision;
  std::optional<std::string> workflow_id;
  std::optional<std::string> user_id;
  std::optional<Labels> labels;
  /// How long the session lives.
  std::optional<Span> ttl;
  /// How long the session lives after its last write.
  std::optional<Span> idle_ttl;
  /// Empty: one is made for each call.
  std::string request_id;
};

/// One operation of a batch.
using Operation = std::variant<GetState, SetState, DeleteState, GetSession, Commit>;

/// What an operation answered: what its struct says, nothing (`std::monostate`) where there is none to read,
/// or the error that it failed with.
using Result = std::variant<std::monostate, Entry, Deletion, Committed, Session, WorkflowStateError>;

}  // namespace agenterra::workflow_state
