/// @file
/// The one error class of the client, its closed reasons, and the status code of each.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace agenterra::workflow_state {

/// The status code of a failure; the numbers are gRPC's.
enum class Code {
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

/// Why a call failed: a closed set, the same in every language; the numbers are those of the wire. One that a
/// newer service has and this client does not know keeps its number.
enum class Reason {
  /// A session id is empty, too long or ill-formed.
  invalid_session_id = 1,
  /// A key is empty, too long or ill-formed.
  invalid_key = 2,
  /// A value can't be kept; metadata `path` says where in it.
  invalid_value = 3,
  /// The page token is not from this listing.
  invalid_page_token = 4,
  /// The request id was used for another request to the session.
  request_id_reused = 5,
  /// Another argument is wrong; metadata `field` names it.
  invalid_request = 6,
  /// A check did not hold; `failed_checks` has every one. Read again and retry.
  revision_mismatch = 7,
  /// The stored value has another type than the change needs; metadata `key` names it.
  value_type_mismatch = 8,
  /// The session to fork or to restore is not there.
  session_not_found = 9,
  /// The session to fork into is there already.
  session_exists = 10,
  /// The revision is no longer kept; metadata `oldest_revision` is the oldest that is.
  history_compacted = 11,
  /// The revision is not made yet; metadata `current_revision` is the last.
  future_revision = 12,
  /// An increment's result can't be kept exactly.
  number_out_of_range = 13,
  /// A value is over the limit; metadata `limit` and `actual` are in bytes.
  value_too_large = 14,
  /// The request, or its answer, is over a limit.
  request_too_large = 15,
  /// The session would grow over the limit, or is too large for one answer: read it with `list_state`.
  session_too_large = 16,
  /// The session would have too many entries.
  too_many_entries = 17,
  /// The caller asks too fast.
  rate_limited = 18,
  /// The store is full.
  storage_full = 19,
  /// The service can't be reached or can't answer now; a write did not happen.
  store_unavailable = 20,
  /// The write may or may not have happened: retry it with the same request id.
  outcome_unknown = 21,
  /// The service is stopping, or this client was closed.
  shutting_down = 22,
  /// Who is calling can't be told.
  unauthenticated = 23,
  /// The caller may not do that.
  permission_denied = 24,
  /// A stored value can't be decrypted: the key is missing, or the value was changed.
  value_unreadable = 25,
};

/// The name of a reason as every language has it, such as "REVISION_MISMATCH"; of an unknown one "REASON_"
/// and its number.
std::string to_string(Reason reason);

/// The name of a code as every language has it, such as "INVALID_ARGUMENT".
std::string to_string(Code code);

/// The code that belongs to a reason; `Code::unknown` of an unknown one.
Code code_of(Reason reason) noexcept;

/// A check that did not hold.
struct FailedCheck {
  /// The key; empty: the session's own `if_revision`.
  std::string key;
  /// The revision that was asked for.
  std::int64_t if_revision = 0;
  /// The revision that is there; 0: absent.
  std::int64_t actual_revision = 0;
};

/// What every call of a client throws: a closed `reason`, and facts for programs. Decide by the reason, not
/// by the text, which is for a person and never holds a stored value.
class WorkflowStateError : public std::runtime_error {
 public:
  /// Facts by name: `path`, `field`, `key`, `limit`, `actual`, `oldest_revision`, `current_revision`.
  using Metadata = std::map<std::string, std::string>;

  WorkflowStateError(Reason reason, const std::string& message, Metadata metadata = {},
                     std::vector<FailedCheck> failed_checks = {});

  /// As above, for a reason whose code this client does not know.
  WorkflowStateError(Reason reason, Code code, const std::string& message, Metadata metadata,
                     std::vector<FailedCheck> failed_checks);

  /// Why the call failed.
  Reason reason() const noexcept { return reason_; }

  /// The status code that belongs to the reason.
  Code code() const noexcept { return code_; }

  /// The text without the reason before it, as `what` has it.
  const std::string& message() const noexcept { return message_; }

  const Metadata& metadata() const noexcept { return metadata_; }

  /// Every check that did not hold; empty unless the reason is `revision_mismatch`.
  const std::vector<FailedCheck>& failed_checks() const noexcept { return failed_checks_; }

  /// What gRPC said underneath, for a log; empty if it was not asked.
  const std::string& cause() const noexcept { return cause_; }

  /// This error with a cause.
  WorkflowStateError caused_by(std::string cause) const;

 private:
  Reason reason_;
  Code code_;
  std::string message_;
  Metadata metadata_;
  std::vector<FailedCheck> failed_checks_;
  std::string cause_;
};

}  // namespace agenterra::workflow_state
