#include <agenterra/workflow_state/client.hpp>

#include "failures.hpp"
#include "streams.hpp"
#include "update.hpp"
#include "values.hpp"

namespace agenterra::workflow_state {

namespace v1 = detail::v1;
using detail::Stub;
using detail::whole;

struct Client::Impl {
  explicit Impl(detail::Settings settings)
      : channel(std::make_shared<detail::Channel>(std::move(settings))) {}
  ~Impl() { channel->close(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  template <class Request, class Response>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

  template <class Request, class Response>
  Response read(Method<Request, Response> method, const Request& request,
                const std::optional<Span>& timeout) {
    return channel->unary(method, request, false, channel->deadline(timeout));
  }

  template <class Request, class Response>
  Response write(Method<Request, Response> method, const Request& request,
                 const std::optional<Span>& timeout) {
    return channel->unary(method, request, true, channel->deadline(timeout));
  }

  // Listings and streams may outlive the client; they hold this.
  const std::shared_ptr<detail::Channel> channel;
  detail::Updater updater;
};

namespace {

/// A listing of what the pages of an RPC hold.
template <class Item, class Request, class Response, class Items>
Listing<Item> listing(std::shared_ptr<detail::Channel> channel,
                      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                      Request request, const std::string& page_token, const std::optional<Span>& timeout,
                      Items items) {
  auto fetch = [channel, method, request, timeout, items](const std::string& token) mutable {
    request.set_page_token(token);
    const Response answer = channel->unary(method, request, false, channel->deadline(timeout));
    return Page<Item>{items(answer), answer.next_page_token()};
  };
  return Listing<Item>(std::move(fetch), detail::text(page_token, "page_token"));
}

template <class Item, class Messages, class Read>
std::vector<Item> each(const Messages& messages, Read read) {
  std::vector<Item> items;
  items.reserve(static_cast<std::size_t>(messages.size()));
  for (const auto& message : messages) items.push_back(read(message));
  return items;
}

std::int32_t page_size(std::int32_t size) { return static_cast<std::int32_t>(whole(size, "page_size")); }

}  // namespace

Client::Client(const std::string& url, const ClientOptions& options)
    : impl_(std::make_shared<Impl>(detail::settings_of(url, options))) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

void Client::close() { impl_->channel->close(); }

std::optional<Value> Client::get_state(const std::string& session_id, const std::string& key,
                                       const ReadOptions& options) {
  std::optional<Entry> entry = get_entry(session_id, key, options);
  return entry ? std::make_optional<Value>(std::move(entry->value)) : std::nullopt;
}

std::optional<Entry> Client::get_entry(const std::string& session_id, const std::string& key,
                                       const ReadOptions& options) {
  const auto request = detail::request_of(GetState{session_id, key, options.at_revision});
  const v1::GetStateResponse answer = impl_->read(&Stub::GetState, request, options.timeout);
  return answer.has_entry() ? std::make_optional(detail::entry_of(answer.entry())) : std::nullopt;
}

Entry Client::set_state(const std::string& session_id, const std::string& key, const Value& value,
                        const SetStateOptions& options) {
  const auto request = detail::request_of(
      SetState{session_id, key, value, options.if_revision, options.ttl, options.request_id});
  const v1::SetStateResponse answer = impl_->write(&Stub::SetState, request, options.timeout);
  return detail::entry_of(answer.entry());
}

Deletion Client::delete_state(const std::string& session_id, const std::string& key,
                              const DeleteOptions& options) {
  const auto request =
      detail::request_of(DeleteState{session_id, key, options.if_revision, options.request_id});
  return detail::deletion_of(impl_->write(&Stub::DeleteState, request, options.timeout));
}

Listing<Entry> Client::list_state(const std::string& session_id, const ListStateOptions& options) {
  v1::ListStateRequest request;
  request.set_session_id(detail::session_id(session_id));
  request.set_key_prefix(detail::text(options.key_prefix, "key_prefix"));
  request.set_start_after(detail::text(options.start_after, "start_after"));
  request.set_reverse(options.reverse);
  request.set_page_size(page_size(options.page_size));
  if (options.at_revision) request.set_at_revision(whole(*options.at_revision, "at_revision"));
  return listing<Entry>(
      impl_->channel, &Stub::ListState, std::move(request), options.page_token, options.timeout,
      [](const v1::ListStateResponse& answer) { return each<Entry>(answer.entries(), detail::entry_of); });
}

std::optional<Session> Client::get_session(const std::string& session_id, const GetSessionOptions& options) {
  const auto request = detail::request_of(GetSession{session_id, options.key_prefix, options.at_revision});
  const v1::GetSessionResponse answer = impl_->read(&Stub::GetSession, request, options.timeout);
  return answer.has_session() ? std::make_optional(detail::session_of(answer.session())) : std::nullopt;
}

Session Client::save_session(const std::string& session_id, const State& state,
                             const SaveSessionOptions& options) {
  v1::SaveSessionRequest request;
  auto& session = *request.mutable_session();
  session.set_session_id(detail::session_id(session_id));
  for (const auto& [key, value] : state) {
    detail::fill((*session.mutable_state())[detail::key(key)], value, key);
  }
  if (options.workflow_id) session.set_workflow_id(detail::text(*options.workflow_id, "workflow_id"));
  if (options.user_id) session.set_user_id(detail::text(*options.user_id, "user_id"));
  detail::fill(*session.mutable_labels(), options.labels);
  if (options.if_revision) request.set_if_revision(whole(*options.if_revision, "if_revision"));
  if (options.ttl) detail::fill(*request.mutable_ttl(), *options.ttl);
  if (options.idle_ttl) detail::fill(*request.mutable_idle_ttl(), *options.idle_ttl);
  request.set_request_id(detail::request_id(options.request_id));
  v1::SaveSessionResponse answer = impl_->write(&Stub::SaveSession, request, options.timeout);
  // Also where one answer could not hold it: what is there now is what was sent.
  if (answer.session().state().empty()) *answer.mutable_session()->mutable_state() = session.state();
  return detail::session_of(answer.session());
}

bool Client::delete_session(const std::string& session_id, const DeleteOptions& options) {
  v1::DeleteSessionRequest request;
  request.set_session_id(detail::session_id(session_id));
  if (options.if_revision) request.set_if_revision(whole(*options.if_revision, "if_revision"));
  request.set_request_id(detail::request_id(options.request_id));
  return impl_->write(&Stub::DeleteSession, request, options.timeout).deleted();
}

Listing<Session> Client::list_sessions(const SessionFilter& filter, const ListSessionsOptions& options) {
  v1::ListSessionsRequest request;
  detail::fill_filter(request, filter);
  request.set_view(static_cast<v1::SessionView>(options.view));
  request.set_order(static_cast<v1::SessionOrder>(options.order));
  request.set_page_size(page_size(options.page_size));
  return listing<Session>(impl_->channel, &Stub::ListSessions, std::move(request), options.page_token,
                          options.timeout, [](const v1::ListSessionsResponse& answer) {
                            return each<Session>(answer.sessions(), detail::session_of);
                          });
}

std::vector<std::string> Client::get_all_session_ids(const CallOptions& options) {
  ListSessionsOptions all;
  all.view = SessionView::ids;
  all.page_size = 1000;
  all.timeout = options.timeout;
  std::vector<std::string> ids;
  for (Session& session : list_sessions({}, all)) ids.push_back(std::move(session.session_id));
  return ids;
}

Committed Client::commit(const Commit& commit, const CallOptions& options) {
  v1::CommitRequest request;
  detail::fill(request, commit);
  return detail::committed_of(impl_->write(&Stub::Commit, request, options.timeout));
}

void Client::run_update(const std::string& session_id, const std::function<void(Draft&)>& change,
                        const UpdateOptions& options) {
  // Held, should the client move or be closed meanwhile.
  const std::shared_ptr<Impl> impl = impl_;
  impl->updater.update(*impl->channel, session_id, change, options);
}

std::vector<Result> Client::batch(const std::vector<Operation>& operations, const CallOptions& options) {
  v1::BatchRequest request;
  detail::fill(*request.mutable_operations(), operations);
  const v1::BatchResponse answer = impl_->channel->unary(
      &Stub::Batch, request, detail::writes(request.operations()), impl_->channel->deadline(options.timeout));
  return detail::results_of(answer.results(), request.operations());
}

Pipeline Client::pipeline() {
  auto state = std::make_shared<Pipeline::State>(impl_->channel);
  impl_->channel->add(state);
  return Pipeline(std::move(state));
}

Session Client::fork_session(const std::string& session_id, const std::string& new_session_id,
                             const ForkOptions& options) {
  v1::ForkSessionRequest request;
  request.set_session_id(detail::session_id(session_id));
  request.set_new_session_id(detail::session_id(new_session_id, "new_session_id"));
  if (options.at_revision) request.set_at_revision(whole(*options.at_revision, "at_revision"));
  request.set_request_id(detail::request_id(options.request_id));
  const detail::Deadline deadline = impl_->channel->deadline(options.timeout);
  v1::ForkSessionResponse answer = impl_->channel->unary(&Stub::ForkSession, request, true, deadline);
  return detail::completed(*impl_->channel, *answer.mutable_session(), deadline);
}

Session Client::restore_session(const std::string& session_id, std::int64_t at_revision,
                                const RestoreOptions& options) {
  v1::RestoreSessionRequest request;
  request.set_session_id(detail::session_id(session_id));
  request.set_at_revision(whole(at_revision, "at_revision"));
  if (options.if_revision) request.set_if_revision(whole(*options.if_revision, "if_revision"));
  request.set_request_id(detail::request_id(options.request_id));
  const detail::Deadline deadline = impl_->channel->deadline(options.timeout);
  v1::RestoreSessionResponse answer = impl_->channel->unary(&Stub::RestoreSession, request, true, deadline);
  return detail::completed(*impl_->channel, *answer.mutable_session(), deadline);
}

Listing<Event> Client::list_events(const std::string& session_id, const ListEventsOptions& options) {
  v1::ListEventsRequest request;
  request.set_session_id(detail::session_id(session_id));
  request.set_after_revision(whole(options.after_revision, "after_revision"));
  request.set_reverse(options.reverse);
  request.set_page_size(page_size(options.page_size));
  return listing<Event>(
      impl_->channel, &Stub::ListEvents, std::move(request), options.page_token, options.timeout,
      [](const v1::ListEventsResponse& answer) { return each<Event>(answer.events(), detail::event_of); });
}

SessionWatch Client::watch_session(const std::string& session_id, const WatchOptions& options) {
  v1::WatchSessionRequest request;
  request.set_session_id(detail::session_id(session_id));
  if (options.after_revision) request.set_after_revision(whole(*options.after_revision, "after_revision"));
  request.set_key_prefix(detail::text(options.key_prefix, "key_prefix"));
  auto state = std::make_shared<SessionWatch::State>(impl_->channel, std::move(request));
  impl_->channel->add(state);
  return SessionWatch(std::move(state));
}

SessionsWatch Client::watch_sessions(const SessionFilter& filter) {
  v1::WatchSessionsRequest request;
  detail::fill_filter(request, filter);
  auto state = std::make_shared<SessionsWatch::State>(impl_->channel, request);
  impl_->channel->add(state);
  return SessionsWatch(std::move(state));
}

}  // namespace agenterra::workflow_state
