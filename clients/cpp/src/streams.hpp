/// @file
/// What watches and pipelines are made of.
#pragma once

#include <agenterra/workflow_state/streams.hpp>
#include <deque>
#include <thread>

#include "channel.hpp"
#include "wire.hpp"

namespace agenterra::workflow_state {
namespace detail {

/// The answers of a call, read one by one, each waited for no longer than one likes.
template <class Response>
class AnswerStream {
 public:
  using Reader = std::unique_ptr<grpc::ClientAsyncReader<Response>>;

  /// Begins the call; does not wait.
  template <class Start>
  AnswerStream(const Channel& channel, const Start& start) {
    channel.prepare(context_);
    reader_ = start(&context_, &queue_);
    reader_->StartCall(this);
  }
  ~AnswerStream() {
    context_.TryCancel();
    if (pending_) wait(std::nullopt);
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) continue;
  }
  AnswerStream(const AnswerStream&) = delete;
  AnswerStream& operator=(const AnswerStream&) = delete;

  /// The next answer; none: there are no more, or there was none for so long. Then `finish`.
  std::optional<Response> read(const std::optional<Span>& silence) {
    if (!started_) {
      if (!wait(silence)) return std::nullopt;
      started_ = true;
    }
    Response response;
    reader_->Read(&response, this);
    pending_ = true;
    if (!wait(silence)) return std::nullopt;
    return response;
  }

  /// How it ended.
  grpc::Status finish() {
    grpc::Status status;
    reader_->Finish(&status, this);
    pending_ = true;
    wait(std::nullopt);
    return silent_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "nothing was heard for too long") : status;
  }

  /// Ends it, from any thread.
  void cancel() { context_.TryCancel(); }

 private:
  /// Whether what was begun has succeeded.
  bool wait(const std::optional<Span>& silence) {
    void* tag = nullptr;
    bool ok = false;
    if (silence) {
      const auto until = std::chrono::system_clock::now() + *silence;
      if (queue_.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::TIMEOUT) {
        silent_ = true;
        context_.TryCancel();
        queue_.Next(&tag, &ok);
        ok = false;
      }
    } else {
      queue_.Next(&tag, &ok);
    }
    pending_ = false;
    return ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  Reader reader_;
  // Of what was begun one thing at most is not waited for yet; at first the start.
  bool pending_ = true;
  bool started_ = false;
  bool silent_ = false;
};

/// What is over when it is closed, or its client is.
class Streaming : public Endable {
 public:
  explicit Streaming(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

  void end() override {
    stopped_.set();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (cancel_) cancel_();
  }

 protected:
  /// Whether there is nothing more to come. Throws if that is so because the client was closed.
  bool over() const {
    if (ended_by_error_) return true;
    if (channel_->closed().is_set()) throw_closed();
    return stopped_.is_set();
  }

  /// How to end what is waited for; a stream that was ended meanwhile is ended now.
  void cancel_by(std::function<void()> cancel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancel_ = std::move(cancel);
    if (cancel_ && stopped_.is_set()) cancel_();
  }

  [[noreturn]] void fail(const WorkflowStateError& failure) {
    ended_by_error_ = true;
    end();
    throw failure;
  }

  [[noreturn]] static void throw_closed();

  const std::shared_ptr<Channel> channel_;
  Flag stopped_;

 private:
  std::mutex mutex_;
  std::function<void()> cancel_;
  // For the reader only.
  bool ended_by_error_ = false;
};

}  // namespace detail

struct SessionWatch::State final : detail::Streaming {
  State(std::shared_ptr<detail::Channel> channel, detail::v1::WatchSessionRequest asked)
      : Streaming(std::move(channel)), request(std::move(asked)) {}
  ~State() override { close_stream(); }

  std::optional<WatchMessage> next();

 private:
  using Stream = detail::AnswerStream<detail::v1::WatchSessionResponse>;

  void open();
  void close_stream();

  detail::v1::WatchSessionRequest request;
  std::unique_ptr<Stream> stream;
  int failures = 0;
};

struct SessionsWatch::State final : detail::Streaming {
  State(std::shared_ptr<detail::Channel> channel, const detail::v1::WatchSessionsRequest& request);
  ~State() override { cancel_by(nullptr); }

  std::optional<SessionChange> next();

 private:
  detail::AnswerStream<detail::v1::WatchSessionsResponse> stream;
};

struct Pipeline::State final : detail::Streaming {
  explicit State(std::shared_ptr<detail::Channel> channel) : Streaming(std::move(channel)) {}
  ~State() override;

  void end() override;
  void send(const std::vector<Operation>& operations);
  void finish();
  std::optional<std::vector<Result>> receive();

 private:
  struct Connection;

  /// The connection of the moment.
  std::shared_ptr<Connection> connect();
  /// Puts an answer to the oldest batch.
  std::vector<Result> answered(const detail::v1::PipelineResponse& answer);
  /// Whether all that will be sent is answered.
  bool done();
  /// Ends a connection; says what it failed with, if it did.
  std::optional<detail::Failure> drop(Connection& connection);
  /// The error of a pipeline that is given up.
  WorkflowStateError unanswered(const detail::Failure& failure);

  std::mutex mutex;
  std::condition_variable changed;
  // What is not answered, the oldest first; the connection of the moment has taken so many of them.
  std::deque<detail::v1::PipelineRequest> unanswered_;
  std::size_t taken = 0;
  // So many of them, from the oldest, were taken by a connection that has ended, and may be done.
  std::size_t taken_before = 0;
  bool finished = false;
  std::shared_ptr<Connection> connection_;
  int failures = 0;
};

}  // namespace agenterra::workflow_state
