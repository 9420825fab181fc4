/// @file
/// Arguments to messages, and messages to nouns. What no message can hold is refused here, the rest by the
/// service.
#pragma once

#include <agenterra/state/v1/service.pb.h>

#include <agenterra/workflow_state/options.hpp>

namespace agenterra::workflow_state::detail {

namespace v1 = ::agenterra::state::v1;

/// Checks text: that it is well-formed UTF-8.
const std::string& text(const std::string& value, const char* field, Reason reason = Reason::invalid_request);

/// Checks a session id.
const std::string& session_id(const std::string& value, const char* field = "session_id");

/// Checks a key.
const std::string& key(const std::string& value);

/// Checks a number that can't be negative.
std::int64_t whole(std::int64_t value, const char* field);

/// The request id that is given, or else one that no other call has.
std::string request_id(const std::string& given);

/// A moment as a message, and back.
void fill(google::protobuf::Timestamp& message, Time time);
Time moment(const google::protobuf::Timestamp& message);

/// A span of time as a message.
void fill(google::protobuf::Duration& message, Span span);

/// Writes all of a map's labels, checked.
void fill(google::protobuf::Map<std::string, std::string>& message, const Labels& labels);

/// A commit as a message, with a request id.
void fill(v1::CommitRequest& message, const Commit& commit);

/// Writes the filters of a listing or a watch of sessions.
template <class Request>
void fill_filter(Request& request, const SessionFilter& filter) {
  request.set_workflow_id(text(filter.workflow_id, "workflow_id"));
  request.set_user_id(text(filter.user_id, "user_id"));
  request.set_session_id_prefix(text(filter.session_id_prefix, "session_id_prefix"));
  fill(*request.mutable_labels(), filter.labels);
  if (filter.updated_after) fill(*request.mutable_updated_after(), *filter.updated_after);
  if (filter.updated_before) fill(*request.mutable_updated_before(), *filter.updated_before);
}

/// What operations have in common with calls.
v1::GetStateRequest request_of(const GetState& operation);
v1::SetStateRequest request_of(const SetState& operation);
v1::DeleteStateRequest request_of(const DeleteState& operation);
v1::GetSessionRequest request_of(const GetSession& operation);

/// Operations as messages, writes with request ids.
void fill(google::protobuf::RepeatedPtrField<v1::Operation>& messages,
          const std::vector<Operation>& operations);

/// Whether any of the operations writes.
bool writes(const google::protobuf::RepeatedPtrField<v1::Operation>& operations);

/// The results of a batch, one for each operation.
std::vector<Result> results_of(const google::protobuf::RepeatedPtrField<v1::Result>& results,
                               const google::protobuf::RepeatedPtrField<v1::Operation>& operations);

Entry entry_of(const v1::Entry& message);
Session session_of(const v1::Session& message);
Event event_of(const v1::Event& message);
Committed committed_of(const v1::CommitResponse& message);
Deletion deletion_of(const v1::DeleteStateResponse& message);

/// A message of a watch; none: one of a kind that this client does not know.
std::optional<WatchMessage> watch_message_of(const v1::WatchSessionResponse& message);

}  // namespace agenterra::workflow_state::detail
