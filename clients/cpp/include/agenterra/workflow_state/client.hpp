/// @file
/// The client.
#pragma once

#include <agenterra/workflow_state/draft.hpp>
#include <agenterra/workflow_state/options.hpp>
#include <agenterra/workflow_state/streams.hpp>
#include <type_traits>

namespace agenterra::workflow_state {

/// The sessions that a service keeps.
///
///     Client client("http://127.0.0.1:7410");
///     client.set_state("cart-1", "items", {"milk"});
///
/// A call that fails with UNAVAILABLE is tried again until its attempts or its time run out; every write
/// carries a request id, made once for the call unless one is given, so that it is done once. What fails
/// throws a `WorkflowStateError`. A client is one connection and serves any number of threads. Make it after
/// a `fork`, not before.
class Client {
 public:
  /// Connects when it is first used. `url` is `http://HOST:PORT` or, with TLS, `https://HOST:PORT`.
  explicit Client(const std::string& url, const ClientOptions& options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// Does what `close` does.
  ~Client();

  /// Ends what is under way, in other threads too: streams with `shutting_down`, writes with
  /// `outcome_unknown`, reads with `store_unavailable`. Later calls fail.
  void close();

  // One entry

  /// Reads a value; nothing if there is none. A stored null is null.
  std::optional<Value> get_state(const std::string& session_id, const std::string& key,
                                 const ReadOptions& options = {});

  /// Reads an entry: the value with its revision and times; nothing if there is none.
  std::optional<Entry> get_entry(const std::string& session_id, const std::string& key,
                                 const ReadOptions& options = {});

  /// Writes an entry; creates the session if it is missing.
  Entry set_state(const std::string& session_id, const std::string& key, const Value& value,
                  const SetStateOptions& options = {});

  /// Deletes an entry.
  Deletion delete_state(const std::string& session_id, const std::string& key,
                        const DeleteOptions& options = {});

  /// Lists the entries of a session by key.
  Listing<Entry> list_state(const std::string& session_id, const ListStateOptions& options = {});

  // Sessions

  /// Reads a session with its state, or the part of it under a prefix; nothing if there is none. One that is
  /// larger than an answer may be fails with `session_too_large`: read it with `list_state`.
  std::optional<Session> get_session(const std::string& session_id, const GetSessionOptions& options = {});

  /// Creates a session, or replaces all of its state and metadata; to change a part use `commit` or `update`.
  Session save_session(const std::string& session_id, const State& state,
                       const SaveSessionOptions& options = {});

  /// Deletes a session and all its entries; says whether there was one.
  bool delete_session(const std::string& session_id, const DeleteOptions& options = {});

  /// Lists the sessions that match.
  Listing<Session> list_sessions(const SessionFilter& filter = {}, const ListSessionsOptions& options = {});

  /// The ids of all sessions, in order.
  std::vector<std::string> get_all_session_ids(const CallOptions& options = {});

  // Many changes at once

  /// Makes one atomic write. Sent again, the same commit counts again, unless it has a request id.
  Committed commit(const Commit& commit, const CallOptions& options = {});

  /// Has a function change the session's state, and commits what it changed under checks on what it looked
  /// at. On a conflict all is done again, so the function may run several times: keep other effects out of
  /// it. A key that it changes is written whole and without an expiry. If it throws, nothing is written.
  /// Gives what it returns.
  template <class Function>
  std::invoke_result_t<Function&, Draft&> update(const std::string& session_id, Function&& change,
                                                 const UpdateOptions& options = {}) {
    using Returned = std::invoke_result_t<Function&, Draft&>;
    static_assert(!std::is_reference_v<Returned>, "What it refers to would be gone: return a value.");
    if constexpr (std::is_void_v<Returned>) {
      run_update(
          session_id, [&change](Draft& draft) { change(draft); }, options);
    } else {
      std::optional<Returned> returned;
      run_update(
          session_id, [&](Draft& draft) { returned.emplace(change(draft)); }, options);
      return std::move(*returned);
    }
  }

  /// Runs operations in order, on any sessions; gives one result for each, which can be an error. Each is
  /// atomic by itself, the batch is not.
  std::vector<Result> batch(const std::vector<Operation>& operations, const CallOptions& options = {});

  /// Runs batches over one stream.
  Pipeline pipeline();

  // History

  /// Copies a session, as it is or as it was at a revision, to a new one.
  Session fork_session(const std::string& session_id, const std::string& new_session_id,
                       const ForkOptions& options = {});

  /// Gives a session the content that it had at a revision, as a new revision. Brings back a deleted session,
  /// too.
  Session restore_session(const std::string& session_id, std::int64_t at_revision,
                          const RestoreOptions& options = {});

  /// Lists what the commits to a session did.
  Listing<Event> list_events(const std::string& session_id, const ListEventsOptions& options = {});

  // Watching

  /// Follows a session: a `Snapshot` first, or after a revision none, then every commit as an `Event`, in
  /// order. It outlives lost connections and a deletion of the session. `Progress` says that nothing is new.
  SessionWatch watch_session(const std::string& session_id, const WatchOptions& options = {});

  /// Follows the commits to all sessions that match, from now on. A lost connection ends it with
  /// `store_unavailable`: watch again, then close the gap with `list_sessions` and its `updated_after`.
  SessionsWatch watch_sessions(const SessionFilter& filter = {});

 private:
  struct Impl;
  void run_update(const std::string& session_id, const std::function<void(Draft&)>& change,
                  const UpdateOptions& options);
  std::shared_ptr<Impl> impl_;
};

}  // namespace agenterra::workflow_state
