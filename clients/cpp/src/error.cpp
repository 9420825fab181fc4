#include <agenterra/workflow_state/error.hpp>
#include <array>
#include <utility>

namespace agenterra::workflow_state {
namespace {

struct Row {
  Code code;
  const char* name;
};

// By the number of the reason, from 1.
constexpr std::array<Row, 25> reasons{{
    {Code::invalid_argument, "INVALID_SESSION_ID"},
    {Code::invalid_argument, "INVALID_KEY"},
    {Code::invalid_argument, "INVALID_VALUE"},
    {Code::invalid_argument, "INVALID_PAGE_TOKEN"},
    {Code::invalid_argument, "REQUEST_ID_REUSED"},
    {Code::invalid_argument, "INVALID_REQUEST"},
    {Code::aborted, "REVISION_MISMATCH"},
    {Code::failed_precondition, "VALUE_TYPE_MISMATCH"},
    {Code::not_found, "SESSION_NOT_FOUND"},
    {Code::already_exists, "SESSION_EXISTS"},
    {Code::out_of_range, "HISTORY_COMPACTED"},
    {Code::out_of_range, "FUTURE_REVISION"},
    {Code::out_of_range, "NUMBER_OUT_OF_RANGE"},
    {Code::resource_exhausted, "VALUE_TOO_LARGE"},
    {Code::resource_exhausted, "REQUEST_TOO_LARGE"},
    {Code::resource_exhausted, "SESSION_TOO_LARGE"},
    {Code::resource_exhausted, "TOO_MANY_ENTRIES"},
    {Code::resource_exhausted, "RATE_LIMITED"},
    {Code::resource_exhausted, "STORAGE_FULL"},
    {Code::unavailable, "STORE_UNAVAILABLE"},
    {Code::unavailable, "OUTCOME_UNKNOWN"},
    {Code::unavailable, "SHUTTING_DOWN"},
    {Code::unauthenticated, "UNAUTHENTICATED"},
    {Code::permission_denied, "PERMISSION_DENIED"},
    {Code::failed_precondition, "VALUE_UNREADABLE"},
}};

// By the number of the code.
constexpr std::array<const char*, 17> codes{
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

const Row* row_of(Reason reason) noexcept {
  const auto number = static_cast<std::size_t>(reason);
  return number >= 1 && number <= reasons.size() ? &reasons[number - 1] : nullptr;
}

}  // namespace

std::string to_string(Reason reason) {
  const Row* row = row_of(reason);
  return row != nullptr ? row->name : "REASON_" + std::to_string(static_cast<int>(reason));
}

std::string to_string(Code code) {
  const auto number = static_cast<std::size_t>(code);
  return number < codes.size() ? codes[number] : "UNKNOWN";
}

Code code_of(Reason reason) noexcept {
  const Row* row = row_of(reason);
  return row != nullptr ? row->code : Code::unknown;
}

WorkflowStateError::WorkflowStateError(Reason reason, const std::string& message, Metadata metadata,
                                       std::vector<FailedCheck> failed_checks)
    : WorkflowStateError(reason, code_of(reason), message, std::move(metadata), std::move(failed_checks)) {}

WorkflowStateError::WorkflowStateError(Reason reason, Code code, const std::string& message,
                                       Metadata metadata, std::vector<FailedCheck> failed_checks)
    : std::runtime_error(to_string(reason) + ": " + message),
      reason_(reason),
      code_(row_of(reason) != nullptr ? row_of(reason)->code : code),
      message_(message),
      metadata_(std::move(metadata)),
      failed_checks_(std::move(failed_checks)) {}

WorkflowStateError WorkflowStateError::caused_by(std::string cause) const {
  WorkflowStateError error = *this;
  error.cause_ = std::move(cause);
  return error;
}

}  // namespace agenterra::workflow_state
