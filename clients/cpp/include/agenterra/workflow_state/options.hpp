/// @file
/// What a client and its calls can be told.
#pragma once

#include <agenterra/workflow_state/operations.hpp>
#include <functional>

namespace agenterra::workflow_state {

/// How a call that failed with UNAVAILABLE is tried again: with pauses that grow and vary.
struct Retry {
  /// How often a call is tried in all, 1 or more.
  int attempts = 5;
  /// The longest pause before the second attempt; it doubles with each.
  Span base{50};
  /// The longest pause.
  Span most{2000};
};

/// How a client connects, and what its calls carry.
struct ClientOptions {
  /// How long a call may take with all its attempts.
  Span timeout{30'000};
  Retry retry = {};
  /// Sent as `authorization: Bearer ...`. Use it with https only: over http everybody on the way can read it.
  std::string token = {};
  /// In place of `token`: gives it for each attempt, for tokens that run out. Called from any thread.
  std::function<std::string()> token_source = {};
  /// Which of the caller's namespaces to work in; empty: the default.
  std::string ns = {};
  /// Further headers of every call; one whose name ends in -bin may have any bytes.
  std::map<std::string, std::string> metadata = {};
  /// For https: PEM text of who may have signed the service's certificate; empty: gRPC's own list.
  std::string root_certificates = {};
  /// For mutual TLS: PEM text of the client's certificate and its key; both or none.
  std::string client_certificate = {};
  std::string client_key = {};
  /// A watch on a session that hears nothing for so long connects anew.
  Span silence{45'000};
  /// Options of the gRPC channel, which win over the client's own.
  std::map<std::string, std::variant<int, std::string>> channel_options = {};
};

/// Options of calls. A `timeout` is the time that the call may take with all its attempts; absent: the
/// client's.

struct ReadOptions {
  /// As it was at this revision; absent: as it is.
  std::optional<std::int64_t> at_revision = std::nullopt;
  std::optional<Span> timeout = std::nullopt;
};

struct SetStateOptions {
  /// Only if the entry is at this revision; 0: only if there is none.
  std::optional<std::int64_t> if_revision = std::nullopt;
  /// How long the entry lives; absent: it does not expire, also if it did before.
  std::optional<Span> ttl = std::nullopt;
  /// To be able to send the same write again from another process; empty: one is made.
  std::string request_id = {};
  std::optional<Span> timeout = std::nullopt;
};

struct DeleteOptions {
  /// Only if what is deleted is at this revision; 0: only if there is none.
  std::optional<std::int64_t> if_revision = std::nullopt;
  std::string request_id = {};
  std::optional<Span> timeout = std::nullopt;
};

struct ListStateOptions {
  /// Only entries whose key begins with this.
  std::string key_prefix = {};
  /// Only entries after this key, exclusive, in the order of the listing.
  std::string start_after = {};
  /// Descending by key.
  bool reverse = false;
  std::optional<std::int64_t> at_revision = std::nullopt;
  /// Of each page; 0: the service's choice.
  std::int32_t page_size = 0;
  /// Begins after an earlier page; empty: at the beginning.
  std::string page_token = {};
  /// Of each page.
  std::optional<Span> timeout = std::nullopt;
};

struct GetSessionOptions {
  /// Only entries whose key begins with this.
  std::string key_prefix = {};
  std::optional<std::int64_t> at_revision = std::nullopt;
  std::optional<Span> timeout = std::nullopt;
};

struct SaveSessionOptions {
  std::optional<std::string> workflow_id = std::nullopt;
  std::optional<std::string> user_id = std::nullopt;
  Labels labels = {};
  /// Only if the session is at this revision; 0: only if there is none.
  std::optional<std::int64_t> if_revision = std::nullopt;
  /// How long the session lives; absent leaves its expiry as it is, 0 takes it away.
  std::optional<Span> ttl = std::nullopt;
  /// As `ttl`, from each last write on.
  std::optional<Span> idle_ttl = std::nullopt;
  std::string request_id = {};
  std::optional<Span> timeout = std::nullopt;
};

/// Which sessions: those that match every filter that is given.
struct SessionFilter {
  std::string workflow_id = {};
  std::string user_id = {};
  std::string session_id_prefix = {};
  Labels labels = {};
  /// Only sessions last written after this, exclusive.
  std::optional<Time> updated_after = std::nullopt;
  /// Only sessions last written before this, exclusive.
  std::optional<Time> updated_before = std::nullopt;
};

struct ListSessionsOptions {
  SessionView view = SessionView::metadata;
  SessionOrder order = SessionOrder::id;
  /// Of each page; 0: the service's choice.
  std::int32_t page_size = 0;
  std::string page_token = {};
  /// Of each page.
  std::optional<Span> timeout = std::nullopt;
};

struct CallOptions {
  std::optional<Span> timeout = std::nullopt;
};

struct UpdateOptions {
  /// How often it is tried before a conflict is thrown.
  int attempts = 50;
  /// Of each of its calls.
  std::optional<Span> timeout = std::nullopt;
};

struct ForkOptions {
  /// As it was at this revision; absent: as it is.
  std::optional<std::int64_t> at_revision = std::nullopt;
  std::string request_id = {};
  std::optional<Span> timeout = std::nullopt;
};

struct RestoreOptions {
  /// Only if the session is at this revision.
  std::optional<std::int64_t> if_revision = std::nullopt;
  std::string request_id = {};
  std::optional<Span> timeout = std::nullopt;
};

struct ListEventsOptions {
  /// Only events after this revision.
  std::int64_t after_revision = 0;
  /// The newest first.
  bool reverse = false;
  /// Of each page; 0: the service's choice.
  std::int32_t page_size = 0;
  std::string page_token = {};
  /// Of each page.
  std::optional<Span> timeout = std::nullopt;
};

struct WatchOptions {
  /// Go on after this revision, the last that was seen; absent: begin with a snapshot.
  std::optional<std::int64_t> after_revision = std::nullopt;
  /// Only entries whose key begins with this.
  std::string key_prefix = {};
};

}  // namespace agenterra::workflow_state
