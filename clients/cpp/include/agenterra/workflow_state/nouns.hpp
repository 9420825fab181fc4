/// @file
/// The nouns of the client: values, sessions, entries, events and answers, as plain structs.
#pragma once

#include <agenterra/workflow_state/error.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace agenterra::workflow_state {

/// What can be stored: null, boolean, number, string, and arrays and objects of these, 32 levels deep.
///
/// Numbers are doubles on the wire: one that is whole and within 2^53 is read as an integer, any other as a
/// double, and -0 as 0. Refused with `invalid_value` and the path inside the value is what would not come
/// back equal: a whole number beyond 2^53 that is not a double, NaN and the infinities, binary values, text
/// that is not well-formed UTF-8.
using Value = nlohmann::json;

/// The whole state of a session: every key with its value, ordered by key.
using State = std::map<std::string, Value>;

/// Free-form labels of a session.
using Labels = std::map<std::string, std::string>;

/// A moment by the service's clock.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

/// A moment as every client of the service shows it: "2026-01-31T12:00:00.000Z".
std::string to_string(Time time);

/// What kind of write made an event; the numbers are those of the wire, and of an unknown kind its number is
/// kept.
enum class EventKind {
  /// Entries or metadata were changed.
  committed = 1,
  /// The session was replaced.
  saved = 2,
  /// The session was deleted, and all its entries.
  deleted = 3,
  /// Entries expired, or without entries: the session did, and all its entries.
  expired = 4,
  /// The session was made by a fork.
  forked = 5,
  /// The session was given an older content.
  restored = 6,
};

/// The name of a kind as every language has it, such as "COMMITTED"; of an unknown one "UNKNOWN".
std::string to_string(EventKind kind);

/// How much of each session a listing returns.
enum class SessionView {
  /// session_id only.
  ids = 1,
  /// All but the state.
  metadata = 2,
  /// Everything.
  full = 3,
};

/// The order of a listing of sessions.
enum class SessionOrder {
  /// By session_id, as UTF-8 bytes compare.
  id = 1,
  /// The last written first.
  update_time_desc = 2,
};

/// The session and revision that a session was forked from.
struct ForkedFrom {
  std::string session_id;
  std::int64_t revision = 0;
};

/// A workflow session: its state and what is known about it.
struct Session {
  std::string session_id;
  /// Every key with its value; empty where a listing or a watch leaves it out.
  State state;
  /// The revision of the last commit; 0 in a snapshot of a session that never was.
  std::int64_t revision = 0;
  /// Absent in a snapshot of a session that does not exist, and in a listing of ids.
  std::optional<Time> create_time;
  /// When it was last written; absent as `create_time`.
  std::optional<Time> update_time;
  std::optional<std::string> workflow_id;
  std::optional<std::string> user_id;
  Labels labels;
  /// When it expires unless it is written or renewed before; absent: never.
  std::optional<Time> expire_time;
  std::optional<ForkedFrom> forked_from;
};

/// One key of a session's state.
struct Entry {
  std::string key;
  /// The value; null also where `deleted`.
  Value value;
  /// The revision of the commit that last wrote it: what a check compares.
  std::int64_t revision = 0;
  Time update_time;
  /// When it expires; absent: never.
  std::optional<Time> expire_time;
  /// Whether the entry is gone: in the answers of writes and in events only. A stored null has false here.
  bool deleted = false;
};

/// What a commit left.
struct Committed {
  /// The session's revision after it, unchanged if nothing was written; 0: there is no such session.
  std::int64_t revision = 0;
  /// When the session was last written; absent: there is no such session.
  std::optional<Time> update_time;
  /// Each entry that a change named, as it is after the commit, in the order first named.
  std::vector<Entry> entries;

  /// The entry of a key that a change named. Throws `std::out_of_range` for any other.
  const Entry& at(const std::string& key) const;
};

/// What the deletion of an entry did.
struct Deletion {
  /// Whether there was an entry to delete.
  bool deleted = false;
  /// The session's revision after it; 0: there is no such session.
  std::int64_t revision = 0;
};

/// What one commit did: a message of a watch, and an item of the history.
struct Event {
  std::string session_id;
  std::int64_t revision = 0;
  Time time;
  EventKind kind = EventKind::committed;
  /// The entries that it wrote, as they were after it.
  std::vector<Entry> entries;
  /// The request id of the write; empty: none. Writes of these clients always have one.
  std::string request_id;
};

/// The first message of a watch that began without a revision: the session as it is.
struct Snapshot {
  Session session;
};

/// A message of a watch that says: nothing new. All events up to this revision have come.
struct Progress {
  std::int64_t revision = 0;
};

/// A message of a watch on one session.
using WatchMessage = std::variant<Snapshot, Event, Progress>;

/// The revision of a message of a watch: where to resume.
std::int64_t revision_of(const WatchMessage& message);

/// One commit to a session that a watch on sessions follows.
struct SessionChange {
  /// The session after it, without its state; of a deleted or expired one what it was last.
  Session session;
  EventKind kind = EventKind::committed;
};

}  // namespace agenterra::workflow_state
