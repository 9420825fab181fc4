#include "failures.hpp"
#include "streams.hpp"

namespace agenterra::workflow_state {

void detail::Streaming::throw_closed() { throw closed_stream(); }

SessionWatch::SessionWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
SessionWatch::SessionWatch(SessionWatch&&) noexcept = default;
SessionWatch& SessionWatch::operator=(SessionWatch&&) noexcept = default;
SessionWatch::~SessionWatch() = default;
std::optional<WatchMessage> SessionWatch::next() { return state_->next(); }
void SessionWatch::close() { state_->end(); }

std::optional<WatchMessage> SessionWatch::State::next() {
  while (!over()) {
    std::optional<WorkflowStateError> failure;
    try {
      if (!stream) open();
      if (const auto answer = stream->read(channel_->settings().silence)) {
        failures = 0;
        if (std::optional<WatchMessage> message = detail::watch_message_of(*answer)) {
          // Where to go on after this connection.
          request.set_after_revision(revision_of(*message));
          return message;
        }
        continue;
      }
      const grpc::Status status = stream->finish();
      if (!status.ok()) failure = detail::failure_of(status, false);
    } catch (const WorkflowStateError& error) {
      failure = error;
    }
    close_stream();
    if (over()) break;
    if (failure && !detail::is_unavailable(*failure)) fail(*failure);
    stopped_.wait(detail::pause_after(channel_->settings().retry, ++failures));
  }
  return std::nullopt;
}

void SessionWatch::State::open() {
  stream =
      std::make_unique<Stream>(*channel_, [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return channel_->stub().PrepareAsyncWatchSession(context, request, queue);
      });
  cancel_by([opened = stream.get()] { opened->cancel(); });
}

void SessionWatch::State::close_stream() {
  cancel_by(nullptr);
  stream.reset();
}

SessionsWatch::SessionsWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
SessionsWatch::SessionsWatch(SessionsWatch&&) noexcept = default;
SessionsWatch& SessionsWatch::operator=(SessionsWatch&&) noexcept = default;
SessionsWatch::~SessionsWatch() = default;
std::optional<SessionChange> SessionsWatch::next() { return state_->next(); }
void SessionsWatch::close() { state_->end(); }

// The call begins at once: what happens from now on is to be seen, whenever its reading begins.
SessionsWatch::State::State(std::shared_ptr<detail::Channel> channel,
                            const detail::v1::WatchSessionsRequest& request)
    : Streaming(std::move(channel)),
      stream(*channel_, [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return channel_->stub().PrepareAsyncWatchSessions(context, request, queue);
      }) {
  cancel_by([this] { stream.cancel(); });
}

std::optional<SessionChange> SessionsWatch::State::next() {
  if (over()) return std::nullopt;
  if (const auto answer = stream.read(std::nullopt)) {
    return SessionChange{detail::session_of(answer->session()), static_cast<EventKind>(answer->kind())};
  }
  const grpc::Status status = stream.finish();
  if (over()) return std::nullopt;
  if (!status.ok()) fail(detail::failure_of(status, false));
  fail({Reason::store_unavailable,
        "The service ended the watch; watch again, and close the gap with list_sessions and updated_after."});
}

}  // namespace agenterra::workflow_state
