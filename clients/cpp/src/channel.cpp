#include "channel.hpp"

#include <grpcpp/create_channel.h>

#include <algorithm>

namespace agenterra::workflow_state::detail {

namespace {

// What is waited for without being told of the client's end is looked at this often.
constexpr Span glance{100};

std::chrono::system_clock::time_point on_the_wall(Deadline deadline) {
  const auto left = deadline - std::chrono::steady_clock::now();
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
}

}  // namespace

bool Flag::is_set() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return set_;
}

void Flag::set() {
  const std::lock_guard<std::mutex> lock(mutex_);
  set_ = true;
  happened_.notify_all();
}

void Flag::wait(Span span) const {
  std::unique_lock<std::mutex> lock(mutex_);
  happened_.wait_for(lock, span, [this] { return set_; });
}

/// A call under way, which the channel's end cancels.
class Channel::Running {
 public:
  Running(Channel& channel, grpc::ClientContext& context) : channel_(channel), context_(&context) {
    const std::lock_guard<std::mutex> lock(channel_.mutex_);
    channel_.running_.insert(context_);
    // Who has closed it meanwhile did not find the call.
    if (channel_.closed_.is_set()) context_->TryCancel();
  }
  ~Running() {
    const std::lock_guard<std::mutex> lock(channel_.mutex_);
    channel_.running_.erase(context_);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  Channel& channel_;
  grpc::ClientContext* context_;
};

Channel::Channel(Settings settings)
    : settings_(std::move(settings)),
      channel_(grpc::CreateCustomChannel(settings_.target, settings_.credentials, settings_.arguments)),
      stub_(::agenterra::state::v1::WorkflowStateService::NewStub(channel_)) {}

Deadline Channel::deadline(const std::optional<Span>& timeout) const {
  return std::chrono::steady_clock::now() + (timeout ? positive(*timeout, "timeout") : settings_.timeout);
}

void Channel::close() {
  closed_.set();
  std::vector<std::shared_ptr<Endable>> streams;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (grpc::ClientContext* context : running_) context->TryCancel();
    for (const auto& stream : streams_) streams.push_back(stream.lock());
    streams_.clear();
  }
  for (const auto& stream : streams) {
    if (stream) stream->end();
  }
}

void Channel::add(const std::shared_ptr<Endable>& stream) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    streams_.erase(
        std::remove_if(streams_.begin(), streams_.end(), [](const auto& other) { return other.expired(); }),
        streams_.end());
    streams_.push_back(stream);
  }
  if (closed_.is_set()) stream->end();
}

void Channel::prepare(grpc::ClientContext& context) const {
  for (const auto& [name, value] : settings_.metadata) context.AddMetadata(name, value);
  if (!settings_.token) return;
  std::string token;
  try {
    token = settings_.token();
  } catch (const WorkflowStateError&) {
    throw;
  } catch (const std::exception& error) {
    throw no_token(error.what());
  }
  context.AddMetadata("authorization", authorization(token));
}

void Channel::attempt(const Call& call, bool write, Deadline deadline) {
  bool unknown = false;
  for (int count = 1;; ++count) {
    const std::optional<Failure> failure = once(call, write, deadline);
    if (!failure) return;
    unknown = unknown || (write && may_be_done(*failure));
    const Span pause = pause_after(settings_.retry, count);
    const bool over = closed_.is_set() || count >= settings_.retry.attempts ||
                      std::chrono::steady_clock::now() + pause >= deadline;
    if (over || !is_unavailable(*failure)) throw unknown ? still_unknown(*failure) : *failure;
    closed_.wait(pause);
  }
}

std::optional<Failure> Channel::once(const Call& call, bool write, Deadline deadline) {
  if (closed_.is_set()) return closed_error(false);
  grpc::ClientContext context;
  try {
    prepare(context);
  } catch (const WorkflowStateError& error) {
    return error;
  }
  if (!ready(deadline, closed_)) return unreachable();
  if (std::chrono::steady_clock::now() >= deadline) return overdue();
  context.set_deadline(on_the_wall(deadline));
  const Running running(*this, context);
  const grpc::Status status = call(context);
  if (status.ok()) return std::nullopt;
  if (closed_.is_set() && status.error_code() == grpc::StatusCode::CANCELLED) return closed_error(write);
  return failure_of(status, write);
}

bool Channel::ready(Deadline deadline, const Flag& ended) {
  while (!ended.is_set()) {
    const grpc_connectivity_state state = channel_->GetState(true);
    if (state == GRPC_CHANNEL_READY) return true;
    const bool broken = state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN;
    if (broken || std::chrono::steady_clock::now() >= deadline) return false;
    const Deadline soon = std::min(deadline, std::chrono::steady_clock::now() + glance);
    channel_->WaitForStateChange(state, on_the_wall(soon));
  }
  return false;
}

}  // namespace agenterra::workflow_state::detail
