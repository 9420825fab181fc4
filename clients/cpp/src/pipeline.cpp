#include <algorithm>

#include "failures.hpp"
#include "streams.hpp"

namespace agenterra::workflow_state {

Pipeline::Pipeline(std::shared_ptr<State> state) : state_(std::move(state)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() {
  if (state_) state_->end();
}
void Pipeline::send(const std::vector<Operation>& operations) { state_->send(operations); }
void Pipeline::finish() { state_->finish(); }
std::optional<std::vector<Result>> Pipeline::receive() { return state_->receive(); }
void Pipeline::close() { state_->end(); }

/// A stream, and the thread that opens it and writes to it; its answers are read by whoever receives them.
struct Pipeline::State::Connection {
  explicit Connection(State& pipeline) : state(pipeline), writer([this] { run(); }) {}
  ~Connection() { stop(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  using Stream = grpc::ClientReaderWriter<detail::v1::PipelineRequest, detail::v1::PipelineResponse>;

  void run() {
    try {
      state.channel_->prepare(context);
      if (!state.channel_->ready(detail::Deadline::max(), state.stopped_)) throw detail::unreachable();
    } catch (const WorkflowStateError& error) {
      const std::lock_guard<std::mutex> lock(state.mutex);
      failure = error;
      opened = true;
      state.changed.notify_all();
      return;
    }
    auto made = state.channel_->stub().Pipeline(&context);
    std::unique_lock<std::mutex> lock(state.mutex);
    stream = std::move(made);
    opened = true;
    state.changed.notify_all();
    while (true) {
      state.changed.wait(
          lock, [this] { return stopped || state.taken < state.unanswered_.size() || state.finished; });
      if (stopped) return;
      if (state.taken == state.unanswered_.size()) break;
      // An answer takes the oldest away while this one is being written.
      const detail::v1::PipelineRequest message = state.unanswered_[state.taken++];
      lock.unlock();
      const bool written = stream->Write(message);
      lock.lock();
      // The reader finds out why not.
      if (!written) return;
    }
    lock.unlock();
    stream->WritesDone();
  }

  /// Waits until the stream can be read; none: it could not be opened.
  Stream* wait_open() {
    std::unique_lock<std::mutex> lock(state.mutex);
    state.changed.wait(lock, [this] { return opened; });
    return stream.get();
  }

  /// Has the writer end.
  void stop() {
    {
      const std::lock_guard<std::mutex> lock(state.mutex);
      stopped = true;
      state.changed.notify_all();
    }
    context.TryCancel();
    if (writer.joinable()) writer.join();
  }

  State& state;
  grpc::ClientContext context;
  std::unique_ptr<Stream> stream;
  std::optional<detail::Failure> failure;
  bool answered = false;
  bool opened = false;
  bool stopped = false;
  std::thread writer;
};

Pipeline::State::~State() {
  cancel_by(nullptr);
  stopped_.set();
  connection_.reset();
}

void Pipeline::State::end() {
  Streaming::end();
  const std::lock_guard<std::mutex> lock(mutex);
  // Nobody may be reading, so nobody else ends it.
  if (connection_) {
    connection_->stopped = true;
    connection_->context.TryCancel();
  }
  changed.notify_all();
}

void Pipeline::State::send(const std::vector<Operation>& operations) {
  detail::v1::PipelineRequest request;
  detail::fill(*request.mutable_operations(), operations);
  const std::lock_guard<std::mutex> lock(mutex);
  if (finished)
    throw detail::invalid("operations", "The pipeline was finished: nothing can be sent any more.");
  unanswered_.push_back(std::move(request));
  changed.notify_all();
  if (!connection_ && !stopped_.is_set()) connection_ = std::make_shared<Connection>(*this);
}

void Pipeline::State::finish() {
  const std::lock_guard<std::mutex> lock(mutex);
  finished = true;
  changed.notify_all();
}

std::optional<std::vector<Result>> Pipeline::State::receive() {
  while (!over()) {
    if (done()) return std::nullopt;
    const std::shared_ptr<Connection> connection = connect();
    Connection::Stream* stream = connection->wait_open();
    detail::v1::PipelineResponse answer;
    if (stream != nullptr && stream->Read(&answer)) {
      failures = 0;
      connection->answered = true;
      return answered(answer);
    }
    const std::optional<detail::Failure> failure = drop(*connection);
    if (over() || done()) break;
    const bool refused = failure && !detail::is_unavailable(*failure);
    if (refused || ++failures >= channel_->settings().retry.attempts) {
      fail(unanswered(failure ? *failure : detail::Failure(detail::unreachable())));
    }
    stopped_.wait(detail::pause_after(channel_->settings().retry, failures));
  }
  return std::nullopt;
}

std::shared_ptr<Pipeline::State::Connection> Pipeline::State::connect() {
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!connection_) connection_ = std::make_shared<Connection>(*this);
    connection = connection_;
  }
  cancel_by([context = &connection->context] { context->TryCancel(); });
  return connection;
}

std::vector<Result> Pipeline::State::answered(const detail::v1::PipelineResponse& answer) {
  detail::v1::PipelineRequest oldest;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (taken > 0) {
      oldest = std::move(unanswered_.front());
      unanswered_.pop_front();
      --taken;
      if (taken_before > 0) --taken_before;
    }
  }
  // One that answers what was not asked has more results than none.
  return detail::results_of(answer.results(), oldest.operations());
}

bool Pipeline::State::done() {
  const std::lock_guard<std::mutex> lock(mutex);
  return finished && unanswered_.empty();
}

std::optional<detail::Failure> Pipeline::State::drop(Connection& connection) {
  // It has ended by itself, so what stopping it cancels is not what it says in the end.
  std::optional<detail::Failure> failure = connection.failure;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    connection.stopped = true;
    changed.notify_all();
  }
  connection.writer.join();
  if (connection.stream) {
    const grpc::Status status = connection.stream->Finish();
    if (!status.ok()) failure = detail::failure_of(status, false);
  }
  cancel_by(nullptr);
  const std::lock_guard<std::mutex> lock(mutex);
  connection_.reset();
  // Of what the service refuses before it has answered anything nothing was done.
  const bool refused = failure && !detail::is_unavailable(*failure) && !connection.answered;
  if (!refused) taken_before = std::max(taken_before, taken);
  taken = 0;
  return failure;
}

WorkflowStateError Pipeline::State::unanswered(const detail::Failure& failure) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (std::size_t at = 0; at < taken_before && detail::leaves_open(failure); ++at) {
    if (!detail::writes(unanswered_[at].operations())) continue;
    return WorkflowStateError(
               Reason::outcome_unknown,
               "Writes without an answer may or may not have happened; send them again with the "
               "same request ids.")
        .caused_by(failure.what());
  }
  return failure;
}

}  // namespace agenterra::workflow_state
