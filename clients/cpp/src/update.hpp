/// @file
/// Reading all of a session's state, and what `update` does with it.
#pragma once

#include <agenterra/workflow_state/draft.hpp>

#include "channel.hpp"

namespace agenterra::workflow_state::detail {

/// The session that a write left, with its state: where the answer has none, page by page, at its revision.
/// The write is done by then, so a service that can't be reached, or does not let the caller in, is
/// `outcome_unknown`.
Session completed(Channel& channel, ::agenterra::state::v1::Session& session, Deadline deadline);

/// Runs the updates of one client, those of one session one after the other.
class Updater {
 public:
  void update(Channel& channel, const std::string& session_id, const std::function<void(Draft&)>& change,
              const UpdateOptions& options);

 private:
  class Turn;

  struct Waiting {
    std::mutex mutex;
    int count = 0;
  };

  std::mutex mutex_;
  std::map<std::string, Waiting> sessions_;
};

}  // namespace agenterra::workflow_state::detail
