/// @file
/// A gRPC server that answers as it is told: for what the service itself can't be made to say.
#pragma once

#include <agenterra/state/v1/service.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>

#include "support/service.hpp"

namespace tests {

namespace v1 = ::agenterra::state::v1;

/// Answers GetState, SetState, ForkSession, WatchSession, Batch and Pipeline, and keeps what calls carried.
class Raw final : public v1::WorkflowStateService::Service {
 public:
  Raw();
  ~Raw() override;

  const std::string& url() const { return url_; }

  /// Answers with these statuses first, one after the other.
  void fail(std::vector<grpc::Status> statuses);

  /// The header that calls carried, in their order; empty where they did not.
  std::vector<std::string> carried(const std::string& name);

  /// The request ids of the writes, in their order.
  std::vector<std::string> request_ids();

  /// How many pipelines are under way.
  int pipelines() const { return pipelines_; }

  /// What a watch is answered, in place of an end.
  std::function<grpc::Status(const v1::WatchSessionRequest&, grpc::ServerWriter<v1::WatchSessionResponse>&,
                             grpc::ServerContext&)>
      watch;

  grpc::Status GetState(grpc::ServerContext* context, const v1::GetStateRequest* request,
                        v1::GetStateResponse* response) override;
  grpc::Status SetState(grpc::ServerContext* context, const v1::SetStateRequest* request,
                        v1::SetStateResponse* response) override;
  /// With a session whose state does not fit into the answer.
  grpc::Status ForkSession(grpc::ServerContext* context, const v1::ForkSessionRequest* request,
                           v1::ForkSessionResponse* response) override;
  /// Says nothing of any state.
  grpc::Status ListState(grpc::ServerContext* context, const v1::ListStateRequest* request,
                         v1::ListStateResponse* response) override;
  /// With results of a kind that nobody knows.
  grpc::Status Batch(grpc::ServerContext* context, const v1::BatchRequest* request,
                     v1::BatchResponse* response) override;
  grpc::Status WatchSession(grpc::ServerContext* context, const v1::WatchSessionRequest* request,
                            grpc::ServerWriter<v1::WatchSessionResponse>* writer) override;
  grpc::Status Pipeline(grpc::ServerContext* context,
                        grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>* stream) override;

 private:
  grpc::Status next(grpc::ServerContext& context);
  grpc::Status answer(grpc::ServerContext& context,
                      grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>& stream);

  std::mutex mutex_;
  std::deque<grpc::Status> first_;
  std::vector<std::multimap<std::string, std::string>> carried_;
  std::vector<std::string> request_ids_;
  std::atomic<int> pipelines_{0};
  std::unique_ptr<grpc::Server> server_;
  std::string url_;
};

/// A status with a detail among others, as the service sends it.
grpc::Status status_with(grpc::StatusCode code, const v1::ErrorDetail& detail);

}  // namespace tests
