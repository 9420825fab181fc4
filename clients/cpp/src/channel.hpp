/// @file
/// Calls to the service: deadlines, retries, and what failed as the client's error.
#pragma once

#include <agenterra/state/v1/service.grpc.pb.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "failures.hpp"
#include "settings.hpp"

namespace agenterra::workflow_state::detail {

using Stub = ::agenterra::state::v1::WorkflowStateService::Stub;

/// A point in time until which something may take.
using Deadline = std::chrono::steady_clock::time_point;

/// Something that happens once, and can be waited for.
class Flag {
 public:
  bool is_set() const;
  void set();
  /// Waits so long, or until it happens.
  void wait(Span span) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable happened_;
  bool set_ = false;
};

/// A stream that can be ended by anybody, at any time, and more than once.
class Endable {
 public:
  virtual ~Endable() = default;
  virtual void end() = 0;
};

/// A service behind a connection.
class Channel {
 public:
  explicit Channel(Settings settings);

  const Settings& settings() const { return settings_; }
  Stub& stub() { return *stub_; }
  /// Whether it was closed.
  const Flag& closed() const { return closed_; }

  /// When the time runs out of what is asked for now, whichever calls that takes.
  Deadline deadline(const std::optional<Span>& timeout) const;

  /// Ends what is under way. Later calls fail.
  void close();

  /// Has a stream ended when this closes; one that is closed already ends it now.
  void add(const std::shared_ptr<Endable>& stream);

  /// Makes a call, and again while it fails with UNAVAILABLE and there is time. What can't be known in the
  /// end is `outcome_unknown` for a write, `store_unavailable` for a read.
  template <class Request, class Response>
  Response unary(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                 const Request& request, bool write, Deadline deadline) {
    Response response;
    attempt(
        [&](grpc::ClientContext& context) { return (stub_.get()->*method)(&context, request, &response); },
        write, deadline);
    return response;
  }

  /// Puts what calls carry into the context of one.
  void prepare(grpc::ClientContext& context) const;

  /// Waits for a connection, so long or until something else has happened. If there is none, a call has
  /// certainly not been sent.
  bool ready(Deadline deadline, const Flag& ended);

 private:
  class Running;

  using Call = std::function<grpc::Status(grpc::ClientContext&)>;
  void attempt(const Call& call, bool write, Deadline deadline);
  /// What a call failed with, if it did.
  std::optional<Failure> once(const Call& call, bool write, Deadline deadline);

  const Settings settings_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Stub> stub_;
  Flag closed_;
  std::mutex mutex_;
  std::set<grpc::ClientContext*> running_;
  std::vector<std::weak_ptr<Endable>> streams_;
};

}  // namespace agenterra::workflow_state::detail
