#include "wire.hpp"

#include <cmath>
#include <random>

#include "failures.hpp"
#include "values.hpp"

namespace agenterra::workflow_state::detail {
namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

double finite(double value, const char* field) {
  if (!std::isfinite(value)) throw invalid(field, std::string(field) + " must be finite.");
  return value;
}

template <class Request>
void fill_write(Request& request, const std::optional<std::int64_t>& if_revision, const std::string& id) {
  if (if_revision) request.set_if_revision(whole(*if_revision, "if_revision"));
  request.set_request_id(request_id(id));
}

bool is_write(const v1::Operation& operation) {
  return !operation.has_get_state() && !operation.has_get_session();
}

Result result_of(const v1::Result& result, const v1::Operation& operation) {
  switch (result.result_case()) {
    case v1::Result::kGetState:
      if (!result.get_state().has_entry()) return std::monostate{};
      return entry_of(result.get_state().entry());
    case v1::Result::kSetState:
      return entry_of(result.set_state().entry());
    case v1::Result::kDeleteState:
      return deletion_of(result.delete_state());
    case v1::Result::kCommit:
      return committed_of(result.commit());
    case v1::Result::kGetSession:
      if (!result.get_session().has_session()) return std::monostate{};
      return session_of(result.get_session().session());
    case v1::Result::kError:
      return error_of(result.error(), Code::unknown, result.error().message());
    case v1::Result::RESULT_NOT_SET:
      break;
  }
  return WorkflowStateError(is_write(operation) ? Reason::outcome_unknown : Reason::store_unavailable,
                            "The service's answer has a result of a kind that is not known here.");
}

}  // namespace

const std::string& text(const std::string& value, const char* field, Reason reason) {
  if (!is_utf8(value)) throw invalid(field, std::string(field) + " is not well-formed UTF-8.", reason);
  return value;
}

const std::string& session_id(const std::string& value, const char* field) {
  return text(value, field, Reason::invalid_session_id);
}

const std::string& key(const std::string& value) { return text(value, "key", Reason::invalid_key); }

std::int64_t whole(std::int64_t value, const char* field) {
  if (value < 0) throw invalid(field, std::string(field) + " must be 0 or more.");
  return value;
}

std::string request_id(const std::string& given) {
  if (!given.empty()) return text(given, "request_id");
  // 128 random bits of the system's own.
  std::random_device random;
  constexpr char digits[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 4; ++word) {
    for (std::uint32_t bits = random(), left = 8; left > 0; --left, bits >>= 4) id += digits[bits & 15];
  }
  return id;
}

void fill(google::protobuf::Timestamp& message, Time time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  message.set_seconds(seconds.time_since_epoch().count());
  message.set_nanos(static_cast<std::int32_t>((time - seconds).count() * 1'000'000));
}

Time moment(const google::protobuf::Timestamp& message) {
  return Time(std::chrono::seconds(message.seconds()) +
              std::chrono::milliseconds(message.nanos() / 1'000'000));
}

void fill(google::protobuf::Duration& message, Span span) {
  message.set_seconds(span.count() / 1000);
  message.set_nanos(static_cast<std::int32_t>(span.count() % 1000 * 1'000'000));
}

void fill(google::protobuf::Map<std::string, std::string>& message, const Labels& labels) {
  for (const auto& [name, label] : labels) message[text(name, "labels")] = text(label, "labels");
}

void fill(v1::CommitRequest& message, const Commit& commit) {
  message.set_session_id(session_id(commit.session_id));
  fill_write(message, commit.if_revision, commit.request_id);
  if (commit.workflow_id || commit.user_id || commit.labels || commit.ttl || commit.idle_ttl) {
    auto& metadata = *message.mutable_metadata();
    if (commit.workflow_id) metadata.set_workflow_id(text(*commit.workflow_id, "workflow_id"));
    if (commit.user_id) metadata.set_user_id(text(*commit.user_id, "user_id"));
    if (commit.labels) fill(*metadata.mutable_labels(), *commit.labels);
    metadata.set_clear_labels(commit.labels && commit.labels->empty());
    if (commit.ttl) fill(*metadata.mutable_ttl(), *commit.ttl);
    if (commit.idle_ttl) fill(*metadata.mutable_idle_ttl(), *commit.idle_ttl);
  }
  for (const Check& check : commit.checks) {
    auto& added = *message.add_checks();
    added.set_key(key(check.key));
    added.set_if_revision(whole(check.if_revision, "if_revision"));
  }
  for (const Change& change : commit.changes) {
    auto& added = *message.add_changes();
    std::visit(Overloaded{
                   [&](const SetChange& set) {
                     added.mutable_set()->set_key(key(set.key));
                     fill(*added.mutable_set()->mutable_value(), set.value, set.key);
                     if (set.ttl) fill(*added.mutable_set()->mutable_ttl(), *set.ttl);
                     added.mutable_set()->set_keep_expiry(set.keep_expiry);
                   },
                   [&](const DeleteChange& erased) { added.mutable_delete_()->set_key(key(erased.key)); },
                   [&](const IncrementChange& increment) {
                     added.mutable_increment()->set_key(key(increment.key));
                     added.mutable_increment()->set_delta(finite(increment.delta, "delta"));
                   },
                   [&](const AppendChange& append) {
                     added.mutable_append()->set_key(key(append.key));
                     for (const Value& value : append.values) {
                       fill(*added.mutable_append()->add_values(), value, append.key);
                     }
                     const auto most = whole(append.max_items, "max_items");
                     added.mutable_append()->set_max_items(static_cast<std::int32_t>(most));
                   },
                   [&](const MergeChange& merge) {
                     added.mutable_merge()->set_key(key(merge.key));
                     fill(*added.mutable_merge()->mutable_value(), merge.patch, merge.key);
                   },
               },
               change);
  }
}

