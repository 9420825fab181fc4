#include "update.hpp"

#include <algorithm>
#include <random>
#include <thread>

#include "failures.hpp"
#include "wire.hpp"

namespace agenterra::workflow_state::detail {
namespace {

constexpr std::int32_t largest_page = 1000;
// The longest pause before another attempt, in milliseconds.
constexpr double max_pause = 100;
// No key begins with it, as keys go: it asks for a session without its state.
constexpr const char* no_key =
    "\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff";

v1::ListStateResponse page(Channel& channel, const std::string& id, std::optional<std::int64_t> revision,
                           const std::string& token, Deadline deadline) {
  v1::ListStateRequest request;
  request.set_session_id(session_id(id));
  request.set_page_size(largest_page);
  request.set_page_token(token);
  if (revision) request.set_at_revision(*revision);
  return channel.unary(&Stub::ListState, request, false, deadline);
}

template <class Take>
void all_entries(Channel& channel, const std::string& id, std::int64_t revision, Deadline deadline,
                 const Take& take) {
  std::string token;
  do {
    const v1::ListStateResponse answer = page(channel, id, revision, token, deadline);
    for (const auto& entry : answer.entries()) take(entry);
    token = answer.next_page_token();
  } while (!token.empty());
}

struct Read {
  std::map<std::string, Entry> entries;
  // The revision to check if all of it is to be unchanged.
  std::int64_t revision = 0;
};

/// The entries of a session as they were at one moment.
///
/// A revision that was known before the entries were read, or that one of them carries, is the session's at
/// that moment or older: a check of it can fail needlessly (and says the revision to know next time), but
/// never hold wrongly.
Read read_all(Channel& channel, const std::string& id, std::int64_t known,
              const std::optional<Span>& timeout) {
  Read read;
  const v1::ListStateResponse first = page(channel, id, std::nullopt, "", channel.deadline(timeout));
  if (first.next_page_token().empty()) {
    read.revision = known;
    for (const auto& entry : first.entries()) {
      read.revision = std::max(read.revision, entry.revision());
      read.entries.emplace(entry.key(), entry_of(entry));
    }
    return read;
  }
  // Pages are read one by one: as they were at one revision, they fit together.
  v1::GetSessionRequest request;
  request.set_session_id(id);
  request.set_key_prefix(no_key);
  const v1::GetSessionResponse answer =
      channel.unary(&Stub::GetSession, request, false, channel.deadline(timeout));
  if (!answer.has_session()) return read;
  read.revision = answer.session().revision();
  all_entries(channel, id, read.revision, channel.deadline(timeout),
              [&](const v1::Entry& entry) { read.entries.emplace(entry.key(), entry_of(entry)); });
  return read;
}

void rest(int attempt) {
  thread_local std::minstd_rand random(std::random_device{}());
  const double longest = std::min(max_pause, static_cast<double>(1 << std::min(attempt, 10)));
  const double pause = std::uniform_real_distribution<double>(0, longest)(random);
  std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause));
}

/// The sessions whose function is on this thread's stack now, of each updater.
std::set<std::pair<const void*, std::string>>& on_the_stack() {
  thread_local std::set<std::pair<const void*, std::string>> sessions;
  return sessions;
}

}  // namespace

Session completed(Channel& channel, v1::Session& session, Deadline deadline) {
  if (session.state().empty()) {
    try {
      all_entries(channel, session.session_id(), session.revision(), deadline,
                  [&](const v1::Entry& entry) { (*session.mutable_state())[entry.key()] = entry.value(); });
    } catch (const Failure& error) {
      if (!leaves_open(error)) throw;
      throw WorkflowStateError(
          Reason::outcome_unknown,
          "The write was made, but not all of the session's state could be read; retry it "
          "with the same request id.")
          .caused_by(error.what());
    }
  }
  return session_of(session);
}

/// A session's turn: waited for, and held.
class Updater::Turn {
 public:
  Turn(Updater& updater, const std::string& session_id) : updater_(updater), session_id_(session_id) {
    if (!on_the_stack().emplace(&updater_, session_id_).second) {
      throw invalid("change",
                    "An update's function can't update the same session: it would wait for itself.");
    }
    {
      const std::lock_guard<std::mutex> lock(updater_.mutex_);
      waiting_ = &updater_.sessions_[session_id_];
      ++waiting_->count;
    }
    waiting_->mutex.lock();
  }
  ~Turn() {
    waiting_->mutex.unlock();
    on_the_stack().erase({&updater_, session_id_});
    const std::lock_guard<std::mutex> lock(updater_.mutex_);
    if (--waiting_->count == 0) updater_.sessions_.erase(session_id_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Updater& updater_;
  std::string session_id_;
  Waiting* waiting_ = nullptr;
};

void Updater::update(Channel& channel, const std::string& id, const std::function<void(Draft&)>& change,
                     const UpdateOptions& options) {
  if (options.attempts < 1) throw invalid("attempts", "attempts must be 1 or more.");
  const Turn turn(*this, id);
  // The revision of the session that was heard of last, before its entries are read.
  std::int64_t known = 0;
  for (int attempt = 1;; ++attempt) {
    // What the function throws is not a conflict of this update: it passes on, whatever it is.
    std::optional<Read> read;
    try {
      read = read_all(channel, id, known, options.timeout);
    } catch (const WorkflowStateError& error) {
      // Others have written so much between its pages.
      if (error.reason() != Reason::history_compacted || attempt >= options.attempts) throw;
    }
    if (read) {
      Draft draft(std::move(read->entries), read->revision);
      change(draft);
      const std::optional<Commit> commit = draft.commit(id);
      if (!commit) return;
      v1::CommitRequest request;
      fill(request, *commit);
      try {
        channel.unary(&Stub::Commit, request, true, channel.deadline(options.timeout));
        return;
      } catch (const WorkflowStateError& error) {
        if (error.reason() != Reason::revision_mismatch || attempt >= options.attempts) throw;
        for (const FailedCheck& check : error.failed_checks()) {
          // Not the highest: the session may have been deleted.
          if (check.key.empty()) known = check.actual_revision;
        }
      }
    }
    rest(attempt);
  }
}

}  // namespace agenterra::workflow_state::detail
