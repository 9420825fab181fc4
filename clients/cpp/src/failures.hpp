/// @file
/// What gRPC says, as the error of the client: by the detail in the status, never by its text.
#pragma once

#include <grpcpp/support/status.h>

#include <agenterra/workflow_state/error.hpp>

namespace agenterra::state::v1 {
class ErrorDetail;
}

namespace agenterra::workflow_state::detail {

/// What a call failed with, and whether that may be a proxy's own word rather than the store's.
class Failure : public WorkflowStateError {
 public:
  // Not explicit: every error can be what a call fails with.
  Failure(const WorkflowStateError& error, bool of_a_proxy = false)
      : WorkflowStateError(error), of_a_proxy_(of_a_proxy) {}

  bool of_a_proxy() const noexcept { return of_a_proxy_; }

 private:
  bool of_a_proxy_;
};

/// A status that is not OK as an error. What can't be known of a write is `outcome_unknown`.
Failure failure_of(const grpc::Status& status, bool write);

/// The error that a detail describes; the code is that of its status, for a reason that is not known here.
WorkflowStateError error_of(const state::v1::ErrorDetail& detail, Code code, const std::string& message);

/// The error of a call that did not reach the service, or of a read that was not answered.
WorkflowStateError unreachable();

/// The error of a call that had no time left.
WorkflowStateError overdue();

/// The error of a call on a client that was closed.
WorkflowStateError closed_error(bool write);

/// The error of a stream whose client was closed.
WorkflowStateError closed_stream();

/// The error of a call whose token could not be had.
WorkflowStateError no_token(const std::string& cause);

/// The error of an argument that is wrong before anything is sent.
WorkflowStateError invalid(const std::string& field, const std::string& message,
                           Reason reason = Reason::invalid_request);

/// Whether a failure leaves open how an earlier attempt of the same write has ended.
bool leaves_open(const Failure& failure) noexcept;

/// The failure of a write of which an earlier attempt may have been done.
Failure still_unknown(const Failure& failure);

/// Whether a write that failed so may have been done.
bool may_be_done(const WorkflowStateError& failure) noexcept;

/// Whether it may go better when tried again.
bool is_unavailable(const WorkflowStateError& failure) noexcept;

}  // namespace agenterra::workflow_state::detail
