#include "failures.hpp"

#include <agenterra/state/v1/state.pb.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>

#include <optional>

namespace agenterra::workflow_state::detail {
namespace {

// The number of `details` in google.rpc.Status, a repeated google.protobuf.Any.
constexpr int details_field = 3;

constexpr const char* unknown_outcome =
    "The write may or may not have happened; retry it with the same request id.";
constexpr const char* was_closed = "This client was closed.";

bool is_known(Reason reason) { return code_of(reason) != Code::unknown; }

/// The ErrorDetail among the details of a status, a google.rpc.Status in the trailers.
std::optional<state::v1::ErrorDetail> detail_of(const grpc::Status& status) {
  // A message of no fields keeps those it doesn't know: that spares a package for one message.
  google::protobuf::Empty fields;
  if (!fields.ParseFromString(status.error_details())) return std::nullopt;
  const auto& unknown = fields.GetReflection()->GetUnknownFields(fields);
  for (int index = 0; index < unknown.field_count(); ++index) {
    const auto& field = unknown.field(index);
    if (field.number() != details_field ||
        field.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      continue;
    }
    google::protobuf::Any any;
    state::v1::ErrorDetail detail;
    if (any.ParseFromString(field.length_delimited()) && any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

/// Whether a proxy gives that code, too, for a status of its own.
bool is_of_proxies(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNIMPLEMENTED || code == grpc::StatusCode::NOT_FOUND ||
         code == grpc::StatusCode::RESOURCE_EXHAUSTED;
}

WorkflowStateError described(const grpc::Status& status, const std::optional<state::v1::ErrorDetail>& detail,
                             bool write) {
  const std::string& said = status.error_message();
  if (detail) {
    const auto code = static_cast<Code>(status.error_code());
    return error_of(*detail, code, said.empty() ? "The call has failed." : said);
  }
  const std::string refused = said.empty() ? "The service refused the call." : said;
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {Reason::invalid_request, refused};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {Reason::request_too_large, refused};
    case grpc::StatusCode::UNAUTHENTICATED:
      return {Reason::unauthenticated, refused};
    case grpc::StatusCode::PERMISSION_DENIED:
      return {Reason::permission_denied, refused};
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::NOT_FOUND:
      // It will be so the next time too: no reason to retry.
      return {Reason::invalid_request,
              "There is no such call at this address: check the URL, and that the service is not older than "
              "this client."};
    default:
      return write ? WorkflowStateError(Reason::outcome_unknown, unknown_outcome) : unreachable();
  }
}

}  // namespace

Failure failure_of(const grpc::Status& status, bool write) {
  const auto detail = detail_of(status);
  const std::string code = to_string(static_cast<Code>(status.error_code()));
  return {described(status, detail, write).caused_by(code + ": " + status.error_message()),
          !detail && is_of_proxies(status.error_code())};
}

WorkflowStateError error_of(const state::v1::ErrorDetail& detail, Code code, const std::string& message) {
  std::vector<FailedCheck> checks;
  for (const auto& check : detail.failed_checks()) {
    checks.push_back({check.key(), check.if_revision(), check.actual_revision()});
  }
  WorkflowStateError::Metadata metadata(detail.metadata().begin(), detail.metadata().end());
  return {static_cast<Reason>(detail.reason()), code, message, std::move(metadata), std::move(checks)};
}

WorkflowStateError unreachable() {
  return {Reason::store_unavailable, "The service can't be reached or did not answer; retry later."};
}

WorkflowStateError overdue() {
  return {Reason::store_unavailable,
          "The call's time ran out before it could be sent; give it a longer timeout."};
}

WorkflowStateError closed_error(bool write) {
  return {write ? Reason::outcome_unknown : Reason::store_unavailable, was_closed};
}

WorkflowStateError closed_stream() { return {Reason::shutting_down, was_closed}; }

WorkflowStateError no_token(const std::string& cause) {
  return WorkflowStateError(Reason::store_unavailable, "The token of the call could not be had.")
      .caused_by(cause);
}

WorkflowStateError invalid(const std::string& field, const std::string& message, Reason reason) {
  return {reason, message, {{"field", field}}};
}

bool leaves_open(const Failure& failure) noexcept {
  switch (failure.reason()) {
    // Decided before the service looks at a request id.
    case Reason::unauthenticated:
    case Reason::permission_denied:
    case Reason::rate_limited:
      return true;
    default:
      return is_unavailable(failure) || failure.of_a_proxy();
  }
}

Failure still_unknown(const Failure& failure) {
  if (failure.reason() == Reason::outcome_unknown || !leaves_open(failure)) return failure;
  return WorkflowStateError(Reason::outcome_unknown, unknown_outcome).caused_by(failure.what());
}

bool may_be_done(const WorkflowStateError& failure) noexcept {
  return failure.reason() == Reason::outcome_unknown ||
         (is_unavailable(failure) && !is_known(failure.reason()));
}

bool is_unavailable(const WorkflowStateError& failure) noexcept {
  return failure.code() == Code::unavailable;
}

}  // namespace agenterra::workflow_state::detail