v1::GetStateRequest request_of(const GetState& operation) {
  v1::GetStateRequest request;
  request.set_session_id(session_id(operation.session_id));
  request.set_key(key(operation.key));
  if (operation.at_revision) request.set_at_revision(whole(*operation.at_revision, "at_revision"));
  return request;
}

v1::SetStateRequest request_of(const SetState& operation) {
  v1::SetStateRequest request;
  request.set_session_id(session_id(operation.session_id));
  request.set_key(key(operation.key));
  fill(*request.mutable_value(), operation.value, operation.key);
  if (operation.ttl) fill(*request.mutable_ttl(), *operation.ttl);
  fill_write(request, operation.if_revision, operation.request_id);
  return request;
}

v1::DeleteStateRequest request_of(const DeleteState& operation) {
  v1::DeleteStateRequest request;
  request.set_session_id(session_id(operation.session_id));
  request.set_key(key(operation.key));
  fill_write(request, operation.if_revision, operation.request_id);
  return request;
}

v1::GetSessionRequest request_of(const GetSession& operation) {
  v1::GetSessionRequest request;
  request.set_session_id(session_id(operation.session_id));
  request.set_key_prefix(text(operation.key_prefix, "key_prefix"));
  if (operation.at_revision) request.set_at_revision(whole(*operation.at_revision, "at_revision"));
  return request;
}

void fill(google::protobuf::RepeatedPtrField<v1::Operation>& messages,
          const std::vector<Operation>& operations) {
  for (const Operation& operation : operations) {
    auto& added = *messages.Add();
    std::visit(Overloaded{
                   [&](const GetState& one) { *added.mutable_get_state() = request_of(one); },
                   [&](const SetState& one) { *added.mutable_set_state() = request_of(one); },
                   [&](const DeleteState& one) { *added.mutable_delete_state() = request_of(one); },
                   [&](const GetSession& one) { *added.mutable_get_session() = request_of(one); },
                   [&](const Commit& one) { fill(*added.mutable_commit(), one); },
               },
               operation);
  }
}

bool writes(const google::protobuf::RepeatedPtrField<v1::Operation>& operations) {
  for (const auto& operation : operations) {
    if (is_write(operation)) return true;
  }
  return false;
}

std::vector<Result> results_of(const google::protobuf::RepeatedPtrField<v1::Result>& results,
                               const google::protobuf::RepeatedPtrField<v1::Operation>& operations) {
  if (results.size() != operations.size()) {
    throw WorkflowStateError(writes(operations) ? Reason::outcome_unknown : Reason::store_unavailable,
                             "The service's answer has not one result for each operation.");
  }
  std::vector<Result> read;
  read.reserve(static_cast<std::size_t>(results.size()));
  for (int index = 0; index < results.size(); ++index) {
    read.push_back(result_of(results[index], operations[index]));
  }
  return read;
}

Entry entry_of(const v1::Entry& message) {
  Entry entry;
  entry.key = message.key();
  entry.deleted = !message.has_value();
  if (message.has_value()) entry.value = from_wire(message.value());
  entry.revision = message.revision();
  entry.update_time = moment(message.update_time());
  if (message.has_expire_time()) entry.expire_time = moment(message.expire_time());
  return entry;
}

Session session_of(const v1::Session& message) {
  Session session;
  session.session_id = message.session_id();
  for (const auto& [name, value] : message.state()) session.state.emplace(name, from_wire(value));
  session.revision = message.revision();
  if (message.has_create_time()) session.create_time = moment(message.create_time());
  if (message.has_update_time()) session.update_time = moment(message.update_time());
  if (message.has_workflow_id()) session.workflow_id = message.workflow_id();
  if (message.has_user_id()) session.user_id = message.user_id();
  session.labels = Labels(message.labels().begin(), message.labels().end());
  if (message.has_expire_time()) session.expire_time = moment(message.expire_time());
  if (message.has_forked_from()) {
    session.forked_from = ForkedFrom{message.forked_from().session_id(), message.forked_from().revision()};
  }
  return session;
}

Event event_of(const v1::Event& message) {
  Event event;
  event.session_id = message.session_id();
  event.revision = message.revision();
  event.time = moment(message.time());
  event.kind = static_cast<EventKind>(message.kind());
  for (const auto& entry : message.entries()) event.entries.push_back(entry_of(entry));
  event.request_id = message.request_id();
  return event;
}

Committed committed_of(const v1::CommitResponse& message) {
  Committed committed;
  committed.revision = message.revision();
  if (message.has_update_time()) committed.update_time = moment(message.update_time());
  for (const auto& entry : message.entries()) committed.entries.push_back(entry_of(entry));
  return committed;
}

Deletion deletion_of(const v1::DeleteStateResponse& message) {
  return {message.deleted(), message.revision()};
}

std::optional<WatchMessage> watch_message_of(const v1::WatchSessionResponse& message) {
  switch (message.message_case()) {
    case v1::WatchSessionResponse::kSnapshot:
      return Snapshot{session_of(message.snapshot())};
    case v1::WatchSessionResponse::kEvent:
      return event_of(message.event());
    case v1::WatchSessionResponse::kProgress:
      return Progress{message.progress().revision()};
    case v1::WatchSessionResponse::MESSAGE_NOT_SET:
      break;
  }
  return std::nullopt;
}

}  // namespace agenterra::workflow_state::detail
